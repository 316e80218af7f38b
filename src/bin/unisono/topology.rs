//! `unisono topology`: a machine in words, as a picture, or as a file.

use crate::failure::{FAILED, Failure};
use crate::machine::Machine;
use crate::machines::constant_line;
use crate::output::Output;
use serde::Serialize;
use std::path::PathBuf;
use unisono::topology::{Constant, LinkClass, Topology, Unit, drawing, file, summary};

/// Describe a machine: its units, links, limits and constants
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    machine: Machine,

    /// Draw it, and write the picture here
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Print it as a file that --on reads
    #[arg(long, conflicts_with = "json")]
    toml: bool,

    /// One JSON object instead of the text
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Summary<'t> {
    machine: &'t str,
    gpu: &'t str,
    gpus: usize,
    domains: usize,
    network: &'t str,
    units: Vec<Units<'t>>,
    /// Between GPUs of a domain, and between two domains; null where there is none.
    inside: Option<Way>,
    crossing: Option<Way>,
    constants: &'t [Constant],
}

/// Units of one kind in a row.
#[derive(Serialize)]
struct Units<'t> {
    name: &'t str,
    count: usize,
    gpus: usize,
    domains: usize,
    nvlink_tb_per_s: f64,
    network_tbps: f64,
}

#[derive(Serialize)]
struct Way {
    from: usize,
    to: usize,
    latency_us: f64,
    gb_per_s: f64,
    /// What the bytes pass.
    over: Vec<String>,
}

impl Arguments {
    pub fn run(self) -> Result<u8, Failure> {
        let topology = self.machine.topology()?;
        if let Some(path) = &self.svg {
            std::fs::write(path, drawing::svg(&topology))
                .map_err(|cause| Failure::new(FAILED, format!("can't write {}: {cause}", path.display())))?;
        }
        let mut output = Output::stdout();
        if self.toml {
            return output.text(&file::print(&topology)).map(|()| 0);
        }
        let summary = Summary::new(&topology);
        if self.json {
            return output.json(&summary).map(|()| 0);
        }
        summary.lines(&topology).iter().try_for_each(|line| output.line(line))?;
        Ok(0)
    }
}

fn domains_of(unit: &Unit) -> usize {
    unit.domains().iter().max().map_or(0, |last| *last as usize + 1)
}

impl<'t> Summary<'t> {
    fn new(topology: &'t Topology) -> Summary<'t> {
        let gpus = topology.gpus();
        let layout = topology.layout();
        let first_in = |domain: usize| (0..gpus).find(|gpu| layout.domain(*gpu) == domain);
        let neighbour = (1..gpus).find(|gpu| topology.route(0, *gpu).is_some_and(|route| !route.crosses));
        Summary {
            machine: &topology.name,
            gpu: &topology.gpu.model,
            gpus,
            domains: layout.domains(gpus),
            network: &topology.network.name,
            units: topology.runs.iter().map(|run| Units::new(&topology.kinds[run.kind], run.count)).collect(),
            inside: neighbour.and_then(|gpu| Way::new(topology, 0, gpu)),
            crossing: first_in(1).and_then(|gpu| Way::new(topology, 0, gpu)).filter(|_| gpus > 1),
            constants: &topology.constants,
        }
    }

    fn lines(&self, topology: &Topology) -> Vec<String> {
        let (units, gpus, domains) = (topology.units(), self.gpus, self.domains);
        let counted = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let mut lines = vec![format!(
            "{}: {}, {} ({}), {}",
            self.machine,
            counted(units, "unit"),
            counted(gpus, "GPU"),
            self.gpu,
            counted(domains, "domain")
        )];
        for (units, run) in self.units.iter().zip(&topology.runs) {
            lines.push(format!(
                "{} x {}: {} in {}, {:.1} TB/s of NVLink and {:.1} Tbps of network, each direction",
                units.count,
                units.name,
                counted(units.gpus, "GPU"),
                counted(units.domains, "domain"),
                units.nvlink_tb_per_s,
                units.network_tbps
            ));
            lines.extend(summary::links(&topology.kinds[run.kind]).iter().map(|links| format!("  {links}")));
        }
        for (name, way) in [("in a domain", &self.inside), ("between domains", &self.crossing)] {
            if let Some(way) = way {
                lines.push(format!(
                    "{name}: GPU {} to GPU {} takes {:.2} us and {} GB/s, over {}",
                    way.from,
                    way.to,
                    way.latency_us,
                    way.gb_per_s,
                    way.over.join(", ")
                ));
            }
        }
        if let Some(rate) = topology.network.unit_bytes_per_s {
            lines.push(format!("the spine takes {} GB/s of each unit, each direction", rate / 1e9));
        }
        if !self.constants.is_empty() {
            lines.push("constants:".to_owned());
            lines.extend(self.constants.iter().map(constant_line));
        }
        lines
    }
}

impl<'t> Units<'t> {
    fn new(unit: &'t Unit, count: usize) -> Units<'t> {
        Units {
            name: &unit.name,
            count,
            gpus: unit.gpus(),
            domains: domains_of(unit),
            nvlink_tb_per_s: unit.bytes_per_s_out(LinkClass::NvLink) / 1e12,
            network_tbps: unit.bytes_per_s_out(LinkClass::Nic) * 8.0 / 1e12,
        }
    }
}

impl Way {
    fn new(topology: &Topology, from: usize, to: usize) -> Option<Way> {
        let route = topology.route(from, to)?;
        let passed: Vec<_> = route.resources.iter().map(|id| topology.resource(*id)).collect();
        Some(Way {
            from,
            to,
            latency_us: route.latency_ns / 1e3,
            gb_per_s: passed.iter().map(|resource| resource.bytes_per_s).fold(f64::INFINITY, f64::min) / 1e9,
            over: passed.iter().map(ToString::to_string).collect(),
        })
    }
}
