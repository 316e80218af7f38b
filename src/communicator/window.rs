//! Windows: memory of the same size on every rank, which the peers of a host read where it lies.

use super::create::{FileHope, Origin, tag};
use super::started::StableBuffer;
use super::{Communicator, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::room::{self, Limit};
use crate::transport::memory::{self, Mapping};
use crate::transport::window;
use crate::types::{Element, Rank, TransportKind};
use std::collections::HashMap;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Weak};
use std::time::Instant;

/// This rank's part of memory that all ranks allocated together; a slice, zeroed at first.
///
/// Collectives on a slice of it need no staging between processes of one host, if they are the allocating communicator's: to any
/// other, split off or not, it is ordinary memory. Its memory is returned by [`Communicator::free`], or when both the window and
/// the communicator are dropped.
pub struct Window<T> {
    id: u32,
    /// Of the communicator that allocated it, and that one's name.
    owner: Weak<Shared>,
    communicator: u64,
    memory: Arc<window::Window>,
    /// Which of the parts is ours.
    part: usize,
    len: usize,
    marker: PhantomData<T>,
}

// SAFETY: a window is a buffer of plain values that this rank alone writes; peers read it only while an operation lends it.
unsafe impl<T: Element> Send for Window<T> {}
// SAFETY: as above; `&Window` gives only shared slices.
unsafe impl<T: Element> Sync for Window<T> {}

impl<T: Element> Window<T> {
    fn start(&self) -> *mut T {
        self.memory.memory.address().wrapping_add(self.part * self.memory.part_bytes).cast()
    }
}

impl<T: Element> Deref for Window<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: the part is mapped as long as `memory` lives, page-aligned, `len` elements long, zeroed or written by us.
        unsafe { std::slice::from_raw_parts(self.start(), self.len) }
    }
}

