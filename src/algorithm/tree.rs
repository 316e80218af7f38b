//! The double binary tree: two trees over the same ranks, each carrying half of the buffer, tile after tile.
//!
//! Inner ranks of a binary tree send and receive a lot and its leaves little. Here nearly every rank that is inner in
//! one tree is a leaf in the other, so that all links are busy both ways. The root stands above both trees; the other
//! N-1 ranks form a search tree, and the second tree is the first one mirrored if N-1 is even, else shifted by one,
//! which in both cases turns odd positions (leaves) into even ones.
//!
//! With d = ceil(log2 N), 2 blocks, pipelined over tiles:
//!
//! | collective | hops | blocks sent by the busiest | received | scratch |
//! |---|---|---|---|---|
//! | all-reduce | 2d | min(N, 4) | min(N, 4) | none: partial sums lie in the output |
//! | broadcast | d | 2 | 2 | none |
//! | reduce | d | 2 | 2 | a block where the rank is inner |
//!
//! Wins for middle and large buffers at many ranks: the bytes of a ring to within a factor of N/(N-1), with a latency
//! in the logarithm of N. The way up and the way down run side by side, so that a tile comes down while later ones go
//! up.
//!
//! Source: Sanders, Speck and Träff, "Two-tree algorithms for full bandwidth broadcast, reduction and scan", 2009.

use super::Algorithm;
use super::chains::{Load, crosses, ends, in_tree};
use super::write::{ahead, ceil_log2, each_tile, from_root, plan, promise, serves};
use crate::plan::build::{copy, peer_on, reduce, striding};
use crate::plan::{Buffer, Lane, Operand, Order, Plan, Problem, Program, Promise, Reduction, Stage};
use crate::types::{Collective, Rank};

pub(super) struct DoubleTree;

impl Algorithm for DoubleTree {
    fn name(&self) -> &'static str {
        "double_tree"
    }
    fn fits(&self, problem: &Problem) -> Result<(), String> {
        serves(problem, &[Collective::AllReduce, Collective::Broadcast, Collective::Reduce])
    }
    fn pipelines(&self) -> bool {
        true
    }
    fn plan(&self, problem: &Problem) -> Plan {
        plan(self, problem, 2, |problem, rank| {
            let mut program = Program::default();
            for half in Half::BOTH {
                let branch = Branch { problem, half, rank };
                match problem.collective {
                    Collective::AllReduce => branch.all_reduce(&mut program),
                    Collective::Broadcast => branch.broadcast(&mut program),
                    Collective::Reduce => branch.reduce(&mut program),
                    other => unreachable!("double_tree does not fit {other}"),
                }
            }
            program
        })
    }
    fn promise(&self, problem: &Problem) -> Promise {
        let depth = ceil_log2(problem.ranks);
        match problem.collective {
            Collective::AllReduce => promise(problem, 2 * depth, problem.ranks.min(4), problem.ranks.min(4)),
            _ => promise(problem, depth, 2, 2),
        }
    }
    fn stages(&self, problem: &Problem) -> Vec<Stage> {
        if problem.ranks == 1 {
            return Vec::new();
        }
        let ways = |half: Half| {
            let way = in_tree(problem, |rank| {
                let parent = half.parent(problem, rank)?;
                Some((parent, Load::each(beside(problem, half, parent, crosses(problem, parent, rank)))))
            });
            if problem.collective == Collective::AllReduce { way.followed_by(&way) } else { way }
        };
        let tiles = u64::from(problem.tiles);
        let passed =
            ends(problem).map(|rank| passed(problem, rank)).fold([0; 2], |a, b| [a[0].max(b[0]), a[1].max(b[1])]);
        let local_chunks = self.promise(problem).chunks_received;
        let stage = Stage { local_chunks, ..Stage::default() };
        ways(Half::First).or(&ways(Half::Second)).pipelined(passed.map(|chunks| chunks * tiles), problem.tiles, stage)
    }
    fn order(&self, problem: &Problem, chunk: u32) -> Order {
        if problem.ranks == 1 {
            return Order::Fold(vec![Order::Rank(0)]);
        }
        let half = Half::BOTH[(chunk / problem.tiles) as usize];
        sum_below(problem, half, problem.root)
    }
}

