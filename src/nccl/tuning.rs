//! NCCL's own tuning constants: what it believes, right or wrong, when it chooses.
//!
//! Read in NCCL's sources, `src/graph/tuning.cc` and `src/graph/topo.h` of the releases 2.18.5, 2.20.5, 2.23.4, 2.26.2, 2.27.7,
//! 2.28.9, 2.29.2 and 2.30.7. Latencies in us, bandwidths in GB/s.

use super::version::Version;
use super::world::Generation;

/// In the order LL, LL128, Simple.
pub type PerProtocol = [f64; 3];

/// By the number of domains: one, two, more.
pub type ByDomains = [f64; 3];

/// What one release believes of one generation.
#[derive(Clone, Debug)]
pub struct Tuning {
    pub version: Version,
    pub tree_base: PerProtocol,
    pub ring_base: PerProtocol,
    pub tree_nvlink: PerProtocol,
    pub ring_nvlink: PerProtocol,
    pub tree_network: PerProtocol,
    pub ring_network: PerProtocol,
    pub nvls_latency: f64,
    pub nvls_tree_network: f64,
    pub ll_max: ByDomains,
    pub ring_ll128_per_channel: ByDomains,
    pub tree_ll128_per_channel: ByDomains,
    pub tree_per_channel: ByDomains,
    /// None before 2.28.
    pub nvls_tree_per_channel: Option<ByDomains>,
    pub nvls_efficiency: f64,
    /// GB/s of a GPU's NVLinks together, as NCCL rates them.
    pub nvlink_rate: f64,
}

impl Tuning {
    /// Blackwell is tuned from 2.26 on; what is said of an older release there means 2.26.
    pub fn of(generation: Generation, version: Version) -> Tuning {
        let version = if generation == Generation::Blackwell { version.max(Version::BLACKWELL) } else { version };
        let at_least = |minor| version.at_least(minor);
        let tree_simple = match version.minor {
            ..19 => 4.0,
            19..23 => 28.0,
            _ => 4.0,
        };
        Tuning {
            version,
            tree_base: [6.8, 14.0, if at_least(23) { 8.4 } else { 0.0 }],
            ring_base: [6.6, 14.0, 8.4],
            tree_nvlink: [0.6, 1.25, tree_simple],
            ring_nvlink: [0.6, 1.9, 3.4],
            tree_network: [5.0, 8.5, if (19..23).contains(&version.minor) { 28.0 } else { 14.0 }],
            ring_network: [2.7, 4.0, 14.0],
            nvls_latency: if at_least(23) { 25.0 } else { 23.0 },
            nvls_tree_network: if at_least(28) {
                20.9
            } else if at_least(19) {
                14.0
            } else {
                19.0
            },
            ll_max: Tuning::ll_max(generation),
            ring_ll128_per_channel: Tuning::ring_ll128(generation, version),
            tree_ll128_per_channel: match generation {
                Generation::Ampere => [20.0, 20.0, 20.0],
                Generation::Hopper => [36.7, 36.7, 29.0],
                Generation::Blackwell if at_least(28) => [55.6, 31.67, 20.0],
                Generation::Blackwell => [73.4, 73.4, 58.0],
            },
            tree_per_channel: match generation {
                Generation::Ampere => [24.0, 23.6, 17.8],
                Generation::Hopper => [38.7, 41.4, 36.0],
                Generation::Blackwell if at_least(28) => [70.0, 42.8, 24.0],
                Generation::Blackwell => [77.4, 82.8, 72.0],
            },
            nvls_tree_per_channel: at_least(28).then_some(match generation {
                Generation::Ampere => [24.0, 23.6, 17.8],
                Generation::Hopper => [0.0, 57.7, 45.5],
                Generation::Blackwell if at_least(30) => [0.0, 96.0, 80.0],
                Generation::Blackwell => [0.0, 96.0, 43.8],
            }),
            nvls_efficiency: match generation {
                Generation::Ampere => 0.0,
                Generation::Hopper => 0.85,
                Generation::Blackwell => 0.74,
            },
            nvlink_rate: match generation {
                Generation::Ampere => 12.0 * 20.0,
                Generation::Hopper => 18.0 * 20.6,
                Generation::Blackwell => 18.0 * if at_least(28) { 40.1 } else { 40.0 },
            },
        }
    }

    /// Within one domain by the GPU; among several by the processors, Intel's and Arm's alike.
    fn ll_max(generation: Generation) -> ByDomains {
        let one = match generation {
            Generation::Ampere => 87.7,
            Generation::Hopper => 141.0,
            Generation::Blackwell => 282.0,
        };
        [one, 39.0, 20.4]
    }

    fn ring_ll128(generation: Generation, version: Version) -> ByDomains {
        match generation {
            Generation::Ampere => [20.0; 3],
            Generation::Hopper => [36.7; 3],
            Generation::Blackwell if version.at_least(30) => [40.0; 3],
            Generation::Blackwell if version.at_least(29) => [34.5, 34.6, 34.5],
            Generation::Blackwell if version.at_least(28) => [73.4, 34.6, 73.4],
            Generation::Blackwell => [73.4; 3],
        }
    }
}

/// By which NCCL corrects the bandwidth of trees, from 64 B by powers of two.
pub const TREE_CORRECTION: [[f64; 24]; 3] = [
    [
        1.0, 1.0, 1.0, 1.0, 0.9, 0.8, 0.7, 0.7, 0.7, 0.7, 0.6, 0.5, 0.4, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0, 1.0,
        1.0, 1.0,
    ],
    [
        1.0, 1.0, 1.0, 1.0, 1.0, 0.9, 0.8, 0.8, 0.8, 0.7, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.8, 0.9, 0.9, 0.9, 0.9, 1.0,
        1.0, 1.0,
    ],
    [
        0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.8, 0.7, 0.6, 0.6, 0.5, 0.5, 0.5, 0.5, 0.6, 0.7, 0.8, 0.7, 0.7, 0.8, 0.9,
        0.9, 0.9,
    ],
];
