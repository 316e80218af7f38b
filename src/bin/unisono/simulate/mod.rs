//! `unisono simulate`: runs the chosen plan on a machine that need not be there, message by message.

use crate::failure::{BAD_ARGUMENTS, FAILED, Failure};
use crate::machine::{OfPlanOnly, Question};
use crate::output::Output;
use crate::output_file::OutputFile;
use crate::plan_file::PlanFile;
use serde::Serialize;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Instant;
use unisono::plan::Problem;
use unisono::plan::check::Checked;
use unisono::plan::chunk::Counts;
use unisono::plan::counted;
use unisono::plan::price::{Ports, price};
use unisono::plan::simulate::trace::{self, Slice};
use unisono::plan::simulate::{self, Leg, Simulated, Work};
use unisono::select::machine::{self, Machine};
use unisono::select::{self, Context, Selector};
use unisono::topology::bound::bound;
use unisono::topology::machines;
use unisono::words::{counted, short_figure};
use unisono::{Collective, size};

/// Simulate the chosen plan on a machine: every message a flow, flows share links max-min-fairly
///
/// Where domains are alike, one rank of each stands for the others.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    question: Question,

    #[command(flatten)]
    of_plan: OfPlanOnly,

    /// This algorithm instead of the one that `plan` chooses, which is auto
    #[arg(long, value_name = "NAME")]
    algorithm: Option<String>,

    /// The plan in this file instead: MSCCL XML, or a plan as text
    #[arg(long, value_name = "FILE", conflicts_with = "algorithm")]
    plan: Option<PathBuf>,

    /// Writes what happened when as a trace for Perfetto (ui.perfetto.dev); of one size only
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,

    /// One JSON object for each size, instead of the text
    #[arg(long)]
    json: bool,
}

/// Far more than any memory, and little enough to add up places in it.
const MOST_BYTES: u64 = 1 << 50;
/// A trace with more slices than this can't be looked at.
const MOST_SLICES: usize = 2_000_000;
/// What is asked to be simulated may take longer to prove than a choice may.
const MOST_PROOF_NS: f64 = 60e9;
/// A simulation of more messages than this says beforehand how long it takes.
const MESSAGES_UNTOLD: u64 = 3_000_000;
/// Legs of the critical path that the text shows at each end.
const LEGS_SHOWN: usize = 6;

#[derive(Serialize)]
struct Row {
    machine: String,
    ranks: usize,
    collective: &'static str,
    bytes: u64,
    dtype: Option<&'static str>,
    algorithm: String,
    tiles: u32,
    time_us: f64,
    /// What `plan` says of it.
    closed_form_us: f64,
    lower_bound_us: f64,
    messages: usize,
    one_rank_of_each_domain: bool,
    simulating_ms: f64,
    links: Vec<Class>,
    critical_path: Vec<Part>,
}

#[derive(Serialize)]
struct Class {
    class: &'static str,
    bytes: f64,
    busiest_share: f64,
    mean_share: f64,
    busiest: String,
}

#[derive(Serialize)]
struct Part {
    start_us: f64,
    end_us: f64,
    what: String,
}

impl Arguments {
    pub fn run(self) -> Result<u8, Failure> {
        let why = "what is simulated is one of our plans, its ranks domain by domain; choose it by --algorithm or --plan, or ask plan";
        self.of_plan.refuse(why)?;
        let sizes = self.question.sizes()?;
        if let Some(bytes) = sizes.iter().find(|bytes| **bytes > MOST_BYTES) {
            let (bytes, most) = (size::format(*bytes), size::format(MOST_BYTES));
            let told = format!("--bytes {bytes}: no buffer of a rank is larger than {most}; give at most that");
            return Err(Failure::new(BAD_ARGUMENTS, told));
        }
        if self.trace.is_some() && sizes.len() > 1 {
            return Err(Failure::new(BAD_ARGUMENTS, "--trace: a trace is of one size; give --bytes one number"));
        }
        let mut trace = self.trace.as_deref().map(|path| OutputFile::open("--trace", path)).transpose()?;
        let topology = self.question.machine.topology()?;
        let host = self.question.machine.host()?.map(Context::of_processes);
        let mut out = Output::stdout();
        for bytes in sizes {
            let at_host = |context: &Context| {
                machines::host(
                    &context.constants,
                    topology.gpus(),
                    Some((self.question.collective, self.question.bytes_exchanged(bytes))),
                )
            };
            let topology = host.as_ref().map_or(Cow::Borrowed(&topology), |context| Cow::Owned(at_host(context)));
            let row = self.simulate(&Machine::new(&topology), host.as_ref(), bytes, trace.take())?;
            if self.json {
                out.json(&row)?;
            } else {
                print(&mut out, &row)?;
            }
        }
        Ok(0)
    }

