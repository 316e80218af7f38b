//! The dissemination barrier: in round k every rank tells the one 2^k ahead of all that it has heard of.
//!
//! With d = ceil(log2 N): d hops, d bytes sent and received by every rank, d bytes of scratch.
//!
//! The fold is idempotent, so it does no harm that a rank is heard of more than once where N is no power of two.
//! Wins beyond a few ranks; among few, everyone telling everyone (`direct`) has a single hop.
//!
//! Source: Hensgen, Finkel and Manber, "Two algorithms for barrier synchronization", 1988.

use super::Algorithm;
use super::chains::in_rounds;
use super::write::{ahead, behind, block, ceil_log2, chunks_of, plan, program, promise, serves};
use crate::plan::build::{copy, peer, reduce};
use crate::plan::{Buffer, Move, Order, Plan, Problem, Program, Promise, Reduction, Stage};
use crate::types::{Collective, Rank};

pub(super) struct Dissemination;

impl Algorithm for Dissemination {
    fn name(&self) -> &'static str {
        "dissemination"
    }
    fn fits(&self, problem: &Problem) -> Result<(), String> {
        serves(problem, &[Collective::Barrier])
    }
    fn plan(&self, problem: &Problem) -> Plan {
        plan(self, problem, 1, barrier)
    }
    fn promise(&self, problem: &Problem) -> Promise {
        let rounds = ceil_log2(problem.ranks);
        promise(problem, rounds, rounds, rounds)
    }
    fn stages(&self, problem: &Problem) -> Vec<Stage> {
        let hears = |round: usize, rank: Rank| Some((behind(problem, rank, 1 << round), 1));
        in_rounds(problem, self.promise(problem), ceil_log2(problem.ranks), hears)
    }
    fn order(&self, _problem: &Problem, _chunk: u32) -> Order {
        unreachable!("dissemination serves no collective that reduces")
    }
}

/// A slot per round: the byte that a peer still reads is never written again.
fn barrier(problem: &Problem, rank: Rank) -> Program {
    let rounds = ceil_log2(problem.ranks);
    let heard = |round: usize| match round == rounds {
        true => block(problem, Buffer::Output, 0),
        false => block(problem, Buffer::Scratch, round),
    };
    let mut moves: Vec<Move> = vec![copy(block(problem, Buffer::Input, 0), [heard(0)])];
    for round in 0..rounds {
        moves.push(copy(heard(round), [peer(ahead(problem, rank, 1 << round))]));
        let source = peer(behind(problem, rank, 1 << round));
        moves.push(reduce(Reduction::Final, [heard(round), source], [heard(round + 1)]));
    }
    Program { scratch: chunks_of(problem, vec![0; rounds]), ..program(moves) }
}
