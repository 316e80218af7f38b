//! What a chunk of memory holds, as a symbol: the input chunk of a rank, or a fold of such.
//!
//! Equal folds are one node (hash-consing), so that two ranks hold bit-equal results exactly if they hold the same node.
//! A node knows the set of ranks that contributed to it.

use super::limits::Limits;
use crate::plan::chunk::{ChunkId, Grid};
use crate::plan::{Buffer, Order, Reduction};
use crate::types::{Collective, Rank};

/// A node of [`Values`], or [`NOTHING`].
pub(super) type Value = u32;

/// What memory holds before it is written.
pub(super) const NOTHING: Value = u32::MAX;

const EMPTY: u32 = u32::MAX;

/// Why values can't be folded.
pub(super) enum Clash {
    Chunks(ChunkId, ChunkId),
    Twice(Rank),
    Final,
    FinalWithout(Rank),
    TooMany,
}

struct Fold {
    first_child: u32,
    children: u32,
    chunk: ChunkId,
    contributions: u32,
    depth: u32,
    is_final: bool,
}

/// What a fold takes beside its set and its children, in words of 8 bytes: itself, and up to four places in the table.
const FOLD_WORDS: usize = size_of::<Fold>() / 8 + 2;

/// All values of one plan. Ids below `leaves` are inputs, the rest are folds in the order of their making.
pub(super) struct Values {
    ranks: u32,
    inputs_per_rank: u32,
    /// The one rank that has an input, where not all have.
    origin: Option<Rank>,
    leaves: u32,
    /// A barrier's folds are unions: anything may be folded with anything, again and again.
    idempotent: bool,
    folds: Vec<Fold>,
    children: Vec<Value>,
    /// Contributions of each fold, `words` each.
    sets: Vec<u64>,
    words: usize,
    /// Open addressing over `folds`.
    table: Vec<u32>,
    union: Vec<u64>,
    words_left: usize,
}

impl Values {
    pub(super) fn new(grid: &Grid, limits: &Limits) -> Values {
        let origin = matches!(grid.collective, Collective::Broadcast | Collective::Scatter).then_some(grid.root);
        let inputs_per_rank = grid.chunks(origin.unwrap_or(0), Buffer::Input);
        let words = (grid.ranks as usize).div_ceil(64);
        Values {
            ranks: grid.ranks,
            inputs_per_rank,
            origin,
            leaves: if origin.is_some() { inputs_per_rank } else { inputs_per_rank * grid.ranks },
            idempotent: grid.collective == Collective::Barrier,
            folds: Vec::new(),
            children: Vec::new(),
            sets: Vec::new(),
            words,
            table: vec![EMPTY; 1024],
            union: vec![0; words],
            words_left: limits.fold_words as usize,
        }
    }

    /// The input chunk `index` of `rank`.
    pub(super) fn input(&self, rank: Rank, index: u32) -> Value {
        match self.origin {
            Some(_) => index,
            None => rank as u32 * self.inputs_per_rank + index,
        }
    }

    /// The rank and index of an input; `None` for a fold.
    pub(super) fn as_input(&self, value: Value) -> Option<(Rank, u32)> {
        if value >= self.leaves {
            return None;
        }
        let (rank, index) = (value / self.inputs_per_rank, value % self.inputs_per_rank);
        Some((self.origin.unwrap_or(rank as Rank), index))
    }

    fn as_fold(&self, value: Value) -> Option<&Fold> {
        value.checked_sub(self.leaves).map(|fold| &self.folds[fold as usize])
    }

    /// The chunk of the collective of which this is a contribution or a fold. Only asked where something is reduced, and there an
    /// input's chunk is its index.
    pub(super) fn chunk(&self, value: Value) -> ChunkId {
        self.as_fold(value).map_or(value % self.inputs_per_rank, |fold| fold.chunk)
    }

    pub(super) fn is_final(&self, value: Value) -> bool {
        self.as_fold(value).is_some_and(|fold| fold.is_final)
    }

    /// The lowest rank that did not contribute.
    pub(super) fn missing(&self, value: Value) -> Option<Rank> {
        let Some(fold) = value.checked_sub(self.leaves) else {
            let rank = self.as_input(value).map_or(0, |(rank, _)| rank);
            return (self.ranks > 1).then_some(usize::from(rank == 0));
        };
        if self.folds[fold as usize].contributions == self.ranks {
            return None;
        }
        first_missing(&self.sets[fold as usize * self.words..][..self.words])
    }

