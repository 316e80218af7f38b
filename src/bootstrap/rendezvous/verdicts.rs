//! Why a meeting can't succeed, in words for every rank.

use super::Reception;
use crate::bootstrap::graph::ranges;
use crate::bootstrap::message::{Introduction, Verdict};
use crate::error::ErrorKind;
use crate::types::Rank;

impl Reception<'_> {
    pub(super) fn verdict_on_time(&self) -> Verdict {
        let absent: Vec<Rank> = self.absent().collect();
        let turned_away = match self.door.turned_away() {
            none if none.total() == 0 => String::new(),
            some => format!("; turned away were connections: {some}"),
        };
        let size = self.job.size;
        Verdict {
            kind: ErrorKind::Timeout,
            message: format!("{} of {size} did not come to {} in the time given{turned_away}", ranges(&absent), self.place),
            remedy: "look at the output of those ranks, whether they were started and can reach this address, or give a longer \
                     timeout"
                .to_owned(),
            peer: absent.first().copied(),
        }
    }

    /// The ranks that have come keep their connections until all have, so nothing would make room.
    pub(super) fn verdict_on_starvation(&self) -> Verdict {
        let absent: Vec<Rank> = self.absent().collect();
        Verdict {
            kind: ErrorKind::Resource,
            message: format!("rank 0 has no file descriptor left to let in {} of {}", ranges(&absent), self.job.size),
            remedy: "raise the limit of open files (`ulimit -n`) of rank 0".to_owned(),
            peer: Some(0),
        }
    }

    fn absent(&self) -> impl Iterator<Item = Rank> {
        (0..self.job.size).filter(|rank| !self.came[*rank])
    }

    pub(super) fn verdict_on_leaver(&self, rank: Rank) -> Verdict {
        let absent: Vec<Rank> = self.absent().collect();
        Verdict {
            kind: ErrorKind::PeerLost,
            message: format!("rank {rank} ended or gave up before {} had come to {}", ranges(&absent), self.place),
            remedy: format!("look at the output of rank {rank}"),
            peer: Some(rank),
        }
    }

    pub(super) fn verdict_on_sizes(&self, other: &Introduction) -> Verdict {
        let message = format!(
            "two jobs meet at one place, or ranks differ in the size of the job: {} says {} ranks, {} says {}",
            describe(&self.own),
            self.job.size,
            describe(other),
            other.size
        );
        self.verdict_on_mixture(message, other.rank)
    }

    pub(super) fn verdict_on_rank(&self, other: &Introduction) -> Verdict {
        self.verdict_on_mixture(format!("{} calls itself one of {}", describe(other), self.job.size), other.rank)
    }

    pub(super) fn verdict_on_twins(&self, seated: &Introduction, other: &Introduction) -> Verdict {
        let message = format!("two processes are rank {}: {} and {}", other.rank, describe(seated), describe(other));
        self.verdict_on_mixture(message, other.rank)
    }

    fn verdict_on_mixture(&self, message: String, peer: Rank) -> Verdict {
        Verdict {
            kind: ErrorKind::Rendezvous,
            message: format!("{message} (at {})", self.place),
            remedy: "give every process of the job its own rank, and every job its own UNISONO_JOB_ID or MASTER_PORT"
                .to_owned(),
            peer: Some(peer),
        }
    }
}

fn describe(who: &Introduction) -> String {
    format!("rank {} (pid {} on host {})", who.rank, who.pid, who.host)
}
