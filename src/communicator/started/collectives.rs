//! Every collective, started on buffers that its handle owns.

use super::buffer::Lent;
use super::{Handle, StableBuffer};
use crate::communicator::collectives::{Ask, Buffers};
use crate::communicator::{Communicator, With};
use crate::error::Result;
use crate::types::{Collective, Element, Rank, ReduceOp};

impl Communicator {
    /// Starts [`Communicator::all_reduce_in_place`] on a buffer that the handle owns. Does not wait for other ranks:
    /// connections that a plan needs for the first time are made meanwhile, by a thread. This holds for all that is started.
    ///
    /// # Errors
    /// `InvalidArgument` as the blocking call, and what the communicator has failed with before; the buffers are dropped then. What
    /// happens later is told by the handle.
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let handle = communicator.start_all_reduce(vec![1.0f32; 8], ReduceOp::Sum)?;
    /// // something useful
    /// assert_eq!(handle.wait()?, [2.0; 8]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn start_all_reduce<T: Element, B: StableBuffer<T>>(&mut self, buffer: B, op: ReduceOp) -> Result<Handle<B>> {
        self.plain().start_all_reduce(buffer, op)
    }

    /// Starts [`Communicator::reduce`]; the handle gives back (input, output). The output of other ranks than the root may be empty.
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let output = vec![0i32; if communicator.rank() == 1 { 2 } else { 0 }];
    /// let handle = communicator.start_reduce(vec![1i32, 2], output, ReduceOp::Sum, 1)?;
    /// let (_input, output) = handle.wait()?;
    /// assert_eq!(output, [vec![], vec![2, 4]][communicator.rank()]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn start_reduce<T: Element, A: StableBuffer<T>, B: StableBuffer<T>>(
        &mut self,
        input: A,
        output: B,
        op: ReduceOp,
        root: Rank,
    ) -> Result<Handle<(A, B)>> {
        self.plain().start_reduce(input, output, op, root)
    }

    /// Starts [`Communicator::reduce_scatter`]; the handle gives back (input, output).
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let handle = communicator.start_reduce_scatter(vec![1i32, 2], vec![0; 1], ReduceOp::Sum)?;
    /// let (_input, own) = handle.wait()?;
    /// assert_eq!(own, [[2], [4]][communicator.rank()]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn start_reduce_scatter<T: Element, A: StableBuffer<T>, B: StableBuffer<T>>(
        &mut self,
        input: A,
        output: B,
        op: ReduceOp,
    ) -> Result<Handle<(A, B)>> {
        self.plain().start_reduce_scatter(input, output, op)
    }

    /// Starts [`Communicator::reduce_scatter_v`]; the handle gives back (input, output).
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let own = vec![0i32; [2, 1][communicator.rank()]];
    /// let handle = communicator.start_reduce_scatter_v(vec![1i32, 2, 3], own, &[2, 1], ReduceOp::Sum)?;
    /// let (_input, own) = handle.wait()?;
    /// assert_eq!(own, [vec![2, 4], vec![6]][communicator.rank()]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn start_reduce_scatter_v<T: Element, A: StableBuffer<T>, B: StableBuffer<T>>(
        &mut self,
        input: A,
        output: B,
        counts: &[u64],
        op: ReduceOp,
    ) -> Result<Handle<(A, B)>> {
        self.plain().start_reduce_scatter_v(input, output, counts, op)
    }

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
    pub fn start_all_reduce<T: Element, B: StableBuffer<T>>(self, buffer: B, op: ReduceOp) -> Result<Handle<B>> {
        self.start_in_place(Ask::of(Collective::AllReduce).by(op), buffer)
    }

    pub fn start_reduce<T: Element, A: StableBuffer<T>, B: StableBuffer<T>>(
        self,
        input: A,
        output: B,
        op: ReduceOp,
        root: Rank,
    ) -> Result<Handle<(A, B)>> {
        self.start_apart(Ask::of(Collective::Reduce).by(op).at(root), input, output)
    }

    pub fn start_reduce_scatter<T: Element, A: StableBuffer<T>, B: StableBuffer<T>>(
        self,
        input: A,
        output: B,
        op: ReduceOp,
    ) -> Result<Handle<(A, B)>> {
        self.start_apart(Ask::of(Collective::ReduceScatter).by(op), input, output)
    }

    pub fn start_reduce_scatter_v<T: Element, A: StableBuffer<T>, B: StableBuffer<T>>(
        self,
        input: A,
        output: B,
        counts: &[u64],
        op: ReduceOp,
    ) -> Result<Handle<(A, B)>> {
        let counts = self.communicator.per_rank(counts);
        self.start_apart(Ask::of(Collective::ReduceScatterV).by(op).with(counts), input, output)
    }

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
