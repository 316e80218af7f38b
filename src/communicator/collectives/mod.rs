//! The collectives: arguments checked, turned into a [`Call`](super::call::Call) and two addresses, run.

mod arguments;
mod exchanges;
mod gathers;
mod reductions;

use super::Communicator;
use super::settings::Options;
use crate::error::Result;
use crate::plan::chunk::Counts;
use crate::types::{Collective, Element, Rank, ReduceOp};
pub(super) use arguments::Request;

/// The buffers of a call, as the caller gave them.
pub(super) enum Buffers<'a, T> {
    Apart(&'a [T], &'a mut [T]),
    /// The larger of the two buffers; the other lies in it, where the collective's convention says.
    InPlace(&'a mut [T]),
    /// A barrier's, which is the communicator's own.
    Token,
}

/// What a call asks for, apart from its buffers and options.
pub(super) struct Ask {
    collective: Collective,
    op: Option<ReduceOp>,
    /// 0 where the collective has none.
    root: Rank,
    /// None where all blocks are of one size, which the buffers tell.
    counts: Option<Counts>,
}

impl Ask {
    pub fn of(collective: Collective) -> Ask {
        Ask { collective, op: None, root: 0, counts: None }
    }

    pub fn by(self, op: ReduceOp) -> Ask {
        Ask { op: Some(op), ..self }
    }

    pub fn at(self, root: Rank) -> Ask {
        Ask { root, ..self }
    }

    pub fn with(self, counts: Counts) -> Ask {
        Ask { counts: Some(counts), ..self }
    }
}

/// A communicator with options for the next call: see [`Communicator::with`].
///
/// Its methods are those of the communicator; their documentation is there.
pub struct With<'a> {
    pub(super) communicator: &'a mut Communicator,
    pub(super) options: Options,
}

impl Communicator {
    /// The same calls under options: a timeout, an algorithm. A scope takes them for all that is started in it.
    ///
    /// ```
    /// use unisono::{Communicator, Options, ReduceOp};
    ///
    /// let mut alone = Communicator::local(1)?.pop().unwrap();
    /// let ring = Options::default().algorithm("ring");
    /// let mut data = [1.0f32, 2.0];
    /// alone.with(ring.clone()).all_reduce_in_place(&mut data, ReduceOp::Sum)?;
    /// let handle = alone.with(ring).start_all_reduce(vec![1u8; 3], ReduceOp::Max)?;
    /// assert_eq!(handle.wait()?, [1; 3]);
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn with(&mut self, options: Options) -> With<'_> {
        With { communicator: self, options }
    }

    pub(super) fn plain(&mut self) -> With<'_> {
        self.with(Options::default())
    }

    pub(super) fn per_rank(&mut self, counts: &[u64]) -> Counts {
        Counts::PerRank(filled(&mut self.counts[0], counts))
    }

    pub(super) fn pairwise(&mut self, input_counts: &[u64], output_counts: &[u64]) -> Counts {
        let [input, output] = &mut self.counts;
        Counts::Pairwise { input: filled(input, input_counts), output: filled(output, output_counts) }
    }

    /// The lists of a call's counts are used again by the next one, so that calls that repeat allocate nothing.
    pub(super) fn take_back(&mut self, counts: Counts) {
        match counts {
            Counts::Even(_) => {}
            Counts::PerRank(list) => self.counts[0] = list,
            Counts::Pairwise { input, output } => self.counts = [input, output],
        }
    }
}

impl With<'_> {
    #[inline]
    fn run<T: Element>(self, ask: Ask, buffers: Buffers<'_, T>) -> Result<()> {
        let mut request = Request::default();
        self.communicator.fill(&mut request, ask, buffers, &self.options)?;
        let timeout = self.options.timeout.unwrap_or(self.communicator.timeout);
        // SAFETY: `fill` has checked that the borrowed buffers, which outlive this blocking call, are as long as the program
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
