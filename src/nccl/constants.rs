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

const AMPERE: Gpu = Gpu {
    launch_us: 11.9,
    host_us: 5.48,
    grace_us: 0.600, // the first guess
    ring_ll_hop_us: 1.14,
    ring_ll_share: 0.280,
    ll128_base_us: 5.36,
    ring_ll128_hop_us: 1.59,
    ring_ll128_share: 0.424,
    simple_base_us: 12.6,
    ring_simple_hop_us: 23.5,
    ring_simple_share: 0.807,
    own_block_share: 0.749,
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
    launch_us: 5.13,
    host_us: 3.84,
    grace_us: 0.600, // the first guess
    ring_ll_hop_us: 0.847,
    ring_ll_share: 0.346,
    ll128_base_us: 8.60,
    ring_ll128_hop_us: 0.861,
    ring_ll128_share: 0.714,
    simple_base_us: 12.7,
    ring_simple_hop_us: 4.75,
    ring_simple_share: 0.771, // the first guess
    own_block_share: 1.84,
    tree_ll128_hop_us: 0.597,
    tree_ll128_share: 0.202,
    tree_simple_hop_us: 4.00, // the first guess
    tree_simple_share: 0.350, // the first guess
    tree_ramp: 0.500,         // the first guess
    nvls_us: 18.9,
    nvls_head_us: 0.255,
    nvls_share: 0.617,
    nvls_head_loss: 0.00283,
    nvls_ramp: 0.290,
    nvls_half_share: 0.750, // the first guess
    nvls_half_ramp: 0.100,  // the first guess
    peer_base_us: 1.21,
    peer_us: 0.175,
    peer_simple_us: 5.83,
    peer_share: 0.724,
    peer_ll_share: 0.0347,
};
const BLACKWELL: Gpu = Gpu {
    launch_us: 7.96,
    host_us: 5.70,
    grace_us: 0.561,
    ring_ll_hop_us: 1.36,
    ring_ll_share: 0.320,
    ll128_base_us: 6.07,
    ring_ll128_hop_us: 1.49,
    ring_ll128_share: 0.658,
    simple_base_us: 4.24,
    ring_simple_hop_us: 12.4,
    ring_simple_share: 0.794,
    own_block_share: 0.884,
    tree_ll128_hop_us: 1.13,
    tree_ll128_share: 0.210,
    tree_simple_hop_us: 5.00, // the first guess
    tree_simple_share: 0.350, // the first guess
    tree_ramp: 0.460,
    nvls_us: 16.7,
    nvls_head_us: 0.677,
    nvls_share: 0.573,
    nvls_head_loss: 0.00274,
    nvls_ramp: 0.421,
    nvls_half_share: 0.814,
    nvls_half_ramp: 0.0785,
    peer_base_us: 1.26,
    peer_us: 0.242,
    peer_simple_us: 6.78,
    peer_share: 0.688,
    peer_ll_share: 0.0246,
};
const EFA_V2: Net = Net {
    hop_us: 22.6,
    large_us: 23.6,
    ring_hop_us: 90.0,
    simple_us: 26.5,
    share: 0.837,
    ll128_share: 0.687,
    ll_share: 0.400, // the first guess
    tree_ramp: 0.302,
    far_peer_us: 2.01,
    peer_share: 0.912,
    peer_ramp: 1.06,
};
const EFA_V3: Net = Net {
    hop_us: 14.8,
    large_us: 12.9,
    ring_hop_us: 35.0,  // the first guess
    simple_us: 10.0,    // the first guess
    share: 0.880,       // the first guess
    ll128_share: 0.700, // the first guess
    ll_share: 0.400,    // the first guess
    tree_ramp: 0.795,
    far_peer_us: 1.00, // the first guess
    peer_share: 0.850, // the first guess
    peer_ramp: 0.700,  // the first guess
};
const RDMA: Net = Net {
    hop_us: 22.8,
    large_us: 6.65,
    ring_hop_us: 23.1,
    simple_us: 5.45,
    share: 0.971,
    ll128_share: 0.850, // the first guess
    ll_share: 0.450,    // the first guess
    tree_ramp: 0.700,   // the first guess
    far_peer_us: 0.700, // the first guess
    peer_share: 0.850,  // the first guess
    peer_ramp: 0.700,   // the first guess
};
