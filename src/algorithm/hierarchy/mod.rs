//! Hierarchies: plans for several domains, composed of plans for one domain and of plans between domains.
//!
//! With k domains of up to M ranks, there are M slots ([`slots`]), and rail s is the k carriers of slot s. An all-reduce is a
//! reduce-scatter of the slots in every domain, an all-reduce of each slot along its rail, an all-gather of the slots in every
//! domain. A reduce-scatter leaves the last part out, an all-gather the first, and an all-to-all first brings what is meant for
//! slot s of any domain to the own domain's carrier of s, so that it crosses along the rail. Each part is the registered plan of
//! another algorithm among those ranks, with ranks and chunks renamed ([`embed`]); nothing of it is written again here.
//!
//! | algorithm | in the domain | between domains |
//! |---|---|---|
//! | `hierarchical_ring` | `direct` | `ring` |
//! | `hierarchical_circulant` | `direct` | `circulant`, or `bruck` for an all-gather |
//! | `hierarchical_halving` | `direct` | `halving_doubling`, `recursive_halving` |
//! | `hierarchical_doubling` | `direct` | `recursive_doubling` |
//! | `hierarchical_one_shot` | `direct` | `one_shot`, or `direct` for an all-gather or reduce-scatter |
//! | `ring_2d` | `ring` | `ring` |
//! | `nvls_ring`, `nvls_circulant`, `nvls_doubling`, `nvls_one_shot` | `direct` through the switch | as above |
//! | `rail_all_to_all` | `direct` | `direct` |
//!
//! Hops are the sum over the parts. A rank of an even hierarchy of k domains of m sends, and receives, in the domain (m-1)/m of
//! the buffer for each part there, and between domains what the factor says of an m-th of it.
//!
//! They win wherever domains are faster inside than between: all but an m-th of the bytes stay inside, and all NICs work.
//!
//! ## Tiles
//! A rank does everything in one lane, tile after tile, each stage of a tile a whole factor plan. What overlaps, overlaps because
//! sends don't wait: what only sends at the start of the first stage is brought forward by one tile, and what only
//! receives at the end of the last is put off by one tile. So while tile t passes between domains, tile t+1 is
//! scattered and tile t-1 gathered inside. Lanes side by side would need channels of their own for each, of which there are
//! few, and set out in step: links that are shared fairly would carry all tiles through the first stage at
//! once, and nothing would overlap. Only folds in switches have a lane of their own ahead of the rest, since a fold begins when it is asked
//! for, not when its parts are sent. Why this order is sound is said in [`crate::plan::check::compose`].
//!
//! Source: Cho et al., "BlueConnect", 2019; the rails are those of NCCL's PXN.

pub(super) mod barrier;
mod embed;
mod hops;
pub(super) mod rooted;
mod slots;
mod tiles;
mod whole;

use super::Algorithm;
use super::power::{Core, Exchange, Role};
use super::write::{ceil_log2, serves};
use super::{bruck, circulant, direct, doubling, halving, ring};
use crate::plan::{Order, Plan, Problem, Promise, Stage, Through};
use crate::topology::Layout;
use crate::types::Collective;
use slots::Slots;
use whole::{Factors, Whole, factor_problem};

/// What joins domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Between {
    Ring,
    Circulant,
    Halving,
    Doubling,
    Direct,
    /// Everyone to everyone, all of it.
    OneShot,
}

/// What is done in a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inside {
    Direct,
    Ring,
    Switch,
}

/// A hierarchy of these two.
pub(super) struct Hierarchy {
    pub name: &'static str,
    pub inside: Inside,
    pub between: Between,
}

pub(super) const RING: Hierarchy =
    Hierarchy { name: "hierarchical_ring", inside: Inside::Direct, between: Between::Ring };
pub(super) const CIRCULANT: Hierarchy =
    Hierarchy { name: "hierarchical_circulant", inside: Inside::Direct, between: Between::Circulant };
