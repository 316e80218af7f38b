//! From what a file says to a plan: a lane per thread block, a wait per dependency.

use super::document::{Block, Document, Kind, Step, StepId};
use super::memory::{Memory, Unfit, steps};
use super::order::{Order, waits_of};
use crate::plan::check::Completeness;
use crate::plan::check::{Place, check, completeness};
use crate::plan::chunk::Grid;
use crate::plan::{self, Buffer, Demands, Lane, Move, Operand, Plan, Problem, Program, Reduction, Span, Through};
use crate::types::{Collective, Rank};

/// Slots of scratch, those of all ranks together, for every chunk that a file may ask for.
const SCRATCH_PER_CHUNK: u64 = 16;

/// How sends become moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// As a plan's sends are: posted from the memory where the data lies, if nobody writes there later, else from a copy. A connection
    /// holds any number of messages.
    Posted,
    /// As MSCCL's are: copied into the connection, which holds [a few](super::Protocol::connection_depth) messages.
    Buffered,
}

/// A plan, and the steps of the file from which its steps come.
#[derive(Clone, Debug)]
pub struct Reading {
    pub plan: Plan,
    /// By rank, lane and step; `NONE` for steps that no step of the file stands for.
    origins: Vec<Vec<Vec<u32>>>,
    /// Slots of all ranks.
    scratch: usize,
}

const NONE: u32 = u32::MAX;

/// A step of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub gpu: Rank,
    pub block: u32,
    pub step: u32,
}

impl Reading {
    /// From which step of the file a step of the plan comes.
    pub fn origin(&self, place: &Place) -> Option<Origin> {
        let step = *self.origins.get(place.rank)?.get(place.lane as usize)?.get(place.step as usize)?;
        (step != NONE).then_some(Origin { gpu: place.rank, block: place.lane, step })
    }

    /// Steps, and slots of scratch.
    fn cost(&self) -> (usize, usize) {
        (self.origins.iter().flatten().map(Vec::len).sum(), self.scratch)
    }
}

/// The plan of a document. It may be wrong in what it does.
pub(super) fn translate(document: &Document, connections: Connections) -> Result<Reading, Unfit> {
    let depth = document.protocol.connection_depth();
    if connections == Connections::Buffered {
        return Translation::new(document, Staged::All, depth).reading();
    }
    // What surely waits for nobody takes most copies, and most scratch. A lane that overwrites what it posted itself, or that uses a
    // slot again, waits until that is taken; if nobody waits for ever, that is the better plan. So is one that copies less,
    // where messages among the GPUs see to it that everything is taken before it is overwritten.
    let sure = Translation::new(document, Staged::Overwritten, u32::MAX).reading()?;
    let mut refused = sure.cost();
    for staged in [Staged::Nothing, Staged::OverwrittenByOthers, Staged::Overwritten] {
        let better = Translation::new(document, staged, depth).reading()?;
        if better.cost() < sure.cost() && better.cost() != refused {
            if check(&better.plan).is_ok() {
                return Ok(better);
            }
            refused = better.cost();
        }
    }
    Ok(sure)
}

fn problem(document: &Document) -> Problem {
    let ranks = document.gpus.len();
    let tiles = match document.collective {
        Collective::AllReduce | Collective::Broadcast | Collective::Reduce => 1,
        _ => document.chunks / ranks as u32,
    };
    Problem { root: document.root, tiles, ..Problem::new(document.collective, ranks) }
}

fn grid(document: &Document) -> Grid {
    Grid::new(&problem(document), document.chunks)
}

/// Which messages are copied before they are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Staged {
    All,
    Nothing,
    /// Where anyone may write later.
    Overwritten,
    /// Where another block may write later.
    OverwrittenByOthers,
}

#[derive(Clone, Copy)]
struct Translation<'a> {
    document: &'a Document,
    staged: Staged,
    /// Messages for which a connection has slots.
    depth: u32,
    grid: Grid,
    /// Every chunk of a step is a move, and a message, of its own.
    chunk_by_chunk: bool,
}

/// By lane and step.
type Origins = Vec<Vec<u32>>;

