//! Windows: memory of the same size on every rank, which the peers of a host read where it lies.

use super::Communicator;
use super::create::Origin;
use super::create::tag;
use super::started::StableBuffer;
use crate::error::{Error, ErrorKind, Result};
use crate::transport::memory::Mapping;
use crate::transport::window;
use crate::types::{Element, Rank, TransportKind};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Instant;

/// This rank's part of memory that all ranks allocated together; a slice, zeroed at first.
///
/// Collectives on a slice of it need no staging between processes of one host. Its memory is returned by
/// [`Communicator::free`], or when both the window and the communicator are dropped.
pub struct Window<T> {
    id: u32,
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
    /// # Errors
    /// `InvalidArgument` on all ranks if their lengths differ, `Resource` where there is no memory.
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
        let bytes = len.checked_mul(size_of::<T>()).filter(|bytes| *bytes < isize::MAX as usize / (self.size + 1));
        let bytes = bytes.ok_or_else(|| self.invalid(format!("a window of {len} elements is too large")))?;
        let mut all = vec![0u64; self.size];
        self.all_gather(&[bytes as u64], &mut all)?;
        if let Some(other) = all.iter().position(|one| *one != bytes as u64) {
            return Err(self.invalid(format!(
                "rank {other} allocates a window of {} bytes, this rank one of {bytes}",
                all[other]
            )));
        }
        self.children += 1;
        let id = self.children as u32;
        let part_bytes = bytes.max(1).next_multiple_of(4096);
        let made = self.map_window(id, part_bytes);
        let (memory, part) = made.map_err(|error| self.control.fail(error).on_rank(self.rank))?;
        let window: Window<T> = Window { id, memory, part, len, marker: PhantomData };
        self.shared.lock().links.add_window(id, window.start().cast(), part_bytes);
        // Nobody lends before everybody has mapped.
        self.barrier()?;
        Ok(window)
    }

    /// Returns a window's memory. Collective, in the same order on all ranks. Blocks.
    pub fn free<T: Element>(&mut self, window: Window<T>) -> Result<()> {
        self.barrier()?;
        let mut engine = self.shared.lock();
        engine.links.remove_window(window.id);
        Ok(())
    }

    fn map_window(&self, id: u32, part_bytes: usize) -> Result<(Arc<window::Window>, usize)> {
        let local: Vec<Rank> = (0..self.size)
            .filter(|rank| *rank == self.rank || self.transports[*rank] == Some(TransportKind::Shm))
            .collect();
        match &self.origin {
            Origin::Processes(world) if local.len() > 1 => {
                let members: Vec<Rank> = local.iter().map(|rank| self.control.member(*rank)).collect();
                let own = self.control.member(self.rank);
                let deadline = Instant::now() + self.timeout;
                let bytes = part_bytes.checked_mul(local.len()).ok_or_else(|| {
                    Error::new(
                        ErrorKind::Resource,
                        format!("a window of {part_bytes} bytes on {} ranks is too large", local.len()),
                    )
                })?;
                let name = tag(self.control.communicator(), u64::from(id) << 33);
                let memory = world.share_memory(own, &members, name, bytes, deadline)?;
                let window = Arc::new(window::Window { memory, part_bytes });
                self.shared.lock().links.share_window(id, window.clone());
                let part = local.iter().position(|rank| *rank == self.rank).expect("we are local");
                Ok((window, part))
            }
            _ => Ok((Arc::new(window::Window { memory: Mapping::anonymous(part_bytes)?, part_bytes }), 0)),
        }
    }
}
