//! The programs of a broadcast or reduce in slots.

use super::carriers::Carriers;
use super::{Rail, direct_unit, rail_problem};
use crate::algorithm::Algorithm;
use crate::algorithm::direct::Direct;
use crate::algorithm::hierarchy::embed::{Embedding, Run, Unit};
use crate::algorithm::hierarchy::tiles::Shift;
use crate::plan::chunk::ChunkId;
use crate::plan::{Buffer, Part, Plan, Problem, Program, Through};
use crate::types::{Collective, Rank};
use std::collections::BTreeMap;

/// The factors of a problem, ready to write programs.
pub(super) struct Whole {
    problem: Problem,
    pub carriers: Carriers,
    /// Between the root and the rest of its domain.
    at_root: Plan,
    /// In every domain, by how many ranks take part.
    inside: BTreeMap<usize, Plan>,
    rail: Plan,
}

/// A factor among ranks of a domain; slots may differ in size.
fn inner(collective: Collective, ranks: usize, root: usize) -> Plan {
    Direct.plan(&Problem { root, uneven: true, ..Problem::new(collective, ranks) })
}

impl Whole {
    pub fn new(problem: &Problem, rail: Rail) -> Whole {
        let carriers = Carriers::of(problem);
        let domains = carriers.slots.domains;
        let is_broadcast = problem.collective == Collective::Broadcast;
        let (at_root, in_all) = match is_broadcast {
            true => (Collective::Scatter, Collective::AllGather),
            false => (Collective::Gather, Collective::ReduceScatter),
        };
        let members = |domain: usize| match is_broadcast {
            true => carriers.others(domain),
            false => carriers.slots.size(domain),
        };
        let mut inside = BTreeMap::new();
        for size in (0..domains).map(members) {
            inside.entry(size).or_insert_with(|| inner(in_all, size, 0));
        }
        let at_root = inner(at_root, carriers.slots.size(carriers.home), carriers.root);
        let rail = rail.factor().plan(&rail_problem(problem, domains, carriers.home));
        Whole { problem: *problem, carriers, at_root, inside, rail }
    }

    /// The stages for the proof, see [`crate::plan::check::compose`].
    pub fn parts(&self) -> Vec<Part> {
        let part = |factors: Vec<Plan>, groups: usize, overlaps: bool| Part {
            factors,
            chunks: 1,
            joins: true,
            runs: 1,
            groups: groups as u64,
            overlaps,
        };
        let at_root = part(vec![self.at_root.clone()], 1, true);
        let rail = part(vec![self.rail.clone()], self.carriers.width, false);
        let inside = part(self.inside.values().cloned().collect(), self.carriers.slots.domains, true);
        match self.problem.collective {
            Collective::Broadcast => vec![at_root, rail, inside],
            _ => vec![inside, rail, at_root],
        }
    }

    pub fn program(&self, rank: Rank) -> Program {
        let (domain, place) = self.carriers.slots.place(rank);
        let slot = self.carriers.slot(domain, place);
        let mut one_tile: Vec<ChunkId> = Vec::new();
        let is_broadcast = self.problem.collective == Collective::Broadcast;
        if let (false, Some(slot)) = (is_broadcast, slot) {
            one_tile.push(slot as u32);
        }
        let rail = slot.map(|slot| self.along_rail(domain, slot, &mut one_tile));
        let home = domain == self.carriers.home;
        let at_root = home.then(|| self.at_root(place));
        let (first, last) = match is_broadcast {
            true => (at_root, self.gathered(domain, place)),
            false => (Some(self.scattered(domain, place)), at_root),
        };
        let [mut first, mut last] = [first, last].map(Option::unwrap_or_default);
        let (head, tail) = (std::mem::take(&mut first.before), std::mem::take(&mut last.after));
        let shift = Shift { chunks: self.carriers.width as u32, scratch: one_tile.len() as u32 };
        let tiles = self.problem.tiles;
        let middle: Vec<Unit> = rail.into_iter().collect();
        let lane = shift.one_way(tiles, &head, [&[first], &middle, &[last]], &tail);
        let scratch = (0..tiles).flat_map(|tile| one_tile.iter().map(move |id| id + tile * shift.chunks));
        Program { lanes: vec![lane], scratch: scratch.collect() }
    }

