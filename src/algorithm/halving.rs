//! Recursive halving: in each round ranks exchange half of what they still answer for and add the other half.
//!
//! With N = P + E ranks, P the largest power of two within N, q = log2 P, e = 1 if E > 0, h = 1 if E > P/2, else 0:
//!
//! | algorithm, collective | hops | blocks sent by the busiest | received | block | scratch |
//! |---|---|---|---|---|---|
//! | `halving_doubling` all-reduce | 2q + 2e | 2(P-1) + eP | 2(P-1) + eP | a P-th | none |
//! | `recursive_halving` reduce-scatter | q + e + h | N-1 + e | eN + Σ over k<q of 2^k + min(E, 2^k) | one rank's | N/2 blocks, N for a leader |
//!
//! Both win for middle sizes: hops in the logarithm of N, and at powers of two the least bytes possible. Elsewhere a
//! leader takes its partner's whole input first.
//!
//! `halving_doubling` meets its neighbours first, when messages are largest (they are likely near), and so ends with
//! blocks in bit-reversed order; the all-gather undoes that. In `recursive_halving` blocks must end in order of ranks:
//! the farthest partner is first, so that halves are runs.
//!
//! Source: Rabenseifner, "Optimization of collective reduction operations", 2004; Thakur, Rabenseifner and Gropp 2005.

use super::Algorithm;
use super::power::{Core, Exchange, Role, lower_left};
use super::write::{block, blocks, chunks_of, plan, program, promise, serves};
use crate::plan::build::{copy, peer, reduce};
use crate::plan::{Buffer, Move, Order, Plan, Problem, Program, Promise, Reduction, Stage};
use crate::types::{Collective, Rank};
use std::ops::Range;

pub(super) struct HalvingDoubling;
pub(super) struct RecursiveHalving;

impl Algorithm for HalvingDoubling {
    fn name(&self) -> &'static str {
        "halving_doubling"
    }
    fn fits(&self, problem: &Problem) -> Result<(), String> {
        serves(problem, &[Collective::AllReduce])
    }
    fn plan(&self, problem: &Problem) -> Plan {
        plan(self, problem, Core::new(problem.ranks).power, halving_doubling)
    }
    fn promise(&self, problem: &Problem) -> Promise {
        let core = Core::new(problem.ranks);
        let exchanged = 2 * (core.power - 1) + core.led() * core.power;
        promise(problem, 2 * (core.rounds() + core.led()), exchanged, exchanged)
    }
    fn stages(&self, problem: &Problem) -> Vec<Stage> {
        halving_exchange(problem).stages(problem, self.promise(problem))
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

impl Algorithm for RecursiveHalving {
    fn name(&self) -> &'static str {
        "recursive_halving"
    }
    fn fits(&self, problem: &Problem) -> Result<(), String> {
        serves(problem, &[Collective::ReduceScatter])
    }
    fn plan(&self, problem: &Problem) -> Plan {
        plan(self, problem, problem.ranks, recursive_halving)
    }
    fn promise(&self, problem: &Problem) -> Promise {
        let core = Core::new(problem.ranks);
        let received = core.led() * problem.ranks + core.doubling_runs();
        promise(problem, core.hops(), problem.ranks - 1 + core.led(), received)
    }
    fn stages(&self, problem: &Problem) -> Vec<Stage> {
        scatter_exchange(problem).stages(problem, self.promise(problem))
    }
    fn order(&self, problem: &Problem, _chunk: u32) -> Order {
        match problem.ranks {
            1 => Order::Fold(vec![Order::Rank(0)]),
            ranks => {
                let core = Core::new(ranks);
                strided(&core, 0, 1)
            }
        }
    }
}

/// What passes in each round of an all-reduce.
pub(super) fn halving_exchange(problem: &Problem) -> Exchange {
    let core = Core::new(problem.ranks);
    let there = (0..core.rounds()).map(|round| (1 << round, (core.power >> (round + 1)) as u64));
    let whole = core.power as u64;
    Exchange { core, handed_in: whole, rounds: there.clone().chain(there.rev()).collect(), got_back: whole }
}

/// What passes in each round of a reduce-scatter.
pub(super) fn scatter_exchange(problem: &Problem) -> Exchange {
    let core = Core::new(problem.ranks);
    let distances = (0..core.rounds()).rev().map(|round| 1 << round);
    let rounds = distances.map(|distance| (distance, core.ranks(0..distance).len() as u64)).collect();
    Exchange { core, handed_in: problem.ranks as u64, rounds, got_back: 1 }
}

/// The tree over the participants `first`, `first + stride`, ...: those that were farthest apart are added first, so
/// the top of the tree joins the even to the odd.
fn strided(core: &Core, first: usize, stride: usize) -> Order {
    match stride == core.power {
        true => core.contribution(first),
        false => Order::Fold(vec![strided(core, first, 2 * stride), strided(core, first + stride, 2 * stride)]),
    }
}

