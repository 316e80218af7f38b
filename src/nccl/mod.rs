//! What a collective takes in NCCL, as nccl-tests would print it, and which of NCCL's algorithms and protocols it picks.
//!
//! Two models that are kept apart. [`belief`] is NCCL's own, release by release: it makes the choice. [`effective`] is fitted to
//! published measurements: it says what the choice, and every other pair, really takes. Where the two disagree NCCL chooses
//! badly, and [`PairPrice`] shows by how much.

mod aws;
pub mod belief;
mod choice;
mod chunk;
pub mod constants;
pub mod effective;
mod machine;
pub mod search;
pub mod tuning;
mod version;
mod world;

pub use version::Version;
pub use world::{Cpu, Generation, Network, World};

use crate::types::{Collective, DType, ReduceOp};
use constants::Constants;
use std::fmt;

/// The world or the request can't be priced: one sentence that says why and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub(crate) String);

/// NCCL's algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    Ring,
    Tree,
    CollNetDirect,
    CollNetChain,
    /// Multicast and reduction in the switches of one domain.
    Nvls,
    /// NVLS in the domains, a tree of them between.
    NvlsTree,
    /// Parallel aggregated trees.
    Pat,
    /// A group of sends and receives; NCCL has no other all-to-all.
    SendReceive,
}

impl Algorithm {
    pub const ALL: [Algorithm; 8] = [
        Algorithm::Ring,
        Algorithm::Tree,
        Algorithm::CollNetDirect,
        Algorithm::CollNetChain,
        Algorithm::Nvls,
        Algorithm::NvlsTree,
        Algorithm::Pat,
        Algorithm::SendReceive,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Ring => "ring",
            Algorithm::Tree => "tree",
            Algorithm::CollNetDirect => "collnet_direct",
            Algorithm::CollNetChain => "collnet_chain",
            Algorithm::Nvls => "nvls",
            Algorithm::NvlsTree => "nvls_tree",
            Algorithm::Pat => "pat",
            Algorithm::SendReceive => "send_receive",
        }
    }
}

/// NCCL's wire protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// Every 4 bytes with their flag: lowest latency, half the bandwidth.
    Ll,
    /// Every 120 bytes with 8 of flags.
    Ll128,
    /// Slices with a flag and a fence.
    Simple,
}

impl Protocol {
    pub const ALL: [Protocol; 3] = [Protocol::Ll, Protocol::Ll128, Protocol::Simple];

    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Ll => "ll",
            Protocol::Ll128 => "ll128",
            Protocol::Simple => "simple",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Who starts the kernels of a host's GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launch {
    /// A process or thread of its own for every GPU.
    PerGpu,
    /// On one host a single thread for all GPUs, one after the other (nccl-tests `-g`).
    OneThread,
}

/// What a user may set and a price depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub version: Version,
    /// NCCL_NVLS_ENABLE.
    pub nvls: bool,
    /// Whether aws-ofi-nccl's tuner chooses where it has measured (EFA only).
    pub aws_tuner: bool,
    pub launch: Launch,
}

impl Settings {
    /// NCCL's defaults. Of releases before 2.24 the published tables of one host were measured with one thread, of later ones
    /// with a process or thread per GPU, and so is the launch here.
    pub const fn new(version: Version) -> Settings {
        let old = version.major == 2 && version.minor < 24;
        let launch = if old { Launch::OneThread } else { Launch::PerGpu };
        Settings { version, nvls: true, aws_tuner: true, launch }
    }
}

/// One call, its bytes as nccl-tests counts them: the whole buffer, of all-gather and all-to-all that of all ranks' blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Request {
    pub collective: Collective,
    pub dtype: DType,
    pub op: ReduceOp,
    pub bytes: u64,
}

/// One pair's price.
#[derive(Clone, Debug, PartialEq)]
pub struct PairPrice {
    pub algorithm: Algorithm,
    pub protocol: Protocol,
    /// What NCCL believes it takes, by which it chooses; None where it does not compare.
    pub believed_us: Option<f64>,
    /// Of an empty call.
    pub latency_us: Option<f64>,
    /// What the bytes add.
    pub bandwidth_us: Option<f64>,
    /// None where NCCL would not consider the pair. Of the pick never less than of a smaller call, even where NCCL changes to a
    /// faster pair later than it should: repeated runs differ by more than what would be gained.
    pub time_us: Option<f64>,
    /// Why NCCL does not consider it.
    pub rejected: Option<String>,
}

/// Prices every pair; the first is the one that NCCL picks, then the others, cheapest first, then those that don't fit.
pub fn price(world: &World, settings: &Settings, request: &Request) -> Result<Vec<PairPrice>, Invalid> {
    let constants = Constants::of(world.generation, world.network);
    Ok(Choice::new(world, settings, request)?.prices(&constants, request.bytes as f64))
}

pub use choice::Choice;

#[cfg(test)]
mod tests;
