//! Which ranks share a domain: all that an algorithm is told of a machine.

use crate::types::Rank;
use std::collections::HashSet;
use std::sync::{Mutex, OnceLock};

/// The domain of every rank.
///
/// A small value that is part of every problem and so a key; a listed layout is kept once per process and never freed, and there
/// are as many as a process has ways to place its ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// No structure is known, or none matters: one domain.
    Flat,
    /// Domain after domain, this many ranks each; the last may be smaller.
    Blocks(u32),
    /// Rank after rank to the next of so many domains, round and round.
    Interleaved(u32),
    /// The domain of each rank, numbered from 0 in the order of their first ranks.
    Listed(&'static [u32]),
}

impl Layout {
    /// The layout of these domain numbers, in its simplest form. Domains are renumbered in the order of their first ranks.
    pub fn of(domains: &[u32]) -> Layout {
        let mut known: Vec<u32> = Vec::new();
        let numbered: Vec<u32> = domains
            .iter()
            .map(|domain| match known.iter().position(|one| one == domain) {
                Some(number) => number as u32,
                None => {
                    known.push(*domain);
                    known.len() as u32 - 1
                }
            })
            .collect();
        let (ranks, count) = (numbered.len(), known.len().max(1) as u32);
        let first = numbered.iter().filter(|domain| **domain == 0).count() as u32;
        let simple = [Layout::Flat, Layout::Blocks(first.max(1)), Layout::Interleaved(count)];
        let fits = |layout: &Layout| (0..ranks).all(|rank| layout.domain(rank) == numbered[rank] as usize);
        simple.into_iter().find(fits).unwrap_or_else(|| Layout::Listed(kept(numbered)))
    }

    /// The domain of a rank.
    ///
    /// # Panics
    /// If a listed layout has no such rank.
    pub fn domain(&self, rank: Rank) -> usize {
        match self {
            Layout::Flat => 0,
            Layout::Blocks(size) => rank / *size as usize,
            Layout::Interleaved(domains) => rank % *domains as usize,
            Layout::Listed(domains) => domains[rank] as usize,
        }
    }

    /// How many domains so many ranks lie in.
    pub fn domains(&self, ranks: usize) -> usize {
        match self {
            Layout::Flat => 1.min(ranks),
            Layout::Blocks(size) => ranks.div_ceil(*size as usize),
            Layout::Interleaved(domains) => ranks.min(*domains as usize),
            Layout::Listed(domains) => domains[..ranks].iter().max().map_or(0, |last| *last as usize + 1),
        }
    }

    /// How many of `ranks` lie in a domain.
    pub fn domain_size(&self, ranks: usize, domain: usize) -> usize {
        match self {
            Layout::Flat => ranks,
            Layout::Blocks(size) => (ranks - domain * *size as usize).min(*size as usize),
            Layout::Interleaved(domains) => (ranks - domain).div_ceil(*domains as usize),
            Layout::Listed(domains) => domains[..ranks].iter().filter(|one| **one as usize == domain).count(),
        }
    }

    /// The place of a rank among those of its domain, counted from 0.
    pub fn local(&self, rank: Rank) -> usize {
        match self {
            Layout::Flat => rank,
            Layout::Blocks(size) => rank % *size as usize,
            Layout::Interleaved(domains) => rank / *domains as usize,
            Layout::Listed(domains) => domains[..rank].iter().filter(|one| **one == domains[rank]).count(),
        }
    }

    /// The rank at a place of a domain; the inverse of [`Layout::domain`] and [`Layout::local`].
    ///
    /// # Panics
    /// If a listed layout has no such place.
    pub fn rank(&self, domain: usize, local: usize) -> Rank {
        match self {
            Layout::Flat => local,
            Layout::Blocks(size) => domain * *size as usize + local,
            Layout::Interleaved(domains) => local * *domains as usize + domain,
            Layout::Listed(domains) => {
                let mut members = (0..domains.len()).filter(|rank| domains[*rank] as usize == domain);
                members.nth(local).expect("the domain has that many ranks")
            }
        }
    }

    /// Whether every domain has as many ranks.
    pub fn is_even(&self, ranks: usize) -> bool {
        let domains = self.domains(ranks);
        (1..domains).all(|domain| self.domain_size(ranks, domain) == self.domain_size(ranks, 0))
    }
}

/// One copy of every list that was asked for.
fn kept(domains: Vec<u32>) -> &'static [u32] {
    static KEPT: OnceLock<Mutex<HashSet<&'static [u32]>>> = OnceLock::new();
    let mut kept = KEPT.get_or_init(Mutex::default).lock().expect("no panic under this lock");
    if let Some(known) = kept.get(&domains[..]) {
        return known;
    }
    let domains: &'static [u32] = domains.leak();
    kept.insert(domains);
    domains
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_take_their_simplest_form() {
        assert_eq!(Layout::of(&[7, 7, 7]), Layout::Flat);
        assert_eq!(Layout::of(&[0, 0, 1, 1]), Layout::Blocks(2));
        assert_eq!(Layout::of(&[5, 5, 5, 2, 2]), Layout::Blocks(3));
        assert_eq!(Layout::of(&[0, 1, 2, 0, 1, 2]), Layout::Interleaved(3));
        assert_eq!(Layout::of(&[0, 0, 1, 1, 1]), Layout::Listed(&[0, 0, 1, 1, 1]));
        assert_eq!(Layout::of(&[9, 9, 4, 4, 4]), Layout::of(&[0, 0, 1, 1, 1]));
    }

    #[test]
    fn places_and_ranks_are_inverse() {
        let cases: [&[u32]; 6] =
            [&[0; 5], &[0, 0, 1, 1], &[0, 0, 0, 1], &[0, 1, 0, 1, 0], &[0, 0, 1, 1, 1], &[3, 1, 1, 3, 2]];
        for domains in cases {
            let (layout, ranks) = (Layout::of(domains), domains.len());
            let mut seen = 0;
            for domain in 0..layout.domains(ranks) {
                for local in 0..layout.domain_size(ranks, domain) {
                    let rank = layout.rank(domain, local);
                    assert_eq!((layout.domain(rank), layout.local(rank)), (domain, local), "{layout:?}");
                    seen += 1;
                }
            }
            assert_eq!(seen, ranks, "{layout:?}");
        }
    }
}
