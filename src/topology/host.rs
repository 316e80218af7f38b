//! What a host's transports cost: four constants each, measured, with their birthplace.

use super::quantity::{Constant, Origin, Quantity};
use crate::types::TransportKind;
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

/// What they were fitted to.
const SOURCE: &str = "unisono bench all_reduce of 2 ranks, 2 cores of an Intel Xeon (Emerald Rapids class)";

/// What a hop takes where ranks outnumber processors: the rank that is waited for must first be given one.
const CROWDED_LATENCY_NS: f64 = 2_000.0;

impl Constants {
    /// For communicators whose slowest pairs use this transport, with `ranks` on a host of `processors`; all ranks must give the
    /// same numbers.
    ///
    /// Fitted to `unisono bench all_reduce --ranks 2 --algorithm one_shot` and `two_shot`, 8 B to 16 MiB, on 2 cores of an Intel
    /// Xeon (Emerald Rapids class, virtual machine), 24 November 2026; the crowded latency to `--ranks 4` there. Other machines
    /// differ, but the order of the algorithms hardly does.
    pub fn of(kind: TransportKind, ranks: usize, processors: usize) -> Constants {
        let constants = match kind {
            TransportKind::Memory => {
                Constants { latency_ns: 300.0, message_ns: 40.0, ns_per_byte: 0.08, local_ns_per_byte: 0.0002 }
            }
            TransportKind::Shm => {
                Constants { latency_ns: 300.0, message_ns: 40.0, ns_per_byte: 0.16, local_ns_per_byte: 0.0008 }
            }
            TransportKind::Tcp => {
                Constants { latency_ns: 3_500.0, message_ns: 1_500.0, ns_per_byte: 0.2, local_ns_per_byte: 0.009 }
            }
        };
        if ranks > processors {
            Constants { latency_ns: constants.latency_ns.max(CROWDED_LATENCY_NS), ..constants }
        } else {
            constants
        }
    }

    /// The same numbers with what they were obtained from.
    pub fn with_sources(&self) -> Vec<Constant> {
        let constant = |name: &'static str, unit: &'static str, value: f64| Constant {
            name: name.into(),
            unit: unit.into(),
            quantity: Quantity::new(value, Origin::Fitted, SOURCE),
        };
        vec![
            constant("bytes of a large message", "GB/s", 1.0 / self.ns_per_byte),
            constant("hop, rank to rank", "us", self.latency_ns / 1e3),
            constant("each further message of a rank", "us", self.message_ns / 1e3),
            constant("folds and copies in own memory", "GB/s", 1.0 / self.local_ns_per_byte),
        ]
    }
}
