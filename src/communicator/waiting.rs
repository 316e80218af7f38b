//! Patience: how a rank waits once spinning was in vain, when it looks around, and what it says when time is up.

use super::settings::Patience;
use crate::clock::Clock;
use crate::control::{Control, PeerLine, describe_mismatch, named};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::links::Links;
use crate::exec::run::{Runner, Standing};
use crate::transport::arena::Bell;
use crate::types::Rank;
use std::time::{Duration, Instant};

/// With sockets and shared memory to wait on, only the sockets can wake: the rest is looked at this often.
const MIXED_SLEEP: Duration = Duration::from_millis(1);
/// After this long at the earliest a rank looks around and asks what the others do.
const ASK_AFTER: Duration = Duration::from_millis(30);
/// It asks again when it has waited for half as long again, and at the latest after this long.
const LONGEST_UNASKED: Duration = Duration::from_secs(5);
/// What it knows it looks at more often, and still more rarely the more ranks there are.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// A rank that did not answer the last question within this time counts as silent, in a large world within several times what the
/// answers take; where the timeout is short, within a quarter of it.
const SILENT_AFTER: Duration = Duration::from_secs(1);
/// A connection that was dialled before its rank left takes this long at most until it is known here.
const ARRIVAL: Duration = Duration::from_secs(1);

pub struct Waiting {
    clock: Clock,
    started: Instant,
    timeout: Duration,
    /// [`Control::pace`].
    pace: Duration,
    rounds: u32,
    next_look: Instant,
    next_question: Instant,
    first_question: Option<Instant>,
    /// The round of the last question.
    round: u64,
    /// A rank that left, by when that was known here.
    gone: Option<(Rank, Instant)>,
}

impl Waiting {
    pub fn new(timeout: Duration, control: &Control) -> Waiting {
        let (clock, pace) = (control.clock.clone(), control.pace());
        let started = clock.now();
        let first = started + ASK_AFTER.max(pace).min(timeout / 2);
        Waiting {
            clock,
            started,
            timeout,
            pace,
            rounds: 0,
            next_look: first,
            next_question: first,
            first_question: None,
            round: 0,
            gone: None,
        }
    }

    /// From time to time: are the others in the same call, are they there at all, is time up?
    pub fn look_around(
        &mut self,
        control: &Control,
        sequence: u64,
        mut standing: impl FnMut() -> Standing,
    ) -> Result<()> {
        let Some(now) = self.time_to_look() else { return Ok(()) };
        self.ask_if_due(control, sequence, now);
        let is_late = now >= self.end();
        let now_standing = standing();
        if is_late || control.differs(sequence, &now_standing.waits_for) {
            let lines = control.lines(sequence);
            if let Some(mismatch) = describe_mismatch(sequence, &lines) {
                // Whoever has not answered yet may still: the error is worth a moment more.
                let is_old = self.first_question.is_none_or(|first| now > first + SILENT_AFTER);
                if is_late || is_old || lines.iter().all(|peer| peer.line.is_some()) {
                    return Err(mismatch);
                }
                self.next_look = now + Duration::from_millis(10);
                return Ok(());
            }
        }
        if let Some(gone) = self.gone(control, now, &now_standing, &mut standing) {
            return Err(left_early(gone, "its part of this call is missing"));
        }
        if is_late {
            return Err(self.timed_out(sequence, &control.lines(sequence), &now_standing));
        }
        Ok(())
    }

    /// For operations that are the affair of two ranks only; `sequence` is the number of this rank's last other call.
    pub fn check_deadline(
        &mut self,
        control: &Control,
        sequence: u64,
        what: &str,
        mut standing: impl FnMut() -> Standing,
    ) -> Result<()> {
        let Some(now) = self.time_to_look() else { return Ok(()) };
        self.ask_if_due(control, sequence, now);
        let now_standing = standing();
        if let Some(gone) = self.gone(control, now, &now_standing, &mut standing) {
            return Err(left_early(gone, &format!("its part of this {what} is missing")));
        }
        if now < self.end() {
            return Ok(());
        }
        let peers = named(&now_standing.waits_for);
        let error = Error::new(ErrorKind::Timeout, format!("{what} waited {:?} for {peers} in vain", self.timeout))
            .remedy(format!("look at what {peers} does, or give a longer timeout"));
        Err(match now_standing.waits_for.first() {
            Some(&peer) => error.with_peer(peer),
            None => error,
        })
    }

    fn end(&self) -> Instant {
        self.started + self.timeout
    }

    /// When the last question is put: between it and the end there is time for answers.
    fn last_call(&self) -> Instant {
        self.end() - SILENT_AFTER.max(4 * self.pace).min(self.timeout / 4)
    }

    /// The time, if it is time to look around.
    fn time_to_look(&self) -> Option<Instant> {
        // Reading the clock costs more than a poll; young waits do it rarely.
        if self.rounds < 64 && !self.rounds.is_multiple_of(16) {
            return None;
        }
        Some(self.clock.now()).filter(|now| *now >= self.next_look)
    }

