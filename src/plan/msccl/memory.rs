//! Where the buffers of one GPU lie in a plan's memory, and who overwrites what.
//!
//! Apart, the three buffers are the plan's three. In place, `i` and `o` are two names of one memory, and steps write to it by either,
//! while a plan never writes to its input and must be right with input and output apart as well. So a chunk of that memory
//! has two places in the plan: the input's, as long as nothing was written, and its *home*, where everything is written. The home is the
//! output if that is all of the memory; else (a reduce-scatter, or a reduce but for its root) it is scratch, from which the
//! output is copied at the end. A read is of the input if it is surely before all writes of the chunk, and of the home if it is
//! surely after one. Where neither is sure, the input is copied to the home before anything else, and so is a
//! chunk of the output that nobody writes.

use super::document::{Document, Placement, Step, StepId};
use super::order::Order;
use crate::plan::chunk::Grid;
use crate::plan::{Buffer, Span};
use crate::types::{Collective, Rank};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// Chunks that steps of one GPU read and write, times the blocks that write to one of them.
const MAX_WORK: u64 = 1 << 27;

/// What can't be translated, at a step or, without one, about the whole GPU.
#[derive(Debug)]
pub(super) struct Unfit {
    pub(super) at: Option<usize>,
    pub(super) message: String,
}

/// A chunk of memory, however it is named: those of `i` and `o`, then those of `s`.
type Cell = u32;

/// The first and last write of a block to a cell.
struct Writer {
    block: u32,
    first: u32,
    last: u32,
}

pub(super) struct Memory<'a> {
    order: &'a Order,
    shape: Shape,
    placement: Placement,
    writers: HashMap<Cell, Vec<Writer>>,
    /// In place: copied from the input to the home before all else.
    copied: HashSet<Cell>,
    /// Slots of scratch that the steps use.
    scratch: u32,
}

/// How `i` and `o` lie in one memory.
struct Shape {
    /// Whether this GPU has both.
    is_shared: bool,
    cells: u32,
    /// The cells that the names `i` and `o` mean.
    input_name: Range<Cell>,
    output_name: Range<Cell>,
    /// The cells of the plan's buffers, empty if the rank has none.
    input: Range<Cell>,
    output: Range<Cell>,
}

impl Shape {
    fn new(document: &Document, grid: &Grid, rank: Rank) -> Shape {
        let [inputs, outputs] = [Buffer::Input, Buffer::Output].map(|buffer| grid.chunks(rank, buffer));
        let chunks = document.chunks;
        let own = rank as u32 * grid.tiles..(rank as u32 + 1) * grid.tiles;
        let (is_shared, input_name, output_name) = match document.collective {
            _ if document.placement == Placement::Apart => (false, 0..inputs, 0..outputs),
            Collective::AllReduce | Collective::Broadcast | Collective::Reduce => (true, 0..chunks, 0..chunks),
            Collective::AllGather => (true, own, 0..chunks),
            Collective::ReduceScatter => (true, 0..chunks, own),
            Collective::Gather if rank == document.root => (true, own, 0..chunks),
            Collective::Scatter if rank == document.root => (true, 0..chunks, own),
            _ => (false, 0..inputs, 0..outputs),
        };
        let (output_name, cells) = match is_shared {
            true => (output_name, chunks),
            false => (inputs..inputs + outputs, inputs + outputs),
        };
        let part = |name: &Range<Cell>, chunks: u32| if chunks == 0 { 0..0 } else { name.clone() };
        let (input, output) = (part(&input_name, inputs), part(&output_name, outputs));
        Shape { is_shared, cells, input_name, output_name, input, output }
    }
}

