//! The memory that the ranks of one host share for one communicator: bells, seats, a directory of rings, the rings.
//!
//! Layout: a page of header (the allocator's state), a line per rank with its bell, a line per rank with its seat (apart from the
//! bell, at which every peer looks that sends), a word per (from, to, channel) that says where the ring lies, then rings in the
//! order of their first use. A ring is made by its sender when it first sends, so memory is taken by the pairs that talk, not by
//! all pairs. Large rings leave room for small ones of all that may still come.

use super::flow;
use super::memory::Mapping;
use super::ring::{self, Dimensions};
use crate::error::{Error, ErrorKind, Result};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Channels of a pair: those of plans, and the last one for send and receive.
pub const CHANNELS: u16 = 8;
/// Cells of the smallest rings.
pub const LEAST_CELLS: u32 = 8;
const PAGE: usize = 4096;
const LINE: usize = 64;

/// Channels on which any two ranks may need a ring: two of plans (folds in a switch run ahead on the second), and the one of send and
/// receive.
const FULL_CHANNELS: usize = 3;

/// Rings that a rank may need besides, for plans on further channels. Their number, over all plans and roots, is below this (see
/// the tests).
const FURTHER_RINGS: usize = 64;

/// The least memory among processes: enough for large rings between few of them.
const LEAST_RING_BYTES: usize = 24 << 20;

/// The most memory among threads: worlds of some thousands can't have a ring between any two.
const MOST_THREAD_BYTES: usize = 16 << 30;

/// Of the word that the allocator counts in: bytes taken, in units of a ring's alignment; above them the rings made.
const UNIT: u64 = 256;
const UNIT_BITS: u32 = 36;

/// How the ranks of an arena reach each other's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Threads: any address may be lent.
    Threads,
    /// Processes: only windows may be lent, the rest is staged.
    Processes,
}

pub struct Arena {
    memory: Mapping,
    ranks: usize,
    reach: Reach,
    /// Class 0 is the ordinary ring, class 1 the small one for when memory is short.
    classes: [Dimensions; 2],
}

impl Arena {
    /// Bytes that an arena of these ranks takes at most; pages that no pair uses stay untouched.
    pub fn default_bytes(ranks: usize, reach: Reach) -> usize {
        let [large, small] = Arena::classes(ranks, reach, 0);
        let all = Arena::most_rings(ranks).saturating_mul(small.total());
        let rings = match reach {
            Reach::Threads => all.min(MOST_THREAD_BYTES),
            // A small ring for everything, and between any two a large one for the plans.
            Reach::Processes => LEAST_RING_BYTES.max(all.saturating_add(pairs(ranks).saturating_mul(large.total()))),
        };
        Arena::rings_offset(ranks) + rings
    }

    /// Rings that these ranks make at most, whatever they call.
    fn most_rings(ranks: usize) -> usize {
        let further = (ranks * FURTHER_RINGS).min(pairs(ranks) * (usize::from(CHANNELS) - FULL_CHANNELS));
        FULL_CHANNELS * pairs(ranks) + further
    }

    /// Memory among the threads of this process.
    pub fn for_threads(ranks: usize) -> Result<Arc<Arena>> {
        let bytes = Arena::default_bytes(ranks, Reach::Threads);
        Arena::new(Mapping::anonymous(bytes)?, ranks, Reach::Threads)
    }

    /// Memory among processes: each maps the same zeroed file.
    pub fn for_processes(memory: Mapping, ranks: usize) -> Result<Arc<Arena>> {
        Arena::new(memory, ranks, Reach::Processes)
    }

    fn new(memory: Mapping, ranks: usize, reach: Reach) -> Result<Arc<Arena>> {
        let rings = memory.len().saturating_sub(Arena::rings_offset(ranks));
        let classes = Arena::classes(ranks, reach, rings);
        let fewest = pairs(ranks).min(ranks * 8);
        if rings < fewest * classes[1].total() {
            let least = Arena::rings_offset(ranks) + fewest * classes[1].total();
            return Err(Error::new(
                ErrorKind::Resource,
                format!("{} bytes of shared memory are too few for {ranks} ranks on a host", memory.len()),
            )
            .remedy(format!("set UNISONO_SHM_BYTES to {least} or more")));
        }
        register_for_membarrier();
        Ok(Arc::new(Arena { memory, ranks, reach, classes }))
    }

