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
/// After this long a rank asks what the others do, and again after each further interval.
const ASK_AFTER: Duration = Duration::from_millis(30);
const ASK_INTERVAL: Duration = Duration::from_millis(250);
/// A rank that did not answer a question for this long counts as silent; the last question is put this long before time is up,
/// or, where the timeout is short, a quarter of it.
const SILENT_AFTER: Duration = Duration::from_secs(1);
/// Whoever answered others a moment ago does not answer again, so an answer may be a little older than its question.
const ANSWER_AGE: Duration = Duration::from_millis(50);

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

/// What a look at the others showed.
struct Look {
    now: Instant,
    /// Time is up.
    late: bool,
    lines: Vec<PeerLine>,
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
        let Some(Look { now, late, lines }) = self.look(control, sequence) else { return Ok(()) };
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
        if late { Err(self.timed_out(sequence, &lines, &standing)) } else { Ok(()) }
    }

    /// As [`Waiting::look_around`], for messages, which are the affair of two ranks only; `message` is the first that is not done.
    pub fn look_for_peers(
        &mut self,
        control: &Control,
        message: impl FnOnce() -> String,
        standing: impl FnOnce() -> Standing,
    ) -> Result<()> {
        let Some(Look { late, lines, .. }) = self.look(control, 0) else { return Ok(()) };
        let standing = standing();
        if let Some(&gone) = standing.waits_for.iter().find(|rank| lines[**rank].left) {
            return Err(Error::new(
                ErrorKind::PeerLost,
                format!("{}: rank {gone} has left in good order without its part", message()),
            )
            .with_peer(gone)
            .remedy(format!("make rank {gone} send or receive as often as its peers expect")));
        }
        if !late {
            return Ok(());
        }
        let mut parts: Vec<String> = standing.waits_for.iter().map(|rank| self.found(*rank, &lines[*rank])).collect();
        // A peer may itself wait for one that is stopped.
        let silent: Vec<Rank> = (0..lines.len()).filter(|rank| self.is_silent(&lines[*rank])).collect();
        let others: Vec<Rank> = silent.iter().copied().filter(|rank| !standing.waits_for.contains(rank)).collect();
        if !others.is_empty() {
            parts.push(no_answer(&others));
        }
        let text = format!("{} was not done within {:?}: {}", message(), self.timeout, parts.join("; "));
        let culprit = silent.first().or(standing.waits_for.first()).copied();
        Err(blame(Error::new(ErrorKind::Timeout, text), culprit))
    }

    /// Looks at the others if it is time to, asks them again if there is time for answers, and sets the next time.
    fn look(&mut self, control: &Control, sequence: u64) -> Option<Look> {
        // Reading the clock costs more than a poll; young waits do it rarely.
        if self.rounds < 64 && !self.rounds.is_multiple_of(16) {
            return None;
        }
        let now = self.clock.now();
        if now < self.next_look {
            return None;
        }
        let end = self.started + self.timeout;
        let last_call = end - SILENT_AFTER.min(self.timeout / 4);
        // Between the last question and the end there is time for answers.
        if self.asked.is_none_or(|(_, last)| last < last_call) {
            control.ask(sequence);
            self.asked = Some((self.asked.map_or(now, |(first, _)| first), now));
        }
        self.next_look = (now + ASK_INTERVAL).min(if now < last_call { last_call } else { end });
        Some(Look { now, late: now >= end, lines: control.lines(sequence) })
    }

    /// Whether a rank did not answer the last question.
    fn is_silent(&self, peer: &PeerLine) -> bool {
        let asked = self.asked.map_or(self.started, |(_, last)| last);
        peer.heard.is_none_or(|heard| heard + ANSWER_AGE < asked)
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
        descriptors: &mut Vec<libc::pollfd>,
    ) -> Result<bool> {
        self.rounds += 1;
        if self.rounds <= patience.yields {
            std::thread::yield_now();
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
