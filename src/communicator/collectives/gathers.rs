//! The collectives that bring the blocks of all ranks together: all-gather and gather.

use super::{Ask, Buffers, With};
use crate::communicator::Communicator;
use crate::error::Result;
use crate::types::{Collective, Element, Rank};

impl Communicator {
    /// Gathers every rank's `input` into `output`, in the order of the ranks, on every rank. `output` is as long as all inputs
    /// together, which have the same length. Blocks.
    ///
    /// # Errors
    /// As [`Communicator::all_reduce`].
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let own = [communicator.rank() as u8; 2];
    /// let mut all = [9; 4];
    /// communicator.all_gather(&own, &mut all)?;
    /// assert_eq!(all, [0, 0, 1, 1]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn all_gather<T: Element>(&mut self, input: &[T], output: &mut [T]) -> Result<()> {
        self.plain().all_gather(input, output)
    }

    /// As [`Communicator::all_gather`]; the rank's own block of `buffer` is its input.
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let mut all = [0u8; 2];
    /// all[communicator.rank()] = 7;
    /// communicator.all_gather_in_place(&mut all)?;
    /// assert_eq!(all, [7, 7]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn all_gather_in_place<T: Element>(&mut self, buffer: &mut [T]) -> Result<()> {
        self.plain().all_gather_in_place(buffer)
    }

    /// As [`Communicator::all_gather`], with blocks of `counts[rank]` elements (0 is legal); equal on all ranks.
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let counts = [1, 2];
    /// let own = vec![communicator.rank() as i64; counts[communicator.rank()] as usize];
    /// let mut all = [9; 3];
    /// communicator.all_gather_v(&own, &mut all, &counts)?;
    /// assert_eq!(all, [0, 1, 1]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn all_gather_v<T: Element>(&mut self, input: &[T], output: &mut [T], counts: &[u64]) -> Result<()> {
        self.plain().all_gather_v(input, output, counts)
    }

    /// As [`Communicator::all_gather_v`]; the rank's own block of `buffer` is its input.
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let mut all = if communicator.rank() == 0 { [5u8, 0, 0] } else { [0, 6, 7] };
    /// communicator.all_gather_v_in_place(&mut all, &[1, 2])?;
    /// assert_eq!(all, [5, 6, 7]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn all_gather_v_in_place<T: Element>(&mut self, buffer: &mut [T], counts: &[u64]) -> Result<()> {
        self.plain().all_gather_v_in_place(buffer, counts)
    }

    /// Gathers every rank's `input` into the root's `output` (ignored elsewhere), in the order of the ranks. Blocks.
    ///
    /// # Errors
    /// As [`Communicator::broadcast`].
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let mut all = vec![0u8; if communicator.rank() == 0 { 2 } else { 0 }];
    /// communicator.gather(&[communicator.rank() as u8 + 1], &mut all, 0)?;
    /// assert_eq!(all, [vec![1, 2], vec![]][communicator.rank()]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn gather<T: Element>(&mut self, input: &[T], output: &mut [T], root: Rank) -> Result<()> {
        self.plain().gather(input, output, root)
    }

    /// As [`Communicator::gather`]; the root's own block of its `buffer` is its input, elsewhere `buffer` is the input.
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let mut data = if communicator.rank() == 0 { vec![1u8, 0] } else { vec![2] };
    /// communicator.gather_in_place(&mut data, 0)?;
    /// assert_eq!(data, [vec![1, 2], vec![2]][communicator.rank()]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn gather_in_place<T: Element>(&mut self, buffer: &mut [T], root: Rank) -> Result<()> {
        self.plain().gather_in_place(buffer, root)
    }
}

impl With<'_> {
    pub fn all_gather<T: Element>(self, input: &[T], output: &mut [T]) -> Result<()> {
        self.run(Ask::of(Collective::AllGather), Buffers::Apart(input, output))
    }

    pub fn all_gather_in_place<T: Element>(self, buffer: &mut [T]) -> Result<()> {
        self.run(Ask::of(Collective::AllGather), Buffers::InPlace(buffer))
    }

    pub fn all_gather_v<T: Element>(self, input: &[T], output: &mut [T], counts: &[u64]) -> Result<()> {
        let counts = self.communicator.per_rank(counts);
        self.run(Ask::of(Collective::AllGatherV).with(counts), Buffers::Apart(input, output))
    }

    pub fn all_gather_v_in_place<T: Element>(self, buffer: &mut [T], counts: &[u64]) -> Result<()> {
        let counts = self.communicator.per_rank(counts);
        self.run(Ask::of(Collective::AllGatherV).with(counts), Buffers::InPlace(buffer))
    }

    pub fn gather<T: Element>(self, input: &[T], output: &mut [T], root: Rank) -> Result<()> {
        self.run(Ask::of(Collective::Gather).at(root), Buffers::Apart(input, output))
    }

    pub fn gather_in_place<T: Element>(self, buffer: &mut [T], root: Rank) -> Result<()> {
        self.run(Ask::of(Collective::Gather).at(root), Buffers::InPlace(buffer))
    }
}
