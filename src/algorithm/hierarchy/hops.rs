//! The longest chain of messages through domains of different sizes, where no closed form is known: a count for every rank of the
//! messages on the longest chain that ends there, brought up to date round by round. It knows the rounds of the factors and the
//! order of the stages, and nothing of the plan.

use super::slots::Slots;
use super::{Between, Hierarchy, Inside};
use crate::algorithm::power::{Core, Role};
use crate::plan::Problem;
use crate::types::{Collective, Rank};

/// Rounds along a ring are counted one by one for every domain; there are too many of them for more domains than this.
pub(super) const MOST_IN_RING: usize = 128;

/// The hops of a hierarchy with direct exchange in its domains.
pub(super) fn counted(hierarchy: &Hierarchy, problem: &Problem, slots: &Slots) -> u32 {
    let mut counts = Counts { slots, now: vec![0; problem.ranks] };
    // Folds in switches have a lane of their own, in which the next tile is offered before this one is folded.
    let mut ahead = (hierarchy.inside == Inside::Switch).then(|| Counts { slots, now: vec![0; problem.ranks] });
    let mut offered = counts.now.clone();
    let mut gathered: Option<Vec<u32>> = None;
    let collective = problem.collective;
    let late = |counts: &mut Counts, sent: Option<Vec<u32>>| {
        if let Some(sent) = sent {
            counts.exchange(&sent);
        }
    };
    for _ in 0..problem.tiles {
        match &mut ahead {
            _ if collective == Collective::AllGather => {}
            Some(ahead) => {
                let offered = std::mem::replace(&mut offered, ahead.now.clone());
                ahead.exchange(&offered);
                (0..problem.ranks).for_each(|rank| counts.now[rank] = counts.now[rank].max(ahead.now[rank]));
            }
            None => {
                counts.exchange(&offered);
                offered = counts.now.clone();
            }
        }
        if collective == Collective::AllToAll {
            let sent = counts.now.clone();
            if let Some(sent) = gathered.replace(sent) {
                counts.along_rails(&sent);
            }
            continue;
        }
        (0..slots.width).for_each(|slot| counts.between(hierarchy.between, collective, slot));
        if collective != Collective::ReduceScatter {
            late(&mut counts, gathered.take());
            gathered = Some(counts.now.clone());
        }
    }
    match collective {
        Collective::AllToAll => counts.along_rails(&gathered.expect("there is a tile")),
        _ => late(&mut counts, gathered),
    }
    counts.now.into_iter().max().unwrap_or(0)
}

struct Counts<'a> {
    slots: &'a Slots,
    now: Vec<u32>,
}

impl Counts<'_> {
    fn hear(&mut self, rank: Rank, sent: u32) {
        self.now[rank] = self.now[rank].max(sent + 1);
    }

    /// Everyone hears from all others of its domain what they sent at these counts.
    fn exchange(&mut self, sent: &[u32]) {
        for domain in 0..self.slots.domains {
            let ranks: Vec<Rank> = (0..self.slots.size(domain)).map(|local| self.slots.rank(domain, local)).collect();
            for &rank in &ranks {
                if let Some(most) = ranks.iter().filter(|other| **other != rank).map(|other| sent[*other]).max() {
                    self.hear(rank, most);
                }
            }
        }
    }

    fn carriers(&self, slot: usize) -> Vec<Rank> {
        (0..self.slots.domains).map(|domain| self.slots.rank(domain, self.slots.carrier(domain, slot))).collect()
    }

    fn between(&mut self, between: Between, collective: Collective, slot: usize) {
        let carriers = self.carriers(slot);
        let domains = carriers.len();
        match (between, collective) {
            (Between::Ring, Collective::AllReduce) => {
                (0..2 * (domains - 1)).for_each(|_| self.turn(&carriers, 1, |_| true));
            }
            (Between::Ring, _) => {
                let has: Vec<bool> = (0..domains).map(|domain| self.slots.item(domain, slot).is_some()).collect();
                // In round r the block of the domain r before is heard, or one that has r more domains to go.
                let ahead = |domain: usize, round: usize| match collective {
                    Collective::AllGather => (domain + domains - round) % domains,
                    _ => (domain + domains - 1 - round) % domains,
                };
                for round in 1..domains {
                    self.turn(&carriers, 1, |domain| has[ahead(domain, round)]);
                }
            }
            (Between::Circulant, _) => {
                let halves = std::iter::successors(Some(domains), |held| Some(held.div_ceil(2)));
                let skips: Vec<usize> = halves.skip(1).take(super::ceil_log2(domains)).collect();
                skips.iter().for_each(|skip| self.turn(&carriers, *skip, |_| true));
                skips.iter().rev().for_each(|skip| self.turn(&carriers, domains - skip, |_| true));
            }
            (Between::OneShot, _) => {
                let sent: Vec<u32> = carriers.iter().map(|rank| self.now[*rank]).collect();
                for (domain, rank) in carriers.iter().enumerate() {
                    let others = sent.iter().enumerate().filter(|(other, _)| *other != domain);
                    self.hear(*rank, others.map(|(_, sent)| *sent).max().expect("there are several domains"));
                }
            }
            (between, _) => self.pairs(between, &carriers),
        }
    }

    /// Every carrier hears from the one `distance` before it, unless there is nothing to say.
    fn turn(&mut self, carriers: &[Rank], distance: usize, hears: impl Fn(usize) -> bool) {
        let sent: Vec<u32> = carriers.iter().map(|rank| self.now[*rank]).collect();
        for domain in (0..carriers.len()).filter(|domain| hears(*domain)) {
            self.hear(carriers[domain], sent[(domain + carriers.len() - distance) % carriers.len()]);
        }
    }

    /// Exchanges between participants at distances 1, 2, 4, ..., there and, for halving, back.
    fn pairs(&mut self, between: Between, carriers: &[Rank]) {
        let core = Core::new(carriers.len());
        let pairs: Vec<(usize, usize)> = (0..carriers.len())
            .filter_map(|domain| match core.role(domain) {
                Role::Led { leader } => Some((domain, leader)),
                Role::Leads { .. } => None,
            })
            .collect();
        for (led, leader) in &pairs {
            self.hear(carriers[*leader], self.now[carriers[*led]]);
        }
        let there = 0..core.rounds();
        let back = if between == Between::Halving { core.rounds() } else { 0 };
        for round in there.chain((0..back).rev()) {
            let leaders: Vec<Rank> = (0..core.power).map(|index| carriers[core.leader(index)]).collect();
            let sent: Vec<u32> = leaders.iter().map(|rank| self.now[*rank]).collect();
            for (index, rank) in leaders.iter().enumerate() {
                self.hear(*rank, sent[index ^ (1 << round)]);
            }
        }
        for (led, leader) in &pairs {
            self.hear(carriers[*led], self.now[carriers[*leader]]);
        }
    }

    /// Every rank hears from the other carriers of its slot what they sent at these counts.
    fn along_rails(&mut self, sent: &[u32]) {
        for slot in 0..self.slots.width {
            let carriers = self.carriers(slot);
            for (domain, rank) in carriers.iter().enumerate() {
                let others = carriers.iter().enumerate().filter(|(other, _)| *other != domain);
                if self.slots.item(domain, slot).is_some()
                    && let Some(most) = others.map(|(_, rank)| sent[*rank]).max()
                {
                    self.hear(*rank, most);
                }
            }
        }
    }
}
