//! The whole plan: which factors a rank takes part in, where their chunks lie, and in which order its steps come.

use super::embed::{Embedding, Run, Unit};
use super::slots::Slots;
use super::tiles::Shift;
use crate::algorithm::Algorithm;
use crate::plan::chunk::ChunkId;
use crate::plan::{Buffer, Part, Plan, Problem, Program, Step, Through};
use crate::types::{Collective, Rank};
use std::collections::BTreeMap;

/// What stands at both ends of a domain's part, and what joins domains.
#[derive(Clone, Copy)]
pub(super) struct Factors {
    pub inner: &'static dyn Algorithm,
    pub outer: &'static dyn Algorithm,
    pub through: Through,
}

/// The factors of a problem, ready to write programs.
pub(super) struct Whole {
    problem: Problem,
    pub slots: Slots,
    /// Into how many chunks a tile of a slot is cut, where the collective leaves it open.
    pub pieces: u32,
    through: Through,
    /// By the size of the domain.
    pub scattering: BTreeMap<usize, Plan>,
    pub gathering: BTreeMap<usize, Plan>,
    pub outer: Plan,
}

/// The question that a stage is for a factor.
pub(super) fn factor_problem(problem: &Problem, is_even: bool, collective: Collective, ranks: usize) -> Problem {
    let uneven = problem.uneven || problem.collective == Collective::AllReduce || !is_even;
    Problem { uneven: uneven && collective != Collective::AllToAll, ..Problem::new(collective, ranks) }
}

impl Whole {
    pub fn new(problem: &Problem, factors: &Factors) -> Whole {
        use Collective::{AllGather, AllReduce, AllToAll, ReduceScatter};
        let slots = Slots::of(problem);
        let (scatter, between, gather) = match problem.collective {
            AllReduce => (Some(ReduceScatter), AllReduce, Some(AllGather)),
            AllGather => (None, AllGather, Some(AllGather)),
            ReduceScatter => (Some(ReduceScatter), ReduceScatter, None),
            AllToAll => (Some(AllToAll), AllToAll, None),
            other => unreachable!("no hierarchy fits {other}"),
        };
        let is_even = slots.is_even();
        let inner = |collective: Option<Collective>| -> BTreeMap<usize, Plan> {
            let sizes = (0..slots.domains).map(|domain| slots.size(domain));
            let mut plans = BTreeMap::new();
            for (size, collective) in sizes.flat_map(|size| Some((size, collective?))) {
                let plan = || factors.inner.plan(&factor_problem(problem, is_even, collective, size));
                plans.entry(size).or_insert_with(plan);
            }
            plans
        };
        let (scattering, gathering) = (inner(scatter), inner(gather));
        let outer = factors.outer.plan(&factor_problem(problem, is_even, between, slots.domains));
        let pieces = if between == AllReduce { outer.blocks } else { 1 };
        Whole { problem: *problem, slots, pieces, through: factors.through, scattering, gathering, outer }
    }

    /// The stages for the proof, see [`crate::plan::check::compose`].
    pub fn parts(&self) -> Vec<Part> {
        let Slots { domains, width, .. } = self.slots;
        let least = (0..domains).map(|domain| self.slots.size(domain)).min().unwrap_or(1);
        let runs = width.div_ceil(least) as u64;
        let all_reduce = self.problem.collective == Collective::AllReduce;
        // What a place of a domain carries: a run of chunks, or the blocks of all domains one by one.
        let carried = runs * if all_reduce { u64::from(self.pieces) } else { domains as u64 };
        let inside = |plans: &BTreeMap<usize, Plan>| Part {
            factors: plans.values().cloned().collect(),
            chunks: carried,
            joins: all_reduce,
            runs: 1,
            groups: domains as u64,
            overlaps: true,
        };
        let from_each = if self.problem.collective == Collective::AllToAll { width as u64 } else { 1 };
        let between = Part {
            factors: vec![self.outer.clone()],
            chunks: from_each,
            joins: all_reduce || self.problem.collective == Collective::ReduceScatter,
            runs,
            groups: width as u64,
            overlaps: false,
        };
        let scatter = (!self.scattering.is_empty()).then(|| inside(&self.scattering));
        let gather = (!self.gathering.is_empty()).then(|| inside(&self.gathering));
        scatter.into_iter().chain([between]).chain(gather).collect()
    }

    /// Chunks of a tile, where it is a run.
    fn tile_stride(&self) -> u32 {
        match self.problem.collective {
            Collective::AllReduce => self.slots.width as u32 * self.pieces,
            _ => 1,
        }
    }

