//! What a pair takes: a few physical terms with constants fitted to published measurements.

use super::chunk::NvlsTree;
use super::constants::{Constants, Gpu, Net};
use super::search::{Graphs, MAX_NVLS_HEADS};
use super::tuning::Tuning;
use super::world::{Cpu, Generation, World};
use super::{Algorithm, Launch, Protocol, Settings, Version};
use crate::types::{Collective, DType};

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

    /// A pipeline: stages that take `fixed_us` and `hops_us` when empty, then the data, and what chunks that are never of the
    /// ideal size waste, which grows with the root of the data.
    fn pipelined(fixed_us: f64, hops_us: f64, data_us: f64, ramp: f64) -> Time {
        Time { latency_us: fixed_us + hops_us, bandwidth_us: data_us + ramp * (hops_us * data_us).sqrt() }
    }

    /// Steps in which waiting and copying overlap: whichever is longer sets the pace, softly.
    fn overlapped(fixed_us: f64, hops_us: f64, data_us: f64) -> Time {
        Time { latency_us: fixed_us + hops_us, bandwidth_us: hops_us.hypot(data_us) - hops_us }
    }
}

/// Half of what makes a message large for a network.
const LARGE_MESSAGE_BYTES: f64 = 2048.0;

/// A channel's part of a ring's block from which on a step by Simple takes no longer to hand on: of 64 and 512 KiB (a slice of
/// NCCL's largest chunk) the one that the published tables agree with.
const SLICE_BYTES: f64 = (64u64 << 10) as f64;

/// What the host takes for one peer of an all-to-all, and the release from which it takes much less. Read off the plateau of NCCL
/// 2.23 on GB200, where 16 to 64 GPUs take 8.6 to 9.9 us per GPU whatever the size below 16 MiB; 2.29 shows none.
const PEER_ENQUEUE_US: f64 = 9.5;
const PEERS_ENQUEUED_FAST: Version = Version::new(2, 24, 0);

/// Of NVLink, what reduce-scatter of 1-byte elements reaches in a ring of old releases on Blackwell: 459 GB/s where 2-byte elements
/// reach 690. Read off NCCL 2.23 on GB200; 2.29 is as fast with both.
const NARROW_REDUCE_SCATTER_SHARE: f64 = 0.51;
const NARROW_REDUCED_FAST: Version = Version::new(2, 26, 0);

/// One world, seen through the fitted constants.
pub struct Effective<'a> {
    world: &'a World,
    settings: &'a Settings,
    collective: Collective,
    dtype: DType,
    ranks: f64,
    domains: f64,
    /// GPUs of the smallest domain.
    per_domain: f64,
    ring_channels: f64,
    /// GB/s of all channels of a tree together, by LL128.
    tree_channels: f64,
    nvls_tree: NvlsTree,
}

/// The constants of a kind of wire: fixed, per hop, and GB/s.
struct Wire {
    fixed_us: f64,
    hop_us: f64,
    gb_per_s: f64,
}

