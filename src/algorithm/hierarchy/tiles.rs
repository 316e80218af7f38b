//! From the steps of one tile to those of all.

use super::embed::Unit;
use crate::plan::{Buffer, Lane, Move, Operand, Step};

/// How far the places of one tile lie from those of the tile before.
#[derive(Clone, Copy)]
pub(super) struct Shift {
    pub chunks: u32,
    pub scratch: u32,
}

impl Shift {
    fn by(&self, buffer: Buffer) -> u32 {
        if buffer == Buffer::Scratch { self.scratch } else { self.chunks }
    }

    fn each_move(step: &Step, mut change: impl FnMut(&mut Move)) -> Step {
        let mut step = step.clone();
        match &mut step {
            Step::Move(one) => change(one),
            Step::Repeat { body, .. } => body.iter_mut().for_each(change),
            Step::Wait { .. } => {}
        }
        step
    }

    /// A step of the first tile as that of another.
    pub fn step(&self, step: &Step, tile: u32) -> Step {
        Shift::each_move(step, |one| {
            for operand in one.sources.iter_mut().chain(&mut one.destinations) {
                if let Operand::Local(span) = operand {
                    span.start += tile * self.by(span.buffer);
                }
            }
        })
    }

    pub fn steps(&self, steps: &[Step], tile: u32) -> Vec<Step> {
        steps.iter().map(|step| self.step(step, tile)).collect()
    }

    pub fn units(&self, units: &[Unit], tile: u32) -> Vec<Step> {
        let parts = units.iter().flat_map(|unit| [&unit.before, &unit.during, &unit.after]);
        parts.flat_map(|part| self.steps(part, tile)).collect()
    }

    /// `count` rounds, the first of them that of tile `from`: as a repeat if nothing in them repeats.
    fn rounds(&self, from: u32, count: u32, round: &dyn Fn(u32) -> Vec<Step>) -> Vec<Step> {
        let first = if count < 2 { Vec::new() } else { round(from) };
        if count < 2 || !first.iter().all(|step| matches!(step, Step::Move(_))) {
            return (from..from + count).flat_map(round).collect();
        }
        if first.is_empty() {
            return Vec::new();
        }
        let body = first.into_iter().map(|step| match step {
            Step::Move(mut one) => {
                for operand in one.sources.iter_mut().chain(&mut one.destinations) {
                    if let Operand::Local(span) = operand {
                        span.stride = self.by(span.buffer);
                    }
                }
                one
            }
            Step::Repeat { .. } | Step::Wait { .. } => unreachable!("just looked"),
        });
        vec![Step::Repeat { count, body: body.collect() }]
    }

    /// All tiles in one lane: the stages of each one after the other, but `head`, what only sends at its start, a tile earlier, and
    /// `tail`, what only receives at its end, a tile later.
    pub fn lane(&self, tiles: u32, head: &[Step], [first, middle, last]: [&[Unit]; 3], tail: &[Step]) -> Lane {
        let round = |tile: u32| {
            let mut steps = self.units(first, tile);
            if tile + 1 < tiles {
                steps.extend(self.steps(head, tile + 1));
            }
            steps.extend(self.units(middle, tile));
            if tile > 0 {
                steps.extend(self.steps(tail, tile - 1));
            }
            steps.extend(self.units(last, tile));
            steps
        };
        let mut lane = self.steps(head, 0);
        lane.extend(round(0));
        if tiles > 1 {
            lane.extend(self.rounds(1, tiles - 2, &round));
            lane.extend(round(tiles - 1));
        }
        lane.extend(self.steps(tail, tiles - 1));
        lane
    }

    /// All tiles in one lane where nobody is sent anything back: what only sends at the start of a tile, before all else for all tiles;
    /// what only receives at its end, after the next tile has set out.
    pub fn one_way(&self, tiles: u32, head: &[Step], [first, middle, last]: [&[Unit]; 3], tail: &[Step]) -> Lane {
        let round = |tile: u32| {
            let mut steps: Vec<Step> = [first, middle, last].iter().flat_map(|units| self.units(units, tile)).collect();
            if tile > 0 {
                steps.extend(self.steps(tail, tile - 1));
            }
            steps
        };
        let mut lane = self.rounds(0, tiles, &|tile| self.steps(head, tile));
        lane.extend(round(0));
        lane.extend(self.rounds(1, tiles - 1, &round));
        lane.extend(self.steps(tail, tiles - 1));
        lane
    }
}
