//! Halving for any number of ranks, by going round: Bruck's all-gather run backwards is a reduce-scatter.
//!
//! A rank answers for the blocks of itself and the ranks after it: first for all N, in the end for its own. From one
//! round to the next, s' blocks become s = ceil(s'/2): partial sums of the s'-s farthest go to the rank s ahead, for
//! which they are the nearest, and as many come from the rank s before. An all-reduce then runs the rounds backwards as
//! an all-gather.
//!
//! With d = ceil(log2 N):
//!
//! | collective | hops | blocks sent = received, by every rank | block | scratch |
//! |---|---|---|---|---|
//! | reduce-scatter | d | N-1 | one rank's | ceil(N/2) blocks |
//! | all-reduce | 2d | 2(N-1) | an N-th | none: partial sums lie in the output |
//!
//! A message never goes round the last rank: where its run of blocks does, it is two. Wins for middle sizes where N is
//! no power of two: hops and bytes are the least possible at any N, while the halving of `halving.rs` needs to fold
//! ranks into a power of two. At powers of two that one has fewer messages and better neighbours.
//!
//! Source: Träff, "Optimal, non-pipelined reduce-scatter and allreduce algorithms", 2024 (arXiv 2410.14234).

use super::Algorithm;
use super::bruck::gather_round;
use super::chains::in_rounds;
use super::write::{ahead, behind, block, blocks, ceil_log2, chunks_of, plan, program, promise, serves, wrapped};
use crate::plan::build::{copy, peer, reduce};
use crate::plan::{Buffer, Move, Operand, Order, Plan, Problem, Program, Promise, Reduction, Stage};
use crate::types::{Collective, Rank};
use std::ops::Range;

pub(super) struct Circulant;

impl Algorithm for Circulant {
    fn name(&self) -> &'static str {
        "circulant"
    }
    fn fits(&self, problem: &Problem) -> Result<(), String> {
        serves(problem, &[Collective::AllReduce, Collective::ReduceScatter])
    }
    fn plan(&self, problem: &Problem) -> Plan {
        plan(self, problem, problem.ranks, |problem, rank| match problem.collective {
            Collective::AllReduce => all_reduce(problem, rank),
            Collective::ReduceScatter => reduce_scatter(problem, rank),
            other => unreachable!("circulant does not fit {other}"),
        })
    }
    fn promise(&self, problem: &Problem) -> Promise {
        let (rounds, others) = (ceil_log2(problem.ranks), problem.ranks - 1);
        match problem.collective {
            Collective::AllReduce => promise(problem, 2 * rounds, 2 * others, 2 * others),
            _ => promise(problem, rounds, others, others),
        }
    }
    fn stages(&self, problem: &Problem) -> Vec<Stage> {
        let there: Vec<(usize, usize)> = rounds(problem).collect();
        let hears = |round: usize, rank: Rank| match there.get(round) {
            Some((skip, len)) => Some((behind(problem, rank, *skip), *len as u64)),
            None => {
                let (skip, len) = there[2 * there.len() - 1 - round];
                Some((ahead(problem, rank, skip), len as u64))
            }
        };
        let ways = if problem.collective == Collective::AllReduce { 2 } else { 1 };
        in_rounds(problem, self.promise(problem), ways * there.len(), hears)
    }
    /// In each round the sum of the rank s farther from the owner comes in on the left.
    fn order(&self, problem: &Problem, chunk: u32) -> Order {
        if problem.ranks == 1 {
            return Order::Fold(vec![Order::Rank(0)]);
        }
        let owner = (chunk / problem.tiles) as usize;
        let mut sums: Vec<Order> =
            (0..problem.ranks).map(|distance| Order::Rank(behind(problem, owner, distance))).collect();
        while sums.len() > 1 {
            let mut farther = sums.split_off(sums.len().div_ceil(2)).into_iter();
            let join = |near| match farther.next() {
                Some(far) => Order::Fold(vec![far, near]),
                None => near,
            };
            sums = sums.into_iter().map(join).collect();
        }
        sums.remove(0)
    }
}

/// Rounds of the reduce-scatter: how far ahead partial sums go, and of how many blocks.
fn rounds(problem: &Problem) -> impl DoubleEndedIterator<Item = (usize, usize)> {
    let halves = std::iter::successors(Some(problem.ranks), |held| Some(held.div_ceil(2)));
    let halves: Vec<usize> = halves.take(ceil_log2(problem.ranks) + 1).collect();
    (1..halves.len()).map(move |round| (halves[round], halves[round - 1] - halves[round]))
}

/// A run of blocks where it lies in the input and where its partial sums lie.
struct Piece {
    input: Operand,
    partial: Operand,
}

/// The blocks at these distances ahead of the rank. Partial sums are in order of blocks in the output, of distance in
/// scratch.
fn pieces(problem: &Problem, rank: Rank, partials: Buffer, distances: Range<usize>) -> Vec<Piece> {
    let mut distance = distances.start;
    let ranges = wrapped(problem, ahead(problem, rank, distance), distances.len());
    ranges
        .map(|range| {
            let slots = distance..distance + range.len();
            distance = slots.end;
            let places = if partials == Buffer::Scratch { slots } else { range.clone() };
            Piece { input: blocks(problem, Buffer::Input, range), partial: blocks(problem, partials, places) }
        })
        .collect()
}

/// After this the rank's own block is complete in `own`.
fn halve(problem: &Problem, rank: Rank, partials: Buffer, own: Operand) -> Vec<Move> {
    let mut moves = Vec::new();
    for (skip, len) in rounds(problem) {
        let (target, source) = (peer(ahead(problem, rank, skip)), peer(behind(problem, rank, skip)));
        let run = |distances| pieces(problem, rank, partials, distances).into_iter();
        let is_first = skip + len == problem.ranks;
        let held = |piece: &Piece| if is_first { piece.input } else { piece.partial };
        moves.extend(run(skip..skip + len).map(|piece| copy(held(&piece), [target])));
        if is_first {
            moves.extend(run(len..skip).map(|piece| copy(piece.input, [piece.partial])));
        }
        moves.extend(run(0..len).map(|piece| match skip {
            1 => reduce(Reduction::Final, [source, held(&piece)], [own]),
            _ => reduce(Reduction::Partial, [source, held(&piece)], [piece.partial]),
        }));
    }
    moves
}

fn reduce_scatter(problem: &Problem, rank: Rank) -> Program {
    let moves = halve(problem, rank, Buffer::Scratch, block(problem, Buffer::Output, 0));
    let slots = if problem.ranks > 2 { problem.ranks.div_ceil(2) } else { 0 };
    let stored = (0..slots).map(|distance| ahead(problem, rank, distance));
    Program { scratch: chunks_of(problem, stored), ..program(moves) }
}

fn all_reduce(problem: &Problem, rank: Rank) -> Program {
    let mut moves = halve(problem, rank, Buffer::Output, block(problem, Buffer::Output, rank));
    moves.extend(rounds(problem).rev().flat_map(|(skip, len)| gather_round(problem, rank, skip, len)));
    program(moves)
}
