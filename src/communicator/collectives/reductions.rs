//! The collectives that compute: all-reduce, reduce, reduce-scatter.

use super::{Ask, Buffers, With};
use crate::communicator::Communicator;
use crate::error::Result;
use crate::types::{Collective, Element, Rank, ReduceOp};

impl Communicator {
    /// Reduces `input` over all ranks into `output` on every rank. Both have the same length on every rank. Blocks.
    ///
    /// # Errors
    /// `InvalidArgument` for lengths that differ; `Mismatch`, `Timeout`, `PeerLost`, `Aborted` as [`crate::ErrorKind`] says.
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp};
    /// let mut alone = Communicator::local(1)?.pop().unwrap();
    /// let mut output = [0i32; 3];
    /// alone.all_reduce(&[1, 2, 3], &mut output, ReduceOp::Sum)?;
    /// assert_eq!(output, [1, 2, 3]);
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn all_reduce<T: Element>(&mut self, input: &[T], output: &mut [T], op: ReduceOp) -> Result<()> {
        self.plain().all_reduce(input, output, op)
    }

    /// As [`Communicator::all_reduce`], on one buffer. After an error its content is lost.
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let mut data = [communicator.rank() as f32 + 1.0; 3]; // 1 on rank 0, 2 on rank 1
    /// communicator.all_reduce_in_place(&mut data, ReduceOp::Avg)?;
    /// assert_eq!(data, [1.5; 3]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn all_reduce_in_place<T: Element>(&mut self, buffer: &mut [T], op: ReduceOp) -> Result<()> {
        self.plain().all_reduce_in_place(buffer, op)
    }

    /// Reduces `input` over all ranks into the root's `output` (ignored elsewhere). Blocks.
    ///
    /// # Errors
    /// As [`Communicator::broadcast`].
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let mut product = vec![0i32; if communicator.rank() == 1 { 2 } else { 0 }];
    /// communicator.reduce(&[2, 3], &mut product, ReduceOp::Prod, 1)?;
    /// assert_eq!(product, [vec![], vec![4, 9]][communicator.rank()]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn reduce<T: Element>(&mut self, input: &[T], output: &mut [T], op: ReduceOp, root: Rank) -> Result<()> {
        self.plain().reduce(input, output, op, root)
    }

    /// As [`Communicator::reduce`]; the root's buffer takes the result, the others' stay as they are.
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let mut data = [communicator.rank() as i32 + 1];
    /// communicator.reduce_in_place(&mut data, ReduceOp::Max, 0)?;
    /// assert_eq!(data, [2]); // the maximum on rank 0, its own input on rank 1
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn reduce_in_place<T: Element>(&mut self, buffer: &mut [T], op: ReduceOp, root: Rank) -> Result<()> {
        self.plain().reduce_in_place(buffer, op, root)
    }

    /// Reduces `input` over all ranks and gives rank r its block r in `output`. `input` is `size` times as long as `output`. Blocks.
    ///
    /// # Errors
    /// As [`Communicator::all_reduce`].
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let mut own = [0.0f64; 1];
    /// communicator.reduce_scatter(&[1.0, 2.0], &mut own, ReduceOp::Sum)?;
    /// assert_eq!(own, [[2.0], [4.0]][communicator.rank()]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn reduce_scatter<T: Element>(&mut self, input: &[T], output: &mut [T], op: ReduceOp) -> Result<()> {
        self.plain().reduce_scatter(input, output, op)
    }

    /// As [`Communicator::reduce_scatter`]; the result replaces the rank's own block of `buffer`, the other blocks stay or are
    /// overwritten.
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let mut data = [1u32, 2];
    /// communicator.reduce_scatter_in_place(&mut data, ReduceOp::Sum)?;
    /// assert_eq!(data[communicator.rank()], [2, 4][communicator.rank()]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn reduce_scatter_in_place<T: Element>(&mut self, buffer: &mut [T], op: ReduceOp) -> Result<()> {
        self.plain().reduce_scatter_in_place(buffer, op)
    }

    /// As [`Communicator::reduce_scatter`], with blocks of `counts[rank]` elements (0 is legal); equal on all ranks.
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let counts = [0, 2]; // all for rank 1
    /// let mut own = vec![0u32; counts[communicator.rank()] as usize];
    /// communicator.reduce_scatter_v(&[1, 2], &mut own, &counts, ReduceOp::Sum)?;
    /// assert_eq!(own, [vec![], vec![2, 4]][communicator.rank()]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn reduce_scatter_v<T: Element>(
        &mut self,
        input: &[T],
        output: &mut [T],
        counts: &[u64],
        op: ReduceOp,
    ) -> Result<()> {
        self.plain().reduce_scatter_v(input, output, counts, op)
    }

    /// As [`Communicator::reduce_scatter_v`]; the result replaces the rank's own block of `buffer`.
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let mut data = [1u32, 2, 3];
    /// communicator.reduce_scatter_v_in_place(&mut data, &[1, 2], ReduceOp::Sum)?;
    /// assert_eq!(data[communicator.rank()], [2, 4][communicator.rank()]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn reduce_scatter_v_in_place<T: Element>(
        &mut self,
        buffer: &mut [T],
        counts: &[u64],
        op: ReduceOp,
    ) -> Result<()> {
        self.plain().reduce_scatter_v_in_place(buffer, counts, op)
    }
}

impl With<'_> {
    pub fn all_reduce<T: Element>(self, input: &[T], output: &mut [T], op: ReduceOp) -> Result<()> {
        self.run(Ask::of(Collective::AllReduce).by(op), Buffers::Apart(input, output))
    }

    pub fn all_reduce_in_place<T: Element>(self, buffer: &mut [T], op: ReduceOp) -> Result<()> {
        self.run(Ask::of(Collective::AllReduce).by(op), Buffers::InPlace(buffer))
    }

    pub fn reduce<T: Element>(self, input: &[T], output: &mut [T], op: ReduceOp, root: Rank) -> Result<()> {
        self.run(Ask::of(Collective::Reduce).by(op).at(root), Buffers::Apart(input, output))
    }

    pub fn reduce_in_place<T: Element>(self, buffer: &mut [T], op: ReduceOp, root: Rank) -> Result<()> {
        self.run(Ask::of(Collective::Reduce).by(op).at(root), Buffers::InPlace(buffer))
    }

    pub fn reduce_scatter<T: Element>(self, input: &[T], output: &mut [T], op: ReduceOp) -> Result<()> {
        self.run(Ask::of(Collective::ReduceScatter).by(op), Buffers::Apart(input, output))
    }

    pub fn reduce_scatter_in_place<T: Element>(self, buffer: &mut [T], op: ReduceOp) -> Result<()> {
        self.run(Ask::of(Collective::ReduceScatter).by(op), Buffers::InPlace(buffer))
    }

    pub fn reduce_scatter_v<T: Element>(
        self,
        input: &[T],
        output: &mut [T],
        counts: &[u64],
        op: ReduceOp,
    ) -> Result<()> {
        let counts = self.communicator.per_rank(counts);
        self.run(Ask::of(Collective::ReduceScatterV).by(op).with(counts), Buffers::Apart(input, output))
    }

    pub fn reduce_scatter_v_in_place<T: Element>(self, buffer: &mut [T], counts: &[u64], op: ReduceOp) -> Result<()> {
        let counts = self.communicator.per_rank(counts);
        self.run(Ask::of(Collective::ReduceScatterV).by(op).with(counts), Buffers::InPlace(buffer))
    }
}
