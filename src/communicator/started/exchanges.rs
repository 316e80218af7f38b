//! Broadcast, scatter, all-to-all and barrier, started on buffers that their handle owns.

use super::buffer::Lent;
use super::{Handle, StableBuffer};
use crate::communicator::collectives::{Ask, Buffers};
use crate::communicator::{Communicator, With};
use crate::error::Result;
use crate::types::{Collective, Element, Rank};

impl Communicator {
    /// Starts [`Communicator::broadcast`].
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let handle = communicator.start_broadcast(vec![communicator.rank() as u64; 2], 1)?;
    /// assert_eq!(handle.wait()?, [1, 1]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn start_broadcast<T: Element, B: StableBuffer<T>>(&mut self, buffer: B, root: Rank) -> Result<Handle<B>> {
        self.plain().start_broadcast(buffer, root)
    }

    /// Starts [`Communicator::scatter`]; the handle gives back (input, output). The input of other ranks than the root may be empty.
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let all = if communicator.rank() == 0 { vec![1u8, 2, 3, 4] } else { vec![] };
    /// let handle = communicator.start_scatter(all, vec![0; 2], 0)?;
    /// let (_all, own) = handle.wait()?;
    /// assert_eq!(own, [[1, 2], [3, 4]][communicator.rank()]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn start_scatter<T: Element, A: StableBuffer<T>, B: StableBuffer<T>>(
        &mut self,
        input: A,
        output: B,
        root: Rank,
    ) -> Result<Handle<(A, B)>> {
        self.plain().start_scatter(input, output, root)
    }

    /// Starts [`Communicator::all_to_all`]; the handle gives back (input, output).
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let rank = communicator.rank() as u8;
    /// let handle = communicator.start_all_to_all(vec![rank; 2], vec![0; 2])?;
    /// let (_input, output) = handle.wait()?;
    /// assert_eq!(output, [0, 1]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn start_all_to_all<T: Element, A: StableBuffer<T>, B: StableBuffer<T>>(
        &mut self,
        input: A,
        output: B,
    ) -> Result<Handle<(A, B)>> {
        self.plain().start_all_to_all(input, output)
    }

    /// Starts [`Communicator::all_to_all_v`]; the handle gives back (input, output).
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// // Rank 0 sends two elements to rank 1, and nothing else is sent.
    /// let (input, to, from) = if communicator.rank() == 0 { (vec![1u8, 2], [0, 2], [0, 0]) } else { (vec![], [0, 0], [2, 0]) };
    /// let output = vec![0; from.iter().sum::<u64>() as usize];
    /// let handle = communicator.start_all_to_all_v(input, &to, output, &from)?;
    /// let (_input, output) = handle.wait()?;
    /// assert_eq!(output, [vec![], vec![1, 2]][communicator.rank()]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn start_all_to_all_v<T: Element, A: StableBuffer<T>, B: StableBuffer<T>>(
        &mut self,
        input: A,
        input_counts: &[u64],
        output: B,
        output_counts: &[u64],
    ) -> Result<Handle<(A, B)>> {
        self.plain().start_all_to_all_v(input, input_counts, output, output_counts)
    }

    /// Starts [`Communicator::barrier`].
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let everyone_is_here = communicator.start_barrier()?;
    /// // what needs nobody else
    /// everyone_is_here.wait()?;
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn start_barrier(&mut self) -> Result<Handle<()>> {
        self.plain().start_barrier()
    }
}

impl With<'_> {
    pub fn start_broadcast<T: Element, B: StableBuffer<T>>(self, buffer: B, root: Rank) -> Result<Handle<B>> {
        self.start_in_place(Ask::of(Collective::Broadcast).at(root), buffer)
    }

    pub fn start_scatter<T: Element, A: StableBuffer<T>, B: StableBuffer<T>>(
        self,
        input: A,
        output: B,
        root: Rank,
    ) -> Result<Handle<(A, B)>> {
        self.start_apart(Ask::of(Collective::Scatter).at(root), input, output)
    }

    pub fn start_all_to_all<T: Element, A: StableBuffer<T>, B: StableBuffer<T>>(
        self,
        input: A,
        output: B,
    ) -> Result<Handle<(A, B)>> {
        self.start_apart(Ask::of(Collective::AllToAll), input, output)
    }

    pub fn start_all_to_all_v<T: Element, A: StableBuffer<T>, B: StableBuffer<T>>(
        self,
        input: A,
        input_counts: &[u64],
        output: B,
        output_counts: &[u64],
    ) -> Result<Handle<(A, B)>> {
        let counts = self.communicator.pairwise(input_counts, output_counts);
        self.start_apart(Ask::of(Collective::AllToAllV).with(counts), input, output)
    }

    pub fn start_barrier(self) -> Result<Handle<()>> {
        // SAFETY: the operation uses no buffer of the caller's.
        let ticket =
            unsafe { self.communicator.start::<u8>(Ask::of(Collective::Barrier), Buffers::Token, &self.options)? };
        Ok(self.communicator.handle(ticket, Lent::new(())))
    }
}