    /// Ring sizes that every rank computes alike from what all know.
    fn classes(ranks: usize, reach: Reach, ring_bytes: usize) -> [Dimensions; 2] {
        match reach {
            Reach::Threads => {
                let cells = if ranks <= 64 { 32 } else { LEAST_CELLS };
                [Dimensions { cells, bytes: 0 }; 2]
            }
            Reach::Processes => {
                // Half of the memory for the rings of channel 0 if every pair talks, the rest for other channels.
                let budget = ring_bytes / 2 / pairs(ranks).max(1);
                let mut bytes = 1 << 20;
                while bytes > 4096 && bytes + 16 * 1024 > budget {
                    bytes /= 2;
                }
                [Dimensions { cells: 32, bytes: bytes as u32 }, Dimensions { cells: LEAST_CELLS, bytes: 4096 }]
            }
        }
    }

    fn rings_offset(ranks: usize) -> usize {
        (directory_offset(ranks) + ranks * ranks * usize::from(CHANNELS) * 8).next_multiple_of(PAGE)
    }

    pub fn reach(&self) -> Reach {
        self.reach
    }

    pub fn ranks(&self) -> usize {
        self.ranks
    }

    /// Bytes of the mapping.
    pub fn bytes(&self) -> usize {
        self.memory.len()
    }

    pub fn dimensions(&self, class: usize) -> Dimensions {
        self.classes[class]
    }

    fn allocated(&self) -> &AtomicU64 {
        // SAFETY: the first word of the header page, aligned and alive as long as self.
        unsafe { AtomicU64::from_ptr(self.memory.address().cast()) }
    }

    fn directory(&self, from: usize, to: usize, channel: u16) -> &AtomicU64 {
        assert!(from < self.ranks && to < self.ranks && channel < CHANNELS);
        let index = (from * self.ranks + to) * usize::from(CHANNELS) + usize::from(channel);
        // SAFETY: the index was just checked, so the word lies in the directory.
        unsafe { AtomicU64::from_ptr(self.memory.address().add(directory_offset(self.ranks) + index * 8).cast()) }
    }

    /// The ring of this sender, made now if it is the first time. Only the sender calls this. The second value is the class.
    pub(super) fn ring_for_sending(&self, from: usize, to: usize, channel: u16) -> Option<(*mut u8, usize)> {
        if let Some(found) = self.ring_for_receiving(from, to, channel) {
            return Some(found);
        }
        let (offset, class) = (0..2).find_map(|class| Some((self.allocate(class)?, class)))?;
        self.directory(from, to, channel).store(offset | class as u64, Ordering::Release);
        self.ring_for_receiving(from, to, channel)
    }

    pub(super) fn ring_for_receiving(&self, from: usize, to: usize, channel: u16) -> Option<(*mut u8, usize)> {
        let word = self.directory(from, to, channel).load(Ordering::Acquire);
        let (offset, class) = ((word & !0xff) as usize, (word & 0xff) as usize);
        // What another process wrote is checked before it becomes an address.
        if offset == 0 || class > 1 || offset + self.classes[class].total() > self.memory.len() {
            return None;
        }
        // SAFETY: the ring lies in the mapping, as just checked.
        Some((unsafe { self.memory.address().add(offset) }, class))
    }

    fn allocate(&self, class: usize) -> Option<u64> {
        let start = Arena::rings_offset(self.ranks) as u64;
        let all = (self.memory.len() as u64 - start) / UNIT;
        let units = |class: usize| (self.classes[class].total() as u64).div_ceil(UNIT);
        let state = self.allocated();
        let mut before = state.load(Ordering::Relaxed);
        loop {
            let (rings, used) = (before >> UNIT_BITS, before & ((1 << UNIT_BITS) - 1));
            // Where there is too little for all rings, large ones take half at most.
            let to_come = (Arena::most_rings(self.ranks) as u64).saturating_sub(rings + 1) * units(1);
            let spared = if class == 0 { to_come.min(all / 2) } else { 0 };
            if used + units(class) + spared > all {
                return None;
            }
            let after = (rings + 1) << UNIT_BITS | (used + units(class));
            match state.compare_exchange_weak(before, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(start + used * UNIT),
                Err(now) => before = now,
            }
        }
    }

