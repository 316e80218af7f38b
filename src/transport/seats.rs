//! On which processors the ranks of a host wait: a word of shared memory for each.

use super::arena::Arena;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What a rank leaves in its word: a processor, and a number that changes whenever it leaves something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen(u32);

impl Seen {
    /// Numbers of processors too large to be told are not.
    pub fn new(times: u32, processor: usize) -> Seen {
        let told = u16::try_from(processor + 1).unwrap_or(0);
        Seen(times << 16 | u32::from(told))
    }

    pub fn processor(self) -> Option<usize> {
        ((self.0 & 0xffff) as usize).checked_sub(1)
    }
}

/// The words of an arena's ranks, as one of them has them. Nothing else is ordered by them.
pub struct Seats {
    arena: Arc<Arena>,
    own: usize,
}

impl Seats {
    /// # Panics
    /// If the arena has no such rank.
    pub fn new(arena: Arc<Arena>, own: usize) -> Seats {
        assert!(own < arena.ranks());
        Seats { arena, own }
    }

    pub fn own(&self) -> usize {
        self.own
    }

    pub fn ranks(&self) -> usize {
        self.arena.ranks()
    }

    fn word(&self, rank: usize) -> &AtomicU32 {
        self.arena.seat(rank)
    }

    /// Leaves this where the others see it.
    pub fn leave(&self, seen: Seen) {
        self.word(self.own).store(seen.0, Ordering::Relaxed);
    }

    pub fn seen(&self, rank: usize) -> Seen {
        Seen(self.word(rank).load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_rank_leaves_is_seen_by_the_others() {
        let arena = Arena::for_threads(3).unwrap();
        let [first, second] = [0, 2].map(|rank| Seats::new(arena.clone(), rank));
        assert_eq!(second.seen(0), Seen::default());
        first.leave(Seen::new(7, 5));
        second.leave(Seen::new(u32::MAX, 0));
        assert_eq!((second.seen(0).processor(), first.seen(2).processor()), (Some(5), Some(0)));
        assert_eq!(first.seen(1).processor(), None);
        assert_ne!(Seen::new(1, 5), Seen::new(2, 5));
        assert_eq!(Seen::new(1, 1 << 20).processor(), None, "such a number is not told");
    }
}
