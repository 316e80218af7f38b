//! The proof of a plan that is composed of others, from the proofs of its parts.
//!
//! ## The rule
//! A composed plan cuts its buffers into tiles that share no memory, and for every tile runs the same stages in the same order. In a
//! stage the ranks form groups (the domains; the rails), and each group runs a factor: a proved plan of one lane among its ranks, with ranks and
//! chunks renamed one to one. Each rank does all of this in one lane, or in two by rule 4.
//!
//! 1. *In order.* Let every rank run the same factors in the same order, and each of its own whole before the next. Then no rank waits
//!    for ever, messages match, and memory ends as if one factor had run after the other. Take the first factor, in that order, that
//!    some rank has not finished: all before it are finished wherever they run, so its ranks are in it or will be, nothing of
//!    earlier factors is still in a channel or waits to be released, and the factor's own proof says that it ends. So channels may be shared
//!    between factors.
//! 2. *Brought forward.* A move that only sends waits for nothing. It may stand earlier, before factors that don't write what it reads and
//!    have no messages on its channel between its two ranks: nobody's order of messages changes, and what was sent is what it would
//!    have been. Here these are the first sends of a tile's first stage; what they pass belongs to earlier tiles, so to other memory,
//!    and to stages between other ranks or on another channel.
//! 3. *Put off.* A move that only receives into memory makes nobody wait but those who would overwrite the memory it was sent from.
//!    It may stand later, after factors that don't touch what it writes, have no messages on its channel between its two ranks, and in
//!    which its sender does not overwrite what it sent. Here these are the last receipts of a tile's last stage; what they
//!    pass belongs to the next tile, and so is other memory at both ends.
//!
//! 4. *Ahead.* The first stage of every tile may have a lane of its own, if the other lane waits for its end before the tile's second, and
//!    both use different channels or peers. By itself this lane runs one factor after the other on memory that the second stage
//!    and those behind it touch only after the wait, so it ends by rule 1 and leaves what it would have left; it never waits for the other
//!    lane, which finds the first stage done when its turn comes.
//!
//! What remains is that the stages add up to the collective. A reduce-scatter in every domain leaves at the carrier of a slot the sum
//! over its domain, each rank counted once; an all-reduce along the rail of those sums, one from each domain, leaves the sum over
//! all ranks, each once, as the domains are disjoint and together all; an all-gather in every domain brings it to all. The
//! others are its halves; in the all-to-all each block goes to the carrier of its target's slot and from there to the target.
//! Factors work in place where the stage before left its result, which their proofs include.
//!
//! The rule itself was checked by proving whole every hierarchy of up to 64 ranks (`algorithm/tests/hierarchy.rs`). Of a larger plan
//! this proves every factor at its true size and looks at the programs of some ranks as they are: that each move keeps the rules of a
//! single step, that they read nothing that was not written, write all of the output and contribute every chunk once (`walk.rs`), and that
//! what they send and take is what their peers take and send, message by message. That the programs of all ranks are made of the factors
//! rests on who wrote the plan, so only this crate's hierarchies can say that they are composed.

use super::flaw::Place;
use super::walk::walk;
use super::{Checked, Facts, Flaw, Proof, check, rotation, rules};
use crate::plan::chunk::{ChunkId, Grid};
use crate::plan::{Move, Operand, Part, Plan, Program, Span, Step};
use crate::types::{Collective, Rank};
use std::collections::HashMap;
use std::sync::Arc;

/// Up to here every plan is proved whole.
const MOST_RANKS_WHOLE: usize = 64;

/// How a plan is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Whole,
    ByParts,
    /// Unless it turns out not to look alike from all ranks: then whole.
    ByRotation,
}

impl Way {
    /// How [`prove`] would prove a plan, found out quickly.
    pub fn of(plan: &Plan) -> Way {
        match plan.problem.ranks {
            0..=MOST_RANKS_WHOLE => Way::Whole,
            _ if !plan.parts().is_empty() => Way::ByParts,
            _ if rotation::seems_to_fit(plan) => Way::ByRotation,
            _ => Way::Whole,
        }
    }
}

/// Proves a plan in the way that suits it: whole, by its parts, or by what it looks like from one rank.
///
/// A proof that is not of the whole plan knows no [order](Checked::order) of addition, and its [`Facts`] of uneven hierarchies are what
/// the busiest rank does at most.
///
/// # Errors
/// As [`check`].
pub fn prove(plan: &Plan) -> Result<Checked, Flaw> {
    match Way::of(plan) {
        Way::ByParts => by_parts(plan),
        Way::ByRotation if let Ok(facts) = rotation::by_rotation(plan) => {
            Ok(Checked(Arc::new(Proof { plan: plan.clone(), facts, sums: None })))
        }
        Way::Whole | Way::ByRotation => check(plan),
    }
}

