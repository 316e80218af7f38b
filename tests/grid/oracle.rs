//! What every rank must get: copies as the collectives define them, and sums replayed by the scalar definition in the order
//! that the algorithm declares.

use crate::case::Case;
use crate::values;
use std::ops::Range;
use unisono::algorithm::{self, Algorithm};
use unisono::plan::Order;
use unisono::plan::chunk;
use unisono::reduce::scalar;
use unisono::{Collective, Rank};

/// The input of `rank`.
pub fn input(case: &Case, rank: Rank) -> Vec<u8> {
    part(case, rank, 0..case.input_len(rank))
}

fn part(case: &Case, rank: Rank, elements: Range<u64>) -> Vec<u8> {
    values::fill(case.dtype, case.seed(), rank, elements)
}

/// The output of `rank`. `tiles` is the number with which the algorithm is run.
pub fn output(case: &Case, rank: Rank, tiles: u32) -> Vec<u8> {
    let all = 0..case.ranks;
    let block = case.block_start(rank)..case.block_start(rank) + case.block(rank);
    match case.collective {
        Collective::AllReduce => reduced(case, 0..case.count, None, tiles),
        Collective::Reduce if rank == case.root => reduced(case, 0..case.count, None, tiles),
        Collective::ReduceScatter | Collective::ReduceScatterV => reduced(case, block, Some(rank), tiles),
        Collective::AllGather | Collective::AllGatherV => all.flat_map(|source| input(case, source)).collect(),
        Collective::Gather if rank == case.root => all.flat_map(|source| input(case, source)).collect(),
        Collective::Broadcast => input(case, case.root),
        Collective::Scatter => part(case, case.root, block),
        Collective::AllToAll | Collective::AllToAllV => all.flat_map(|source| sent_to(case, source, rank)).collect(),
        Collective::SendRecv => input(case, (rank + case.ranks - 1) % case.ranks),
        Collective::Reduce | Collective::Gather | Collective::Barrier => Vec::new(),
    }
}

fn sent_to(case: &Case, source: Rank, target: Rank) -> Vec<u8> {
    let start: u64 = (0..target).map(|before| case.pair_count(source, before)).sum();
    part(case, source, start..start + case.pair_count(source, target))
}

/// The sum of the elements `range` of all inputs: block `only` of the grid, or all of its blocks.
fn reduced(case: &Case, range: Range<u64>, only: Option<Rank>, tiles: u32) -> Vec<u8> {
    let algorithm = algorithm::find(case.algorithm.expect("a reduction has one")).expect("it was found before");
    let problem = case.problem(tiles);
    let inputs: Vec<Vec<u8>> = (0..case.ranks).map(|source| part(case, source, range.clone())).collect();
    let len = range.end - range.start;
    let mut sum = Vec::with_capacity(inputs[0].len());
    let blocks = match only {
        Some(own) => vec![(own as u32, 0..len)],
        None => {
            let blocks = algorithm.plan(&problem).blocks;
            (0..blocks).map(|block| (block, chunk::split(len, blocks.into(), block.into()))).collect()
        }
    };
    for (block, elements) in blocks {
        for tile in 0..tiles {
            let within = chunk::split(elements.end - elements.start, tiles.into(), tile.into());
            let bytes = |element: u64| (elements.start + element) as usize * case.dtype.size();
            let replay = Replay { case, inputs: &inputs, bytes: bytes(within.start)..bytes(within.end) };
            sum.extend(replay.complete(algorithm, &algorithm.order(&problem, block * tiles + tile)));
        }
    }
    sum
}

/// The sum of one chunk.
struct Replay<'a> {
    case: &'a Case,
    inputs: &'a [Vec<u8>],
    bytes: Range<usize>,
}

impl Replay<'_> {
    fn complete(&self, algorithm: &dyn Algorithm, order: &Order) -> Vec<u8> {
        match order {
            Order::Fold(parts) => self.fold(parts, true),
            Order::Rank(_) => panic!("{} declares an order without a fold", algorithm.name()),
        }
    }

    fn fold(&self, parts: &[Order], last: bool) -> Vec<u8> {
        let operands: Vec<(Vec<u8>, bool)> = parts
            .iter()
            .map(|part| match part {
                Order::Rank(rank) => (self.inputs[*rank][self.bytes.clone()].to_vec(), true),
                Order::Fold(parts) => (self.fold(parts, false), false),
            })
            .collect();
        let sources: Vec<(&[u8], bool)> = operands.iter().map(|(bytes, raw)| (bytes.as_slice(), *raw)).collect();
        let mut out = vec![0; self.bytes.len()];
        let op = self.case.op.expect("a reduction has an operation");
        scalar::fold(self.case.dtype, op, self.case.ranks, &sources, last, &mut out);
        out
    }
}
