//! The programs of a gather or scatter by rails: every block passes the carrier of its slot in the root's domain.

use super::direct_unit;
use crate::algorithm::Algorithm;
use crate::algorithm::direct::Direct;
use crate::algorithm::hierarchy::embed::{Run, Unit};
use crate::algorithm::hierarchy::slots::Slots;
use crate::algorithm::hierarchy::tiles::Shift;
use crate::plan::chunk::ChunkId;
use crate::plan::{Buffer, Part, Plan, Problem, Program};
use crate::types::{Collective, Rank};

/// The factors of a problem, ready to write programs.
pub(super) struct Blocks {
    problem: Problem,
    slots: Slots,
    /// The root's domain, and its place there.
    home: usize,
    root: usize,
    inside: Plan,
    rail: Plan,
}

impl Blocks {
    pub fn new(problem: &Problem) -> Blocks {
        let slots = Slots::of(problem);
        let (home, root) = slots.place(problem.root);
        let uneven = problem.uneven || !slots.is_even();
        let factor = |ranks: usize, root: usize| {
            Direct.plan(&Problem { root, uneven, ..Problem::new(problem.collective, ranks) })
        };
        let (inside, rail) = (factor(slots.size(home), root), factor(slots.domains, home));
        Blocks { problem: *problem, slots, home, root, inside, rail }
    }

    /// The stages for the proof, see [`crate::plan::check::compose`].
    pub fn parts(&self) -> Vec<Part> {
        let Slots { domains, width, .. } = self.slots;
        let runs = width.div_ceil(self.slots.size(self.home)) as u64;
        let part = |factor: &Plan, chunks: u64, runs: u64, groups: usize| Part {
            factors: vec![factor.clone()],
            chunks,
            joins: false,
            runs,
            groups: groups as u64,
            overlaps: true,
        };
        let rail = part(&self.rail, 1, runs, width);
        let inside = part(&self.inside, runs * domains as u64, 1, 1);
        if self.is_gather() { vec![rail, inside] } else { vec![inside, rail] }
    }

    fn is_gather(&self) -> bool {
        self.problem.collective == Collective::Gather
    }

    pub fn program(&self, rank: Rank) -> Program {
        let (domain, place) = self.slots.place(rank);
        let mut scratch: Vec<ChunkId> = Vec::new();
        // Of a place of the root's domain where the blocks that it carries lie, slot by slot, its own among them.
        let mut carried: Vec<Vec<Option<Run>>> = Vec::new();
        for slot in self.slots.carried(domain, place) {
            let run = |domain: usize| Some(self.kept(self.slots.item(domain, slot)?, rank, &mut scratch));
            carried.push(match domain == self.home {
                true => (0..self.slots.domains).map(run).collect(),
                false => Vec::new(),
            });
        }
        let rails = self.slots.carried(domain, place).zip(&carried);
        let rails = joined(rails.map(|(slot, runs)| self.along_rail(domain, slot, runs)));
        let at_root = if domain == self.home { self.at_root(place, &carried) } else { Unit::default() };
        let (mut first, mut last) = if self.is_gather() { (rails, at_root) } else { (at_root, rails) };
        let (head, tail) = (std::mem::take(&mut first.before), std::mem::take(&mut last.after));
        let (shift, tiles) = (Shift { chunks: 1, scratch: scratch.len() as u32 }, self.problem.tiles);
        let lane = shift.one_way(tiles, &head, [&[first], &[], &[last]], &tail);
        let scratch = (0..tiles).flat_map(|tile| scratch.iter().map(move |id| id + tile));
        Program { lanes: vec![lane], scratch: scratch.collect() }
    }

    fn block(&self, rank: Rank) -> u32 {
        rank as u32 * self.problem.tiles
    }

    /// The rank's own block where it has only that.
    fn own(&self) -> Run {
        Run { buffer: if self.is_gather() { Buffer::Input } else { Buffer::Output }, start: 0, len: 1 }
    }

    /// Where `rank`, of the root's domain, keeps a block on its way.
    fn kept(&self, block: Rank, rank: Rank, scratch: &mut Vec<ChunkId>) -> Run {
        match rank {
            _ if rank == self.problem.root => {
                let buffer = if self.is_gather() { Buffer::Output } else { Buffer::Input };
                Run { buffer, start: self.block(block), len: 1 }
            }
            _ => {
                scratch.push(self.block(block));
                Run { buffer: Buffer::Scratch, start: scratch.len() as u32 - 1, len: 1 }
            }
        }
    }

    /// The blocks of a slot, each between its rank and the carrier in the root's domain, which has them at `kept`.
    fn along_rail(&self, domain: usize, slot: usize, kept: &[Option<Run>]) -> Unit {
        let has_own = self.slots.item(domain, slot).is_some();
        let place = |buffer: Buffer, index: u32, runs: &mut Vec<Run>| {
            let is_own = (buffer == Buffer::Input) == self.is_gather();
            match is_own {
                true if has_own => runs.push(self.own()),
                false => runs.extend(kept[index as usize]),
                true => {}
            }
        };
        let rank = |domain| self.slots.rank(domain, self.slots.carrier(domain, slot));
        direct_unit(false, &self.rail, domain, &rank, &place)
    }

    /// What the places of the root's domain carry, between each and the root.
    fn at_root(&self, place: usize, carried: &[Vec<Option<Run>>]) -> Unit {
        let runs = |buffer: Buffer, index: u32, runs: &mut Vec<Run>| {
            let is_own = (buffer == Buffer::Input) == self.is_gather();
            let of = if is_own { place } else { index as usize };
            match place == self.root {
                // The root's own are where they belong, or have been there from the start.
                true if of == place => {}
                true => {
                    let slots = self.slots.carried(self.home, of);
                    let blocks = slots.flat_map(|slot| self.slots.items(slot));
                    runs.extend(blocks.map(|block| self.kept(block, self.problem.root, &mut Vec::new())));
                }
                false => runs.extend(carried.iter().flatten().flatten()),
            }
        };
        direct_unit(false, &self.inside, place, &|place| self.slots.rank(self.home, place), &runs)
    }
}

/// One after the other, but that all receive last: rails take nothing from each other.
fn joined(units: impl Iterator<Item = Unit>) -> Unit {
    units.fold(Unit::default(), |mut all, one| {
        // What comes after a copy stays there: in place it may be of the memory that is sent.
        if all.during.is_empty() { &mut all.before } else { &mut all.during }.extend(one.before);
        all.during.extend(one.during);
        all.after.extend(one.after);
        all
    })
}
