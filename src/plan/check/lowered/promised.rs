//! What a collective promises, element by element: its naive definition, in counts and not in chunks.

use crate::plan::check::Checked;
use crate::plan::chunk::{Counts, Extents};
use crate::plan::{Buffer, Order, Span};
use crate::types::{Collective, Rank};

/// What must stand in an element of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promised {
    /// This element of this rank's input.
    Input(Rank, u64),
    /// The sum of this element of everyone's input.
    Sum(u64),
    /// A sign of everyone.
    Everyone,
}

pub(super) struct Expected {
    pub(super) collective: Collective,
    ranks: usize,
    root: Rank,
    counts: Vec<Counts>,
}

impl Expected {
    pub(super) fn new(checked: &Checked, counts: &[Counts]) -> Expected {
        let problem = &checked.plan().problem;
        Expected {
            collective: problem.collective.even(),
            ranks: problem.ranks,
            root: problem.root,
            counts: counts.to_vec(),
        }
    }

    /// Elements of the block that `rank` has for, or of, `other`.
    fn block(&self, rank: Rank, buffer: Buffer, other: Rank) -> u64 {
        match (&self.counts[rank], buffer) {
            (Counts::Even(count), _) => *count,
            (Counts::PerRank(counts), _) => counts[other],
            (Counts::Pairwise { input, .. }, Buffer::Input) => input[other],
            (Counts::Pairwise { output, .. }, _) => output[other],
        }
    }

    /// Elements of all blocks before that of `other`.
    fn before(&self, rank: Rank, buffer: Buffer, other: Rank) -> u64 {
        (0..other).map(|earlier| self.block(rank, buffer, earlier)).sum()
    }

    /// Elements of the input or output of `rank`.
    pub(super) fn elements(&self, rank: Rank, buffer: Buffer) -> u64 {
        let (own, all) = (self.block(rank, buffer, rank), self.before(rank, buffer, self.ranks));
        let at_root = |elements| if rank == self.root { elements } else { 0 };
        match (self.collective, buffer) {
            (Collective::Barrier, _) => 1,
            (Collective::Broadcast, Buffer::Input) | (Collective::Reduce, Buffer::Output) => at_root(own),
            (Collective::Gather, Buffer::Output) | (Collective::Scatter, Buffer::Input) => at_root(all),
            (Collective::AllToAll, _)
            | (Collective::AllGather, Buffer::Output)
            | (Collective::ReduceScatter, Buffer::Input) => all,
            _ => own,
        }
    }

    /// What each element of the output of `rank` must be.
    pub(super) fn output(&self, rank: Rank) -> Vec<Promised> {
        let elements = 0..self.elements(rank, Buffer::Output);
        let own = self.before(rank, Buffer::Input, rank);
        let blocks = |first: &dyn Fn(Rank) -> u64| {
            let block = |source| (0..self.block(rank, Buffer::Output, source)).map(move |element| (source, element));
            let input = |(source, element)| Promised::Input(source, first(source) + element);
            (0..self.ranks).flat_map(block).map(input).collect()
        };
        match self.collective {
            Collective::AllReduce | Collective::Reduce => elements.map(Promised::Sum).collect(),
            Collective::ReduceScatter => elements.map(|element| Promised::Sum(own + element)).collect(),
            Collective::Broadcast => elements.map(|element| Promised::Input(self.root, element)).collect(),
            Collective::Scatter => elements.map(|element| Promised::Input(self.root, own + element)).collect(),
            Collective::AllToAll => blocks(&|source| self.before(source, Buffer::Input, rank)),
            Collective::Gather if rank != self.root => Vec::new(),
            Collective::AllGather | Collective::Gather => blocks(&|_| 0),
            Collective::Barrier => vec![Promised::Everyone],
            _ => unreachable!("not an even collective with plans"),
        }
    }

    /// In which order each element of the output of `rank` is added up by the plan: chunk by chunk, the elements of each.
    pub(super) fn orders(&self, checked: &Checked, rank: Rank) -> Vec<(u64, Order)> {
        let plan = checked.plan();
        let extents = Extents::new(plan, &plan.program(rank), rank, &self.counts[rank]);
        let elements = |start| {
            let range = extents.range(&Span { buffer: Buffer::Output, start, len: 1, stride: 0 }, 0);
            range.end - range.start
        };
        let chunks = 0..plan.grid().chunks(rank, Buffer::Output);
        chunks.filter_map(|chunk| Some((elements(chunk), checked.order(rank, chunk)?))).collect()
    }
}
