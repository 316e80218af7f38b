//! A proved plan as one [`Stage`], counted from its moves: for the price of plans that no algorithm here wrote.

use super::check::Checked;
use super::sequence::Sequence;
use super::{Move, Operand, Stage, Step};
use crate::topology::Layout;
use crate::types::Rank;
use std::collections::{HashMap, VecDeque};

/// Messages on a chain: those that cross to another domain, and those that stay. The chain with more of the former is the longer.
type Hops = (u32, u32);

/// What passes the ports of a rank.
#[derive(Clone, Copy, Default)]
struct Passed {
    /// Chunks out and in, within the domain and to others.
    inside: [u64; 2],
    crossing: [u64; 2],
    local: u64,
    /// The same of messages.
    messages_inside: [u64; 2],
    messages_crossing: [u64; 2],
}

/// Everything as one stage: its messages overlap as they may, and none of its parts is known to wait for another.
pub fn stage(checked: &Checked, layout: Layout) -> Stage {
    let sequence = Sequence::new(checked.plan());
    let mut counts = vec![Passed::default(); sequence.programs.len()];
    let mut chains = Chains::default();
    for turn in &sequence.turns {
        let one = sequence.one(turn);
        counts[turn.rank].add(one, turn.rank, layout);
        let waits = &sequence.programs[turn.rank].lanes[turn.lane][..turn.step];
        chains.add((turn.rank, turn.lane, turn.step), one, waits, layout);
    }
    let most = |count: fn(&Passed) -> u64| counts.iter().map(count).max().unwrap_or(0);
    let (crossing_hops, hops) = chains.longest;
    Stage {
        hops,
        crossing_hops,
        chunks_out: most(|passed| passed.inside[0]),
        chunks_in: most(|passed| passed.inside[1]),
        crossing_chunks: most(|passed| passed.crossing[0].max(passed.crossing[1])),
        local_chunks: most(|passed| passed.local),
        messages_out: most(|passed| passed.messages_inside[0]),
        messages_in: most(|passed| passed.messages_inside[1]),
        crossing_messages: most(|passed| passed.messages_crossing[0].max(passed.messages_crossing[1])),
        ..Stage::default()
    }
}

fn peer(operand: &Operand) -> Option<(Rank, u16)> {
    match *operand {
        Operand::Peer { rank, channel } => Some((rank, channel)),
        Operand::Local(_) => None,
    }
}

impl Passed {
    fn add(&mut self, one: &Move, rank: Rank, layout: Layout) {
        let locals = |operands: &[Operand]| operands.iter().filter(|operand| peer(operand).is_none()).count() as u64;
        let len = one.sources.iter().chain(&one.destinations).find_map(|operand| match operand {
            Operand::Local(span) => Some(u64::from(span.len)),
            Operand::Peer { .. } => None,
        });
        let len = len.unwrap_or(0);
        for (direction, operands) in [&one.destinations, &one.sources].into_iter().enumerate() {
            for (other, _) in operands.iter().filter_map(peer) {
                let is_inside = layout.domain(other) == layout.domain(rank);
                let (chunks, messages) = match is_inside {
                    true => (&mut self.inside, &mut self.messages_inside),
                    false => (&mut self.crossing, &mut self.messages_crossing),
                };
                chunks[direction] += len;
                messages[direction] += 1;
            }
        }
        let additions = if one.reduction.is_some() { one.sources.len() as u64 - 1 } else { 0 };
        // Storing what was received or folded is part of that; every other store is a copy.
        let is_work_already = locals(&one.sources) < one.sources.len() as u64 || one.sources.len() > 1;
        let copies = locals(&one.destinations).saturating_sub(u64::from(is_work_already));
        self.local += (additions + copies) * len;
    }
}

/// The longest chain of messages up to each place.
#[derive(Default)]
struct Chains {
    lanes: HashMap<(Rank, usize), LaneChain>,
    under_way: HashMap<(Rank, Rank, u16), VecDeque<Hops>>,
    longest: Hops,
}

