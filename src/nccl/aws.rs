//! What aws-ofi-nccl's tuner picks on AWS's 8-GPU instances, instead of NCCL.
//!
//! The plugin divides the plane of sizes and ranks into regions that AWS measured. Here are the sizes at which its pick changes,
//! in MiB, at some numbers of ranks, read off those regions (aws/aws-ofi-nccl, `src/tuner/nccl_ofi_regions.cpp` @2daf7d30); in
//! between they are interpolated. It has none for UltraServers, and none for all-gather and reduce-scatter of p5.

use super::world::{Cpu, Generation, Network, World};
use super::{Algorithm, Protocol};
use crate::types::Collective;

type Pair = (Algorithm, Protocol);
/// A pick and the size up to which it holds, MiB.
type Segment = (Pair, f64);
type Row = (usize, &'static [Segment]);

const TREE_LL: Pair = (Algorithm::Tree, Protocol::Ll);
const TREE_LL128: Pair = (Algorithm::Tree, Protocol::Ll128);
const RING_LL: Pair = (Algorithm::Ring, Protocol::Ll);
const RING_LL128: Pair = (Algorithm::Ring, Protocol::Ll128);
const RING_SIMPLE: Pair = (Algorithm::Ring, Protocol::Simple);
const NVLS_TREE: Pair = (Algorithm::NvlsTree, Protocol::Simple);
const END: f64 = f64::INFINITY;

/// The plugin's tuner for one world and collective.
pub struct Tuner {
    segments: Vec<Segment>,
}

impl Tuner {
    /// None where the plugin leaves the choice to NCCL.
    pub fn of(world: &World, collective: Collective) -> Option<Tuner> {
        let instances = world.domains.len();
        if instances < 2 || world.cpu == Cpu::Grace || world.domains.iter().any(|gpus| *gpus != 8) {
            return None;
        }
        let fast = world.nic_bytes_per_s > 75e9;
        let rows = match (world.network, world.generation, collective) {
            (Network::EfaV2, Generation::Hopper, Collective::AllReduce) => P5_ALL_REDUCE,
            (Network::EfaV3, Generation::Hopper, Collective::AllReduce) => P5EN_ALL_REDUCE,
            (Network::EfaV3, Generation::Hopper, Collective::AllGather) => P5EN_ALL_GATHER,
            (Network::EfaV3, Generation::Hopper, Collective::ReduceScatter) => P5EN_REDUCE_SCATTER,
            (Network::EfaV3, Generation::Blackwell, Collective::AllReduce) if fast => P6_B300_ALL_REDUCE,
            (Network::EfaV3, Generation::Blackwell, Collective::AllGather) if fast => P6_B300_ALL_GATHER,
            (Network::EfaV3, Generation::Blackwell, Collective::ReduceScatter) if fast => P6_B300_REDUCE_SCATTER,
            (Network::EfaV3, Generation::Blackwell, Collective::AllReduce) => P6_B200_ALL_REDUCE,
            (Network::EfaV3, Generation::Blackwell, Collective::AllGather) => P6_B200_ALL_GATHER,
            (Network::EfaV3, Generation::Blackwell, Collective::ReduceScatter) => P6_B200_REDUCE_SCATTER,
            _ => return None,
        };
        Some(Tuner { segments: segments(rows, world.ranks()) })
    }

    pub fn pick(&self, bytes: f64) -> Pair {
        let mib = bytes / f64::from(1 << 20);
        self.segments.iter().find(|(_, up_to)| mib <= *up_to).expect("the last segment has no end").0
    }

    /// The sizes, in bytes, from which on the pick is another: just beyond the last of a segment.
    pub fn changes(&self) -> impl Iterator<Item = f64> + '_ {
        let bytes = self.segments.iter().map(|(_, up_to)| up_to * f64::from(1 << 20));
        bytes.filter(|bytes| bytes.is_finite()).map(f64::next_up)
    }
}

