//! Chunk arithmetic: how buffers are cut, how large a piece is, where it lies. It stands here and nowhere else.
//!
//! A buffer is a row of blocks, each cut into the same number of tiles; a chunk is one tile of one block. Block `b`, tile `t`
//! is chunk `b * tiles + t`, and chunks lie in memory in that order without gaps. Sizes differ by at most one
//! element where a count does not divide; a chunk of no elements is legal.
//!
//! | collective | input | output |
//! |---|---|---|
//! | all-reduce, broadcast, reduce | the grid | the grid |
//! | all-gather, gather | own block | a block per rank |
//! | reduce-scatter, scatter | a block per rank | own block |
//! | all-to-all | a block per target | a block per source |
//! | barrier | one chunk of one byte | the same |

use super::{Buffer, Plan, Problem, Program, Span};
use crate::types::{Collective, Rank};
use std::ops::Range;

/// Names a chunk of the whole collective, so that its size and content can be spoken of on any rank.
///
/// `block * tiles + tile`; in an all-to-all the block is `source * ranks + target`.
pub type ChunkId = u32;

/// The part `index` of `count` elements that are cut into `parts`: the first `count % parts` parts have one element more.
pub fn split(count: u64, parts: u64, index: u64) -> Range<u64> {
    debug_assert!(index < parts);
    let (whole, rest) = (count / parts, count % parts);
    let start = index * whole + index.min(rest);
    start..start + whole + u64::from(index < rest)
}

/// How the buffers of a collective are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    pub collective: Collective,
    pub ranks: u32,
    pub root: Rank,
    pub blocks: u32,
    pub tiles: u32,
    /// As [`Demands::equal_chunks`](super::Demands::equal_chunks) says.
    pub equal_chunks: bool,
}

impl Grid {
    pub fn new(problem: &Problem, open_blocks: u32) -> Grid {
        let ranks = problem.ranks as u32;
        let blocks = match problem.collective.even() {
            Collective::AllReduce | Collective::Broadcast | Collective::Reduce => open_blocks,
            Collective::Barrier | Collective::SendRecv => 1,
            _ => ranks,
        };
        Grid {
            collective: problem.collective.even(),
            ranks,
            root: problem.root,
            blocks,
            tiles: problem.tiles,
            equal_chunks: false,
        }
    }

    /// Chunks of the buffer on `rank`; 0 where the rank has no such buffer (the output of a reduce on all but the root).
    pub fn chunks(&self, rank: Rank, buffer: Buffer) -> u32 {
        let whole = self.blocks * self.tiles;
        let at_root = |chunks| if rank == self.root { chunks } else { 0 };
        match (self.collective, buffer) {
            (_, Buffer::Scratch) => unreachable!("a program says how many scratch slots it has"),
            (Collective::AllReduce | Collective::Barrier | Collective::AllToAll | Collective::SendRecv, _) => whole,
            (Collective::Broadcast, Buffer::Input) | (Collective::Reduce, Buffer::Output) => at_root(whole),
            (Collective::Broadcast, Buffer::Output) | (Collective::Reduce, Buffer::Input) => whole,
            (Collective::AllGather, Buffer::Input) | (Collective::ReduceScatter, Buffer::Output) => self.tiles,
            (Collective::AllGather, Buffer::Output) | (Collective::ReduceScatter, Buffer::Input) => whole,
            (Collective::Gather, Buffer::Input) | (Collective::Scatter, Buffer::Output) => self.tiles,
            (Collective::Gather, Buffer::Output) | (Collective::Scatter, Buffer::Input) => at_root(whole),
            (Collective::AllGatherV | Collective::ReduceScatterV | Collective::AllToAllV, _) => {
                unreachable!("a grid is of the even collective")
            }
        }
    }

    /// Which chunk of the collective lies at `index` of `buffer` on `rank`, by position: the chunk that is as large.
    pub fn chunk_id(&self, rank: Rank, buffer: Buffer, index: u32, scratch: &[ChunkId]) -> ChunkId {
        let own = rank as u32 * self.tiles + index;
        let (block, tile) = (index / self.tiles, index % self.tiles);
        match (self.collective, buffer) {
            (_, Buffer::Scratch) => scratch[index as usize],
            (Collective::AllGather | Collective::Gather, Buffer::Input)
            | (Collective::ReduceScatter | Collective::Scatter, Buffer::Output) => own,
            (Collective::AllToAll, Buffer::Input) => (rank as u32 * self.ranks + block) * self.tiles + tile,
            (Collective::AllToAll, Buffer::Output) => (block * self.ranks + rank as u32) * self.tiles + tile,
            _ => index,
        }
    }