impl<'a> Effective<'a> {
    pub fn new(world: &'a World, settings: &'a Settings, collective: Collective, dtype: DType) -> Effective<'a> {
        Effective {
            world,
            settings,
            collective,
            dtype,
            ranks: world.ranks() as f64,
            domains: world.domains.len() as f64,
            per_domain: world.domains.iter().copied().min().unwrap_or(1) as f64,
            ring_channels: newest_graphs(world).1.ring.channels as f64,
            tree_channels: tree_channels(world),
            nvls_tree: NvlsTree::of(world, settings),
        }
    }

    pub fn time(&self, c: &Constants, algorithm: Algorithm, protocol: Protocol, bytes: f64) -> Time {
        let time = match algorithm {
            Algorithm::Ring => self.ring(c, protocol, bytes),
            Algorithm::Tree => self.tree(c, protocol, bytes),
            Algorithm::Nvls => self.nvls(c, bytes),
            Algorithm::NvlsTree => self.nvls_tree(c, bytes),
            Algorithm::Pat => self.pat(c, bytes),
            Algorithm::SendReceive => self.all_to_all(c, bytes),
            Algorithm::CollNetDirect | Algorithm::CollNetChain => unreachable!("never enabled"),
        };
        match self.settings.launch {
            Launch::OneThread if self.ranks <= self.world.gpus_per_host as f64 => self.launched(&c.gpu, time),
            Launch::OneThread | Launch::PerGpu => time,
        }
    }

    /// A host that launches slower than its GPUs finish sets the pace.
    fn launched(&self, gpu: &Gpu, time: Time) -> Time {
        let floor_us = self.ranks * gpu.host_us;
        let latency_us = time.latency_us.max(floor_us - time.bandwidth_us);
        Time { latency_us, ..time }
    }

    fn launch_us(&self, gpu: &Gpu) -> f64 {
        gpu.launch_us + if self.world.cpu == Cpu::Grace { gpu.grace_us } else { 0.0 }
    }

    fn nvlink(&self, share: f64) -> f64 {
        self.world.nvlink_bytes_per_s / 1e9 * share
    }

    /// GB/s at which the network cards of a domain together carry what leaves it.
    fn network(&self, net: &Net, protocol: Protocol) -> f64 {
        let share = match protocol {
            Protocol::Ll => net.ll_share,
            Protocol::Ll128 => net.ll128_share,
            Protocol::Simple => net.share,
        };
        if self.domains > 1.0 { self.per_domain * self.world.nic_bytes_per_s / 1e9 * share } else { f64::INFINITY }
    }

    fn ring(&self, Constants { gpu, net }: &Constants, protocol: Protocol, bytes: f64) -> Time {
        let (base_us, hop_us, share) = match protocol {
            Protocol::Ll => (0.0, gpu.ring_ll_hop_us, gpu.ring_ll_share),
            Protocol::Ll128 => (gpu.ll128_base_us, gpu.ring_ll128_hop_us, gpu.ring_ll128_share),
            Protocol::Simple => {
                (gpu.simple_base_us, self.slice_us(gpu, bytes), gpu.ring_simple_share.min(self.reduce_share()))
            }
        };
        let rounds = if self.collective == Collective::AllReduce { 2.0 } else { 1.0 };
        let crossings = rounds * (self.domains - 1.0);
        let hops = rounds * (self.ranks - 1.0) - crossings;
        let simple_us = if protocol == Protocol::Simple { net.simple_us } else { 0.0 };
        let message = self.block_bytes(bytes) / self.per_domain.min(self.ring_channels);
        let crossing_us = net.hop_us + (net.ring_hop_us - net.hop_us).max(0.0) * large(message) + simple_us;
        let hops_us = hops * hop_us + crossings * crossing_us;
        let moved = bytes
            * match self.collective {
                Collective::Broadcast | Collective::Reduce => 1.0,
                _ => rounds * (self.ranks - 1.0) / self.ranks,
            };
        // Every channel of a ring leaves a domain by one NIC.
        let nics = (self.ring_channels / self.per_domain).min(1.0);
        let rate = self.nvlink(share).min(nics * self.network(net, protocol));
        let data_us = moved / rate / 1e3 + self.own_us(gpu, bytes);
        let fixed_us = self.launch_us(gpu) + base_us;
        if protocol == Protocol::Ll || (protocol == Protocol::Ll128 && self.domains == 1.0) {
            Time { latency_us: fixed_us + hops_us, bandwidth_us: data_us }
        } else {
            Time::overlapped(fixed_us, hops_us, data_us)
        }
    }

    /// What a ring hands on in one step, on all channels.
    fn block_bytes(&self, bytes: f64) -> f64 {
        match self.collective {
            Collective::Broadcast | Collective::Reduce => bytes,
            _ => bytes / self.ranks,
        }
    }

    /// A step by Simple: a slice must have come whole before it is handed on.
    fn slice_us(&self, gpu: &Gpu, bytes: f64) -> f64 {
        let block = self.block_bytes(bytes) / self.ring_channels;
        gpu.ring_ll128_hop_us + gpu.ring_simple_hop_us * (block / SLICE_BYTES).min(1.0)
    }

    fn reduce_share(&self) -> f64 {
        let slow = self.collective == Collective::ReduceScatter
            && self.dtype.size() == 1
            && self.world.generation == Generation::Blackwell
            && self.settings.version < NARROW_REDUCED_FAST;
        if slow { NARROW_REDUCE_SCATTER_SHARE } else { f64::INFINITY }
    }

    /// A rank's own block, copied before the ring turns; of a large one the copy hides behind the rest.
    fn own_us(&self, gpu: &Gpu, bytes: f64) -> f64 {
        let copy_us = bytes / self.ranks / self.nvlink(gpu.own_block_share) / 1e3;
        copy_us * gpu.own_block_limit_us / (copy_us + gpu.own_block_limit_us)
    }

    fn tree(&self, Constants { gpu, net }: &Constants, protocol: Protocol, bytes: f64) -> Time {
        let Wire { fixed_us, hop_us, gb_per_s } = match protocol {
            Protocol::Ll => {
                Wire { fixed_us: 0.0, hop_us: gpu.ring_ll_hop_us, gb_per_s: self.nvlink(gpu.ring_ll_share) / 2.0 }
            }
            Protocol::Ll128 => Wire {
                fixed_us: gpu.ll128_base_us,
                hop_us: gpu.tree_ll128_hop_us,
                gb_per_s: self.nvlink(gpu.tree_ll128_share),
            },
            Protocol::Simple => Wire {
                fixed_us: gpu.simple_base_us,
                hop_us: gpu.tree_simple_hop_us,
                gb_per_s: self.nvlink(gpu.tree_simple_share),
            },
        };
        let simple_us = if protocol == Protocol::Simple { net.simple_us } else { 0.0 };
        let crossing_us = self.crossing_us(net, bytes) + simple_us;
        let hops_us = 2.0 * ((self.per_domain - 1.0) * hop_us + log2_ceil(self.domains) * crossing_us);
        let channels = match protocol {
            Protocol::Ll | Protocol::Simple => f64::INFINITY,
            Protocol::Ll128 => self.tree_channels,
        };
        let rate = gb_per_s.min(channels).min(self.network(net, protocol) / self.crossings());
        let ramp = if self.domains > 1.0 { net.tree_ramp } else { gpu.tree_ramp };
        Time::pipelined(self.launch_us(gpu) + fixed_us, hops_us, bytes / rate / 1e3, ramp)
    }

    /// From one domain to the next in a tree: messages beyond some KiB per NIC need more than one packet's way.
    fn crossing_us(&self, net: &Net, bytes: f64) -> f64 {
        net.hop_us + net.large_us * large(bytes / self.per_domain)
    }

    /// How often the busiest domain sends the whole data in a double tree, half of it by either. Between two once; of three one
    /// stands at an end of one chain and in the middle of the other; of more a leaf of one tree is a node of the other that sends
    /// up, and down to two.
    fn crossings(&self) -> f64 {
        match self.domains {
            ..=2.0 => 1.0,
            ..=3.0 => 1.5,
            _ => 2.0,
        }
    }

    /// GPUs among which a domain's switches divide the data.
    fn heads(&self) -> f64 {
        self.per_domain.min(MAX_NVLS_HEADS as f64)
    }

    /// The stages of in-switch reduction when empty, and the GB/s that it reaches: both suffer from many heads.
    fn switch(&self, gpu: &Gpu, share: f64) -> (f64, f64) {
        let heads = self.heads();
        (gpu.nvls_us + heads * gpu.nvls_head_us, self.nvlink(share) * (1.0 - gpu.nvls_head_loss * heads))
    }

    fn nvls(&self, Constants { gpu, .. }: &Constants, bytes: f64) -> Time {
        let (share, ramp) = match self.collective {
            Collective::AllReduce => (gpu.nvls_share, gpu.nvls_ramp),
            _ => (gpu.nvls_half_share, gpu.nvls_half_ramp),
        };
        let (hops_us, rate) = self.switch(gpu, share);
        Time::pipelined(self.launch_us(gpu), hops_us, bytes / rate / 1e3, ramp * self.heads().sqrt())
    }

    /// Rounds of chunks go up the tree and down again; how fast, the switches, the heads' NICs or what the heads pass on decides.
    fn nvls_tree(&self, Constants { gpu, net }: &Constants, bytes: f64) -> Time {
        let (switch_us, switch_rate) = self.switch(gpu, gpu.nvls_share);
        let levels = 2.0 * log2_ceil(self.domains);
        let hops_us = levels * (self.crossing_us(net, bytes) + net.simple_us);
        let nics = self.network(net, Protocol::Simple) * self.heads() / self.per_domain / self.crossings();
        let passed_on = self.nvlink(gpu.nvls_tree_share) / self.crossings();
        let rate = switch_rate.min(nics).min(passed_on);
        let fill_us = levels * self.nvls_tree.round_bytes(bytes) / rate / 1e3;
        let ramp = gpu.nvls_ramp * self.heads().sqrt();
        let within = Time::pipelined(self.launch_us(gpu), switch_us, bytes / rate / 1e3, ramp);
        Time { latency_us: within.latency_us + hops_us, bandwidth_us: within.bandwidth_us + fill_us }
    }

    fn pat(&self, Constants { gpu, net }: &Constants, bytes: f64) -> Time {
        let hops_us = log2_ceil(self.ranks) * (net.hop_us + net.simple_us);
        let rate = self.network(net, Protocol::Simple).min(self.nvlink(gpu.ring_simple_share));
        let data_us = bytes * (self.ranks - 1.0) / self.ranks / rate / 1e3;
        Time::overlapped(self.launch_us(gpu) + gpu.simple_base_us, hops_us, data_us)
    }

    /// Small blocks go by LL, larger ones by Simple, whose flags cost more; NICs and NVLinks work side by side.
    fn all_to_all(&self, Constants { gpu, net }: &Constants, bytes: f64) -> Time {
        let block = bytes / self.ranks / 1e3;
        let (near, far) = (self.per_domain - 1.0, self.ranks - self.per_domain);
        let own_us = self.own_us(gpu, bytes);
        let near_us = block * near / self.nvlink(gpu.peer_share);
        let far_us = block * far / (self.world.nic_bytes_per_s / 1e9 * net.peer_share);
        let fixed_us = self.launch_us(gpu) + gpu.peer_base_us + near * gpu.peer_us;
        if far == 0.0 {
            let simple_us = gpu.peer_simple_us + own_us + near_us;
            let small_us = bytes / 1e3 / self.nvlink(gpu.peer_ll_share);
            let time = Time { latency_us: fixed_us, bandwidth_us: simple_us.min(small_us) };
            return self.enqueued(time);
        }
        let network_us = net.hop_us + net.simple_us + far * net.far_peer_us;
        Time::pipelined(fixed_us, network_us, own_us + near_us.max(far_us), net.peer_ramp)
    }

    /// Old releases prepare every send and receive on the host for longer than the GPU takes to do it.
    fn enqueued(&self, time: Time) -> Time {
        let per_peer_us = if self.settings.version < PEERS_ENQUEUED_FAST { PEER_ENQUEUE_US } else { 0.0 };
        let latency_us = time.latency_us.max(self.ranks * per_peer_us - time.bandwidth_us);
        Time { latency_us, ..time }
    }
}

fn newest_graphs(world: &World) -> (Tuning, Graphs) {
    let tuning = Tuning::of(world.generation, Version::NEWEST);
    let graphs = Graphs::of(world, &tuning);
    (tuning, graphs)
}

/// What the channels of a tree carry at most by LL128, up and down: NVIDIA's own measurements, as the newest release has them.
fn tree_channels(world: &World) -> f64 {
    let (tuning, graphs) = newest_graphs(world);
    graphs.tree.channels as f64 * tuning.tree_ll128_per_channel[world.domains.len().min(3) - 1] / 2.0
}

/// How large a message is for a network, from 0 to 1.
fn large(message_bytes: f64) -> f64 {
    message_bytes / (message_bytes + LARGE_MESSAGE_BYTES)
}

fn log2_ceil(count: f64) -> f64 {
    count.log2().ceil()
}