    /// Folds from first to last. `children` is not empty and holds no [`NOTHING`].
    pub(super) fn fold(&mut self, reduction: Reduction, children: &[Value]) -> Result<Value, Clash> {
        let is_final = reduction == Reduction::Final;
        let slot = match self.find(is_final, children) {
            Ok(known) => return Ok(known),
            Err(slot) => slot,
        };
        let chunk = self.chunk(children[0]);
        self.union.fill(0);
        for &child in children {
            if self.chunk(child) != chunk {
                return Err(Clash::Chunks(chunk, self.chunk(child)));
            }
            if self.is_final(child) && !self.idempotent {
                return Err(Clash::Final);
            }
            self.unite(child)?;
        }
        let contributions = self.union.iter().map(|word| word.count_ones()).sum();
        if is_final && !self.idempotent && contributions < self.ranks {
            return Err(Clash::FinalWithout(first_missing(&self.union).expect("one is missing")));
        }
        let depth =
            1 + children.iter().filter_map(|&child| self.as_fold(child)).map(|fold| fold.depth).max().unwrap_or(0);
        let Some(words_left) = self.words_left.checked_sub(self.words + children.len().div_ceil(2) + FOLD_WORDS) else {
            return Err(Clash::TooMany);
        };
        if !self.idempotent && depth > self.ranks + 8 {
            return Err(Clash::TooMany);
        }
        self.words_left = words_left;
        let fold = self.folds.len() as u32;
        self.table[slot] = fold;
        self.folds.push(Fold {
            first_child: self.children.len() as u32,
            children: children.len() as u32,
            chunk,
            contributions,
            depth,
            is_final,
        });
        self.children.extend_from_slice(children);
        self.sets.extend_from_slice(&self.union);
        if self.folds.len() * 2 > self.table.len() {
            self.grow();
        }
        Ok(self.leaves + fold)
    }

    /// Adds a child's contributions to `union`.
    fn unite(&mut self, child: Value) -> Result<(), Clash> {
        if let Some((rank, _)) = self.as_input(child) {
            let (word, bit) = (rank / 64, 1u64 << (rank % 64));
            if self.union[word] & bit != 0 && !self.idempotent {
                return Err(Clash::Twice(rank));
            }
            self.union[word] |= bit;
            return Ok(());
        }
        let set = &self.sets[(child - self.leaves) as usize * self.words..][..self.words];
        for (index, (word, &more)) in self.union.iter_mut().zip(set).enumerate() {
            let both = *word & more;
            if both != 0 && !self.idempotent {
                return Err(Clash::Twice(index * 64 + both.trailing_zeros() as usize));
            }
            *word |= more;
        }
        Ok(())
    }

    fn children_of(&self, fold: &Fold) -> &[Value] {
        &self.children[fold.first_child as usize..][..fold.children as usize]
    }

    /// The fold of these children, or the free place in the table where it belongs.
    fn find(&self, is_final: bool, children: &[Value]) -> Result<Value, usize> {
        let mask = self.table.len() - 1;
        let mut slot = hash(is_final, children) & mask;
        loop {
            let fold = self.table[slot];
            if fold == EMPTY {
                return Err(slot);
            }
            let known = &self.folds[fold as usize];
            if known.is_final == is_final && self.children_of(known) == children {
                return Ok(self.leaves + fold);
            }
            slot = (slot + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let mask = self.table.len() * 2 - 1;
        self.table = vec![EMPTY; mask + 1];
        for (index, fold) in self.folds.iter().enumerate() {
            let mut slot = hash(fold.is_final, self.children_of(fold)) & mask;
            while self.table[slot] != EMPTY {
                slot = (slot + 1) & mask;
            }
            self.table[slot] = index as u32;
        }
    }

    /// Frees what only making new folds needs.
    pub(super) fn freeze(&mut self) {
        self.sets = Vec::new();
        self.table = Vec::new();
    }

    /// The order of addition that a value stands for.
    pub(super) fn order(&self, value: Value) -> Order {
        enum Task {
            Visit(Value),
            Gather(usize),
        }
        let mut tasks = vec![Task::Visit(value)];
        let mut done: Vec<Order> = Vec::new();
        while let Some(task) = tasks.pop() {
            match task {
                Task::Visit(value) => match (self.as_input(value), self.as_fold(value)) {
                    (Some((rank, _)), _) => done.push(Order::Rank(rank)),
                    (None, fold) => {
                        let children = fold.map_or(&[][..], |fold| self.children_of(fold));
                        tasks.push(Task::Gather(children.len()));
                        tasks.extend(children.iter().rev().map(|&child| Task::Visit(child)));
                    }
                },
                Task::Gather(children) => {
                    let parts = done.split_off(done.len() - children);
                    done.push(Order::Fold(parts));
                }
            }
        }
        done.pop().expect("one order was asked for")
    }

    /// Whether a value adds up in this order, whatever is marked final.
    pub(super) fn has_order(&self, value: Value, order: &Order) -> bool {
        let mut rest = vec![(value, order)];
        while let Some((value, order)) = rest.pop() {
            match (order, self.as_input(value), self.as_fold(value)) {
                (Order::Rank(declared), Some((rank, _)), _) if *declared == rank => {}
                (Order::Fold(parts), None, Some(fold)) if parts.len() == fold.children as usize => {
                    rest.extend(self.children_of(fold).iter().copied().zip(parts));
                }
                _ => return false,
            }
        }
        true
    }
}

/// The lowest bit that is not set; the caller knows that there is one below the number of ranks.
fn first_missing(set: &[u64]) -> Option<Rank> {
    set.iter().position(|&word| word != u64::MAX).map(|word| word * 64 + set[word].trailing_ones() as usize)
}

/// Multiply and rotate (FxHash): the keys are our own, so nobody can choose them to collide.
fn hash(is_final: bool, children: &[Value]) -> usize {
    let start = u64::from(is_final) + 2;
    let hash = children
        .iter()
        .fold(start, |hash, &child| (hash.rotate_left(5) ^ u64::from(child)).wrapping_mul(0x517c_c1b7_2722_0a95));
    (hash >> 20) as usize
}
