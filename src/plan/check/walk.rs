//! What one rank's program does to its own memory, found without the other ranks: the part of a proof that sees every step of a rank.

use super::Flaw;
use super::flaw::{Found, Place, Spot};
use crate::plan::chunk::Grid;
use crate::plan::{Buffer, Move, Operand, Program, Span, Step};
use crate::types::{Collective, Rank};

/// Holds what every right program of one of the collectives with a part for every rank keeps to:
/// 1. nothing is read from output or scratch before it was written;
/// 2. every chunk of the output is written;
/// 3. where contributions are added up, or every chunk is for another rank, each chunk of the input is read once and only once;
/// 4. of several lanes, the first waits for none, and each other for one before it: before its first step, as often as there are tiles,
///    and ever further on.
///
/// Lanes are walked one after the other: one that is waited for comes before those that wait.
pub fn walk(grid: &Grid, rank: Rank, program: &Program) -> Result<(), Flaw> {
    let chunks = |buffer| grid.chunks(rank, buffer) as usize;
    let mut memory = Memory {
        rank,
        reads: vec![0; chunks(Buffer::Input)],
        output: vec![false; chunks(Buffer::Output)],
        scratch: vec![false; program.scratch.len()],
    };
    for (lane, steps) in program.lanes.iter().enumerate() {
        waits(grid, rank, lane, steps)?;
        for (step, one) in steps.iter().enumerate() {
            let at = Place { rank, lane: lane as u32, step: step as u32, inside: None };
            match one {
                Step::Move(one) => memory.carry_out(at, one, 0)?,
                Step::Repeat { count, body } => {
                    for round in 0..*count {
                        body.iter().try_for_each(|one| memory.carry_out(at, one, round))?;
                    }
                }
                Step::Wait { .. } => {}
            }
        }
    }
    memory.end(grid.collective)
}

struct Memory {
    rank: Rank,
    /// Of each chunk of the input, how often; what is beyond two is as wrong as two.
    reads: Vec<u8>,
    output: Vec<bool>,
    scratch: Vec<bool>,
}

impl Memory {
    fn carry_out(&mut self, at: Place, one: &Move, round: u32) -> Result<(), Flaw> {
        let local = |operand: &Operand| match operand {
            Operand::Local(span) => Some(*span),
            Operand::Peer { .. } => None,
        };
        let range = |span: &Span| {
            let start = (span.start + round * span.stride) as usize;
            start..start + span.len as usize
        };
        for span in one.sources.iter().filter_map(local) {
            let written = match span.buffer {
                Buffer::Input => {
                    self.reads[range(&span)].iter_mut().for_each(|reads| *reads = reads.saturating_add(1));
                    continue;
                }
                Buffer::Output => &self.output,
                Buffer::Scratch => &self.scratch,
            };
            if let Some(missing) = written[range(&span)].iter().position(|written| !written) {
                let chunk = (range(&span).start + missing) as u32;
                return Err(Flaw::Unwritten { at, spot: Spot { buffer: span.buffer, index: chunk } });
            }
        }
        for span in one.destinations.iter().filter_map(local) {
            match span.buffer {
                Buffer::Input => return Err(Flaw::WritesInput { at }),
                Buffer::Output => self.output[range(&span)].fill(true),
                Buffer::Scratch => self.scratch[range(&span)].fill(true),
            }
        }
        Ok(())
    }

    fn end(self, collective: Collective) -> Result<(), Flaw> {
        let wrong = |chunk: usize, found| Flaw::WrongOutput { rank: self.rank, chunk: chunk as u32, found };
        if let Some(chunk) = self.output.iter().position(|written| !written) {
            return Err(wrong(chunk, Found::Nothing));
        }
        if !collective.reduces() && collective != Collective::AllToAll {
            return Ok(());
        }
        match self.reads.iter().position(|reads| *reads != 1) {
            Some(chunk) if self.reads[chunk] == 0 => Err(wrong(chunk, Found::Without(self.rank))),
            Some(_) => {
                let at = Place { rank: self.rank, lane: 0, step: 0, inside: None };
                Err(Flaw::CountedTwice { at, rank: self.rank })
            }
            None => Ok(()),
        }
    }
}

fn waits(grid: &Grid, rank: Rank, lane: usize, steps: &[Step]) -> Result<(), Flaw> {
    let wait = |step: &Step| match *step {
        Step::Wait { lane, step } => Some((lane, step)),
        _ => None,
    };
    let waits: Vec<(u32, u32)> = steps.iter().filter_map(wait).collect();
    let goes_on = waits.windows(2).all(|pair| pair[0].0 == pair[1].0 && pair[0].1 < pair[1].1);
    let first = steps.first().and_then(wait);
    let is_right = match lane {
        0 => waits.is_empty(),
        _ => goes_on && first.is_some_and(|(other, _)| (other as usize) < lane) && waits.len() == grid.tiles as usize,
    };
    match is_right {
        true => Ok(()),
        // The lane is as if it waited for a step that is not there.
        false => {
            let at = Place { rank, lane: lane as u32, step: 0, inside: None };
            let (lane, step) = waits.last().copied().unwrap_or((0, 0));
            Err(Flaw::NoSuchStep { at, lane, step })
        }
    }
}