impl<'a> Memory<'a> {
    pub(super) fn new(document: &Document, grid: &Grid, rank: Rank, order: &'a Order) -> Result<Memory<'a>, Unfit> {
        let mut memory = Memory {
            order,
            shape: Shape::new(document, grid, rank),
            placement: document.placement,
            writers: HashMap::new(),
            copied: HashSet::new(),
            scratch: 0,
        };
        let gpu = &document.gpus[rank];
        let mut chunks = 0;
        for (id, step) in steps(&gpu.blocks) {
            for (place, is_used) in [(step.source, step.kind.reads()), (step.destination, step.kind.writes())] {
                if is_used {
                    memory.check_range(place.buffer, place.offset, step.count, gpu.scratch_chunks, rank, step.at)?;
                    chunks += u64::from(step.count);
                }
            }
            if step.kind.writes() {
                memory.add_writer(id, step);
            }
        }
        let most_writers = memory.writers.values().map(|writers| writers.len() as u64).max().unwrap_or(0);
        if chunks.saturating_mul(most_writers) > MAX_WORK {
            return Err(too_much());
        }
        if memory.has_homes() {
            memory.find_copied(&gpu.blocks);
        }
        Ok(memory)
    }

    /// Whether chunks of `i` and `o` have two places in the plan.
    fn has_homes(&self) -> bool {
        self.shape.is_shared && self.placement == Placement::InPlace
    }

    fn check_range(
        &mut self,
        buffer: Buffer,
        offset: u32,
        count: u32,
        scratch: u32,
        rank: Rank,
        at: usize,
    ) -> Result<(), Unfit> {
        let name = |range: &Range<Cell>| range.end - range.start;
        let (letter, chunks) = match buffer {
            Buffer::Input => ("i", name(&self.shape.input_name)),
            Buffer::Output => ("o", name(&self.shape.output_name)),
            Buffer::Scratch => ("s", scratch),
        };
        let end = offset.saturating_add(count);
        if end > chunks {
            let message = format!("reaches to chunk {end} of `{letter}`, and that of GPU {rank} has {chunks}");
            return Err(Unfit { at: Some(at), message });
        }
        if buffer == Buffer::Scratch {
            self.scratch = self.scratch.max(end);
        }
        Ok(())
    }

    fn cells(&self, buffer: Buffer, offset: u32, count: u32) -> Range<Cell> {
        let start = match buffer {
            Buffer::Input => self.shape.input_name.start,
            Buffer::Output => self.shape.output_name.start,
            Buffer::Scratch => self.shape.cells,
        };
        start + offset..start + offset + count
    }

    fn written(&self, step: &Step) -> Range<Cell> {
        self.cells(step.destination.buffer, step.destination.offset, step.count)
    }

    fn add_writer(&mut self, id: StepId, step: &Step) {
        for cell in self.written(step) {
            let writers = self.writers.entry(cell).or_default();
            match writers.last_mut() {
                Some(writer) if writer.block == id.block => writer.last = id.step,
                _ => writers.push(Writer { block: id.block, first: id.step, last: id.step }),
            }
        }
    }

    fn writers(&self, cell: Cell) -> &[Writer] {
        self.writers.get(&cell).map_or(&[], Vec::as_slice)
    }

    /// Whether the step surely reads the cell before anyone writes it.
    fn is_early(&self, id: StepId, cell: Cell) -> bool {
        self.writers(cell).iter().all(|writer| {
            let first = StepId { block: writer.block, step: writer.first };
            first == id || self.order.is_before(id, first)
        })
    }

    fn is_after_a_write(&self, id: StepId, cell: Cell) -> bool {
        let first = |writer: &Writer| StepId { block: writer.block, step: writer.first };
        self.writers(cell).iter().any(|writer| self.order.is_before(first(writer), id))
    }

    fn find_copied(&mut self, blocks: &[super::document::Block]) {
        let reads: Vec<(StepId, Range<Cell>)> = steps(blocks)
            .flat_map(|(id, step)| self.read_by(step).map(move |cells| (id, cells)))
            .filter(|(_, cells)| cells.end <= self.shape.cells)
            .collect();
        let never_written = self.shape.output.clone().filter(|cell| self.writers(*cell).is_empty());
        let mut copied: HashSet<Cell> = never_written.collect();
        for (id, cells) in &reads {
            let is_unsure = |cell: &Cell| !self.is_early(*id, *cell) && !self.is_after_a_write(*id, *cell);
            copied.extend(cells.clone().filter(is_unsure));
        }
        self.copied = copied;
        // A step reads a run from one place.
        loop {
            let mixed: Vec<Cell> = reads
                .iter()
                .filter(|(id, cells)| {
                    let inputs = cells.clone().filter(|cell| self.is_input(*id, *cell)).count();
                    inputs != 0 && inputs != cells.len()
                })
                .flat_map(|(_, cells)| cells.clone())
                .collect();
            let before = self.copied.len();
            self.copied.extend(mixed);
            if self.copied.len() == before {
                break;
            }
        }
        let input = self.shape.input.clone();
        self.copied.retain(|cell| input.contains(cell));
    }

    /// What a step reads: its source, and what it adds to.
    fn read_by(&self, step: &Step) -> impl Iterator<Item = Range<Cell>> + use<> {
        let source = step.kind.reads().then(|| self.cells(step.source.buffer, step.source.offset, step.count));
        let sum = (step.kind == super::document::Kind::Reduce).then(|| self.written(step));
        source.into_iter().chain(sum)
    }

    /// In place: whether the step reads the cell where the input lies.
    fn is_input(&self, id: StepId, cell: Cell) -> bool {
        self.shape.input.contains(&cell) && !self.copied.contains(&cell) && self.is_early(id, cell)
    }

    /// Where the plan reads chunks for a step.
    pub(super) fn read(&self, id: StepId, buffer: Buffer, offset: u32, count: u32) -> Span {
        let cells = self.cells(buffer, offset, count);
        if buffer != Buffer::Scratch && self.has_homes() && self.is_input(id, cells.start) {
            return span(Buffer::Input, cells.start - self.shape.input.start, count);
        }
        self.write(buffer, offset, count)
    }

    /// Where the plan writes chunks.
    pub(super) fn write(&self, buffer: Buffer, offset: u32, count: u32) -> Span {
        match buffer {
            Buffer::Input | Buffer::Output if self.has_homes() => self.home(self.cells(buffer, offset, count)),
            _ => span(buffer, offset, count),
        }
    }

    fn is_at_home_in_output(&self) -> bool {
        self.shape.output == (0..self.shape.cells)
    }

    fn home(&self, cells: Range<Cell>) -> Span {
        match self.is_at_home_in_output() {
            true => span(Buffer::Output, cells.start, cells.end - cells.start),
            false => span(Buffer::Scratch, self.scratch + cells.start, cells.end - cells.start),
        }
    }

    /// Whether anyone may write these chunks after the step has begun, the step itself apart; its own block only if that is asked.
    pub(super) fn is_overwritten(&self, id: StepId, buffer: Buffer, offset: u32, count: u32, by_itself: bool) -> bool {
        let copied_to = if self.epilogue().is_empty() { 0..0 } else { self.shape.output.clone() };
        let mut cells = self.cells(buffer, offset, count);
        cells.any(|cell| {
            let later = |writer: &Writer| {
                let last = StepId { block: writer.block, step: writer.last };
                last != id && (by_itself || last.block != id.block) && !self.order.is_before(last, id)
            };
            copied_to.contains(&cell) || self.writers(cell).iter().any(later)
        })
    }

    /// Slots of scratch, those for homes included.
    pub(super) fn scratch_slots(&self) -> u32 {
        let homes = if self.has_homes() && !self.is_at_home_in_output() { self.shape.cells } else { 0 };
        self.scratch + homes
    }

    /// What is copied before all else.
    pub(super) fn prologue(&self) -> Vec<(Span, Span)> {
        let mut cells: Vec<Cell> = self.copied.iter().copied().collect();
        cells.sort_unstable();
        let runs = cells.chunk_by(|one, next| one + 1 == *next);
        let copy = |run: &[Cell]| {
            let cells = run[0]..run[0] + run.len() as u32;
            (span(Buffer::Input, cells.start - self.shape.input.start, run.len() as u32), self.home(cells))
        };
        runs.map(copy).collect()
    }

    /// What is copied after all else.
    pub(super) fn epilogue(&self) -> Vec<(Span, Span)> {
        let output = &self.shape.output;
        if !self.has_homes() || self.is_at_home_in_output() || output.is_empty() {
            return Vec::new();
        }
        vec![(self.home(output.clone()), span(Buffer::Output, 0, output.end - output.start))]
    }
}

pub(super) fn steps(blocks: &[super::document::Block]) -> impl Iterator<Item = (StepId, &Step)> {
    (0..).zip(blocks).flat_map(|(block, of)| (0..).zip(&of.steps).map(move |(step, one)| (StepId { block, step }, one)))
}

fn span(buffer: Buffer, start: u32, len: u32) -> Span {
    Span { buffer, start, len, stride: 0 }
}

fn too_much() -> Unfit {
    Unfit { at: None, message: "has more steps on one chunk than can be ordered".to_owned() }
}
