//! This host as a machine: its cores share one memory.

use super::{HOST, Refused, Request};
use crate::topology::fabric::{Gaps, Gpu, Network, Reached, Run, Topology};
use crate::topology::host::Constants;
use crate::topology::outline::{self, Joins, Outline, Star};
use crate::topology::unit::LinkClass;
use crate::types::{Collective, TransportKind};

/// What [`topology`] says of rates holds for an all-reduce of so many bytes.
const USUAL_BYTES: u64 = 1 << 20;

pub fn topology(request: &Request) -> Result<Topology, Refused> {
    let ranks = request.gpus_per_unit.unwrap_or(request.cores);
    if ranks == 0 || ranks > outline::MOST_GPUS {
        return Err(Refused::Ranks { machine: HOST, most: outline::MOST_GPUS, asked: ranks });
    }
    if request.units != 1 || request.nic_gbps_per_gpu.is_some() {
        return Err(Refused::NoNetwork { machine: HOST });
    }
    let constants = Constants::of(TransportKind::Shm, ranks, request.cores).with_speeds(request.speeds);
    Ok(host(&constants, ranks, None))
}

/// The ranks of a host, each with a link of the rate that it has at best in a collective of so many bytes, or in an all-reduce of
/// 1 MiB.
///
/// # Panics
/// If there are no ranks, or more than [`MOST_GPUS`](super::MOST_GPUS).
pub fn host(constants: &Constants, ranks: usize, work: Option<(Collective, u64)>) -> Topology {
    let (collective, bytes) = work.unwrap_or((Collective::AllReduce, USUAL_BYTES));
    let memory = Star {
        name: "memory".to_owned(),
        joins: Joins::AllGpus,
        cards: 1,
        reduces: false,
        class: LinkClass::Host,
        bytes_per_s: constants.link_bytes_per_s(collective, bytes),
        latency_ns: constants.inside(bytes as f64).hop_ns / 2.0,
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
    let copy_ns_per_byte = constants.speeds.copy_ns_per_byte(constants.working_set_bytes(bytes as f64));
    Topology {
        name: HOST.to_owned(),
        // A copy reads and writes.
        gpu: Gpu { model: Gpu::CORE.to_owned(), memory_bytes_per_s: 2e9 / copy_ns_per_byte },
        kinds: vec![outline.unit().expect("a star is sound")],
        runs: vec![Run { kind: 0, count: 1 }],
        network: Network { name: "none".to_owned(), latency_ns: 0.0, unit_bytes_per_s: None },
        reached: Reached::default(),
        gaps: Gaps::default(),
        constants: constants.with_sources(bytes),
    }
}