    /// The stages one after the other, tile after tile, with what only sends brought forward and what only receives put off: while
    /// the middle of a tile passes between domains, the next is being scattered in them and the one before gathered.
    ///
    /// A fold in a switch begins when it is asked for, not when its parts are sent: so those have a lane of their own, which runs ahead.
    pub fn program(&self, rank: Rank) -> Program {
        let mut one_tile = Vec::new();
        let [mut first, middle, mut last] = self.stages(rank, &mut one_tile);
        let tiles = self.problem.tiles;
        let slot_chunks = one_tile.len() as u32;
        let head = if first.len() == 1 { std::mem::take(&mut first[0].before) } else { Vec::new() };
        let tail = match (last.len(), self.problem.collective) {
            (1, _) => std::mem::take(&mut last[0].after),
            // A rail takes nothing from another: all sends first, then what each receives.
            (_, Collective::AllToAll) => {
                let sends: Vec<Step> = last.iter_mut().flat_map(|unit| std::mem::take(&mut unit.before)).collect();
                last[0].before = sends;
                last.iter_mut().flat_map(|unit| std::mem::take(&mut unit.after)).collect()
            }
            _ => Vec::new(),
        };
        let shift = Shift { chunks: self.tile_stride(), scratch: slot_chunks };
        let scratch = |tiles: u32| -> Vec<ChunkId> {
            (0..tiles).flat_map(|tile| one_tile.iter().map(move |id| id + tile * shift.chunks)).collect()
        };
        if self.through == Through::Switch && !self.scattering.is_empty() {
            let (mut ahead, mut behind) = (shift.steps(&head, 0), Vec::new());
            for tile in 0..tiles {
                if tile + 1 < tiles {
                    ahead.extend(shift.steps(&head, tile + 1));
                }
                ahead.extend(shift.units(&first, tile));
                behind.push(Step::Wait { lane: 0, step: ahead.len() as u32 - 1 });
                behind.extend(shift.units(&middle, tile));
                if tile > 0 {
                    behind.extend(shift.steps(&tail, tile - 1));
                }
                behind.extend(shift.units(&last, tile));
            }
            behind.extend(shift.steps(&tail, tiles - 1));
            return Program { lanes: vec![ahead, behind], scratch: scratch(tiles) };
        }
        let lane = shift.lane(tiles, &head, [&first, &middle, &last], &tail);
        Program { lanes: vec![lane], scratch: scratch(tiles) }
    }

    /// The units of the first tile: in the domain, between domains, in the domain again.
    fn stages(&self, rank: Rank, scratch: &mut Vec<ChunkId>) -> [Vec<Unit>; 3] {
        let (domain, local) = self.slots.place(rank);
        match self.problem.collective {
            Collective::AllReduce => {
                let scatter = self.in_slots(&self.scattering, domain, local, 0, Buffer::Input, scratch);
                let carried = self.slots.carried(domain, local);
                let between = carried.map(|slot| self.reduce_between(domain, slot, scratch)).collect();
                let gather = self.in_slots(&self.gathering, domain, local, 1, Buffer::Output, scratch);
                [vec![scatter], between, vec![gather]]
            }
            Collective::AllGather => {
                let carried = self.slots.carried(domain, local);
                let between = carried.map(|slot| self.gather_between(domain, slot, scratch)).collect();
                [between, Vec::new(), vec![self.gather_inside(domain, local, scratch)]]
            }
            Collective::ReduceScatter => {
                let inside = self.scatter_inside(domain, local, scratch);
                let mut packed = 0;
                let between = self.slots.carried(domain, local).map(|slot| {
                    let unit = self.scatter_between(domain, slot, packed, scratch);
                    packed += self.slots.items(slot).count() as u32;
                    unit
                });
                let between = between.collect();
                [vec![inside], Vec::new(), between]
            }
            Collective::AllToAll => {
                let inside = self.exchange_inside(domain, local, scratch);
                let mut packed = 0;
                let between = self.slots.carried(domain, local).map(|slot| {
                    let unit = self.exchange_between(domain, slot, packed, scratch);
                    packed += (self.slots.items(slot).count() * self.slots.size(domain)) as u32;
                    unit
                });
                let between = between.collect();
                [vec![inside], Vec::new(), between]
            }
            other => unreachable!("no hierarchy fits {other}"),
        }
    }