/// A rank and all below it: children and the rank itself in the order of their distance from the root rank.
fn sum_below(problem: &Problem, half: Half, rank: Rank) -> Order {
    let below = half.children(problem, rank);
    if below.is_empty() {
        return Order::Rank(rank);
    }
    let mut parts: Vec<Rank> = below.into_iter().chain([rank]).collect();
    parts.sort_by_key(|&part| from_root(problem, part));
    let part = |part| if part == rank { Order::Rank(rank) } else { sum_below(problem, half, part) };
    Order::Fold(parts.into_iter().map(part).collect())
}

/// How many children of a rank it shares a domain with, or does not: their messages have one port.
fn beside(problem: &Problem, half: Half, parent: Rank, crossing: bool) -> u64 {
    let below = half.children(problem, parent);
    below.into_iter().filter(|child| crosses(problem, parent, *child) == crossing).count() as u64
}

/// Of every tile what passes the ports of a rank, inside and to other domains, in the direction that has more.
fn passed(problem: &Problem, rank: Rank) -> [u64; 2] {
    [false, true].map(|crossing| {
        let below: u64 = Half::BOTH.iter().map(|half| beside(problem, *half, rank, crossing)).sum();
        let above = Half::BOTH.iter().filter_map(|half| half.parent(problem, rank));
        let above = above.filter(|parent| crosses(problem, *parent, rank) == crossing).count() as u64;
        match problem.collective {
            Collective::AllReduce => below + above,
            _ => below.max(above),
        }
    })
}

/// One of the two trees; it carries the block of its number on the channel of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    First,
    Second,
}

impl Half {
    const BOTH: [Half; 2] = [Half::First, Half::Second];

    /// The rank's position in the tree; the root is at 0 in both.
    fn position(self, problem: &Problem, rank: Rank) -> usize {
        let (ranks, place) = (problem.ranks, from_root(problem, rank));
        match self {
            Half::Second if place == 0 => 0,
            Half::First => place,
            Half::Second if ranks % 2 == 1 => ranks - place,
            Half::Second if place == 1 => ranks - 1,
            Half::Second => place - 1,
        }
    }

    /// The rank at a position.
    fn rank(self, problem: &Problem, position: usize) -> Rank {
        let ranks = problem.ranks;
        let place = match self {
            Half::Second if position == 0 => 0,
            Half::First => position,
            Half::Second if ranks % 2 == 1 => ranks - position,
            Half::Second if position == ranks - 1 => 1,
            Half::Second => position + 1,
        };
        ahead(problem, problem.root, place)
    }

    fn parent(self, problem: &Problem, rank: Rank) -> Option<Rank> {
        parent(self.position(problem, rank), problem.ranks).map(|position| self.rank(problem, position))
    }

    fn children(self, problem: &Problem, rank: Rank) -> Vec<Rank> {
        let below = children(self.position(problem, rank), problem.ranks);
        below.into_iter().flatten().map(|position| self.rank(problem, position)).collect()
    }
}

/// The search tree over positions 1.. below position 0: the height of a position is the number of its trailing zero
/// bits, so odd ones are leaves. A parent that is out of range is skipped.
fn parent(position: usize, ranks: usize) -> Option<usize> {
    if position == 0 {
        return None;
    }
    let height_bit = position & position.wrapping_neg();
    let below = position ^ height_bit;
    let above = below | (height_bit << 1);
    Some(if above < ranks { above } else { below })
}

/// The inverse of [`parent`].
fn children(position: usize, ranks: usize) -> [Option<usize>; 2] {
    if position == 0 {
        return [Some(ranks.next_power_of_two() / 2), None];
    }
    let height_bit = position & position.wrapping_neg();
    let left = (height_bit > 1).then(|| position - height_bit / 2);
    let mut step = height_bit / 2;
    while step > 0 && position + step >= ranks {
        step /= 2;
    }
    [left, (step > 0).then_some(position + step)]
}

/// What one rank does in one of the trees.
struct Branch<'a> {
    problem: &'a Problem,
    half: Half,
    rank: Rank,
}

