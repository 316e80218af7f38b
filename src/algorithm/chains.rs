//! The longest chains of messages through a flat plan, as a layout has them: how many of their hops stay in a domain and how many
//! cross, and what the ports on their way pass meanwhile. Which of them takes longest depends on the machine and on the size, so all
//! that may are kept.

use super::one_stage;
use super::write::ahead;
use crate::plan::{Problem, Promise, Stage};
use crate::types::Rank;

/// Of more ranks those at the start, in the middle and at the end stand for all: a price is due in milliseconds.
const MOST_ENDS: usize = 4096;

/// More ranks than these are not followed round by round.
const MOST_FOLLOWED: usize = 2048;

/// Messages one after the other: how many stay and how many cross, and the chunks and messages whose time they take on ports of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    hops: [u32; 2],
    chunks: [u64; 2],
    messages: [u64; 2],
}

impl Chain {
    /// So many hops, within domains and between them, while ports pass so many chunks, each a message.
    pub fn of(hops: [u32; 2], chunks: [u64; 2]) -> Chain {
        Chain { hops, chunks, messages: chunks }
    }

    /// One hop more, while its port passes so much.
    pub fn then(mut self, crosses: bool, passed: Load) -> Chain {
        self.hops[usize::from(crosses)] += 1;
        self.busy(crosses, passed)
    }

    /// A port passes so much more.
    fn busy(mut self, crosses: bool, passed: Load) -> Chain {
        self.chunks[usize::from(crosses)] += passed.chunks;
        self.messages[usize::from(crosses)] += passed.messages;
        self
    }

    fn plus(self, other: Chain) -> Chain {
        let hops = [0, 1].map(|side| self.hops[side] + other.hops[side]);
        let chunks = [0, 1].map(|side| self.chunks[side] + other.chunks[side]);
        Chain { hops, chunks, messages: [0, 1].map(|side| self.messages[side] + other.messages[side]) }
    }

    /// The way of the first of many tiles, while the busiest ports inside and between domains pass so many chunks of all. The tile that
    /// passes the slowest of them is among those.
    pub fn pipelined(&self, passed: [u64; 2], tiles: u32, stage: Stage) -> Stage {
        let [hops, crossing_hops] = self.hops;
        let [inside, crossing] = [0, 1].map(|side| if self.hops[side] > 0 { passed[side] } else { 0 });
        let counted = [0, 1].map(|side| passed[side] / u64::from(tiles));
        let fill = match crossing_hops {
            0 => [self.chunks[0].saturating_sub(counted[0]), 0],
            _ => [self.chunks[0], self.chunks[1].saturating_sub(counted[1])],
        };
        Stage {
            hops,
            crossing_hops,
            chunks_out: inside,
            chunks_in: inside,
            crossing_chunks: crossing,
            messages_out: inside,
            messages_in: inside,
            crossing_messages: crossing,
            fill_chunks: fill[0],
            crossing_fill_chunks: fill[1],
            pipelined: true,
            ..stage
        }
    }

    /// Whether it takes as long as another on any machine.
    fn covers(&self, other: &Chain) -> bool {
        (0..2).all(|side| {
            let is_long = self.hops[side] >= other.hops[side];
            is_long && self.chunks[side] >= other.chunks[side] && self.messages[side] >= other.messages[side]
        })
    }
}

/// What passes a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub chunks: u64,
    pub messages: u64,
}

impl Load {
    /// One message.
    pub fn one(chunks: u64) -> Load {
        Load { chunks, messages: 1 }
    }

    /// Messages of one chunk each.
    pub fn each(chunks: u64) -> Load {
        Load { chunks, messages: chunks }
    }
}

/// Chains of which none is known to be shorter than another.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Longest(Vec<Chain>);

impl Longest {
    pub fn add(&mut self, chain: Chain) {
        if !self.0.iter().any(|one| one.covers(&chain)) {
            self.0.retain(|one| !chain.covers(one));
            self.0.push(chain);
        }
    }

