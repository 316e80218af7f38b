//! Servers of 8 GPUs around NVSwitch: EC2 instances, DGX and HGX.

use super::design::{Design, NicWiring, Sum, Total};
use super::{generation, network};
use crate::topology::quantity::Origin::{Assumed, Derived, Measured, Published};
use crate::topology::quantity::Quantity;

const NVLINK4_THROUGH_SWITCH: Quantity = Quantity::new(
    0.61,
    Measured,
    "Azure, all-reduce of 8 GiB over 8 H100 with NVLS: 273.7 GB/s, and as much passes a GPU's link of 450 GB/s each way",
);
const H200_THROUGH_SWITCH: Quantity =
    Quantity::new(0.61, Assumed, "as H100, of which 8 reach 273.7 of 450 GB/s: same NVLink, same switches");
const B200_THROUGH_SWITCH: Quantity = Quantity::new(
    0.53,
    Assumed,
    "as GB200, of which 8 reach 480.3 of 900 GB/s (NVIDIA aiconfigurator, all-reduce of 8 GiB): same NVLink",
);

const NVLINK4_OF_8: Total =
    Total { sum: Sum::NvLink, value: 7.2, decimals: 1, source: "NVIDIA DGX H100 and HGX H200 data sheets" };
const NVLINK5_OF_8: Total =
    Total { sum: Sum::NvLink, value: 14.4, decimals: 1, source: "NVIDIA HGX B200 and B300 data sheets" };

/// All cards of a GPU, over which its bytes are spread, stand as one NIC.
const fn a_nic_for_each(name: &'static str, gbps_per_gpu: Quantity) -> NicWiring {
    NicWiring { name, gpus_per_nic: 1, cards: 1, gbps_per_gpu }
}

pub const P4D: Design = Design {
    name: "p4d",
    unit: "p4d.24xlarge",
    gpus: 8,
    gpus_per_host: 8,
    generation: &generation::A100,
    switch_reached: None,
    nics: NicWiring {
        name: "efa",
        gpus_per_nic: 2,
        cards: 1,
        gbps_per_gpu: Quantity::new(50.0, Derived, "AWS P4: 400 Gbps of 8 GPUs, four cards, each of two GPUs"),
    },
    network: &network::EFA_V1,
    totals: &[
        Total { sum: Sum::Nic, value: 0.4, decimals: 1, source: "AWS P4: 400 Gbps" },
        Total { sum: Sum::NvLink, value: 4.8, decimals: 1, source: "AWS P4: 600 GB/s of each of 8 GPUs" },
    ],
};

pub const P5: Design = Design {
    name: "p5",
    unit: "p5.48xlarge",
    gpus: 8,
    gpus_per_host: 8,
    generation: &generation::H100,
    switch_reached: Some(NVLINK4_THROUGH_SWITCH),
    nics: a_nic_for_each(
        "efa",
        Quantity::new(400.0, Published, "EC2 user guide: 3,200 Gbps of 8 GPUs, 32 cards of 100 Gbps"),
    ),
    network: &network::EFA_V2,
    totals: &[
        Total { sum: Sum::NicOfHost, value: 3200.0, decimals: 0, source: "AWS P5: 3,200 Gbps" },
        Total { sum: Sum::NvLink, value: 7.2, decimals: 1, source: "AWS P5: 900 GB/s of each of 8 GPUs" },
    ],
};

pub const P5EN: Design = Design {
    name: "p5en",
    unit: "p5en.48xlarge",
    gpus: 8,
    gpus_per_host: 8,
    generation: &generation::H200,
    switch_reached: Some(H200_THROUGH_SWITCH),
    nics: a_nic_for_each(
        "efa",
        Quantity::new(400.0, Published, "EC2 user guide: 3,200 Gbps of 8 GPUs, 16 cards of 200 Gbps"),
    ),
    network: &network::EFA_V3,
    totals: &[
        Total { sum: Sum::NicOfHost, value: 3200.0, decimals: 0, source: "AWS P5en: 3,200 Gbps" },
        Total { sum: Sum::NvLink, value: 7.2, decimals: 1, source: "AWS P5en: 900 GB/s of each of 8 GPUs" },
    ],
};