/// Between two rows with the same picks their sizes are interpolated in logarithms; otherwise the nearer row serves.
fn segments(rows: &[Row], ranks: usize) -> Vec<Segment> {
    let above = rows.iter().position(|(own, _)| *own >= ranks).unwrap_or(rows.len() - 1);
    let (high, high_segments) = rows[above];
    let (low, low_segments) = rows[above.saturating_sub(1)];
    if high <= ranks || low == high {
        return high_segments.to_vec();
    }
    let share = (ranks as f64 / low as f64).ln() / (high as f64 / low as f64).ln();
    let same = low_segments.iter().map(|(pair, _)| pair).eq(high_segments.iter().map(|(pair, _)| pair));
    if !same {
        return if share < 0.5 { low_segments } else { high_segments }.to_vec();
    }
    let between = |(low, high): (&Segment, &Segment)| {
        let up_to = if low.1.is_finite() { low.1.powf(1.0 - share) * high.1.powf(share) } else { END };
        (low.0, up_to)
    };
    low_segments.iter().zip(high_segments).map(between).collect()
}

const P5EN_ALL_REDUCE: &[Row] = &[
    (16, &[(TREE_LL, 0.19), (TREE_LL128, 12.61), (RING_LL128, 28.72), (NVLS_TREE, END)]),
    (24, &[(TREE_LL, 0.19), (TREE_LL128, 19.66), (RING_LL128, 108.81), (NVLS_TREE, 4515.36), (RING_SIMPLE, END)]),
    (32, &[(TREE_LL, 0.19), (TREE_LL128, 26.91), (RING_LL128, 282.21), (NVLS_TREE, 490.29), (RING_SIMPLE, END)]),
    (64, &[(TREE_LL, 0.19), (TREE_LL128, 58.06), (RING_LL128, 564.42), (NVLS_TREE, 1204.63), (RING_SIMPLE, END)]),
    (128, &[(TREE_LL, 0.19), (TREE_LL128, 123.91), (NVLS_TREE, 2927.85), (RING_SIMPLE, END)]),
    (256, &[(TREE_LL, 0.19), (TREE_LL128, 147.35), (NVLS_TREE, 7193.61), (RING_SIMPLE, END)]),
    (512, &[(TREE_LL, 0.19), (TREE_LL128, 175.23), (NVLS_TREE, 20127.43), (RING_SIMPLE, END)]),
    (1024, &[(TREE_LL, 0.19), (TREE_LL128, 208.39), (NVLS_TREE, 55709.08), (RING_SIMPLE, END)]),
];
const P5EN_ALL_GATHER: &[Row] = &[
    (16, &[(RING_LL, 0.75), (RING_LL128, 227.25), (RING_SIMPLE, END)]),
    (24, &[(RING_LL, 1.07), (RING_LL128, 350.46), (RING_SIMPLE, END)]),
    (32, &[(RING_LL, 1.37), (RING_LL128, 474.62), (RING_SIMPLE, END)]),
    (64, &[(RING_LL, 2.48), (RING_LL128, 918.89), (RING_SIMPLE, END)]),
    (128, &[(RING_LL, 4.51), (RING_LL128, 2004.12), (RING_SIMPLE, END)]),
    (256, &[(RING_LL, 8.82), (RING_LL128, 4371.01), (RING_SIMPLE, END)]),
    (512, &[(RING_LL, 19.03), (RING_LL128, 9328.96), (RING_SIMPLE, END)]),
    (1024, &[(RING_LL, 32.35), (RING_LL128, 18861.08), (RING_SIMPLE, END)]),
];
const P5EN_REDUCE_SCATTER: &[Row] = &[
    (16, &[(RING_LL, 0.75), (RING_LL128, 279.17), (RING_SIMPLE, END)]),
    (24, &[(RING_LL, 1.07), (RING_LL128, 421.31), (RING_SIMPLE, END)]),
    (32, &[(RING_LL, 1.37), (RING_LL128, 564.42), (RING_SIMPLE, END)]),
    (64, &[(RING_LL, 2.48), (RING_LL128, 1141.13), (RING_SIMPLE, END)]),
    (128, &[(RING_LL, 4.51), (RING_LL128, 2307.12), (RING_SIMPLE, END)]),
    (256, &[(RING_LL, 7.03), (RING_LL128, 6963.64), (RING_SIMPLE, END)]),
    (512, &[(RING_LL, 18.02), (RING_LL128, 13336.8), (RING_SIMPLE, END)]),
    (1024, &[(RING_LL, 46.75), (RING_LL128, 25542.73), (RING_SIMPLE, END)]),
];
const P5_ALL_REDUCE: &[Row] = &[
    (16, &[(TREE_LL128, 30.31), (NVLS_TREE, END)]),
    (24, &[(TREE_LL128, 33.42), (RING_LL128, 1285.51), (RING_SIMPLE, END)]),
    (32, &[(TREE_LL128, 36.05), (RING_LL128, 1545.38), (RING_SIMPLE, END)]),
    (64, &[(TREE_LL128, 112.4), (RING_LL128, 2571.02), (RING_SIMPLE, END)]),
    (128, &[(TREE_LL128, 288.39), (RING_LL128, 2070.3), (NVLS_TREE, 6181.54), (RING_SIMPLE, END)]),
    (
        256,
        &[(TREE_LL128, 288.39), (NVLS_TREE, 1035.15), (RING_LL128, 2070.3), (NVLS_TREE, 12363.07), (RING_SIMPLE, END)],
    ),
    (512, &[(TREE_LL128, 321.38), (NVLS_TREE, 24726.15), (RING_SIMPLE, END)]),
    (1024, &[(TREE_LL128, 517.58), (NVLS_TREE, 49452.3), (RING_SIMPLE, END)]),
];
const P6_B200_ALL_REDUCE: &[Row] = &[
    (16, &[(TREE_LL, 0.38), (TREE_LL128, 4.51), (NVLS_TREE, END)]),
    (24, &[(TREE_LL, 0.38), (TREE_LL128, 10.04), (NVLS_TREE, 4096.0), (RING_SIMPLE, END)]),
    (32, &[(TREE_LL, 0.38), (TREE_LL128, 17.64), (RING_LL128, 128.0), (NVLS_TREE, 416.78), (RING_SIMPLE, END)]),
    (
        64,
        &[
            (TREE_LL, 0.38),
            (TREE_LL128, 38.89),
            (NVLS_TREE, 48.82),
            (RING_LL128, 114.86),
            (NVLS_TREE, 1024.0),
            (RING_SIMPLE, END),
        ],
    ),
    (128, &[(TREE_LL, 0.38), (TREE_LL128, 55.0), (NVLS_TREE, 2209.3), (RING_SIMPLE, END)]),
    (256, &[(TREE_LL, 0.38), (TREE_LL128, 69.79), (NVLS_TREE, 4766.62), (RING_SIMPLE, END)]),
    (512, &[(TREE_LL, 0.38), (TREE_LL128, 80.34), (NVLS_TREE, 10284.08), (RING_SIMPLE, END)]),
    (1024, &[(TREE_LL, 0.38), (TREE_LL128, 93.5), (NVLS_TREE, 21712.68), (RING_SIMPLE, END)]),
];
const P6_B200_ALL_GATHER: &[Row] = &[
    (16, &[(RING_LL, 0.75), (RING_LL128, 191.09), (RING_SIMPLE, END)]),
    (24, &[(RING_LL, 1.13), (RING_LL128, 311.1), (RING_SIMPLE, END)]),
    (32, &[(RING_LL, 1.51), (RING_LL128, 435.23), (RING_SIMPLE, END)]),
    (64, &[(RING_LL, 2.51), (RING_LL128, 833.55), (RING_SIMPLE, END)]),
    (128, &[(RING_LL, 4.51), (RING_LL128, 1779.03), (RING_SIMPLE, END)]),
    (256, &[(RING_LL, 16.53), (RING_LL128, 3756.05), (RING_SIMPLE, END)]),
    (512, &[(RING_LL, 34.52), (RING_LL128, 8016.46), (RING_SIMPLE, END)]),
    (1024, &[(RING_LL, 72.1), (RING_LL128, 15689.37), (RING_SIMPLE, END)]),
];
const P6_B200_REDUCE_SCATTER: &[Row] = &[
    (16, &[(RING_LL, 0.75), (RING_LL128, 210.66), (RING_SIMPLE, END)]),
    (24, &[(RING_LL, 1.13), (RING_LL128, 342.95), (RING_SIMPLE, END)]),
    (32, &[(RING_LL, 1.51), (RING_LL128, 485.01), (RING_SIMPLE, END)]),
    (64, &[(RING_LL, 2.51), (RING_LL128, 570.57), (RING_SIMPLE, END)]),
    (128, &[(RING_LL, 4.51), (RING_LL128, 1528.74), (RING_SIMPLE, END)]),
    (256, &[(RING_LL, 16.53), (RING_LL128, 4140.6), (RING_SIMPLE, END)]),
    (512, &[(RING_LL, 33.78), (RING_LL128, 8281.21), (RING_SIMPLE, END)]),
    (1024, &[(RING_LL, 70.55), (RING_LL128, 16562.41), (RING_SIMPLE, END)]),
];
const P6_B300_ALL_REDUCE: &[Row] = &[
    (16, &[(TREE_LL, 0.69), (TREE_LL128, 30.31), (RING_LL128, 60.63), (NVLS_TREE, END)]),
    (24, &[(TREE_LL, 0.55), (TREE_LL128, 41.5), (RING_LL128, 227.25), (NVLS_TREE, 4977.65), (RING_SIMPLE, END)]),
    (32, &[(TREE_LL, 0.47), (TREE_LL128, 52.1), (RING_LL128, 576.78), (RING_SIMPLE, END)]),
    (64, &[(TREE_LL, 0.41), (TREE_LL128, 104.19), (RING_LL128, 970.02), (NVLS_TREE, 1940.05), (RING_SIMPLE, END)]),
    (
        128,
        &[
            (TREE_LL, 0.41),
            (TREE_LL128, 121.25),
            (NVLS_TREE, 354.28),
            (RING_LL128, 970.02),
            (NVLS_TREE, 3880.09),
            (RING_SIMPLE, END),
        ],
    ),
    (256, &[(TREE_LL, 0.41), (TREE_LL128, 121.25), (NVLS_TREE, 9228.47), (RING_SIMPLE, END)]),
    (512, &[(TREE_LL, 0.35), (TREE_LL128, 177.14), (NVLS_TREE, 18456.93), (RING_SIMPLE, END)]),
    (1024, &[(TREE_LL, 0.35), (TREE_LL128, 208.39), (NVLS_TREE, 36913.86), (RING_SIMPLE, END)]),
];
const P6_B300_ALL_GATHER: &[Row] = &[
    (16, &[(RING_LL, 1.63), (RING_LL128, 416.78), (RING_SIMPLE, END)]),
    (24, &[(RING_LL, 2.46), (RING_LL128, 628.98), (RING_SIMPLE, END)]),
    (32, &[(RING_LL, 3.26), (RING_LL128, 833.55), (RING_SIMPLE, END)]),
    (64, &[(RING_LL, 6.51), (RING_LL128, 1667.1), (RING_SIMPLE, END)]),
    (128, &[(RING_LL, 13.02), (RING_LL128, 3334.2), (RING_SIMPLE, END)]),
    (256, &[(RING_LL, 26.05), (RING_LL128, 6668.4), (RING_SIMPLE, END)]),
    (512, &[(RING_LL, 52.1), (RING_LL128, 13336.8), (RING_SIMPLE, END)]),
    (1024, &[(RING_LL, 104.19), (RING_LL128, 26673.6), (RING_SIMPLE, END)]),
];
const P6_B300_REDUCE_SCATTER: &[Row] = &[
    (16, &[(RING_LL, 1.63), (RING_LL128, 288.39), (RING_SIMPLE, END)]),
    (24, &[(RING_LL, 2.46), (RING_LL128, 490.29), (RING_SIMPLE, END)]),
    (32, &[(RING_LL, 3.26), (RING_LL128, 708.56), (RING_SIMPLE, END)]),
    (64, &[(RING_LL, 6.51), (RING_LL128, 1153.56), (RING_SIMPLE, END)]),
    (128, &[(RING_LL, 13.02), (RING_LL128, 3334.2), (RING_SIMPLE, END)]),
    (256, &[(RING_LL, 26.05), (RING_LL128, 6668.4), (RING_SIMPLE, END)]),
    (512, &[(RING_LL, 52.1), (RING_LL128, 13336.8), (RING_SIMPLE, END)]),
    (1024, &[(RING_LL, 104.19), (RING_LL128, 26673.6), (RING_SIMPLE, END)]),
];
