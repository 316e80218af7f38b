//! Which ranks are linked: a circulant graph with chords of every power of two.
//!
//! Degree and diameter are logarithmic, and it stays connected when some ranks go: between two ranks there are as many disjoint
//! ways as each has neighbours (circulant graphs of this kind are maximally connected: Boesch and Tindell, 1984).

use crate::types::Rank;

/// The chords 1, 2, 4... below `size`.
pub(super) fn chords(size: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(1usize), |chord| chord.checked_mul(2)).take_while(move |chord| *chord < size)
}

/// The ranks at a chord's distance from `rank`, sorted.
pub(super) fn neighbours(rank: Rank, size: usize) -> Vec<Rank> {
    let mut ranks: Vec<Rank> =
        chords(size).flat_map(|chord| [(rank + chord) % size, (rank + size - chord) % size]).collect();
    ranks.sort_unstable();
    ranks.dedup();
    ranks
}

/// Who hands on to `index` in a binomial tree with root 0.
pub(super) fn parent(index: usize) -> usize {
    index & (index - 1)
}

/// To whom `index` hands on, among `size`: those with more below them first.
pub(super) fn children(index: usize, size: usize) -> impl Iterator<Item = usize> {
    let bits = if index == 0 { usize::BITS } else { index.trailing_zeros() };
    (0..bits).rev().map(move |bit| index | 1 << bit).filter(move |child| *child < size)
}

/// Sorted ranks in words: `rank 3`, or `ranks 1, 4-7`.
pub(super) fn ranges(ranks: &[Rank]) -> String {
    let runs = ranks.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [one] => one.to_string(),
        [one, two] => format!("{one}, {two}"),
        [first, .., last] => format!("{first}-{last}"),
        [] => unreachable!("a run has a rank"),
    });
    let listed = runs.collect::<Vec<_>>().join(", ");
    if ranks.len() == 1 { format!("rank {listed}") } else { format!("ranks {listed}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_mutual_few_and_reach_everyone() {
        for size in 1..=130 {
            let degree = 2 * chords(size).count();
            let mut distance = vec![usize::MAX; size];
            distance[0] = 0;
            let mut ring = vec![0];
            while let Some(rank) = ring.pop() {
                let near = neighbours(rank, size);
                assert!(near.len() <= degree && !near.contains(&rank));
                for other in near {
                    assert!(neighbours(other, size).contains(&rank), "{rank} and {other} of {size}");
                    if distance[other] > distance[rank] + 1 {
                        distance[other] = distance[rank] + 1;
                        ring.push(other);
                    }
                }
            }
            assert!(distance.iter().all(|steps| *steps <= chords(size).count()), "{size}");
        }
    }

    #[test]
    fn a_tree_reaches_everyone_once_in_a_logarithm_of_steps() {
        for size in 1..=130 {
            let mut reached = vec![0; size];
            let mut front = vec![(0, 0)];
            while let Some((index, depth)) = front.pop() {
                reached[index] += 1;
                assert!(1 << depth <= 2 * size, "{size}");
                for child in children(index, size) {
                    assert_eq!(parent(child), index);
                    front.push((child, depth + 1));
                }
            }
            assert!(reached.iter().all(|times| *times == 1), "{size}");
        }
    }

    #[test]
    fn ranks_are_listed_in_runs() {
        assert_eq!(ranges(&[3]), "rank 3");
        assert_eq!(ranges(&[1, 2, 4, 5, 6, 9]), "ranks 1, 2, 4-6, 9");
    }
}
