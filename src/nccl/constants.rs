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
        nvls_share,
        nvls_ramp,
        /// Of all-gather and reduce-scatter.
        nvls_half_us,
        nvls_half_share,
        nvls_half_ramp,
        peer_us,
        peer_share,
        peer_ramp,
    }
}

constants! {
    /// Of one kind of network. Shares are parts of a NIC's rate by the data sheet.
    Net {
        /// A small message.
        hop_us,
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

const AMPERE: Gpu = Gpu { launch_us: 6.0, host_us: 5.3, ..HOPPER };
const HOPPER: Gpu = Gpu {
    launch_us: 4.6,
    host_us: 3.6,
    grace_us: 0.6,
    ring_ll_hop_us: 0.78,
    ring_ll_share: 0.3,
    ll128_base_us: 3.0,
    ring_ll128_hop_us: 1.2,
    ring_ll128_share: 0.62,
    simple_base_us: 8.0,
    ring_simple_hop_us: 3.0,
    ring_simple_share: 0.77,
    own_block_share: 1.3,
    tree_ll128_hop_us: 1.25,
    tree_ll128_share: 0.3,
    tree_simple_hop_us: 3.0,
    tree_simple_share: 0.35,
    tree_ramp: 0.5,
    nvls_us: 14.0,
    nvls_share: 0.6,
    nvls_ramp: 1.0,
    nvls_half_us: 14.0,
    nvls_half_share: 0.75,
    nvls_half_ramp: 0.5,
    peer_us: 0.3,
    peer_share: 0.75,
    peer_ramp: 0.5,
};
const BLACKWELL: Gpu = Gpu {
    launch_us: 7.6,
    host_us: 5.4,
    ring_ll_hop_us: 1.25,
    ring_ll_share: 0.35,
    ll128_base_us: 6.0,
    ring_ll128_hop_us: 1.4,
    simple_base_us: 3.0,
    ring_simple_hop_us: 10.0,
    nvls_us: 38.0,
    nvls_share: 0.53,
    nvls_ramp: 1.5,
    nvls_half_us: 36.0,
    ..HOPPER
};
const EFA_V2: Net = Net {
    hop_us: 25.0,
    ring_hop_us: 75.0,
    simple_us: 5.0,
    share: 0.9,
    ll128_share: 0.7,
    ll_share: 0.4,
    tree_ramp: 0.5,
    far_peer_us: 1.0,
    peer_share: 0.84,
    peer_ramp: 0.5,
};
const EFA_V3: Net = Net { hop_us: 18.0, ring_hop_us: 35.0, ..EFA_V2 };
const RDMA: Net = Net { hop_us: 14.0, ring_hop_us: 20.0, share: 0.96, ..EFA_V2 };
