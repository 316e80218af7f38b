//! The protocols of ring, loan and bell as steps over atomic words: the real ones lie in shared memory, those of the
//! models are loom's, and both run this code.
//!
//! Whatever is shared and not atomic (payloads, staged bytes, lent memory) is ordered by these words alone: a stamp's release
//! hands a cell to the receiver, `consumed`'s release hands it back, a loan's state says who may touch the memory.

#[cfg(all(test, loom))]
use loom::sync::atomic::fence;
#[cfg(not(all(test, loom)))]
use std::sync::atomic::fence;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// An atomic word.
pub trait Word {
    type Value: Copy + PartialEq;

    fn load(&self, order: Ordering) -> Self::Value;
    fn store(&self, value: Self::Value, order: Ordering);
    /// On success acquires and releases, on failure acquires; returns what was found.
    fn compare_exchange(&self, current: Self::Value, new: Self::Value) -> Result<Self::Value, Self::Value>;
}

macro_rules! word {
    ($atomic:ty, $value:ty) => {
        impl Word for $atomic {
            type Value = $value;

            #[inline]
            fn load(&self, order: Ordering) -> $value {
                self.load(order)
            }

            #[inline]
            fn store(&self, value: $value, order: Ordering) {
                self.store(value, order)
            }

            #[inline]
            fn compare_exchange(&self, current: $value, new: $value) -> Result<$value, $value> {
                self.compare_exchange(current, new, Ordering::AcqRel, Ordering::Acquire)
            }
        }
    };
}

word!(AtomicU64, u64);
word!(AtomicU32, u32);
#[cfg(all(test, loom))]
word!(loom::sync::atomic::AtomicU64, u64);
#[cfg(all(test, loom))]
word!(loom::sync::atomic::AtomicU32, u32);

/// The sender's view of a ring: which cells and bytes are its own. `consumed` is always the ring's counter of that name.
pub struct Flow {
    cells: u64,
    bytes: u64,
    head: u64,
    /// As far as it is known here.
    consumed: u64,
    byte_head: u64,
    byte_tail: u64,
    /// For every cell in flight, where the byte ring stands behind it.
    byte_ends: Box<[u64]>,
}

impl Flow {
    /// Of a ring of these cells and bytes: powers of two, or 0 bytes.
    pub fn new(cells: u32, bytes: u32) -> Flow {
        Flow {
            cells: cells.into(),
            bytes: bytes.into(),
            head: 0,
            consumed: 0,
            byte_head: 0,
            byte_tail: 0,
            byte_ends: vec![0; cells as usize].into(),
        }
    }

    /// Number of the cell that is filled next.
    #[inline]
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Numbers of the cells that the receiver has not given back, as far as it is known here.
    pub fn in_flight(&self) -> std::ops::Range<u64> {
        self.consumed..self.head
    }

    /// Whether a cell is free, looking at the receiver's counter only if it seems not.
    #[inline]
    pub fn has_cell(&mut self, consumed: &impl Word<Value = u64>) -> bool {
        if self.head - self.consumed < self.cells {
            return true;
        }
        self.refresh(consumed);
        self.head - self.consumed < self.cells
    }

    pub fn refresh(&mut self, consumed: &impl Word<Value = u64>) {
        let consumed = consumed.load(Ordering::Acquire);
        // A peer that breaks the protocol must not make us compute nonsense; it can only make us wait.
        if consumed > self.consumed && consumed <= self.head {
            self.consumed = consumed;
            self.byte_tail = self.byte_ends[((consumed - 1) & (self.cells - 1)) as usize];
        }
    }

