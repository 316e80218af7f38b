//! What NCCL believes each of its pairs takes: the model by which it chooses, followed release by release
//! (`ncclTopoTuneModel` and `ncclTopoGetAlgoTime` in `src/graph/tuning.cc`). What a pair really takes is [`effective`](super::effective)'s.

use super::search::Graphs;
use super::tuning::{ByDomains, PerProtocol, TREE_CORRECTION, Tuning};
use super::world::{Cpu, Generation, World};
use super::{Algorithm, Protocol, Settings};
use crate::types::{Collective, DType, ReduceOp};

/// Latency and bandwidth that NCCL attributes to one pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    pub latency_us: f64,
    /// Of the call's bytes.
    pub gb_per_s: f64,
}

/// All that the beliefs about one world have in common.
pub struct Beliefs<'a> {
    world: &'a World,
    settings: &'a Settings,
    tuning: Tuning,
    graphs: Graphs,
    collective: Collective,
    reduces_in_switch: bool,
    ranks: f64,
    domains: usize,
}

impl<'a> Beliefs<'a> {
    pub fn new(
        world: &'a World,
        settings: &'a Settings,
        collective: Collective,
        (dtype, op): (DType, ReduceOp),
    ) -> Beliefs<'a> {
        let tuning = Tuning::of(world.generation, settings.version);
        let graphs = Graphs::of(world, &tuning);
        let (ranks, domains) = (world.ranks() as f64, world.domains.len());
        Beliefs {
            world,
            settings,
            tuning,
            graphs,
            collective,
            reduces_in_switch: reduces_in_switch(dtype, op),
            ranks,
            domains,
        }
    }

    /// NCCL's line for a pair, or why it doesn't consider it.
    pub fn line(&self, algorithm: Algorithm, protocol: Protocol) -> Result<Line, String> {
        self.refuse(algorithm, protocol)?;
        let line = match algorithm {
            Algorithm::Ring => self.ring(protocol),
            Algorithm::Tree => self.tree(protocol),
            Algorithm::Nvls | Algorithm::NvlsTree => self.nvls(algorithm),
            Algorithm::Pat => self.pat(),
            // The only pair of its collective: nothing is compared with it.
            Algorithm::SendReceive => Line { latency_us: 0.0, gb_per_s: self.tuning.nvlink_rate },
            Algorithm::CollNetDirect | Algorithm::CollNetChain => unreachable!("refused"),
        };
        if line.gb_per_s > 0.0 {
            Ok(line)
        } else {
            Err("NCCL's model gives it no bandwidth on this machine".to_owned())
        }
    }

    /// What NCCL computes for a size, from the pair's line.
    pub fn time_us(&self, algorithm: Algorithm, protocol: Protocol, line: Line, bytes: f64) -> f64 {
        line.latency_us * self.plateau(algorithm, protocol, bytes)
            + bytes / (1e3 * line.gb_per_s * self.correction(algorithm, protocol, bytes))
    }

    /// Where the plateau of rings begins, the one step of NCCL's model that is no power of two.
    pub fn plateau_from(&self) -> f64 {
        64.0 * self.ring_channels() * self.ranks
    }

    fn ring_channels(&self) -> f64 {
        (self.graphs.ring.channels * 2).min(64) as f64
    }

    fn plateau(&self, algorithm: Algorithm, protocol: Protocol, bytes: f64) -> f64 {
        let applies = algorithm == Algorithm::Ring
            && protocol == Protocol::Simple
            && self.collective == Collective::AllReduce
            && self.domains > 1
            && bytes >= self.plateau_from();
        if applies { 1.4 } else { 1.0 }
    }

    fn correction(&self, algorithm: Algorithm, protocol: Protocol, bytes: f64) -> f64 {
        if bytes < 64.0 || self.collective != Collective::AllReduce {
            return 1.0;
        }
        let step = (bytes / 64.0).log2().floor() as usize;
        let nvls_tree = algorithm == Algorithm::NvlsTree
            && step < 24
            && self.world.generation == Generation::Blackwell
            && self.world.cpu == Cpu::X86
            && self.tuning.version.at_least(29);
        if (algorithm == Algorithm::Tree && step < 23) || nvls_tree {
            TREE_CORRECTION[protocol.index()][step]
        } else {
            1.0
        }
    }

    fn refuse(&self, algorithm: Algorithm, protocol: Protocol) -> Result<(), String> {
        let refuse = |reason: &str| Err(reason.to_owned());
        let gathers = matches!(self.collective, Collective::AllGather | Collective::ReduceScatter);
        let version = self.tuning.version;
        if self.collective == Collective::AllToAll && algorithm != Algorithm::SendReceive {
            return refuse("NCCL's all-to-all is a group of sends and receives");
        }
        match algorithm {
            Algorithm::SendReceive if self.collective == Collective::AllToAll && protocol == Protocol::Simple => {
                return Ok(());
            }
            Algorithm::SendReceive if self.collective == Collective::AllToAll => {
                return refuse("NCCL sends and receives by the Simple protocol");
            }
            Algorithm::SendReceive => return refuse("NCCL sends and receives only for all-to-all"),
            Algorithm::CollNetDirect | Algorithm::CollNetChain => {
                return refuse("CollNet is not enabled: it needs a network that reduces (NCCL_COLLNET_ENABLE)");
            }
            Algorithm::Ring => {}
            Algorithm::Tree if self.collective != Collective::AllReduce => {
                return refuse("NCCL's trees serve all-reduce only");
            }
            Algorithm::Tree => {}
            Algorithm::Nvls | Algorithm::NvlsTree => {
                if protocol != Protocol::Simple {
                    return refuse("in-switch reduction has the Simple protocol only");
                }
                if !self.settings.nvls {
                    return refuse("NVLS is switched off (NCCL_NVLS_ENABLE=0)");
                }
                if self.graphs.nvls.channels < 2 {
                    return refuse("these GPUs have no switch that reduces");
                }
                if algorithm == Algorithm::NvlsTree && self.domains == 1 {
                    return refuse("NVLSTree joins NVLink domains, and there is one");
                }
                if algorithm == Algorithm::Nvls && self.domains > 1 {
                    return refuse("NVLS across domains needs CollNet");
                }
                let serves = self.collective == Collective::AllReduce || (gathers && version.at_least(19));
                if !serves || (algorithm == Algorithm::NvlsTree && gathers) {
                    return refuse("it does not serve this collective");
                }
                if gathers && self.per_domain() > super::search::MAX_NVLS_HEADS as f64 {
                    return refuse("in-switch all-gather and reduce-scatter are for at most 32 GPUs");
                }
                if !self.reduces_in_switch && self.collective.reduces() {
                    return refuse("the switch does not reduce this element type and operation");
                }
            }
            Algorithm::Pat => {
                if !gathers {
                    return refuse("PAT serves all-gather and reduce-scatter only");
                }
                if !version.at_least(23) || protocol != Protocol::Simple {
                    return refuse("PAT has the Simple protocol only, from NCCL 2.23 on");
                }
                if self.domains as f64 != self.ranks {
                    return refuse("PAT is for one GPU per domain");
                }
            }
        }
        Ok(())
    }

    fn by_domains(&self, values: &ByDomains) -> f64 {
        values[self.domains.min(3) - 1]
    }

    fn per_domain(&self) -> f64 {
        self.ranks / self.domains as f64
    }

    fn steps(&self) -> f64 {
        match self.collective {
            Collective::AllReduce => 2.0 * (self.ranks - 1.0),
            Collective::AllGather | Collective::ReduceScatter => self.ranks - 1.0,
            _ => self.ranks,
        }
    }

    fn inter_latency(&self, network: &PerProtocol, protocol: Protocol) -> f64 {
        let own = if self.per_domain() == 1.0 { &self.tuning.tree_network } else { network };
        own[protocol.index()] + self.reported_latency() * if protocol == Protocol::Simple { 2.0 } else { 1.0 }
    }

    fn reported_latency(&self) -> f64 {
        self.world.network.reported_latency_us()
    }

    fn ring(&self, protocol: Protocol) -> Line {
        let (p, graph, tuning) = (protocol.index(), self.graphs.ring, &self.tuning);
        let per_channel = if self.domains <= 2 { graph.intra } else { graph.inter };
        let channels = graph.channels as f64;
        let bus = channels * per_channel;
        let bus = match protocol {
            Protocol::Ll => {
                let share = match tuning.version.at_least(22) {
                    true => 0.5,
                    false if self.domains > 1 || self.collective.reduces() => 0.25,
                    false => 1.0 / 3.0,
                };
                self.by_domains(&tuning.ll_max).min(share * bus)
            }
            Protocol::Ll128 => (0.92 * bus).min(channels * self.by_domains(&tuning.ring_ll128_per_channel)),
            Protocol::Simple => bus,
        };
        let steps = self.steps();
        let latency = match self.collective {
            // Rings of a switched domain have the same channels in every direction: the pipeline's length does not count.
            Collective::Broadcast | Collective::Reduce => {
                if self.domains == 1 {
                    tuning.ring_nvlink[p]
                } else {
                    tuning.ring_network[p]
                }
            }
            _ => {
                let inter = match self.collective {
                    _ if self.domains == 1 => 0.0,
                    Collective::AllReduce => 2.0 * (self.domains as f64 - 1.0),
                    _ => self.domains as f64 - 1.0,
                };
                let overhead = match protocol {
                    _ if self.domains == 1 => 0.0,
                    Protocol::Simple => 3.0,
                    Protocol::Ll | Protocol::Ll128 => 1.0,
                };
                let intra = tuning.ring_nvlink[p].max(overhead);
                (steps - inter) * intra + inter * self.inter_latency(&tuning.ring_network, protocol)
            }
        };
        Line { latency_us: tuning.ring_base[p] + latency, gb_per_s: bus * self.ranks / steps }
    }

    fn tree(&self, protocol: Protocol) -> Line {
        let (p, graph, tuning) = (protocol.index(), self.graphs.tree, &self.tuning);
        let per_channel = if self.domains <= 2 { graph.intra } else { graph.inter };
        let channels = graph.channels as f64;
        let bus = (0.92 * channels * per_channel).min(channels * self.by_domains(&tuning.tree_per_channel));
        let share = if self.domains == 1 { 7.0 / 9.0 } else { 120.0 / 128.0 };
        let bus = match protocol {
            Protocol::Ll => (bus / 3.8).min(self.by_domains(&tuning.ll_max)),
            Protocol::Ll128 => (bus * share).min(channels * self.by_domains(&tuning.tree_ll128_per_channel)),
            Protocol::Simple => bus,
        };
        let network = self.inter_latency(&tuning.tree_network, protocol);
        let hops = (self.per_domain().floor() - 1.0) * tuning.tree_nvlink[p] + log2_floor(self.domains) * network;
        Line { latency_us: tuning.tree_base[p] + 2.0 * hops, gb_per_s: bus / 2.0 }
    }

    fn nvls(&self, algorithm: Algorithm) -> Line {
        let (graph, tuning) = (self.graphs.nvls, &self.tuning);
        let channels = graph.channels as f64;
        let tree = algorithm == Algorithm::NvlsTree;
        let latency = tuning.nvls_latency
            + if tree {
                2.0 * log2_floor(self.domains) * (tuning.nvls_tree_network + 2.0 * self.reported_latency())
            } else {
                0.0
            };
        let all_reduce = self.collective == Collective::AllReduce;
        let others = (self.per_domain() - 1.0) / self.per_domain();
        let per_channel = if tuning.version.at_least(28) {
            let intra = graph.intra * tuning.nvls_efficiency * (channels - 1.0) / channels;
            let intra = intra * if all_reduce { 2.0 } else { others };
            let inter = graph.inter * if tree && self.domains <= 2 { 2.0 } else { 1.0 };
            let cap = tuning.nvls_tree_per_channel.filter(|_| tree).map_or(f64::INFINITY, |cap| self.by_domains(&cap));
            intra.min(inter).min(cap)
        } else if tree && self.domains > 2 {
            graph.intra.min(graph.inter / 2.0)
        } else if !all_reduce && tuning.version.at_least(27) {
            (graph.intra * others).min(graph.inter * 0.9)
        } else {
            graph.intra.min(graph.inter)
        };
        // Of a single domain 2.28 takes the speed within as the only one.
        let ratio = match (all_reduce, tuning.version.at_least(28)) {
            (false, _) => 1.0,
            (true, true) => self.ranks / self.steps(),
            (true, false) => 5.0 / 6.0,
        };
        Line { latency_us: latency, gb_per_s: channels * per_channel * ratio }
    }

    fn pat(&self) -> Line {
        let graph = self.graphs.ring;
        let per_channel = if self.domains <= 2 { graph.intra } else { graph.inter };
        let network = self.inter_latency(&self.tuning.tree_network, Protocol::Simple);
        let latency_us = 8.0 + log2_floor(self.domains) * network / 3.5 + 2.8 * self.ranks;
        let share = if self.tuning.version.at_least(26) { 0.75 } else { 0.85 };
        Line { latency_us, gb_per_s: share * graph.channels as f64 * per_channel }
    }
}

/// What NVLink switches reduce (`ncclNvlsSupported` in `src/include/transport.h`).
fn reduces_in_switch(dtype: DType, op: ReduceOp) -> bool {
    let extremes = matches!(op, ReduceOp::Min | ReduceOp::Max);
    match dtype {
        DType::I32 | DType::U32 | DType::I64 | DType::U64 | DType::F16 | DType::Bf16 => op == ReduceOp::Sum || extremes,
        DType::F32 | DType::F64 => op == ReduceOp::Sum,
        DType::I8 | DType::U8 | DType::Fp8E4M3 | DType::Fp8E5M2 => false,
    }
}

fn log2_floor(count: usize) -> f64 {
    count.max(1).ilog2().into()
}
