//! Racks that are one NVLink domain: AWS UltraServers and NVIDIA's NVL72.

use super::design::{Design, NicWiring, Sum, Total};
use super::{generation, network};
use crate::topology::quantity::Origin::{Assumed, Measured, Published};
use crate::topology::quantity::Quantity;

const RACK_THROUGH_SWITCH: Quantity = Quantity::new(
    0.47,
    Measured,
    "CoreWeave, all-reduce of 4 GiB over 72 GB200, NCCL 2.26: 425.5 GB/s, and as much passes a GPU's link of 900 GB/s each way",
);

/// Two cards to a GPU (network cards 1 and 3 to the first, 5 and 7 to the second...), each of 400 Gbps, which share the GPU's 400
/// Gbps. The cards between them are the other ports of the same NICs and add nothing.
const P6E_NICS: NicWiring = NicWiring {
    name: "efa",
    gpus_per_nic: 1,
    cards: 2,
    gbps_per_gpu: Quantity::new(
        400.0,
        Published,
        "EC2 user guide, EFA configuration for P6e-GB200: 1,600 Gbps of an instance with 4 GPUs; a GPU's two cards share 400",
    ),
};

const NVLINK_OF_72: Total =
    Total { sum: Sum::NvLink, value: 130.0, decimals: 0, source: "NVIDIA NVL72 data sheet; AWS on P6e-GB200" };
const MEMORY_OF_72: Total = Total { sum: Sum::Memory, value: 576.0, decimals: 0, source: "NVIDIA NVL72 data sheet" };
const EFA_OF_INSTANCE: Total = Total {
    sum: Sum::NicOfHost,
    value: 1600.0,
    decimals: 0,
    source: "EC2 user guide, EFA configuration for P6e-GB200",
};

pub const P6E_GB200X36: Design = Design {
    name: "p6e-gb200x36",
    unit: "u-p6e-gb200x36",
    gpus: 36,
    gpus_per_host: 4,
    generation: &generation::GB200,
    switch_reached: Some(Quantity::new(
        0.5,
        Measured,
        "NVIDIA aiconfigurator, all-reduce of 4 GiB over 32 GB200: 445.8 GB/s, and as much passes a GPU's link of 900 GB/s each way",
    )),
    nics: P6E_NICS,
    network: &network::EFA_V4,
    totals: &[
        Total { sum: Sum::Nic, value: 14.4, decimals: 1, source: "AWS, P6e-GB200 UltraServers" },
        EFA_OF_INSTANCE,
    ],
};

pub const P6E_GB200X72: Design = Design {
    name: "p6e-gb200x72",
    unit: "u-p6e-gb200x72",
    gpus: 72,
    gpus_per_host: 4,
    generation: &generation::GB200,
    switch_reached: Some(RACK_THROUGH_SWITCH),
    nics: P6E_NICS,
    network: &network::EFA_V4,
    totals: &[
        Total { sum: Sum::Nic, value: 28.8, decimals: 1, source: "AWS, P6e-GB200 UltraServers" },
        EFA_OF_INSTANCE,
        NVLINK_OF_72,
        MEMORY_OF_72,
    ],
};

pub const P6E_GB300X72: Design = Design {
    name: "p6e-gb300x72",
    unit: "u-p6e-gb300x72",
    gpus: 72,
    gpus_per_host: 4,
    generation: &generation::GB300,
    switch_reached: Some(Quantity::new(0.47, Assumed, "as GB200: same NVLink, same switches")),
    nics: NicWiring {
        name: "efa",
        gpus_per_nic: 1,
        cards: 1,
        gbps_per_gpu: Quantity::new(800.0, Assumed, "AWS published none for P6e-GB300; as p6-b300, whose GPU it is"),
    },
    network: &network::EFA_V4,
    totals: &[NVLINK_OF_72, MEMORY_OF_72],
};

/// A NIC to a GPU, as fast as nobody says otherwise.
const NIC_OF_CHOICE: NicWiring = NicWiring {
    name: "nic",
    gpus_per_nic: 1,
    cards: 1,
    gbps_per_gpu: Quantity::new(
        400.0,
        Assumed,
        "racks are sold with different NICs: one ConnectX-7 to a GPU, as in the published tables of two racks",
    ),
};

pub const GB200_NVL72: Design = Design {
    name: "gb200-nvl72",
    unit: "GB200-NVL72",
    gpus: 72,
    gpus_per_host: 4,
    generation: &generation::GB200,
    switch_reached: Some(RACK_THROUGH_SWITCH),
    nics: NIC_OF_CHOICE,
    network: &network::INFINIBAND,
    totals: &[NVLINK_OF_72, MEMORY_OF_72],
};

pub const GB300_NVL72: Design = Design {
    name: "gb300-nvl72",
    unit: "GB300-NVL72",
    generation: &generation::GB300,
    switch_reached: Some(Quantity::new(0.47, Assumed, "as GB200: same NVLink, same switches")),
    nics: NicWiring {
        name: "nic",
        gpus_per_nic: 1,
        cards: 1,
        gbps_per_gpu: Quantity::new(
            400.0,
            Assumed,
            "racks are sold with different NICs; NVIDIA's own design has 800 Gbps (ConnectX-8)",
        ),
    },
    gpus: 72,
    gpus_per_host: 4,
    network: &network::INFINIBAND_ELSEWHERE,
    totals: &[NVLINK_OF_72, MEMORY_OF_72],
};
