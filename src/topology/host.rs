//! What a host's transports cost: four constants each, measured, with their birthplace.

use crate::transport::TransportKind;
use serde::{Deserialize, Serialize};

/// The cost of messages among the ranks of a communicator.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Constants {
    /// From the start of a send until the receiver has a small message.
    pub latency_ns: f64,
    /// What each further message costs its sender.
    pub message_ns: f64,
    /// Of a large message, per byte, both sides busy.
    pub ns_per_byte: f64,
    /// Of a fold or copy in a rank's own memory, per byte of its result.
    pub local_ns_per_byte: f64,
}

impl Constants {
    /// For communicators whose slowest pairs use this transport. Measured with `unisono bench send_recv --ranks 2` and
    /// `unisono bench all_reduce --algorithm ...` on 2 cores of an Intel Xeon (Emerald Rapids class, virtual machine), November
    /// 2026; other machines differ, but the order of the algorithms hardly does.
    pub const fn of(kind: TransportKind) -> Constants {
        match kind {
            TransportKind::Memory => {
                Constants { latency_ns: 200.0, message_ns: 40.0, ns_per_byte: 0.04, local_ns_per_byte: 0.13 }
            }
            TransportKind::Shm => {
                Constants { latency_ns: 200.0, message_ns: 40.0, ns_per_byte: 0.08, local_ns_per_byte: 0.13 }
            }
            TransportKind::Tcp => {
                Constants { latency_ns: 12_000.0, message_ns: 3_000.0, ns_per_byte: 0.35, local_ns_per_byte: 0.10 }
            }
        }
    }
}
