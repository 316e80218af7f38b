//! Recursive doubling: in round k ranks exchange all they have with the partner at distance 2^k.
//!
//! With N = P + E ranks, P the largest power of two within N, q = log2 P, e = 1 if E > 0, h = 1 if E > P/2, else 0:
//!
//! | collective | hops | blocks sent by the busiest | received | block | scratch |
//! |---|---|---|---|---|---|
//! | all-reduce | q + e + h | q + e | q + e | all | 1 block |
//! | all-gather | q + e + h | Σ over k<q of 2^k + min(E, 2^k), + e(N-1) | N-1 | one rank's | none |
//!
//! All-reduce wins for the smallest sizes beyond a few ranks: no plan with one partner at a time has fewer hops, but
//! each sends everything. All-gather wins for small and middle sizes at powers of two, where its bytes are the least
//! possible too; elsewhere `bruck` is better, since a leader has to send nearly everything once more.
//!
//! Both partners fold the lower ranks' sum on the left, so that all ranks hold the same bits.
//!
//! Source: Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations in MPICH", 2005.

use super::Algorithm;
use super::power::{Core, Exchange, Role, lower_left};
use super::write::{block, blocks, chunks_of, plan, program, promise, serves};
use crate::plan::build::{copy, peer, reduce};
use crate::plan::{Buffer, Move, Order, Plan, Problem, Program, Promise, Reduction, Stage};
use crate::types::{Collective, Rank};

pub(super) struct RecursiveDoubling;

impl Algorithm for RecursiveDoubling {
    fn name(&self) -> &'static str {
        "recursive_doubling"
    }
    fn fits(&self, problem: &Problem) -> Result<(), String> {
        serves(problem, &[Collective::AllReduce, Collective::AllGather])
    }
    fn plan(&self, problem: &Problem) -> Plan {
        plan(self, problem, 1, |problem, rank| match problem.collective {
            Collective::AllReduce => all_reduce(problem, rank),
            Collective::AllGather => all_gather(problem, rank),
            other => unreachable!("recursive_doubling does not fit {other}"),
        })
    }
    fn promise(&self, problem: &Problem) -> Promise {
        let core = Core::new(problem.ranks);
        match problem.collective {
            Collective::AllReduce => {
                let exchanged = core.rounds() + core.led();
                promise(problem, core.hops(), exchanged, exchanged)
            }
            _ => {
                let others = problem.ranks - 1;
                promise(problem, core.hops(), core.doubling_runs() + core.led() * others, others)
            }
        }
    }
    fn stages(&self, problem: &Problem) -> Vec<Stage> {
        exchange(problem).stages(problem, self.promise(problem))
    }
    fn order(&self, problem: &Problem, _chunk: u32) -> Order {
        match problem.ranks {
            1 => Order::Fold(vec![Order::Rank(0)]),
            ranks => {
                let core = Core::new(ranks);
                core.balanced(0..core.power)
            }
        }
    }
}

/// What passes in each round.
pub(super) fn exchange(problem: &Problem) -> Exchange {
    let core = Core::new(problem.ranks);
    let distances = (0..core.rounds()).map(|round| 1 << round);
    match problem.collective {
        Collective::AllReduce => {
            Exchange { core, handed_in: 1, rounds: distances.map(|distance| (distance, 1)).collect(), got_back: 1 }
        }
        _ => {
            let rounds = distances.map(|distance| (distance, core.ranks(0..distance).len() as u64)).collect();
            Exchange { core, handed_in: 1, rounds, got_back: problem.ranks as u64 - 1 }
        }
    }
}

fn all_reduce(problem: &Problem, rank: Rank) -> Program {
    let core = Core::new(problem.ranks);
    let whole = |buffer| block(problem, buffer, 0);
    let (index, extra) = match core.role(rank) {
        Role::Leads { index, extra } => (index, extra),
        Role::Led { leader } => {
            return program([copy(whole(Buffer::Input), [peer(leader)]), copy(peer(leader), [whole(Buffer::Output)])]);
        }
    };
    let partner = |round: usize| peer(core.leader(index ^ (1 << round)));
    // Before round k the sum lies in one of two places in turn, since the partner still reads it while the next sum is
    // written; the last is the output.
    let place = |round: usize| if (core.rounds() - round).is_multiple_of(2) { Buffer::Output } else { Buffer::Scratch };

    let mut held = place(0);
    let mut moves = Vec::new();
    match (extra, held) {
        (Some(extra), _) => {
            let both = [whole(Buffer::Input), peer(extra)];
            moves.push(reduce(Reduction::Partial, both, [whole(held), partner(0)]));
        }
        (None, Buffer::Scratch) => {
            moves.push(copy(whole(Buffer::Input), [whole(held)]));
            moves.push(copy(whole(held), [partner(0)]));
        }
        (None, _) => {
            held = Buffer::Input;
            moves.push(copy(whole(held), [partner(0)]));
        }
    }
    for round in 0..core.rounds() {
        let last = round + 1 == core.rounds();
        let next = if last { extra.map(peer) } else { Some(partner(round + 1)) };
        let destinations: Vec<_> = [whole(place(round + 1))].into_iter().chain(next).collect();
        let reduction = if last { Reduction::Final } else { Reduction::Partial };
        moves.push(reduce(reduction, lower_left(index, 1 << round, whole(held), partner(round)), destinations));
        held = place(round + 1);
    }
    Program { scratch: chunks_of(problem, [0]), ..program(moves) }
}

fn all_gather(problem: &Problem, rank: Rank) -> Program {
    let core = Core::new(problem.ranks);
    let output = |range| blocks(problem, Buffer::Output, range);
    let own = copy(block(problem, Buffer::Input, 0), [output(rank..rank + 1)]);
    let (index, extra) = match core.role(rank) {
        Role::Leads { index, extra } => (index, extra),
        Role::Led { leader } => {
            let hand_in = copy(block(problem, Buffer::Input, 0), [output(rank..rank + 1), peer(leader)]);
            let others = around(problem, rank).map(|range| copy(peer(leader), [output(range)]));
            return program([hand_in].into_iter().chain(others));
        }
    };
    let mut moves: Vec<Move> = vec![own];
    moves.extend(extra.map(|extra| copy(peer(extra), [output(extra..extra + 1)])));
    for round in 0..core.rounds() {
        let size = 1 << round;
        let run = |participant: usize| {
            let first = participant - participant % size;
            core.ranks(first..first + size)
        };
        let partner = core.leader(index ^ size);
        moves.push(copy(output(run(index)), [peer(partner)]));
        moves.push(copy(peer(partner), [output(run(index ^ size))]));
    }
    if let Some(extra) = extra {
        moves.extend(around(problem, extra).map(|range| copy(output(range), [peer(extra)])));
    }
    program(moves)
}

/// All blocks but that of `rank`, which is led and so never the first.
fn around(problem: &Problem, rank: Rank) -> impl Iterator<Item = std::ops::Range<usize>> {
    [0..rank, rank + 1..problem.ranks].into_iter().filter(|range| !range.is_empty())
}
