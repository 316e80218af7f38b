//! Where the fit starts, and what it stays near where no table says more.
//!
//! Round figures: times per hop from NCCL's tuning constants, doubled where the first tables showed twice as much; shares from
//! protocol overheads (LL carries 4 bytes in 8, LL128 120 in 128) and the bandwidths that nccl-tests' own documentation gives.

use unisono::nccl::constants::{Gpu, Net};
use unisono::nccl::{Generation, Network};

/// What heads pass on in trees of domains: on Blackwell twice the 217 GB/s that CoreWeave's table of 20 racks grows by; on Hopper
/// at least twice what eight NICs of 400 Gbps carry both ways, which NVIDIA shows (NVIDIA/nccl issue 1649).
pub fn gpu(generation: Generation) -> Gpu {
    match generation {
        Generation::Ampere => Gpu { launch_us: 6.0, host_us: 5.0, ..HOPPER },
        Generation::Hopper => HOPPER,
        Generation::Blackwell => BLACKWELL,
    }
}

pub fn net(network: Network) -> Net {
    match network {
        Network::EfaV2 => EFA_V2,
        Network::EfaV3 => EFA_V3,
        Network::InfiniBand | Network::Roce => RDMA,
    }
}

const HOPPER: Gpu = Gpu {
    launch_us: 5.0,
    host_us: 4.0,
    grace_us: 0.6,
    ring_ll_hop_us: 0.8,
    ring_ll_share: 0.3,
    ll128_base_us: 5.0,
    ring_ll128_hop_us: 1.2,
    ring_ll128_share: 0.65,
    simple_base_us: 10.0,
    ring_simple_hop_us: 4.0,
    ring_simple_share: 0.8,
    own_block_share: 0.6,
    own_block_limit_us: 200.0,
    tree_ll128_hop_us: 1.2,
    tree_ll128_share: 0.25,
    tree_simple_hop_us: 4.0,
    tree_simple_share: 0.35,
    tree_ramp: 0.5,
    nvls_us: 18.0,
    nvls_head_us: 0.25,
    nvls_share: 0.6,
    nvls_head_loss: 0.003,
    nvls_ramp: 0.3,
    nvls_tree_share: 0.85,
    nvls_half_share: 0.75,
    nvls_half_ramp: 0.1,
    peer_base_us: 1.0,
    peer_us: 0.2,
    peer_simple_us: 6.0,
    peer_share: 0.72,
    peer_ll_share: 0.03,
};

const BLACKWELL: Gpu = Gpu {
    launch_us: 8.0,
    host_us: 5.5,
    ring_ll_hop_us: 1.3,
    ring_ll128_hop_us: 1.4,
    ring_simple_hop_us: 10.0,
    tree_simple_hop_us: 5.0,
    nvls_us: 27.0,
    nvls_head_us: 0.45,
    nvls_share: 0.56,
    nvls_tree_share: 0.48,
    ..HOPPER
};

/// Latencies: aws-ofi-nccl reports 75 us for rings on p4d and p5, 35 us on later instances, and its tuner's model takes 20 and
/// 18 us for a small message.
const EFA_V2: Net = Net {
    hop_us: 22.0,
    large_us: 15.0,
    ring_hop_us: 75.0,
    simple_us: 10.0,
    share: 0.88,
    ll128_share: 0.7,
    ll_share: 0.4,
    tree_ramp: 1.0,
    far_peer_us: 1.5,
    peer_share: 0.85,
    peer_ramp: 0.7,
};
const EFA_V3: Net = Net { hop_us: 18.0, large_us: 10.0, ring_hop_us: 35.0, far_peer_us: 1.0, ..EFA_V2 };
/// A tree's hop by LL takes 5 us by NCCL's own constants; all-reduce by NVLSTree of two H20 servers over InfiniBand 46 us when empty
/// (NVIDIA/nccl issue 1244), which leaves about 10 us a hop by Simple; NCCL's send and receive of 16 KiB between two GB300 32 us (meta-pytorch/torchcomms
/// `comms/prims/collectives/benchmarks/results/SendRecvBenchmarkResults.md` @59426ba4), 22 us and more of it on the wire; rings over
/// two 400 Gbps NICs reach 96 % of the line rate (`comms/ctran/backends/ib/docs/ctranib_qp_interleave_devices_sweep_gb200.md` there).
const RDMA: Net = Net {
    hop_us: 5.0,
    large_us: 12.0,
    ring_hop_us: 23.0,
    simple_us: 5.0,
    share: 0.95,
    ll128_share: 0.85,
    ll_share: 0.45,
    far_peer_us: 0.7,
    ..EFA_V2
};
