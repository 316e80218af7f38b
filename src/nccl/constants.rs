//! The fitted constants, few and physical: of each GPU generation, and of each kind of network.
//!
//! Obtained by `examples/fidelity`: least absolute errors of the logarithm of time over the published tables of
//! `tests/fidelity/tables.csv` (each with its source), tables weighed alike, and over the sizes at which AWS's tuner changes its
//! pick, where two pairs take the same time. Times and shares that no table tells stay at a first guess, whose origin
//! `examples/fidelity/guess.rs` gives; they are marked. Those of EFA's third version rest on AWS's crossovers, all-reduces of two to
//! sixteen instances and all-to-alls of up to 32; those of InfiniBand and RoCE on all-reduces alone: of two domains, of three
//! domains of few GPUs, of 16 servers (small calls) and of 20 racks.
//!
//! What Blackwell's heads pass on to other domains ([`Gpu::nvls_tree_share`]) rests on a single table, that of 20 racks of GB200.

use super::world::{Generation, Network};

macro_rules! constants {
    ($(#[$doc:meta])* $type:ident { $($(#[$field:meta])* $name:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $type {
            $($(#[$field])* pub $name: f64,)*
        }

        impl $type {
            /// Their names, in the order of `values_mut`.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            pub fn values_mut(&mut self) -> Vec<&mut f64> {
                vec![$(&mut self.$name),*]
            }
        }
    };
}

constants! {
    /// Of one generation. Shares are parts of a GPU's NVLink rate by the data sheet.
    Gpu {
        /// From the launch to the first byte and from the last to the next launch.
        launch_us,
        /// What a thread takes to launch one GPU's kernel, if it launches several.
        host_us,
        /// Added to a launch by a Grace processor.
        grace_us,
        ring_ll_hop_us,
        ring_ll_share,
        ll128_base_us,
        ring_ll128_hop_us,
        ring_ll128_share,
        simple_base_us,
        /// Added to a hop of LL128 where whole slices travel.
        ring_simple_hop_us,
        ring_simple_share,
        /// Of a rank's own block, copied beside the ring.
        own_block_share,
        /// The most that this copy adds.
        own_block_limit_us,
        tree_ll128_hop_us,
        tree_ll128_share,
        tree_simple_hop_us,
        tree_simple_share,
        tree_ramp,
        nvls_us,
        /// Of every GPU that reduces a share in the switch.
        nvls_head_us,
        nvls_share,
        /// Part of the share that every such GPU costs.
        nvls_head_loss,
        nvls_ramp,
        /// What goes on to other domains and comes from them, where the heads of several make a tree.
        nvls_tree_share,
        /// Of all-gather and reduce-scatter.
        nvls_half_share,
        nvls_half_ramp,
        /// Of a group of sends and receives.
        peer_base_us,
        peer_us,
        /// What the Simple protocol adds to one of small blocks.
        peer_simple_us,
        peer_share,
        /// Of small blocks, by LL.
        peer_ll_share,
    }
}

constants! {
    /// Of one kind of network. Shares are parts of a NIC's rate by the data sheet.
    Net {
        /// A small message.
        hop_us,
        /// Added by a large one.
        large_us,
        /// What a crossing of a ring takes whose messages are large.
        ring_hop_us,
        simple_us,
        share,
        ll128_share,
        ll_share,
        tree_ramp,
        far_peer_us,
        peer_share,
        peer_ramp,
    }
}

/// All that a world's prices depend on.
#[derive(Clone, Debug, PartialEq)]
pub struct Constants {
    pub gpu: Gpu,
    pub net: Net,
}

impl Constants {
    pub fn of(generation: Generation, network: Network) -> Constants {
        let gpu = match generation {
            Generation::Ampere => AMPERE,
            Generation::Hopper => HOPPER,
            Generation::Blackwell => BLACKWELL,
        };
        let net = match network {
            Network::EfaV2 => EFA_V2,
            Network::EfaV3 => EFA_V3,
            Network::InfiniBand | Network::Roce => RDMA,
        };
        Constants { gpu, net }
    }
}

// Printed by `cargo run --release --example fidelity constants`.

const AMPERE: Gpu = Gpu {
    launch_us: 7.28,
    host_us: 5.52,
    grace_us: 0.600,       // the first guess
    ring_ll_hop_us: 0.800, // the first guess
    ring_ll_share: 0.300,  // the first guess
    ll128_base_us: 5.33,
    ring_ll128_hop_us: 1.93,
    ring_ll128_share: 0.474,
    simple_base_us: 11.9,
    ring_simple_hop_us: 18.6,
    ring_simple_share: 0.781,
    own_block_share: 0.205,
    own_block_limit_us: 377.3,
    tree_ll128_hop_us: 1.20,  // the first guess
    tree_ll128_share: 0.250,  // the first guess
    tree_simple_hop_us: 4.00, // the first guess
    tree_simple_share: 0.350, // the first guess
    tree_ramp: 0.500,         // the first guess
    nvls_us: 18.0,            // the first guess
    nvls_head_us: 0.250,      // the first guess
    nvls_share: 0.600,        // the first guess
    nvls_head_loss: 0.00300,  // the first guess
    nvls_ramp: 0.300,         // the first guess
    nvls_tree_share: 0.850,   // the first guess
    nvls_half_share: 0.750,   // the first guess
    nvls_half_ramp: 0.100,    // the first guess
    peer_base_us: 1.00,       // the first guess
    peer_us: 0.200,           // the first guess
    peer_simple_us: 6.00,     // the first guess
    peer_share: 0.720,        // the first guess
    peer_ll_share: 0.0300,    // the first guess
};
const HOPPER: Gpu = Gpu {
    launch_us: 5.09,
    host_us: 3.84,
    grace_us: 0.600, // the first guess
    ring_ll_hop_us: 0.857,
    ring_ll_share: 0.365,
    ll128_base_us: 7.89,
    ring_ll128_hop_us: 1.02,
    ring_ll128_share: 0.765,
    simple_base_us: 7.86,
    ring_simple_hop_us: 5.74,
    ring_simple_share: 0.794,
    own_block_share: 0.939,
    own_block_limit_us: 229.3,
    tree_ll128_hop_us: 0.636,
    tree_ll128_share: 0.327,
    tree_simple_hop_us: 4.00, // the first guess
    tree_simple_share: 0.350, // the first guess
    tree_ramp: 0.500,         // the first guess
    nvls_us: 19.5,
    nvls_head_us: 0.259,
    nvls_share: 0.603,
    nvls_head_loss: 0.00269,
    nvls_ramp: 0.262,
    nvls_tree_share: 0.794,
    nvls_half_share: 0.750, // the first guess
    nvls_half_ramp: 0.100,  // the first guess
    peer_base_us: 1.20,
    peer_us: 0.202,
    peer_simple_us: 5.45,
    peer_share: 0.757,
    peer_ll_share: 0.0352,
};
const BLACKWELL: Gpu = Gpu {
    launch_us: 7.90,
    host_us: 5.70,
    grace_us: 0.593,
    ring_ll_hop_us: 1.37,
    ring_ll_share: 0.325,
    ll128_base_us: 4.31,
    ring_ll128_hop_us: 1.66,
    ring_ll128_share: 0.694,
    simple_base_us: 2.97,
    ring_simple_hop_us: 11.0,
    ring_simple_share: 0.788,
    own_block_share: 0.758,
    own_block_limit_us: 702.0,
    tree_ll128_hop_us: 1.18,
    tree_ll128_share: 0.267,
    tree_simple_hop_us: 4.47,
    tree_simple_share: 0.350, // the first guess
    tree_ramp: 0.501,
    nvls_us: 18.0,
    nvls_head_us: 0.669,
    nvls_share: 0.556,
    nvls_head_loss: 0.00299,
    nvls_ramp: 0.331,
    nvls_tree_share: 0.491,
    nvls_half_share: 0.818,
    nvls_half_ramp: 0.0711,
    peer_base_us: 1.27,
    peer_us: 0.252,
    peer_simple_us: 6.64,
    peer_share: 0.689,
    peer_ll_share: 0.0246,
};
const EFA_V2: Net = Net {
    hop_us: 22.7,
    large_us: 21.9,
    ring_hop_us: 90.4,
    simple_us: 31.3,
    share: 0.842,
    ll128_share: 0.694,
    ll_share: 0.400, // the first guess
    tree_ramp: 0.698,
    far_peer_us: 2.38,
    peer_share: 0.890,
    peer_ramp: 0.623,
};
const EFA_V3: Net = Net {
    hop_us: 18.2,
    large_us: 7.21,
    ring_hop_us: 78.8,
    simple_us: 9.22,
    share: 0.956,
    ll128_share: 0.865,
    ll_share: 0.397,
    tree_ramp: 1.10,
    far_peer_us: 0.651,
    peer_share: 0.901,
    peer_ramp: 0.765,
};
const RDMA: Net = Net {
    hop_us: 5.73,
    large_us: 12.8,
    ring_hop_us: 23.1,
    simple_us: 8.85,
    share: 0.966,
    ll128_share: 0.850, // the first guess
    ll_share: 0.450,    // the first guess
    tree_ramp: 0.557,
    far_peer_us: 0.700, // the first guess
    peer_share: 0.850,  // the first guess
    peer_ramp: 0.700,   // the first guess
};
