//! Calls that stay prepared, found again by what they ask for.

use super::call::Call;
use std::collections::HashMap;
use std::ops::{Index, IndexMut};

/// What was prepared for each of the last calls that differed. The one that was not used for longest makes room.
pub struct Prepared<T> {
    limit: usize,
    entries: Vec<Entry<T>>,
    by_call: HashMap<Call, usize>,
    /// The entry that was used last.
    last: usize,
    uses: u64,
}

struct Entry<T> {
    call: Call,
    value: T,
    used: u64,
    /// The other entry that was used after this one the last time: programs repeat themselves, so it is tried before hashing.
    next: usize,
}

impl<T> Prepared<T> {
    /// At most `limit` calls, of which there must be two.
    pub fn new(limit: usize) -> Prepared<T> {
        assert!(limit >= 2);
        Prepared { limit, entries: Vec::new(), by_call: HashMap::new(), last: 0, uses: 0 }
    }

    /// The index of what was prepared for a call. It stays valid until it is evicted.
    #[inline]
    pub fn find(&mut self, call: &Call) -> Option<usize> {
        let last = self.entries.get(self.last)?;
        let index = if last.call == *call {
            self.last
        } else if self.entries[last.next].call == *call {
            last.next
        } else {
            *self.by_call.get(call)?
        };
        self.touch(index);
        Some(index)
    }

    #[inline]
    fn touch(&mut self, index: usize) {
        if index != self.last {
            self.entries[self.last].next = index;
            self.last = index;
        }
        self.uses += 1;
        self.entries[index].used = self.uses;
    }

    /// Adds what was prepared for a call that is not here: its index, and what had to go for it. `kept` is not evicted.
    pub fn insert(&mut self, call: Call, value: T, kept: Option<usize>) -> (usize, Option<T>) {
        let full = self.entries.len() == self.limit;
        let index = if full { self.oldest(kept) } else { self.entries.len() };
        assert!(self.by_call.insert(call.clone(), index).is_none(), "this call is prepared already: {call}");
        let entry = Entry { call, value, used: 0, next: index };
        let evicted = if full {
            let old = std::mem::replace(&mut self.entries[index], entry);
            self.by_call.remove(&old.call);
            Some(old.value)
        } else {
            self.entries.push(entry);
            None
        };
        self.touch(index);
        (index, evicted)
    }

    fn oldest(&self, kept: Option<usize>) -> usize {
        let indices = (0..self.entries.len()).filter(|index| Some(*index) != kept);
        indices.min_by_key(|index| self.entries[*index].used).expect("there are two at least")
    }

    /// The call of an index.
    pub fn call(&self, index: usize) -> &Call {
        &self.entries[index].call
    }
}

impl<T> Index<usize> for Prepared<T> {
    type Output = T;

    fn index(&self, index: usize) -> &T {
        &self.entries[index].value
    }
}

impl<T> IndexMut<usize> for Prepared<T> {
    fn index_mut(&mut self, index: usize) -> &mut T {
        &mut self.entries[index].value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::chunk::Counts;
    use crate::types::{Collective, DType, ReduceOp};

    fn call(count: u64) -> Call {
        Call {
            collective: Collective::AllReduce,
            dtype: DType::F32,
            op: Some(ReduceOp::Sum),
            counts: Counts::Even(count),
            root: 0,
            in_place: true,
            algorithm: None,
        }
    }

    /// Finds a call, or prepares it; what was evicted.
    fn use_once(prepared: &mut Prepared<u64>, count: u64, kept: Option<usize>) -> Option<u64> {
        match prepared.find(&call(count)) {
            Some(index) => {
                assert_eq!((prepared[index], prepared.call(index)), (count, &call(count)));
                None
            }
            None => prepared.insert(call(count), count, kept).1,
        }
    }

    #[test]
    fn the_call_that_was_not_used_for_longest_makes_room() {
        let mut prepared = Prepared::new(3);
        for count in [1, 2, 3, 1, 1, 3] {
            assert_eq!(use_once(&mut prepared, count, None), None);
        }
        assert_eq!(use_once(&mut prepared, 4, None), Some(2));
        let one = prepared.find(&call(1)).unwrap();
        use_once(&mut prepared, 3, None);
        use_once(&mut prepared, 4, None);
        assert_eq!(use_once(&mut prepared, 5, Some(one)), Some(3), "the running one is kept");
        assert_eq!(prepared.find(&call(1)), Some(one));
        assert!(prepared.find(&call(2)).is_none() && prepared.find(&call(3)).is_none());
    }

    /// Against the definition: a list in the order of use.
    #[test]
    fn whatever_the_order_of_calls_the_last_ones_are_found() {
        let mut prepared = Prepared::new(4);
        let (mut in_order, mut state) = (Vec::new(), 1u64);
        for _ in 0..20_000 {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let count = state >> 33 & 7;
            let evicted = use_once(&mut prepared, count, None);
            let known = in_order.iter().position(|other| *other == count);
            let expected = match known {
                Some(index) => {
                    in_order.remove(index);
                    None
                }
                None if in_order.len() == 4 => Some(in_order.remove(0)),
                None => None,
            };
            in_order.push(count);
            assert_eq!(evicted, expected);
            assert!(prepared.entries.len() == prepared.by_call.len() && prepared.by_call.len() <= 4, "it leaks");
        }
    }

    #[test]
    fn calls_differ_in_the_bits_of_their_factor() {
        let with = |factor| Call { op: Some(ReduceOp::PreMulSum(factor)), ..call(1) };
        let mut prepared = Prepared::new(4);
        for (index, factor) in [0.0, -0.0, f64::NAN].into_iter().enumerate() {
            assert_eq!(prepared.find(&with(factor)), None);
            prepared.insert(with(factor), 0, None);
            assert_eq!(prepared.find(&with(factor)), Some(index));
        }
    }
}
