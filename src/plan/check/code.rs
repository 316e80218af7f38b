//! All ranks' programs as flat tables, with lanes and channels numbered through, so that a million moves fit and run fast.

use super::flaw::{Flaw, Inside, Link, Place};
use super::limits::Limits;
use super::rules;
use crate::plan::chunk::{ChunkId, Grid};
use crate::plan::{self, Buffer, Plan, Reduction};
use crate::types::{Collective, Rank};
use std::collections::HashMap;
use std::ops::Range;

pub(super) type LaneId = u32;
pub(super) type ChannelId = u32;

/// No lane.
pub(super) const NO_LANE: LaneId = u32::MAX;

/// A local span, or the channel of a peer.
#[derive(Clone, Copy)]
pub(super) enum Operand {
    Local(plan::Span),
    Peer(ChannelId),
}

/// A move whose operands stand in [`Code::operands`], sources first.
#[derive(Clone, Copy)]
pub(super) struct Move {
    operands: u32,
    sources: u32,
    destinations: u32,
    /// Its local operands in [`Code::spans`], and from how many of them its posted sends may be read.
    spans: u32,
    posted: u32,
    /// Chunks of every operand.
    pub(super) len: u32,
    pub(super) reduction: Option<Reduction>,
    /// Has no local memory to send from, see [`crate::plan`].
    pub(super) is_rendezvous: bool,
    /// Copies from local memory: its stores are not ordered before its sends.
    pub(super) copies_local: bool,
}

/// `rounds` times the moves of a range; a plain move is one round of one.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) moves: u32,
    pub(super) len: u32,
    pub(super) rounds: u32,
    pub(super) is_repeat: bool,
}

pub(super) struct Lane {
    pub(super) rank: Rank,
    /// Its number on its rank.
    pub(super) number: u32,
    pub(super) steps: Range<u32>,
}

/// The messages from one rank to another on one channel, and the lanes at both ends.
#[derive(Clone, Copy)]
pub(super) struct Channel {
    pub(super) link: Link,
    pub(super) sender: LaneId,
    pub(super) receiver: LaneId,
}

pub(super) struct Code {
    pub(super) limits: Limits,
    pub(super) grid: Grid,
    pub(super) uneven: bool,
    operands: Vec<Operand>,
    /// Of each move the local destinations, then the local sources.
    spans: Vec<plan::Span>,
    pub(super) moves: Vec<Move>,
    pub(super) steps: Vec<Step>,
    pub(super) lanes: Vec<Lane>,
    /// The lanes of each rank.
    pub(super) lanes_of: Vec<Range<LaneId>>,
    pub(super) channels: Vec<Channel>,
    pub(super) scratch: Vec<Vec<ChunkId>>,
}

impl Code {
    /// Reads every rank's program and applies the rules that one step must keep by itself.
    pub(super) fn new(plan: &Plan, limits: &Limits) -> Result<Code, Flaw> {
        let mut builder = Builder::new(plan, limits)?;
        for rank in 0..plan.problem.ranks {
            builder.rank(rank, plan.program(rank))?;
        }
        Ok(builder.code)
    }

    pub(super) fn sources(&self, step: &Move) -> &[Operand] {
        &self.operands[step.operands as usize..][..step.sources as usize]
    }

    pub(super) fn destinations(&self, step: &Move) -> &[Operand] {
        &self.operands[(step.operands + step.sources) as usize..][..step.destinations as usize]
    }

    /// Where posted sends of a move are read from. A result has its destinations; a copy has its source too, and which of them an
    /// executor sends from is left to it.
    pub(super) fn posted(&self, step: &Move) -> &[plan::Span] {
        &self.spans[step.spans as usize..][..step.posted as usize]
    }

    /// A local operand; all have the same chunks, and there is one.
    pub(super) fn any_span(&self, step: &Move) -> &plan::Span {
        &self.spans[step.spans as usize]
    }

    pub(super) fn has_many_lanes(&self, rank: Rank) -> bool {
        self.lanes_of[rank].len() > 1
    }