#[derive(Default)]
struct LaneChain {
    hops: Hops,
    /// Steps that are passed, waits included.
    passed: usize,
    /// After each step that moves.
    ends: Vec<(usize, Hops)>,
}

impl Chains {
    fn add(&mut self, (rank, lane, step): (Rank, usize, usize), one: &Move, before: &[Step], layout: Layout) {
        let passed = self.lanes.entry((rank, lane)).or_default().passed.min(step);
        let mut hops = self.lanes[&(rank, lane)].hops;
        for waited in &before[passed..] {
            if let Step::Wait { lane, step } = waited {
                hops = hops.max(self.end_of((rank, *lane as usize), *step as usize));
            }
        }
        for (from, channel) in one.sources.iter().filter_map(peer) {
            let message = self.under_way.get_mut(&(from, rank, channel)).and_then(VecDeque::pop_front);
            hops = hops.max(message.expect("a move comes after those whose messages it takes"));
        }
        for (to, channel) in one.destinations.iter().filter_map(peer) {
            let is_inside = layout.domain(to) == layout.domain(rank);
            let arrived = if is_inside { (hops.0, hops.1 + 1) } else { (hops.0 + 1, hops.1) };
            self.longest = self.longest.max(arrived);
            self.under_way.entry((rank, to, channel)).or_default().push_back(arrived);
        }
        let chain = self.lanes.get_mut(&(rank, lane)).expect("it was just made");
        (chain.hops, chain.passed) = (hops, step);
        chain.ends.push((step, hops));
    }

    fn end_of(&self, lane: (Rank, usize), step: usize) -> Hops {
        let ends = self.lanes.get(&lane).map_or(&[][..], |chain| &chain.ends);
        ends.iter().rev().find(|(ended, _)| *ended <= step).map_or((0, 0), |(_, hops)| *hops)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::{find, registry};
    use crate::plan::Problem;
    use crate::plan::check::check;
    use crate::plan::check::tests::samples;
    use crate::plan::msccl::{Protocol, read, write};
    use crate::types::Collective;

    /// On a machine without domains it is what the proof counted.
    #[test]
    fn in_one_domain_it_is_what_the_proof_counted() {
        let registered = registry().iter().flat_map(|algorithm| {
            let problem = |collective| Problem::new(collective, 6);
            let fitting = Collective::ALL.map(problem).into_iter().filter(|problem| algorithm.fits(problem).is_ok());
            fitting.map(|problem| algorithm.plan(&problem)).collect::<Vec<_>>()
        });
        for plan in registered.chain(samples::all()) {
            let checked = check(&plan).unwrap_or_else(|flaw| panic!("{plan:?}: {flaw}"));
            let (facts, stage) = (checked.facts(), stage(&checked, Layout::Flat));
            assert_eq!((stage.hops, stage.crossing_hops, stage.crossing_chunks), (facts.hops, 0, 0), "{plan:?}");
            let passed = (stage.chunks_out, stage.chunks_in);
            assert_eq!(passed, (facts.chunks_sent, facts.chunks_received), "{plan:?}");
            assert_eq!(stage.messages_out, facts.messages_sent, "{plan:?}");
            assert!(stage.local_chunks <= facts.chunks_reduced + facts.chunks_copied, "{plan:?}");
        }
    }

    /// Two domains of 4: of a ring's 8 links two cross, and each chain of 14 crosses at every fourth.
    #[test]
    fn a_ring_crosses_where_its_domains_meet() {
        let plan = find("ring").unwrap().plan(&Problem::new(Collective::AllReduce, 8));
        let ring = |plan| stage(&check(plan).unwrap(), Layout::Blocks(4));
        let found = ring(&plan);
        assert_eq!((found.hops + found.crossing_hops, found.crossing_hops), (14, 4));
        assert_eq!((found.chunks_out, found.chunks_in, found.crossing_chunks), (14, 14, 14));
        assert_eq!((found.messages_out, found.messages_in, found.crossing_messages), (14, 14, 14));
        // As a file of blocks that wait for each other it is the same.
        let text = write(&check(&plan).unwrap(), Protocol::Simple).unwrap();
        assert_eq!(ring(&read(&text).unwrap()), found);
    }
}
