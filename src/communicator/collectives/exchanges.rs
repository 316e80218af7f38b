//! The collectives that hand out: broadcast, scatter, all-to-all; and the barrier, which hands out nothing.

use super::{Ask, Buffers, With};
use crate::communicator::Communicator;
use crate::error::Result;
use crate::types::{Collective, Element, Rank};

impl Communicator {
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
    pub fn broadcast<T: Element>(self, buffer: &mut [T], root: Rank) -> Result<()> {
        self.run(Ask::of(Collective::Broadcast).at(root), Buffers::InPlace(buffer))
    }

    pub fn broadcast_from<T: Element>(self, input: &[T], output: &mut [T], root: Rank) -> Result<()> {
        self.run(Ask::of(Collective::Broadcast).at(root), Buffers::Apart(input, output))
    }

    pub fn scatter<T: Element>(self, input: &[T], output: &mut [T], root: Rank) -> Result<()> {
        self.run(Ask::of(Collective::Scatter).at(root), Buffers::Apart(input, output))
    }

    pub fn scatter_in_place<T: Element>(self, buffer: &mut [T], root: Rank) -> Result<()> {
        self.run(Ask::of(Collective::Scatter).at(root), Buffers::InPlace(buffer))
    }

    pub fn all_to_all<T: Element>(self, input: &[T], output: &mut [T]) -> Result<()> {
        self.run(Ask::of(Collective::AllToAll), Buffers::Apart(input, output))
    }

    pub fn all_to_all_v<T: Element>(
        self,
        input: &[T],
        input_counts: &[u64],
        output: &mut [T],
        output_counts: &[u64],
    ) -> Result<()> {
        let counts = self.communicator.pairwise(input_counts, output_counts);
        self.run(Ask::of(Collective::AllToAllV).with(counts), Buffers::Apart(input, output))
    }

    pub fn barrier(self) -> Result<()> {
        self.run::<u8>(Ask::of(Collective::Barrier), Buffers::Token)
    }
}
