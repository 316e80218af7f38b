//! Counts what a plan costs, rank by rank.

use super::code::{Code, Move, Operand};
use crate::types::Rank;

#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) chunks_sent: u64,
    pub(super) chunks_received: u64,
    pub(super) messages_sent: u64,
    pub(super) chunks_reduced: u64,
    pub(super) chunks_copied: u64,
}

pub(super) struct Tally {
    pub(super) hops: u32,
    /// Of all ranks.
    pub(super) moves: u64,
    ranks: Vec<Counts>,
}

impl Tally {
    pub(super) fn new(code: &Code) -> Tally {
        Tally { hops: 0, moves: 0, ranks: vec![Counts::default(); code.lanes_of.len()] }
    }

    pub(super) fn add(&mut self, rank: Rank, code: &Code, step: &Move) {
        let (sources, destinations) = (code.sources(step), code.destinations(step));
        let local =
            |operands: &[Operand]| operands.iter().filter(|operand| matches!(operand, Operand::Local(_))).count();
        let (local_sources, local_destinations) = (local(sources), local(destinations));
        let received = sources.len() - local_sources;
        let sent = destinations.len() - local_destinations;
        // Storing what was received or folded is part of that; every other store is a copy.
        let is_work_already = received > 0 || sources.len() > 1;
        let copies = local_destinations.saturating_sub(usize::from(is_work_already));
        let len = u64::from(step.len);
        self.moves += 1;
        let counts = &mut self.ranks[rank];
        counts.chunks_sent += sent as u64 * len;
        counts.chunks_received += received as u64 * len;
        counts.messages_sent += sent as u64;
        counts.chunks_copied += copies as u64 * len;
        if step.reduction.is_some() {
            counts.chunks_reduced += (sources.len() as u64 - 1) * len;
        }
    }

    /// Of each count the busiest rank's.
    pub(super) fn busiest(&self) -> Counts {
        let most = |count: fn(&Counts) -> u64| self.ranks.iter().map(count).max().unwrap_or(0);
        Counts {
            chunks_sent: most(|counts| counts.chunks_sent),
            chunks_received: most(|counts| counts.chunks_received),
            messages_sent: most(|counts| counts.messages_sent),
            chunks_reduced: most(|counts| counts.chunks_reduced),
            chunks_copied: most(|counts| counts.chunks_copied),
        }
    }
}
