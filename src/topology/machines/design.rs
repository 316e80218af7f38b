//! How a preset is written down, and the topology that comes of it.

use super::generation::{Generation, NVLINK_GAP_US};
use super::network::Wide;
use super::{MOST_GPUS, Refused, Request};
use crate::topology::fabric::{Gaps, Gpu, Network, Reached, Run, Topology};
use crate::topology::outline::{Joins, Outline, Star, gpu_names};
use crate::topology::quantity::{Constant, Origin, Quantity};
use crate::topology::unit::{LinkClass, Unit};
use std::borrow::Cow;

/// GPUs around one switch, with NICs, so many to a unit.
#[derive(Debug)]
pub struct Design {
    pub name: &'static str,
    /// What the vendor calls a unit.
    pub unit: &'static str,
    pub gpus: usize,
    pub gpus_per_host: usize,
    pub(super) generation: &'static Generation,
    /// Of a GPU's link, what kernels reach through a switch that adds up; None where it can't.
    pub(super) switch_reached: Option<Quantity>,
    pub nics: NicWiring,
    pub(super) network: &'static Wide,
    /// What the vendor says of a whole unit.
    pub totals: &'static [Total],
}

/// How NICs stand to GPUs.
#[derive(Debug)]
pub struct NicWiring {
    pub(super) name: &'static str,
    /// GPUs that share a NIC.
    pub gpus_per_nic: usize,
    /// NICs, each as fast as the GPU's share, that carry no more than that together.
    pub cards: usize,
    /// In Gbps, each direction.
    pub gbps_per_gpu: Quantity,
}

/// A sum over a unit as the vendor published it.
#[derive(Debug)]
pub struct Total {
    pub sum: Sum,
    pub value: f64,
    /// Digits behind the point that were published.
    pub decimals: usize,
    pub source: &'static str,
}

/// What a vendor adds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// Of all GPUs, both directions, in TB/s.
    NvLink,
    /// Of all GPUs, each direction, in Tbps.
    Nic,
    /// Of all GPUs, both directions, in TB/s.
    NicBothWays,
    /// Of the GPUs of one host, each direction, in Gbps.
    NicOfHost,
    /// Of all GPUs, in TB/s.
    Memory,
}

impl Sum {
    pub const ALL: [Sum; 5] = [Sum::NvLink, Sum::Nic, Sum::NicBothWays, Sum::NicOfHost, Sum::Memory];

    pub const fn name(self) -> &'static str {
        match self {
            Sum::NvLink => "NVLink of a unit, both directions",
            Sum::Nic => "network of a unit, each direction",
            Sum::NicBothWays => "network of a unit, both directions",
            Sum::NicOfHost => "network of a host, each direction",
            Sum::Memory => "GPU memory of a unit",
        }
    }

    pub const fn unit(self) -> &'static str {
        match self {
            Sum::NvLink | Sum::NicBothWays | Sum::Memory => "TB/s",
            Sum::Nic => "Tbps",
            Sum::NicOfHost => "Gbps",
        }
    }

    /// The sum over a unit as it is modelled.
    pub fn of(self, unit: &Unit, memory_bytes_per_s: f64) -> f64 {
        match self {
            Sum::NvLink => 2.0 * unit.bytes_per_s_out(LinkClass::NvLink) / 1e12,
            Sum::Nic => 8.0 * unit.bytes_per_s_out(LinkClass::Nic) / 1e12,
            Sum::NicBothWays => 2.0 * unit.bytes_per_s_out(LinkClass::Nic) / 1e12,
            Sum::NicOfHost => {
                let share = unit.gpus_per_host as f64 / unit.gpus() as f64;
                8.0 * unit.bytes_per_s_out(LinkClass::Nic) * share / 1e9
            }
            Sum::Memory => memory_bytes_per_s * unit.gpus() as f64 / 1e12,
        }
    }
}

/// One byte per second: less is no link.
const LEAST_GBPS: f64 = 8e-9;

/// Gbps in bytes per second.
fn bytes_per_s(gbps: f64) -> f64 {
    gbps * 1e9 / 8.0
}