    fn simulate(
        &self,
        machine: &Machine<'_>,
        host: Option<&Context>,
        bytes: u64,
        trace: Option<OutputFile>,
    ) -> Result<Row, Failure> {
        let (collective, topology) = (self.question.collective, machine.topology);
        let exchanged = self.question.bytes_exchanged(bytes);
        let (checked, closed_form_us) = match &self.plan {
            Some(path) => self.read_plan(path, machine, exchanged)?,
            None => match host {
                Some(context) => self.choose_on_host(context, machine.ranks, exchanged)?,
                None => self.choose_plan(machine, exchanged)?,
            },
        };
        let mut slices: Vec<Slice> = Vec::new();
        let started = Instant::now();
        let element_bytes = self.question.size.dtype.size() as u64;
        let counts = self.counts(&checked, bytes)?;
        if matches!(counts, Counts::Even(0)) {
            let (collective, ranks) = (collective.name(), machine.ranks);
            let ranks = counted(ranks, "rank");
            let told =
                format!("--bytes {bytes}: {collective} among {ranks} has no element for each of them; give more bytes");
            return Err(Failure::new(BAD_ARGUMENTS, told));
        }
        let failed = |error: simulate::Failed| Failure::new(FAILED, error.to_string());
        let messages = simulate::messages(checked.plan(), topology).map_err(failed)?;
        if messages > MESSAGES_UNTOLD {
            eprintln!("# {} messages to follow, a million a second at best", messages);
        }
        let wanted = trace.is_some().then_some(&mut slices);
        let simulated = simulate::simulate(&checked, topology, &counts, element_bytes, wanted).map_err(failed)?;
        if let Some(file) = trace {
            write_trace(file, &slices)?;
        }
        let simulating_ms = started.elapsed().as_secs_f64() * 1e3;
        let least = bound(topology, collective).map_err(|error| Failure::new(BAD_ARGUMENTS, error.to_string()))?;
        let lower_bound_us = least.at(bytes).seconds() * 1e6;
        Ok(self.row(machine, bytes, &checked, simulated, (closed_form_us, lower_bound_us, simulating_ms)))
    }

    /// Whole elements on every rank, and equal chunks where the plan demands them.
    fn counts(&self, checked: &Checked, bytes: u64) -> Result<Counts, Failure> {
        let plan = checked.plan();
        let elements = match plan.problem.collective {
            // What its messages carry is nobody's.
            Collective::Barrier => 1,
            _ => bytes / self.question.size.dtype.size() as u64,
        };
        let counts = Counts::of_elements(plan.problem.collective, plan.problem.ranks, elements);
        match counts {
            Counts::Even(count) if plan.demands.equal_chunks => {
                let chunks = u64::from(plan.grid().chunks_of_count());
                if count < chunks {
                    let told = format!(
                        "--bytes {bytes}: the plan cuts that into {chunks} equal chunks, more than there are elements; \
                                        give more bytes"
                    );
                    return Err(Failure::new(BAD_ARGUMENTS, told));
                }
                Ok(Counts::Even(count / chunks * chunks))
            }
            counts => Ok(counts),
        }
    }

