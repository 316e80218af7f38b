//! The one program that all ranks have, as seen from each.

use crate::plan::check::flaw::Place;
use crate::plan::check::{Facts, rules};
use crate::plan::chunk::{ChunkId, Grid};
use crate::plan::{self, Buffer, Plan, Program, Reduction, Span, Step};
use crate::types::{Collective, Rank};
use std::collections::HashMap;

/// A chunk of memory; blocks are counted from the rank on.
#[derive(Clone, Copy)]
pub(super) enum Cell {
    Input(u32),
    Output(u32),
    Scratch(u32),
}

/// An operand with blocks and peers counted from the rank on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operand {
    Input(u32),
    Output(u32),
    Scratch(u32),
    Peer { distance: u32, channel: u16 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) reduction: Option<Reduction>,
    pub(super) sources: Vec<Operand>,
    pub(super) destinations: Vec<Operand>,
    pub(super) len: u32,
}

pub(super) struct View {
    pub(super) moves: Vec<Move>,
    pub(super) scratch: usize,
    /// By distance of the sender and channel: the moves at which messages are taken.
    pub(super) taken_at: HashMap<(u32, u16), Vec<usize>>,
}

/// A message as its sender or its receiver sees it: both ranks, the channel, the first chunk, how many.
type Piece = (u32, u32, u16, ChunkId, u32);

/// Reads the programs of these ranks, the first of which is 0; the program that they have in common, and what they cost, hops left out.
///
/// If they are not all ranks, the others are taken to do the same: then what one sends to another is compared with what that one would
/// take, as seen from rank 0, for which each message must be of one block, as is then asked.
pub(super) fn common(plan: &Plan, seen: &[Rank]) -> Result<(View, Facts), String> {
    let ranks = plan.problem.ranks;
    let mut reader = Reader::new(plan);
    let mut view: Option<(Vec<Move>, Vec<ChunkId>)> = None;
    let mut facts = Facts { lanes: 1, ..Facts::none() };
    for &rank in seen {
        let program = plan.program(rank);
        let sizes = |block: &ChunkId| if reader.sizes_differ { reader.ahead(rank, *block) } else { 0 };
        let scratch: Vec<ChunkId> = program.scratch.iter().map(sizes).collect();
        let moves = reader.read(rank, program, &mut facts)?;
        match &view {
            None => view = Some((moves, scratch)),
            Some((first, sizes)) if *first == moves && *sizes == scratch => {}
            Some(_) => return Err(format!("rank {rank} does not do what rank 0 does, seen from its place")),
        }
    }
    if seen.len() == ranks {
        reader.compare_messages()?;
    } else {
        reader.compare_by_distance()?;
        facts.moves = facts.moves / seen.len() as u64 * ranks as u64;
    }
    let (moves, scratch) = view.expect("there are ranks");
    count(&moves, &mut facts);
    facts.scratch_chunks = scratch.len() as u32;
    let mut taken_at: HashMap<(u32, u16), Vec<usize>> = HashMap::new();
    for (number, one) in moves.iter().enumerate() {
        for operand in &one.sources {
            if let Operand::Peer { distance, channel } = *operand {
                taken_at.entry((distance, channel)).or_default().push(number);
            }
        }
    }
    Ok((View { moves, scratch: scratch.len(), taken_at }, facts))
}

/// Whether some ranks have the same program.
pub(super) fn same(plan: &Plan, ranks: [Rank; 3]) -> bool {
    let mut reader = Reader::new(plan);
    let mut facts = Facts::none();
    let views = ranks.map(|rank| reader.read(rank, plan.program(rank), &mut facts));
    views[0].is_ok() && views[0] == views[1] && views[0] == views[2]
}

/// What one rank's program costs, as [`Tally`](crate::plan::check) counts it.
fn count(moves: &[Move], facts: &mut Facts) {
    for one in moves {
        let peers = |operands: &[Operand]| operands.iter().filter(|one| matches!(one, Operand::Peer { .. })).count();
        let (received, sent) = (peers(&one.sources), peers(&one.destinations));
        let len = u64::from(one.len);
        facts.chunks_sent += sent as u64 * len;
        facts.chunks_received += received as u64 * len;
        let is_work_already = received > 0 || one.sources.len() > 1;
        let copies = (one.destinations.len() - sent).saturating_sub(usize::from(is_work_already));
        facts.chunks_copied += copies as u64 * len;
        if one.reduction.is_some() {
            facts.chunks_reduced += (one.sources.len() as u64 - 1) * len;
        }
    }
}

