//! Bruck's algorithm: logarithmic for any number of ranks, by going round.
//!
//! All-gather: a rank holds the blocks of the 2^k ranks from itself on, and in round k sends them to the rank 2^k
//! before it; straight from the output, in one message, or two where the run goes round the last rank.
//!
//! All-to-all: the block that has to go j ranks ahead goes 2^k in each round k whose bit is set in j. Blocks of a round
//! leave as one message, which is packed in scratch.
//!
//! With d = ceil(log2 N), P = Σ of popcount(j) over 0 < j < N (about N/2 log2 N):
//!
//! | collective | hops | blocks sent = received, by every rank | scratch |
//! |---|---|---|---|
//! | all-gather | d | N-1 | none |
//! | all-to-all | d | P | P received + the two largest rounds' sent, at most P + N blocks |
//!
//! All-gather wins for small and middle sizes at any N: hops and bytes are the least possible. All-to-all wins for
//! the smallest blocks, where N-1 messages per rank cost more than sending every byte about (log2 N)/2 times.
//!
//! Source: Bruck, Ho, Kipnis, Upfal and Weathersby, "Efficient algorithms for all-to-all communications in multiport
//! message-passing systems", 1997.

use super::Algorithm;
use super::chains::in_rounds;
use super::write::{ahead, behind, block, blocks, ceil_log2, chunks_of, plan, program, promise, serves, wrapped};
use crate::plan::build::{copy, peer};
use crate::plan::{Buffer, Move, Order, Plan, Problem, Program, Promise, Stage};
use crate::types::{Collective, Rank};

pub(super) struct Bruck;

impl Algorithm for Bruck {
    fn name(&self) -> &'static str {
        "bruck"
    }
    fn fits(&self, problem: &Problem) -> Result<(), String> {
        serves(problem, &[Collective::AllGather, Collective::AllToAll])?;
        if problem.collective == Collective::AllToAll && problem.uneven {
            return Err("sends blocks through ranks that don't know their sizes".to_owned());
        }
        Ok(())
    }
    fn plan(&self, problem: &Problem) -> Plan {
        plan(self, problem, problem.ranks, |problem, rank| match problem.collective {
            Collective::AllGather => all_gather(problem, rank),
            Collective::AllToAll => all_to_all(problem, rank),
            other => unreachable!("bruck does not fit {other}"),
        })
    }
    fn promise(&self, problem: &Problem) -> Promise {
        let (ranks, rounds) = (problem.ranks, ceil_log2(problem.ranks));
        let sent = match problem.collective {
            Collective::AllGather => ranks - 1,
            _ => (0..rounds).map(|round| with_bit(ranks, round)).sum(),
        };
        promise(problem, rounds, sent, sent)
    }
    fn stages(&self, problem: &Problem) -> Vec<Stage> {
        let (ranks, rounds) = (problem.ranks, ceil_log2(problem.ranks));
        let hears = |round: usize, rank: Rank| {
            let distance = 1 << round;
            Some(match problem.collective {
                Collective::AllGather => (ahead(problem, rank, distance), distance.min(ranks - distance) as u64),
                _ => (behind(problem, rank, distance), with_bit(ranks, round) as u64),
            })
        };
        in_rounds(problem, self.promise(problem), rounds, hears)
    }
    fn order(&self, _problem: &Problem, _chunk: u32) -> Order {
        unreachable!("bruck serves no collective that reduces")
    }
}

/// How many numbers below `ranks` have this bit set.
fn with_bit(ranks: usize, bit: usize) -> usize {
    let (half, period) = (1 << bit, 2 << bit);
    ranks / period * half + (ranks % period).saturating_sub(half)
}

fn all_gather(problem: &Problem, rank: Rank) -> Program {
    let own = copy(block(problem, Buffer::Input, 0), [block(problem, Buffer::Output, rank)]);
    let rounds = (0..ceil_log2(problem.ranks)).map(|round| 1 << round);
    program([own].into_iter().chain(rounds.flat_map(|distance| {
        let len = distance.min(problem.ranks - distance);
        gather_round(problem, rank, distance, len)
    })))
}

/// The `len` blocks from the rank on to the one `distance` before it, and as many from the one `distance` ahead.
pub(super) fn gather_round(
    problem: &Problem,
    rank: Rank,
    distance: usize,
    len: usize,
) -> impl Iterator<Item = Move> + use<> {
    let problem = *problem;
    let run = move |first| wrapped(&problem, first, len).map(move |range| blocks(&problem, Buffer::Output, range));
    let (target, source) = (behind(&problem, rank, distance), ahead(&problem, rank, distance));
    let sends = run(rank).map(move |held| copy(held, [peer(target)]));
    sends.chain(run(source).map(move |place| copy(peer(source), [place])))
}

/// Which blocks move in a round, named by how many ranks they have to go in all. They are packed farthest first, so
/// that those that arrive, the nearest, lie in the order of their sources.
fn movers(problem: &Problem, round: usize) -> impl Iterator<Item = usize> {
    (1..problem.ranks).rev().filter(move |distance| distance & (1 << round) != 0)
}

fn all_to_all(problem: &Problem, rank: Rank) -> Program {
    let rounds = ceil_log2(problem.ranks);
    let most = (0..rounds).map(|round| with_bit(problem.ranks, round)).max().unwrap_or(0);
    // Where the block lies that still has to go, or has gone part of, this distance.
    let mut place: Vec<(Buffer, usize)> =
        (0..problem.ranks).map(|distance| (Buffer::Input, ahead(problem, rank, distance))).collect();
    let mut moves = vec![copy(block(problem, Buffer::Input, rank), [block(problem, Buffer::Output, rank)])];
    // Packed blocks lie in two areas in turn, since the last round's may still be on their way; what is received stays.
    let mut received = 2 * most;
    for round in 0..rounds {
        let packed = round % 2 * most;
        let count = with_bit(problem.ranks, round);
        for (slot, distance) in movers(problem, round).enumerate() {
            let (buffer, index) = place[distance];
            moves.push(copy(block(problem, buffer, index), [block(problem, Buffer::Scratch, packed + slot)]));
            place[distance] = (Buffer::Scratch, received + slot);
        }
        let (target, source) = (ahead(problem, rank, 1 << round), behind(problem, rank, 1 << round));
        moves.push(copy(blocks(problem, Buffer::Scratch, packed..packed + count), [peer(target)]));
        moves.push(copy(peer(source), [blocks(problem, Buffer::Scratch, received..received + count)]));
        received += count;
        moves.extend(deliver(problem, rank, round, received));
    }
    Program { scratch: chunks_of(problem, vec![0; received]), ..program(moves) }
}

/// Blocks that have arrived after `round`, those with 2^round to 2^(round+1) - 1 ranks to go in all, are the last
/// before `end`.
fn deliver(problem: &Problem, rank: Rank, round: usize, end: usize) -> impl Iterator<Item = Move> {
    let nearest = 1 << round;
    let farthest = (2 * nearest - 1).min(problem.ranks - 1);
    let mut slot = end - (farthest - nearest + 1);
    wrapped(problem, behind(problem, rank, farthest), farthest - nearest + 1).map(move |sources| {
        let slots = slot..slot + sources.len();
        slot = slots.end;
        copy(blocks(problem, Buffer::Scratch, slots), [blocks(problem, Buffer::Output, sources)])
    })
}
