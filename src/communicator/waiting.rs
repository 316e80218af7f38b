//! Patience: how a rank waits once spinning was in vain, when it looks around, and what it says when time is up.

use super::settings::Patience;
use crate::clock::Clock;
use crate::control::{Control, PeerLine, describe_mismatch};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::links::Links;
use crate::exec::run::{Runner, Standing};
use crate::transport::arena::Bell;
use std::time::{Duration, Instant};

/// With sockets and shared memory to wait on, only the sockets can wake: the rest is looked at this often.
const MIXED_SLEEP: Duration = Duration::from_millis(1);
/// After this long a rank asks what the others do, and again after each further interval.
const ASK_AFTER: Duration = Duration::from_millis(30);
const ASK_INTERVAL: Duration = Duration::from_millis(250);
/// A rank that did not answer a question for this long counts as silent; the last question is put this long before time is up,
/// or, where the timeout is short, a quarter of it.
const SILENT_AFTER: Duration = Duration::from_secs(1);
/// Whoever answered others a moment ago does not answer again, so an answer may be a little older than its question.
const ANSWER_AGE: Duration = Duration::from_millis(50);

pub struct Waiting {
    clock: Clock,
    started: Instant,
    timeout: Duration,
    rounds: u32,
    next_look: Instant,
    /// When the others were first asked, and when last.
    asked: Option<(Instant, Instant)>,
}

impl Waiting {
    pub fn new(timeout: Duration, clock: &Clock) -> Waiting {
        let (clock, started) = (clock.clone(), clock.now());
        Waiting { clock, started, timeout, rounds: 0, next_look: started + ASK_AFTER.min(timeout / 2), asked: None }
    }

    /// From time to time: are the others in the same call, are they there at all, is time up?
    pub fn look_around(&mut self, control: &Control, sequence: u64, standing: impl FnOnce() -> Standing) -> Result<()> {
        // Reading the clock costs more than a poll; young waits do it rarely.
        if self.rounds < 64 && !self.rounds.is_multiple_of(16) {
            return Ok(());
        }
        let now = self.clock.now();
        if now < self.next_look {
            return Ok(());
        }
        let late = now >= self.started + self.timeout;
        let last_call = self.started + self.timeout - SILENT_AFTER.min(self.timeout / 4);
        // Between the last question and the end there is time for answers.
        if self.asked.is_none_or(|(_, last)| last < last_call) {
            control.ask(sequence);
            self.asked = Some((self.asked.map_or(now, |(first, _)| first), now));
        }
        let lines = control.lines(sequence);
        if let Some(mismatch) = describe_mismatch(sequence, &lines) {
            // Whoever has not answered yet may still: the error is worth a moment more.
            if lines.iter().all(|peer| peer.line.is_some())
                || now > self.asked.map_or(now, |(first, _)| first) + SILENT_AFTER
            {
                return Err(mismatch);
            }
            self.next_look = now + Duration::from_millis(10);
            return Ok(());
        }
        let standing = standing();
        if let Some(&gone) = standing.waits_for.iter().find(|rank| lines[**rank].left) {
            return Err(Error::new(
                ErrorKind::PeerLost,
                format!("rank {gone} has left in good order, but its part of this call is missing"),
            )
            .with_peer(gone)
            .remedy(format!("make rank {gone} take part in as many calls as the others before it ends")));
        }
        if late {
            return Err(self.timed_out(sequence, &lines, &standing));
        }
        let bound = if now < last_call { last_call } else { self.started + self.timeout };
        self.next_look = (now + ASK_INTERVAL).min(bound);
        Ok(())
    }

    /// For operations that are the affair of two ranks only.
    pub fn check_deadline(&mut self, control: &Control, what: &str, standing: impl FnOnce() -> Standing) -> Result<()> {
        let now = self.clock.now();
        if self.rounds < 64 || now < self.next_look {
            return Ok(());
        }
        self.next_look = (now + ASK_INTERVAL).min(self.started + self.timeout);
        let standing = standing();
        let lines = control.lines(0);
        if let Some(&gone) = standing.waits_for.iter().find(|rank| lines[**rank].left) {
            return Err(Error::new(
                ErrorKind::PeerLost,
                format!("{what}: rank {gone} has left in good order without its part"),
            )
            .with_peer(gone)
            .remedy(format!("make rank {gone} send or receive as often as its peers expect")));
        }
        if now < self.started + self.timeout {
            return Ok(());
        }
        let peers = crate::control::named(&standing.waits_for);
        let error = Error::new(ErrorKind::Timeout, format!("{what} waited {:?} for {peers} in vain", self.timeout))
            .remedy(format!("look at what {peers} does, or give a longer timeout"));
        Err(match standing.waits_for.first() {
            Some(&peer) => error.with_peer(peer),
            None => error,
        })
    }

    /// Names the ranks that are behind, not those that wait.
    fn timed_out(&self, sequence: u64, lines: &[PeerLine], standing: &Standing) -> Error {
        let asked = self.asked.map_or(self.started, |(_, last)| last);
        let silent = |peer: &PeerLine| peer.heard.is_none_or(|heard| heard + ANSWER_AGE < asked);
        let ranks = |wanted: &dyn Fn(&PeerLine) -> bool| -> Vec<usize> {
            lines.iter().enumerate().filter(|(_, peer)| wanted(peer)).map(|(rank, _)| rank).collect()
        };
        let silent_ranks = ranks(&|peer| silent(peer));
        let behind = ranks(&|peer| !silent(peer) && peer.line.as_ref().is_some_and(|line| line.entered < sequence));
        let mut parts = Vec::new();
        if !behind.is_empty() {
            let last = lines[behind[0]].line.as_ref().map_or(0, |line| line.finished);
            parts.push(format!(
                "{} did not enter it (last finished call: number {last})",
                crate::control::named(&behind)
            ));
        }
        if !silent_ranks.is_empty() {
            parts.push(format!("{} did not answer (stopped, or cut off)", crate::control::named(&silent_ranks)));
        }
        let culprit = behind.first().or(silent_ranks.first()).or(standing.waits_for.first()).copied();
        if parts.is_empty() {
            parts.push(format!(
                "all ranks have entered it, and this one waits for {}",
                crate::control::named(&standing.waits_for)
            ));
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