pub(super) const HALVING: Hierarchy =
    Hierarchy { name: "hierarchical_halving", inside: Inside::Direct, between: Between::Halving };
pub(super) const DOUBLING: Hierarchy =
    Hierarchy { name: "hierarchical_doubling", inside: Inside::Direct, between: Between::Doubling };
pub(super) const RING_2D: Hierarchy = Hierarchy { name: "ring_2d", inside: Inside::Ring, between: Between::Ring };
pub(super) const NVLS_RING: Hierarchy = Hierarchy { name: "nvls_ring", inside: Inside::Switch, between: Between::Ring };
pub(super) const NVLS_CIRCULANT: Hierarchy =
    Hierarchy { name: "nvls_circulant", inside: Inside::Switch, between: Between::Circulant };
pub(super) const NVLS_DOUBLING: Hierarchy =
    Hierarchy { name: "nvls_doubling", inside: Inside::Switch, between: Between::Doubling };
pub(super) const RAILS: Hierarchy =
    Hierarchy { name: "rail_all_to_all", inside: Inside::Direct, between: Between::Direct };

pub(super) const ONE_SHOT: Hierarchy =
    Hierarchy { name: "hierarchical_one_shot", inside: Inside::Direct, between: Between::OneShot };
pub(super) const NVLS_ONE_SHOT: Hierarchy =
    Hierarchy { name: "nvls_one_shot", inside: Inside::Switch, between: Between::OneShot };

/// A rank sends to no more domains at a time: the messages alone take longer than other plans do, and its programs become long.
const MOST_AT_ONCE: usize = 1024;

impl Hierarchy {
    fn collectives(&self) -> &'static [Collective] {
        use Collective::*;
        match self.between {
            Between::Ring | Between::Circulant | Between::OneShot => &[AllReduce, AllGather, ReduceScatter],
            Between::Halving => &[AllReduce, ReduceScatter],
            Between::Doubling => &[AllReduce],
            Between::Direct => &[AllToAll],
        }
    }

    fn factors(&self, problem: &Problem) -> Factors {
        let inner: &'static dyn Algorithm = match self.inside {
            Inside::Direct | Inside::Switch => &direct::Direct,
            Inside::Ring => &ring::Ring,
        };
        let outer: &'static dyn Algorithm = match (self.between, problem.collective) {
            (Between::Ring, _) => &ring::Ring,
            (Between::Circulant, Collective::AllGather) => &bruck::Bruck,
            (Between::Circulant, _) => &circulant::Circulant,
            (Between::Halving, Collective::ReduceScatter) => &halving::RecursiveHalving,
            (Between::Halving, _) => &halving::HalvingDoubling,
            (Between::Doubling, _) => &doubling::RecursiveDoubling,
            (Between::OneShot, Collective::AllReduce) => &direct::OneShot,
            (Between::Direct | Between::OneShot, _) => &direct::Direct,
        };
        let through = if self.inside == Inside::Switch { Through::Switch } else { Through::Messages };
        Factors { inner, outer, through }
    }

    /// What can be said against domains of different sizes.
    fn fits_uneven(&self, problem: &Problem, slots: &Slots) -> Result<(), String> {
        match (self.inside, self.between, problem.collective) {
            (Inside::Ring, ..) => Err("needs domains of one size".to_owned()),
            (_, Between::Ring, _) if slots.domains > hops::MOST_IN_RING => {
                Err(format!("goes round at most {} domains of different sizes", hops::MOST_IN_RING))
            }
            (_, Between::Ring | Between::Direct, _) | (.., Collective::AllReduce) => Ok(()),
            _ => Err("needs domains of one size".to_owned()),
        }
    }
}