impl<'a> Translation<'a> {
    fn new(document: &'a Document, staged: Staged, depth: u32) -> Translation<'a> {
        Translation { document, staged, depth, grid: grid(document), chunk_by_chunk: false }
    }

    /// The plan, with what completes a sum marked as final.
    fn reading(self) -> Result<Reading, Unfit> {
        let (mut programs, mut origins) = self.programs()?;
        let mut known = self.completeness(&programs);
        // Of one step some chunks are complete and others not: only chunk by chunk it can be said.
        if known.iter().flatten().any(|one| *one == Completeness::Mixed) {
            (programs, origins) = Translation { chunk_by_chunk: true, ..self }.programs()?;
            known = self.completeness(&programs);
        }
        let moves = programs.iter_mut().flat_map(|program| &mut program.lanes).flatten();
        for (step, complete) in moves.zip(known.into_iter().flatten()) {
            if let (plan::Step::Move(one), Completeness::All) = (step, complete)
                && one.reduction.is_some()
            {
                one.reduction = Some(Reduction::Final);
            }
        }
        let scratch = programs.iter().map(|program| program.scratch.len()).sum();
        Ok(Reading { plan: self.plan(programs), origins, scratch })
    }

    fn programs(&self) -> Result<(Vec<Program>, Vec<Origins>), Unfit> {
        let (mut programs, mut origins) = (Vec::new(), Vec::new());
        let mut scratch = 0;
        for rank in 0..self.document.gpus.len() {
            let (program, of) = self.program(rank)?;
            scratch += program.scratch.len() as u64;
            if scratch > self.most_scratch() {
                return Err(self.too_much_scratch());
            }
            programs.push(program);
            origins.push(of);
        }
        Ok((programs, origins))
    }

    fn most_scratch(&self) -> u64 {
        self.document.most_chunks.saturating_mul(SCRATCH_PER_CHUNK).min(u64::from(u32::MAX))
    }

    fn too_much_scratch(&self) -> Unfit {
        let message = format!("takes more than {} chunks of scratch", self.most_scratch());
        Unfit { at: None, message }
    }

    /// The sum of a GPU that is alone is its input: where that is copied, a plan folds it, for the sake of a pre-multiplier.
    fn alone(&self, source: &Operand) -> Option<Reduction> {
        let is_input = matches!(source, Operand::Local(span) if span.buffer == Buffer::Input);
        let is_sum = is_input && self.document.gpus.len() == 1 && self.document.collective.reduces();
        is_sum.then_some(Reduction::Partial)
    }

    fn plan(&self, programs: Vec<Program>) -> Plan {
        let document = self.document;
        let demands = Demands { equal_chunks: true, apart: document.placement == super::Placement::Apart };
        let program = move |rank: Rank| programs[rank].clone();
        Plan::new(&document.name, problem(document), document.chunks, program).demanding(demands)
    }

    /// `None` where nothing is reduced, or the plan goes wrong.
    fn completeness(&self, programs: &[Program]) -> Option<Vec<Completeness>> {
        let reduces = self.document.collective.reduces();
        reduces.then(|| completeness(&self.plan(programs.to_vec()))).flatten()
    }

    fn program(&self, rank: Rank) -> Result<(Program, Origins), Unfit> {
        let gpu = &self.document.gpus[rank];
        let order = Order::new(gpu).map_err(|_| {
            let message = format!("GPU {rank} has more blocks and steps than can be ordered");
            Unfit { at: None, message }
        })?;
        let memory = Memory::new(self.document, &self.grid, rank, &order)?;
        let mut program = Program { lanes: Vec::new(), scratch: Vec::new() };
        let mut slots = memory.scratch_slots();
        let mut ends = Vec::new();
        let mut origins = Vec::new();
        let prologue = memory.prologue();
        for (index, block) in (0..).zip(&gpu.blocks) {
            let mut writer = LaneWriter {
                translation: self,
                memory: &memory,
                block,
                index,
                fifo: self.fifo(&memory, index, block, slots),
                sent: 0,
                lane: Vec::new(),
                origins: Vec::new(),
                ends: Vec::new(),
            };
            slots = writer.fifo.start.saturating_add(writer.fifo.depth.saturating_mul(writer.fifo.width));
            if let Some(last) = prologue.len().checked_sub(1).filter(|_| !block.steps.is_empty()) {
                writer.push(plan::Step::Wait { lane: gpu.blocks.len() as u32, step: last as u32 }, NONE);
            }
            for (waits, step) in waits_of(gpu, index as usize).into_iter().zip(0..) {
                writer.step(&waits, step);
            }
            program.lanes.push(writer.lane);
            origins.push(writer.origins);
            ends.push(writer.ends);
        }
        // Waits name steps of the file until all lanes are written.
        for step in program.lanes.iter_mut().flatten() {
            if let plan::Step::Wait { lane, step } = step
                && let Some(ends) = ends.get(*lane as usize)
            {
                *step = ends[*step as usize];
            }
        }
        let beside = self.beside(&program.lanes, prologue, memory.epilogue());
        if !beside.is_empty() {
            origins.push(vec![NONE; beside.len()]);
            program.lanes.push(beside);
        }
        if u64::from(slots) > self.most_scratch() {
            return Err(self.too_much_scratch());
        }
        program.scratch = vec![0; slots as usize];
        Ok((program, origins))
    }

    /// The lane that copies the input before, and the output after, all others.
    fn beside(&self, lanes: &[Lane], prologue: Vec<(Span, Span)>, epilogue: Vec<(Span, Span)>) -> Lane {
        let copy = |(from, to): (Span, Span)| {
            let source = Operand::Local(from);
            let reduction = self.alone(&source);
            plan::Step::Move(Move { reduction, ..plan::build::copy(source, [Operand::Local(to)]) })
        };
        let mut lane: Lane = prologue.into_iter().map(copy).collect();
        if !epilogue.is_empty() {
            let last = |(lane, steps): (u32, &Lane)| Some((lane, steps.len().checked_sub(1)? as u32));
            let ends = (0..).zip(lanes).filter_map(last);
            lane.extend(ends.map(|(lane, step)| plan::Step::Wait { lane, step }));
            lane.extend(epilogue.into_iter().map(copy));
        }
        lane
    }

    /// The slots of scratch that stand for a block's connection.
    fn fifo(&self, memory: &Memory, index: u32, block: &Block, start: u32) -> Fifo {
        let of_block = steps(std::slice::from_ref(block)).map(|(id, step)| (StepId { block: index, ..id }, step));
        let staged: Vec<&Step> = of_block
            .filter(|(id, step)| self.staging(memory, *id, step) != Staging::None)
            .map(|(_, step)| step)
            .collect();
        let (messages, width) = match self.chunk_by_chunk {
            true => (staged.iter().map(|step| u64::from(step.count)).sum(), 1),
            false => (staged.len() as u64, staged.iter().map(|step| step.count).max().unwrap_or(0)),
        };
        // A step's chunks are one message, also where they are sent one by one.
        let most = staged.iter().map(|step| step.count).max().unwrap_or(0) / width.max(1);
        let depth = messages.min(u64::from(self.depth) * u64::from(most)) as u32;
        Fifo { start, depth, width }
    }

    fn staging(&self, memory: &Memory, id: StepId, step: &Step) -> Staging {
        let place = if step.kind == Kind::Send { step.source } else { step.destination };
        if !step.kind.sends() {
            return Staging::None;
        }
        let by_itself = match self.staged {
            Staged::All => return Staging::Full,
            _ if step.kind == Kind::ReceiveReduceSend => return Staging::Result,
            Staged::Nothing => return Staging::None,
            Staged::Overwritten => true,
            Staged::OverwrittenByOthers => false,
        };
        match memory.is_overwritten(id, place.buffer, place.offset, step.count, by_itself) {
            true => Staging::Full,
            false => Staging::None,
        }
    }
}

/// Whether a message is put in a slot of the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Staging {
    /// It is posted from where it lies.
    None,
    /// It has no other place, and is posted as it arrives there.
    Result,
    /// It is stored there whole, then posted.
    Full,
}

