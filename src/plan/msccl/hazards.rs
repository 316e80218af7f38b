//! Which steps of a GPU must come before a new one: those that wrote what it touches, and those that read what it writes.

use super::document::{Place, StepId};
use crate::plan::Buffer;
use std::collections::{BTreeSet, HashMap};

/// A chunk of memory, by its buffer and index; of aliased buffers by one name.
type Cell = (Buffer, i64);

#[derive(Default)]
struct Accesses {
    writer: Option<StepId>,
    /// Since that write, the last of each block.
    readers: Vec<StepId>,
}

pub(super) struct Hazards {
    /// Where the input's chunks lie in the output, if they may.
    alias: Option<i64>,
    cells: HashMap<Cell, Accesses>,
    /// For each block how many steps of each other block have ended before its next step, as far as its steps wait for them.
    known: Vec<Vec<u32>>,
    /// The same for every step.
    before: HashMap<StepId, Vec<u32>>,
    awaited: BTreeSet<StepId>,
}

impl Hazards {
    pub(super) fn new(alias: Option<i64>) -> Hazards {
        Hazards { alias, cells: HashMap::new(), known: Vec::new(), before: HashMap::new(), awaited: BTreeSet::new() }
    }

    /// Whether both are the same memory, in place.
    pub(super) fn are_same(&self, one: (Place, u32), other: (Place, u32)) -> bool {
        cells(self.alias, one).eq(cells(self.alias, other))
    }

    /// The steps that a new step of `block` must wait for, and that neither it nor another of them waits for already.
    pub(super) fn before(
        &mut self,
        block: u32,
        read: &[Option<(Place, u32)>],
        written: Option<(Place, u32)>,
    ) -> Vec<StepId> {
        let alias = self.alias;
        let mut needed = BTreeSet::new();
        for cell in read.iter().flatten().flat_map(|chunks| cells(alias, *chunks)) {
            needed.extend(self.cells.get(&cell).and_then(|accesses| accesses.writer));
        }
        for cell in written.into_iter().flat_map(|chunks| cells(alias, chunks)) {
            if let Some(accesses) = self.cells.get(&cell) {
                needed.extend(accesses.writer);
                needed.extend(&accesses.readers);
            }
        }
        let mut waits: Vec<StepId> = Vec::new();
        // The latest first, since they may imply others.
        for id in needed.into_iter().rev().filter(|id| id.block != block) {
            if self.known(block, id.block) <= id.step {
                self.learn(block, id);
                waits.push(id);
            }
        }
        let implied = |id: &StepId, by: &StepId| {
            by != id && self.before[by].get(id.block as usize).is_some_and(|&steps| steps > id.step)
        };
        let kept: Vec<StepId> = waits.iter().filter(|id| !waits.iter().any(|by| implied(id, by))).copied().collect();
        self.awaited.extend(&kept);
        kept
    }

    fn known(&self, block: u32, other: u32) -> u32 {
        self.known.get(block as usize).and_then(|known| known.get(other as usize)).copied().unwrap_or(0)
    }

    /// Block `block` waits for a step.
    fn learn(&mut self, block: u32, id: StepId) {
        let mut more = self.before.get(&id).cloned().unwrap_or_default();
        grow(&mut more, id.block as usize)[id.block as usize] = id.step + 1;
        if self.known.len() <= block as usize {
            self.known.resize(block as usize + 1, Vec::new());
        }
        let known = &mut self.known[block as usize];
        if let Some(last) = more.len().checked_sub(1) {
            grow(known, last);
        }
        known.iter_mut().zip(more).for_each(|(known, more)| *known = more.max(*known));
    }

    /// Notes what a step touches.
    pub(super) fn add(&mut self, id: StepId, read: &[Option<(Place, u32)>], written: Option<(Place, u32)>) {
        let alias = self.alias;
        for cell in read.iter().flatten().flat_map(|chunks| cells(alias, *chunks)) {
            let readers = &mut self.cells.entry(cell).or_default().readers;
            match readers.iter_mut().find(|reader| reader.block == id.block) {
                Some(reader) => *reader = id,
                None => readers.push(id),
            }
        }
        for cell in written.into_iter().flat_map(|chunks| cells(alias, chunks)) {
            self.cells.insert(cell, Accesses { writer: Some(id), readers: Vec::new() });
        }
        let known = self.known.get(id.block as usize).cloned().unwrap_or_default();
        self.before.insert(id, known);
    }

    /// All steps that others wait for.
    pub(super) fn awaited(&self) -> impl Iterator<Item = StepId> {
        self.awaited.iter().copied()
    }
}

fn cells(alias: Option<i64>, (place, count): (Place, u32)) -> impl Iterator<Item = Cell> {
    let (buffer, start) = match (place.buffer, alias) {
        (Buffer::Input, Some(offset)) => (Buffer::Output, i64::from(place.offset) + offset),
        (buffer, _) => (buffer, i64::from(place.offset)),
    };
    (0..i64::from(count)).map(move |index| (buffer, start + index))
}

fn grow(steps: &mut Vec<u32>, block: usize) -> &mut Vec<u32> {
    if steps.len() <= block {
        steps.resize(block + 1, 0);
    }
    steps
}
