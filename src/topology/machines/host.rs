//! This host as a machine: its cores share one memory.

use super::{HOST, Refused, Request};
use crate::topology::fabric::{Gpu, Network, Reached, Run, Topology};
use crate::topology::host::Constants;
use crate::topology::outline::{self, Joins, Outline, Star};
use crate::topology::quantity::{Constant, Origin, Quantity};
use crate::topology::unit::LinkClass;
use crate::types::TransportKind;

/// What [`Constants`] were fitted to.
const SOURCE: &str =
    "unisono bench all_reduce of 2 processes through shared memory, 2 cores of an Intel Xeon (Emerald Rapids class)";

pub fn topology(request: &Request) -> Result<Topology, Refused> {
    let ranks = request.gpus_per_unit.unwrap_or(request.cores);
    if ranks == 0 || ranks > outline::MOST_GPUS {
        return Err(Refused::Ranks { machine: HOST, most: outline::MOST_GPUS, asked: ranks });
    }
    if request.units != 1 || request.nic_gbps_per_gpu.is_some() {
        return Err(Refused::NoNetwork { machine: HOST });
    }
    let constants = Constants::of(TransportKind::Shm, ranks, request.cores);
    let memory = Star {
        name: "memory".to_owned(),
        joins: Joins::AllGpus,
        cards: 1,
        reduces: false,
        class: LinkClass::Host,
        bytes_per_s: 1e9 / constants.ns_per_byte,
        latency_ns: constants.latency_ns / 2.0,
        shared_bytes_per_s: None,
        at: 0,
    };
    let outline = Outline {
        name: HOST.to_owned(),
        gpus: (0..ranks).map(|core| format!("core{core}")).collect(),
        gpus_per_host: ranks,
        switches: vec![memory],
        ..Outline::default()
    };
    let constant = |name: &'static str, unit: &'static str, value: f64| Constant {
        name: name.into(),
        unit: unit.into(),
        quantity: Quantity::new(value, Origin::Fitted, SOURCE),
    };
    Ok(Topology {
        name: HOST.to_owned(),
        gpu: Gpu { model: "core".to_owned(), memory_bytes_per_s: 1e9 / constants.local_ns_per_byte },
        kinds: vec![outline.unit().expect("a star is sound")],
        runs: vec![Run { kind: 0, count: 1 }],
        network: Network { name: "none".to_owned(), latency_ns: 0.0, unit_bytes_per_s: None },
        reached: Reached::default(),
        constants: vec![
            constant("shared memory of a rank", "GB/s", 1.0 / constants.ns_per_byte),
            constant("shared memory hop, rank to rank", "us", constants.latency_ns / 1e3),
            constant("folds and copies in own memory", "GB/s", 1.0 / constants.local_ns_per_byte),
        ],
    })
}