    /// The place of the `number`th move that a lane executes.
    pub(super) fn place(&self, lane: LaneId, mut number: u64) -> Place {
        let Lane { rank, number: lane, ref steps } = self.lanes[lane as usize];
        for (index, step) in self.steps[steps.start as usize..steps.end as usize].iter().enumerate() {
            let moves = u64::from(step.rounds) * u64::from(step.len);
            if number < moves {
                let (round, index_in_body) = (number / u64::from(step.len), number % u64::from(step.len));
                let inside = Inside { round: round as u32, index: index_in_body as u32 };
                return Place { rank, lane, step: index as u32, inside: step.is_repeat.then_some(inside) };
            }
            number -= moves;
        }
        Place { rank, lane, step: steps.len() as u32, inside: None }
    }
}

struct Builder {
    code: Code,
    channel_ids: HashMap<(u32, u32, u16), ChannelId>,
    ranks: usize,
    chunks: u64,
    move_count: u64,
    work: u64,
}

impl Builder {
    fn new(plan: &Plan, limits: &Limits) -> Result<Builder, Flaw> {
        check_problem(plan, limits)?;
        let code = Code {
            limits: *limits,
            grid: plan.grid(),
            uneven: plan.problem.uneven,
            operands: Vec::new(),
            spans: Vec::new(),
            moves: Vec::new(),
            steps: Vec::new(),
            lanes: Vec::new(),
            lanes_of: Vec::new(),
            channels: Vec::new(),
            scratch: Vec::new(),
        };
        let ranks = plan.problem.ranks;
        Ok(Builder { code, channel_ids: HashMap::new(), ranks, chunks: 0, move_count: 0, work: 0 })
    }

    fn rank(&mut self, rank: Rank, program: plan::Program) -> Result<(), Flaw> {
        let grid = self.code.grid;
        rules::check_scratch(&grid, self.code.uneven, rank, &program.scratch)?;
        let own = [Buffer::Input, Buffer::Output].map(|buffer| u64::from(grid.chunks(rank, buffer)));
        self.chunks += own[0] + own[1] + program.scratch.len() as u64;
        bound("chunks of memory", self.chunks, self.code.limits.chunks)?;
        let first_lane = self.code.lanes.len() as LaneId;
        for (number, steps) in program.lanes.iter().enumerate() {
            let start = self.code.steps.len() as u32;
            for (index, step) in steps.iter().enumerate() {
                let at = Place { rank, lane: number as u32, step: index as u32, inside: None };
                self.step(at, &program.scratch, step)?;
            }
            let steps = start..self.code.steps.len() as u32;
            self.code.lanes.push(Lane { rank, number: number as u32, steps });
        }
        self.code.lanes_of.push(first_lane..self.code.lanes.len() as LaneId);
        self.code.scratch.push(program.scratch);
        Ok(())
    }

    fn step(&mut self, at: Place, scratch: &[ChunkId], step: &plan::Step) -> Result<(), Flaw> {
        let first = self.code.moves.len() as u32;
        let (rounds, moves, is_repeat) = match step {
            plan::Step::Move(one) => (1, std::slice::from_ref(one), false),
            plan::Step::Repeat { count, body } => (*count, body.as_slice(), true),
        };
        self.move_count += u64::from(rounds) * moves.len() as u64;
        bound("moves", self.move_count, self.code.limits.moves)?;
        for (index, one) in moves.iter().enumerate() {
            let inside = is_repeat.then_some(Inside { round: 0, index: index as u32 });
            self.one_move(Place { inside, ..at }, scratch, one, rounds)?;
        }
        self.code.steps.push(Step { moves: first, len: moves.len() as u32, rounds, is_repeat });
        Ok(())
    }