impl<T: Element> DerefMut for Window<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`, and nobody but this value writes the part.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.len) }
    }
}

// SAFETY: the elements are in a mapping.
unsafe impl<T: Element> StableBuffer<T> for Window<T> {
    fn elements(&mut self) -> &mut [T] {
        self
    }
}

impl Communicator {
    /// Allocates `len` elements on every rank. Collective, with the same `len` on all ranks. Blocks.
    ///
    /// Pages are taken as they are touched, so before anything is mapped every rank looks whether its host can have all of them:
    /// the parts of all its ranks together must fit into MemAvailable of /proc/meminfo and into what the memory limits of the
    /// control groups leave, what this process maps into its `ulimit -v`, shared parts into `ulimit -f`. Swap does not count, nor
    /// what others take later: such memory may still run out.
    ///
    /// # Errors
    /// On all ranks alike, and the communicator can go on: `InvalidArgument` if their lengths differ, `Resource` if a host has too
    /// little memory, with the rank that found so. Otherwise as [`Communicator::all_reduce`].
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp};
    /// let mut alone = Communicator::local(1)?.pop().unwrap();
    /// let mut window = alone.alloc::<f32>(1024)?;
    /// window.fill(1.0);
    /// alone.all_reduce_in_place(&mut window, ReduceOp::Sum)?;
    /// alone.free(window)?;
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn alloc<T: Element>(&mut self, len: usize) -> Result<Window<T>> {
        let bytes = (len as u64).saturating_mul(size_of::<T>() as u64);
        self.agree_on_window(bytes)?;
        self.children += 1;
        let id = self.children as u32;
        let part_bytes = bytes.max(1).next_multiple_of(PAGE) as usize;
        let made = self.map_window(id, part_bytes);
        let (memory, part) = made.map_err(|error| self.control.fail(error).on_rank(self.rank))?;
        let (owner, communicator) = (Arc::downgrade(&self.shared), self.control.communicator());
        let window: Window<T> = Window { id, owner, communicator, memory, part, len, marker: PhantomData };
        self.shared.lock().links.add_window(id, window.start().cast(), part_bytes);
        // Nobody lends before everybody has mapped.
        self.barrier()?;
        Ok(window)
    }

    /// Returns a window's memory. Collective, in the same order on all ranks. Blocks.
    ///
    /// # Errors
    /// `InvalidArgument` on all ranks if one of them gives a window of another communicator, or they give different ones; what was
    /// given then is dropped. Otherwise as [`Communicator::all_reduce`].
    pub fn free<T: Element>(&mut self, window: Window<T>) -> Result<()> {
        let is_own = std::ptr::eq(window.owner.as_ptr(), Arc::as_ptr(&self.shared));
        let own = [if is_own { 0 } else { 1 }, window.communicator, u64::from(window.id)];
        let mut all = vec![0u64; own.len() * self.size];
        // Nobody unmaps before everybody has come.
        self.all_gather(&own, &mut all)?;
        let given: Vec<[u64; 3]> = all.chunks_exact(own.len()).map(|one| [one[0], one[1], one[2]]).collect();
        if let Some((rank, [_, other, _])) = given.iter().enumerate().find(|(_, [is_foreign, ..])| *is_foreign != 0) {
            let this = self.control.communicator();
            let text = format!("rank {rank} frees a window of communicator {other:016x} on communicator {this:016x}");
            return Err(self
                .invalid(text)
                .with_peer(rank)
                .remedy("free every window on the communicator that allocated it"));
        }
        if let Some((odd, usual)) = odd_one_out(&given) {
            let number = |rank: Rank| given[rank][2];
            let text = format!("rank {odd} frees window {}, rank {usual} window {}", number(odd), number(usual));
            return Err(self.invalid(text).with_peer(odd).remedy("free windows in the same order on all ranks"));
        }
        let mut engine = self.shared.lock();
        engine.links.remove_window(window.id);
        Ok(())
    }

    /// Agrees that every rank wants a window of so many bytes and that every host has room for them; else all ranks return
    /// the same error.
    fn agree_on_window(&mut self, bytes: u64) -> Result<()> {
        let (limit, left) = self.what_a_window_exceeds(bytes).unwrap_or((0, 0));
        let own = [bytes, limit, left, self.local_ranks as u64];
        let mut all = vec![0u64; own.len() * self.size];
        self.all_gather(&own, &mut all)?;
        let wanted: Vec<u64> = all.chunks_exact(own.len()).map(|one| one[0]).collect();
        if let Some((odd, usual)) = odd_one_out(&wanted) {
            let text = format!(
                "rank {odd} allocates a window of {} bytes, rank {usual} one of {}",
                wanted[odd], wanted[usual]
            );
            return Err(self
                .invalid(text)
                .with_peer(odd)
                .remedy("allocate as many elements of the same type on all ranks"));
        }
        let refused = all.chunks_exact(own.len()).enumerate().find(|(_, one)| one[1] > 0);
        let Some((rank, &[_, limit, left, neighbours])) = refused else { return Ok(()) };
        let part = room::shown(bytes);
        let why = match Limit::ALL.get(limit as usize - 1) {
            Some(limit) => format!("{} {}", room::shown(left), limit.describe()),
            None => "no process can map as much".to_owned(),
        };
        let text =
            format!("rank {rank} can't have a window of {part} on each of the {neighbours} ranks of its host: {why}");
        let error = Error::new(ErrorKind::Resource, text).on_rank(self.rank).with_peer(rank);
        Err(error.remedy("allocate less, or have the other memory there freed").agreed())
    }

    /// The number of the limit, from 1, that does not leave enough for the windows of this host, and what it leaves.
    fn what_a_window_exceeds(&self, bytes: u64) -> Option<(u64, u64)> {
        // The parts of all ranks, should they be on one host, are one mapping.
        let can_be_mapped = |part: &u64| part.checked_mul(self.size as u64).is_some_and(|all| all < isize::MAX as u64);
        let Some(part) = bytes.checked_next_multiple_of(PAGE).filter(can_be_mapped) else {
            return Some((Limit::ALL.len() as u64 + 1, 0));
        };
        let shared = self.local_members().len() as u64;
        let is_threads = matches!(self.origin, Origin::Threads(_));
        let exceeds = |limit: &Limit| {
            let parts = match limit {
                Limit::Available | Limit::Group => self.local_ranks as u64,
                Limit::AddressSpace if is_threads => self.local_ranks as u64,
                Limit::AddressSpace => shared,
                Limit::FileSize if is_threads || shared == 1 => 0,
                Limit::FileSize => shared,
            };
            let wanted = part.saturating_mul(parts);
            let left = limit.left().filter(|left| *left < wanted)?;
            let number = Limit::ALL.iter().position(|one| one == limit).expect("it is one of them");
            Some((number as u64 + 1, left))
        };
        Limit::ALL.iter().find_map(exceeds)
    }

    /// The ranks with which this one shares windows, itself among them.
    fn local_members(&self) -> Vec<Rank> {
        let is_local = |rank: &Rank| *rank == self.rank || self.transports[*rank] == Some(TransportKind::Shm);
        (0..self.size).filter(is_local).collect()
    }

    fn map_window(&mut self, id: u32, part_bytes: usize) -> Result<(Arc<window::Window>, usize)> {
        let local = self.local_members();
        let Origin::Processes(world) = self.origin.clone() else {
            return Ok((Arc::new(window::Window { memory: Mapping::anonymous(part_bytes)?, part_bytes }), 0));
        };
        // Where no rank has neighbours there are no files, and all ranks know it.
        let file = match local[0] == self.rank && local.len() > 1 {
            true => Some(memory::create_file(part_bytes * local.len()).inspect_err(|error| {
                self.control.fail(error.clone());
            })?),
            false => None,
        };
        // Nobody waits for a file that could not be made: that shows here.
        self.barrier()?;
        if local.len() == 1 {
            return Ok((Arc::new(window::Window { memory: Mapping::anonymous(part_bytes)?, part_bytes }), 0));
        }
        let members: Vec<Rank> = local.iter().map(|rank| self.control.member(*rank)).collect();
        let hope = FileHope { deadline: Instant::now() + self.timeout, hopeless: &|| self.control.failure() };
        let name = tag(self.control.communicator(), u64::from(id) << 33);
        let memory = world.share_file(&members, name, file, part_bytes * local.len(), &hope)?;
        let window = Arc::new(window::Window { memory, part_bytes });
        self.shared.lock().links.share_window(id, window.clone());
        let part = local.iter().position(|rank| *rank == self.rank).expect("we are local");
        Ok((window, part))
    }
}

/// Windows and their parts begin with one.
const PAGE: u64 = 4096;

/// The first rank whose value is not the most common one, and the first that has that one; None if all agree.
fn odd_one_out<T: Copy + Eq + std::hash::Hash>(all: &[T]) -> Option<(Rank, Rank)> {
    let mut counts: HashMap<T, usize> = HashMap::new();
    all.iter().for_each(|value| *counts.entry(*value).or_default() += 1);
    let most = counts.values().copied().max()?;
    let usual = all.iter().position(|value| counts[value] == most)?;
    let odd = all.iter().position(|value| *value != all[usual])?;
    Some((odd, usual))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the body on a rank in a thread each.
    fn on_threads<R: Send>(size: usize, body: impl Fn(&mut Communicator) -> R + Sync) -> Vec<R> {
        let body = &body;
        std::thread::scope(|threads| {
            let ranks: Vec<_> = Communicator::local(size)
                .unwrap()
                .into_iter()
                .map(|mut communicator| threads.spawn(move || body(&mut communicator)))
                .collect();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    }

    #[test]
    fn a_length_that_differs_is_the_same_error_on_all_ranks() {
        for odd_len in [8usize, 1 << 44, usize::MAX] {
            for error in on_threads(3, |communicator| {
                let len = if communicator.rank() == 1 { odd_len } else { 7 };
                let error = communicator.alloc::<f64>(len).map(|_| ()).unwrap_err();
                communicator.barrier().unwrap();
                error
            }) {
                assert_eq!((error.kind(), error.peer()), (ErrorKind::InvalidArgument, Some(1)), "{error}");
                assert!(error.message().starts_with("rank 1 allocates a window of "), "{error}");
                assert!(error.message().ends_with("rank 0 one of 56"), "{error}");
            }
        }
    }

    #[test]
    fn what_the_host_has_not_is_refused_on_all_ranks_and_they_go_on() {
        let sixteen_tib = 1usize << 44;
        let mut cases = vec![sixteen_tib, usize::MAX];
        // One part would fit, the parts of all ranks don't.
        cases.extend(Limit::Available.left().map(|bytes| bytes as usize / 2));
        for len in cases {
            for error in on_threads(3, |communicator| {
                let error = communicator.alloc::<u8>(len).map(|_| ()).unwrap_err();
                let window = communicator.alloc::<u8>(5).unwrap();
                communicator.free(window).unwrap();
                error
            }) {
                assert_eq!((error.kind(), error.peer()), (ErrorKind::Resource, Some(0)), "{error}");
                assert!(error.communicator_is_usable(), "{error}");
                assert!(error.message().starts_with("rank 0 can't have a window of "), "{error}");
            }
        }
    }

    #[test]
    fn a_window_is_freed_only_where_it_was_allocated() {
        on_threads(2, |communicator| {
            let mut copy = communicator.duplicate().unwrap();
            let mut stranger = Communicator::local(1).unwrap().pop().unwrap();
            let names = [&*communicator, &copy].map(|one| format!("{:016x}", one.control.communicator()));
            let (own, theirs) = (communicator.alloc::<u32>(9).unwrap(), copy.alloc::<u32>(9).unwrap());
            // Both have the same number on their communicators. One rank mistakes one for the other, both hear of it.
            let given = if communicator.rank() == 1 { own } else { theirs };
            let error = copy.free(given).unwrap_err();
            assert_eq!((error.kind(), error.peer()), (ErrorKind::InvalidArgument, Some(1)), "{error}");
            assert!(names.iter().all(|name| error.message().contains(name)), "{error}");
            // Worlds of threads all have the same name.
            let own = communicator.alloc::<u32>(9).unwrap();
            assert_eq!(stranger.free(own).unwrap_err().kind(), ErrorKind::InvalidArgument);
            let (first, second) = (communicator.alloc::<u32>(9).unwrap(), communicator.alloc::<u32>(9).unwrap());
            let given = if communicator.rank() == 1 { first } else { second };
            let error = communicator.free(given).unwrap_err();
            assert!(error.message().starts_with("rank 1 frees window "), "{error}");
            communicator.barrier().unwrap();
        });
    }

    #[test]
    fn the_rank_that_differs_from_most_is_the_odd_one() {
        assert_eq!(odd_one_out(&[4, 4, 4]), None);
        assert_eq!(odd_one_out(&[9, 4, 4]), Some((0, 1)));
        assert_eq!(odd_one_out(&[4, 9]), Some((1, 0)));
    }
}
