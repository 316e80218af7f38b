//! The channels and speeds that NCCL's graph search finds on regular machines, in closed form.
//!
//! NCCL tries speeds from a fixed list, the highest first, and keeps the solution with the largest product of channels and speed;
//! channels are then doubled at half the speed while they are fast (`ncclTopoCompute` and `ncclTopoDupChannels` in
//! `src/graph/search.cc`). On a switched domain the search itself has nothing to decide, so its result follows from the rates.

use super::tuning::Tuning;
use super::world::{Generation, World};

/// Channels of one search and the bandwidth of each, GB/s, within a domain and between domains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Graph {
    pub channels: usize,
    pub intra: f64,
    pub inter: f64,
}

const NONE: Graph = Graph { channels: 0, intra: 0.0, inter: 0.0 };

/// The most channels that a ring search may find.
const MAX_RING_CHANNELS: usize = 32;
/// The most GPUs among which an in-switch reduction divides the data.
pub const MAX_NVLS_HEADS: usize = 32;
/// What PCIe 5 x16 carries by NCCL's table, GB/s: no single path to a network is faster, unless NIC and GPU share a newer bus.
const PCIE_RATE: f64 = 48.0;
const PCIE_6_RATE: f64 = 96.0;

fn intra_speeds(generation: Generation) -> &'static [f64] {
    match generation {
        Generation::Ampere => &[40.0, 30.0, 20.0, 18.0, 15.0, 12.0, 10.0, 9.0, 7.0, 6.0, 5.0, 4.0, 3.0],
        Generation::Hopper => &[60.0, 50.0, 40.0, 30.0, 24.0, 20.0, 15.0, 12.0, 11.0, 6.0, 3.0],
        Generation::Blackwell => &[90.0, 80.0, 70.0, 60.0, 50.0, 45.0, 40.0, 30.0, 24.0, 20.0, 19.0, 18.0],
    }
}

fn inter_speeds(generation: Generation) -> &'static [f64] {
    match generation {
        Generation::Ampere => {
            &[48.0, 30.0, 28.0, 24.0, 20.0, 18.0, 15.0, 12.0, 10.0, 9.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.4, 1.2, 0.24, 0.12]
        }
        Generation::Hopper => {
            &[48.0, 45.0, 42.0, 40.0, 30.0, 24.0, 22.0, 20.0, 17.5, 15.0, 12.0, 6.0, 3.0, 2.4, 1.2, 0.24, 0.12]
        }
        Generation::Blackwell => {
            &[96.0, 48.0, 45.0, 42.0, 40.0, 30.0, 24.0, 22.0, 20.0, 17.5, 15.0, 12.0, 6.0, 3.0, 2.4, 1.2, 0.24, 0.12]
        }
    }
}

/// The three searches that prices need.
#[derive(Clone, Copy, Debug)]
pub struct Graphs {
    pub ring: Graph,
    pub tree: Graph,
    pub nvls: Graph,
}

impl Graphs {
    pub fn of(world: &World, tuning: &Tuning) -> Graphs {
        let gpus = world.domains.iter().copied().min().unwrap_or(0);
        let total = tuning.nvlink_rate;
        if world.domains.len() == 1 {
            let speeds = intra_speeds(world.generation);
            let ring = doubled(best(speeds, total, total, MAX_RING_CHANNELS / 2), world.generation);
            Graphs { ring, tree: ring, nvls: heads(world, gpus, speeds, total, total) }
        } else {
            let speeds = inter_speeds(world.generation);
            let path = path_to_network(world);
            let nvlink = if gpus == 1 { f64::INFINITY } else { total };
            let ring = doubled(best(speeds, nvlink, path, gpus.min(MAX_RING_CHANNELS / 2)), world.generation);
            let faster = speeds.iter().rev().copied().find(|speed| *speed > ring.intra);
            let room = total * gpus as f64 / (gpus.max(2) - 1) as f64;
            let intra = faster.filter(|speed| speed * ring.channels as f64 <= room).unwrap_or(ring.intra);
            Graphs { ring, tree: Graph { intra, ..ring }, nvls: heads(world, gpus, speeds, total, path) }
        }
    }
}

/// What one GPU reaches of the network, GB/s.
fn path_to_network(world: &World) -> f64 {
    let nic = world.nic_bytes_per_s / 1e9;
    nic.min(if nic > 60.0 { PCIE_6_RATE } else { PCIE_RATE })
}

/// The speed whose product with its number of channels is largest; of equals the highest.
fn best(speeds: &[f64], total: f64, path: f64, max_channels: usize) -> Graph {
    let mut best = NONE;
    for &speed in speeds.iter().filter(|speed| **speed <= path) {
        let channels = ((total / speed) as usize).min(max_channels);
        if channels as f64 * speed > best.channels as f64 * best.inter {
            best = Graph { channels, intra: speed, inter: speed };
        }
    }
    if best.channels == 0 { Graph { channels: 1, intra: path.min(total), inter: path.min(total) } } else { best }
}

fn doubled(graph: Graph, generation: Generation) -> Graph {
    let slow = graph.intra < 25.0 || (generation > Generation::Ampere && graph.intra < 50.0 && graph.channels > 4);
    if slow {
        return graph;
    }
    Graph { channels: graph.channels * 2, intra: graph.intra / 2.0, inter: graph.inter / 2.0 }
}

/// In-switch reduction: one channel for every GPU of the domain that reduces a share.
fn heads(world: &World, gpus: usize, speeds: &[f64], total: f64, path: f64) -> Graph {
    if !world.in_switch || world.generation == Generation::Ampere || gpus < 2 {
        return NONE;
    }
    let channels = gpus.min(MAX_NVLS_HEADS);
    let fits = |speed: &f64| *speed <= path && *speed * channels as f64 <= total;
    let intra = speeds.iter().copied().find(fits).unwrap_or(total.min(path) / channels as f64);
    // A second pass raises the speed between domains up to twice that within; of one domain it costs nothing there.
    let mut inter = intra;
    for &speed in speeds.iter().rev().filter(|speed| **speed > intra && **speed <= path) {
        if inter < 2.0 * intra {
            inter = speed;
        }
    }
    Graph { channels, intra, inter }
}
