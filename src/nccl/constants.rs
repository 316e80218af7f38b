//! The fitted constants, few and physical: of each GPU generation, and of each kind of network.

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
        /// What a crossing of a ring takes, whose messages are large.
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

// Printed by `cargo run --release --example fidelity constants`.

// Printed by `cargo run --release --example fidelity constants`.

// Printed by `cargo run --release --example fidelity constants`.

// Printed by `cargo run --release --example fidelity constants`.

const AMPERE: Gpu = Gpu {
    launch_us: 7.63,
    host_us: 5.52,
    grace_us: 0.600,       // the first guess
    ring_ll_hop_us: 0.800, // the first guess
    ring_ll_share: 0.300,  // the first guess
    ll128_base_us: 5.50,
    ring_ll128_hop_us: 1.87,
    ring_ll128_share: 0.460,
    simple_base_us: 11.8,
    ring_simple_hop_us: 21.2,
    ring_simple_share: 0.776,
    own_block_share: 0.243,
    own_block_limit_us: 291.2,
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
    ring_ll_hop_us: 0.855,
    ring_ll_share: 0.363,
    ll128_base_us: 7.38,
    ring_ll128_hop_us: 0.983,
    ring_ll128_share: 0.738,
    simple_base_us: 8.22,
    ring_simple_hop_us: 6.53,
    ring_simple_share: 0.779,
    own_block_share: 0.997,
    own_block_limit_us: 204.6,
    tree_ll128_hop_us: 0.808,
    tree_ll128_share: 0.519,
    tree_simple_hop_us: 4.00, // the first guess
    tree_simple_share: 0.350, // the first guess
    tree_ramp: 0.500,         // the first guess
    nvls_us: 18.8,
    nvls_head_us: 0.254,
    nvls_share: 0.621,
    nvls_head_loss: 0.00298,
    nvls_ramp: 0.295,
    nvls_half_share: 0.750, // the first guess
    nvls_half_ramp: 0.100,  // the first guess
    peer_base_us: 1.19,
    peer_us: 0.199,
    peer_simple_us: 5.49,
    peer_share: 0.749,
    peer_ll_share: 0.0351,
};
const BLACKWELL: Gpu = Gpu {
    launch_us: 7.90,
    host_us: 5.70,
    grace_us: 0.580,
    ring_ll_hop_us: 1.37,
    ring_ll_share: 0.327,
    ll128_base_us: 4.55,
    ring_ll128_hop_us: 1.62,
    ring_ll128_share: 0.672,
    simple_base_us: 2.91,
    ring_simple_hop_us: 12.7,
    ring_simple_share: 0.797,
    own_block_share: 0.725,
    own_block_limit_us: 710.5,
    tree_ll128_hop_us: 1.72,
    tree_ll128_share: 0.306,
    tree_simple_hop_us: 5.00, // the first guess
    tree_simple_share: 0.350, // the first guess
    tree_ramp: 0.414,
    nvls_us: 17.2,
    nvls_head_us: 0.679,
    nvls_share: 0.564,
    nvls_head_loss: 0.00270,
    nvls_ramp: 0.385,
    nvls_half_share: 0.814,
    nvls_half_ramp: 0.0755,
    peer_base_us: 1.27,
    peer_us: 0.252,
    peer_simple_us: 6.62,
    peer_share: 0.694,
    peer_ll_share: 0.0246,
};
const EFA_V2: Net = Net {
    hop_us: 21.8,
    large_us: 21.3,
    ring_hop_us: 89.3,
    simple_us: 30.8,
    share: 0.824,
    ll128_share: 0.692,
    ll_share: 0.400, // the first guess
    tree_ramp: 1.12,
    far_peer_us: 2.11,
    peer_share: 0.906,
    peer_ramp: 0.983,
};
const EFA_V3: Net = Net {
    hop_us: 14.7,
    large_us: 9.42,
    ring_hop_us: 61.4,
    simple_us: 6.27,
    share: 0.753,
    ll128_share: 0.714,
    ll_share: 0.403,
    tree_ramp: 1.22,
    far_peer_us: 1.00, // the first guess
    peer_share: 0.850, // the first guess
    peer_ramp: 0.700,  // the first guess
};
const RDMA: Net = Net {
    hop_us: 13.8,
    large_us: 18.5,
    ring_hop_us: 23.1,
    simple_us: 5.68,
    share: 0.954,
    ll128_share: 0.850, // the first guess
    ll_share: 0.450,    // the first guess
    tree_ramp: 1.00,    // the first guess
    far_peer_us: 0.700, // the first guess
    peer_share: 0.850,  // the first guess
    peer_ramp: 0.700,   // the first guess
};