/// The two halves of `range`: the one that the participant keeps in a round at this distance, and the one that it gives
/// away.
fn keep_and_give(range: Range<usize>, index: usize, distance: usize) -> (Range<usize>, Range<usize>) {
    let middle = range.start + range.len() / 2;
    let (lower, upper) = (range.start..middle, middle..range.end);
    if index & distance == 0 { (lower, upper) } else { (upper, lower) }
}

fn halving_doubling(problem: &Problem, rank: Rank) -> Program {
    let core = Core::new(problem.ranks);
    let all = 0..core.power;
    let run = |buffer, range: &Range<usize>| blocks(problem, buffer, range.clone());
    let (index, extra) = match core.role(rank) {
        Role::Leads { index, extra } => (index, extra),
        Role::Led { leader } => {
            let hand_in = copy(run(Buffer::Input, &all), [peer(leader)]);
            return program([hand_in, copy(peer(leader), [run(Buffer::Output, &all)])]);
        }
    };
    let mut moves: Vec<Move> = Vec::new();
    let mut held = Buffer::Input;
    if let Some(extra) = extra {
        let both = [run(Buffer::Input, &all), peer(extra)];
        moves.push(reduce(Reduction::Partial, both, [run(Buffer::Output, &all)]));
        held = Buffer::Output;
    }
    let mut mine = all.clone();
    for round in 0..core.rounds() {
        let partner = peer(core.leader(index ^ (1 << round)));
        let (keep, give) = keep_and_give(mine, index, 1 << round);
        let reduction = if round + 1 == core.rounds() { Reduction::Final } else { Reduction::Partial };
        moves.push(copy(run(held, &give), [partner]));
        let sources = lower_left(index, 1 << round, run(held, &keep), partner);
        moves.push(reduce(reduction, sources, [run(Buffer::Output, &keep)]));
        held = Buffer::Output;
        mine = keep;
    }
    for round in (0..core.rounds()).rev() {
        let partner = peer(core.leader(index ^ (1 << round)));
        let (ours, len) = (mine.start - mine.start % (2 * mine.len()), mine.len());
        let theirs = if mine.start == ours { ours + len..ours + 2 * len } else { ours..ours + len };
        moves.push(copy(run(Buffer::Output, &mine), [partner]));
        moves.push(copy(partner, [run(Buffer::Output, &theirs)]));
        mine = ours..ours + 2 * len;
    }
    moves.extend(extra.map(|extra| copy(run(Buffer::Output, &all), [peer(extra)])));
    program(moves)
}

fn recursive_halving(problem: &Problem, rank: Rank) -> Program {
    let core = Core::new(problem.ranks);
    let all = 0..problem.ranks;
    let output = block(problem, Buffer::Output, 0);
    let (index, extra) = match core.role(rank) {
        Role::Leads { index, extra } => (index, extra),
        Role::Led { leader } => {
            let hand_in = copy(blocks(problem, Buffer::Input, all), [peer(leader)]);
            return program([hand_in, copy(peer(leader), [output])]);
        }
    };
    let farthest = core.power / 2;
    // The blocks whose partial sums this rank ever holds; scratch has a place for each.
    let stored = match extra {
        Some(_) => all.clone(),
        None if farthest == 1 => 0..0,
        None => core.ranks(keep_and_give(0..core.power, index, farthest).0),
    };
    let run = |buffer, ranks: Range<Rank>| match buffer {
        Buffer::Scratch => blocks(problem, buffer, ranks.start - stored.start..ranks.end - stored.start),
        _ => blocks(problem, buffer, ranks),
    };
    let mut moves: Vec<Move> = Vec::new();
    let mut held = Buffer::Input;
    if let Some(extra) = extra {
        let both = [run(Buffer::Input, all.clone()), peer(extra)];
        moves.push(reduce(Reduction::Partial, both, [run(Buffer::Scratch, all)]));
        held = Buffer::Scratch;
    }
    let mut mine = 0..core.power;
    let mut distance = farthest;
    while distance > 1 {
        let partner = peer(core.leader(index ^ distance));
        let (keep, give) = keep_and_give(mine, index, distance);
        let kept = core.ranks(keep.clone());
        moves.push(copy(run(held, core.ranks(give)), [partner]));
        let sources = lower_left(index, distance, run(held, kept.clone()), partner);
        moves.push(reduce(Reduction::Partial, sources, [run(Buffer::Scratch, kept)]));
        held = Buffer::Scratch;
        mine = keep;
        distance /= 2;
    }
    // The last round goes block by block, since a pair's two blocks go to different places.
    let partner = peer(core.leader(index ^ 1));
    for theirs in core.ranks((index ^ 1)..(index ^ 1) + 1) {
        moves.push(copy(run(held, theirs..theirs + 1), [partner]));
    }
    for ours in core.ranks(index..index + 1) {
        let sources = lower_left(index, 1, run(held, ours..ours + 1), partner);
        let destinations = match extra {
            Some(extra) if extra == ours => vec![run(Buffer::Scratch, ours..ours + 1), peer(extra)],
            _ => vec![output],
        };
        moves.push(reduce(Reduction::Final, sources, destinations));
    }
    Program { scratch: chunks_of(problem, stored), ..program(moves) }
}
