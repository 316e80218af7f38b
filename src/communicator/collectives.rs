//! The collectives: arguments checked, turned into a [`Call`] and two addresses, run.

use super::Communicator;
use super::call::Call;
use super::settings::Options;
use crate::algorithm;
use crate::error::{Error, Result};
use crate::exec::run::Memory;
use crate::plan::chunk::Counts;
use crate::plan::lower::alias_offset;
use crate::types::{Collective, Element, Rank, ReduceOp};

/// A call and where its buffers lie.
pub(super) struct Request {
    pub call: Call,
    pub memory: Memory,
}

/// The buffers of a call, as the caller gave them.
pub(super) enum Buffers<'a, T> {
    Apart(&'a [T], &'a mut [T]),
    /// The larger of the two buffers; the other lies in it, where the collective's convention says.
    InPlace(&'a mut [T]),
}

/// A communicator with options for the next call: see [`Communicator::with`].
///
/// Its methods are those of the communicator; their documentation is there.
pub struct With<'a> {
    pub(super) communicator: &'a mut Communicator,
    pub(super) options: Options,
}

impl Communicator {
    /// The same collectives under options: a timeout, an algorithm.
    ///
    /// ```
    /// use unisono::{Communicator, Options, ReduceOp};
    ///
    /// let mut alone = Communicator::local(1)?.pop().unwrap();
    /// let options = Options { algorithm: Some("ring"), ..Options::default() };
    /// let mut data = [1.0f32, 2.0];
    /// alone.with(options).all_reduce_in_place(&mut data, ReduceOp::Sum)?;
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn with(&mut self, options: Options) -> With<'_> {
        With { communicator: self, options }
    }

    fn plain(&mut self) -> With<'_> {
        self.with(Options::default())
    }

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

    /// Gives every rank the root's `buffer`, of the same length on every rank. Blocks.
    ///
    /// # Errors
    /// As [`Communicator::all_reduce`]; `InvalidArgument` for a root that is no rank.
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let mut data = [communicator.rank() as i32; 2];
    /// communicator.broadcast(&mut data, 1)?;
    /// assert_eq!(data, [1, 1]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn broadcast<T: Element>(&mut self, buffer: &mut [T], root: Rank) -> Result<()> {
        self.plain().broadcast(buffer, root)
    }

    /// As [`Communicator::broadcast`], from the root's `input` (ignored elsewhere) to everyone's `output`.
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let mut data = [0u8; 2];
    /// let input: &[u8] = if communicator.rank() == 0 { &[1, 2] } else { &[] };
    /// communicator.broadcast_from(input, &mut data, 0)?;
    /// assert_eq!(data, [1, 2]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn broadcast_from<T: Element>(&mut self, input: &[T], output: &mut [T], root: Rank) -> Result<()> {
        self.plain().broadcast_from(input, output, root)
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

    /// Gives rank r the block r of the root's `input` (ignored elsewhere) in `output`. Blocks.
    ///
    /// # Errors
    /// As [`Communicator::broadcast`].
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let all: &[u8] = if communicator.rank() == 0 { &[1, 2] } else { &[] };
    /// let mut own = [0];
    /// communicator.scatter(all, &mut own, 0)?;
    /// assert_eq!(own, [[1], [2]][communicator.rank()]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn scatter<T: Element>(&mut self, input: &[T], output: &mut [T], root: Rank) -> Result<()> {
        self.plain().scatter(input, output, root)
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

    /// As [`Communicator::scatter`]; the root's own block stays in its `buffer`, elsewhere `buffer` is the output.
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let mut data = if communicator.rank() == 0 { vec![1u8, 2] } else { vec![0] };
    /// communicator.scatter_in_place(&mut data, 0)?;
    /// assert_eq!(data[0], [1, 2][communicator.rank()]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn scatter_in_place<T: Element>(&mut self, buffer: &mut [T], root: Rank) -> Result<()> {
        self.plain().scatter_in_place(buffer, root)
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

    /// Sends block r of `input` to rank r, and takes block r of `output` from rank r. Both have `size` equal blocks. Blocks.
    ///
    /// # Errors
    /// As [`Communicator::all_reduce`].
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let input = if communicator.rank() == 0 { [1u8, 2] } else { [3, 4] };
    /// let mut output = [0; 2];
    /// communicator.all_to_all(&input, &mut output)?;
    /// assert_eq!(output, [[1, 3], [2, 4]][communicator.rank()]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn all_to_all<T: Element>(&mut self, input: &[T], output: &mut [T]) -> Result<()> {
        self.plain().all_to_all(input, output)
    }

    /// As [`Communicator::all_to_all`] with blocks of any size (0 is legal): `input_counts[r]` elements go to rank r,
    /// `output_counts[r]` come from it. What rank a sends to rank b must be what b expects of a.
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// // Rank 0 sends two elements to rank 1, and nothing else is sent.
    /// let (input, to, from): (&[u8], _, _) =
    ///     if communicator.rank() == 0 { (&[1, 2], [0, 2], [0, 0]) } else { (&[], [0, 0], [2, 0]) };
    /// let mut output = vec![0; from.iter().sum::<u64>() as usize];
    /// communicator.all_to_all_v(input, &to, &mut output, &from)?;
    /// assert_eq!(output, [vec![], vec![1, 2]][communicator.rank()]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn all_to_all_v<T: Element>(
        &mut self,
        input: &[T],
        input_counts: &[u64],
        output: &mut [T],
        output_counts: &[u64],
    ) -> Result<()> {
        self.plain().all_to_all_v(input, input_counts, output, output_counts)
    }

    /// Returns when all ranks have called it. Blocks.
    ///
    /// # Errors
    /// As [`Communicator::all_reduce`].
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// communicator.barrier()?;
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn barrier(&mut self) -> Result<()> {
        self.plain().barrier()
    }
}

