//! Compares a rank's program with what it is composed of, move by move, wherever in its lanes the moves stand.

use super::order::{Order, Section};
use super::stage::Space;
use super::unit::{Unit, UnitOperand};
use crate::plan::check::flaw::{Departure, Flaw, Inside, Place};
use crate::plan::chunk::{ChunkId, Grid};
use crate::plan::{Buffer, Move, Operand, Program, Span, Step};
use crate::types::Rank;

/// What a rank is to do: for every tile the same units, one after the other.
pub(super) struct Script {
    pub(super) rank: Rank,
    pub(super) units: Vec<Unit>,
    /// Of one tile: as large as the chunk named, in the first.
    pub(super) cells: Vec<ChunkId>,
    pub(super) tiles: u32,
    /// How far the chunks of a tile lie from those of the tile before.
    pub(super) tile_stride: u32,
}

const NONE: u32 = u32::MAX;

/// How far a unit of a tile has come.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Progress {
    number: usize,
    row: usize,
    element: u32,
}

/// A move of the program, and how many rounds it has from here on.
#[derive(Clone, Copy)]
struct Found<'a> {
    one: &'a Move,
    round: u32,
    rounds: u32,
    at: Place,
}

struct Comparison<'a> {
    script: &'a Script,
    grid: Grid,
    uneven: bool,
    sizes: &'a [ChunkId],
    order: Order<'a>,
    /// Tile by tile, unit by unit.
    progress: Vec<Progress>,
    /// Where each cell lies in scratch, and whose each slot of scratch is.
    slot_of: Vec<u32>,
    cell_of: Vec<u32>,
    /// Of each lane that has been begun.
    steps: [u32; 2],
    /// Of every tile the step of the first lane that is the last of its first stage.
    ends: Vec<Option<u32>>,
}

/// Whether a program is a right order of what the script says, and nothing else.
///
/// # Errors
/// Where it is not.
pub(super) fn compare(script: &Script, grid: &Grid, uneven: bool, program: &Program) -> Result<(), Flaw> {
    let tiles = script.tiles as usize;
    let mut comparison = Comparison {
        script,
        grid: *grid,
        uneven,
        sizes: &program.scratch,
        order: Order::of(&script.units),
        progress: vec![Progress::default(); tiles * script.units.len()],
        slot_of: vec![NONE; tiles * script.cells.len()],
        cell_of: vec![NONE; program.scratch.len()],
        steps: [0; 2],
        ends: vec![None; tiles],
    };
    let is_first = |one: &usize| script.units[one % script.units.len()].stage == 0;
    let all = 0..comparison.progress.len();
    match program.lanes.len() {
        1 => comparison.lane(0, &program.lanes[0], &all.collect::<Vec<_>>())?,
        2 => {
            comparison.are_lanes_apart()?;
            let (ahead, behind): (Vec<usize>, Vec<usize>) = all.partition(is_first);
            comparison.lane(0, &program.lanes[0], &ahead)?;
            comparison.lane(1, &program.lanes[1], &behind)?;
        }
        _ => return Err(departure(Place { rank: script.rank, lane: 0, step: 0, inside: None }, Departure::Lanes)),
    }
    Ok(())
}

fn departure(at: Place, departure: Departure) -> Flaw {
    Flaw::Composition { at, departure }
}

