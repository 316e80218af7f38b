//! Patience: how a rank waits once spinning was in vain, when it looks around, and what it says when time is up.

use super::apart::Apart;
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

/// What a rank waits for: one program, or several side by side.
pub trait Work {
    /// Goes as far as it can; true if there is no need to sleep.
    fn poll(&mut self, links: &mut Links) -> Result<bool>;
    /// Adds the descriptors that would wake it.
    fn add_descriptors(&self, links: &mut Links, into: &mut Vec<libc::pollfd>);
}

impl Work for Runner {
    fn poll(&mut self, links: &mut Links) -> Result<bool> {
        Runner::poll(self, links)
    }

    fn add_descriptors(&self, links: &mut Links, into: &mut Vec<libc::pollfd>) {
        Runner::add_descriptors(self, links, into);
    }
}

fn no_answer(ranks: &[Rank]) -> String {
    format!("{} did not answer (stopped, or cut off)", named(ranks))
}

fn blame(error: Error, culprit: Option<Rank>) -> Error {
    match culprit {
        Some(rank) => error.with_peer(rank).remedy(format!("look at what rank {rank} does, or give a longer timeout")),
        None => error.remedy("give a longer timeout"),
    }
}

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

    /// As [`Waiting::look_around`], for messages, which are the affair of two ranks only: `message` is the first that is not done,
    /// `sequence` the number of this rank's last other call.
    pub fn look_for_peers(
        &mut self,
        control: &Control,
        sequence: u64,
        message: impl Fn() -> String,
        mut standing: impl FnMut() -> Standing,
    ) -> Result<()> {
        let Some(now) = self.time_to_look() else { return Ok(()) };
        self.ask_if_due(control, sequence, now);
        let now_standing = standing();
        if let Some(gone) = self.gone(control, now, &now_standing, &mut standing) {
            return Err(Error::new(
                ErrorKind::PeerLost,
                format!("{}: rank {gone} has left in good order without its part", message()),
            )
            .with_peer(gone)
            .remedy(format!("make rank {gone} send or receive as often as its peers expect")));
        }
        if now < self.end() {
            return Ok(());
        }
        let (lines, waits_for) = (control.lines(sequence), now_standing.waits_for);
        let mut parts: Vec<String> = waits_for.iter().map(|rank| self.found(*rank, &lines[*rank])).collect();
        // A peer may itself wait for one that is stopped.
        let silent: Vec<Rank> = (0..lines.len()).filter(|rank| self.is_silent(&lines[*rank])).collect();
        let others: Vec<Rank> = silent.iter().copied().filter(|rank| !waits_for.contains(rank)).collect();
        if !others.is_empty() {
            parts.push(no_answer(&others));
        }
        let text = format!("{} was not done within {:?}: {}", message(), self.timeout, parts.join("; "));
        let culprit = silent.first().or(waits_for.first()).copied();
        Err(blame(Error::new(ErrorKind::Timeout, text), culprit))
    }

    /// Whether a rank did not answer the last question.
    fn is_silent(&self, peer: &PeerLine) -> bool {
        !peer.left && peer.round < self.round
    }

    /// What a rank that is waited for is doing.
    fn found(&self, rank: Rank, peer: &PeerLine) -> String {
        if self.is_silent(peer) {
            return no_answer(&[rank]);
        }
        match peer.line.as_ref().and_then(|line| line.doing.as_ref()) {
            Some(doing) => format!("rank {rank} is in {doing}"),
            None => format!("rank {rank} is in no call"),
        }
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
        let ranks = |wanted: &dyn Fn(&PeerLine) -> bool| -> Vec<Rank> {
            lines.iter().enumerate().filter(|(_, peer)| wanted(peer)).map(|(rank, _)| rank).collect()
        };
        let silent = ranks(&|peer| self.is_silent(peer));
        let behind =
            ranks(&|peer| !self.is_silent(peer) && peer.line.as_ref().is_some_and(|line| line.entered < sequence));
        let mut parts = Vec::new();
        if let Some(&first) = behind.first() {
            let line = lines[first].line.as_ref().expect("a rank that is behind has told where it is");
            let doing = line.doing.as_ref().map_or("no call".to_owned(), String::clone);
            let last = line.finished;
            parts.push(format!(
                "{} did not enter it (rank {first} finished number {last}, and is in {doing})",
                named(&behind)
            ));
        }
        if !silent.is_empty() {
            parts.push(no_answer(&silent));
        }
        if parts.is_empty() {
            let waits_for = named(&standing.waits_for);
            parts.push(format!("all ranks have entered it, and this one waits for {waits_for}"));
        }
        // Nobody has entered another call, so that every rank's text of it is this rank's.
        let call = lines.iter().find_map(|peer| peer.line.as_ref()?.call(sequence)).map_or("it", |call| &call.text);
        let (timeout, parts) = (self.timeout, parts.join("; "));
        let text = format!("{call} (call number {sequence}) was not done within {timeout:?}: {parts}");
        let culprit = behind.first().or(silent.first()).or(standing.waits_for.first()).copied();
        blame(Error::new(ErrorKind::Timeout, text), culprit)
    }

    /// Yields at first, then sleeps until something comes or a bounded time has passed; true if the operation got done meanwhile.
    pub fn rest(
        &mut self,
        work: &mut impl Work,
        links: &mut Links,
        patience: &Patience,
        bell: Option<&Bell>,
        apart: &mut Apart,
        descriptors: &mut Vec<libc::pollfd>,
    ) -> Result<bool> {
        self.rounds += 1;
        if self.rounds <= patience.yields {
            apart.give_way();
            return Ok(false);
        }
        let left = (self.started + self.timeout).saturating_duration_since(self.clock.now());
        let nap = patience.longest_sleep.min(left.max(Duration::from_millis(1)));
        descriptors.clear();
        work.add_descriptors(links, descriptors);
        match bell {
            Some(bell) if descriptors.is_empty() => {
                let mut outcome = Ok(false);
                bell.sleep(nap, &mut || {
                    outcome = work.poll(links);
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
