//! From a plan to a file: each rank's moves as steps of thread blocks.
//!
//! A connection belongs to one block. A block has one of each direction if some move receives on the one and sends on the other at once,
//! so that the two can be a single step; else sends and receives have blocks of their own, which do not hold each other up. What
//! needs no peer is a block of the lane.
//!
//! A move with several sources or destinations is several steps. Steps of different blocks that touch a chunk, one of them writing, are
//! ordered by dependencies, in the order of [a run of the plan](crate::plan::sequence); in place, a chunk of input
//! and of output may be the same. The lanes' own order is kept where it matters for that, and no further.

use super::document::{Block, COLLECTIVES, Document, Gpu, Kind, Place, Placement, Protocol, Step, StepId};
use super::hazards::Hazards;
use crate::error::{Error, ErrorKind};
use crate::plan::check::Checked;
use crate::plan::chunk::Grid;
use crate::plan::sequence::Sequence;
use crate::plan::{Buffer, Move, Operand, Program, Span};
use crate::types::Rank;
use std::collections::HashMap;

/// A plan as a document, for connections of this protocol.
///
/// The limits that runtimes have are not looked at: RCCL, for one, takes 64 blocks of 64 steps.
///
/// # Errors
/// The format has no such collective.
pub(super) fn document(checked: &Checked, protocol: Protocol) -> Result<Document, Error> {
    let plan = checked.plan();
    let collective = plan.problem.collective;
    if !COLLECTIVES.iter().any(|(_, known)| *known == collective) {
        return Err(Error::new(ErrorKind::InvalidArgument, format!("MSCCL XML has no {collective}")));
    }
    let grid = plan.grid();
    let has_in_place_form = (0..plan.problem.ranks).any(|rank| grid.in_place_offset(rank).is_some());
    let placement = if has_in_place_form && !plan.demands.apart { Placement::Both } else { Placement::Apart };
    let sequence = Sequence::new(plan);
    let mut moves: Vec<Vec<(usize, u32, &Move)>> = vec![Vec::new(); plan.problem.ranks];
    for turn in &sequence.turns {
        moves[turn.rank].push((turn.lane, turn.round, sequence.one(turn)));
    }
    let gpu = |(rank, moves): (Rank, &Vec<_>)| {
        let program = &sequence.programs[rank];
        Writer::new(&grid, rank, program, moves, placement).gpu(moves)
    };
    Ok(Document {
        name: plan.algorithm.clone(),
        protocol,
        collective,
        root: plan.problem.root,
        chunks: grid.blocks * grid.tiles,
        placement,
        gpus: moves.iter().enumerate().map(gpu).collect(),
        most_chunks: u64::MAX,
    })
}

/// One end of a connection: the peer and the channel.
type End = (Rank, u16);

/// Writes the blocks of one rank.
struct Writer<'a> {
    grid: &'a Grid,
    rank: Rank,
    blocks: Vec<Block>,
    receiving: HashMap<End, usize>,
    sending: HashMap<End, usize>,
    /// Of each lane the block without peers.
    local: HashMap<usize, usize>,
    hazards: Hazards,
    scratch: u32,
    /// Of each lane the scratch for a sum that no buffer holds, by its chunks.
    sums: HashMap<(usize, u32), u32>,
}

/// Chunks of this rank in the round that is written.
type Chunks = (Place, u32);