    /// The plan in a file, and its closed form: that of all its messages as one stage.
    fn read_plan(&self, path: &Path, machine: &Machine<'_>, bytes: u64) -> Result<(Checked, f64), Failure> {
        // What can't be simulated at all is a bad argument, whatever is wrong with it.
        let file = PlanFile::read(path).map_err(|failure| Failure { status: BAD_ARGUMENTS, ..failure })?;
        let problem = file.plan.problem;
        if problem.collective != self.question.collective.even() || problem.ranks != machine.ranks {
            let told = format!("--plan: {} is {} of {}", file.name, problem.collective, counted(problem.ranks, "rank"));
            let asked = format!("{} of {}", self.question.collective, machine.ranks);
            return Err(Failure::new(BAD_ARGUMENTS, format!("{told}, and what is asked is {asked}")));
        }
        let checked =
            file.prove().map_err(|unproved| Failure::new(FAILED, format!("{}: {}", file.name, unproved.why)))?;
        let grid = file.plan.grid();
        let chunk_bytes = bytes as f64 / f64::from(grid.blocks * grid.tiles);
        let stage = counted::stage(&checked, machine.topology.layout());
        let closed = price(&[stage], chunk_bytes, 1, &Ports::of(machine.topology));
        Ok((checked, closed.total_ns() / 1e3))
    }

    /// The cheapest plan that can be proved, or that of the algorithm that was named.
    fn choose_plan(&self, machine: &Machine<'_>, bytes: u64) -> Result<(Checked, f64), Failure> {
        let (collective, topology) = (self.question.collective, machine.topology);
        let question = machine::Question { collective, bytes, layout: topology.layout() };
        let mut answer = machine.explain(question)?;
        if let Some(name) = self.algorithm.as_deref().filter(|name| *name != "auto") {
            let unknown = |told| Failure::new(BAD_ARGUMENTS, format!("--algorithm: {told}"));
            let name = unisono::algorithm::find(name).map_err(unknown)?.name();
            let refused = |why: String| Failure::new(BAD_ARGUMENTS, format!("--algorithm: {why}"));
            answer.take(name, "another was asked for").map_err(refused)?;
            answer.candidates.truncate(1);
        }
        // Before a proof that may take long: with as few messages as it can have.
        let found = unisono::algorithm::find(&answer.chosen().name).expect("it is of the registry");
        let (layout, switch) = (question.layout, topology.reduces_in_switch());
        let problem = Problem { layout, switch, ..Problem::new(collective.even(), machine.ranks) };
        simulate::messages(&found.plan(&problem), topology).map_err(|error| Failure::new(FAILED, error.to_string()))?;
        let checked = machine.prove(question, &mut answer)?.within(MOST_PROOF_NS)?;
        Ok((checked, answer.chosen().time_us.unwrap_or(f64::NAN)))
    }

    /// What a job of processes on this host takes.
    fn choose_on_host(&self, context: &Context, ranks: usize, bytes: u64) -> Result<(Checked, f64), Failure> {
        let problem = Context::problem(self.question.collective, ranks);
        let named = self.algorithm.as_deref().filter(|name| *name != "auto");
        let named = named.map(unisono::algorithm::find).transpose();
        let named = named.map_err(|told| Failure::new(BAD_ARGUMENTS, format!("--algorithm: {told}")))?;
        let name = named.map(|one| one.name());
        let checked = Selector::choose(context, problem, bytes, name)?;
        let explained = select::explain(context, problem, bytes)?;
        let plan = checked.plan();
        let candidate = explained.candidates.iter().find(|one| one.name == plan.algorithm);
        Ok((checked.clone(), candidate.and_then(|one| one.time_us).unwrap_or(f64::NAN)))
    }