    /// What a place carries, in a buffer.
    fn run(&self, domain: usize, place: usize, buffer: Buffer) -> Option<Run> {
        let slot = self.carriers.slot(domain, place)?;
        Some(Run { buffer, start: slot as u32, len: 1 })
    }

    /// Slots from the root to their carriers, or to the root from where their sums lie.
    fn at_root(&self, place: usize) -> Unit {
        let home = self.carriers.home;
        let runs = |buffer: Buffer, index: u32, runs: &mut Vec<Run>| match (buffer, self.problem.collective) {
            // Of a broadcast the root keeps everything; of a reduce it has no sums for itself.
            (buffer, Collective::Broadcast) if place == self.carriers.root && index as usize == place => {
                runs.push(Run { buffer, start: 0, len: self.carriers.width as u32 });
            }
            _ if place == self.carriers.root && index as usize == place => {}
            (Buffer::Input, Collective::Broadcast) => runs.extend(self.run(home, index as usize, Buffer::Input)),
            (_, Collective::Broadcast) => runs.extend(self.run(home, place, Buffer::Output)),
            (Buffer::Input, _) => runs.extend(self.carriers.slot(home, place).map(|_| sums())),
            _ => runs.extend(self.run(home, index as usize, Buffer::Output)),
        };
        let of_root = |buffer: Buffer, index: u32, into: &mut Vec<Run>| {
            // A scatter's output and a gather's input have one block, the rank's own.
            let is_own = (buffer == Buffer::Output) == (self.problem.collective == Collective::Broadcast);
            runs(buffer, if is_own { place as u32 } else { index }, into);
        };
        direct_unit(true, &self.at_root, place, &|place| self.carriers.slots.rank(home, place), &of_root)
    }

    /// Slots from their carriers to all others of a domain but the root.
    fn gathered(&self, domain: usize, place: usize) -> Option<Unit> {
        let local = self.carriers.index(domain, place)?;
        let place_of = |index: usize| self.carriers.other(domain, index);
        let runs = |buffer: Buffer, index: u32, runs: &mut Vec<Run>| {
            let index = if buffer == Buffer::Input { local } else { index as usize };
            runs.extend(self.run(domain, place_of(index), Buffer::Output));
        };
        let factor = &self.inside[&self.carriers.others(domain)];
        Some(direct_unit(true, factor, local, &|index| self.carriers.slots.rank(domain, place_of(index)), &runs))
    }

    /// The sums of a domain, each slot's at its carrier.
    fn scattered(&self, domain: usize, place: usize) -> Unit {
        let runs = |buffer: Buffer, index: u32, runs: &mut Vec<Run>| match buffer {
            Buffer::Input => runs.extend(self.run(domain, index as usize, buffer)),
            _ => runs.extend(self.carriers.slot(domain, place).map(|_| sums())),
        };
        let factor = &self.inside[&self.carriers.slots.size(domain)];
        direct_unit(true, factor, place, &|place| self.carriers.slots.rank(domain, place), &runs)
    }

    /// A slot among its carriers: in the output, or as sums in scratch.
    fn along_rail(&self, domain: usize, slot: usize, scratch: &mut Vec<ChunkId>) -> Unit {
        let run = match self.problem.collective {
            Collective::Broadcast => Run { buffer: Buffer::Output, start: slot as u32, len: 1 },
            _ => sums(),
        };
        let place = |_, _, runs: &mut Vec<Run>| runs.push(run);
        let ids = |_| vec![(slot as u32, 1)];
        let rank = |domain| self.carriers.rank(domain, slot);
        let (channel, through, is_last, joins) = (0, Through::Messages, true, true);
        let factor = &self.rail;
        Embedding { factor, local: domain, rank: &rank, channel, through, is_last, place: &place, ids: &ids, joins }
            .unit(scratch)
    }
}

/// Where a carrier has the sums of its slot.
fn sums() -> Run {
    Run { buffer: Buffer::Scratch, start: 0, len: 1 }
}
