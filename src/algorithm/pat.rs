//! Parallel aggregated trees: every block has a binomial tree of its own, the same one moved on from rank to rank, and near ranks
//! are its leaves.
//!
//! The rank that lies o before the owner of a block has the block's place o, and the tree's edges lead from o to o less its lowest bit: half of
//! all messages go to the next rank, a quarter to the one after, and only one in N to the farthest. A reduce-scatter climbs all
//! trees at once, those places first that have most bits; an all-gather comes down the other way round. With several domains of
//! ranks in a row most bytes stay inside without anything being said of domains.
//!
//! With b the most bits that a number below N has, at most ceil(log2 N):
//!
//! | collective | hops | blocks sent = received, by every rank | messages | scratch |
//! |---|---|---|---|---|
//! | all-gather | b | N-1 | N-1 | none |
//! | reduce-scatter | b | N-1 | N-1 | floor(N/2) - 1 blocks, where partial sums wait |
//!
//! Wins among many ranks of a network whose far links are the narrow ones. Elsewhere `bruck` and `circulant` have
//! as few hops with fewer messages, but send the most bytes the farthest.
//!
//! NCCL's PAT packs blocks of a round into one message, or, for large ones, takes the trees in turns, to get by with staging
//! memory of logarithmic size; here blocks go to where they belong, and a reduce-scatter is given its scratch.
//!
//! Source: Jeaugey, "PAT: a new algorithm for all-gather and reduce-scatter operations at scale", 2025 (arXiv 2506.20252).

use super::Algorithm;
use super::write::{ahead, behind, block, chunks_of, plan, program, promise, serves};
use crate::plan::build::{copy, peer, reduce};
use crate::plan::{Buffer, Move, Order, Plan, Problem, Program, Promise, Reduction};
use crate::types::{Collective, Rank};

pub(super) struct Pat;

impl Algorithm for Pat {
    fn name(&self) -> &'static str {
        "pat"
    }
    fn fits(&self, problem: &Problem) -> Result<(), String> {
        serves(problem, &[Collective::AllGather, Collective::ReduceScatter])
    }
    fn plan(&self, problem: &Problem) -> Plan {
        plan(self, problem, problem.ranks, |problem, rank| match problem.collective {
            Collective::AllGather => all_gather(problem, rank),
            Collective::ReduceScatter => reduce_scatter(problem, rank),
            other => unreachable!("pat does not fit {other}"),
        })
    }
    fn promise(&self, problem: &Problem) -> Promise {
        let last = problem.ranks - 1;
        let most_bits = last.count_ones().max(last.checked_ilog2().unwrap_or(0));
        promise(problem, most_bits as usize, last, last)
    }
    fn order(&self, problem: &Problem, chunk: u32) -> Order {
        let owner = (chunk / problem.tiles) as usize;
        match problem.ranks {
            1 => Order::Fold(vec![Order::Rank(0)]),
            _ => sum_below(problem, owner, 0),
        }
    }
}

/// The sum at a place of the owner's tree: its own contribution, then those of its children, nearest first.
fn sum_below(problem: &Problem, owner: Rank, place: usize) -> Order {
    let own = Order::Rank(behind(problem, owner, place));
    let below: Vec<Order> =
        children(problem, place).map(|distance| sum_below(problem, owner, place + distance)).collect();
    if below.is_empty() { own } else { Order::Fold([own].into_iter().chain(below).collect()) }
}

/// How much farther from the owner the children of a place lie.
fn children(problem: &Problem, place: usize) -> impl Iterator<Item = usize> + use<> {
    let (ranks, lowest) = (problem.ranks, if place == 0 { usize::BITS } else { place.trailing_zeros() });
    (0..lowest.min(ranks.ilog2() + 1)).map(|bit| 1 << bit).take_while(move |distance| place + distance < ranks)
}

/// How much nearer the parent lies.
fn to_parent(place: usize) -> usize {
    place & place.wrapping_neg()
}

/// All places, those with fewest bits, the nearest to the owner in messages, first.
fn places(problem: &Problem) -> Vec<usize> {
    let mut places: Vec<usize> = (0..problem.ranks).collect();
    places.sort_by_key(|place| place.count_ones());
    places
}

fn all_gather(problem: &Problem, rank: Rank) -> Program {
    program(places(problem).into_iter().map(|place| {
        let output = block(problem, Buffer::Output, ahead(problem, rank, place));
        let below = children(problem, place).map(|distance| peer(behind(problem, rank, distance)));
        let from = match place {
            0 => block(problem, Buffer::Input, 0),
            _ => peer(ahead(problem, rank, to_parent(place))),
        };
        copy(from, [output].into_iter().chain(below).collect::<Vec<_>>())
    }))
}

fn reduce_scatter(problem: &Problem, rank: Rank) -> Program {
    let mut summed = Vec::new();
    let moves: Vec<Move> = places(problem)
        .into_iter()
        .rev()
        .map(|place| {
            let own = block(problem, Buffer::Input, ahead(problem, rank, place));
            let below: Vec<_> =
                children(problem, place).map(|distance| peer(behind(problem, rank, distance))).collect();
            let parent = peer(ahead(problem, rank, to_parent(place)));
            let is_leaf = below.is_empty();
            let parts: Vec<_> = [own].into_iter().chain(below).collect();
            match place {
                0 => reduce(Reduction::Final, parts, [block(problem, Buffer::Output, 0)]),
                _ if is_leaf => copy(own, [parent]),
                _ => {
                    summed.push(ahead(problem, rank, place));
                    reduce(Reduction::Partial, parts, [block(problem, Buffer::Scratch, summed.len() - 1), parent])
                }
            }
        })
        .collect();
    Program { scratch: chunks_of(problem, summed), ..program(moves) }
}