    /// How many chunks the input lies inside the output (or, if negative, the output inside the input) when they share memory;
    /// `None` where the rank does not have both or the collective has no in-place form.
    pub fn in_place_offset(&self, rank: Rank) -> Option<i64> {
        if self.chunks(rank, Buffer::Input) == 0 || self.chunks(rank, Buffer::Output) == 0 {
            return None;
        }
        let own_block = i64::from(rank as u32 * self.tiles);
        match self.collective {
            Collective::AllReduce | Collective::Reduce | Collective::Broadcast => Some(0),
            Collective::AllGather | Collective::AllGatherV | Collective::Gather => Some(own_block),
            Collective::ReduceScatter | Collective::ReduceScatterV | Collective::Scatter => Some(-own_block),
            Collective::AllToAll | Collective::AllToAllV | Collective::Barrier | Collective::SendRecv => None,
        }
    }

    /// Into how many chunks the count of a call is cut.
    pub fn chunks_of_count(&self) -> u32 {
        match self.collective {
            Collective::AllReduce | Collective::Broadcast | Collective::Reduce => self.blocks * self.tiles,
            _ => self.tiles,
        }
    }

    /// Chunks that are as large as each other whatever the counts: two chunks may stand for each other in a message only if
    /// their classes are equal. With `uneven` every chunk is a class of its own.
    pub fn size_class(&self, chunk: ChunkId, uneven: bool) -> u32 {
        match self.collective {
            _ if self.equal_chunks => 0,
            Collective::AllReduce | Collective::Broadcast | Collective::Reduce => chunk,
            _ if uneven => chunk,
            _ => chunk % self.tiles,
        }
    }
}

/// The counts of one call on one rank, in elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Counts {
    /// The whole buffer of an all-reduce, broadcast, reduce, send or receive; one rank's block elsewhere.
    Even(u64),
    /// One block per rank, known to every rank (all-gather-v, reduce-scatter-v).
    PerRank(Vec<u64>),
    /// This rank's blocks by target and by source (all-to-all-v).
    Pairwise { input: Vec<u64>, output: Vec<u64> },
}

impl Counts {
    /// The even counts of a collective of so many elements by the convention of nccl-tests, as near below as can be.
    pub fn of_elements(collective: Collective, ranks: usize, elements: u64) -> Counts {
        match collective.even() {
            Collective::AllReduce
            | Collective::Broadcast
            | Collective::Reduce
            | Collective::Barrier
            | Collective::SendRecv => Counts::Even(elements),
            _ => Counts::Even(elements / ranks as u64),
        }
    }
}

/// Where each chunk of each buffer of one rank lies, in elements.
#[derive(Clone, Debug)]
pub struct Extents {
    input: Offsets,
    output: Offsets,
    scratch: Offsets,
}

/// Where the chunks of one buffer begin.
#[derive(Clone, Debug)]
enum Offsets {
    /// Block after block of even counts: computed, since a world of half a million ranks has as many blocks.
    Even { elements: u64, blocks: u64, tiles: u64, chunks: u64 },
    /// One more than there are chunks: the last is the end.
    Listed(Vec<u64>),
}

impl Offsets {
    fn of(grid: &Grid, counts: &Counts, rank: Rank, buffer: Buffer) -> Offsets {
        let chunks = grid.chunks(rank, buffer);
        let (tiles, blocks) = (u64::from(grid.tiles), u64::from(chunks / grid.tiles));
        let elements = match (grid.collective, counts) {
            (Collective::Barrier, _) => blocks,
            (Collective::AllReduce | Collective::Broadcast | Collective::Reduce, Counts::Even(count)) => *count,
            (_, Counts::Even(count)) => *count * blocks,
            _ => {
                return Offsets::listed(
                    grid,
                    counts,
                    rank,
                    (0..chunks).map(|index| grid.chunk_id(rank, buffer, index, &[])),
                );
            }
        };
        Offsets::Even { elements, blocks, tiles, chunks: u64::from(chunks) }
    }

    fn listed(grid: &Grid, counts: &Counts, rank: Rank, chunks: impl Iterator<Item = ChunkId>) -> Offsets {
        let mut offset = 0;
        let ends = chunks.map(|chunk| {
            offset += chunk_elements(grid, counts, rank, chunk);
            offset
        });
        Offsets::Listed(std::iter::once(0).chain(ends).collect())
    }

    /// Where chunk `index` begins; of the number of chunks, the end of the last.
    fn start(&self, index: u32) -> u64 {
        match self {
            Offsets::Listed(offsets) => offsets[index as usize],
            Offsets::Even { chunks: 0, .. } => 0,
            Offsets::Even { elements, chunks, .. } if u64::from(index) == *chunks => *elements,
            Offsets::Even { elements, blocks, tiles, .. } => {
                let (block, tile) = (u64::from(index) / tiles, u64::from(index) % tiles);
                let block = split(*elements, *blocks, block);
                block.start + split(block.end - block.start, *tiles, tile).start
            }
        }
    }