fn by_parts(plan: &Plan) -> Result<Checked, Flaw> {
    let tiles = u64::from(plan.problem.tiles);
    let mut facts = Facts { lanes: 1, bit_equal: true, ..Facts::none() };
    for part in plan.parts() {
        let proved = part.factors.iter().map(prove).collect::<Result<Vec<_>, Flaw>>()?;
        let of_part = proved.iter().map(Checked::facts).cloned().fold(Facts::none(), Facts::most);
        facts.add(&of_part, part, tiles);
    }
    let sample = Sample::new(plan);
    for rank in sample.ranks() {
        let program = plan.program(rank);
        sample.rules(rank, &program)?;
        walk(&sample.grid, rank, &program)?;
        sample.messages(rank, &program)?;
        facts.scratch_chunks = facts.scratch_chunks.max(program.scratch.len() as u32);
        facts.lanes = facts.lanes.max(program.lanes.len() as u32);
        facts.max_channel =
            facts.max_channel.max(sent(&sample.grid, rank, &program).keys().map(|key| key.1).max().unwrap_or(0));
    }
    Ok(Checked(Arc::new(Proof { plan: plan.clone(), facts, sums: None })))
}

impl Facts {
    pub(super) fn none() -> Facts {
        Facts {
            hops: 0,
            chunks_sent: 0,
            chunks_received: 0,
            messages_sent: 0,
            chunks_reduced: 0,
            chunks_copied: 0,
            scratch_chunks: 0,
            lanes: 0,
            moves: 0,
            max_channel: 0,
            bit_equal: true,
        }
    }

    /// Of two kinds of group what the busier does.
    fn most(self, other: Facts) -> Facts {
        Facts {
            hops: self.hops.max(other.hops),
            chunks_sent: self.chunks_sent.max(other.chunks_sent),
            chunks_received: self.chunks_received.max(other.chunks_received),
            messages_sent: self.messages_sent.max(other.messages_sent),
            chunks_reduced: self.chunks_reduced.max(other.chunks_reduced),
            chunks_copied: self.chunks_copied.max(other.chunks_copied),
            scratch_chunks: self.scratch_chunks.max(other.scratch_chunks),
            lanes: self.lanes.max(other.lanes),
            moves: self.moves.max(other.moves),
            max_channel: self.max_channel.max(other.max_channel),
            bit_equal: self.bit_equal && other.bit_equal,
        }
    }

    /// One more stage of every tile.
    fn add(&mut self, factor: &Facts, part: &Part, tiles: u64) {
        let beside = u32::from(part.overlaps).min(factor.hops);
        self.hops += tiles as u32 * (factor.hops - beside) * part.runs as u32 + beside;
        let times = part.chunks * part.runs * tiles;
        self.chunks_sent += factor.chunks_sent * times;
        self.chunks_received += factor.chunks_received * times;
        self.chunks_reduced += factor.chunks_reduced * times;
        self.chunks_copied += factor.chunks_copied * times;
        self.messages_sent +=
            if part.joins { factor.messages_sent * part.runs * tiles } else { factor.chunks_sent * times };
        self.moves += factor.moves * if part.joins { 1 } else { part.chunks } * part.groups * tiles;
        self.bit_equal &= factor.bit_equal;
    }
}

/// The chunks that a message carries, by id, run by run.
type Load = Vec<(ChunkId, u32)>;

/// Messages in order, by peer and channel.
type Messages = HashMap<(Rank, u16), Vec<Load>>;

/// A few ranks of a plan, looked at closely.
struct Sample<'a> {
    plan: &'a Plan,
    grid: Grid,
}

