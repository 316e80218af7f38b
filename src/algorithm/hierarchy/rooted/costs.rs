//! The formulas behind promises and prices; they know nothing of the plans.

use super::carriers::Carriers;
use super::{Rail, rail_problem};
use crate::algorithm::hierarchy::slots::Slots;
use crate::plan::{Problem, Promise, Stage};
use crate::topology::Layout;
use crate::types::Collective;

/// Of a broadcast or reduce in slots.
pub(super) struct Costs<'a> {
    problem: &'a Problem,
    rail: Rail,
    carriers: Carriers,
}

impl Costs<'_> {
    pub fn of(problem: &Problem, rail: Rail) -> Costs<'_> {
        Costs { problem, rail, carriers: Carriers::of(problem) }
    }

    fn domains(&self) -> usize {
        self.carriers.slots.domains
    }

    fn is_broadcast(&self) -> bool {
        self.problem.collective == Collective::Broadcast
    }

    /// Ranks that take part in what is done in a domain.
    fn members(&self, domain: usize) -> usize {
        if self.is_broadcast() { self.carriers.others(domain) } else { self.carriers.slots.size(domain) }
    }

    /// Of one tile what a carrier passes that passes most: to the others of its domain and along its rail, or from them.
    fn busiest_carrier(&self) -> usize {
        let domains = self.domains();
        let passed = |domain: usize| {
            let place = (domain + domains - self.carriers.home) % domains;
            self.members(domain) - 1 + self.rail.children(domains, place)
        };
        (0..domains).map(passed).max().unwrap_or(0)
    }

    /// To a domain and through it, or from it. What a carrier sends to another of its domain comes after what it got of the tile before
    /// last, so that every other tile adds a hop to a broadcast; what they add up waits for nothing.
    fn hops(&self) -> u32 {
        let domains = self.domains();
        let in_step = self.is_broadcast() && self.carriers.width > 1;
        let beside = if in_step { (self.problem.tiles - 1) / 2 } else { 0 };
        let way = |domain: usize| {
            let place = (domain + domains - self.carriers.home) % domains;
            self.rail.depth(place) + u32::from(self.members(domain) > 1)
        };
        1 + beside + (0..domains).map(way).max().unwrap_or(0)
    }

    pub fn promise(&self) -> Promise {
        let (tiles, width) = (u64::from(self.problem.tiles), self.carriers.width);
        let (all, most) = (width as u64 * tiles, width.max(self.busiest_carrier()) as u64 * tiles);
        let hops = self.hops();
        match self.is_broadcast() {
            true => Promise { hops, chunks_sent: most, chunks_received: all },
            false => Promise { hops, chunks_sent: all, chunks_received: most },
        }
    }

    /// The root's port passes everything in one stage, those of all others in another: over both no rank passes more than in one.
    pub fn stages(&self) -> Vec<Stage> {
        let (tiles, width) = (u64::from(self.problem.tiles), self.carriers.width as u64);
        let members = (0..self.domains()).map(|domain| self.carriers.slots.size(domain)).max().unwrap_or(1) as u64;
        let (all, most) = (width * tiles, width.max(members - 1) * tiles);
        let inside = Stage { hops: 1, ..Stage::default() };
        let [first, last] = match self.is_broadcast() {
            true => [
                Stage { chunks_out: all, messages_out: all, ..inside },
                Stage { chunks_in: most, messages_in: most, local_chunks: all, in_flight: 2, ..inside },
            ],
            false => [
                Stage { chunks_out: most, messages_out: most, local_chunks: all, ..inside },
                Stage { chunks_in: all, messages_in: all, ..inside },
            ],
        };
        let (rail, home) = (self.rail.factor(), self.carriers.home);
        // Each domain as one rank: whatever passes the rail crosses.
        let alone = Problem { layout: Layout::Blocks(1), ..rail_problem(self.problem, self.domains(), home) };
        let promise = rail.promise(&alone);
        let busiest = promise.chunks_sent.max(promise.chunks_received);
        let of_chain = |way: Stage| {
            let passed = way.crossing_chunks + way.crossing_fill_chunks;
            let crossing = Stage {
                crossing_hops: way.crossing_hops,
                crossing_chunks: busiest * tiles,
                crossing_fill_chunks: passed.saturating_sub(busiest),
                crossing_messages: busiest * tiles,
                local_chunks: tiles,
                pipelined: true,
                ..Stage::default()
            };
            [first, crossing, last].map(|stage| Stage { chain: way.chain, ..stage })
        };
        rail.stages(&alone).into_iter().flat_map(of_chain).collect()
    }
}

/// What a rank of the root's domain carries of a gather or scatter, in blocks: for the root, and for the busiest of the others, with its
/// own.
fn carried(problem: &Problem, slots: &Slots) -> (u64, u64) {
    let (home, root) = slots.place(problem.root);
    let items = |slot: usize| match slots.is_even() {
        true => slots.domains as u64,
        false => slots.items(slot).count() as u64,
    };
    let of_place = |place: usize| slots.carried(home, place).map(items).sum::<u64>();
    let others = (0..slots.size(home)).filter(|place| *place != root).map(of_place);
    (of_place(root), others.max().unwrap_or(0))
}

pub(super) fn promise_of_blocks(problem: &Problem) -> Promise {
    let slots = Slots::of(problem);
    let (_, most) = carried(problem, &slots);
    let tiles = u64::from(problem.tiles);
    let (all, most) = ((problem.ranks as u64 - 1) * tiles, most.max(1) * tiles);
    let hops = 1 + u32::from(most > tiles);
    match problem.collective {
        Collective::Gather => Promise { hops, chunks_sent: most, chunks_received: all },
        _ => Promise { hops, chunks_sent: all, chunks_received: most },
    }
}

/// Blocks between domains, and those between the root and the rest of its own: out of a port here, into one there.
pub(super) fn stages_of_blocks(problem: &Problem) -> Vec<Stage> {
    let slots = Slots::of(problem);
    let (of_root, most) = carried(problem, &slots);
    let tiles = u64::from(problem.tiles);
    let (home, _) = slots.place(problem.root);
    let others = problem.ranks as u64 - of_root;
    let crossing_chunks = of_root.max(most).saturating_sub(1) * tiles;
    let crossing = Stage {
        crossing_hops: 1,
        crossing_chunks,
        crossing_messages: crossing_chunks,
        local_chunks: crossing_chunks,
        pipelined: true,
        ..Stage::default()
    };
    let inside = Stage {
        hops: 1,
        chunks_out: others * tiles,
        chunks_in: most * tiles,
        messages_out: others * tiles,
        messages_in: most * tiles,
        ..Stage::default()
    };
    match (slots.size(home), problem.collective) {
        (1, _) => vec![crossing],
        (_, Collective::Gather) => {
            let (out, into) = (most * tiles, others * tiles);
            let turned = Stage { chunks_out: out, chunks_in: into, messages_out: out, messages_in: into, ..inside };
            vec![crossing, turned]
        }
        _ => vec![inside, crossing],
    }
}
