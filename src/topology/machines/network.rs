//! Networks between units: a small message from GPU to GPU, many of them, and what of a NIC's rate is reached.

use crate::topology::quantity::Origin::{Assumed, Fitted, Measured, Published};
use crate::topology::quantity::Quantity;

#[derive(Debug)]
pub struct Wide {
    pub name: &'static str,
    /// From the start of a small message on one GPU until another has it.
    pub hop_us: Quantity,
    pub reached: Quantity,
    /// Between messages of one GPU to many others.
    pub gap_us: Quantity,
}

const EFA_GAP: Quantity = Quantity::new(
    0.5,
    Assumed,
    "a processor posts and completes two million writes a second for a GPU: EFA takes no work from GPUs, and no rate is published",
);
const INFINIBAND_GAP: Quantity = Quantity::new(
    0.1,
    Assumed,
    "GPUs post to the NIC themselves, ten million writes a second: far below what the NIC passes, and no rate over many peers is published",
);

const EFA_REACHED: Quantity = Quantity::new(
    0.9,
    Assumed,
    "between the 0.65 that an all-reduce of 16 GiB on two p5 shows and the 0.97 of InfiniBand; no bandwidth test is published",
);

/// EFA of p5 and before.
pub const EFA_V2: Wide = Wide {
    name: "EFA",
    hop_us: Quantity::new(20.0, Published, "aws-ofi-nccl's tuner model: RDMA write of 8 B between two p5"),
    reached: EFA_REACHED,
    gap_us: EFA_GAP,
};

pub const EFA_V1: Wide = Wide {
    name: "EFA",
    hop_us: Quantity::new(20.0, Assumed, "as p5: aws-ofi-nccl reports the same latency for both"),
    reached: EFA_REACHED,
    gap_us: EFA_GAP,
};

pub const EFA_V3: Wide = Wide {
    name: "EFA",
    hop_us: Quantity::new(18.0, Published, "aws-ofi-nccl's tuner model: RDMA write of 8 B between two p5en"),
    reached: EFA_REACHED,
    gap_us: EFA_GAP,
};

/// EFA of p6 and of the UltraServers.
pub const EFA_V4: Wide = Wide {
    name: "EFA",
    hop_us: Quantity::new(18.0, Assumed, "as p5en: aws-ofi-nccl reports the same latency for both"),
    reached: EFA_REACHED,
    gap_us: EFA_GAP,
};

/// Of racks of GB200, where it was measured.
pub const INFINIBAND: Wide = Wide {
    name: "InfiniBand",
    hop_us: Quantity::new(
        10.2,
        Fitted,
        "torchcomms, GB200 with InfiniBand alone: steps of ring all-gathers of 32 KiB over 4 to 32 GPUs",
    ),
    reached: Quantity::new(
        0.97,
        Measured,
        "torchcomms, GB200, one 400 Gbps NIC: 48.35 GB/s, GPU-initiated puts of 1 GiB",
    ),
    gap_us: INFINIBAND_GAP,
};

pub const INFINIBAND_ELSEWHERE: Wide = Wide {
    name: "InfiniBand",
    hop_us: Quantity::new(
        10.2,
        Assumed,
        "as between GB200: steps of ring all-gathers of 32 KiB over 4 to 32 GPUs (torchcomms)",
    ),
    reached: Quantity::new(0.97, Assumed, "as of a 400 Gbps NIC of GB200: 48.35 GB/s, GPU-initiated puts (torchcomms)"),
    gap_us: INFINIBAND_GAP,
};
