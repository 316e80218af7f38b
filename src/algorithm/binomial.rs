//! The binomial tree: every rank that has the data passes it on, so that those who have it double each round.
//!
//! Places are counted from the root, going round. The children of a place are those that differ from it in one bit
//! below its lowest; the child at distance 2^j stands above 2^j places in a row (fewer at the end), so that a gather or
//! scatter moves runs of blocks: one message per child, two where the run goes round the last rank.
//!
//! With d = ceil(log2 N), f = floor(log2 N), L = max(N - 2^(d-1), floor(2^(d-2))) the blocks of the largest child of
//! the root:
//!
//! | collective | hops | blocks sent by the busiest | received | block | scratch |
//! |---|---|---|---|---|---|
//! | broadcast | f | d | 1 | all | none |
//! | reduce | f | 1 | d | all | 1 block on inner ranks |
//! | gather | f | L | N-1 | one rank's | the rank's run, on inner ranks |
//! | scatter | f | N-1 | L | one rank's | the rank's run, on inner ranks |
//!
//! Hops are f, not d, since a rank's messages leave side by side; with one message at a time it takes d rounds. Wins
//! for small buffers. Large ones do better in `chain` or `double_tree`, which are pipelined; large blocks
//! of a gather or scatter in `direct`, which moves none twice.
//!
//! Source: folklore; Thakur, Rabenseifner and Gropp 2005 for gather and scatter.

use super::Algorithm;
use super::chains::{self, Load, in_tree};
use super::write::{ahead, block, blocks, ceil_log2, chunks_of, from_root, plan, program, promise, serves, wrapped};
use crate::plan::build::{copy, peer, reduce};
use crate::plan::{Buffer, Move, Operand, Order, Plan, Problem, Program, Promise, Reduction, Stage};
use crate::types::{Collective, Rank};

pub(super) struct Binomial;

impl Algorithm for Binomial {
    fn name(&self) -> &'static str {
        "binomial"
    }
    fn fits(&self, problem: &Problem) -> Result<(), String> {
        serves(problem, &[Collective::Broadcast, Collective::Reduce, Collective::Gather, Collective::Scatter])
    }
    fn plan(&self, problem: &Problem) -> Plan {
        plan(self, problem, 1, |problem, rank| {
            let node = Node::of(problem, rank);
            match problem.collective {
                Collective::Broadcast => node.broadcast(),
                Collective::Reduce => node.reduce(),
                Collective::Gather => node.gather(),
                Collective::Scatter => node.scatter(),
                other => unreachable!("binomial does not fit {other}"),
            }
        })
    }
    fn promise(&self, problem: &Problem) -> Promise {
        let (ranks, rounds) = (problem.ranks, ceil_log2(problem.ranks));
        let hops = ranks.ilog2() as usize;
        let largest = if rounds == 0 { 0 } else { (ranks - (1 << (rounds - 1))).max((1 << rounds) / 4) };
        match problem.collective {
            Collective::Broadcast => promise(problem, hops, rounds, 1),
            Collective::Reduce => promise(problem, hops, 1, rounds),
            Collective::Gather => promise(problem, hops, largest, ranks - 1),
            _ => promise(problem, hops, ranks - 1, largest),
        }
    }
    fn stages(&self, problem: &Problem) -> Vec<Stage> {
        in_tree(problem, |rank| above(problem, rank)).stages_alone(problem)
    }
    fn order(&self, problem: &Problem, _chunk: u32) -> Order {
        match problem.ranks {
            1 => Order::Fold(vec![Order::Rank(0)]),
            _ => sum_below(problem, 0, problem.ranks.next_power_of_two()),
        }
    }
}

/// The sum of the places from `place` up to `place + reach`, folded at `place`: its own, then runs of 1, 2, 4, ...
/// places.
fn sum_below(problem: &Problem, place: usize, reach: usize) -> Order {
    let own = Order::Rank(ahead(problem, problem.root, place));
    let distances = (0..reach.ilog2()).map(|bit| 1 << bit).take_while(|distance| place + distance < problem.ranks);
    let runs: Vec<Order> = distances.map(|distance| sum_below(problem, place + distance, distance)).collect();
    if runs.is_empty() { own } else { Order::Fold([own].into_iter().chain(runs).collect()) }
}

/// The rank above another, and what the parent's port passes until the message between them is through. On the way down all set out at
/// once and share it; on the way up the larger ones come later, and wait for nobody.
fn above(problem: &Problem, rank: Rank) -> Option<(Rank, Load)> {
    let place = from_root(problem, rank);
    if place == 0 {
        return None;
    }
    let parent = Node::of(problem, ahead(problem, problem.root, place & (place - 1)));
    let own = place - parent.place;
    let is_whole = matches!(problem.collective, Collective::Broadcast | Collective::Reduce);
    let size = |distance: usize| if is_whole { 1 } else { distance.min(parent.len - distance) as u64 };
    let crosses =
        |distance: usize| chains::crosses(problem, parent.rank(parent.place), parent.rank(parent.place + distance));
    let beside = parent.children.iter().copied().filter(|distance| crosses(*distance) == crosses(own));
    let passed = match problem.collective {
        Collective::Broadcast | Collective::Scatter => chains::shared(beside.map(size), size(own)),
        _ => chains::shared(beside.filter(|distance| *distance >= own).map(size), u64::MAX),
    };
    Some((parent.rank(parent.place), passed))
}