impl<'a> Writer<'a> {
    fn new(
        grid: &'a Grid,
        rank: Rank,
        program: &Program,
        moves: &[(usize, u32, &Move)],
        placement: Placement,
    ) -> Writer<'a> {
        let alias = if placement == Placement::Both { grid.in_place_offset(rank) } else { None };
        let mut writer = Writer {
            grid,
            rank,
            blocks: Vec::new(),
            receiving: HashMap::new(),
            sending: HashMap::new(),
            local: HashMap::new(),
            hazards: Hazards::new(alias),
            scratch: program.scratch.len() as u32,
            sums: HashMap::new(),
        };
        moves.iter().for_each(|(_, _, one)| writer.pair(one));
        moves.iter().for_each(|(_, _, one)| writer.add_blocks(one));
        writer
    }

    /// Gives both connections of a move that can be one step to one block, unless they have one.
    fn pair(&mut self, one: &Move) {
        let Some(from) = peers(&one.sources).next() else { return };
        let free = |to: &End| to.1 == from.1 && !self.sending.contains_key(to);
        let Some(to) = peers(&one.destinations).find(free) else { return };
        if peers(&one.sources).count() == 1 && !self.receiving.contains_key(&from) {
            let block =
                self.block(Block { send: Some(to.0), receive: Some(from.0), channel: from.1, steps: Vec::new() });
            self.receiving.insert(from, block);
            self.sending.insert(to, block);
        }
    }

    fn add_blocks(&mut self, one: &Move) {
        for (rank, channel) in peers(&one.sources) {
            if !self.receiving.contains_key(&(rank, channel)) {
                let block = self.block(Block { send: None, receive: Some(rank), channel, steps: Vec::new() });
                self.receiving.insert((rank, channel), block);
            }
        }
        for (rank, channel) in peers(&one.destinations) {
            if !self.sending.contains_key(&(rank, channel)) {
                let block = self.block(Block { send: Some(rank), receive: None, channel, steps: Vec::new() });
                self.sending.insert((rank, channel), block);
            }
        }
    }

    fn block(&mut self, block: Block) -> usize {
        self.blocks.push(block);
        self.blocks.len() - 1
    }

    fn local(&mut self, lane: usize) -> usize {
        if let Some(&block) = self.local.get(&lane) {
            return block;
        }
        let block = self.block(Block::default());
        self.local.insert(lane, block);
        block
    }

    fn gpu(mut self, moves: &[(usize, u32, &Move)]) -> Gpu {
        for (lane, round, one) in moves {
            self.one_move(*lane, *round, one);
        }
        for awaited in self.hazards.awaited() {
            self.blocks[awaited.block as usize].steps[awaited.step as usize].is_awaited = true;
        }
        let [input_chunks, output_chunks] =
            [Buffer::Input, Buffer::Output].map(|buffer| self.grid.chunks(self.rank, buffer));
        Gpu { input_chunks, output_chunks, scratch_chunks: self.scratch, blocks: self.blocks }
    }

    fn one_move(&mut self, lane: usize, round: u32, one: &Move) {
        let locals = |operands: &[Operand]| -> Vec<Chunks> { locals(operands, round).collect() };
        let (mut read, mut stored) = (locals(&one.sources), locals(&one.destinations));
        let mut sent: Vec<End> = peers(&one.destinations).collect();
        let received: Vec<End> = peers(&one.sources).collect();
        let result = match (&received[..], stored.first(), read.first()) {
            // What is only sent needs no place of its own.
            ([], None, Some(&only)) if read.len() == 1 => only,
            _ => {
                let count = stored.first().or(read.first()).expect("a move has a local operand").1;
                let result = match stored.first() {
                    Some(stored) => *stored,
                    None => (self.sum(lane, count), count),
                };
                // Where the result replaces a source, that source comes first.
                if let Some(same) = read.iter().position(|source| self.hazards.are_same(*source, result)) {
                    read.swap(0, same);
                }
                self.gather(lane, &read, &received, stored.is_empty(), result, &mut sent);
                result
            }
        };
        if !stored.is_empty() {
            stored.remove(0);
        }
        let local = stored.iter().filter(|place| **place != result).collect::<Vec<_>>();
        for place in local {
            let block = self.local(lane);
            self.step(block, Kind::Copy, Some(result), Some(*place));
        }
        for end in sent {
            self.step(self.sending[&end], Kind::Send, Some(result), None);
        }
    }

    /// Brings the sources of a move together in `result`. A message that is sent by the last step of that is taken off `sent`.
    fn gather(
        &mut self,
        lane: usize,
        read: &[Chunks],
        received: &[End],
        is_only_sent: bool,
        result: Chunks,
        sent: &mut Vec<End>,
    ) {
        let mut sum = read.first().copied();
        for (index, end) in received.iter().enumerate() {
            let block = self.receiving[end];
            let is_last = index + 1 == received.len() && read.len() <= 1;
            let forwarded = if is_last { self.forwarded(block, sent) } else { None };
            let kind = match (sum, forwarded) {
                (None, None) => Kind::Receive,
                (None, Some(_)) => Kind::ReceiveCopySend,
                (Some(_), None) => Kind::ReceiveReduceCopy,
                (Some(_), Some(_)) if is_only_sent && sent.is_empty() => Kind::ReceiveReduceSend,
                (Some(_), Some(_)) => Kind::ReceiveReduceCopySend,
            };
            self.step(block, kind, sum, Some(result));
            sum = Some(result);
        }
        let block = match (received, read) {
            ([], [first, ..]) if *first == result => self.local(lane),
            ([], [first, ..]) => {
                let block = self.local(lane);
                self.step(block, Kind::Copy, Some(*first), Some(result));
                block
            }
            (_, [_, _, ..]) => self.local(lane),
            _ => return,
        };
        for source in &read[1..] {
            self.step(block, Kind::Reduce, Some(*source), Some(result));
        }
    }

    /// The message of `sent` that a block can send in the step in which it receives.
    fn forwarded(&self, block: usize, sent: &mut Vec<End>) -> Option<End> {
        let to = self.blocks[block].send?;
        let position = sent.iter().position(|end| *end == (to, self.blocks[block].channel))?;
        Some(sent.remove(position))
    }

    /// Scratch for a sum that is only sent.
    fn sum(&mut self, lane: usize, count: u32) -> Place {
        let offset = *self.sums.entry((lane, count)).or_insert_with(|| {
            self.scratch += count;
            self.scratch - count
        });
        Place { buffer: Buffer::Scratch, offset }
    }

    /// Appends a step to a block, behind a `nop` for each dependency but one.
    fn step(&mut self, block: usize, kind: Kind, source: Option<Chunks>, destination: Option<Chunks>) {
        let source = source.filter(|_| kind.reads());
        let destination = destination.filter(|_| kind.writes());
        // What is added to is read as well.
        let read = [source, destination.filter(|_| kind == Kind::Reduce)];
        let mut after = self.hazards.before(block as u32, &read, destination);
        let last = after.pop();
        let nowhere = (Place { buffer: Buffer::Input, offset: 0 }, 0);
        let steps = &mut self.blocks[block].steps;
        let mut push = |kind, source: Chunks, destination: Chunks, after| {
            let count = source.1.max(destination.1);
            let (source, destination) = (source.0, destination.0);
            steps.push(Step { kind, source, destination, count, after, is_awaited: false, at: 0 });
        };
        after.into_iter().for_each(|after| push(Kind::Nop, nowhere, nowhere, Some(after)));
        push(kind, source.unwrap_or(nowhere), destination.unwrap_or(nowhere), last);
        let id = StepId { block: block as u32, step: steps.len() as u32 - 1 };
        self.hazards.add(id, &read, destination);
    }
}

fn peers(operands: &[Operand]) -> impl Iterator<Item = End> {
    operands.iter().filter_map(|operand| match *operand {
        Operand::Peer { rank, channel } => Some((rank, channel)),
        Operand::Local(_) => None,
    })
}

fn locals(operands: &[Operand], round: u32) -> impl Iterator<Item = Chunks> {
    operands.iter().filter_map(move |operand| match *operand {
        Operand::Local(Span { buffer, start, len, stride }) => {
            Some((Place { buffer, offset: start + round * stride }, len))
        }
        Operand::Peer { .. } => None,
    })
}
