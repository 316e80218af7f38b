//! Domains of any size side by side: slots.
//!
//! There are as many slots as the largest domain has ranks. Every domain carries every slot: a smaller one has ranks that carry
//! several, so that rail `s`, the carriers of slot `s` in all domains, always has a rank in each.

use crate::plan::Problem;
use crate::topology::Layout;
use crate::types::Rank;
use std::ops::Range;

/// How the ranks of a problem lie in domains, and which slots they carry.
pub(super) struct Slots {
    layout: Layout,
    ranks: usize,
    /// How many domains there are.
    pub domains: usize,
    /// Ranks of the largest domain.
    pub width: usize,
    /// Of a listed layout the ranks of each domain, and each rank's place in its own.
    listed: Option<(Vec<Vec<Rank>>, Vec<usize>)>,
}

impl Slots {
    pub fn of(problem: &Problem) -> Slots {
        let Problem { layout, ranks, .. } = *problem;
        let domains = layout.domains(ranks);
        let listed = matches!(layout, Layout::Listed(_)).then(|| {
            let mut members: Vec<Vec<Rank>> = vec![Vec::new(); domains];
            let mut locals = Vec::with_capacity(ranks);
            for rank in 0..ranks {
                let domain = &mut members[layout.domain(rank)];
                locals.push(domain.len());
                domain.push(rank);
            }
            (members, locals)
        });
        let mut slots = Slots { layout, ranks, domains, width: 0, listed };
        slots.width = (0..domains).map(|domain| slots.size(domain)).max().unwrap_or(0);
        slots
    }

    /// Whether all domains have as many ranks.
    pub fn is_even(&self) -> bool {
        self.domains * self.width == self.ranks
    }

    /// Ranks in a domain.
    pub fn size(&self, domain: usize) -> usize {
        match &self.listed {
            Some((members, _)) => members[domain].len(),
            None => self.layout.domain_size(self.ranks, domain),
        }
    }

    /// The rank at a place of a domain.
    pub fn rank(&self, domain: usize, local: usize) -> Rank {
        match &self.listed {
            Some((members, _)) => members[domain][local],
            None => self.layout.rank(domain, local),
        }
    }

    /// The domain of a rank and its place there.
    pub fn place(&self, rank: Rank) -> (usize, usize) {
        let local = match &self.listed {
            Some((_, locals)) => locals[rank],
            None => self.layout.local(rank),
        };
        (self.layout.domain(rank), local)
    }

    /// The slots that a place of a domain carries; never none.
    pub fn carried(&self, domain: usize, local: usize) -> Range<usize> {
        let size = self.size(domain);
        local * self.width / size..(local + 1) * self.width / size
    }

    /// The place in a domain that carries a slot; the inverse of [`Slots::carried`].
    pub fn carrier(&self, domain: usize, slot: usize) -> usize {
        ((slot + 1) * self.size(domain) - 1) / self.width
    }

    /// The rank of a domain that is the first to have its blocks in a slot: each rank has one such slot, the first that it
    /// carries.
    pub fn item(&self, domain: usize, slot: usize) -> Option<Rank> {
        let local = self.carrier(domain, slot);
        (self.carried(domain, local).start == slot).then(|| self.rank(domain, local))
    }

    /// The ranks whose blocks lie in a slot, in the order of their domains.
    pub fn items(&self, slot: usize) -> impl Iterator<Item = Rank> {
        (0..self.domains).filter_map(move |domain| self.item(domain, slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Collective;

    #[test]
    fn every_domain_carries_every_slot_once() {
        let layouts = [
            (13, Layout::Blocks(7)),
            (15, Layout::Blocks(8)),
            (136, Layout::Blocks(72)),
            (12, Layout::Interleaved(4)),
            (7, Layout::Interleaved(3)),
            (8, Layout::of(&[0, 1, 1, 2, 1, 0, 1, 1])),
        ];
        for (ranks, layout) in layouts {
            let slots = Slots::of(&Problem { layout, ..Problem::new(Collective::AllReduce, ranks) });
            let mut owners = vec![0; ranks];
            for domain in 0..slots.domains {
                let size = slots.size(domain);
                let carried: Vec<usize> = (0..size).flat_map(|local| slots.carried(domain, local)).collect();
                assert_eq!(carried, (0..slots.width).collect::<Vec<_>>(), "{layout:?}");
                for local in 0..size {
                    assert_eq!(slots.place(slots.rank(domain, local)), (domain, local));
                    for slot in slots.carried(domain, local) {
                        assert_eq!(slots.carrier(domain, slot), local, "{layout:?}");
                    }
                }
            }
            (0..slots.width).flat_map(|slot| slots.items(slot)).for_each(|rank| owners[rank] += 1);
            assert!(owners.iter().all(|times| *times == 1), "{layout:?}: {owners:?}");
        }
    }
}