/// A rank's place in the tree.
struct Node<'a> {
    problem: &'a Problem,
    place: usize,
    /// Places for which this one stands, itself the first.
    len: usize,
    /// Distances to the children, ascending.
    children: Vec<usize>,
}

impl Node<'_> {
    fn of(problem: &Problem, rank: Rank) -> Node<'_> {
        let place = from_root(problem, rank);
        let reach = if place == 0 { problem.ranks.next_power_of_two() } else { place & place.wrapping_neg() };
        let len = reach.min(problem.ranks - place);
        let children = (0..reach.ilog2()).map(|bit| 1 << bit).filter(|&distance| distance < len).collect();
        Node { problem, place, len, children }
    }

    fn rank(&self, place: usize) -> Rank {
        ahead(self.problem, self.problem.root, place)
    }

    fn parent(&self) -> Option<Operand> {
        (self.place > 0).then(|| peer(self.rank(self.place & (self.place - 1))))
    }

    /// Child ranks, those with the most below them first.
    fn largest_first(&self) -> impl Iterator<Item = Operand> {
        self.children.iter().rev().map(|distance| peer(self.rank(self.place + distance)))
    }

    fn broadcast(&self) -> Program {
        let from = self.parent().unwrap_or(block(self.problem, Buffer::Input, 0));
        let destinations = [block(self.problem, Buffer::Output, 0)].into_iter().chain(self.largest_first());
        program([copy(from, destinations.collect::<Vec<_>>())])
    }

    fn reduce(&self) -> Program {
        let own = block(self.problem, Buffer::Input, 0);
        let below = self.children.iter().map(|distance| peer(self.rank(self.place + distance)));
        let parts: Vec<Operand> = [own].into_iter().chain(below).collect();
        match self.parent() {
            None => program([reduce(Reduction::Final, parts, [block(self.problem, Buffer::Output, 0)])]),
            Some(parent) if self.children.is_empty() => program([copy(own, [parent])]),
            Some(parent) => {
                let partial = block(self.problem, Buffer::Scratch, 0);
                let moves = [reduce(Reduction::Partial, parts, [partial, parent])];
                Program { scratch: chunks_of(self.problem, [0]), ..program(moves) }
            }
        }
    }

    /// The run of `len` places at `distance` from this one: where each of its messages lies here, in `buffer` at the
    /// root, whose blocks are in order of ranks, elsewhere in scratch, in order of places. Messages never go round the
    /// last rank.
    fn run(&self, buffer: Buffer, distance: usize, len: usize) -> Vec<Operand> {
        let mut slot = distance;
        let pieces = wrapped(self.problem, self.rank(self.place + distance), len);
        pieces
            .map(|piece| {
                let slots = slot..slot + piece.len();
                slot = slots.end;
                match self.place {
                    0 => blocks(self.problem, buffer, piece),
                    _ => blocks(self.problem, Buffer::Scratch, slots),
                }
            })
            .collect()
    }

    /// The run of the child at `distance`.
    fn child_run(&self, buffer: Buffer, distance: usize) -> (Operand, Vec<Operand>) {
        let len = distance.min(self.len - distance);
        (peer(self.rank(self.place + distance)), self.run(buffer, distance, len))
    }

    /// Whether blocks pass through scratch here.
    fn is_inner(&self) -> bool {
        self.place > 0 && !self.children.is_empty()
    }

    fn with_scratch(&self, moves: Vec<Move>) -> Program {
        let run = self.place..self.place + if self.is_inner() { self.len } else { 0 };
        Program { scratch: chunks_of(self.problem, run.map(|place| self.rank(place))), ..program(moves) }
    }

    fn gather(&self) -> Program {
        let own = block(self.problem, Buffer::Input, 0);
        let Some(parent) = self.parent().filter(|_| !self.is_inner()) else {
            return self.gather_through();
        };
        program([copy(own, [parent])])
    }

    /// Collects the whole run, then hands it on.
    fn gather_through(&self) -> Program {
        let own = copy(block(self.problem, Buffer::Input, 0), self.run(Buffer::Output, 0, 1));
        let mut moves = vec![own];
        for &distance in &self.children {
            let (child, pieces) = self.child_run(Buffer::Output, distance);
            moves.extend(pieces.into_iter().map(|piece| copy(child, [piece])));
        }
        if let Some(parent) = self.parent() {
            moves.extend(self.run(Buffer::Output, 0, self.len).into_iter().map(|piece| copy(piece, [parent])));
        }
        self.with_scratch(moves)
    }

    fn scatter(&self) -> Program {
        let output = block(self.problem, Buffer::Output, 0);
        let Some(parent) = self.parent().filter(|_| !self.is_inner()) else {
            return self.scatter_through();
        };
        program([copy(parent, [output])])
    }

    /// Takes the whole run, then hands on the children's.
    fn scatter_through(&self) -> Program {
        let mut moves = Vec::new();
        if let Some(parent) = self.parent() {
            moves.extend(self.run(Buffer::Input, 0, self.len).into_iter().map(|piece| copy(parent, [piece])));
        }
        for &distance in self.children.iter().rev() {
            let (child, pieces) = self.child_run(Buffer::Input, distance);
            moves.extend(pieces.into_iter().map(|piece| copy(piece, [child])));
        }
        let own = self.run(Buffer::Input, 0, 1)[0];
        moves.push(copy(own, [block(self.problem, Buffer::Output, 0)]));
        self.with_scratch(moves)
    }
}