    fn row(
        &self,
        machine: &Machine<'_>,
        bytes: u64,
        checked: &Checked,
        simulated: Simulated,
        (closed_form_us, lower_bound_us, simulating_ms): (f64, f64, f64),
    ) -> Row {
        let plan = checked.plan();
        let links = simulated.uses.into_iter().map(|one| Class {
            class: one.class.name(),
            bytes: one.bytes,
            busiest_share: one.busiest_share,
            mean_share: one.mean_share,
            busiest: one.busiest,
        });
        Row {
            machine: machine.topology.name.clone(),
            ranks: machine.ranks,
            collective: self.question.collective.name(),
            bytes,
            dtype: self.question.size.dtype_name(self.question.collective),
            algorithm: plan.algorithm.clone(),
            tiles: plan.problem.tiles,
            time_us: simulated.time_ns / 1e3,
            closed_form_us,
            lower_bound_us,
            messages: simulated.messages,
            one_rank_of_each_domain: simulated.is_folded,
            simulating_ms,
            links: links.collect(),
            critical_path: simulated.critical_path.iter().map(part).collect(),
        }
    }
}

fn write_trace(file: OutputFile, slices: &[Slice]) -> Result<(), Failure> {
    if slices.len() > MOST_SLICES {
        let told = format!("--trace: {} messages are more than a trace can show; take fewer GPUs", slices.len());
        return Err(Failure::new(BAD_ARGUMENTS, told));
    }
    file.write_with(|out| trace::write(slices, out))
}

fn part(leg: &Leg) -> Part {
    let what = match leg.work {
        Work::Flow { from, to, bytes, class } => {
            format!("{} from rank {from} to {to} over {}", counted(bytes, "byte"), class.name())
        }
        Work::Latency { from, to, class } => format!("latency from rank {from} to {to} over {}", class.name()),
        Work::Local { rank, bytes } => format!("rank {rank} passes {} of its memory", counted(bytes, "byte")),
    };
    Part { start_us: leg.start_ns / 1e3, end_us: leg.end_ns / 1e3, what }
}

/// Bytes in the units that rates have.
fn decimal(bytes: f64) -> String {
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    let fitting = units.into_iter().find(|(unit, _)| bytes >= *unit);
    fitting.map_or_else(|| counted(bytes, "byte"), |(unit, name)| format!("{} {name}", short_figure(bytes / unit)))
}

fn print(out: &mut Output, row: &Row) -> Result<(), Failure> {
    let Row { machine, ranks, collective, algorithm, tiles, time_us, .. } = row;
    let of = if row.dtype.is_some() { format!(" of {}", size::format(row.bytes)) } else { String::new() };
    let (ranks, tiles) = (counted(ranks, "rank"), counted(tiles, "tile"));
    out.line(&format!("# {collective}{of} on {machine}: {ranks}, {algorithm}, {tiles}"))?;
    out.line(&format!("takes         {time_us:.2} us; the closed form says {:.2} us", row.closed_form_us))?;
    out.line(&format!("lower bound   {:.2} us", row.lower_bound_us))?;
    let folded = if row.one_rank_of_each_domain { ", one rank of each domain standing for it" } else { "" };
    out.line(&format!("simulated     {} in {:.0} ms{folded}", counted(row.messages, "message"), row.simulating_ms))?;
    for one in &row.links {
        let (busiest, mean) = (one.busiest_share * 1e2, one.mean_share * 1e2);
        out.line(&format!(
            "{:<13} {} in all; busy {mean:.1} % on average, {busiest:.1} % at most: {}",
            one.class,
            decimal(one.bytes),
            one.busiest
        ))?;
    }
    out.line("# critical path, us")?;
    let legs = row.critical_path.len();
    for (index, leg) in row.critical_path.iter().enumerate() {
        if index == LEGS_SHOWN && legs > 2 * LEGS_SHOWN {
            out.line(&format!("    ... {} more", legs - 2 * LEGS_SHOWN))?;
        }
        if index < LEGS_SHOWN || index + LEGS_SHOWN >= legs {
            out.line(&format!("{:>12.3} {:>12.3}  {}", leg.start_us, leg.end_us, leg.what))?;
        }
    }
    out.line("")
}