struct Reader {
    grid: Grid,
    uneven: bool,
    /// Else any block may lie where another has room.
    sizes_differ: bool,
    ranks: u32,
    sent: Vec<Piece>,
    received: Vec<Piece>,
    /// Of all that is sent.
    max_channel: u16,
}

impl Reader {
    fn new(plan: &Plan) -> Reader {
        let (grid, problem) = (plan.grid(), &plan.problem);
        let (sent, received) = (Vec::new(), Vec::new());
        let sizes_differ = problem.uneven || problem.collective == Collective::AllReduce;
        Reader {
            grid,
            uneven: problem.uneven,
            sizes_differ,
            ranks: problem.ranks as u32,
            sent,
            received,
            max_channel: 0,
        }
    }

    /// A block counted from the rank on.
    fn ahead(&self, rank: Rank, block: u32) -> u32 {
        (block + self.ranks - rank as u32) % self.ranks
    }

    fn read(&mut self, rank: Rank, program: Program, facts: &mut Facts) -> Result<Vec<Move>, String> {
        let Program { lanes, scratch } = program;
        if lanes.len() != 1 {
            return Err("ranks have several lanes".to_owned());
        }
        rules::check_scratch(&self.grid, self.uneven, rank, &scratch).map_err(|flaw| flaw.to_string())?;
        let runs = run_lengths(&scratch);
        let mut moves: Vec<Move> = Vec::new();
        let mut messages = 0;
        for (index, step) in lanes.into_iter().flatten().enumerate() {
            let Step::Move(one) = step else { return Err("a step is repeated".to_owned()) };
            let at = Place { rank, lane: 0, step: index as u32, inside: None };
            let context = rules::Context { grid: &self.grid, uneven: self.uneven, scratch: &scratch };
            rules::check_operands(&context, at, &one, 1).map_err(|flaw| flaw.to_string())?;
            messages += self.note_messages(rank, &one, &scratch, &runs)?;
            facts.moves += 1;
            let mut one = self.seen_from(rank, &one);
            // A fold holds the same contributions in whichever order.
            one.sources.sort_unstable();
            match moves.last_mut() {
                Some(last) if self.goes_on(last, &one) => last.len += one.len,
                _ => moves.push(one),
            }
        }
        facts.messages_sent = facts.messages_sent.max(messages);
        facts.max_channel = facts.max_channel.max(self.max_channel);
        Ok(moves)
    }

    /// Notes by the first chunk what a move sends and takes; where sizes differ, its operands are of the same chunks one after the other.
    fn note_messages(
        &mut self,
        rank: Rank,
        one: &plan::Move,
        scratch: &[ChunkId],
        runs: &[u32],
    ) -> Result<u64, String> {
        let locals = one.sources.iter().chain(&one.destinations).filter_map(|operand| match operand {
            plan::Operand::Local(span) => Some(span),
            plan::Operand::Peer { .. } => None,
        });
        let mut first: Option<(ChunkId, u32)> = None;
        for span in locals {
            let id = self.grid.chunk_id(rank, span.buffer, span.start, scratch);
            let id = if self.sizes_differ { id } else { 0 };
            let in_a_row =
                !self.sizes_differ || span.buffer != Buffer::Scratch || runs[span.start as usize] >= span.len;
            if !in_a_row || *first.get_or_insert((id, span.len)) != (id, span.len) {
                return Err(format!("rank {rank} has operands of different blocks in one move"));
            }
        }
        let (id, len) = first.ok_or("a move has no local operand")?;
        let me = rank as u32;
        let mut messages = 0;
        for (operand, sends) in
            one.sources.iter().map(|one| (one, false)).chain(one.destinations.iter().map(|one| (one, true)))
        {
            match *operand {
                plan::Operand::Peer { rank: peer, channel } if sends => {
                    self.sent.push((me, peer as u32, channel, id, len));
                    self.max_channel = self.max_channel.max(channel);
                    messages += 1;
                }
                plan::Operand::Peer { rank: peer, channel } => self.received.push((peer as u32, me, channel, id, len)),
                plan::Operand::Local(_) => {}
            }
        }
        Ok(messages)
    }

