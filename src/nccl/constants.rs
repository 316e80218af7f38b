//! The fitted constants, few and physical, for each generation.

use super::world::{Cpu, Generation};

/// What a host's processors take to launch one GPU's kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HostLaunch {
    pub per_gpu_us: f64,
}

macro_rules! constants {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Constants of one generation. Shares are parts of a GPU's data-sheet rate.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Constants {
            $($(#[$doc])* pub $name: f64,)*
        }

        impl Constants {
            /// Their names, in the order of [`Constants::values`].
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name)),*];

            pub fn values(&self) -> Vec<f64> {
                vec![$(self.$name),*]
            }

            pub fn values_mut(&mut self) -> Vec<&mut f64> {
                vec![$(&mut self.$name),*]
            }
        }
    };
}

constants! {
    /// From the launch to the first byte and from the last to the next launch.
    launch_us,
    /// Added by a Grace processor.
    grace_us,
    ring_ll_hop_us,
    ring_ll_share,
    ring_ll128_base_us,
    ring_ll128_hop_us,
    ring_ll128_share,
    ring_simple_base_us,
    ring_simple_hop_us,
    ring_simple_share,
    /// Of a rank's own block, copied beside the ring.
    own_block_share,
    tree_ll128_hop_us,
    tree_simple_hop_us,
    tree_share,
    tree_ramp,
    nvls_us,
    nvls_share,
    /// Of all-gather and reduce-scatter.
    nvls_half_share,
    nvls_ramp,
    efa_hop_us,
    rdma_hop_us,
    network_simple_us,
    efa_share,
    rdma_share,
    peer_us,
    far_peer_us,
    peer_share,
    peer_network_share,
    peer_ramp,
}

impl Constants {
    pub fn of(generation: Generation) -> Constants {
        match generation {
            Generation::Ampere => AMPERE,
            Generation::Hopper => HOPPER,
            Generation::Blackwell => BLACKWELL,
        }
    }

    pub fn host_launch(&self, cpu: Cpu) -> HostLaunch {
        match cpu {
            Cpu::Grace => HostLaunch { per_gpu_us: 5.4 },
            Cpu::X86 => HostLaunch { per_gpu_us: 3.6 },
        }
    }
}

const AMPERE: Constants = HOPPER;
const HOPPER: Constants = Constants {
    launch_us: 4.6,
    grace_us: 0.6,
    ring_ll_hop_us: 0.78,
    ring_ll_share: 0.3,
    ring_ll128_base_us: 3.0,
    ring_ll128_hop_us: 1.2,
    ring_ll128_share: 0.6,
    ring_simple_base_us: 8.0,
    ring_simple_hop_us: 3.0,
    ring_simple_share: 0.77,
    own_block_share: 1.3,
    tree_ll128_hop_us: 1.25,
    tree_simple_hop_us: 3.0,
    tree_share: 0.35,
    tree_ramp: 0.5,
    nvls_us: 14.0,
    nvls_share: 0.6,
    nvls_half_share: 0.75,
    nvls_ramp: 1.0,
    efa_hop_us: 20.0,
    rdma_hop_us: 10.0,
    network_simple_us: 5.0,
    efa_share: 0.9,
    rdma_share: 0.95,
    peer_us: 0.3,
    far_peer_us: 1.0,
    peer_share: 0.75,
    peer_network_share: 0.8,
    peer_ramp: 0.5,
};
const BLACKWELL: Constants = Constants {
    launch_us: 7.6,
    grace_us: 0.6,
    ring_ll_hop_us: 1.25,
    ring_ll_share: 0.35,
    ring_ll128_base_us: 6.0,
    ring_ll128_hop_us: 1.4,
    ring_ll128_share: 0.6,
    ring_simple_base_us: 3.0,
    ring_simple_hop_us: 10.0,
    ring_simple_share: 0.77,
    own_block_share: 1.3,
    tree_ll128_hop_us: 1.27,
    tree_simple_hop_us: 3.0,
    tree_share: 0.35,
    tree_ramp: 0.5,
    nvls_us: 38.0,
    nvls_share: 0.53,
    nvls_half_share: 0.75,
    nvls_ramp: 1.5,
    efa_hop_us: 20.0,
    rdma_hop_us: 10.0,
    network_simple_us: 5.0,
    efa_share: 0.9,
    rdma_share: 0.95,
    peer_us: 0.3,
    far_peer_us: 1.0,
    peer_share: 0.75,
    peer_network_share: 0.8,
    peer_ramp: 0.5,
};