    fn one_move(&mut self, at: Place, scratch: &[ChunkId], one: &plan::Move, rounds: u32) -> Result<(), Flaw> {
        for operand in one.sources.iter().chain(&one.destinations) {
            self.work += u64::from(rounds) * u64::from(operand_len(operand));
            bound("chunks to move", self.work, self.code.limits.work)?;
        }
        let context = rules::Context { grid: &self.code.grid, uneven: self.code.uneven, scratch };
        let len = rules::check_move(&context, at, one, rounds)?;
        let (operands, spans) = (self.code.operands.len() as u32, self.code.spans.len() as u32);
        for (operands, are_sources) in [(&one.sources, true), (&one.destinations, false)] {
            for operand in operands {
                let operand = self.operand(at, operand, are_sources)?;
                self.code.operands.push(operand);
            }
        }
        self.code.spans.extend(one.destinations.iter().filter_map(local));
        let stored = self.code.spans.len() as u32 - spans;
        self.code.spans.extend(one.sources.iter().filter_map(local));
        let all = self.code.spans.len() as u32 - spans;
        self.code.moves.push(Move {
            operands,
            sources: one.sources.len() as u32,
            destinations: one.destinations.len() as u32,
            spans,
            posted: if one.reduction.is_none() { all } else { stored },
            len,
            reduction: one.reduction,
            is_rendezvous: one.reduction.is_some() && stored == 0,
            copies_local: one.reduction.is_none() && all > stored,
        });
        Ok(())
    }

    fn operand(&mut self, at: Place, operand: &plan::Operand, is_source: bool) -> Result<Operand, Flaw> {
        match *operand {
            plan::Operand::Local(span) => Ok(Operand::Local(span)),
            plan::Operand::Peer { rank: peer, channel } => {
                let (source, target) = if is_source { (peer, at.rank) } else { (at.rank, peer) };
                self.channel(at, Link { source, target, channel }, is_source).map(Operand::Peer)
            }
        }
    }

    /// The channel's number; this lane becomes its sender or receiver.
    fn channel(&mut self, at: Place, link: Link, receives: bool) -> Result<ChannelId, Flaw> {
        debug_assert!(link.source < self.ranks && link.target < self.ranks);
        let channels = &mut self.code.channels;
        let key = (link.source as u32, link.target as u32, link.channel);
        let id = *self.channel_ids.entry(key).or_insert_with(|| {
            channels.push(Channel { link, sender: NO_LANE, receiver: NO_LANE });
            channels.len() as ChannelId - 1
        });
        let lane = self.code.lanes.len() as LaneId;
        let channel = &mut channels[id as usize];
        let end = if receives { &mut channel.receiver } else { &mut channel.sender };
        if *end != NO_LANE && *end != lane {
            let other = self.code.lanes[*end as usize].number;
            return Err(Flaw::SharedChannel { rank: at.rank, link, lanes: [other, at.lane] });
        }
        *end = lane;
        Ok(id)
    }
}

fn local(operand: &plan::Operand) -> Option<plan::Span> {
    match *operand {
        plan::Operand::Local(span) => Some(span),
        plan::Operand::Peer { .. } => None,
    }
}

/// Chunks of an operand; a peer's are those of the local operands, counted there.
fn operand_len(operand: &plan::Operand) -> u32 {
    match operand {
        plan::Operand::Local(span) => span.len,
        plan::Operand::Peer { .. } => 1,
    }
}

fn check_problem(plan: &Plan, limits: &Limits) -> Result<(), Flaw> {
    let problem = &plan.problem;
    let wrong = |what| Err(Flaw::Problem { what });
    if problem.ranks == 0 {
        return wrong("the plan is for no ranks");
    }
    bound("ranks", problem.ranks as u64, limits.ranks)?;
    if problem.root >= problem.ranks {
        return wrong("the plan's root is not among its ranks");
    }
    if problem.tiles == 0 || plan.blocks == 0 {
        return wrong("the plan cuts its buffers into no chunks");
    }
    if problem.collective.even() == Collective::SendRecv {
        return wrong("a send and receive promises nothing that a plan could prove");
    }
    let blocks = match problem.collective.even() {
        Collective::AllReduce | Collective::Broadcast | Collective::Reduce => u64::from(plan.blocks),
        Collective::Barrier if problem.tiles > 1 => return wrong("a barrier is one chunk, and the plan cuts it"),
        Collective::Barrier => 1,
        _ => problem.ranks as u64,
    };
    // Also keeps every chunk id, that of an all-to-all included, within 32 bits.
    let chunks = blocks.saturating_mul(u64::from(problem.tiles)).saturating_mul(problem.ranks as u64);
    bound("chunks of memory", chunks, limits.chunks)
}

pub(super) fn bound(what: &'static str, count: u64, limit: u64) -> Result<(), Flaw> {
    if count <= limit { Ok(()) } else { Err(Flaw::TooLarge { what, limit }) }
}