impl Algorithm for Hierarchy {
    fn name(&self) -> &'static str {
        self.name
    }

    fn fits(&self, problem: &Problem) -> Result<(), String> {
        serves(problem, self.collectives())?;
        if self.inside == Inside::Switch && !problem.switch {
            return Err("needs switches that fold and copy, which these domains have not".to_owned());
        }
        let domains = problem.layout.domains(problem.ranks);
        if domains < 2 {
            return Err("joins domains, and there is only one".to_owned());
        }
        let slots = Slots::of(problem);
        if self.between == Between::OneShot && domains > MOST_AT_ONCE {
            return Err(format!("sends to at most {MOST_AT_ONCE} domains at once"));
        }
        if slots.width == 1 {
            return Err("divides the work of a domain, and each has a single rank".to_owned());
        }
        if problem.collective == Collective::AllToAll && problem.uneven {
            return Err("sends blocks through ranks that don't know their sizes".to_owned());
        }
        let chunks = (slots.width * domains).checked_mul(2 * problem.tiles as usize);
        if chunks.is_none_or(|chunks| chunks > u32::MAX as usize) {
            return Err(format!("has more chunks than can be numbered ({} tiles)", problem.tiles));
        }
        if slots.is_even() { Ok(()) } else { self.fits_uneven(problem, &slots) }
    }

    fn pipelines(&self) -> bool {
        true
    }

    fn plan(&self, problem: &Problem) -> Plan {
        let whole = Whole::new(problem, &self.factors(problem));
        let blocks = whole.slots.width as u32 * whole.pieces;
        let parts = whole.parts();
        Plan::new(self.name, *problem, blocks, move |rank| whole.program(rank)).composed_of(parts)
    }

    fn promise(&self, problem: &Problem) -> Promise {
        let costs = Costs::of(self, problem);
        let tiles = u64::from(problem.tiles);
        let (sent, received) = costs.busiest();
        Promise { hops: costs.hops(), chunks_sent: sent * tiles, chunks_received: received * tiles }
    }

    fn order(&self, problem: &Problem, chunk: u32) -> Order {
        let (slots, factors) = (Slots::of(problem), self.factors(problem));
        let is_even = slots.is_even();
        let outer = factor_problem(problem, is_even, problem.collective, slots.domains);
        let (slot, piece) = match problem.collective {
            Collective::AllReduce => {
                let pieces = factors.outer.plan(&outer).blocks;
                ((chunk / pieces) as usize % slots.width, chunk % pieces)
            }
            _ => {
                let (domain, local) = slots.place((chunk / problem.tiles) as usize);
                (slots.carried(domain, local).start, domain as u32)
            }
        };
        let of_domain = |domain: usize| {
            let inner = factor_problem(problem, is_even, Collective::ReduceScatter, slots.size(domain));
            let order = factors.inner.order(&inner, slots.carrier(domain, slot) as u32);
            replaced(&order, &|local| Order::Rank(slots.rank(domain, local)))
        };
        replaced(&factors.outer.order(&outer, piece), &of_domain)
    }

    fn stages(&self, problem: &Problem) -> Vec<Stage> {
        Costs::of(self, problem).stages()
    }
}

/// An order with something in the place of each rank.
fn replaced(order: &Order, part: &dyn Fn(usize) -> Order) -> Order {
    match order {
        Order::Rank(rank) => part(*rank),
        Order::Fold(parts) => Order::Fold(parts.iter().map(|one| replaced(one, part)).collect()),
    }
}

/// Chunks of one tile that a rank sends and receives.
type Traffic = (u64, u64);

fn plus(one: Traffic, other: Traffic) -> Traffic {
    (one.0 + other.0, one.1 + other.1)
}

/// The formulas behind the promise and the price, in chunks of one tile; they know nothing of the plan.
struct Costs<'a> {
    hierarchy: &'a Hierarchy,
    problem: &'a Problem,
    slots: Slots,
    is_even: bool,
    /// How many ranks have their blocks in each slot.
    items: Vec<u64>,
    /// Chunks of a slot.
    pieces: u64,
}