impl Comparison<'_> {
    fn unit(&self, instance: usize) -> (usize, &Unit) {
        let number = instance % self.script.units.len();
        (number, &self.script.units[number])
    }

    fn tile(&self, instance: usize) -> usize {
        instance / self.script.units.len()
    }

    fn is_done(&self, instance: usize) -> bool {
        self.progress[instance].number == self.unit(instance).1.moves.len()
    }

    fn are_lanes_apart(&self) -> Result<(), Flaw> {
        let numbers = || 0..self.script.units.len();
        let stage = |number: usize| self.script.units[number].stage;
        let first = numbers().filter(|number| stage(*number) == 0);
        let meets = |one: usize| numbers().any(|other| stage(other) != 0 && !self.order.are_apart(one, other));
        let at = Place { rank: self.script.rank, lane: 1, step: 0, inside: None };
        if first.into_iter().any(meets) { Err(departure(at, Departure::Lanes)) } else { Ok(()) }
    }

    /// Follows a lane that is made of these units of tiles, in order.
    fn lane(&mut self, lane: u32, steps: &[Step], instances: &[usize]) -> Result<(), Flaw> {
        let mut walk = Walk { instances, first_open: 0, last: 0, section: None, waited: None };
        self.steps[lane as usize] = steps.len() as u32;
        let rank = self.script.rank;
        for (step, one) in (0..).zip(steps) {
            let at = Place { rank, lane, step, inside: None };
            match one {
                Step::Move(one) => {
                    self.take(&mut walk, Found { one, round: 0, rounds: 1, at })?;
                }
                Step::Repeat { count, body } if body.len() == 1 => {
                    let mut round = 0;
                    while round < *count {
                        let at = Place { inside: Some(Inside { round, index: 0 }), ..at };
                        round += self.take(&mut walk, Found { one: &body[0], round, rounds: count - round, at })?;
                    }
                }
                Step::Repeat { count, body } => {
                    for round in 0..*count {
                        for (index, one) in (0..).zip(body) {
                            let at = Place { inside: Some(Inside { round, index }), ..at };
                            self.take(&mut walk, Found { one, round, rounds: 1, at })?;
                        }
                    }
                }
                Step::Wait { lane: 0, step: awaited } if lane == 1 && *awaited < self.steps[0] => {
                    walk.waited = walk.waited.max(Some(*awaited));
                }
                Step::Wait { .. } => return Err(departure(at, Departure::Foreign)),
            }
        }
        self.pass_done(&mut walk);
        let at = Place { rank, lane, step: steps.len() as u32, inside: None };
        if walk.first_open < instances.len() { Err(departure(at, Departure::Missing)) } else { Ok(()) }
    }

    /// Finds the unit whose next move it is, and goes on there; for how many rounds is returned.
    fn take(&mut self, walk: &mut Walk, found: Found) -> Result<u32, Flaw> {
        self.pass_done(walk);
        let open = walk.first_open..walk.instances.len();
        let tried =
            std::iter::once(walk.last).filter(|one| (walk.first_open..walk.instances.len()).contains(one)).chain(open);
        let mut places = tried.map(|one| (one, self.rounds_of(walk.instances[one], &found)));
        let Some((place, rounds)) = places.find(|(_, rounds)| *rounds > 0) else {
            return Err(departure(found.at, Departure::Foreign));
        };
        let instance = walk.instances[place];
        let (unit, section) = {
            let (number, unit) = self.unit(instance);
            (number, unit.section(self.progress[instance].number))
        };
        if walk.section != Some((place, section)) {
            self.may_come_now(walk, (instance, unit, section), found.at)?;
            (walk.last, walk.section) = (place, Some((place, section)));
        }
        if !self.go_on(instance, &found, rounds) {
            return Err(departure(found.at, Departure::Foreign));
        }
        let tile = self.tile(instance);
        match found.at.lane {
            0 if self.unit(instance).1.stage == 0 => self.ends[tile] = Some(found.at.step),
            0 => {}
            _ if walk.waited < self.ends[tile] => return Err(departure(found.at, Departure::NotAwaited)),
            _ => {}
        }
        Ok(rounds)
    }

    fn pass_done(&self, walk: &mut Walk) {
        while walk.instances.get(walk.first_open).is_some_and(|one| self.is_done(*one)) {
            walk.first_open += 1;
        }
    }

    /// All that comes first and is not done may be passed.
    fn may_come_now(
        &mut self,
        walk: &Walk,
        (instance, unit, section): (usize, usize, Section),
        at: Place,
    ) -> Result<(), Flaw> {
        for &passed in walk.instances[walk.first_open..].iter().take_while(|one| **one < instance) {
            if self.is_done(passed) {
                continue;
            }
            let same_tile = self.tile(passed) == self.tile(instance);
            let (number, other) = self.unit(passed);
            let next = other.section(self.progress[passed].number);
            let left: Vec<Section> =
                Section::ALL.into_iter().filter(|one| *one >= next && !other.section_moves(*one).is_empty()).collect();
            if !left.into_iter().all(|one| self.order.may_pass((unit, section), (number, one), same_tile)) {
                return Err(departure(at, Departure::OutOfOrder));
            }
        }
        Ok(())
    }

    /// For how many rounds a move is what comes next in a unit of a tile.
    fn rounds_of(&self, instance: usize, found: &Found) -> u32 {
        let (_, unit) = self.unit(instance);
        let progress = self.progress[instance];
        let Some(expected) = unit.moves.get(progress.number) else { return 0 };
        let row = &expected.rows[progress.row];
        let Move { reduction, sources, destinations, .. } = found.one;
        if *reduction != expected.reduction
            || sources.len() != expected.sources
            || sources.len() + destinations.len() != expected.operands.len()
        {
            return 0;
        }
        let locals = || sources.iter().chain(destinations).filter_map(local);
        let go_on_alike = locals().map(|span| span.stride).eq(row.columns.iter().map(|column| column.1));
        let rounds = if go_on_alike { found.rounds.min(row.count - progress.element) } else { 1 };
        let mut columns = row.columns.iter().zip(&expected.spaces);
        for (operand, named) in sources.iter().chain(destinations).zip(&expected.operands) {
            match (operand, named) {
                (Operand::Peer { rank, channel }, UnitOperand::Peer { rank: peer, channel: other }) => {
                    if (rank, channel) != (peer, other) {
                        return 0;
                    }
                }
                (Operand::Local(span), UnitOperand::Local) => {
                    let (&(first, stride), space) = columns.next().expect("a column for each local operand");
                    if span.buffer != buffer(*space) || span.len != row.len {
                        return 0;
                    }
                    let start = u64::from(span.start) + u64::from(found.round) * u64::from(span.stride);
                    let expected = first + progress.element * stride + self.shift(*space, instance);
                    let is_there = match space {
                        Space::Input | Space::Output => start == u64::from(expected),
                        Space::Cell => (0..u64::from(rounds)).all(|round| {
                            let place = (start + round * u64::from(stride), expected + round as u32 * stride);
                            (0..row.len).all(|chunk| self.may_lie(place.1 + chunk, place.0 + u64::from(chunk)))
                        }),
                    };
                    if !is_there {
                        return 0;
                    }
                }
                _ => return 0,
            }
        }
        rounds
    }

    /// How far the memory of a tile lies from that of the first.
    fn shift(&self, space: Space, instance: usize) -> u32 {
        let distance = if space == Space::Cell { self.script.cells.len() as u32 } else { self.script.tile_stride };
        self.tile(instance) as u32 * distance
    }

    /// Whether a cell lies in a slot of scratch, or is the first that would and fits there.
    fn may_lie(&self, cell: u32, slot: u64) -> bool {
        let Some(&owner) = self.cell_of.get(slot as usize) else { return false };
        let known = self.slot_of[cell as usize];
        if known != NONE || owner != NONE {
            return u64::from(known) == slot && owner == cell;
        }
        let per_tile = self.script.cells.len() as u32;
        let id = self.script.cells[(cell % per_tile) as usize] + cell / per_tile * self.script.tile_stride;
        let class = |id: ChunkId| self.grid.size_class(id, self.uneven);
        class(id) == class(self.sizes[slot as usize])
    }

    /// Marks moves as done; false if two cells of theirs were to lie in one place.
    fn go_on(&mut self, instance: usize, found: &Found, rounds: u32) -> bool {
        let progress = self.progress[instance];
        let script = self.script;
        let expected = &script.units[instance % script.units.len()].moves[progress.number];
        let row = &expected.rows[progress.row];
        let locals = found.one.sources.iter().chain(&found.one.destinations).filter_map(local);
        for (span, (&(first, stride), space)) in locals.zip(row.columns.iter().zip(&expected.spaces)) {
            if *space != Space::Cell {
                continue;
            }
            let first = first + progress.element * stride + self.shift(Space::Cell, instance);
            for round in 0..rounds {
                let slot = span.start + (found.round + round) * span.stride;
                for chunk in 0..row.len {
                    let (cell, slot) = (first + round * stride + chunk, slot + chunk);
                    if !self.may_lie(cell, u64::from(slot)) {
                        return false;
                    }
                    (self.slot_of[cell as usize], self.cell_of[slot as usize]) = (slot, cell);
                }
            }
        }
        let mut next = Progress { element: progress.element + rounds, ..progress };
        if next.element == row.count {
            next = Progress { row: progress.row + 1, element: 0, ..progress };
        }
        if next.row == expected.rows.len() {
            next = Progress { number: progress.number + 1, ..Progress::default() };
        }
        self.progress[instance] = next;
        true
    }
}

fn local(operand: &Operand) -> Option<&Span> {
    match operand {
        Operand::Local(span) => Some(span),
        Operand::Peer { .. } => None,
    }
}

fn buffer(space: Space) -> Buffer {
    match space {
        Space::Input => Buffer::Input,
        Space::Output => Buffer::Output,
        Space::Cell => Buffer::Scratch,
    }
}

/// How far a lane has been followed.
struct Walk<'a> {
    /// In the order in which factors follow each other.
    instances: &'a [usize],
    /// All before this one are done.
    first_open: usize,
    /// Of the last move the place and the section.
    last: usize,
    section: Option<(usize, Section)>,
    /// The last step of the first lane that has been waited for.
    waited: Option<u32>,
}
