//! Direct exchange: every rank talks to every other, nobody forwards.
//!
//! | algorithm, collectives | hops | blocks sent, received by the busiest | block | scratch |
//! |---|---|---|---|---|
//! | `direct` all-gather, reduce-scatter, all-to-all | 1 | N-1, N-1 | one rank's | none |
//! | `direct` broadcast, scatter | 1 | N-1, 1 | all, one rank's | none |
//! | `direct` reduce, gather | 1 | 1, N-1 | all, one rank's | none |
//! | `direct` barrier | 1 | N-1, N-1 | one byte | 1 block |
//! | `one_shot` all-reduce | 1 | N-1, N-1 | all | 1 block |
//! | `two_shot` all-reduce | 2 | 2(N-1), 2(N-1) | an N-th | none |
//!
//! Wins among few ranks, and where any pair has the full bandwidth (one host, one NVLink domain): no plan has fewer
//! hops. Where each block has its own target no plan sends fewer bytes either; a root that broadcasts or reduces alone
//! is better served by a tree. `one_shot` buys its single hop with N/2 times the bytes of `two_shot`: for the smallest
//! sizes. At many ranks the messages, N-1 per rank, are too many.
//!
//! Targets are staggered (rank+1, rank+2, ...), so that ranks do not all turn to rank 0 first. Folds are in ascending
//! order of ranks, all in one step, so that narrow floats round once.
//!
//! Source: folklore; the names one-shot and two-shot are those of TensorRT-LLM's and vLLM's custom all-reduce and of
//! MSCCL++.

use super::Algorithm;
use super::chains::{Chain, Load, Longest};
use super::write::{ahead, ascending, behind, block, chunks_of, direct_stages, plan, program, promise, serves};
use crate::plan::build::{copy, peer, reduce};
use crate::plan::{Buffer, Move, Operand, Order, Plan, Problem, Program, Promise, Reduction, Stage};
use crate::types::{Collective, Rank};

pub(super) struct Direct;
pub(super) struct OneShot;
pub(super) struct TwoShot;

impl Algorithm for Direct {
    fn name(&self) -> &'static str {
        "direct"
    }
    fn fits(&self, problem: &Problem) -> Result<(), String> {
        use Collective::*;
        serves(problem, &[AllGather, ReduceScatter, Broadcast, Reduce, Gather, Scatter, AllToAll, Barrier])
    }
    fn plan(&self, problem: &Problem) -> Plan {
        plan(self, problem, 1, |problem, rank| match problem.collective {
            Collective::AllGather => all_gather(problem, rank),
            Collective::ReduceScatter => reduce_scatter(problem, rank),
            Collective::Broadcast => broadcast(problem, rank),
            Collective::Reduce => to_root(problem, rank),
            Collective::Gather => gather(problem, rank),
            Collective::Scatter => scatter(problem, rank),
            Collective::AllToAll => all_to_all(problem, rank),
            Collective::Barrier => everyone_folds(problem, rank),
            other => unreachable!("direct does not fit {other}"),
        })
    }
    fn promise(&self, problem: &Problem) -> Promise {
        let others = problem.ranks - 1;
        match problem.collective {
            Collective::Broadcast | Collective::Scatter => promise(problem, 1, others, 1),
            Collective::Reduce | Collective::Gather => promise(problem, 1, 1, others),
            _ => promise(problem, 1, others, others),
        }
    }
    fn stages(&self, problem: &Problem) -> Vec<Stage> {
        match problem.collective {
            Collective::Broadcast | Collective::Scatter | Collective::Reduce | Collective::Gather => at_root(problem),
            _ => direct_stages(problem, 1),
        }
    }
    fn order(&self, problem: &Problem, _chunk: u32) -> Order {
        ascending(problem)
    }
}

impl Algorithm for OneShot {
    fn name(&self) -> &'static str {
        "one_shot"
    }
    fn fits(&self, problem: &Problem) -> Result<(), String> {
        serves(problem, &[Collective::AllReduce])
    }
    fn plan(&self, problem: &Problem) -> Plan {
        plan(self, problem, 1, everyone_folds)
    }
    fn promise(&self, problem: &Problem) -> Promise {
        promise(problem, 1, problem.ranks - 1, problem.ranks - 1)
    }
    fn stages(&self, problem: &Problem) -> Vec<Stage> {
        direct_stages(problem, 1)
    }
    fn order(&self, problem: &Problem, _chunk: u32) -> Order {
        ascending(problem)
    }
}

impl Algorithm for TwoShot {
    fn name(&self) -> &'static str {
        "two_shot"
    }
    fn fits(&self, problem: &Problem) -> Result<(), String> {
        serves(problem, &[Collective::AllReduce])
    }
    fn plan(&self, problem: &Problem) -> Plan {
        plan(self, problem, problem.ranks, two_shot)
    }
    fn promise(&self, problem: &Problem) -> Promise {
        promise(problem, 2, 2 * (problem.ranks - 1), 2 * (problem.ranks - 1))
    }
    fn stages(&self, problem: &Problem) -> Vec<Stage> {
        direct_stages(problem, 2)
    }
    fn order(&self, problem: &Problem, _chunk: u32) -> Order {
        ascending(problem)
    }
}