    fn end(&self) -> u64 {
        match self {
            Offsets::Listed(offsets) => *offsets.last().expect("offsets start with 0"),
            Offsets::Even { chunks, .. } => self.start(*chunks as u32),
        }
    }
}

impl Extents {
    pub fn new(plan: &Plan, program: &Program, rank: Rank, counts: &Counts) -> Extents {
        let grid = plan.grid();
        Extents {
            input: Offsets::of(&grid, counts, rank, Buffer::Input),
            output: Offsets::of(&grid, counts, rank, Buffer::Output),
            scratch: Offsets::listed(&grid, counts, rank, program.scratch.iter().copied()),
        }
    }

    fn offsets(&self, buffer: Buffer) -> &Offsets {
        match buffer {
            Buffer::Input => &self.input,
            Buffer::Output => &self.output,
            Buffer::Scratch => &self.scratch,
        }
    }

    /// The elements of a span in round `round` of its repeat.
    pub fn range(&self, span: &Span, round: u32) -> Range<u64> {
        let offsets = self.offsets(span.buffer);
        let start = span.start + round * span.stride;
        offsets.start(start)..offsets.start(start + span.len)
    }

    /// Elements of the whole buffer.
    pub fn total(&self, buffer: Buffer) -> u64 {
        self.offsets(buffer).end()
    }
}

/// Elements of one chunk of the collective, as `rank` can know them.
fn chunk_elements(grid: &Grid, counts: &Counts, rank: Rank, chunk: ChunkId) -> u64 {
    let (block, tile) = (chunk / grid.tiles, chunk % grid.tiles);
    let block_elements = match (grid.collective, counts) {
        (Collective::Barrier, _) => 1,
        (Collective::AllReduce | Collective::Broadcast | Collective::Reduce, Counts::Even(count)) => {
            let range = split(*count, u64::from(grid.blocks), u64::from(block));
            range.end - range.start
        }
        (_, Counts::Even(count)) => *count,
        (_, Counts::PerRank(counts)) => counts[block as usize],
        (_, Counts::Pairwise { input, output }) => {
            let (source, target) = (block / grid.ranks, block % grid.ranks);
            if source as Rank == rank {
                input[target as usize]
            } else if target as Rank == rank {
                output[source as usize]
            } else {
                unreachable!("an uneven all-to-all plan keeps chunks on their two ranks: the checker proved it")
            }
        }
    };
    let range = split(block_elements, u64::from(grid.tiles), u64::from(tile));
    range.end - range.start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_every_count_once_and_differ_by_at_most_one() {
        for count in 0..200u64 {
            for parts in 1..40u64 {
                let mut next = 0;
                for index in 0..parts {
                    let range = split(count, parts, index);
                    assert_eq!(range.start, next);
                    let size = range.end - range.start;
                    assert!(size == count / parts || size == count / parts + 1);
                    next = range.end;
                }
                assert_eq!(next, count);
            }
        }
    }

    #[test]
    fn computed_places_are_those_of_the_chunks_one_after_the_other() {
        for collective in Collective::ALL.into_iter().filter(|one| !one.is_uneven()) {
            for (ranks, tiles, count) in [(1, 1, 0), (3, 1, 7), (4, 3, 2), (5, 4, 1001)] {
                let problem = Problem { tiles, root: ranks - 1, ..Problem::new(collective, ranks) };
                let grid = Grid::new(&problem, 6);
                for (rank, buffer) in (0..ranks).flat_map(|rank| [(rank, Buffer::Input), (rank, Buffer::Output)]) {
                    let counts = Counts::Even(count);
                    let chunks = grid.chunks(rank, buffer);
                    let ids = (0..chunks).map(|index| grid.chunk_id(rank, buffer, index, &[]));
                    let (listed, computed) =
                        (Offsets::listed(&grid, &counts, rank, ids), Offsets::of(&grid, &counts, rank, buffer));
                    let what = format!("{collective}, {ranks} ranks, {tiles} tiles, {count} elements, {buffer:?}");
                    assert!((0..=chunks).all(|index| listed.start(index) == computed.start(index)), "{what}");
                    assert_eq!(listed.end(), computed.end(), "{what}");
                }
            }
        }
    }

    #[test]
    fn counts_past_four_gibi_elements_split_without_overflow() {
        let count = u64::MAX - 3;
        let last = split(count, 1 << 20, (1 << 20) - 1);
        assert_eq!(last.end, count);
    }
}
