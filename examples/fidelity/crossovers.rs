//! Where AWS measured that one pair becomes faster than another.

use unisono::nccl::constants::Constants;
use unisono::nccl::{Algorithm, Choice, Cpu, Generation, Network, Protocol, Request, Settings, Version, World};
use unisono::{Collective, DType, ReduceOp};

/// A size at which two pairs take the same time.
pub struct Crossover {
    pub world: World,
    pub collective: Collective,
    pub bytes: f64,
    /// Those of one instance type and collective belong together.
    pub group: usize,
    pub before: (Algorithm, Protocol),
    pub after: (Algorithm, Protocol),
}

/// Those of AWS's tuner, at 2 to 128 instances.
pub fn all() -> Vec<Crossover> {
    let instances = [
        (Generation::Hopper, Network::EfaV2, 50e9),
        (Generation::Hopper, Network::EfaV3, 50e9),
        (Generation::Blackwell, Network::EfaV3, 50e9),
        (Generation::Blackwell, Network::EfaV3, 100e9),
    ];
    let mut crossovers = Vec::new();
    let mut group = 0;
    for (generation, network, nic_bytes_per_s) in instances {
        for collective in [Collective::AllReduce, Collective::AllGather, Collective::ReduceScatter] {
            if network == Network::EfaV2 && collective != Collective::AllReduce {
                continue;
            }
            for domains in [2, 4, 8, 16, 32, 64, 128] {
                let world = World {
                    generation,
                    domains: vec![8; domains],
                    gpus_per_host: 8,
                    nvlink_bytes_per_s: if generation == Generation::Hopper { 450e9 } else { 900e9 },
                    nic_bytes_per_s,
                    network,
                    cpu: Cpu::X86,
                    in_switch: true,
                };
                let picks: Vec<_> = choice(&world, collective).picks().collect();
                for pair in picks.windows(2) {
                    let (before, (bytes, after)) = (pair[0].1, pair[1]);
                    crossovers.push(Crossover { world: world.clone(), collective, bytes, group, before, after });
                }
            }
            group += 1;
        }
    }
    crossovers
}

pub fn choice(world: &World, collective: Collective) -> Choice<'_> {
    const DEFAULTS: &Settings = &Settings::new(Version::NEWEST);
    let request = Request { collective, dtype: DType::F32, op: ReduceOp::Sum, bytes: 0 };
    Choice::new(world, DEFAULTS, &request).expect("a valid world")
}

impl Crossover {
    /// The later pair's time over the earlier's, by some constants: 1 if they are right.
    pub fn ratio(&self, choice: &Choice, constants: &Constants) -> f64 {
        let us = |pair| choice.time(constants, pair, self.bytes).total_us();
        us(self.after) / us(self.before)
    }
}