    pub fn bell(self: &Arc<Self>, rank: usize) -> Bell {
        assert!(rank < self.ranks);
        // SAFETY: the line of this rank lies behind the header page, inside the mapping.
        let word = unsafe { self.memory.address().add(PAGE + rank * LINE).cast::<u32>() };
        Bell { word, arena: self.clone() }
    }

    /// The word in which a rank leaves where it waits.
    pub(super) fn seat(&self, rank: usize) -> &AtomicU32 {
        assert!(rank < self.ranks);
        // SAFETY: the line of this rank lies behind those of the bells, inside the mapping, and is aligned.
        unsafe { AtomicU32::from_ptr(self.memory.address().add(PAGE + (self.ranks + rank) * LINE).cast()) }
    }
}

/// Behind the lines of bells and seats.
fn directory_offset(ranks: usize) -> usize {
    PAGE + 2 * ranks * LINE
}

/// Ordered pairs of different ranks.
fn pairs(ranks: usize) -> usize {
    ranks * ranks.saturating_sub(1)
}

/// Where a rank sleeps, and how its peers wake it.
///
/// A peer stores what the sleeper waits for, then looks at `sleeping`. The sleeper sets `sleeping`, then looks again. Both could
/// miss each other if the peer's store were still in its store buffer; the sleeper's membarrier (or, without it, its short
/// sleep) closes that gap, so that the peer's fast path needs no fence.
#[derive(Clone)]
pub struct Bell {
    /// Two words: how often it rang, and whether its rank sleeps.
    word: *mut u32,
    #[expect(dead_code, reason = "keeps the memory mapped")]
    arena: Arc<Arena>,
}

// SAFETY: both words are only used as atomics, and the arena keeps them mapped.
unsafe impl Send for Bell {}
// SAFETY: as above.
unsafe impl Sync for Bell {}

impl Bell {
    fn rang(&self) -> &AtomicU32 {
        // SAFETY: see the type.
        unsafe { AtomicU32::from_ptr(self.word) }
    }

    fn sleeping(&self) -> &AtomicU32 {
        // SAFETY: see the type.
        unsafe { AtomicU32::from_ptr(self.word.add(1)) }
    }

    /// Wakes the rank if it sleeps.
    #[inline]
    pub fn ring(&self) {
        if flow::is_sleeping(self.sleeping()) {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        self.rang().fetch_add(1, Ordering::Release);
        // SAFETY: a futex wake reads no memory but the word's address.
        unsafe { libc::syscall(libc::SYS_futex, self.word, libc::FUTEX_WAKE, i32::MAX) };
    }

    /// Sleeps until the bell rings or `limit` passes, unless `ready` says, once we count as sleeping, that there is no need.
    pub fn sleep(&self, limit: Duration, ready: &mut dyn FnMut() -> bool) {
        let before = self.rang().load(Ordering::Acquire);
        flow::begin_sleep(self.sleeping());
        let limit = if membarrier() { limit } else { limit.min(Duration::from_millis(1)) };
        if !ready() {
            let timeout = libc::timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) };
            // SAFETY: the word is alive; the kernel compares it with `before` and returns at once if it changed.
            unsafe { libc::syscall(libc::SYS_futex, self.word, libc::FUTEX_WAIT, before, &timeout) };
        }
        flow::end_sleep(self.sleeping());
    }
}

const MEMBARRIER_GLOBAL_EXPEDITED: i32 = 2;
const MEMBARRIER_REGISTER_GLOBAL_EXPEDITED: i32 = 4;

/// Lets sleepers of other processes order our stores.
fn register_for_membarrier() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    // SAFETY: the call takes no pointers.
    *REGISTERED
        .get_or_init(|| unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_REGISTER_GLOBAL_EXPEDITED, 0) } == 0)
}

