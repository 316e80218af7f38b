//! Where ranks lie, and who carries what between domains: counted from the layout alone, apart from the plans that follow it.
//!
//! Of every domain each rank has a place, in ascending order. There are as many slots as the largest domain has places, and the places
//! of a domain carry all of them in order, evenly. A rank's home is the first slot that its place carries.
//!
//! Where a root hands everything out, or takes everything in, a buffer is cut into slices instead: as many as the smallest domain has ranks,
//! the root not counted. Each domain has one rank for each slice, in ascending order, and one with more ranks passes over the root's place first.

use crate::plan::Problem;
use crate::types::Rank;
use std::ops::Range;

pub(super) struct Places {
    /// The ranks of each domain, ascending.
    members: Vec<Vec<Rank>>,
    /// By the size of a domain: of each slot the place that carries it. Empty for sizes that no domain has.
    carriers: Vec<Vec<usize>>,
    /// How many slots there are.
    pub(super) width: usize,
    domain_of: Vec<u32>,
    place_of: Vec<u32>,
    root: Rank,
    /// How many slices there are.
    pub(super) slices: usize,
}

/// A rank by its domain and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) domain: usize,
    pub(super) place: usize,
}

impl Places {
    pub(super) fn of(problem: &Problem) -> Places {
        let mut members: Vec<Vec<Rank>> = vec![Vec::new(); problem.layout.domains(problem.ranks)];
        let (mut domain_of, mut place_of) = (Vec::with_capacity(problem.ranks), Vec::with_capacity(problem.ranks));
        for rank in 0..problem.ranks {
            let domain = problem.layout.domain(rank);
            domain_of.push(domain as u32);
            place_of.push(members[domain].len() as u32);
            members[domain].push(rank);
        }
        let width = members.iter().map(Vec::len).max().unwrap_or(0);
        let mut carriers = vec![Vec::new(); width + 1];
        for size in members.iter().map(Vec::len) {
            if carriers[size].is_empty() {
                carriers[size] = (0..width).map(|slot| carrier(size, width, slot)).collect();
            }
        }
        let root = problem.root;
        let others = members.iter().map(|members| members.len() - usize::from(members.contains(&root)));
        let slices = others.min().unwrap_or(0);
        Places { members, carriers, width, domain_of, place_of, root, slices }
    }

    pub(super) fn domains(&self) -> usize {
        self.members.len()
    }

    /// The ranks of a domain, ascending.
    pub(super) fn members(&self, domain: usize) -> &[Rank] {
        &self.members[domain]
    }

    pub(super) fn seat(&self, rank: Rank) -> Seat {
        Seat { domain: self.domain_of[rank] as usize, place: self.place_of[rank] as usize }
    }

    /// Where the root is.
    pub(super) fn root(&self) -> Seat {
        self.seat(self.root)
    }

    /// The ranks of a domain but the root.
    pub(super) fn others(&self, domain: usize) -> Vec<Rank> {
        self.members[domain].iter().copied().filter(|rank| *rank != self.root).collect()
    }

    /// The ranks of a domain that have the slices.
    pub(super) fn sliced(&self, domain: usize) -> Vec<Rank> {
        let (members, free) = (&self.members[domain], self.root().place);
        let passes = members.len() > self.slices;
        let kept = members.iter().enumerate().filter(|(place, _)| !passes || *place != free);
        kept.map(|(_, rank)| *rank).take(self.slices).collect()
    }

    fn carriers(&self, domain: usize) -> &[usize] {
        &self.carriers[self.members[domain].len()]
    }

    /// The rank of a domain that carries a slot.
    pub(super) fn carrier(&self, domain: usize, slot: usize) -> Rank {
        self.members[domain][self.carriers(domain)[slot]]
    }

    /// The slots that a place carries: in a row, and never none.
    pub(super) fn carried(&self, seat: Seat) -> Range<usize> {
        let carriers = self.carriers(seat.domain);
        let first = carriers.partition_point(|place| *place < seat.place);
        first..carriers.partition_point(|place| *place <= seat.place)
    }

    /// The rank of a domain that is at home in a slot.
    pub(super) fn at_home(&self, domain: usize, slot: usize) -> Option<Rank> {
        let carriers = self.carriers(domain);
        let is_first = slot == 0 || carriers[slot - 1] != carriers[slot];
        is_first.then(|| self.members[domain][carriers[slot]])
    }

    /// The ranks that are at home in a slot, domain by domain.
    pub(super) fn all_at_home(&self, slot: usize) -> impl Iterator<Item = Rank> {
        (0..self.domains()).filter_map(move |domain| self.at_home(domain, slot))
    }
}

/// The place that has slot `slot` of `width` in its even share: the first whose share ends behind it.
fn carrier(size: usize, width: usize, slot: usize) -> usize {
    ((slot + 1) * size).div_ceil(width) - 1
}