pub const P6_B200: Design = Design {
    name: "p6-b200",
    unit: "p6-b200.48xlarge",
    gpus: 8,
    gpus_per_host: 8,
    generation: &generation::B200,
    switch_reached: Some(B200_THROUGH_SWITCH),
    nics: a_nic_for_each(
        "efa",
        Quantity::new(400.0, Published, "EC2 user guide: 3,200 Gbps of 8 GPUs, 8 cards of 400 Gbps"),
    ),
    network: &network::EFA_V4,
    totals: &[
        Total { sum: Sum::NicOfHost, value: 3200.0, decimals: 0, source: "AWS P6: 3,200 Gbps" },
        Total { sum: Sum::NvLink, value: 14.4, decimals: 1, source: "AWS P6: 1,800 GB/s of each of 8 GPUs" },
    ],
};

pub const P6_B300: Design = Design {
    name: "p6-b300",
    unit: "p6-b300.48xlarge",
    gpus: 8,
    gpus_per_host: 8,
    generation: &generation::B300,
    switch_reached: Some(Quantity::new(0.53, Assumed, "as GB200 with 8 GPUs: same NVLink")),
    nics: a_nic_for_each(
        "efa",
        Quantity::new(800.0, Published, "EC2 user guide: 6,400 Gbps of 8 GPUs, 16 cards of 400 Gbps"),
    ),
    network: &network::EFA_V4,
    totals: &[
        Total { sum: Sum::NicOfHost, value: 6400.0, decimals: 0, source: "AWS P6: 6.4 Tbps" },
        Total { sum: Sum::NvLink, value: 14.4, decimals: 1, source: "AWS P6: 1,800 GB/s of each of 8 GPUs" },
    ],
};

pub const DGX_H100: Design = Design {
    name: "dgx-h100",
    unit: "DGX-H100",
    gpus: 8,
    gpus_per_host: 8,
    generation: &generation::H100,
    switch_reached: Some(NVLINK4_THROUGH_SWITCH),
    nics: a_nic_for_each(
        "nic",
        Quantity::new(400.0, Published, "NVIDIA DGX H100 user guide: 8 ports of ConnectX-7 at 400 Gbps for the GPUs"),
    ),
    network: &network::INFINIBAND_ELSEWHERE,
    totals: &[NVLINK4_OF_8],
};

pub const HGX_H200: Design = Design {
    name: "hgx-h200",
    unit: "HGX-H200",
    gpus: 8,
    gpus_per_host: 8,
    generation: &generation::H200,
    switch_reached: Some(H200_THROUGH_SWITCH),
    nics: a_nic_for_each(
        "nic",
        Quantity::new(
            400.0,
            Assumed,
            "the board has no NICs: the server's maker chooses, mostly a ConnectX-7 to a GPU",
        ),
    ),
    network: &network::INFINIBAND_ELSEWHERE,
    totals: &[NVLINK4_OF_8],
};

pub const HGX_B200: Design = Design {
    name: "hgx-b200",
    unit: "HGX-B200",
    gpus: 8,
    gpus_per_host: 8,
    generation: &generation::B200,
    switch_reached: Some(B200_THROUGH_SWITCH),
    nics: a_nic_for_each(
        "nic",
        Quantity::new(400.0, Derived, "NVIDIA HGX: 0.8 TB/s of networking, both directions, 8 GPUs"),
    ),
    network: &network::INFINIBAND_ELSEWHERE,
    totals: &[
        NVLINK5_OF_8,
        Total { sum: Sum::NicBothWays, value: 0.8, decimals: 1, source: "NVIDIA HGX: 0.8 TB/s of networking" },
    ],
};

pub const HGX_B300: Design = Design {
    name: "hgx-b300",
    unit: "HGX-B300",
    gpus: 8,
    gpus_per_host: 8,
    generation: &generation::B300,
    switch_reached: Some(Quantity::new(0.53, Assumed, "as GB200 with 8 GPUs: same NVLink")),
    nics: a_nic_for_each(
        "nic",
        Quantity::new(800.0, Derived, "NVIDIA HGX: 1.6 TB/s of networking, both directions, 8 GPUs"),
    ),
    network: &network::INFINIBAND_ELSEWHERE,
    totals: &[
        NVLINK5_OF_8,
        Total { sum: Sum::NicBothWays, value: 1.6, decimals: 1, source: "NVIDIA HGX: 1.6 TB/s of networking" },
    ],
};
