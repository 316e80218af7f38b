//! GPUs: their links, their memory, and what kernels make of them.
//!
//! Hops are steps of rings: least squares on the time of all-reduce, all-gather and reduce-scatter of 1 to 8 KiB (median), over the
//! number of steps; they contain the flag that the next GPU waits for. Shares are of the link's rate by the data sheet.

use crate::topology::quantity::Origin::{Assumed, Fitted, Measured, Published};
use crate::topology::quantity::Quantity;

#[derive(Debug)]
pub struct Generation {
    pub model: &'static str,
    pub memory_gb_per_s: Quantity,
    /// Of one GPU, each direction.
    pub nvlink_gb_per_s: Quantity,
    /// A small message from GPU to GPU over the switch.
    pub nvlink_hop_us: Quantity,
    /// By loads and stores of kernels.
    pub nvlink_reached: Quantity,
}

/// Of messages of one GPU to others, each with the flag that says it is there.
pub const NVLINK_GAP_US: Quantity = Quantity::new(
    0.02,
    Assumed,
    "many warps store at once, so that little is left of a message; far below the 0.16 us (H100) and 0.24 us (B200) by which an \
     alltoall of 512 B takes longer for each GPU from 2 to 8 (NVIDIA aiconfigurator, NCCL 2.29), most of it NCCL's own",
);

const NVLINK5: Quantity =
    Quantity::new(900.0, Published, "NVIDIA: NVLink 5, 18 links, 1.8 TB/s of a GPU, half of it each direction");
const NVLINK4: Quantity =
    Quantity::new(450.0, Published, "NVIDIA: NVLink 4, 18 links, 900 GB/s of a GPU, half of it each direction");

const NVLINK5_HOP: Quantity = Quantity::new(
    1.27,
    Fitted,
    "NVIDIA aiconfigurator, GB200 NVL72, NCCL 2.23: steps of rings of 2 to 64 GPUs, 1.24 to 1.29 us by collective",
);
const NVLINK5_REACHED: Quantity = Quantity::new(
    0.76,
    Measured,
    "NVIDIA aiconfigurator, GB200 NVL72, NCCL 2.23: 684 GB/s of bus bandwidth, ring all-reduce of 8 GiB over 32 and 64 GPUs",
);

pub const A100: Generation = Generation {
    model: "A100",
    memory_gb_per_s: Quantity::new(1555.0, Published, "NVIDIA A100 40 GB data sheet"),
    nvlink_gb_per_s: Quantity::new(
        300.0,
        Published,
        "NVIDIA: NVLink 3, 12 links, 600 GB/s of a GPU, half of it each direction",
    ),
    nvlink_hop_us: Quantity::new(1.1, Assumed, "slower than the 0.8 us of H100; only tables of 8 GPUs are published"),
    nvlink_reached: Quantity::new(
        0.77,
        Measured,
        "Azure, 8 A100: 231.6 GB/s of bus bandwidth, ring all-reduce of 8 GiB",
    ),
};

pub const H100: Generation = Generation {
    model: "H100",
    memory_gb_per_s: Quantity::new(3350.0, Published, "NVIDIA H100 SXM data sheet"),
    nvlink_gb_per_s: NVLINK4,
    nvlink_hop_us: Quantity::new(
        0.81,
        Fitted,
        "NVIDIA aiconfigurator, H100 SXM, NCCL 2.29: steps of rings of 2 to 8 GPUs, 0.79 to 0.85 us by collective",
    ),
    nvlink_reached: Quantity::new(
        0.78,
        Measured,
        "NVIDIA aiconfigurator, 8 H100, NCCL 2.29: 350.9 GB/s of bus bandwidth, ring all-reduce of 512 MiB",
    ),
};

pub const H200: Generation = Generation {
    model: "H200",
    memory_gb_per_s: Quantity::new(4800.0, Published, "NVIDIA H200 SXM data sheet"),
    nvlink_gb_per_s: NVLINK4,
    nvlink_hop_us: Quantity::new(
        0.87,
        Fitted,
        "NVIDIA aiconfigurator, H200 SXM, NCCL 2.29: steps of rings of 2 to 8 GPUs, 0.85 and 0.90 us by collective \
         without all-gather, whose 8 GPUs stand out",
    ),
    nvlink_reached: Quantity::new(
        0.78,
        Measured,
        "NVIDIA aiconfigurator, 8 H200, NCCL 2.29: 352.5 GB/s of bus bandwidth, ring all-reduce of 512 MiB",
    ),
};

pub const B200: Generation = Generation {
    model: "B200",
    memory_gb_per_s: Quantity::new(8000.0, Published, "NVIDIA HGX B200 data sheet"),
    nvlink_gb_per_s: NVLINK5,
    nvlink_hop_us: Quantity::new(
        1.32,
        Fitted,
        "NVIDIA aiconfigurator, B200 SXM, NCCL 2.29: steps of rings of 2 to 8 GPUs, 1.23 to 1.47 us by collective",
    ),
    nvlink_reached: Quantity::new(
        0.76,
        Assumed,
        "as GB200 at 8 GiB: B200's own tables end at 512 MiB with 0.71, still rising",
    ),
};

pub const B300: Generation = Generation {
    model: "B300",
    memory_gb_per_s: Quantity::new(8000.0, Published, "NVIDIA HGX B300 data sheet"),
    nvlink_gb_per_s: NVLINK5,
    nvlink_hop_us: Quantity::new(1.32, Assumed, "as B200: same NVLink"),
    nvlink_reached: Quantity::new(0.76, Assumed, "as GB200: same NVLink"),
};

pub const GB200: Generation = Generation {
    model: "GB200",
    memory_gb_per_s: Quantity::new(8000.0, Published, "NVIDIA GB200 NVL72 data sheet: 576 TB/s of 72 GPUs"),
    nvlink_gb_per_s: NVLINK5,
    nvlink_hop_us: NVLINK5_HOP,
    nvlink_reached: NVLINK5_REACHED,
};

pub const GB300: Generation = Generation {
    model: "GB300",
    memory_gb_per_s: Quantity::new(8000.0, Published, "NVIDIA GB300 NVL72 data sheet: 576 TB/s of 72 GPUs"),
    nvlink_gb_per_s: NVLINK5,
    nvlink_hop_us: Quantity::new(1.27, Assumed, "as GB200: same NVLink"),
    nvlink_reached: Quantity::new(0.76, Assumed, "as GB200: same NVLink"),
};
