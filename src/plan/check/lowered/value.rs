//! What an element of memory holds, as a symbol: an element of a rank's input, or a fold of such. Equal folds are one value.

use crate::plan::{Order, Reduction};
use crate::types::Rank;
use std::collections::{BTreeSet, HashMap};

pub(super) type Value = u32;

/// What memory holds before it is written.
pub(super) const NOTHING: Value = u32::MAX;

type Fold = (Reduction, Vec<Value>);

pub(super) struct Values {
    /// The first input of each rank; behind the last one, folds begin.
    first_input: Vec<u32>,
    folds: Vec<Fold>,
    known: HashMap<Fold, Value>,
}

impl Values {
    pub(super) fn new(input_elements: impl Iterator<Item = u64>) -> Values {
        let mut first_input = vec![0];
        first_input.extend(input_elements.scan(0, |next, elements| {
            *next += elements as u32;
            Some(*next)
        }));
        Values { first_input, folds: Vec::new(), known: HashMap::new() }
    }

    pub(super) fn input(&self, rank: Rank, element: u64) -> Value {
        self.first_input[rank] + element as u32
    }

    fn inputs(&self) -> u32 {
        *self.first_input.last().expect("starts with 0")
    }

    pub(super) fn fold(&mut self, reduction: Reduction, parts: Vec<Value>) -> Value {
        let next = self.inputs() + self.folds.len() as u32;
        let fold = (reduction, parts);
        if let Some(&known) = self.known.get(&fold) {
            return known;
        }
        self.folds.push(fold.clone());
        self.known.insert(fold, next);
        next
    }

    /// The final sum of this element of the ranks' inputs, in this order.
    pub(super) fn sum(&mut self, order: &Order, element: u64) -> Value {
        self.part(order, Reduction::Final, element)
    }

    fn part(&mut self, order: &Order, reduction: Reduction, element: u64) -> Value {
        match order {
            Order::Rank(rank) => self.input(*rank, element),
            Order::Fold(parts) => {
                let parts = parts.iter().map(|part| self.part(part, Reduction::Partial, element)).collect();
                self.fold(reduction, parts)
            }
        }
    }

    /// The ranks whose input is in it.
    pub(super) fn contributors(&self, value: Value) -> BTreeSet<Rank> {
        let (mut ranks, mut seen, mut rest) = (BTreeSet::new(), BTreeSet::new(), vec![value]);
        while let Some(value) = rest.pop() {
            if !seen.insert(value) || value == NOTHING {
                continue;
            }
            match value.checked_sub(self.inputs()) {
                Some(fold) => rest.extend(&self.folds[fold as usize].1),
                None => {
                    ranks.insert(self.first_input.partition_point(|first| *first <= value) - 1);
                }
            }
        }
        ranks
    }
}