impl With<'_> {
    pub fn all_reduce<T: Element>(self, input: &[T], output: &mut [T], op: ReduceOp) -> Result<()> {
        self.run(Collective::AllReduce, Some(op), 0, None, Buffers::Apart(input, output))
    }

    pub fn all_reduce_in_place<T: Element>(self, buffer: &mut [T], op: ReduceOp) -> Result<()> {
        self.run(Collective::AllReduce, Some(op), 0, None, Buffers::InPlace(buffer))
    }

    pub fn all_gather<T: Element>(self, input: &[T], output: &mut [T]) -> Result<()> {
        self.run(Collective::AllGather, None, 0, None, Buffers::Apart(input, output))
    }

    pub fn all_gather_in_place<T: Element>(self, buffer: &mut [T]) -> Result<()> {
        self.run(Collective::AllGather, None, 0, None, Buffers::InPlace(buffer))
    }

    pub fn all_gather_v<T: Element>(self, input: &[T], output: &mut [T], counts: &[u64]) -> Result<()> {
        let counts = self.communicator.per_rank(counts);
        self.run(Collective::AllGatherV, None, 0, Some(counts), Buffers::Apart(input, output))
    }

    pub fn reduce_scatter<T: Element>(self, input: &[T], output: &mut [T], op: ReduceOp) -> Result<()> {
        self.run(Collective::ReduceScatter, Some(op), 0, None, Buffers::Apart(input, output))
    }

    pub fn reduce_scatter_in_place<T: Element>(self, buffer: &mut [T], op: ReduceOp) -> Result<()> {
        self.run(Collective::ReduceScatter, Some(op), 0, None, Buffers::InPlace(buffer))
    }

    pub fn reduce_scatter_v<T: Element>(
        self,
        input: &[T],
        output: &mut [T],
        counts: &[u64],
        op: ReduceOp,
    ) -> Result<()> {
        let counts = self.communicator.per_rank(counts);
        self.run(Collective::ReduceScatterV, Some(op), 0, Some(counts), Buffers::Apart(input, output))
    }

    pub fn broadcast<T: Element>(self, buffer: &mut [T], root: Rank) -> Result<()> {
        self.run(Collective::Broadcast, None, root, None, Buffers::InPlace(buffer))
    }

    pub fn broadcast_from<T: Element>(self, input: &[T], output: &mut [T], root: Rank) -> Result<()> {
        self.run(Collective::Broadcast, None, root, None, Buffers::Apart(input, output))
    }

    pub fn reduce<T: Element>(self, input: &[T], output: &mut [T], op: ReduceOp, root: Rank) -> Result<()> {
        self.run(Collective::Reduce, Some(op), root, None, Buffers::Apart(input, output))
    }

    pub fn reduce_in_place<T: Element>(self, buffer: &mut [T], op: ReduceOp, root: Rank) -> Result<()> {
        self.run(Collective::Reduce, Some(op), root, None, Buffers::InPlace(buffer))
    }

    pub fn gather<T: Element>(self, input: &[T], output: &mut [T], root: Rank) -> Result<()> {
        self.run(Collective::Gather, None, root, None, Buffers::Apart(input, output))
    }

    pub fn scatter<T: Element>(self, input: &[T], output: &mut [T], root: Rank) -> Result<()> {
        self.run(Collective::Scatter, None, root, None, Buffers::Apart(input, output))
    }

    pub fn gather_in_place<T: Element>(self, buffer: &mut [T], root: Rank) -> Result<()> {
        self.run(Collective::Gather, None, root, None, Buffers::InPlace(buffer))
    }

    pub fn scatter_in_place<T: Element>(self, buffer: &mut [T], root: Rank) -> Result<()> {
        self.run(Collective::Scatter, None, root, None, Buffers::InPlace(buffer))
    }

    pub fn all_gather_v_in_place<T: Element>(self, buffer: &mut [T], counts: &[u64]) -> Result<()> {
        let counts = self.communicator.per_rank(counts);
        self.run(Collective::AllGatherV, None, 0, Some(counts), Buffers::InPlace(buffer))
    }

    pub fn reduce_scatter_v_in_place<T: Element>(self, buffer: &mut [T], counts: &[u64], op: ReduceOp) -> Result<()> {
        let counts = self.communicator.per_rank(counts);
        self.run(Collective::ReduceScatterV, Some(op), 0, Some(counts), Buffers::InPlace(buffer))
    }

    pub fn all_to_all<T: Element>(self, input: &[T], output: &mut [T]) -> Result<()> {
        self.run(Collective::AllToAll, None, 0, None, Buffers::Apart(input, output))
    }

    pub fn all_to_all_v<T: Element>(
        self,
        input: &[T],
        input_counts: &[u64],
        output: &mut [T],
        output_counts: &[u64],
    ) -> Result<()> {
        let [input_list, output_list] = &mut self.communicator.counts;
        let counts =
            Counts::Pairwise { input: filled(input_list, input_counts), output: filled(output_list, output_counts) };
        self.run(Collective::AllToAllV, None, 0, Some(counts), Buffers::Apart(input, output))
    }

    pub fn barrier(self) -> Result<()> {
        self.run::<u8>(Collective::Barrier, None, 0, None, Buffers::InPlace(&mut [0]))
    }

    fn run<T: Element>(
        self,
        collective: Collective,
        op: Option<ReduceOp>,
        root: Rank,
        counts: Option<Counts>,
        buffers: Buffers<'_, T>,
    ) -> Result<()> {
        let request = self.communicator.request(collective, op, root, counts, buffers, &self.options)?;
        let timeout = self.options.timeout.unwrap_or(self.communicator.timeout);
        // SAFETY: `request` has checked that the borrowed buffers, which outlive this blocking call, are as long as the program
        // needs, and that they are apart or overlap as in place calls do.
        unsafe { self.communicator.shared.lock().run(&request.call, request.memory, timeout)? };
        self.communicator.take_back(request.call.counts);
        Ok(())
    }
}