impl Sample<'_> {
    fn new(plan: &Plan) -> Sample<'_> {
        Sample { plan, grid: plan.grid() }
    }

    /// One of the first domain, one in the middle, and the last of all, whose domain may be smaller.
    fn ranks(&self) -> [Rank; 3] {
        let ranks = self.plan.problem.ranks;
        [1, ranks / 2, ranks - 1]
    }

    fn rules(&self, rank: Rank, program: &Program) -> Result<(), Flaw> {
        let uneven = self.plan.problem.uneven;
        rules::check_scratch(&self.grid, uneven, rank, &program.scratch)?;
        let context = rules::Context { grid: &self.grid, uneven, scratch: &program.scratch };
        let mut lane_of = HashMap::new();
        for (lane, steps) in program.lanes.iter().enumerate() {
            for (index, step) in steps.iter().enumerate() {
                for (peer, used) in ways(step).map(|way| (way.1, *lane_of.entry(way).or_insert(lane))) {
                    if used != lane {
                        return Err(Flaw::Composition { rank, peer });
                    }
                }
                let at = Place { rank, lane: lane as u32, step: index as u32, inside: None };
                let (rounds, moves) = match step {
                    Step::Move(one) => (1, std::slice::from_ref(one)),
                    Step::Repeat { count, body } => (*count, body.as_slice()),
                    Step::Wait { .. } => continue,
                };
                for one in moves {
                    rules::check_move(&context, at, one, rounds)?;
                }
            }
        }
        Ok(())
    }

    /// Compares what a rank sends and takes with what its peers do.
    fn messages(&self, rank: Rank, program: &Program) -> Result<(), Flaw> {
        let (mut sends, mut takes) = (sent(&self.grid, rank, program), taken(&self.grid, rank, program));
        let mut peers: Vec<Rank> = sends.keys().chain(takes.keys()).map(|key| key.0).collect();
        peers.sort_unstable();
        peers.dedup();
        for peer in peers {
            let program = self.plan.program(peer);
            let with_rank = |all: Messages| -> Vec<_> { all.into_iter().filter(|(key, _)| key.0 == rank).collect() };
            let theirs = with_rank(taken(&self.grid, peer, &program));
            let ours: Vec<_> = theirs.iter().map(|(key, _)| sends.remove(&(peer, key.1)).unwrap_or_default()).collect();
            let is_taken = theirs.iter().zip(&ours).all(|((_, theirs), ours)| theirs == ours);
            let theirs = with_rank(sent(&self.grid, peer, &program));
            let ours: Vec<_> = theirs.iter().map(|(key, _)| takes.remove(&(peer, key.1)).unwrap_or_default()).collect();
            if !is_taken || theirs.iter().zip(&ours).any(|((_, theirs), ours)| theirs != ours) {
                return Err(Flaw::Composition { rank, peer });
            }
        }
        match sends.keys().chain(takes.keys()).next() {
            Some(&(peer, _)) => Err(Flaw::Composition { rank, peer }),
            None => Ok(()),
        }
    }
}

/// Whom a step sends to (true) and receives from, and on which channels.
fn ways(step: &Step) -> impl Iterator<Item = (bool, Rank, u16)> {
    let moves = match step {
        Step::Move(one) => std::slice::from_ref(one),
        Step::Repeat { body, .. } => body.as_slice(),
        Step::Wait { .. } => &[],
    };
    let peers = |sends: bool, operands: &[Operand]| -> Vec<(bool, Rank, u16)> {
        let way = |operand: &Operand| match *operand {
            Operand::Peer { rank, channel } => Some((sends, rank, channel)),
            Operand::Local(_) => None,
        };
        operands.iter().filter_map(way).collect()
    };
    moves.iter().flat_map(move |one| [peers(true, &one.destinations), peers(false, &one.sources)]).flatten()
}

fn sent(grid: &Grid, rank: Rank, program: &Program) -> Messages {
    messages(grid, rank, program, |one| &one.destinations)
}

fn taken(grid: &Grid, rank: Rank, program: &Program) -> Messages {
    messages(grid, rank, program, |one| &one.sources)
}

fn messages(grid: &Grid, rank: Rank, program: &Program, operands: fn(&Move) -> &Vec<Operand>) -> Messages {
    let mut all = Messages::new();
    let mut add = |one: &Move, round: u32| {
        let locals = one.sources.iter().chain(&one.destinations);
        let span = locals.into_iter().find_map(|operand| match operand {
            Operand::Local(span) => Some(span),
            Operand::Peer { .. } => None,
        });
        let load = span.map(|span| load(grid, rank, span, round, &program.scratch)).unwrap_or_default();
        for operand in operands(one) {
            if let Operand::Peer { rank, channel } = *operand {
                all.entry((rank, channel)).or_default().push(load.clone());
            }
        }
    };
    for step in program.lanes.iter().flatten() {
        match step {
            Step::Move(one) => add(one, 0),
            Step::Repeat { count, body } => (0..*count).for_each(|round| body.iter().for_each(|one| add(one, round))),
            Step::Wait { .. } => {}
        }
    }
    all
}

fn load(grid: &Grid, rank: Rank, span: &Span, round: u32, scratch: &[ChunkId]) -> Load {
    let first = span.start + round * span.stride;
    let mut runs = Load::new();
    if span.buffer != crate::plan::Buffer::Scratch && grid.collective != Collective::AllToAll {
        return vec![(grid.chunk_id(rank, span.buffer, first, scratch), span.len)];
    }
    for index in first..first + span.len {
        let id = grid.chunk_id(rank, span.buffer, index, scratch);
        match runs.last_mut() {
            Some((start, len)) if *start + *len == id => *len += 1,
            _ => runs.push((id, 1)),
        }
    }
    runs
}
