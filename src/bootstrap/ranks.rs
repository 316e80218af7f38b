//! Sets of ranks, one bit each: what is true of many ranks travels as one frame.

use super::wire::Malformed;
use crate::types::Rank;

const BITS: usize = u64::BITS as usize;

/// A set of ranks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RankSet {
    /// The last one is not 0, so that equal sets look alike.
    words: Vec<u64>,
}

impl RankSet {
    pub fn of(rank: Rank) -> RankSet {
        [rank].into_iter().collect()
    }

    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    pub fn contains(&self, rank: Rank) -> bool {
        self.words.get(rank / BITS).is_some_and(|word| word >> (rank % BITS) & 1 == 1)
    }

    pub fn insert(&mut self, rank: Rank) {
        if self.words.len() <= rank / BITS {
            self.words.resize(rank / BITS + 1, 0);
        }
        self.words[rank / BITS] |= 1 << (rank % BITS);
    }

    pub fn add(&mut self, other: &RankSet) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        self.words.iter_mut().zip(&other.words).for_each(|(word, more)| *word |= more);
    }

    /// The ranks that `other` does not have.
    pub fn minus(&self, other: &RankSet) -> RankSet {
        let others = other.words.iter().copied().chain(std::iter::repeat(0));
        let mut words: Vec<u64> = self.words.iter().zip(others).map(|(word, less)| word & !less).collect();
        words.truncate(words.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1));
        RankSet { words }
    }

    /// In rising order.
    pub fn iter(&self) -> impl Iterator<Item = Rank> {
        let bits = |word: u64| (0..BITS).filter(move |bit| word >> bit & 1 == 1);
        self.words.iter().enumerate().flat_map(move |(index, word)| bits(*word).map(move |bit| index * BITS + bit))
    }

    /// All ranks are below `size`.
    pub fn fits(&self, size: usize) -> bool {
        self.iter().last().is_none_or(|last| last < size)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<RankSet, Malformed> {
        let (words, rest) = bytes.as_chunks::<8>();
        let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        if rest.is_empty() && words.last() != Some(&0) { Ok(RankSet { words }) } else { Err(Malformed) }
    }
}

impl FromIterator<Rank> for RankSet {
    fn from_iter<I: IntoIterator<Item = Rank>>(ranks: I) -> RankSet {
        let mut set = RankSet::default();
        ranks.into_iter().for_each(|rank| set.insert(rank));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set(a in prop::collection::btree_set(0usize..300, 0..20), b in prop::collection::btree_set(0usize..300, 0..20)) {
            let [set_a, set_b]: [RankSet; 2] = [&a, &b].map(|ranks| ranks.iter().copied().collect());
            let less = set_a.minus(&set_b);
            prop_assert_eq!(less.iter().collect::<BTreeSet<_>>(), &a - &b);
            prop_assert_eq!(less.is_empty(), (&a - &b).is_empty());
            prop_assert!((0..300).all(|rank| set_a.contains(rank) == a.contains(&rank)));
            let mut both = less.clone();
            both.add(&set_b);
            prop_assert_eq!(&both, &(&a | &b).into_iter().collect());
            prop_assert_eq!(RankSet::from_bytes(&both.to_bytes()), Ok(both.clone()));
            let end = (&a | &b).last().map_or(0, |last| last + 1);
            prop_assert!(both.fits(end) && (end == 0 || !both.fits(end - 1)));
        }
    }

    #[test]
    fn bytes_that_are_no_set_are_refused() {
        for bytes in [&[0; 8][..], &[1; 7], &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(RankSet::from_bytes(bytes), Err(Malformed));
        }
    }
}