/// The elements of `counts` in the memory of a list, which is left without.
fn filled(list: &mut Vec<u64>, counts: &[u64]) -> Vec<u64> {
    let mut list = std::mem::take(list);
    list.clear();
    list.extend_from_slice(counts);
    list
}

impl Communicator {
    fn per_rank(&mut self, counts: &[u64]) -> Counts {
        Counts::PerRank(filled(&mut self.counts[0], counts))
    }

    /// The lists of a call's counts are used again by the next one, so that calls that repeat allocate nothing.
    fn take_back(&mut self, counts: Counts) {
        match counts {
            Counts::Even(_) => {}
            Counts::PerRank(list) => self.counts[0] = list,
            Counts::Pairwise { input, output } => self.counts = [input, output],
        }
    }
}

impl Communicator {
    /// Checks the arguments of a call. Nothing has been sent when this fails.
    pub(super) fn request<T: Element>(
        &self,
        collective: Collective,
        op: Option<ReduceOp>,
        root: Rank,
        counts: Option<Counts>,
        buffers: Buffers<'_, T>,
        options: &Options,
    ) -> Result<Request> {
        self.shared.check_process()?;
        if root >= self.size {
            return Err(self.invalid(format!("{collective}: root {root} is no rank of {}", self.size)));
        }
        // Only the root of a gather or scatter has two buffers that can share memory.
        let one_buffer = matches!(collective, Collective::Gather | Collective::Scatter) && self.rank != root;
        let in_place = matches!(buffers, Buffers::InPlace(_)) && !one_buffer;
        let (input, output) = match &buffers {
            Buffers::Apart(input, output) => (input.len() as u64, output.len() as u64),
            Buffers::InPlace(buffer) => (buffer.len() as u64, buffer.len() as u64),
        };
        let counts = match counts {
            Some(counts) => self.check_counts(collective, counts, in_place, input, output)?,
            None => Counts::Even(self.even_count(collective, root, in_place, input, output)?),
        };
        let mut call = Call { collective, dtype: T::DTYPE, op, counts, root, in_place, algorithm: None };
        if let Some(name) = options.algorithm {
            let one = algorithm::find(name).map_err(Error::from)?;
            // What the engine refuses ends the communicator, so a wrong argument must not come so far.
            call.algorithm = Some(one.name());
            one.fits(&call.problem(self.size, self.layout)).map_err(|reason| {
                self.invalid(format!("algorithm {name} does not fit: {reason}"))
                    .remedy("leave the choice to the library, or take another algorithm")
            })?;
        }
        let memory = match buffers {
            Buffers::Apart(input, output) => Memory::new(input.as_ptr().cast(), output.as_mut_ptr().cast()),
            Buffers::InPlace(buffer) if one_buffer => Memory::new(buffer.as_ptr().cast(), buffer.as_mut_ptr().cast()),
            Buffers::InPlace(buffer) => self.memory_in_place(&call, buffer.as_mut_ptr().cast()),
        };
        Ok(Request { call, memory })
    }