/// A full barrier on every processor that runs one of the registered processes; false if the kernel has none.
fn membarrier() -> bool {
    ring::full_fence();
    // SAFETY: the call takes no pointers.
    register_for_membarrier() && unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_GLOBAL_EXPEDITED, 0) } == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::registry;
    use crate::plan::{Operand, Problem, Step};
    use crate::topology::Layout;
    use crate::types::{Collective, LinkName};
    use std::collections::HashSet;

    fn of_processes(ranks: usize) -> Arc<Arena> {
        let memory = Mapping::anonymous(Arena::default_bytes(ranks, Reach::Processes)).unwrap();
        Arena::for_processes(memory, ranks).unwrap()
    }

    #[test]
    fn any_two_of_many_ranks_can_send_on_every_channel_that_they_need() {
        for ranks in [2, 8, 40, 48, 64, 128] {
            for arena in [of_processes(ranks), Arena::for_threads(ranks).unwrap()] {
                let further = Arena::most_rings(ranks) - FULL_CHANNELS * pairs(ranks);
                // Channels that few need come first, so that they take what they can get.
                let of_all =
                    |channel: u16| (0..ranks).flat_map(move |from| (0..ranks).map(move |to| (from, to, channel)));
                let ways = |channels: &[u16]| channels.iter().copied().flat_map(of_all).collect::<Vec<_>>();
                let apart = |(from, to, _): &(usize, usize, u16)| from != to;
                let few = ways(&[2, 3, 4, 5, 6]).into_iter().filter(apart).take(further);
                let mut made = 0;
                for (from, to, channel) in few.chain(ways(&[1, 0, CHANNELS - 1]).into_iter().filter(apart)) {
                    assert!(arena.ring_for_sending(from, to, channel).is_some(), "{ranks}: {from} {to} {channel}");
                    made += 1;
                }
                assert_eq!(made, Arena::most_rings(ranks));
            }
        }
    }

    #[test]
    fn few_ranks_have_large_rings_for_plans_and_for_send_and_receive() {
        let arena = of_processes(8);
        for channel in [0, CHANNELS - 1] {
            for (from, to) in (0..8).flat_map(|from| (0..8).map(move |to| (from, to))).filter(|(from, to)| from != to) {
                assert_eq!(arena.ring_for_sending(from, to, channel).unwrap().1, 0, "{from} {to} {channel}");
            }
        }
    }

    #[test]
    fn no_plan_needs_more_rings_than_there_is_room_for() {
        for ranks in [12, 16, 31, 48] {
            let mut further: HashSet<(usize, LinkName)> = HashSet::new();
            for problem in problems(ranks) {
                for algorithm in registry().iter().filter(|one| one.fits(&problem).is_ok()) {
                    let plan = algorithm.plan(&problem);
                    for rank in 0..ranks {
                        further.extend(links(&plan.program(rank)).map(|name| (rank, name)));
                    }
                }
            }
            assert!(
                further.iter().all(|(_, name)| name.channel < CHANNELS - 1),
                "the last one is for send and receive"
            );
            assert!(further.iter().any(|(_, name)| name.channel == 1), "the second of those that all may need");
            further.retain(|(_, name)| name.channel > 1);
            let most = Arena::most_rings(ranks) - FULL_CHANNELS * pairs(ranks);
            assert!(further.len() <= most, "{ranks} ranks: {} of {most}", further.len());
        }
    }

    /// Every root, without domains and in blocks.
    fn problems(ranks: usize) -> impl Iterator<Item = Problem> {
        let blocks = [2, ranks.div_ceil(2), ranks - 1].map(|size| Layout::Blocks(size as u32));
        let layouts = [Layout::Flat, blocks[0], blocks[1], blocks[2]];
        let even = Collective::ALL.into_iter().filter(|collective| !collective.is_uneven());
        even.flat_map(move |collective| {
            let roots = if collective.has_root() { ranks } else { 1 };
            (0..roots).flat_map(move |root| {
                layouts.map(|layout| Problem { root, layout, switch: true, ..Problem::new(collective, ranks) })
            })
        })
    }

    fn links(program: &crate::plan::Program) -> impl Iterator<Item = LinkName> {
        let moves = program.lanes.iter().flatten().flat_map(|step| match step {
            Step::Move(one) => std::slice::from_ref(one),
            Step::Repeat { body, .. } => body.as_slice(),
            Step::Wait { .. } => &[],
        });
        moves.flat_map(|one| &one.destinations).filter_map(|operand| match operand {
            Operand::Peer { rank, channel } => Some(LinkName { peer: *rank, channel: *channel }),
            Operand::Local(_) => None,
        })
    }
}