    fn seen_from(&self, rank: Rank, one: &plan::Move) -> Move {
        let mut len = 0;
        let mut operand = |operand: &plan::Operand| match *operand {
            plan::Operand::Peer { rank: peer, channel } => {
                Operand::Peer { distance: self.ahead(rank, peer as u32), channel }
            }
            plan::Operand::Local(Span { buffer, start, len: chunks, .. }) => {
                len = chunks;
                let is_own = match buffer {
                    Buffer::Input => self.grid.collective == Collective::AllGather,
                    Buffer::Output => self.grid.collective == Collective::ReduceScatter,
                    Buffer::Scratch => return Operand::Scratch(start),
                };
                let block = if is_own { 0 } else { self.ahead(rank, start) };
                if buffer == Buffer::Input { Operand::Input(block) } else { Operand::Output(block) }
            }
        };
        let sources = one.sources.iter().map(&mut operand).collect();
        let destinations = one.destinations.iter().map(&mut operand).collect();
        Move { reduction: one.reduction, sources, destinations, len }
    }

    /// Whether a move does with the next chunks what the one before did.
    fn goes_on(&self, last: &Move, next: &Move) -> bool {
        let follows = |(one, other): (&Operand, &Operand)| match (*one, *other) {
            (Operand::Input(start), Operand::Input(next)) | (Operand::Output(start), Operand::Output(next)) => {
                (start + last.len) % self.ranks == next
            }
            (Operand::Scratch(start), Operand::Scratch(next)) => start + last.len == next,
            (one, other) => one == other,
        };
        last.reduction == next.reduction
            && last.sources.len() == next.sources.len()
            && last.destinations.len() == next.destinations.len()
            && last.len + next.len <= self.ranks
            && last.sources.iter().zip(&next.sources).all(follows)
            && last.destinations.iter().zip(&next.destinations).all(follows)
    }

    /// The same of rank 0 alone: what it sends some way ahead is what it takes from as far behind, seen from there.
    fn compare_by_distance(&self) -> Result<(), String> {
        let mut sent: HashMap<(u32, u16), Vec<(u32, u32)>> = HashMap::new();
        let mut taken = sent.clone();
        if self.sent.iter().chain(&self.received).any(|piece| piece.4 > 1) {
            return Err("messages of several blocks are cut where they go round the last".to_owned());
        }
        for &(from, to, channel, id, len) in self.sent.iter().filter(|piece| piece.0 == 0) {
            sent.entry((self.ahead(from as Rank, to), channel)).or_default().push((self.by(to, id), len));
        }
        for &(from, to, channel, id, len) in self.received.iter().filter(|piece| piece.1 == 0) {
            taken.entry((self.ahead(from as Rank, to), channel)).or_default().push((self.by(to, id), len));
        }
        match sent == taken {
            true => Ok(()),
            false => Err("rank 0 does not send what others would take as it does".to_owned()),
        }
    }

    /// A block counted from a rank on, where sizes tell blocks apart.
    fn by(&self, rank: u32, block: ChunkId) -> u32 {
        if self.sizes_differ { self.ahead(rank as Rank, block) } else { 0 }
    }

    /// Whether every pair sends what the other takes, in the same order.
    fn compare_messages(&mut self) -> Result<(), String> {
        let ends = |piece: &Piece| (piece.0, piece.1, piece.2);
        self.sent.sort_by_key(ends);
        self.received.sort_by_key(ends);
        if self.sent == self.received {
            return Ok(());
        }
        let differ = self.sent.iter().zip(&self.received).find(|(one, other)| one != other);
        let (from, to, ..) = differ.map_or((0, 0, 0, 0, 0), |(one, _)| *one);
        Err(format!("messages from rank {from} to rank {to} do not match"))
    }
}

/// Of each scratch slot, how many from it on are sized as chunks that follow each other.
fn run_lengths(scratch: &[ChunkId]) -> Vec<u32> {
    let mut runs = vec![1; scratch.len()];
    for slot in (1..scratch.len()).rev() {
        if scratch[slot - 1] + 1 == scratch[slot] {
            runs[slot - 1] = runs[slot] + 1;
        }
    }
    runs
}