    /// A contiguous stretch of the byte ring, at most a quarter of it, so that sender and receiver overlap: position and
    /// length. It is taken by the next [`Flow::publish`].
    pub fn claim(&mut self, wanted: usize, consumed: &impl Word<Value = u64>) -> Option<(u64, usize)> {
        let size = self.bytes;
        if size == 0 {
            return None;
        }
        let len = (wanted as u64).min(size / 4);
        let room = |byte_tail: u64, byte_head: u64| {
            let to_end = size - (byte_head & (size - 1));
            let start = if to_end < len { byte_head + to_end } else { byte_head };
            (start + len <= byte_tail + size).then_some(start)
        };
        let start = room(self.byte_tail, self.byte_head).or_else(|| {
            self.refresh(consumed);
            room(self.byte_tail, self.byte_head)
        })?;
        self.byte_head = start + len.next_multiple_of(64);
        Some((start, len as usize))
    }

    /// Hands the cell `head`, which is filled, to the receiver. `stamp` is the cell's.
    #[inline]
    pub fn publish(&mut self, stamp: &impl Word<Value = u64>) {
        self.byte_ends[(self.head & (self.cells - 1)) as usize] = self.byte_head;
        stamp.store(self.head + 1, Ordering::Release);
        self.head += 1;
    }

    /// Whether the receiver has given this cell back, and with it the loan it may have carried.
    pub fn is_returned(&mut self, number: u64, consumed: &impl Word<Value = u64>) -> bool {
        if self.consumed <= number {
            self.refresh(consumed);
        }
        self.consumed > number
    }
}

/// Whether the sender has handed over the cell of this number; then it is the receiver's.
#[inline]
pub fn is_published(stamp: &impl Word<Value = u64>, number: u64) -> bool {
    stamp.load(Ordering::Acquire) == number + 1
}

/// Gives all cells below `end` back to the sender.
#[inline]
pub fn give_back(consumed: &impl Word<Value = u64>, end: u64) {
    consumed.store(end, Ordering::Release);
}

const FREE: u32 = 0;
const READING: u32 = 1;
pub(super) const REVOKED: u32 = 2;

/// The sender makes a loan readable; the cell's stamp publishes it.
#[inline]
pub fn open_loan(state: &impl Word<Value = u32>) {
    state.store(FREE, Ordering::Relaxed);
}

/// The receiver begins to read lent memory; false if the sender took it back.
#[inline]
pub fn hold(state: &impl Word<Value = u32>) -> bool {
    state.compare_exchange(FREE, READING).is_ok()
}

/// The receiver has stopped reading.
#[inline]
pub fn let_go(state: &impl Word<Value = u32>) {
    state.store(FREE, Ordering::Release);
}

/// The sender takes lent memory back, and waits while the receiver reads a piece.
pub fn revoke(state: &impl Word<Value = u32>, mut pause: impl FnMut()) {
    while let Err(READING) = state.compare_exchange(FREE, REVOKED) {
        pause();
    }
}

/// The sender takes memory back that the receiver may go on reading, but not using: whatever this thread writes there later,
/// who reads it finds the loan revoked. Waits for nobody.
pub fn revoke_at_once(state: &impl Word<Value = u32>) {
    state.store(REVOKED, Ordering::Relaxed);
    // The store must not be overtaken by the writes behind it, which a release of the store alone would allow.
    fence(Ordering::SeqCst);
}

/// Whether the sender may have taken memory back before the receiver was done with the reads that come before this.
///
/// A load is enough, as in a sequence lock: no other line moves, and the cell's is not taken from the sender.
#[inline]
pub fn was_revoked(state: &impl Word<Value = u32>) -> bool {
    fence(Ordering::Acquire);
    state.load(Ordering::Relaxed) == REVOKED
}

/// A rank that is about to sleep says so. A full barrier on every processor, then a second look at what it waits for, must
/// come between this and the sleep.
pub fn begin_sleep(sleeping: &impl Word<Value = u32>) {
    sleeping.store(1, Ordering::SeqCst);
}

pub fn end_sleep(sleeping: &impl Word<Value = u32>) {
    sleeping.store(0, Ordering::Relaxed);
}

/// Whether a rank must be woken, once what it may wait for is stored. The sleeper's membarrier orders the two on the processor;
/// the compiler is kept from exchanging them here.
#[inline]
pub fn is_sleeping(sleeping: &impl Word<Value = u32>) -> bool {
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
    sleeping.load(Ordering::Relaxed) != 0
}
