//! The binary tree: every rank has two below it, and passes on tile after tile.
//!
//! Places are counted from the root, going round; below place p are 2p+1 and 2p+2.
//!
//! | collective | hops | blocks sent by the busiest | received | block | scratch |
//! |---|---|---|---|---|---|
//! | broadcast | floor(log2 N) | 2 (1 of 2 ranks) | 1 | all | none |
//! | reduce | floor(log2 N) | 1 | 2 (1 of 2 ranks) | all | 1 block on inner ranks |
//!
//! Pipelined over tiles. By itself `double_tree` is better, whose ranks send no byte twice; but it needs two lanes. One that is enough for
//! both directions at once makes this the tree of hierarchies, where ways between domains have bandwidth to spare: `chain` sends
//! half as much, with a latency in N.
//!
//! Source: folklore.

use super::Algorithm;
use super::chains::{Load, crosses, ends, in_tree};
use super::write::{ahead, broadcast_or_reduce, chunks_of, each_tile, from_root, promise, serves};
use crate::plan::build::{copy, peer, reduce, striding};
use crate::plan::{Buffer, Operand, Order, Plan, Problem, Program, Promise, Reduction, Stage};
use crate::types::{Collective, Rank};

pub(super) struct BinaryTree;

impl Algorithm for BinaryTree {
    fn name(&self) -> &'static str {
        "binary_tree"
    }
    fn fits(&self, problem: &Problem) -> Result<(), String> {
        serves(problem, &[Collective::Broadcast, Collective::Reduce])
    }
    fn pipelines(&self) -> bool {
        true
    }
    fn plan(&self, problem: &Problem) -> Plan {
        broadcast_or_reduce(self, problem, broadcast, to_root)
    }
    fn promise(&self, problem: &Problem) -> Promise {
        let (hops, below) = (depth(problem.ranks - 1), (problem.ranks - 1).min(2));
        match problem.collective {
            Collective::Broadcast => promise(problem, hops, below, 1),
            _ => promise(problem, hops, 1, below),
        }
    }
    fn stages(&self, problem: &Problem) -> Vec<Stage> {
        let beside = |rank: Rank, crossing: bool| {
            children(problem, rank).filter(|child| crosses(problem, rank, *child) == crossing).count() as u64
        };
        let ways = in_tree(problem, |rank| {
            let parent = parent(problem, rank)?;
            Some((parent, Load::each(beside(parent, crosses(problem, parent, rank)))))
        });
        let tiles = u64::from(problem.tiles);
        let most = |crossing: bool| ends(problem).map(|rank| beside(rank, crossing)).max().unwrap_or(0) * tiles;
        let local_chunks = self.promise(problem).chunks_received;
        let stage = Stage { local_chunks, ..Stage::default() };
        ways.pipelined([most(false), most(true)], problem.tiles, stage)
    }
    fn order(&self, problem: &Problem, _chunk: u32) -> Order {
        match problem.ranks {
            1 => Order::Fold(vec![Order::Rank(0)]),
            _ => sum_below(problem, problem.root),
        }
    }
}

/// A rank, then all below each of its children.
fn sum_below(problem: &Problem, rank: Rank) -> Order {
    let below: Vec<Order> = children(problem, rank).map(|child| sum_below(problem, child)).collect();
    let own = Order::Rank(rank);
    if below.is_empty() { own } else { Order::Fold([own].into_iter().chain(below).collect()) }
}

/// Messages between the root and a place.
pub(super) fn depth(place: usize) -> usize {
    (place + 1).ilog2() as usize
}

fn parent(problem: &Problem, rank: Rank) -> Option<Rank> {
    let place = from_root(problem, rank).checked_sub(1)?;
    Some(ahead(problem, problem.root, place / 2))
}

/// How many of a tree's ranks are below one at a place.
pub(super) fn children_of(ranks: usize, place: usize) -> usize {
    ranks.saturating_sub(2 * place + 1).min(2)
}

fn children(problem: &Problem, rank: Rank) -> impl Iterator<Item = Rank> + use<> {
    let (problem, place) = (*problem, from_root(problem, rank));
    let places = 2 * place + 1..2 * place + 1 + children_of(problem.ranks, place);
    places.map(move |place| ahead(&problem, problem.root, place))
}

fn broadcast(problem: &Problem, rank: Rank) -> Program {
    let [input, output] = [Buffer::Input, Buffer::Output].map(|buffer| striding(buffer, 0, 1, 1));
    let from = parent(problem, rank).map_or(input, peer);
    let to: Vec<Operand> = [output].into_iter().chain(children(problem, rank).map(peer)).collect();
    Program::of(vec![each_tile(problem, copy(from, to))])
}

fn to_root(problem: &Problem, rank: Rank) -> Program {
    let [input, output, partial] =
        [Buffer::Input, Buffer::Output, Buffer::Scratch].map(|buffer| striding(buffer, 0, 1, 1));
    let parts: Vec<Operand> = [input].into_iter().chain(children(problem, rank).map(peer)).collect();
    match parent(problem, rank).map(peer) {
        None => Program::of(vec![each_tile(problem, reduce(Reduction::Final, parts, [output]))]),
        Some(parent) if parts.len() == 1 => Program::of(vec![each_tile(problem, copy(input, [parent]))]),
        Some(parent) => {
            let moves = vec![each_tile(problem, reduce(Reduction::Partial, parts, [partial, parent]))];
            Program { scratch: chunks_of(problem, [0]), ..Program::of(moves) }
        }
    }
}
