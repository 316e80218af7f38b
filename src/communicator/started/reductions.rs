//! All-reduce, reduce and reduce-scatter, started on buffers that their handle owns.

use super::{Handle, StableBuffer};
use crate::communicator::collectives::Ask;
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
}
