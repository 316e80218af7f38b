//! The machine as NCCL sees it: NVLink domains of GPUs, each GPU with its share of a network.

use super::Invalid;

/// GPU generations whose tuning constants NCCL tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Generation {
    /// A100: NVLink 3.
    Ampere,
    /// H100, H200: NVLink 4, in-switch reduction.
    Hopper,
    /// B200, B300, GB200, GB300: NVLink 5, in-switch reduction.
    Blackwell,
}

impl Generation {
    pub const ALL: [Generation; 3] = [Generation::Ampere, Generation::Hopper, Generation::Blackwell];

    pub const fn name(self) -> &'static str {
        match self {
            Generation::Ampere => "ampere",
            Generation::Hopper => "hopper",
            Generation::Blackwell => "blackwell",
        }
    }
}

/// What joins the domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// AWS's Elastic Fabric Adapter up to its second version (p4d, p5), through the aws-ofi-nccl plugin.
    EfaV2,
    /// AWS's Elastic Fabric Adapter from its third version on (p5en, p6, P6e).
    EfaV3,
    InfiniBand,
    /// RDMA over converged Ethernet.
    Roce,
}

impl Network {
    pub const ALL: [Network; 4] = [Network::EfaV2, Network::EfaV3, Network::InfiniBand, Network::Roce];

    pub const fn name(self) -> &'static str {
        match self {
            Network::EfaV2 => "efa_v2",
            Network::EfaV3 => "efa_v3",
            Network::InfiniBand => "infiniband",
            Network::Roce => "roce",
        }
    }

    /// The latency that its plugin reports to NCCL: aws-ofi-nccl a figure per platform, InfiniBand's verbs none.
    pub(super) const fn reported_latency_us(self) -> f64 {
        match self {
            Network::EfaV2 => 75.0,
            Network::EfaV3 => 35.0,
            Network::InfiniBand | Network::Roce => 0.0,
        }
    }
}

/// The processors beside the GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cpu {
    /// GB200 and GB300 superchips.
    Grace,
    X86,
}

/// GPUs in NVLink domains. What NCCL calls a node is such a domain, even where it spans hosts.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    pub generation: Generation,
    /// GPUs of each domain that take part.
    pub domains: Vec<usize>,
    /// GPUs of one operating system: 8 in most servers, 4 in GB200 trays.
    pub gpus_per_host: usize,
    /// Of one GPU, per direction, by the data sheet.
    pub nvlink_bytes_per_s: f64,
    /// Of one GPU, per direction, by the data sheet. Unused within one domain.
    pub nic_bytes_per_s: f64,
    pub network: Network,
    pub cpu: Cpu,
    /// Whether the switches of a domain multicast and reduce (NVLink SHARP).
    pub in_switch: bool,
}

impl World {
    /// All GPUs.
    pub fn ranks(&self) -> usize {
        self.domains.iter().sum()
    }

    /// Checks what [`price`](super::price) relies on.
    pub fn check(&self) -> Result<(), Invalid> {
        let invalid = |what: String| Err(Invalid(what));
        if let Some(index) = self.domains.iter().position(|gpus| *gpus == 0) {
            return invalid(format!("domain {index} has no GPU; leave it out"));
        }
        if self.ranks() < 2 {
            return invalid(format!("a collective needs at least 2 GPUs, and the machine has {}", self.ranks()));
        }
        if self.gpus_per_host == 0 {
            return invalid("a host has no GPU; give at least 1 GPU per host".to_owned());
        }
        let rates = [("NVLink", self.nvlink_bytes_per_s, true), ("NIC", self.nic_bytes_per_s, self.domains.len() > 1)];
        for (what, rate, used) in rates {
            if used && !(rate.is_finite() && rate > 0.0) {
                return invalid(format!("the {what} rate is {rate} bytes/s; give a positive one"));
            }
        }
        Ok(())
    }
}
