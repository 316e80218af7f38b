//! The closed-form price of a plan on a host, from what its algorithm promises: hops, messages, bytes.

use super::{Plan, Promise};
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

/// Latency: every hop of the longest chain, and every further message of the busiest sender. Bandwidth: the chunks of the busiest
/// rank, and, of a pipeline, those that pass before its last stage has anything to do.
pub fn price(plan: &Plan, promise: &Promise, constants: &Constants, bytes: u64) -> Price {
    let grid = plan.grid();
    let chunk_bytes = bytes as f64 / f64::from(grid.blocks * grid.tiles);
    let hops = f64::from(promise.hops);
    let busiest = promise.chunks_sent.max(promise.chunks_received) as f64;
    let fill = if grid.tiles > 1 { hops } else { 0.0 };
    Price {
        latency_ns: hops * constants.latency_ns + (promise.chunks_sent as f64 - hops).max(0.0) * constants.message_ns,
        bandwidth_ns: (busiest + fill) * chunk_bytes * constants.ns_per_byte,
    }
}
