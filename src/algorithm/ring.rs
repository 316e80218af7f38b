//! The ring: every rank sends to the next and receives from the one before, and nothing else.
//!
//! Block `c` sets out from rank `c+1`, gathers a contribution at every rank and comes to rest, complete, at rank `c`.
//! Each stop is one fused move: receive, add, store, pass on. An all-gather then sends complete blocks round once more.
//!
//! | collective | hops | blocks sent = received, by every rank | scratch |
//! |---|---|---|---|
//! | all-reduce, N blocks | 2(N-1) | 2(N-1) | none: partial sums lie in the output |
//! | all-gather | N-1 | N-1 | none |
//! | reduce-scatter | N-1 | N-1 | 2 blocks; N-2 if blocks are uneven, since a slot has one size |
//!
//! Wins for large buffers: the bytes are the least possible, all ranks send all the time, and each needs only two
//! neighbours, whatever the fabric. Loses for small ones, with a latency that grows with N.
//!
//! Source: Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009.

use super::Algorithm;
use super::chains::{Chain, Longest};
use super::one_stage;
use super::write::{ahead, behind, block, chunks_of, plan, program, promise, serves};
use crate::plan::build::{copy, peer, reduce};
use crate::plan::{Buffer, Move, Order, Plan, Problem, Program, Promise, Reduction, Stage};
use crate::topology::Layout;
use crate::types::{Collective, Rank};

pub(super) struct Ring;

impl Algorithm for Ring {
    fn name(&self) -> &'static str {
        "ring"
    }
    fn fits(&self, problem: &Problem) -> Result<(), String> {
        serves(problem, &[Collective::AllReduce, Collective::AllGather, Collective::ReduceScatter])
    }
    fn plan(&self, problem: &Problem) -> Plan {
        plan(self, problem, problem.ranks, |problem, rank| match problem.collective {
            Collective::AllReduce => all_reduce(problem, rank),
            Collective::AllGather => all_gather(problem, rank),
            Collective::ReduceScatter => reduce_scatter(problem, rank),
            other => unreachable!("ring does not fit {other}"),
        })
    }
    fn promise(&self, problem: &Problem) -> Promise {
        let rounds = match problem.collective {
            Collective::AllReduce => 2 * (problem.ranks - 1),
            _ => problem.ranks - 1,
        };
        promise(problem, rounds, rounds, rounds)
    }
    /// Of the longest chain as many hops cross as there are ends of domains on its way; who sits at one sends everything across.
    fn stages(&self, problem: &Problem) -> Vec<Stage> {
        let (ranks, domains) = (problem.ranks, problem.layout.domains(problem.ranks));
        let promise = self.promise(problem);
        if domains == 1 || !matches!(problem.layout, Layout::Blocks(_)) {
            return one_stage(promise, problem);
        }
        let (rounds, chunks) = (promise.hops as usize, promise.chunks_sent);
        // Those hops that are missing to whole rounds stay inside, where there is room for them.
        let times = rounds.div_ceil(ranks);
        let missing = times * ranks - rounds;
        let inside = (ranks - domains) * times;
        let crossing_hops = (domains * times).saturating_sub(missing.saturating_sub(inside)) as u32;
        // A block takes its time hop by hop; and who sits where domains meet sends everything across, block after block. With two
        // places for partial sums it writes again only when what it sent last but one was taken.
        let waits = problem.collective == Collective::ReduceScatter && !problem.uneven;
        let in_turn = if waits { promise.hops / 2 } else { 1 };
        let hops = promise.hops - crossing_hops;
        let around = Chain::of([hops, crossing_hops], [u64::from(hops), u64::from(crossing_hops)]);
        let mut longest = Longest::default();
        longest.add(around);
        longest.add(Chain::of([0, in_turn], [0, chunks]));
        longest.stages_alone(problem)
    }
    fn order(&self, problem: &Problem, chunk: u32) -> Order {
        if problem.ranks == 1 {
            return Order::Fold(vec![Order::Rank(0)]);
        }
        let owner = (chunk / problem.tiles) as usize;
        let stops = (1..=problem.ranks).map(|distance| Order::Rank((owner + distance) % problem.ranks));
        stops.reduce(|sum, next| Order::Fold(vec![sum, next])).expect("there are 2 ranks or more")
    }
}

/// Two slots are enough: a slot is written again only after the next rank's previous step, which waits for none of
/// ours.
fn slot(problem: &Problem, round: usize) -> usize {
    if problem.uneven { round - 1 } else { (round - 1) % 2 }
}

/// The block that `rank` adds to in `round` of the reduce-scatter: 0 is the one that sets out, N-1 the rank's own.
fn adds_to(problem: &Problem, rank: Rank, round: usize) -> usize {
    behind(problem, rank, 1 + round)
}

/// Complete blocks round the ring: in round 1 the previous rank's own.
fn pass_round(problem: &Problem, rank: Rank) -> impl Iterator<Item = Move> {
    let (previous, next) = (behind(problem, rank, 1), ahead(problem, rank, 1));
    (1..problem.ranks).map(move |round| {
        let place = block(problem, Buffer::Output, behind(problem, rank, round));
        let last = round == problem.ranks - 1;
        copy(peer(previous), if last { vec![place] } else { vec![place, peer(next)] })
    })
}

fn all_gather(problem: &Problem, rank: Rank) -> Program {
    let own = block(problem, Buffer::Output, rank);
    let first = copy(block(problem, Buffer::Input, 0), [own, peer(ahead(problem, rank, 1))]);
    program([first].into_iter().chain(pass_round(problem, rank)))
}

fn all_reduce(problem: &Problem, rank: Rank) -> Program {
    let (previous, next) = (behind(problem, rank, 1), ahead(problem, rank, 1));
    let first = copy(block(problem, Buffer::Input, adds_to(problem, rank, 0)), [peer(next)]);
    let folds = (1..problem.ranks).map(|round| {
        let reduction = if round == problem.ranks - 1 { Reduction::Final } else { Reduction::Partial };
        let [input, output] =
            [Buffer::Input, Buffer::Output].map(|buffer| block(problem, buffer, adds_to(problem, rank, round)));
        reduce(reduction, [peer(previous), input], [output, peer(next)])
    });
    program([first].into_iter().chain(folds).chain(pass_round(problem, rank)))
}

fn reduce_scatter(problem: &Problem, rank: Rank) -> Program {
    let (previous, next) = (behind(problem, rank, 1), ahead(problem, rank, 1));
    let passed_on = 1..problem.ranks - 1;
    let input = |round| block(problem, Buffer::Input, adds_to(problem, rank, round));
    let first = copy(input(0), [peer(next)]);
    let folds = passed_on.clone().map(|round| {
        let partial = block(problem, Buffer::Scratch, slot(problem, round));
        reduce(Reduction::Partial, [peer(previous), input(round)], [partial, peer(next)])
    });
    let own = [peer(previous), input(problem.ranks - 1)];
    let last = reduce(Reduction::Final, own, [block(problem, Buffer::Output, 0)]);
    let slots = passed_on.clone().filter(|&round| slot(problem, round) + 1 == round);
    Program {
        scratch: chunks_of(problem, slots.map(|round| adds_to(problem, rank, round))),
        ..program([first].into_iter().chain(folds).chain([last]))
    }
}
