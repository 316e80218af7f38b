//! One rank stands for all of its domain, where all do alike.
//!
//! In a hierarchical plan the rank at place l of a domain does what the one at place 0 does, with every peer's place moved on by l:
//! turning all domains by l places changes nothing. Ranks that are turned into each other are busy with the same bytes at
//! the same time, so the simulation of the ranks at place 0 alone, one of each domain, tells the times of all: a message from place a
//! to place b is the same as that from place a - b to place 0. That is how half a million GPUs are simulated by 6,944.
//!
//! Where two ranks of a domain share something (the NIC of a pair), a flow stands for as many as there are on it, so each gets that
//! part of its rate.

use crate::plan::{Move, Operand, Plan, Program, Step};
use crate::topology::{ResourceId, Route, Topology};
use crate::types::Rank;
use std::collections::HashMap;

/// Domains of equal size, of which the ranks at place 0 stand for the others.
#[derive(Clone, Debug)]
pub(super) struct Fold {
    domains: usize,
    places: usize,
}

/// Domains whose ranks are all compared before one stands for the others; those between are taken to be like them.
const COMPARED: usize = 8;

impl Fold {
    /// The fold of a plan on a machine, if its ranks do alike.
    pub(super) fn of(plan: &Plan, topology: &Topology) -> Option<Fold> {
        let (ranks, layout) = (plan.problem.ranks, plan.problem.layout);
        if topology.gpus() != ranks || topology.runs.len() != 1 || layout != topology.layout() {
            return None;
        }
        let (domains, places) = (layout.domains(ranks), layout.domain_size(ranks, 0));
        let fold = Fold { domains, places };
        let contiguous = places > 1 && ranks == domains * places && fold.rank(domains - 1, places - 1) == ranks - 1;
        let compared = (0..COMPARED.min(domains)).map(|part| part * domains / COMPARED.min(domains));
        let alike = contiguous
            && layout.local(ranks - 1) == places - 1
            && compared.into_iter().all(|domain| fold.turns(plan, domain));
        alike.then_some(fold)
    }

    pub(super) fn places(&self) -> usize {
        self.places
    }

    pub(super) fn representatives(&self) -> impl Iterator<Item = Rank> + use<> {
        let places = self.places;
        (0..self.domains).map(move |domain| domain * places)
    }

    fn rank(&self, domain: usize, place: usize) -> Rank {
        domain * self.places + place
    }

    /// The link that stands for that between two ranks: turned so that the receiver is at place 0.
    pub(super) fn link(&self, from: Rank, to: Rank) -> (Rank, Rank) {
        let (a, b) = (from % self.places, to % self.places);
        (from - a + (a + self.places - b) % self.places, to - b)
    }

    /// The way of a link between representatives: the sender's part is that of the sender at place 0, the receiver's that of the
    /// receiver there.
    pub(super) fn route(&self, topology: &Topology, (from, to): (Rank, Rank)) -> Option<Route> {
        let place = from % self.places;
        let sent = topology.route(from - place, to + (self.places - place) % self.places)?;
        let received = topology.route(from, to)?;
        let resources = sent.resources[..sent.outgoing].iter().chain(&received.resources[received.outgoing..]);
        Some(Route { resources: resources.copied().collect(), ..received })
    }

    /// Of a link's turns, how many pass a resource; `known` remembers what holds for all units alike.
    pub(super) fn sharers(
        &self,
        topology: &Topology,
        (from, to): (Rank, Rank),
        id: ResourceId,
        known: &mut HashMap<u64, usize>,
    ) -> usize {
        if topology.resource(id).is_link() {
            return 1;
        }
        *known.entry(topology.number_in_unit(id)).or_insert_with(|| {
            let turned = |rank: Rank, by: usize| rank - rank % self.places + (rank % self.places + by) % self.places;
            let turns = (0..self.places).filter_map(|by| topology.route(turned(from, by), turned(to, by)));
            turns.filter(|route| route.resources.contains(&id)).count().max(1)
        })
    }

    /// Whether all ranks of a domain do what the first does, turned by their place.
    fn turns(&self, plan: &Plan, domain: usize) -> bool {
        let first = self.peers(&plan.program(self.rank(domain, 0)), 0);
        (1..self.places).all(|place| self.peers(&plan.program(self.rank(domain, place)), place) == first)
    }

    /// How often a program sends to and receives from whom, by domain and by how many places farther.
    fn peers(&self, program: &Program, place: usize) -> Vec<((bool, usize, usize), u64)> {
        let mut counts: HashMap<(bool, usize, usize), u64> = HashMap::new();
        let mut count = |one: &Move, rounds: u64| {
            let operands =
                one.sources.iter().map(|one| (false, one)).chain(one.destinations.iter().map(|one| (true, one)));
            for (sends, operand) in operands {
                if let Operand::Peer { rank, .. } = operand {
                    let farther = (rank % self.places + self.places - place) % self.places;
                    *counts.entry((sends, rank / self.places, farther)).or_default() += rounds;
                }
            }
        };
        for step in program.lanes.iter().flatten() {
            match step {
                Step::Move(one) => count(one, 1),
                Step::Repeat { count: rounds, body } => body.iter().for_each(|one| count(one, u64::from(*rounds))),
                Step::Wait { .. } => {}
            }
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_unstable();
        counts
    }
}