/// `depth` slots of `width` chunks each, used in turn.
#[derive(Clone, Copy)]
struct Fifo {
    start: u32,
    depth: u32,
    width: u32,
}

struct LaneWriter<'a> {
    translation: &'a Translation<'a>,
    memory: &'a Memory<'a>,
    block: &'a Block,
    index: u32,
    fifo: Fifo,
    /// Messages that were put into slots.
    sent: u32,
    lane: Lane,
    origins: Vec<u32>,
    /// For each step of the file, the last step of the lane that is of it.
    ends: Vec<u32>,
}

impl LaneWriter<'_> {
    fn push(&mut self, step: plan::Step, origin: u32) {
        self.lane.push(step);
        self.origins.push(origin);
    }

    fn step(&mut self, waits: &[StepId], index: u32) {
        let step = &self.block.steps[index as usize];
        for wait in waits {
            self.push(plan::Step::Wait { lane: wait.block, step: wait.step }, index);
        }
        if step.kind != Kind::Nop && !self.continues_fold(waits, index) {
            let (parts, count) = if self.translation.chunk_by_chunk { (step.count, 1) } else { (1, step.count) };
            (0..parts).for_each(|part| self.part(index, part, count));
        }
        self.ends.push((self.lane.len() as u32).saturating_sub(1));
    }

    /// Adds a source to the fold before, if the step only adds more to the same place: MSCCL fuses the two as well.
    fn continues_fold(&mut self, waits: &[StepId], index: u32) -> bool {
        let steps = &self.block.steps;
        let step = &steps[index as usize];
        let Some(before) = index.checked_sub(1).map(|before| &steps[before as usize]) else { return false };
        let is_same = before.kind == Kind::Reduce
            && step.kind == Kind::Reduce
            && (before.destination, before.count) == (step.destination, step.count)
            && before.source.buffer == step.source.buffer;
        if !is_same || !waits.is_empty() || before.is_awaited || self.translation.chunk_by_chunk {
            return false;
        }
        let source = self.read(index, step.source.buffer, step.source.offset, step.count);
        match self.lane.last_mut() {
            Some(plan::Step::Move(fold)) => fold.sources.push(source),
            _ => return false,
        }
        true
    }

    fn id(&self, step: u32) -> StepId {
        StepId { block: self.index, step }
    }

    fn read(&self, index: u32, buffer: Buffer, offset: u32, count: u32) -> Operand {
        Operand::Local(self.memory.read(self.id(index), buffer, offset, count))
    }

    /// The moves for `count` chunks of a step, from its chunk `part` on.
    fn part(&mut self, index: u32, part: u32, count: u32) {
        let step = &self.block.steps[index as usize];
        let peer = |rank: Option<Rank>| {
            let rank = rank.expect("a block that sends or receives has a peer: its reader saw to it");
            Operand::Peer { rank, channel: self.block.channel }
        };
        let source = || self.read(index, step.source.buffer, step.source.offset + part, count);
        let place = step.destination;
        let stored = || Operand::Local(self.memory.write(place.buffer, place.offset + part, count));
        let (reduction, sources) = match step.kind {
            Kind::Copy => (self.translation.alone(&source()), vec![source()]),
            Kind::Send => (None, vec![source()]),
            Kind::Receive | Kind::ReceiveCopySend => (None, vec![peer(self.block.receive)]),
            Kind::ReceiveReduceSend | Kind::ReceiveReduceCopy | Kind::ReceiveReduceCopySend => {
                (Some(Reduction::Partial), vec![peer(self.block.receive), source()])
            }
            Kind::Reduce => {
                let sum = self.read(index, place.buffer, place.offset + part, count);
                (Some(Reduction::Partial), vec![sum, source()])
            }
            Kind::Nop => return,
        };
        let mut destinations = if step.kind.writes() { vec![stored()] } else { Vec::new() };
        let target = step.kind.sends().then(|| peer(self.block.send));
        let staging = self.translation.staging(self.memory, self.id(index), step);
        let slot = (staging != Staging::None).then(|| self.next_slot(count));
        destinations.extend(slot);
        destinations.extend(target.filter(|_| staging != Staging::Full));
        self.push(plan::Step::Move(Move { reduction, sources, destinations, through: Through::Messages }), index);
        if let (Staging::Full, Some(slot), Some(target)) = (staging, slot, target) {
            self.push(plan::Step::Move(plan::build::copy(slot, [target])), index);
        }
    }

    fn next_slot(&mut self, count: u32) -> Operand {
        let Fifo { start, depth, width } = self.fifo;
        let slot = self.sent % depth;
        self.sent += 1;
        Operand::Local(Span { buffer: Buffer::Scratch, start: start + slot * width, len: count, stride: 0 })
    }
}