impl Design {
    /// What the machine is called in a sentence or a table.
    pub fn gpu_model(&self) -> &'static str {
        self.generation.model
    }

    pub(super) fn topology(&'static self, request: &Request) -> Result<Topology, Refused> {
        let gpus = request.gpus_per_unit.unwrap_or(self.gpus);
        if gpus == 0 || gpus > self.gpus {
            return Err(Refused::GpusPerUnit { machine: self.name, has: self.gpus, asked: gpus });
        }
        if request.units > MOST_GPUS / gpus {
            return Err(Refused::TooLarge { units: request.units, each: gpus });
        }
        let nic = match request.nic_gbps_per_gpu {
            None => self.nics.gbps_per_gpu.clone(),
            Some(gbps) if (LEAST_GBPS..=1e6).contains(&gbps) => {
                Quantity::new(gbps, Origin::Given, "asked for with the machine")
            }
            Some(gbps) => return Err(Refused::NicRate { gbps }),
        };
        let outline = self.outline(gpus, nic.value);
        let unit = outline.unit().expect("presets are sound");
        Ok(Topology {
            name: self.name.to_owned(),
            gpu: Gpu {
                model: self.generation.model.to_owned(),
                memory_bytes_per_s: self.generation.memory_gb_per_s.value * 1e9,
            },
            kinds: vec![unit],
            runs: vec![Run { kind: 0, count: request.units }],
            network: Network {
                name: self.network.name.to_owned(),
                latency_ns: self.network.hop_us.value * 1e3,
                unit_bytes_per_s: None,
            },
            reached: Reached {
                domain: self.generation.nvlink_reached.value,
                switch: self.switch_reached.as_ref().map_or(1.0, |share| share.value),
                network: self.network.reached.value,
            },
            gaps: Gaps { domain_ns: NVLINK_GAP_US.value * 1e3, network_ns: self.network.gap_us.value * 1e3 },
            constants: self.constants(gpus, nic),
        })
    }

    /// A unit with this many of its GPUs.
    pub(in crate::topology) fn outline(&self, gpus: usize, nic_gbps_per_gpu: f64) -> Outline {
        let hop_ns = self.generation.nvlink_hop_us.value * 1e3;
        let switch = Star {
            name: "nvswitch".to_owned(),
            joins: Joins::AllGpus,
            cards: 1,
            reduces: self.switch_reached.is_some(),
            class: LinkClass::NvLink,
            bytes_per_s: self.generation.nvlink_gb_per_s.value * 1e9,
            latency_ns: hop_ns / 2.0,
            shared_bytes_per_s: None,
            at: 0,
        };
        let NicWiring { gpus_per_nic, cards, .. } = self.nics;
        let nic_bytes_per_s = bytes_per_s(nic_gbps_per_gpu * gpus_per_nic as f64);
        let nic = Star {
            name: self.nics.name.to_owned(),
            joins: Joins::Every(gpus_per_nic),
            cards,
            reduces: false,
            class: LinkClass::Nic,
            bytes_per_s: nic_bytes_per_s,
            // The hop through the network is known from GPU to GPU only.
            latency_ns: 0.0,
            shared_bytes_per_s: (gpus_per_nic * cards > 1).then_some(nic_bytes_per_s),
            at: 0,
        };
        Outline {
            name: self.unit.to_owned(),
            gpus: gpu_names(gpus),
            gpus_per_host: self.gpus_per_host,
            switches: vec![switch],
            nics: vec![nic],
            ..Outline::default()
        }
    }

    fn constants(&'static self, gpus: usize, nic: Quantity) -> Vec<Constant> {
        let constant =
            |name, unit, quantity| Constant { name: Cow::Borrowed(name), unit: Cow::Borrowed(unit), quantity };
        let nic_given = nic.origin == Origin::Given;
        let mut constants = vec![
            constant("NVLink of a GPU, each direction", "GB/s", self.generation.nvlink_gb_per_s.clone()),
            constant("NVLink hop, GPU to GPU", "us", self.generation.nvlink_hop_us.clone()),
            constant("NVLink reached by loads and stores", "share", self.generation.nvlink_reached.clone()),
            constant("NVLink gap between messages", "us", NVLINK_GAP_US),
        ];
        if let Some(share) = &self.switch_reached {
            constants.push(constant("NVLink reached through the switch", "share", share.clone()));
        }
        constants.extend([
            constant("GPU memory", "GB/s", self.generation.memory_gb_per_s.clone()),
            constant("network of a GPU, each direction", "Gbps", nic),
            constant("network hop, GPU to GPU", "us", self.network.hop_us.clone()),
            constant("network reached", "share", self.network.reached.clone()),
            constant("network gap between messages", "us", self.network.gap_us.clone()),
        ]);
        let holds = |total: &&Total| gpus == self.gpus && !(nic_given && total.sum.is_of_network());
        constants.extend(self.totals.iter().filter(holds).map(|total| {
            let quantity = Quantity::new(total.value, Origin::Published, total.source);
            constant(total.sum.name(), total.sum.unit(), quantity)
        }));
        constants
    }
}

impl Sum {
    const fn is_of_network(self) -> bool {
        match self {
            Sum::Nic | Sum::NicBothWays | Sum::NicOfHost => true,
            Sum::NvLink | Sum::Memory => false,
        }
    }
}