    fn add_all(&mut self, chains: impl Iterator<Item = Chain>) {
        chains.for_each(|chain| self.add(chain));
    }

    /// Either of these or of those.
    pub fn or(mut self, other: &Longest) -> Longest {
        self.add_all(other.0.iter().copied());
        self
    }

    /// Each of these and then each of those.
    pub fn followed_by(&self, other: &Longest) -> Longest {
        let mut both = Longest::default();
        both.add_all(self.0.iter().flat_map(|one| other.0.iter().map(|then| one.plus(*then))));
        both
    }

    /// Chain by chain what a price is made of, where few ranks of a domain cross at a time.
    pub fn stages_alone(&self, problem: &Problem) -> Vec<Stage> {
        self.stages(problem).into_iter().map(|stage| Stage { alone: true, ..stage }).collect()
    }

    /// Chain by chain what a price is made of.
    pub fn stages(&self, problem: &Problem) -> Vec<Stage> {
        let tiles = u64::from(problem.tiles);
        let of_chain = |(number, Chain { hops, chunks, messages }): (usize, &Chain)| {
            let [stay, cross] = chunks.map(|chunks| chunks * tiles);
            let [messages, crossing_messages] = messages.map(|messages| messages * tiles);
            let stage = Stage { chain: number as u32, ..Stage::default() };
            let inside = Stage {
                hops: hops[0],
                chunks_out: stay,
                chunks_in: stay,
                messages_out: messages,
                messages_in: messages,
                local_chunks: stay,
                ..stage
            };
            let crossing = Stage {
                crossing_hops: hops[1],
                crossing_chunks: cross,
                crossing_messages,
                local_chunks: cross,
                ..stage
            };
            [(inside, hops[0]), (crossing, hops[1])].into_iter().filter(|(_, hops)| *hops > 0).map(|(stage, _)| stage)
        };
        self.0.iter().enumerate().flat_map(of_chain).collect()
    }

    /// The same of a pipeline, see [`Chain::pipelined`].
    pub fn pipelined(&self, passed: [u64; 2], tiles: u32, stage: Stage) -> Vec<Stage> {
        let of_chain =
            |(number, chain): (u32, &Chain)| Stage { chain: number, ..chain.pipelined(passed, tiles, stage) };
        (0..).zip(&self.0).map(of_chain).collect()
    }
}

/// Whether a message between two ranks leaves its domain.
pub(super) fn crosses(problem: &Problem, one: Rank, other: Rank) -> bool {
    problem.layout.domain(one) != problem.layout.domain(other)
}

/// The ways between the root of a tree and all other ranks: `above` says who is above a rank and what the port of their message passes
/// until it is through.
pub(super) fn in_tree(problem: &Problem, above: impl Fn(Rank) -> Option<(Rank, Load)>) -> Longest {
    let mut longest = Longest::default();
    for end in ends(problem).skip(1) {
        let (mut rank, mut chain) = (end, Chain::default());
        while let Some((parent, passed)) = above(rank) {
            chain = chain.then(crosses(problem, rank, parent), passed);
            rank = parent;
        }
        longest.add(chain);
    }
    longest
}

/// The root, and ranks whose ways to it stand for all.
pub(super) fn ends(problem: &Problem) -> impl Iterator<Item = Rank> {
    let (problem, window) = (*problem, MOST_ENDS / 3);
    let middle = problem.ranks.next_power_of_two() / 2;
    let is_kept = move |place: &usize| {
        let is_near = *place < window || place.abs_diff(middle) <= window / 2 || *place >= problem.ranks - window;
        problem.ranks <= MOST_ENDS || is_near
    };
    (0..problem.ranks).filter(is_kept).map(move |place| ahead(&problem, problem.root, place))
}

