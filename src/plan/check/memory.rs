//! The symbolic memory of all ranks: one cell per chunk.

use super::code::Code;
use super::flaw::Spot;
use super::value::{NOTHING, Value, Values};
use crate::plan::{Buffer, Span};
use crate::types::Rank;
use std::ops::Range;

/// Where the buffers of one rank begin, as cells. In place two of them overlap.
#[derive(Clone, Copy)]
struct Layout {
    input: u32,
    output: u32,
    scratch: u32,
}

pub(super) struct Memory {
    layouts: Vec<Layout>,
    pub(super) values: Vec<Value>,
    /// Posted sends that still read the cell.
    pub(super) posted: Vec<u32>,
    /// The size class of the cell's chunk.
    classes: Vec<u32>,
}

fn in_place_offset(code: &Code, rank: Rank) -> Option<i64> {
    if code.apart { None } else { code.grid.in_place_offset(rank) }
}

/// Whether any rank can run in place.
pub(super) fn has_in_place_form(code: &Code) -> bool {
    (0..code.lanes_of.len()).any(|rank| in_place_offset(code, rank).is_some())
}

impl Memory {
    pub(super) fn new(code: &Code, values: &Values, in_place: bool) -> Memory {
        let mut memory = Memory { layouts: Vec::new(), values: Vec::new(), posted: Vec::new(), classes: Vec::new() };
        for rank in 0..code.lanes_of.len() {
            memory.add_rank(code, values, rank, in_place);
        }
        memory.posted = vec![0; memory.values.len()];
        memory
    }

    fn add_rank(&mut self, code: &Code, values: &Values, rank: Rank, in_place: bool) {
        let grid = &code.grid;
        let [inputs, outputs] = [Buffer::Input, Buffer::Output].map(|buffer| grid.chunks(rank, buffer));
        let base = self.values.len() as u32;
        let (input, output) = match in_place_offset(code, rank).filter(|_| in_place) {
            None => (base, base + inputs),
            Some(offset) if offset >= 0 => (base + offset as u32, base),
            Some(offset) => (base, base + offset.unsigned_abs() as u32),
        };
        let scratch = (input + inputs).max(output + outputs);
        let layout = Layout { input, output, scratch };
        self.layouts.push(layout);
        let slots = code.scratch[rank].len() as u32;
        self.values.resize((scratch + slots) as usize, NOTHING);
        self.classes.resize((scratch + slots) as usize, 0);
        for (buffer, chunks) in [(Buffer::Input, inputs), (Buffer::Output, outputs), (Buffer::Scratch, slots)] {
            for index in 0..chunks {
                let chunk = grid.chunk_id(rank, buffer, index, &code.scratch[rank]);
                let cell = self.cell(rank, Spot { buffer, index }) as usize;
                self.classes[cell] = grid.size_class(chunk, code.uneven);
                if buffer == Buffer::Input {
                    self.values[cell] = values.input(rank, index);
                }
            }
        }
    }

    fn cell(&self, rank: Rank, spot: Spot) -> u32 {
        let layout = &self.layouts[rank];
        let start = match spot.buffer {
            Buffer::Input => layout.input,
            Buffer::Output => layout.output,
            Buffer::Scratch => layout.scratch,
        };
        start + spot.index
    }

    /// The cells of a span in a round of its repeat.
    pub(super) fn cells(&self, rank: Rank, span: &Span, round: u32) -> Range<usize> {
        let start = self.cell(rank, Spot { buffer: span.buffer, index: span.start + round * span.stride }) as usize;
        start..start + span.len as usize
    }

    pub(super) fn sizes(&self, cells: Range<usize>) -> &[u32] {
        &self.classes[cells]
    }

    pub(super) fn output(&self, rank: Rank, index: u32) -> Value {
        self.values[self.cell(rank, Spot { buffer: Buffer::Output, index }) as usize]
    }
}
