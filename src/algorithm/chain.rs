//! The chain: ranks in a row from the root, each passing on tile after tile.
//!
//! | collective | hops | blocks sent by the busiest | received | block | scratch |
//! |---|---|---|---|---|---|
//! | broadcast | N-1 | 1 | 1 | all | none |
//! | reduce | N-1 | 1 | 1 | all | 1 block between the ends |
//!
//! Pipelined over tiles: t tiles are through after N-2+t steps. Wins for the largest buffers at few ranks, where no
//! rank sends or receives any byte twice; `double_tree` gets there with a latency in the logarithm of N.
//!
//! Source: folklore; Sanders, Speck and Träff 2009 call it the linear pipeline.

use super::Algorithm;
use super::chains::{Chain as Row, Load, crosses};
use super::write::{ahead, behind, broadcast_or_reduce, chunks_of, each_tile, from_root, promise, serves};
use crate::plan::build::{copy, peer, reduce, striding};
use crate::plan::{Buffer, Order, Plan, Problem, Program, Promise, Reduction, Stage};
use crate::types::{Collective, Rank};

pub(super) struct Chain;

impl Algorithm for Chain {
    fn name(&self) -> &'static str {
        "chain"
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
        promise(problem, problem.ranks - 1, 1, 1)
    }
    fn stages(&self, problem: &Problem) -> Vec<Stage> {
        let tiles = u64::from(problem.tiles);
        let rank = |place: usize| ahead(problem, problem.root, place);
        let row = (1..problem.ranks)
            .fold(Row::default(), |row, place| row.then(crosses(problem, rank(place - 1), rank(place)), Load::one(1)));
        vec![row.pipelined(
            [tiles, tiles],
            problem.tiles,
            Stage { local_chunks: tiles, alone: true, ..Stage::default() },
        )]
    }
    fn order(&self, problem: &Problem, _chunk: u32) -> Order {
        if problem.ranks == 1 {
            return Order::Fold(vec![Order::Rank(0)]);
        }
        let from_the_end = (0..problem.ranks).rev().map(|place| Order::Rank(ahead(problem, problem.root, place)));
        from_the_end.reduce(|sum, rank| Order::Fold(vec![rank, sum])).expect("there are 2 ranks or more")
    }
}

fn broadcast(problem: &Problem, rank: Rank) -> Program {
    let [input, output] = [Buffer::Input, Buffer::Output].map(|buffer| striding(buffer, 0, 1, 1));
    let next = peer(ahead(problem, rank, 1));
    let body = match from_root(problem, rank) {
        0 => copy(input, [output, next]),
        place if place == problem.ranks - 1 => copy(peer(behind(problem, rank, 1)), [output]),
        _ => copy(peer(behind(problem, rank, 1)), [output, next]),
    };
    Program::of(vec![each_tile(problem, body)])
}

fn to_root(problem: &Problem, rank: Rank) -> Program {
    let [input, output, partial] =
        [Buffer::Input, Buffer::Output, Buffer::Scratch].map(|buffer| striding(buffer, 0, 1, 1));
    let (toward_root, farther) = (peer(behind(problem, rank, 1)), peer(ahead(problem, rank, 1)));
    let between = |body| Program { scratch: chunks_of(problem, [0]), ..Program::of(vec![each_tile(problem, body)]) };
    match from_root(problem, rank) {
        0 => Program::of(vec![each_tile(problem, reduce(Reduction::Final, [input, farther], [output]))]),
        place if place == problem.ranks - 1 => Program::of(vec![each_tile(problem, copy(input, [toward_root]))]),
        _ => between(reduce(Reduction::Partial, [input, farther], [partial, toward_root])),
    }
}
