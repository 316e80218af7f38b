//! `unisono topology`: a machine in words, as a picture, or as a file.

use crate::failure::Failure;
use crate::machine::Machine;
use crate::machines::constant_line;
use crate::output::Output;
use crate::output_file::OutputFile;
use serde::Serialize;
use std::path::PathBuf;
use unisono::topology::{Constant, LinkClass, Topology, Unit, drawing, file, summary};
use unisono::words::{counted, short_figure};

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
        let picture = self.svg.as_deref().map(|path| OutputFile::open("--svg", path)).transpose()?;
        let topology = self.machine.topology()?;
        if let Some(picture) = picture {
            picture.write(drawing::svg(&topology).as_bytes())?;
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
        let noun = topology.gpu.noun();
        let model = if topology.gpu.is_core() { String::new() } else { format!(" ({})", self.gpu) };
        let mut lines = vec![format!(
            "{}: {}, {}{model}, {}",
            self.machine,
            counted(topology.units(), "unit"),
            counted(self.gpus, noun),
            counted(self.domains, "domain")
        )];
        for (units, run) in self.units.iter().zip(&topology.runs) {
            lines.push(units.line(noun));
            let links = summary::links(&topology.kinds[run.kind], &topology.gpu);
            lines.extend(links.iter().map(|links| format!("  {links}")));
        }
        for (name, way) in [("in a domain", &self.inside), ("between domains", &self.crossing)] {
            if let Some(way) = way {
                lines.push(format!(
                    "{name}: {noun} {} to {noun} {} takes {:.2} us and {} GB/s, over {}",
                    way.from,
                    way.to,
                    way.latency_us,
                    short_figure(way.gb_per_s),
                    way.over.join(", ")
                ));
            }
        }
        if let Some(rate) = topology.network.unit_bytes_per_s {
            lines.push(format!("the spine takes {} of each unit, each direction", summary::gb_per_s(rate)));
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

    /// With what leaves its GPUs, where there is such a thing.
    fn line(&self, noun: &str) -> String {
        let rates =
            [(self.nvlink_tb_per_s, ["TB/s", "GB/s"], "NVLink"), (self.network_tbps, ["Tbps", "Gbps"], "network")];
        let rates = rates.into_iter().filter(|(rate, _, _)| *rate > 0.0).map(|(rate, [tera, giga], of)| match rate {
            rate if rate >= 1.0 => format!("{} {tera} of {of}", short_figure(rate)),
            rate => format!("{} {giga} of {of}", short_figure(rate * 1e3)),
        });
        let rates: Vec<String> = rates.collect();
        let rates = if rates.is_empty() { String::new() } else { format!(", {}, each direction", rates.join(" and ")) };
        let (gpus, domains) = (counted(self.gpus, noun), counted(self.domains, "domain"));
        format!("{} x {}: {gpus} in {domains}{rates}", self.count, self.name)
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
