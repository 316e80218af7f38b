//! Who carries what in a domain where the root has enough to do with handing everything out, or taking everything in.

use crate::algorithm::hierarchy::slots::Slots;
use crate::plan::Problem;
use crate::types::Rank;

/// The buffer is cut into slots, and every domain has one rank for each: as many as the smallest domain has ranks, the root not counted.
/// Beyond them the place of the root is free in every domain that can do without it, so that rails join equal places.
pub(super) struct Carriers {
    pub slots: Slots,
    /// The root's domain, and its place there.
    pub home: usize,
    pub root: usize,
    /// How many slots there are.
    pub width: usize,
}

impl Carriers {
    pub fn of(problem: &Problem) -> Carriers {
        let slots = Slots::of(problem);
        let (home, root) = slots.place(problem.root);
        let hands = |domain: usize| slots.size(domain) - usize::from(domain == home);
        let width = (0..slots.domains).map(hands).min().unwrap_or(0);
        Carriers { slots, home, root, width }
    }

    fn skips(&self, domain: usize) -> bool {
        self.slots.size(domain) > self.width
    }

    /// The place in a domain that carries a slot.
    pub fn place(&self, domain: usize, slot: usize) -> usize {
        if self.skips(domain) && slot >= self.root { slot + 1 } else { slot }
    }

    /// What a place of a domain carries.
    pub fn slot(&self, domain: usize, place: usize) -> Option<usize> {
        let slot = match self.skips(domain) {
            true if place == self.root => return None,
            true if place > self.root => place - 1,
            _ => place,
        };
        (slot < self.width).then_some(slot)
    }

    /// The rank that carries a slot in a domain.
    pub fn rank(&self, domain: usize, slot: usize) -> Rank {
        self.slots.rank(domain, self.place(domain, slot))
    }

    /// Ranks in a domain, the root not counted.
    pub fn others(&self, domain: usize) -> usize {
        self.slots.size(domain) - usize::from(domain == self.home)
    }

    /// The place of one of these.
    pub fn other(&self, domain: usize, index: usize) -> usize {
        if domain == self.home && index >= self.root { index + 1 } else { index }
    }

    /// Which of these a place is; the root is none.
    pub fn index(&self, domain: usize, place: usize) -> Option<usize> {
        match domain == self.home {
            true if place == self.root => None,
            true if place > self.root => Some(place - 1),
            _ => Some(place),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Layout;
    use crate::types::Collective;

    #[test]
    fn every_domain_has_one_rank_for_each_slot_and_the_root_has_none() {
        let layouts = [
            (12, Layout::Blocks(4)),
            (11, Layout::Blocks(4)),
            (9, Layout::Blocks(8)),
            (12, Layout::Interleaved(3)),
            (7, Layout::of(&[0, 1, 1, 0, 2, 2, 1])),
        ];
        for (ranks, layout) in layouts {
            for root in 0..ranks {
                let problem = Problem { root, layout, ..Problem::new(Collective::Broadcast, ranks) };
                let carriers = Carriers::of(&problem);
                for domain in 0..carriers.slots.domains {
                    let size = carriers.slots.size(domain);
                    let carried: Vec<usize> = (0..size).filter_map(|place| carriers.slot(domain, place)).collect();
                    assert_eq!(carried, (0..carriers.width).collect::<Vec<_>>(), "{problem:?}");
                    for slot in carried {
                        assert_eq!(carriers.slot(domain, carriers.place(domain, slot)), Some(slot), "{problem:?}");
                        assert_ne!(carriers.rank(domain, slot), root, "{problem:?}");
                    }
                    for index in 0..carriers.others(domain) {
                        assert_eq!(carriers.index(domain, carriers.other(domain, index)), Some(index), "{problem:?}");
                    }
                }
            }
        }
    }
}
