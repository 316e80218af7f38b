//! `unisono bound`: how fast a collective can be at best.

use crate::failure::{BAD_ARGUMENTS, Failure};
use crate::machine::{self, Bytes, OfPlanOnly};
use crate::output::Output;
use serde::Serialize;
use unisono::Collective;
use unisono::select::machine::{Machine, Question};
use unisono::select::report::{Offered, reached_by};
use unisono::select::{self, Context};
use unisono::size;
use unisono::topology::Topology;
use unisono::topology::bound::{BoundAt, bound};

/// Say how long a collective takes at least, whatever the algorithm, and what limits it
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// all_reduce, all_gather, reduce_scatter, broadcast, reduce, gather, scatter, all_to_all, barrier, send_recv,
    /// all_gather_v, reduce_scatter_v or all_to_all_v
    collective: Collective,

    #[command(flatten)]
    machine: machine::Machine,

    #[command(flatten)]
    size: Bytes,

    #[command(flatten)]
    of_plan: OfPlanOnly,

    /// One JSON object a line instead of the table
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    machine: &'a str,
    ranks: usize,
    collective: &'a str,
    bytes: u64,
    dtype: Option<&'a str>,
    bound_us: f64,
    bandwidth_us: f64,
    latency_us: f64,
    algorithm_bandwidth_gb_per_s: Option<f64>,
    bus_bandwidth_gb_per_s: Option<f64>,
    /// Whether something is known to reach it, and what; or why not.
    tight: bool,
    why: &'a str,
    cut: &'a str,
}

impl Arguments {
    pub fn run(self) -> Result<u8, Failure> {
        self.of_plan
            .refuse("a bound holds for every algorithm, engine and order of the ranks; leave it out, or ask plan")?;
        let sizes = self.size.sizes(self.collective)?;
        let topology = self.machine.topology()?;
        let bound = bound(&topology, self.collective)
            .map_err(|disconnected| Failure::new(BAD_ARGUMENTS, disconnected.to_string()))?;
        let mut output = Output::stdout();
        if !self.json {
            output.line("#     bytes      bound us  GB/s at best  tight  limited by")?;
        }
        let host = self.machine.host()?.map(Context::of_processes);
        let problem = Context::problem(self.collective, topology.gpus());
        for bytes in sizes {
            let at_host = host.as_ref().and_then(|context| context.bound(&problem, bytes));
            let at = at_host.unwrap_or_else(|| bound.at(bytes));
            let at = if at.tight { at } else { self.reached(at, &topology, host.as_ref()) };
            if self.json {
                output.json(&self.row(&topology.name, topology.gpus(), &at))?;
            } else {
                output.line(&line(&at))?;
            }
        }
        Ok(0)
    }

    /// The bound, tight if one of our plans is known to take no longer.
    fn reached(&self, at: BoundAt, topology: &Topology, host: Option<&Context>) -> BoundAt {
        let bytes = if self.collective == Collective::Barrier { 0 } else { at.bytes };
        let candidates = match host {
            Some(context) => {
                let problem = Context::problem(self.collective, topology.gpus());
                select::explain(context, problem, bytes).map(|explained| explained.candidates)
            }
            None => {
                let question = Question { collective: self.collective, bytes, layout: topology.layout() };
                Machine::new(topology).explain(question).map(|answer| answer.candidates)
            }
        };
        // Where no plan serves the collective nothing is known.
        let offered: Vec<Offered> = candidates.unwrap_or_default().into_iter().map(Offered::from).collect();
        match reached_by(&at, &offered) {
            Some(one) => BoundAt { tight: true, why: format!("{} reaches it", one.name), ..at },
            None => at,
        }
    }

    fn row<'a>(&'a self, machine: &'a str, ranks: usize, at: &'a BoundAt) -> Row<'a> {
        let algorithm_bandwidth_gb_per_s = at.algorithm_bandwidth_gb_per_s();
        Row {
            machine,
            ranks,
            collective: self.collective.name(),
            bytes: at.bytes,
            dtype: self.size.dtype_name(self.collective),
            bound_us: at.seconds() * 1e6,
            bandwidth_us: at.bandwidth_s * 1e6,
            latency_us: at.latency_s * 1e6,
            algorithm_bandwidth_gb_per_s,
            bus_bandwidth_gb_per_s: algorithm_bandwidth_gb_per_s.map(|rate| rate * self.collective.bus_factor(ranks)),
            tight: at.tight,
            why: &at.why,
            cut: &at.cut,
        }
    }
}

fn line(at: &BoundAt) -> String {
    let rate = at.algorithm_bandwidth_gb_per_s().map_or("-".to_owned(), |rate| format!("{rate:.2}"));
    let tight = if at.tight { "yes" } else { "no" };
    let bytes = size::format(at.bytes);
    format!("{bytes:>11} {:>13.2} {rate:>13}  {tight:<5}  {}: {}", at.seconds() * 1e6, at.cut, at.why)
}
