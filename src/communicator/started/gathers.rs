//! All-gather and gather, started on buffers that their handle owns.

use super::{Handle, StableBuffer};
use crate::communicator::collectives::Ask;
use crate::communicator::{Communicator, With};
use crate::error::Result;
use crate::types::{Collective, Element, Rank};

impl Communicator {
    /// Starts [`Communicator::all_gather`]; the handle gives back (input, output).
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let own = vec![communicator.rank() as u8];
    /// let handle = communicator.start_all_gather(own, vec![0; 2])?;
    /// let (_own, all) = handle.wait()?;
    /// assert_eq!(all, [0, 1]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn start_all_gather<T: Element, A: StableBuffer<T>, B: StableBuffer<T>>(
        &mut self,
        input: A,
        output: B,
    ) -> Result<Handle<(A, B)>> {
        self.plain().start_all_gather(input, output)
    }

    /// Starts [`Communicator::all_gather_v`]; the handle gives back (input, output).
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let own = [vec![7u8, 8], vec![9]].swap_remove(communicator.rank());
    /// let handle = communicator.start_all_gather_v(own, vec![0; 3], &[2, 1])?;
    /// let (_own, all) = handle.wait()?;
    /// assert_eq!(all, [7, 8, 9]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn start_all_gather_v<T: Element, A: StableBuffer<T>, B: StableBuffer<T>>(
        &mut self,
        input: A,
        output: B,
        counts: &[u64],
    ) -> Result<Handle<(A, B)>> {
        self.plain().start_all_gather_v(input, output, counts)
    }

    /// Starts [`Communicator::gather`]; the handle gives back (input, output). The output of other ranks than the root may be empty.
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let own = vec![communicator.rank() as u8; 2];
    /// let all = vec![0; if communicator.rank() == 0 { 4 } else { 0 }];
    /// let handle = communicator.start_gather(own, all, 0)?;
    /// let (_own, all) = handle.wait()?;
    /// assert_eq!(all, [vec![0, 0, 1, 1], vec![]][communicator.rank()]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn start_gather<T: Element, A: StableBuffer<T>, B: StableBuffer<T>>(
        &mut self,
        input: A,
        output: B,
        root: Rank,
    ) -> Result<Handle<(A, B)>> {
        self.plain().start_gather(input, output, root)
    }
}

impl With<'_> {
    pub fn start_all_gather<T: Element, A: StableBuffer<T>, B: StableBuffer<T>>(
        self,
        input: A,
        output: B,
    ) -> Result<Handle<(A, B)>> {
        self.start_apart(Ask::of(Collective::AllGather), input, output)
    }

    pub fn start_all_gather_v<T: Element, A: StableBuffer<T>, B: StableBuffer<T>>(
        self,
        input: A,
        output: B,
        counts: &[u64],
    ) -> Result<Handle<(A, B)>> {
        let counts = self.communicator.per_rank(counts);
        self.start_apart(Ask::of(Collective::AllGatherV).with(counts), input, output)
    }

    pub fn start_gather<T: Element, A: StableBuffer<T>, B: StableBuffer<T>>(
        self,
        input: A,
        output: B,
        root: Rank,
    ) -> Result<Handle<(A, B)>> {
        self.start_apart(Ask::of(Collective::Gather).at(root), input, output)
    }
}