    /// Input and output of an in-place call, of which the larger one starts at `start`.
    fn memory_in_place(&self, call: &Call, start: *mut u8) -> Memory {
        let offset = alias_offset(call.collective, self.rank, &call.counts, call.dtype.size() as u64) as isize;
        if offset >= 0 {
            Memory::new(start.wrapping_offset(offset), start)
        } else {
            Memory::new(start, start.wrapping_offset(-offset))
        }
    }

    /// The count of an even call from the lengths of its buffers, in elements.
    fn even_count(&self, collective: Collective, root: Rank, in_place: bool, input: u64, output: u64) -> Result<u64> {
        let size = self.size as u64;
        let at_root = self.rank == root;
        let equal = |a: u64, b: u64, what: &str| {
            if a == b {
                Ok(a)
            } else {
                Err(self.invalid(format!("{collective}: input has {input} elements and output {output}, but {what}")))
            }
        };
        let blocks = |whole: u64| {
            if whole.is_multiple_of(size) {
                Ok(whole / size)
            } else {
                Err(self.invalid(format!("{collective}: {whole} elements can't be cut into {size} equal blocks")))
            }
        };
        match collective.even() {
            Collective::Barrier => Ok(1),
            Collective::AllReduce => equal(input, output, "both must have the same"),
            Collective::Broadcast if at_root => equal(input, output, "both must have the same on the root"),
            Collective::Broadcast => Ok(output),
            Collective::Reduce if at_root => equal(input, output, "both must have the same on the root"),
            Collective::Reduce => Ok(input),
            Collective::AllGather | Collective::ReduceScatter if in_place => blocks(input),
            Collective::AllGather => {
                equal(output, input * size, "output must have `size` blocks of input").map(|_| input)
            }
            Collective::ReduceScatter => {
                equal(input, output * size, "input must have `size` blocks of output").map(|_| output)
            }
            Collective::Gather | Collective::Scatter if in_place => blocks(input),
            Collective::Gather if at_root => {
                equal(output, input * size, "output must have `size` blocks of input on the root").map(|_| input)
            }
            Collective::Gather => Ok(input),
            Collective::Scatter if at_root => {
                equal(input, output * size, "input must have `size` blocks of output on the root").map(|_| output)
            }
            Collective::Scatter => Ok(output),
            Collective::AllToAll => equal(input, output, "both must have the same").and_then(blocks),
            Collective::SendRecv | Collective::AllGatherV | Collective::ReduceScatterV | Collective::AllToAllV => {
                unreachable!("these have counts of their own")
            }
        }
    }

    fn check_counts(
        &self,
        collective: Collective,
        counts: Counts,
        in_place: bool,
        input: u64,
        output: u64,
    ) -> Result<Counts> {
        let one_per_rank = |counts: &[u64], what: &str| {
            if counts.len() == self.size {
                return Ok(());
            }
            Err(self.invalid(format!("{collective}: {} {what} for {} ranks", counts.len(), self.size)))
        };
        let sum = |counts: &[u64]| {
            counts
                .iter()
                .try_fold(0u64, |sum, count| sum.checked_add(*count))
                .ok_or_else(|| self.invalid(format!("{collective}: the counts overflow")))
        };
        let fits = |have: u64, need: u64, what: &str| {
            if have == need {
                return Ok(());
            }
            Err(self.invalid(format!("{collective}: {what} has {have} elements, but the counts say {need}")))
        };
        match &counts {
            Counts::PerRank(counts) => {
                one_per_rank(counts, "counts")?;
                let (own, all) = (counts[self.rank], sum(counts)?);
                let (input_need, output_need) = match collective {
                    _ if in_place => (all, all),
                    Collective::AllGatherV => (own, all),
                    _ => (all, own),
                };
                fits(input, input_need, "input")?;
                fits(output, output_need, "output")?;
            }
            Counts::Pairwise { input: to, output: from } => {
                one_per_rank(to, "input counts")?;
                one_per_rank(from, "output counts")?;
                fits(input, sum(to)?, "input")?;
                fits(output, sum(from)?, "output")?;
                if to[self.rank] != from[self.rank] {
                    return Err(self.invalid(format!(
                        "{collective}: this rank sends itself {} elements and expects {}",
                        to[self.rank], from[self.rank]
                    )));
                }
            }
            Counts::Even(_) => {}
        }
        Ok(counts)
    }
}
