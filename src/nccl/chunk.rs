//! How NCCL cuts a call of NVLSTree: every head takes a chunk on every channel, and together they make a round
//! (`calcCollChunking` in `src/enqueue.cc`, `src/transport/nvls.cc`). A round passes from domain to domain as a whole, so its size
//! decides how long the pipeline takes to fill.

use super::search::MAX_NVLS_HEADS;
use super::world::{Cpu, Generation, Network, World};
use super::{Settings, Version};

const KIB: u64 = 1 << 10;

/// From this release on Blackwell's channels and chunks depend on the size of the domains and the speed of the NICs.
const TUNED_FOR_BLACKWELL: Version = Version::new(2, 30, 0);
/// What aws-ofi-nccl sets on p5 and later (`src/platform-aws.cpp` @2daf7d30: NCCL_NVLS_CHUNKSIZE, NCCL_NVLSTREE_MAX_CHUNKSIZE).
const EFA_CHUNK_BYTES: u64 = 512 * KIB;

/// Channels of NVLSTree and the largest chunk.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NvlsTree {
    channels: u64,
    heads: u64,
    max_chunk_bytes: u64,
}

impl NvlsTree {
    pub fn of(world: &World, settings: &Settings) -> NvlsTree {
        let gpus = world.domains.iter().copied().min().unwrap_or(1);
        let domains = world.domains.len();
        let (channels, chunk_bytes) = match world.generation {
            Generation::Blackwell if settings.version >= TUNED_FOR_BLACKWELL => tuned(world, domains, gpus),
            Generation::Blackwell => (32, untuned(domains)),
            Generation::Ampere | Generation::Hopper => (16, untuned(domains)),
        };
        let max_chunk_bytes = match world.network {
            Network::EfaV2 | Network::EfaV3 => EFA_CHUNK_BYTES,
            Network::InfiniBand | Network::Roce => chunk_bytes,
        };
        NvlsTree { channels, heads: gpus.min(MAX_NVLS_HEADS) as u64, max_chunk_bytes }
    }

    /// The chunk of a call: smaller where few rounds would be left.
    fn chunk_bytes(&self, bytes: f64) -> f64 {
        let mut chunk = self.max_chunk_bytes;
        for (rounds, smaller) in [(32, 256 * KIB), (16, 128 * KIB), (4, 64 * KIB), (1, 32 * KIB)] {
            if chunk > smaller && bytes < (rounds * self.channels * self.heads * chunk) as f64 {
                chunk = smaller;
            }
        }
        chunk as f64
    }

    /// What all heads take at once.
    pub fn round_bytes(&self, bytes: f64) -> f64 {
        ((self.channels * self.heads) as f64 * self.chunk_bytes(bytes)).min(bytes)
    }
}

fn untuned(domains: usize) -> u64 {
    if domains >= 4 { 64 * KIB } else { 128 * KIB }
}

/// `ncclNvlsTreeSm100Tuning`. Behind a Grace processor a NIC is farther than a PCIe bridge.
fn tuned(world: &World, domains: usize, gpus: usize) -> (u64, u64) {
    let nic = world.nic_bytes_per_s / 1e9;
    let bridged = world.cpu == Cpu::X86;
    match (domains, gpus) {
        _ if nic < 48.0 => (32, untuned(domains)),
        (2, ..=4) => (32, 256 * KIB),
        (2, 16..) => (32, 64 * KIB),
        (2, ..=8) if bridged && nic < 96.0 => (32, 64 * KIB),
        (2, _) => (32, 128 * KIB),
        (_, ..=8) if nic >= 96.0 => (24, 256 * KIB),
        (_, ..32) if nic >= 96.0 => (32, 128 * KIB),
        _ if nic >= 96.0 => (32, 64 * KIB),
        _ if bridged => (24, 64 * KIB),
        _ => (24, 128 * KIB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(generation: Generation, domains: &[usize], nic: f64, network: Network, version: &str) -> NvlsTree {
        let grace = domains[0] > 8;
        let world = World {
            generation,
            domains: domains.to_vec(),
            gpus_per_host: 4,
            nvlink_bytes_per_s: 900e9,
            nic_bytes_per_s: nic,
            network,
            cpu: if grace { Cpu::Grace } else { Cpu::X86 },
            in_switch: true,
        };
        NvlsTree::of(&world, &Settings::new(version.parse().unwrap()))
    }

    #[test]
    fn chunks_are_those_of_the_release_and_the_plugin() {
        for (generation, domains, nic, network, version, channels, kib) in [
            (Generation::Blackwell, &[72; 2][..], 50e9, Network::InfiniBand, "2.26.2", 32, 128),
            (Generation::Blackwell, &[72; 20][..], 50e9, Network::InfiniBand, "2.26.2", 32, 64),
            (Generation::Blackwell, &[72; 20][..], 50e9, Network::InfiniBand, "2.30.7", 24, 128),
            (Generation::Blackwell, &[72; 20][..], 100e9, Network::Roce, "2.30.7", 32, 64),
            (Generation::Blackwell, &[8; 4][..], 100e9, Network::InfiniBand, "2.30.7", 24, 256),
            (Generation::Blackwell, &[8; 4][..], 50e9, Network::InfiniBand, "2.30.7", 24, 64),
            (Generation::Blackwell, &[8; 2][..], 100e9, Network::InfiniBand, "2.30.7", 32, 128),
            (Generation::Blackwell, &[72; 16][..], 50e9, Network::EfaV3, "2.30.7", 24, 512),
            (Generation::Hopper, &[8; 3][..], 50e9, Network::InfiniBand, "2.30.7", 16, 128),
            (Generation::Hopper, &[8; 16][..], 50e9, Network::EfaV2, "2.20.5", 16, 512),
        ] {
            let flow = flow(generation, domains, nic, network, version);
            assert_eq!(
                (flow.channels, flow.max_chunk_bytes),
                (channels, kib * KIB),
                "{domains:?} {network:?} {version}"
            );
        }
    }

    #[test]
    fn a_round_shrinks_with_the_call() {
        let flow = flow(Generation::Hopper, &[8; 16], 50e9, Network::EfaV2, "2.28.7");
        let mib = f64::from(1 << 20);
        for (bytes, round) in [(1.0, 1.0), (100.0, 16.0), (400.0, 16.0), (512.0, 32.0), (1024.0, 32.0), (2048.0, 64.0)]
        {
            assert_eq!(flow.round_bytes(bytes * mib), round * mib, "{bytes} MiB");
        }
    }
}