/// What a port passes until a message to one of several is through, when all set out at once: `sizes` are those of all that pass the same
/// port, which they share fairly.
pub(super) fn shared(sizes: impl Iterator<Item = u64>, size: u64) -> Load {
    sizes.fold(Load::default(), |all, other| Load { chunks: all.chunks + other.min(size), messages: all.messages + 1 })
}

/// Rounds in each of which every rank hears from another, or not, and goes on when it has: `hears(round, rank)` says from whom, and how
/// many chunks. A message has to wait until the ports at both its ends have passed those of earlier rounds. Where there are too many
/// ranks to follow, as much crosses as there can.
pub(super) fn in_rounds(
    problem: &Problem,
    promise: Promise,
    rounds: usize,
    hears: impl Fn(usize, Rank) -> Option<(Rank, u64)>,
) -> Vec<Stage> {
    if problem.ranks > MOST_FOLLOWED {
        return one_stage(promise, problem);
    }
    let mut heard = vec![Longest(vec![Chain::default()]); problem.ranks];
    // What had to pass the ports, out and in, within the domain and to others.
    let mut ports = vec![<[[Longest; 2]; 2]>::default(); problem.ranks];
    for round in 0..rounds {
        let before = heard.clone();
        for (rank, heard) in heard.iter_mut().enumerate() {
            let Some((from, chunks)) = hears(round, rank) else { continue };
            let crosses = crosses(problem, from, rank);
            let side = usize::from(crosses);
            let mut ready = before[from].clone();
            ready.add_all(ports[from][0][side].0.iter().copied());
            ready.add_all(ports[rank][1][side].0.iter().copied());
            let load = Load::one(chunks);
            let passed = Longest(ready.0.iter().map(|chain| chain.busy(crosses, load)).collect());
            heard.add_all(ready.0.iter().map(|chain| chain.then(crosses, load)));
            ports[from][0][side] = passed.clone();
            ports[rank][1][side] = passed;
        }
    }
    let mut longest = Longest::default();
    heard.into_iter().for_each(|one| longest.add_all(one.0.into_iter()));
    longest.stages(problem)
}

/// The chunks of the longest of such chains where all ways are alike.
pub(super) fn busy_in_rounds(ranks: usize, rounds: usize, hears: impl Fn(usize, Rank) -> Option<(Rank, u64)>) -> u64 {
    let mut heard = vec![0; ranks];
    let mut ports = vec![[0; 2]; ranks];
    for round in 0..rounds {
        let before = heard.clone();
        for rank in 0..ranks {
            if let Some((from, chunks)) = hears(round, rank) {
                let passed = before[from].max(ports[from][0]).max(ports[rank][1]) + chunks;
                (ports[from][0], ports[rank][1]) = (passed, passed);
                heard[rank] = heard[rank].max(passed);
            }
        }
    }
    heard.into_iter().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Layout;
    use crate::types::Collective;

    #[test]
    fn chains_that_another_covers_are_left_out() {
        let mut longest = Longest::default();
        let (near, far) = (Chain::default().then(false, Load::one(4)), Chain::default().then(true, Load::one(1)));
        [near, far, near].into_iter().for_each(|chain| longest.add(chain));
        assert_eq!(longest.0, [near, far]);
        longest.add(near.plus(far));
        assert_eq!(longest.0, [near.plus(far)]);
        assert_eq!(Longest(vec![near, far]).followed_by(&Longest(vec![far])).0.len(), 2);
    }

    /// Two domains of 4 in a row from rank 1 on: the chain crosses when it comes to rank 4 and when it goes round to rank 0.
    #[test]
    fn a_row_crosses_where_its_domains_meet() {
        let problem = Problem { root: 1, layout: Layout::Blocks(4), ..Problem::new(Collective::Broadcast, 8) };
        let before = |rank: Rank| (rank != problem.root).then(|| ((rank + 7) % 8, Load::one(1)));
        assert_eq!(in_tree(&problem, before).0, [Chain::of([5, 2], [5, 2])]);
    }
}
