//! The last entries of one kind: of fixed size, written by one thread at a time with plain stores, read by any.

use crate::clock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Entries that a ring keeps.
pub const KEPT: usize = 256;

pub struct Ring {
    /// Number of the last entry; 0 before the first.
    last: AtomicU64,
    slots: Box<[Slot]>,
}

/// One cache line, so that an entry costs one.
#[derive(Default)]
#[repr(align(64))]
struct Slot {
    /// Of the entry that the slot holds; 0 while it is being written.
    number: AtomicU64,
    sequence: AtomicU64,
    bytes: AtomicU64,
    started: AtomicU64,
    ended: AtomicU64,
    failed_after_bytes: AtomicU64,
    call: AtomicU32,
    fingerprint: AtomicU32,
    /// The step plus 1; 0 for what did not fail.
    failed_at: AtomicU32,
}

/// An operation as it is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entered {
    pub sequence: u64,
    /// What is called: a number or a code that the ring's owner understands.
    pub call: u32,
    pub fingerprint: u32,
    pub bytes: u64,
}

/// An entry as it is read. Times are ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub number: u64,
    pub entered: Entered,
    pub started: u64,
    pub ended: Option<u64>,
    pub failed: Option<Failed>,
}

/// Where an operation stood that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    pub step: u32,
    pub bytes: u64,
}

impl Ring {
    pub fn new() -> Ring {
        Ring { last: AtomicU64::new(0), slots: (0..KEPT).map(|_| Slot::default()).collect() }
    }

    #[inline]
    fn slot(&self, number: u64) -> &Slot {
        &self.slots[number as usize % KEPT]
    }

    /// Number of the last entry; 0 before the first.
    #[inline]
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// Writes entry `number`, which follows the last one or replaces it.
    #[inline]
    pub fn enter(&self, number: u64, entered: Entered) {
        let slot = self.slot(number);
        slot.number.store(0, Ordering::Relaxed);
        // Whoever reads a part of the new entry must not take it for the old one.
        fence(Ordering::Release);
        slot.sequence.store(entered.sequence, Ordering::Relaxed);
        slot.call.store(entered.call, Ordering::Relaxed);
        slot.fingerprint.store(entered.fingerprint, Ordering::Relaxed);
        slot.bytes.store(entered.bytes, Ordering::Relaxed);
        slot.started.store(clock::ticks(), Ordering::Relaxed);
        slot.ended.store(0, Ordering::Relaxed);
        slot.failed_at.store(0, Ordering::Relaxed);
        slot.number.store(number, Ordering::Release);
        self.last.store(number, Ordering::Release);
    }

    /// Entry `number` came to a good end.
    #[inline]
    pub fn finish(&self, number: u64) {
        if self.holds(number) {
            self.slot(number).ended.store(clock::ticks(), Ordering::Release);
        }
    }

    /// Entry `number` failed.
    pub fn fail(&self, number: u64, failed: Failed) {
        if self.holds(number) {
            let slot = self.slot(number);
            slot.failed_after_bytes.store(failed.bytes, Ordering::Relaxed);
            slot.failed_at.store(failed.step.saturating_add(1), Ordering::Release);
            slot.ended.store(clock::ticks(), Ordering::Release);
        }
    }

    /// Whether entry `number` is still kept.
    #[inline]
    pub fn holds(&self, number: u64) -> bool {
        self.slot(number).number.load(Ordering::Acquire) == number
    }

    /// Entry `number`, unless it is forgotten or not written yet.
    pub fn read(&self, number: u64) -> Option<Entry> {
        if number == 0 || !self.holds(number) {
            return None;
        }
        let slot = self.slot(number);
        let ended = slot.ended.load(Ordering::Acquire);
        let failed_at = slot.failed_at.load(Ordering::Acquire);
        let entry = Entry {
            number,
            entered: Entered {
                sequence: slot.sequence.load(Ordering::Relaxed),
                call: slot.call.load(Ordering::Relaxed),
                fingerprint: slot.fingerprint.load(Ordering::Relaxed),
                bytes: slot.bytes.load(Ordering::Relaxed),
            },
            started: slot.started.load(Ordering::Relaxed),
            ended: (ended != 0).then_some(ended),
            failed: failed_at
                .checked_sub(1)
                .map(|step| Failed { step, bytes: slot.failed_after_bytes.load(Ordering::Relaxed) }),
        };
        // What was read belongs together if the slot still holds the same entry.
        fence(Ordering::Acquire);
        self.holds(number).then_some(entry)
    }

    /// The entries that are kept, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        let last = self.last();
        (last.saturating_sub(KEPT as u64 - 1)..=last).filter_map(|number| self.read(number))
    }

    /// What the kept entries call, in no order, some perhaps not any more.
    pub fn calls(&self) -> impl Iterator<Item = u32> {
        self.slots.iter().map(|slot| slot.call.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    fn entered(value: u64) -> Entered {
        Entered { sequence: value, call: value as u32, fingerprint: !(value as u32), bytes: value << 20 }
    }

    #[test]
    fn an_entry_says_how_it_ended() {
        let ring = Ring::new();
        assert_eq!((ring.last(), ring.entries().count()), (0, 0));
        (1..=3).for_each(|number| ring.enter(number, entered(number)));
        ring.finish(1);
        ring.fail(2, Failed { step: 0, bytes: 4096 });
        let of = |number| ring.read(number).map(|entry| (entry.entered, entry.ended.is_some(), entry.failed));
        assert_eq!(of(1), Some((entered(1), true, None)));
        assert_eq!(of(2), Some((entered(2), true, Some(Failed { step: 0, bytes: 4096 }))));
        assert_eq!(of(3), Some((entered(3), false, None)));
        assert_eq!(of(4), None);
        let next = 2 + KEPT as u64;
        ring.enter(next, entered(next));
        ring.finish(2);
        assert_eq!(
            (of(2), of(next)),
            (None, Some((entered(next), false, None))),
            "the old entry's end is not the new one's"
        );
        assert_eq!(ring.entries().map(|entry| entry.number).collect::<Vec<_>>(), [3, next]);
    }

    /// Every field of an entry tells its number, so that halves of two entries show.
    #[test]
    fn a_reader_never_sees_halves_of_two_entries() {
        let (ring, done) = (Ring::new(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = 0;
                while !done.load(Ordering::Relaxed) {
                    for number in [ring.last(), ring.last().saturating_sub(KEPT as u64 - 1)] {
                        let Some(entry) = ring.read(number) else { continue };
                        assert_eq!(entry.entered, entered(number));
                        seen += 1;
                    }
                }
                seen
            });
            (1..=200_000).for_each(|number| ring.enter(number, entered(number)));
            done.store(true, Ordering::Relaxed);
            println!("{} entries read", reader.join().unwrap());
        });
    }
}
