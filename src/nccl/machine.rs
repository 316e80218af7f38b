//! A machine that is data, as NCCL sees it.

use super::world::{Cpu, Generation, Network, World};
use super::{Invalid, Settings, Version};
use crate::plan::price::Ports;
use crate::topology::{Reached, Topology};

impl World {
    /// The world of all GPUs of a machine.
    ///
    /// # Errors
    /// If NCCL has no tuning for its GPUs or its network, or GPUs of one host don't reach each other over NVLink.
    pub fn of(topology: &Topology) -> Result<World, Invalid> {
        let model = topology.gpu.model.as_str();
        let generation = match model {
            "A100" => Generation::Ampere,
            "H100" | "H200" => Generation::Hopper,
            "B200" | "B300" | "GB200" | "GB300" => Generation::Blackwell,
            _ => {
                return Err(Invalid(format!(
                    "NCCL's time on `{model}` is not known; it is for A100, H100, H200, B200, B300, GB200 and GB300"
                )));
            }
        };
        let (layout, gpus) = (topology.layout(), topology.gpus());
        let domains: Vec<usize> = (0..layout.domains(gpus)).map(|domain| layout.domain_size(gpus, domain)).collect();
        let network = match (topology.network.name.as_str(), generation, model) {
            ("EFA", Generation::Ampere, _) | ("EFA", _, "H100") => Network::EfaV2,
            ("EFA", ..) => Network::EfaV3,
            ("RoCE", ..) => Network::Roce,
            ("InfiniBand", ..) => Network::InfiniBand,
            _ if domains.len() == 1 => Network::InfiniBand,
            (other, ..) => {
                return Err(Invalid(format!(
                    "NCCL's time over `{other}` is not known; it is for EFA, InfiniBand and RoCE"
                )));
            }
        };
        let line = Ports::of(&Topology { reached: Reached::default(), ..topology.clone() });
        let rate = |port: Option<crate::plan::price::Port>| port.map_or(0.0, |port| port.bytes_per_s);
        if line.inside.is_none() && domains.iter().any(|gpus| *gpus > 1) {
            return Err(Invalid(
                "not all GPUs of a domain have a direct link, which NCCL's time is known for".to_owned(),
            ));
        }
        let unit = &topology.kinds[topology.runs[0].kind];
        // A domain of one GPU has no NVLink to speak of; its NIC is all there is.
        let (inside, crossing) = (rate(line.inside), rate(line.crossing));
        Ok(World {
            generation,
            domains,
            gpus_per_host: if unit.gpus_per_host == 0 { unit.gpus() } else { unit.gpus_per_host },
            nvlink_bytes_per_s: if inside > 0.0 { inside } else { crossing },
            nic_bytes_per_s: crossing,
            network,
            cpu: if model.starts_with("GB") { Cpu::Grace } else { Cpu::X86 },
            in_switch: topology.reduces_in_switch(),
        })
    }
}

impl Settings {
    /// NCCL's defaults of its newest release.
    pub const fn newest() -> Settings {
        Settings::new(Version::NEWEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::machines::{self, Request};

    #[test]
    fn every_gpu_machine_has_a_world_with_the_data_sheets_rates() {
        for name in machines::names().filter(|name| *name != machines::HOST) {
            for units in [1, 3] {
                let topology = Request { units, ..Request::new(name) }.topology().unwrap();
                let world = World::of(&topology).unwrap();
                world.check().unwrap();
                assert_eq!((world.domains.len(), world.ranks()), (units, topology.gpus()), "{name}");
            }
        }
        let topology = Request { units: 2, ..Request::new("p6e-gb200x72") }.topology().unwrap();
        let world = World::of(&topology).unwrap();
        assert_eq!((world.nvlink_bytes_per_s, world.nic_bytes_per_s), (900e9, 50e9));
        assert!(world.in_switch && world.cpu == Cpu::Grace && world.gpus_per_host == 4);
        let host = Request { cores: 2, ..Request::new("host") }.topology().unwrap();
        assert!(World::of(&host).unwrap_err().to_string().contains("not known"));
    }
}
