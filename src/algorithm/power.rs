//! Any number of ranks made a power of two: the first ranks act in pairs.
//!
//! With N = P + E ranks, P the largest power of two within N, ranks 2i and 2i+1 for i < E are one participant: the even
//! rank leads, the odd one hands in its contribution before and gets the result after. Participants keep the order of
//! ranks, so neighbouring participants stand for neighbouring ranks and a run of participants for a run of ranks.

use super::chains::{busy_in_rounds, in_rounds};
use crate::plan::{Operand, Order, Problem, Promise, Stage};
use crate::types::Rank;
use std::ops::Range;

/// Who takes part in exchanges that need a power of two.
#[derive(Clone, Copy)]
pub(super) struct Core {
    /// Number of participants.
    pub power: usize,
    /// Number of ranks that are led.
    pub extras: usize,
}

/// What an exchange between participants passes, in chunks: handed in to leaders before the rounds, at each round's distance, and given
/// back after them.
pub(super) struct Exchange {
    pub core: Core,
    pub handed_in: u64,
    pub rounds: Vec<(usize, u64)>,
    pub got_back: u64,
}

impl Exchange {
    fn count(&self) -> usize {
        self.rounds.len() + 2 * self.core.led()
    }

    /// From whom a rank hears in a round, and how many chunks.
    ///
    /// What a leader's first partner has for it comes by the same port as what is handed in, if that partner does not wait itself: both
    /// are there when the one is.
    fn hears(&self, round: usize, rank: Rank) -> Option<(Rank, u64)> {
        let (core, led) = (self.core, self.core.led());
        let first = self.rounds.first().copied();
        let with_first = |index: usize| first.filter(|(distance, _)| index ^ distance >= core.extras);
        match core.role(rank) {
            Role::Led { leader } => (round == led + self.rounds.len()).then_some((leader, self.got_back)),
            Role::Leads { extra, index } if round < led => {
                let beside = with_first(index).map_or(0, |(_, chunks)| chunks.min(self.handed_in));
                Some((extra?, self.handed_in + beside))
            }
            Role::Leads { index, extra } => {
                let (distance, chunks) = self.rounds.get(round - led)?;
                let came_beside = round == led && extra.is_some() && with_first(index).is_some();
                Some((core.leader(index ^ distance), if came_beside { 0 } else { *chunks }))
            }
        }
    }

    pub fn stages(&self, problem: &Problem, promise: Promise) -> Vec<Stage> {
        in_rounds(problem, promise, self.count(), |round, rank| self.hears(round, rank))
    }

    /// The same with the number of messages in the place of chunks.
    pub fn of_messages(&self) -> Exchange {
        let rounds = self.rounds.iter().map(|(distance, chunks)| (*distance, (*chunks).min(1))).collect();
        Exchange { core: self.core, handed_in: self.handed_in.min(1), rounds, got_back: self.got_back.min(1) }
    }

    /// Chunks for whose time ports are busy on the longest chain, where all ways are alike.
    pub fn longest(&self) -> u64 {
        busy_in_rounds(self.core.power + self.core.extras, self.count(), |round, rank| self.hears(round, rank))
    }
}

pub(super) enum Role {
    /// Takes part as participant `index`, for itself and perhaps for an extra rank.
    Leads { index: usize, extra: Option<Rank> },
    /// Waits for `leader` to do the work.
    Led { leader: Rank },
}

impl Core {
    pub fn new(ranks: usize) -> Core {
        let power = 1 << ranks.ilog2();
        Core { power, extras: ranks - power }
    }

    /// Rounds of an exchange between participants.
    pub fn rounds(&self) -> usize {
        self.power.ilog2() as usize
    }

    /// 1 if some ranks are led, else 0: messages that hand in, and again messages that get back.
    pub fn led(&self) -> usize {
        self.extras.min(1)
    }

    /// Messages on the longest chain through one exchange at all distances, handing in and getting back included.
    ///
    /// A chain that crosses in every round ends at the opposite participant, P-1-i for i; that one and i are both
    /// leaders of pairs only if more than half of all participants are.
    pub fn hops(&self) -> usize {
        self.rounds() + self.led() + usize::from(2 * self.extras > self.power)
    }

    pub fn role(&self, rank: Rank) -> Role {
        let paired = 2 * self.extras;
        if rank >= paired {
            Role::Leads { index: rank - self.extras, extra: None }
        } else if rank.is_multiple_of(2) {
            Role::Leads { index: rank / 2, extra: Some(rank + 1) }
        } else {
            Role::Led { leader: rank - 1 }
        }
    }

    /// The rank that acts for a participant.
    pub fn leader(&self, participant: usize) -> Rank {
        participant + participant.min(self.extras)
    }

    /// The ranks for which a run of participants stands.
    pub fn ranks(&self, participants: Range<usize>) -> Range<Rank> {
        self.leader(participants.start)..self.leader(participants.end)
    }

    /// Ranks that stand behind the first 1, 2, 4, ... participants together, up to half of them. No aligned run of as
    /// many participants stands for more.
    pub fn doubling_runs(&self) -> usize {
        (0..self.rounds()).map(|round| (1 << round) + self.extras.min(1 << round)).sum()
    }

    /// What a participant contributes: its rank's input, or the sum of its two ranks'.
    pub fn contribution(&self, participant: usize) -> Order {
        let leader = self.leader(participant);
        if participant < self.extras {
            Order::Fold(vec![Order::Rank(leader), Order::Rank(leader + 1)])
        } else {
            Order::Rank(leader)
        }
    }

    /// The balanced tree over runs of participants that exchanges at distance 1, 2, 4, ... fold.
    pub fn balanced(&self, participants: Range<usize>) -> Order {
        if participants.len() == 1 {
            return self.contribution(participants.start);
        }
        let middle = participants.start + participants.len() / 2;
        Order::Fold(vec![self.balanced(participants.start..middle), self.balanced(middle..participants.end)])
    }
}

/// Own and received partial sums, the participants with the lower indices on the left.
pub(super) fn lower_left(index: usize, distance: usize, own: Operand, received: Operand) -> [Operand; 2] {
    if index & distance == 0 { [own, received] } else { [received, own] }
}
