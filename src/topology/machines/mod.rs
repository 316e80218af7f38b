//! Machines by name: units, links and constants of what people train on, each number with its source.
//!
//! A new machine is a [`Design`] in the file of its family and a line in [`DESIGNS`]; what no preset describes is said in a
//! [file](super::file).

mod design;
mod generation;
mod host;
mod network;
mod server;
#[cfg(test)]
mod tests;
mod ultraserver;

pub use design::{Design, NicWiring, Sum, Total};
pub use host::host;

use super::fabric::Topology;
use super::host::Speeds;
use crate::types::UnknownName;
use crate::words::given;

/// All presets but `host`, whose size is not known in advance.
pub const DESIGNS: [&Design; 14] = [
    &ultraserver::P6E_GB200X36,
    &ultraserver::P6E_GB200X72,
    &ultraserver::P6E_GB300X72,
    &ultraserver::GB200_NVL72,
    &ultraserver::GB300_NVL72,
    &server::P4D,
    &server::P5,
    &server::P5EN,
    &server::P6_B200,
    &server::P6_B300,
    &server::DGX_H100,
    &server::HGX_H200,
    &server::HGX_B200,
    &server::HGX_B300,
];

/// The machine that the program runs on, whose ranks are its cores.
pub const HOST: &str = "host";

/// The most GPUs that a machine may have.
pub const MOST_GPUS: usize = 1 << 24;

/// Which machine, and how much of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request<'a> {
    /// A name of [`names`], or AWS's of an UltraServer: `u-p6e-gb200x72`.
    pub machine: &'a str,
    /// UltraServers, racks or instances.
    pub units: usize,
    /// All of them, unless said.
    pub gpus_per_unit: Option<usize>,
    /// The preset's, unless said.
    pub nic_gbps_per_gpu: Option<f64>,
    /// Of this host: the ranks of machine `host`, unless `gpus_per_unit` says another number.
    pub cores: usize,
    /// How fast this host is.
    pub speeds: Speeds,
}

/// Why there is no such machine.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Unknown(#[from] UnknownName),
    #[error("a unit of {machine} has {has} GPUs, and {asked} were asked for: give from 1 to {has}")]
    GpusPerUnit { machine: &'static str, has: usize, asked: usize },
    #[error("a machine has 1 unit or more: give another number of units than 0")]
    NoUnit,
    #[error(
        "{units} units of {each} GPUs are more than the {MOST_GPUS} GPUs that a machine may have: give fewer units"
    )]
    TooLarge { units: usize, each: usize },
    #[error("a NIC can't carry {} Gbps: give more than 0 (8e-9 at least, a byte a second) and at most 1000000", given(*gbps))]
    NicRate { gbps: f64 },
    #[error("{machine} is one host without a network to others: give 1 unit and no NIC")]
    NoNetwork { machine: &'static str },
    #[error("{asked} ranks are more than the {most} that {machine} may have: give fewer")]
    Ranks { machine: &'static str, most: usize, asked: usize },
}

impl Request<'_> {
    /// One whole unit.
    pub fn new(machine: &str) -> Request<'_> {
        Request { machine, units: 1, gpus_per_unit: None, nic_gbps_per_gpu: None, cores: 1, speeds: Speeds::ASSUMED }
    }

    /// The machine, with every constant that it is made of.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn topology(&self) -> Result<Topology, Refused> {
        if self.units == 0 {
            return Err(Refused::NoUnit);
        }
        if self.machine == HOST {
            return host::topology(self);
        }
        find(self.machine)?.topology(self)
    }
}

/// Names of all presets.
pub fn names() -> impl Iterator<Item = &'static str> {
    DESIGNS.iter().map(|design| design.name).chain([HOST])
}

/// The design of a preset that is not `host`.
pub fn find(name: &str) -> Result<&'static Design, UnknownName> {
    let plain = name.strip_prefix("u-").filter(|rest| rest.starts_with("p6e")).unwrap_or(name);
    DESIGNS
        .iter()
        .find(|design| design.name == plain)
        .copied()
        .ok_or_else(|| UnknownName::new("machine", name, names()))
}
