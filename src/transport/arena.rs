//! The memory that the ranks of one host share for one communicator: bells, a directory of rings, the rings.
//!
//! Layout: a page of header (the allocator's counter), a line per rank with its bell, a word per (from, to, channel) that says
//! where the ring lies, then rings in the order of their first use. A ring is made by its sender when it first sends, so
//! memory is taken by the pairs that talk, not by all pairs.

use super::flow;
use super::memory::Mapping;
use super::ring::{self, Dimensions};
use crate::error::{Error, ErrorKind, Result};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Channels of a pair: those of plans, and the last one for send and receive.
pub const CHANNELS: u16 = 8;
const PAGE: usize = 4096;
const LINE: usize = 64;

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
        let pairs = ranks * ranks.saturating_sub(1);
        let rings = match reach {
            Reach::Threads => {
                let rings = pairs.saturating_mul(usize::from(CHANNELS));
                rings.saturating_mul(Arena::classes(ranks, reach, usize::MAX)[0].total()).min(4 << 30)
            }
            Reach::Processes => (24 << 20).max(pairs * 2 * (8 << 10)),
        };
        Arena::rings_offset(ranks) + rings
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
        let pairs = ranks * ranks.saturating_sub(1);
        if rings < pairs.min(ranks * 8) * classes[1].total() {
            let least = Arena::rings_offset(ranks) + pairs.min(ranks * 8) * classes[1].total();
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
        let pairs = (ranks * ranks.saturating_sub(1)).max(1);
        match reach {
            Reach::Threads => {
                let cells = if ranks <= 64 { 32 } else { 8 };
                [Dimensions { cells, bytes: 0 }; 2]
            }
            Reach::Processes => {
                // Half of the memory for the rings of channel 0 if every pair talks, the rest for other channels.
                let budget = ring_bytes / 2 / pairs;
                let mut bytes = 1 << 20;
                while bytes > 4096 && bytes + 16 * 1024 > budget {
                    bytes /= 2;
                }
                [Dimensions { cells: 32, bytes: bytes as u32 }, Dimensions { cells: 8, bytes: 4096 }]
            }
        }
    }

    fn rings_offset(ranks: usize) -> usize {
        (PAGE + ranks * LINE + ranks * ranks * usize::from(CHANNELS) * 8).next_multiple_of(PAGE)
    }

    pub fn reach(&self) -> Reach {
        self.reach
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
        unsafe { AtomicU64::from_ptr(self.memory.address().add(PAGE + self.ranks * LINE + index * 8).cast()) }
    }

    /// The ring of this sender, made now if it is the first time. Only the sender calls this. The second value is the class.
    pub(super) fn ring_for_sending(&self, from: usize, to: usize, channel: u16) -> Option<(*mut u8, usize)> {
        if let Some(found) = self.ring_for_receiving(from, to, channel) {
            return Some(found);
        }
        let (offset, class) = (0..2).find_map(|class| Some((self.allocate(self.classes[class].total())?, class)))?;
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

    fn allocate(&self, bytes: usize) -> Option<u64> {
        let start = Arena::rings_offset(self.ranks) as u64;
        let bytes = bytes.next_multiple_of(256) as u64;
        let taken = self.allocated();
        let mut used = taken.load(Ordering::Relaxed);
        loop {
            let end = used.checked_add(bytes)?;
            if start + end > self.memory.len() as u64 {
                return None;
            }
            match taken.compare_exchange_weak(used, end, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(start + used),
                Err(now) => used = now,
            }
        }
    }

    pub fn bell(self: &Arc<Self>, rank: usize) -> Bell {
        assert!(rank < self.ranks);
        // SAFETY: the line of this rank lies behind the header page, inside the mapping.
        let word = unsafe { self.memory.address().add(PAGE + rank * LINE).cast::<u32>() };
        Bell { word, arena: self.clone() }
    }
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
