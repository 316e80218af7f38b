//! The closed-form price of a plan on hosts, from its [stages](super::Stage): processors do the copying, and ranks may have to share them.

use super::Stage;
use super::price::{Bottleneck, Price};
use crate::topology::host::Constants;
use crate::types::Collective;

/// What is priced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exchange {
    pub collective: Collective,
    pub ranks: usize,
    /// By the convention of nccl-tests.
    pub bytes: f64,
    pub chunk_bytes: f64,
    /// Sent by the rank that sends most.
    pub messages: u64,
    /// In a rank's own memory, beside what messages bring.
    pub copied_chunks: u64,
}

/// Latency: every hop of every stage, and every further message of the busiest sender. Bandwidth: what the busiest rank sends and
/// receives, or, where ranks share processors, what all of them do; and, of a pipeline, what passes before its last rank has
/// anything to do.
///
/// A rank sends and receives one after the other, so that stages and tiles hide nothing from each other but what crosses to other hosts.
pub fn price(stages: &[Stage], exchange: &Exchange, constants: &Constants) -> Price {
    let Exchange { collective, ranks, bytes, chunk_bytes, messages, copied_chunks } = *exchange;
    let (inside, crossing) = (constants.inside(bytes), constants.crossing(bytes));
    let (mut latency_ns, mut fill_ns) = (0.0, 0.0);
    let (mut sent_ns, mut received_ns, mut crossing_ns) = (0.0, 0.0, 0.0);
    for stage in stages {
        latency_ns += f64::from(stage.hops) * inside.hop_ns + f64::from(stage.crossing_hops) * crossing.hop_ns;
        sent_ns += stage.chunks_out as f64 * chunk_bytes * inside.send_ns_per_byte;
        received_ns += stage.chunks_in as f64 * chunk_bytes * inside.receive_ns_per_byte;
        let crossing_chunks = (stage.crossing_chunks + stage.idle_chunks) as f64;
        crossing_ns += crossing_chunks * chunk_bytes * (crossing.send_ns_per_byte + crossing.receive_ns_per_byte);
        if stage.pipelined {
            // The last hop's time is that of the tiles which are counted.
            let hops = f64::from((stage.hops + stage.crossing_hops).saturating_sub(1));
            let way = if stage.crossing_hops > 0 { &crossing } else { &inside };
            fill_ns += hops * chunk_bytes * (way.send_ns_per_byte + way.receive_ns_per_byte);
        }
    }
    let hops: u32 = stages.iter().map(|stage| stage.hops + stage.crossing_hops).sum();
    let crosses = stages.iter().any(|stage| stage.crossing_hops > 0);
    let message_ns = if crosses { crossing.message_ns } else { inside.message_ns };
    latency_ns += messages.saturating_sub(hops.into()) as f64 * message_ns;
    let turns = constants.ranks_per_processor();
    let copied_ns = copied_chunks as f64 * chunk_bytes * inside.copy_ns_per_byte;
    let inside_ns = copied_ns
        + if inside.send_ns_per_byte == 0.0 {
            // Nobody works for what is lent, but who reads it reads at the rate of whoever has it.
            let lent = stages.iter().map(|stage| stage.chunks_out as f64).sum::<f64>() * chunk_bytes;
            received_ns.max(lent * inside.receive_ns_per_byte)
        } else if collective.has_root() {
            sent_ns.max(received_ns)
        } else {
            sent_ns + received_ns
        };
    let shared_ns = if collective.has_root() {
        let every_byte_ns = inside.send_ns_per_byte + inside.receive_ns_per_byte;
        (all_bytes(collective, ranks, bytes) * every_byte_ns / constants.processors as f64).min(inside_ns * turns)
    } else {
        inside_ns * turns
    };
    let bandwidth_ns = inside_ns.max(shared_ns) + crossing_ns * turns + fill_ns;
    let terms = [
        (latency_ns, Bottleneck::Latency),
        (bandwidth_ns - crossing_ns * turns, Bottleneck::Inside),
        (crossing_ns * turns, Bottleneck::Network),
    ];
    let bottleneck = terms.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).expect("there are three").1;
    Price { latency_ns, bandwidth_ns, bottleneck }
}

/// What all ranks of a collective with a root receive together, at least.
fn all_bytes(collective: Collective, ranks: usize, bytes: f64) -> f64 {
    let others = ranks.saturating_sub(1) as f64;
    match collective {
        Collective::Broadcast | Collective::Reduce => others * bytes,
        _ => others / ranks as f64 * bytes,
    }
}