impl Costs<'_> {
    fn of<'a>(hierarchy: &'a Hierarchy, problem: &'a Problem) -> Costs<'a> {
        let slots = Slots::of(problem);
        let is_even = slots.is_even();
        let items = match (problem.collective, is_even) {
            (Collective::AllReduce, _) => Vec::new(),
            (_, true) => vec![slots.domains as u64; slots.width],
            (_, false) => (0..slots.width).map(|slot| slots.items(slot).count() as u64).collect(),
        };
        let pieces = match hierarchy.between {
            Between::Ring | Between::Circulant => slots.domains as u64,
            Between::Halving => Core::new(slots.domains).power as u64,
            Between::Doubling | Between::Direct | Between::OneShot => 1,
        };
        Costs { hierarchy, problem, slots, is_even, items, pieces }
    }

    /// What a place carries, in chunks.
    fn carried(&self, domain: usize, local: usize) -> u64 {
        let carried = self.slots.carried(domain, local);
        match self.problem.collective {
            Collective::AllReduce => carried.len() as u64 * self.pieces,
            _ => carried.map(|slot| self.items[slot]).sum(),
        }
    }

    fn everything(&self) -> u64 {
        match self.problem.collective {
            Collective::AllReduce => self.slots.width as u64 * self.pieces,
            _ => self.problem.ranks as u64,
        }
    }

    /// What a rank does in its domain before anything crosses, and after.
    fn inside(&self, domain: usize, local: usize) -> [Traffic; 2] {
        let size = self.slots.size(domain) as u64;
        if size == 1 {
            return [(0, 0); 2];
        }
        let (own, all) = (self.carried(domain, local), self.everything());
        let scatter = match self.hierarchy.inside {
            Inside::Direct | Inside::Switch => (all - own, own * (size - 1)),
            Inside::Ring => (all - own, all - own),
        };
        let gather = (scatter.1, scatter.0);
        match self.problem.collective {
            Collective::AllReduce => [scatter, gather],
            Collective::AllGather => [(0, 0), gather],
            _ => [scatter, (0, 0)],
        }
    }

    /// What a rank does between domains.
    fn between(&self, domain: usize, local: usize) -> Traffic {
        let slots = self.slots.carried(domain, local);
        slots.map(|slot| self.between_in(domain, slot)).fold((0, 0), plus)
    }

    fn between_in(&self, domain: usize, slot: usize) -> Traffic {
        let domains = self.slots.domains;
        let others = domains as u64 - 1;
        let has = |domain: usize| u64::from(self.slots.item(domain % domains, slot).is_some());
        let (own, next, previous) = (has(domain), has(domain + 1), has(domain + domains - 1));
        match (self.problem.collective, self.hierarchy.between) {
            (Collective::AllReduce, Between::Ring | Between::Circulant) => (2 * others, 2 * others),
            (Collective::AllReduce, Between::OneShot) => (others, others),
            (Collective::AllReduce, between) => {
                let core = Core::new(domains);
                let (rounds, whole) = match between {
                    Between::Halving => (2 * (core.power as u64 - 1), core.power as u64),
                    _ => (core.rounds() as u64, 1),
                };
                let moved = match core.role(domain) {
                    Role::Leads { extra: None, .. } => rounds,
                    Role::Leads { extra: Some(_), .. } => rounds + whole,
                    Role::Led { .. } => whole,
                };
                (moved, moved)
            }
            (Collective::AllToAll, _) => {
                let size = self.slots.size(domain);
                let received = own * (self.problem.ranks - size) as u64;
                ((self.items[slot] - own) * size as u64, received)
            }
            // Every block but that of the domain that is to have it last.
            (Collective::AllGather, Between::Ring) => (self.items[slot] - next, self.items[slot] - own),
            (_, Between::Ring) => (self.items[slot] - own, self.items[slot] - previous),
            (_, Between::Halving) => {
                let problem = factor_problem(self.problem, true, Collective::ReduceScatter, domains);
                let promise = halving::RecursiveHalving.promise(&problem);
                (promise.chunks_sent, promise.chunks_received)
            }
            _ => (others, others),
        }
    }

    /// Places that stand for all: in an even hierarchy the ranks of a domain do as much as each other.
    fn places(&self) -> impl Iterator<Item = (usize, usize)> {
        let locals = |domain| if self.is_even { 1 } else { self.slots.size(domain) };
        (0..self.slots.domains).flat_map(move |domain| (0..locals(domain)).map(move |local| (domain, local)))
    }

    fn busiest(&self) -> Traffic {
        let most = |most: Traffic, (domain, local)| {
            let [before, after] = self.inside(domain, local);
            let all = plus(plus(before, after), self.between(domain, local));
            (most.0.max(all.0), most.1.max(all.1))
        };
        self.places().fold((0, 0), most)
    }

    fn crossing_hops(&self) -> u32 {
        let domains = self.slots.domains;
        let ways = if self.problem.collective == Collective::AllReduce { 2 } else { 1 };
        let core = Core::new(domains);
        let hops = match self.hierarchy.between {
            Between::Ring => ways * (domains - 1),
            Between::Circulant => ways * ceil_log2(domains),
            Between::Halving if ways == 2 => 2 * (core.rounds() + core.led()),
            Between::Halving | Between::Doubling => core.hops(),
            Between::Direct | Between::OneShot => 1,
        };
        hops as u32
    }

    /// Messages of a tile that leave a rank for other domains: those of the factor, which may be one for many chunks, along every rail
    /// that the rank stands on.
    fn crossing_messages(&self, between: Traffic) -> u64 {
        let runs = self.places().map(|(domain, local)| self.slots.carried(domain, local).len() as u64).max();
        let of_factor = match self.hierarchy.between {
            Between::Direct | Between::OneShot => self.slots.domains as u64 - 1,
            Between::Ring => self.crossing_hops().into(),
            Between::Circulant => u64::from(self.crossing_hops()) + self.rounds_in_two_runs(),
            Between::Halving | Between::Doubling => self.messages_of_longest(),
        };
        let is_blocked = matches!(self.problem.layout, Layout::Blocks(_));
        match self.problem.collective {
            Collective::AllReduce | Collective::ReduceScatter => of_factor * runs.unwrap_or(1),
            // What is packed for a domain lies in a row if its ranks do and it is not cut into tiles.
            Collective::AllToAll if self.problem.tiles == 1 && is_blocked => of_factor * runs.unwrap_or(1),
            _ => between.0.max(between.1),
        }
    }

    /// Rounds of a circulant plan in which the blocks of some domain go round the end, so that they are two runs and two messages.
    fn rounds_in_two_runs(&self) -> u64 {
        let ways = if self.problem.collective == Collective::AllReduce { 2 } else { 1 };
        let held = std::iter::successors(Some(self.slots.domains), |held| Some(held.div_ceil(2)));
        ways * held.take_while(|held| *held > 1).filter(|held| held / 2 > 1).count() as u64
    }

    /// Of a factor that makes pairs, the messages for whose time ports are busy on the longest chain.
    fn messages_of_longest(&self) -> u64 {
        match self.exchange() {
            Some(exchange) if exchange.core.led() > 0 => exchange.of_messages().longest(),
            _ => self.crossing_hops().into(),
        }
    }

    fn exchange(&self) -> Option<Exchange> {
        let between = factor_problem(self.problem, self.is_even, self.problem.collective, self.slots.domains);
        match (self.hierarchy.between, self.problem.collective) {
            (Between::Doubling, _) => Some(doubling::exchange(&between)),
            (Between::Halving, Collective::ReduceScatter) => Some(halving::scatter_exchange(&between)),
            (Between::Halving, _) => Some(halving::halving_exchange(&between)),
            _ => None,
        }
    }

    /// What the longest chain of a factor that makes pairs to get a power of two waits for besides what passes the busiest port: a leader
    /// takes what is handed in before the rounds, and gives the result back after them, each in another direction.
    fn idle(&self) -> u64 {
        let Some(exchange) = self.exchange().filter(|exchange| exchange.core.led() > 0) else { return 0 };
        let between = factor_problem(self.problem, self.is_even, self.problem.collective, self.slots.domains);
        let promise = self.hierarchy.factors(self.problem).outer.promise(&between);
        let carried = |(domain, local)| self.slots.carried(domain, local).len() as u64;
        let runs = self.places().map(carried).max().unwrap_or(1);
        exchange.longest().saturating_sub(promise.chunks_sent.max(promise.chunks_received)) * runs
    }

    /// Hops of one part in a domain, if any has two ranks.
    fn inner_hops(&self) -> u32 {
        match self.hierarchy.inside {
            Inside::Direct | Inside::Switch => 1,
            Inside::Ring => self.slots.width as u32 - 1,
        }
    }

    /// Every tile goes through the middle in its turn; of a part in a domain its first hop, or its last, is under way meanwhile.
    fn hops(&self) -> u32 {
        if !self.is_even {
            return hops::counted(self.hierarchy, self.problem, &self.slots);
        }
        let parts = if self.problem.collective == Collective::AllReduce { 2 } else { 1 };
        self.problem.tiles * (self.crossing_hops() + parts * (self.inner_hops() - 1)) + parts
    }

    fn stages(&self) -> Vec<Stage> {
        let tiles = u64::from(self.problem.tiles);
        let (mut inside, mut between, mut added) = ([(0, 0); 2], (0, 0), [0; 2]);
        for (domain, local) in self.places() {
            let raise = |most: &mut Traffic, one: Traffic| *most = (most.0.max(one.0), most.1.max(one.1));
            let [scatter, gather] = self.inside(domain, local);
            let others = (self.slots.size(domain) as u64 - 1).max(1);
            match self.hierarchy.inside {
                // The switch adds up the others' chunks, and copies what goes to all of them.
                Inside::Switch => {
                    raise(&mut inside[0], (scatter.0, scatter.1 / others));
                    raise(&mut inside[1], (gather.0 / others, gather.1));
                    added = [added[0].max(scatter.1 / others), added[1].max(gather.1 / others)];
                }
                Inside::Direct | Inside::Ring => {
                    raise(&mut inside[0], scatter);
                    raise(&mut inside[1], gather);
                    added = [added[0].max(scatter.1), added[1].max(gather.1)];
                }
            }
            raise(&mut between, self.between(domain, local));
        }
        let through = if self.hierarchy.inside == Inside::Switch { Through::Switch } else { Through::Messages };
        // A switch is asked for one block after the other where they don't lie in a row.
        let times = match self.problem.collective {
            Collective::ReduceScatter => self.slots.domains as u32,
            _ => 1,
        };
        // All of a slot travels at once where it lies in a row; else each chunk by itself.
        let others = self.slots.width as u64 - 1;
        let messages = |chunks: u64| match (self.hierarchy.inside, self.problem.collective) {
            (Inside::Switch, _) => 0,
            (_, Collective::AllReduce) => others * tiles,
            _ => chunks * tiles,
        };
        let domain_stage = |traffic: Traffic, local_chunks: u64, asked: u32| Stage {
            asked,
            hops: self.inner_hops() * if asked > 0 { times } else { 1 },
            chunks_out: traffic.0 * tiles,
            chunks_in: traffic.1 * tiles,
            local_chunks: local_chunks * tiles,
            messages_out: messages(traffic.0),
            messages_in: messages(traffic.1),
            through,
            ..Stage::default()
        };
        let crossing = Stage {
            crossing_hops: self.crossing_hops(),
            crossing_chunks: between.0.max(between.1) * tiles,
            idle_chunks: self.idle() * tiles,
            local_chunks: between.1 * tiles,
            crossing_messages: self.crossing_messages(between) * tiles,
            ..Stage::default()
        };
        let [scatter, gather] = [0, 1].map(|part| {
            let is_there = inside[part] != (0, 0);
            let is_fold = part == 0 && through == Through::Switch;
            is_there.then(|| domain_stage(inside[part], added[part], u32::from(is_fold)))
        });
        scatter.into_iter().chain([crossing]).chain(gather).collect()
    }
}
