//! The last operations of one rank: always on, of fixed size, written with plain stores, read when something went wrong.

use super::frame::{EnteredCall, Line};
use crate::clock;
use serde::Serialize;
use std::sync::RwLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Operations that are remembered.
pub const KEPT: usize = 256;

/// How many calls a rank tells of when it is asked for one: a difference may have gone unnoticed for some calls, where no
/// data of the ranks that differ had met.
pub const TOLD: u64 = 4;

/// The calls up to `sequence` of which a rank tells.
pub fn told_before(sequence: u64) -> std::ops::RangeInclusive<u64> {
    sequence.saturating_sub(TOLD - 1).max(1)..=sequence
}

/// Version of [`Entry`] as it is written.
pub const SCHEMA: u32 = 1;

/// Of every remembered operation: what, when, how far.
pub struct Recorder {
    entered: AtomicU64,
    finished: AtomicU64,
    slots: Box<[Slot]>,
    /// Texts of the calls that were made, by number.
    calls: RwLock<Vec<String>>,
}

#[derive(Default)]
struct Slot {
    sequence: AtomicU64,
    call: AtomicU32,
    fingerprint: AtomicU32,
    started: AtomicU64,
    ended: AtomicU64,
}

/// One remembered operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    pub schema: u32,
    /// The call's number on the communicator.
    pub sequence: u64,
    pub call: String,
    pub fingerprint: u32,
    /// Nanoseconds ago that it began and, if it did, ended.
    pub started_ns_ago: u64,
    pub ended_ns_ago: Option<u64>,
}

impl Recorder {
    pub fn new() -> Recorder {
        Recorder {
            entered: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            slots: (0..KEPT).map(|_| Slot::default()).collect(),
            calls: RwLock::default(),
        }
    }

    /// Registers the text of a call once; the number stands for it from then on.
    pub fn register(&self, text: String) -> u32 {
        let mut calls = self.calls.write().expect("no panic under this lock");
        calls.push(text);
        (calls.len() - 1) as u32
    }

    fn slot(&self, sequence: u64) -> &Slot {
        &self.slots[sequence as usize % KEPT]
    }

    /// The rank enters its call number `sequence`.
    #[inline]
    pub fn enter(&self, sequence: u64, call: u32, fingerprint: u32) {
        let slot = self.slot(sequence);
        slot.call.store(call, Ordering::Relaxed);
        slot.fingerprint.store(fingerprint, Ordering::Relaxed);
        slot.started.store(clock::ticks(), Ordering::Relaxed);
        slot.ended.store(0, Ordering::Relaxed);
        slot.sequence.store(sequence, Ordering::Release);
        self.entered.store(sequence, Ordering::Release);
    }

    /// The call number `sequence` has returned without an error.
    #[inline]
    pub fn finish(&self, sequence: u64) {
        self.slot(sequence).ended.store(clock::ticks(), Ordering::Relaxed);
        self.finished.store(sequence, Ordering::Release);
    }

    /// Where the rank stands, its last calls, and those up to `sequence`.
    pub fn line(&self, sequence: u64) -> Line {
        let entered = self.entered.load(Ordering::Acquire);
        let (asked, newest) = (told_before(sequence.min(entered)), told_before(entered));
        let before = asked.filter(|one| !newest.contains(one));
        Line {
            entered,
            finished: self.finished.load(Ordering::Acquire),
            calls: newest.clone().rev().chain(before.rev()).filter_map(|one| self.call(one)).collect(),
            left: false,
        }
    }

    /// As the line is for good when the rank makes no more calls.
    pub fn last_line(&self) -> Line {
        Line { left: true, ..self.line(u64::MAX) }
    }

    /// Of the call at a sequence number, if it was entered and is still remembered.
    pub fn fingerprint(&self, sequence: u64) -> Option<u32> {
        let slot = self.slot(sequence);
        let is_there = sequence > 0 && slot.sequence.load(Ordering::Acquire) == sequence;
        is_there.then(|| slot.fingerprint.load(Ordering::Relaxed))
    }

    fn call(&self, sequence: u64) -> Option<EnteredCall> {
        let fingerprint = self.fingerprint(sequence)?;
        let text = self.text(self.slot(sequence).call.load(Ordering::Relaxed))?;
        Some(EnteredCall { sequence, fingerprint, text })
    }

    fn text(&self, call: u32) -> Option<String> {
        self.calls.read().expect("no panic under this lock").get(call as usize).cloned()
    }

    /// The remembered operations, oldest first.
    pub fn entries(&self) -> Vec<Entry> {
        let now = clock::ticks();
        let mut entries: Vec<Entry> = self.slots.iter().filter_map(|slot| self.entry(slot, now)).collect();
        entries.sort_by_key(|entry| entry.sequence);
        entries
    }

    fn entry(&self, slot: &Slot, now: u64) -> Option<Entry> {
        let sequence = slot.sequence.load(Ordering::Acquire);
        if sequence == 0 {
            return None;
        }
        let ended = slot.ended.load(Ordering::Relaxed);
        let ago = |then: u64| clock::nanoseconds(now.saturating_sub(then));
        Some(Entry {
            schema: SCHEMA,
            sequence,
            call: self.text(slot.call.load(Ordering::Relaxed))?,
            fingerprint: slot.fingerprint.load(Ordering::Relaxed),
            started_ns_ago: ago(slot.started.load(Ordering::Relaxed)),
            ended_ns_ago: (ended != 0).then(|| ago(ended)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_operations_are_kept_and_older_ones_forgotten() {
        let recorder = Recorder::new();
        let call = recorder.register("all_reduce f32 x 8".to_owned());
        assert!(recorder.entries().is_empty() && recorder.line(0).calls.is_empty());
        for sequence in 1..=KEPT as u64 + 10 {
            recorder.enter(sequence, call, 7);
            if sequence != KEPT as u64 + 10 {
                recorder.finish(sequence);
            }
        }
        let entries = recorder.entries();
        assert_eq!(entries.len(), KEPT);
        assert_eq!(entries[0].sequence, 11);
        let last = entries.last().unwrap();
        assert!(last.ended_ns_ago.is_none() && last.call == "all_reduce f32 x 8");
        let told = |sequence| recorder.line(sequence).calls.iter().map(|call| call.sequence).collect::<Vec<_>>();
        assert_eq!(told(10), [266, 265, 264, 263], "what was asked for is forgotten, the last ones are told");
        assert_eq!(told(20), [266, 265, 264, 263, 20, 19, 18, 17]);
        assert_eq!(told(265), [266, 265, 264, 263, 262]);
        assert_eq!(
            recorder.line(KEPT as u64 + 11).calls[0].sequence,
            KEPT as u64 + 10,
            "what was not entered is not told"
        );
        assert_eq!((recorder.line(20).entered, recorder.line(20).finished), (KEPT as u64 + 10, KEPT as u64 + 9));
    }
}