    fn embedding<'a>(
        &self,
        factor: &'a Plan,
        local: usize,
        rank: &'a dyn Fn(usize) -> Rank,
        place: &'a dyn Fn(Buffer, u32, &mut Vec<Run>),
        ids: &'a dyn Fn(ChunkId) -> Vec<(ChunkId, u32)>,
    ) -> Embedding<'a> {
        let through = Through::Messages;
        Embedding { factor, local, rank, channel: 0, through, is_last: false, place, ids, joins: true }
    }

    /// A reduce-scatter of slots from the input, or an all-gather of them in the output.
    fn in_slots(
        &self,
        plans: &BTreeMap<usize, Plan>,
        domain: usize,
        local: usize,
        channel: u16,
        from: Buffer,
        scratch: &mut Vec<ChunkId>,
    ) -> Unit {
        let factor = &plans[&self.slots.size(domain)];
        let grid = factor.grid();
        let run = |block: u32| {
            let carried = self.slots.carried(domain, block as usize);
            (carried.start as u32 * self.pieces, carried.len() as u32 * self.pieces)
        };
        let place = |buffer: Buffer, index: u32, runs: &mut Vec<Run>| {
            let (start, len) = run(grid.chunk_id(local, buffer, index, &[]));
            let buffer = if buffer == Buffer::Input { from } else { Buffer::Output };
            runs.push(Run { buffer, start, len });
        };
        let ids = |block: ChunkId| vec![run(block)];
        let rank = |local| self.slots.rank(domain, local);
        let embedding = self.embedding(factor, local, &rank, &place, &ids);
        Embedding { channel, through: self.through, ..embedding }.unit(scratch)
    }

    /// The all-reduce of a slot among its carriers, in the output.
    fn reduce_between(&self, domain: usize, slot: usize, scratch: &mut Vec<ChunkId>) -> Unit {
        let first = slot as u32 * self.pieces;
        let place = |_, index: u32, runs: &mut Vec<Run>| {
            runs.push(Run { buffer: Buffer::Output, start: first + index, len: 1 });
        };
        let ids = |index: ChunkId| vec![(first + index, 1)];
        let rank = |domain| self.carrier(domain, slot);
        let embedding = self.embedding(&self.outer, domain, &rank, &place, &ids);
        Embedding { is_last: true, ..embedding }.unit(scratch)
    }

    fn carrier(&self, domain: usize, slot: usize) -> Rank {
        self.slots.rank(domain, self.slots.carrier(domain, slot))
    }

    /// The first chunk of a rank's block.
    fn block(&self, rank: Rank) -> u32 {
        rank as u32 * self.problem.tiles
    }

    /// The blocks of a slot among its carriers.
    fn gather_between(&self, domain: usize, slot: usize, scratch: &mut Vec<ChunkId>) -> Unit {
        let item = |index: u32| self.slots.item(index as usize, slot);
        let place = |buffer: Buffer, index: u32, runs: &mut Vec<Run>| match buffer {
            Buffer::Input => runs.extend(item(domain as u32).map(|_| Run { buffer, start: 0, len: 1 })),
            _ => runs.extend(item(index).map(|rank| Run { buffer, start: self.block(rank), len: 1 })),
        };
        let ids = |index: ChunkId| item(index).map(|rank| (self.block(rank), 1)).into_iter().collect();
        let rank = |domain| self.carrier(domain, slot);
        self.embedding(&self.outer, domain, &rank, &place, &ids).unit(scratch)
    }

    /// The blocks of all slots that a place of a domain carries.
    fn carried_blocks(&self, domain: usize, local: usize) -> impl Iterator<Item = u32> {
        let carried = self.slots.carried(domain, local);
        carried.flat_map(|slot| self.slots.items(slot)).map(|rank| self.block(rank))
    }

    /// What the carriers of a domain have gathered.
    fn gather_inside(&self, domain: usize, local: usize, scratch: &mut Vec<ChunkId>) -> Unit {
        let factor = &self.gathering[&self.slots.size(domain)];
        let blocks = |index: u32| self.carried_blocks(domain, index as usize);
        let place = |buffer: Buffer, index: u32, runs: &mut Vec<Run>| {
            let carrier = if buffer == Buffer::Input { local as u32 } else { index };
            runs.extend(blocks(carrier).map(|start| Run { buffer: Buffer::Output, start, len: 1 }));
        };
        let ids = |index: ChunkId| blocks(index).map(|block| (block, 1)).collect();
        let rank = |local| self.slots.rank(domain, local);
        let embedding = self.embedding(factor, local, &rank, &place, &ids);
        Embedding { through: self.through, ..embedding }.unit(scratch)
    }

    /// The sums of a domain's inputs, each at the carrier of its slot, packed in scratch.
    fn scatter_inside(&self, domain: usize, local: usize, scratch: &mut Vec<ChunkId>) -> Unit {
        let factor = &self.scattering[&self.slots.size(domain)];
        let blocks = |index: u32| self.carried_blocks(domain, index as usize);
        scratch.extend(blocks(local as u32));
        let place = |buffer: Buffer, index: u32, runs: &mut Vec<Run>| match buffer {
            Buffer::Input => runs.extend(blocks(index).map(|start| Run { buffer, start, len: 1 })),
            _ => runs.extend((0..).zip(blocks(local as u32)).map(|(start, _)| Run {
                buffer: Buffer::Scratch,
                start,
                len: 1,
            })),
        };
        let ids = |index: ChunkId| blocks(index).map(|block| (block, 1)).collect();
        let rank = |local| self.slots.rank(domain, local);
        let embedding = self.embedding(factor, local, &rank, &place, &ids);
        Embedding { through: self.through, ..embedding }.unit(scratch)
    }

    /// The sums of a slot among its carriers; they lie in scratch from `packed` on.
    fn scatter_between(&self, domain: usize, slot: usize, packed: u32, scratch: &mut Vec<ChunkId>) -> Unit {
        let mut places = Vec::with_capacity(self.slots.domains);
        let mut next = packed;
        for domain in 0..self.slots.domains {
            let item = self.slots.item(domain, slot);
            places.push(item.map(|rank| (next, rank)));
            next += u32::from(item.is_some());
        }
        let place = |buffer: Buffer, index: u32, runs: &mut Vec<Run>| match buffer {
            Buffer::Output => runs.extend(places[domain].map(|_| Run { buffer, start: 0, len: 1 })),
            _ => runs.extend(places[index as usize].map(|(start, _)| Run { buffer: Buffer::Scratch, start, len: 1 })),
        };
        let ids = |index: ChunkId| places[index as usize].map(|(_, rank)| (self.block(rank), 1)).into_iter().collect();
        let rank = |domain| self.carrier(domain, slot);
        let embedding = self.embedding(&self.outer, domain, &rank, &place, &ids);
        Embedding { is_last: true, ..embedding }.unit(scratch)
    }

    /// Blocks for all domains to the carriers of their slots, packed in scratch by slot, target and source.
    fn exchange_inside(&self, domain: usize, local: usize, scratch: &mut Vec<ChunkId>) -> Unit {
        let factor = &self.scattering[&self.slots.size(domain)];
        let (size, ranks) = (self.slots.size(domain), self.problem.ranks);
        let targets = |local: usize| self.slots.carried(domain, local).flat_map(|slot| self.slots.items(slot));
        for target in targets(local) {
            let ids = (0..size).map(|source| self.block(self.slots.rank(domain, source) * ranks + target));
            scratch.extend(ids);
        }
        let place = |buffer: Buffer, index: u32, runs: &mut Vec<Run>| match buffer {
            Buffer::Input => {
                runs.extend(targets(index as usize).map(|target| Run { buffer, start: self.block(target), len: 1 }));
            }
            _ => runs.extend((0..targets(local).count() as u32).map(|target| Run {
                buffer: Buffer::Scratch,
                start: target * size as u32 + index,
                len: 1,
            })),
        };
        let ids = |_| unreachable!("a direct exchange has no scratch");
        let rank = |local| self.slots.rank(domain, local);
        let embedding = self.embedding(factor, local, &rank, &place, &ids);
        Embedding { through: self.through, joins: false, ..embedding }.unit(scratch)
    }

    /// What a domain has for the ranks of a slot, domain by domain; it lies in scratch from `packed` on.
    fn exchange_between(&self, domain: usize, slot: usize, packed: u32, scratch: &mut Vec<ChunkId>) -> Unit {
        let size = self.slots.size(domain) as u32;
        let mut next = packed;
        let mut places = Vec::with_capacity(self.slots.domains);
        for domain in 0..self.slots.domains {
            let item = self.slots.item(domain, slot);
            places.push(item.map(|_| next));
            next += if item.is_some() { size } else { 0 };
        }
        // Both ends know whether the blocks of a domain's ranks lie in a row where they arrive.
        let in_a_row = |source: usize| {
            let ranks: Vec<Rank> = (0..self.slots.size(source)).map(|local| self.slots.rank(source, local)).collect();
            self.problem.tiles == 1 && ranks.windows(2).all(|pair| pair[0] + 1 == pair[1])
        };
        let cut = |source: usize, buffer: Buffer, starts: Vec<u32>| match in_a_row(source) {
            true => vec![Run { buffer, start: starts[0], len: starts.len() as u32 }],
            false => starts.into_iter().map(|start| Run { buffer, start, len: 1 }).collect(),
        };
        let place = |buffer: Buffer, index: u32, runs: &mut Vec<Run>| match (buffer, places[domain]) {
            (Buffer::Input, _) => {
                if let Some(start) = places[index as usize] {
                    runs.extend(cut(domain, Buffer::Scratch, (start..start + size).collect()));
                }
            }
            (_, None) => {}
            (_, Some(_)) => {
                let source = index as usize;
                let sources = (0..self.slots.size(source)).map(|local| self.block(self.slots.rank(source, local)));
                runs.extend(cut(source, buffer, sources.collect()));
            }
        };
        let ids = |_| unreachable!("a direct exchange has no scratch");
        let rank = |domain| self.carrier(domain, slot);
        let embedding = self.embedding(&self.outer, domain, &rank, &place, &ids);
        Embedding { joins: false, ..embedding }.unit(scratch)
    }
}
