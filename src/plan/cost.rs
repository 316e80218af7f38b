//! The closed-form price of a plan on a host: hops, messages, bytes sent, bytes touched locally.

use super::Promise;
use super::check::Facts;
use super::chunk::Grid;
use crate::topology::host::Constants;

/// The time of a collective of `bytes` (nccl-tests convention), in its two parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    pub latency_ns: f64,
    pub bandwidth_ns: f64,
}

impl Price {
    pub fn total_ns(&self) -> f64 {
        self.latency_ns + self.bandwidth_ns
    }
}

/// What the busiest rank does, in messages and chunks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Work {
    pub hops: f64,
    pub messages_sent: f64,
    pub chunks_moved: f64,
    /// Folded and copied in the rank's own memory, beside what its messages move.
    pub chunks_local: f64,
}

impl Work {
    /// From the formula alone, before a plan is built: every received chunk is folded or copied once.
    pub fn promised(promise: &Promise) -> Work {
        Work {
            hops: f64::from(promise.hops),
            messages_sent: promise.chunks_sent as f64,
            chunks_moved: promise.chunks_sent.max(promise.chunks_received) as f64,
            chunks_local: promise.chunks_received as f64,
        }
    }

    /// As the proof counted it.
    pub fn counted(facts: &Facts) -> Work {
        Work {
            hops: f64::from(facts.hops),
            messages_sent: facts.messages_sent as f64,
            chunks_moved: facts.chunks_sent.max(facts.chunks_received) as f64,
            chunks_local: (facts.chunks_reduced + facts.chunks_copied) as f64,
        }
    }
}

/// Latency: every hop of the longest chain, and every further message of the busiest sender. Bandwidth: the chunks of the busiest
/// rank, and, of a pipeline, those that pass before its last stage has anything to do.
pub fn price(grid: &Grid, work: &Work, constants: &Constants, bytes: u64) -> Price {
    let chunk_bytes = bytes as f64 / f64::from(grid.blocks * grid.tiles);
    let fill = if grid.tiles > 1 { work.hops } else { 0.0 };
    let moved_ns = (work.chunks_moved + fill) * constants.ns_per_byte;
    let local_ns = work.chunks_local * constants.local_ns_per_byte;
    Price {
        latency_ns: work.hops * constants.latency_ns + (work.messages_sent - work.hops).max(0.0) * constants.message_ns,
        bandwidth_ns: chunk_bytes * (moved_ns + local_ns),
    }
}
