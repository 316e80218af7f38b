//! What a pair takes: a few physical terms with constants fitted to published measurements.

use super::constants::{Constants, HostLaunch};
use super::world::{Cpu, Network, World};
use super::{Algorithm, Launch, Protocol, Request, Settings};
use crate::types::Collective;

/// A time in parts that add up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Time {
    /// What an empty call would take.
    pub latency_us: f64,
    /// What the bytes add.
    pub bandwidth_us: f64,
}

impl Time {
    pub fn total_us(&self) -> f64 {
        self.latency_us + self.bandwidth_us
    }
}

/// One world, seen through the fitted constants.
pub struct Effective<'a> {
    world: &'a World,
    settings: &'a Settings,
    constants: &'a Constants,
    collective: Collective,
    element_bytes: usize,
    ranks: f64,
    domains: f64,
    /// GPUs of the smallest domain.
    per_domain: f64,
    /// GB/s of a GPU.
    nvlink: f64,
    nic: f64,
}

impl<'a> Effective<'a> {
    pub fn new(world: &'a World, settings: &'a Settings, constants: &'a Constants, request: &Request) -> Effective<'a> {
        Effective {
            world,
            settings,
            constants,
            collective: request.collective,
            element_bytes: request.dtype.size(),
            ranks: world.ranks() as f64,
            domains: world.domains.len() as f64,
            per_domain: world.domains.iter().copied().min().unwrap_or(1) as f64,
            nvlink: world.nvlink_bytes_per_s / 1e9,
            nic: world.nic_bytes_per_s / 1e9,
        }
    }

    pub fn time(&self, algorithm: Algorithm, protocol: Protocol, bytes: f64) -> Time {
        let time = match algorithm {
            Algorithm::Ring => self.ring(protocol, bytes),
            Algorithm::Tree => self.tree(protocol, bytes),
            Algorithm::Nvls => self.nvls(bytes),
            Algorithm::NvlsTree => self.nvls_tree(bytes),
            Algorithm::Pat => self.pat(bytes),
            Algorithm::SendReceive => self.all_to_all(bytes),
            Algorithm::CollNetDirect | Algorithm::CollNetChain => unreachable!("never enabled"),
        };
        self.launched(time)
    }

    /// A host that launches slower than its GPUs finish sets the pace.
    fn launched(&self, time: Time) -> Time {
        let gpus = match self.settings.launch {
            Launch::PerGpu => 1.0,
            Launch::OneThread => self.ranks.min(self.world.gpus_per_host as f64),
        };
        let HostLaunch { per_gpu_us } = self.constants.host_launch(self.world.cpu);
        let floor_us = gpus * per_gpu_us;
        if self.settings.launch == Launch::PerGpu || time.total_us() >= floor_us {
            return time;
        }
        Time { latency_us: time.latency_us.max(floor_us - time.bandwidth_us), ..time }
    }

    fn launch_us(&self) -> f64 {
        self.constants.launch_us + if self.world.cpu == Cpu::Grace { self.constants.grace_us } else { 0.0 }
    }

    fn hops(&self) -> (f64, f64) {
        let hops = match self.collective {
            Collective::AllReduce => 2.0 * (self.ranks - 1.0),
            _ => self.ranks - 1.0,
        };
        let inter = match self.collective {
            Collective::AllReduce => 2.0 * (self.domains - 1.0),
            _ => self.domains - 1.0,
        };
        (hops - inter, inter)
    }

    /// GB/s at which a domain's network cards together carry what leaves it.
    fn domain_network(&self) -> f64 {
        if self.domains > 1.0 { self.per_domain * self.nic * self.network_share() } else { f64::INFINITY }
    }

    fn network_share(&self) -> f64 {
        match self.world.network {
            Network::Efa => self.constants.efa_share,
            Network::InfiniBand | Network::Roce => self.constants.rdma_share,
        }
    }

    fn network_hop_us(&self, protocol: Protocol) -> f64 {
        let hop = match self.world.network {
            Network::Efa => self.constants.efa_hop_us,
            Network::InfiniBand | Network::Roce => self.constants.rdma_hop_us,
        };
        hop + if protocol == Protocol::Simple { self.constants.network_simple_us } else { 0.0 }
    }

    fn ring(&self, protocol: Protocol, bytes: f64) -> Time {
        let c = self.constants;
        let (base_us, hop_us, share, wire) = match protocol {
            Protocol::Ll => (0.0, c.ring_ll_hop_us, c.ring_ll_share, 0.5),
            Protocol::Ll128 => (c.ring_ll128_base_us, c.ring_ll128_hop_us, c.ring_ll128_share, 0.94),
            Protocol::Simple => (c.ring_simple_base_us, c.ring_simple_hop_us, c.ring_simple_share, 1.0),
        };
        let (intra, inter) = self.hops();
        let hops_us = intra * hop_us + inter * self.network_hop_us(protocol);
        let rate = (self.nvlink * share).min(self.domain_network() * wire);
        let moved = bytes
            * match self.collective {
                Collective::AllReduce => 2.0 * (self.ranks - 1.0) / self.ranks,
                Collective::Broadcast | Collective::Reduce => 1.0,
                _ => (self.ranks - 1.0) / self.ranks,
            };
        let own_us = bytes / self.ranks / (self.nvlink * c.own_block_share) / 1e3;
        let data_us = moved / rate / 1e3 + own_us;
        let fixed_us = self.launch_us() + base_us;
        match protocol {
            Protocol::Ll | Protocol::Ll128 => Time { latency_us: fixed_us + hops_us, bandwidth_us: data_us },
            // A step waits for its flag while the previous slice is copied.
            Protocol::Simple => Time { latency_us: fixed_us + hops_us, bandwidth_us: hops_us.hypot(data_us) - hops_us },
        }
    }

    fn tree(&self, protocol: Protocol, bytes: f64) -> Time {
        let c = self.constants;
        let (base_us, hop_us, share, wire) = match protocol {
            Protocol::Ll => (0.0, c.ring_ll_hop_us, c.tree_share * 0.3, 0.5),
            Protocol::Ll128 => (c.ring_ll128_base_us, c.tree_ll128_hop_us, c.tree_share * 0.94, 0.94),
            Protocol::Simple => (c.ring_simple_base_us, c.tree_simple_hop_us, c.tree_share, 1.0),
        };
        let hops_us =
            2.0 * ((self.per_domain - 1.0) * hop_us + log2_ceil(self.domains) * self.network_hop_us(protocol));
        let rate = (self.nvlink * share).min(self.domain_network() * wire / self.crossings());
        let data_us = bytes / rate / 1e3;
        Time {
            latency_us: self.launch_us() + base_us + hops_us,
            bandwidth_us: data_us + c.tree_ramp * (hops_us * data_us).sqrt(),
        }
    }

    /// How often a domain sends the whole data in a double tree: once between two, else up, and down to two, by halves.
    fn crossings(&self) -> f64 {
        if self.domains <= 2.0 { 1.0 } else { 2.0 }
    }

    fn nvls(&self, bytes: f64) -> Time {
        let c = self.constants;
        let share = match self.collective {
            Collective::AllReduce => c.nvls_share,
            _ => c.nvls_half_share,
        };
        let latency_us = self.launch_us() + c.nvls_us;
        let data_us = bytes / (self.nvlink * share) / 1e3;
        Time { latency_us, bandwidth_us: data_us + c.nvls_ramp * (c.nvls_us * data_us).sqrt() }
    }

    fn nvls_tree(&self, bytes: f64) -> Time {
        let c = self.constants;
        let hops_us = c.nvls_us + 2.0 * log2_ceil(self.domains) * self.network_hop_us(Protocol::Simple);
        let rate = (self.nvlink * c.nvls_share).min(self.domain_network() / self.crossings());
        let data_us = bytes / rate / 1e3;
        Time {
            latency_us: self.launch_us() + hops_us,
            bandwidth_us: data_us + c.nvls_ramp * (hops_us * data_us).sqrt(),
        }
    }

    fn pat(&self, bytes: f64) -> Time {
        let c = self.constants;
        let hops_us = log2_ceil(self.ranks) * self.network_hop_us(Protocol::Simple);
        let rate = self.domain_network().min(self.nvlink * c.ring_simple_share);
        let data_us = bytes * (self.ranks - 1.0) / self.ranks / rate / 1e3;
        let latency_us = self.launch_us() + c.ring_simple_base_us + hops_us;
        Time { latency_us, bandwidth_us: hops_us.hypot(data_us) - hops_us }
    }

    fn all_to_all(&self, bytes: f64) -> Time {
        let c = self.constants;
        let block = bytes / self.ranks;
        let own_us = block / (self.nvlink * c.own_block_share) / 1e3;
        let intra_us = block * (self.per_domain - 1.0) / (self.nvlink * c.peer_share) / 1e3;
        let far = self.ranks - self.per_domain;
        let inter_us = if far > 0.0 { block * far / (self.nic * c.peer_network_share) / 1e3 } else { 0.0 };
        let peers_us = (self.per_domain - 1.0) * c.peer_us + far * c.far_peer_us;
        let data_us = own_us + intra_us.max(inter_us);
        let network_us = if far > 0.0 { self.network_hop_us(Protocol::Simple) } else { 0.0 };
        let latency_us = self.launch_us() + peers_us + network_us;
        Time { latency_us, bandwidth_us: data_us + c.peer_ramp * (latency_us * data_us).sqrt() }
    }
    #[allow(dead_code)]
    fn narrow(&self) -> bool {
        self.element_bytes == 1
    }
}

fn log2_ceil(count: f64) -> f64 {
    count.log2().ceil()
}