impl Branch<'_> {
    fn channel(&self) -> u16 {
        self.half as u16
    }

    /// Tile t of this tree's block in round t.
    fn tile(&self, buffer: Buffer) -> Operand {
        striding(buffer, self.half as u32 * self.problem.tiles, 1, 1)
    }

    fn parent(&self) -> Option<Operand> {
        self.half.parent(self.problem, self.rank).map(|parent| peer_on(parent, self.channel()))
    }

    /// To `place` and down to all children.
    fn down_to(&self, place: Operand) -> Vec<Operand> {
        let children = self.half.children(self.problem, self.rank);
        [place].into_iter().chain(children.into_iter().map(|child| peer_on(child, self.channel()))).collect()
    }

    /// What this rank's sum is made of, in the order of distance from the root rank.
    fn parts(&self) -> Vec<Operand> {
        let mut parts = self.half.children(self.problem, self.rank);
        parts.push(self.rank);
        parts.sort_by_key(|&part| from_root(self.problem, part));
        let operand = |part| if part == self.rank { self.tile(Buffer::Input) } else { peer_on(part, self.channel()) };
        parts.into_iter().map(operand).collect()
    }

    /// The way up below the root: a leaf's input as it is, an inner rank's sum through `place`.
    fn up(&self, parent: Operand, place: Operand) -> Lane {
        let parts = self.parts();
        vec![each_tile(
            self.problem,
            match parts[..] {
                [own] => copy(own, [parent]),
                _ => reduce(Reduction::Partial, parts, [place, parent]),
            },
        )]
    }

    fn all_reduce(&self, program: &mut Program) {
        let output = self.tile(Buffer::Output);
        match self.parent() {
            None => {
                let turn = reduce(Reduction::Final, self.parts(), self.down_to(output));
                program.lanes.push(vec![each_tile(self.problem, turn)]);
            }
            Some(parent) => {
                program.lanes.push(self.up(parent, output));
                program.lanes.push(vec![each_tile(self.problem, copy(parent, self.down_to(output)))]);
            }
        }
    }

    fn broadcast(&self, program: &mut Program) {
        let from = self.parent().unwrap_or(self.tile(Buffer::Input));
        let down = copy(from, self.down_to(self.tile(Buffer::Output)));
        program.lanes.push(vec![each_tile(self.problem, down)]);
    }

    fn reduce(&self, program: &mut Program) {
        let slot = striding(Buffer::Scratch, program.scratch.len() as u32, 1, 1);
        program.lanes.push(match self.parent() {
            None => vec![each_tile(self.problem, reduce(Reduction::Final, self.parts(), [self.tile(Buffer::Output)]))],
            Some(parent) => {
                if self.parts().len() > 1 {
                    let first = self.half as u32 * self.problem.tiles;
                    program.scratch.extend(first..first + self.problem.tiles);
                }
                self.up(parent, slot)
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_span_all_ranks_and_no_rank_is_inner_in_both() {
        for ranks in 2..200 {
            for root in [0, 1, ranks / 2, ranks - 1] {
                let problem = Problem { root, ..Problem::new(Collective::AllReduce, ranks) };
                for half in Half::BOTH {
                    for rank in 0..ranks {
                        assert_eq!(half.rank(&problem, half.position(&problem, rank)), rank);
                        for child in half.children(&problem, rank) {
                            assert_eq!(half.parent(&problem, child), Some(rank), "{ranks} ranks, child {child}");
                        }
                        let path = std::iter::successors(Some(rank), |&rank| half.parent(&problem, rank));
                        assert!(path.take(ranks).count() <= 1 + ceil_log2(ranks));
                    }
                    let edges: usize = (0..ranks).map(|rank| half.children(&problem, rank).len()).sum();
                    assert_eq!(edges, ranks - 1);
                }
                let inner_in_both = |&rank: &Rank| {
                    Half::BOTH.iter().all(|half| !half.children(&problem, rank).is_empty()) && rank != root
                };
                assert_eq!((0..ranks).find(inner_in_both), None, "{ranks} ranks, root {root}");
            }
        }
    }
}