/// Everything passes the ports of the root, what stays in its domain beside what crosses.
fn at_root(problem: &Problem) -> Vec<Stage> {
    let domain = problem.layout.domain(problem.root);
    let inside = problem.layout.domain_size(problem.ranks, domain) - 1;
    let crossing = problem.ranks - 1 - inside;
    let mut longest = Longest::default();
    for (crosses, blocks) in [(false, inside), (true, crossing)] {
        if blocks > 0 {
            longest.add(Chain::default().then(crosses, Load::each(blocks as u64)));
        }
    }
    longest.stages_alone(problem)
}

/// All other ranks in the order in which `rank` turns to them.
fn targets(problem: &Problem, rank: Rank) -> impl Iterator<Item = Rank> {
    (1..problem.ranks).map(move |distance| ahead(problem, rank, distance))
}

/// All other ranks in the order in which they turn to `rank`.
fn sources(problem: &Problem, rank: Rank) -> impl Iterator<Item = Rank> {
    (1..problem.ranks).map(move |distance| behind(problem, rank, distance))
}

/// `own` to `output` and to every other rank.
fn to_all(problem: &Problem, rank: Rank, output: Option<Operand>) -> Vec<Operand> {
    output.into_iter().chain(targets(problem, rank).map(peer)).collect()
}

/// Everyone's contribution in ascending order of ranks: `own`, and a message of every other rank.
fn fold_all(problem: &Problem, rank: Rank, own: Operand, destinations: impl Into<Vec<Operand>>) -> Move {
    let sources: Vec<Operand> = (0..problem.ranks).map(|other| if other == rank { own } else { peer(other) }).collect();
    reduce(Reduction::Final, sources, destinations)
}

/// A block from every other rank, to its place in the output.
fn receive_all(problem: &Problem, rank: Rank) -> impl Iterator<Item = Move> {
    sources(problem, rank).map(|source| copy(peer(source), [block(problem, Buffer::Output, source)]))
}

/// Its block of the input to every other rank.
fn send_all(problem: &Problem, rank: Rank) -> impl Iterator<Item = Move> {
    targets(problem, rank).map(|target| copy(block(problem, Buffer::Input, target), [peer(target)]))
}

fn all_gather(problem: &Problem, rank: Rank) -> Program {
    let own = block(problem, Buffer::Input, 0);
    let destinations = to_all(problem, rank, Some(block(problem, Buffer::Output, rank)));
    program([copy(own, destinations)].into_iter().chain(receive_all(problem, rank)))
}

fn reduce_scatter(problem: &Problem, rank: Rank) -> Program {
    let fold = fold_all(problem, rank, block(problem, Buffer::Input, rank), [block(problem, Buffer::Output, 0)]);
    program(send_all(problem, rank).chain([fold]))
}

fn broadcast(problem: &Problem, rank: Rank) -> Program {
    let output = block(problem, Buffer::Output, 0);
    program([if rank == problem.root {
        copy(block(problem, Buffer::Input, 0), to_all(problem, rank, Some(output)))
    } else {
        copy(peer(problem.root), [output])
    }])
}

fn to_root(problem: &Problem, rank: Rank) -> Program {
    let own = block(problem, Buffer::Input, 0);
    program([if rank == problem.root {
        fold_all(problem, rank, own, [block(problem, Buffer::Output, 0)])
    } else {
        copy(own, [peer(problem.root)])
    }])
}

fn gather(problem: &Problem, rank: Rank) -> Program {
    let own = block(problem, Buffer::Input, 0);
    if rank != problem.root {
        return program([copy(own, [peer(problem.root)])]);
    }
    program([copy(own, [block(problem, Buffer::Output, rank)])].into_iter().chain(receive_all(problem, rank)))
}

fn scatter(problem: &Problem, rank: Rank) -> Program {
    let output = block(problem, Buffer::Output, 0);
    if rank != problem.root {
        return program([copy(peer(problem.root), [output])]);
    }
    program(send_all(problem, rank).chain([copy(block(problem, Buffer::Input, rank), [output])]))
}

fn all_to_all(problem: &Problem, rank: Rank) -> Program {
    let own = copy(block(problem, Buffer::Input, rank), [block(problem, Buffer::Output, rank)]);
    program(send_all(problem, rank).chain([own]).chain(receive_all(problem, rank)))
}

/// Everyone sends all it has to everyone and folds for itself.
///
/// What is sent is a copy: in place, every rank would else wait with its result for all others to have read its input.
fn everyone_folds(problem: &Problem, rank: Rank) -> Program {
    let [input, output, sent] =
        [Buffer::Input, Buffer::Output, Buffer::Scratch].map(|buffer| block(problem, buffer, 0));
    let moves = [copy(input, [sent]), copy(sent, to_all(problem, rank, None)), fold_all(problem, rank, sent, [output])];
    Program { scratch: chunks_of(problem, [0]), ..program(moves) }
}

/// A reduce-scatter whose folds go to the owner's output and to all others in one pass.
fn two_shot(problem: &Problem, rank: Rank) -> Program {
    let own = block(problem, Buffer::Input, rank);
    let destinations = to_all(problem, rank, Some(block(problem, Buffer::Output, rank)));
    let fold = fold_all(problem, rank, own, destinations);
    program(send_all(problem, rank).chain([fold]).chain(receive_all(problem, rank)))
}