    /// Asks if it is time to, and sets when to look again. Questions become rarer, since all that wait put them.
    fn ask_if_due(&mut self, control: &Control, sequence: u64, now: Instant) {
        let last_call = self.last_call();
        self.next_look = now + LOOK_INTERVAL.max(self.pace);
        if now >= self.next_question {
            self.round = control.ask(sequence, self.pace);
            self.first_question.get_or_insert(now);
            let pause = ((now - self.started) / 2).clamp(LOOK_INTERVAL.max(self.pace), LONGEST_UNASKED);
            self.next_question = match now < last_call {
                true => (now + pause).min(last_call),
                // It was the last.
                false => now + self.timeout,
            };
            self.next_look = now + self.pace;
        }
        let bound = if now < last_call { last_call } else { self.end() };
        self.next_look = self.next_look.min(bound);
    }

    /// A rank that is waited for though it left in good order. What it sent before that is here: it went through memory, or else
    /// the data's own connection has an end that shows. Only whether it had dialled that connection can be unclear for a while.
    fn gone(
        &mut self,
        control: &Control,
        now: Instant,
        before: &Standing,
        standing: &mut impl FnMut() -> Standing,
    ) -> Option<Rank> {
        let gone: Vec<Rank> = before.waits_for.iter().copied().filter(|rank| control.has_left(*rank)).collect();
        if gone.is_empty() {
            return None;
        }
        // Looked at again: now everything is here that came before the goodbye.
        let after = standing();
        let rank = gone.into_iter().find(|rank| after.waits_for.contains(rank) && !after.ends_show.contains(rank))?;
        if !after.is_connecting {
            return Some(rank);
        }
        match self.gone {
            Some((known, since)) if known == rank => (now >= since + ARRIVAL).then_some(rank),
            _ => {
                self.gone = Some((rank, now));
                None
            }
        }
    }

    /// Names the ranks that are behind, not those that wait.
    fn timed_out(&self, sequence: u64, lines: &[PeerLine], standing: &Standing) -> Error {
        let silent = |peer: &PeerLine| !peer.left && peer.round < self.round;
        let ranks = |wanted: &dyn Fn(&PeerLine) -> bool| -> Vec<usize> {
            lines.iter().enumerate().filter(|(_, peer)| wanted(peer)).map(|(rank, _)| rank).collect()
        };
        let silent_ranks = ranks(&|peer| silent(peer));
        let behind = ranks(&|peer| !silent(peer) && peer.line.as_ref().is_some_and(|line| line.entered < sequence));
        let mut parts = Vec::new();
        if !behind.is_empty() {
            let last = lines[behind[0]].line.as_ref().map_or(0, |line| line.finished);
            parts.push(format!("{} did not enter it (last finished call: number {last})", named(&behind)));
        }
        if !silent_ranks.is_empty() {
            parts.push(format!("{} did not answer (stopped, or cut off)", named(&silent_ranks)));
        }
        let culprit = behind.first().or(silent_ranks.first()).or(standing.waits_for.first()).copied();
        if parts.is_empty() {
            parts.push(format!("all ranks have entered it, and this one waits for {}", named(&standing.waits_for)));
        }
        let text = format!("call number {sequence} was not done within {:?}: {}", self.timeout, parts.join("; "));
        let error = Error::new(ErrorKind::Timeout, text);
        match culprit {
            Some(rank) => {
                error.with_peer(rank).remedy(format!("look at what rank {rank} does, or give a longer timeout"))
            }
            None => error.remedy("give a longer timeout"),
        }
    }

    /// Yields at first, then sleeps until something comes or a bounded time has passed; true if the operation got done meanwhile.
    pub fn rest(
        &mut self,
        runner: &mut Runner,
        links: &mut Links,
        patience: &Patience,
        bell: Option<&Bell>,
        descriptors: &mut Vec<libc::pollfd>,
    ) -> Result<bool> {
        self.rounds += 1;
        if self.rounds <= patience.yields {
            std::thread::yield_now();
            return Ok(false);
        }
        let left = (self.started + self.timeout).saturating_duration_since(self.clock.now());
        let nap = patience.longest_sleep.min(left.max(Duration::from_millis(1)));
        runner.descriptors(links, descriptors);
        match bell {
            Some(bell) if descriptors.is_empty() => {
                let mut outcome = Ok(false);
                bell.sleep(nap, &mut || {
                    outcome = runner.poll(links);
                    !matches!(outcome, Ok(false))
                });
                outcome
            }
            _ => {
                let nap = if bell.is_some() { MIXED_SLEEP } else { nap };
                // SAFETY: the array is ours and as long as it says; the kernel writes only `revents`.
                unsafe {
                    libc::poll(descriptors.as_mut_ptr(), descriptors.len() as libc::nfds_t, nap.as_millis() as i32)
                };
                Ok(false)
            }
        }
    }
}

/// The error where a rank has left in good order, and should not have.
pub fn left_early(gone: Rank, what_is_missing: &str) -> Error {
    Error::new(ErrorKind::PeerLost, format!("rank {gone} has left in good order, but {what_is_missing}"))
        .with_peer(gone)
        .remedy(format!("make rank {gone} take part in as much as the others before it ends"))
}

#[cfg(test)]
#[path = "waiting_tests.rs"]
mod tests;
