//! What a choice costs before the first byte moves: plans built, proved, lowered, priced.
//!
//! "cold choice" is the time of the first all-reduce's choice in a process that has proved nothing yet, so each sample is a
//! process of its own: this executable, started with `--cold RANKS`.

use criterion::{BenchmarkId, Criterion};
use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};
use unisono::plan::check::{Checked, check};
use unisono::plan::chunk::Counts;
use unisono::plan::lower::lower;
use unisono::plan::{Plan, Problem};
use unisono::select::{self, Context};
use unisono::topology::host::Constants;
use unisono::{Collective, TransportKind, algorithm};

const RANKS: [usize; 2] = [8, 64];
const ELEMENT_BYTES: u64 = 4;
/// Large enough that pipelined algorithms cut their blocks into tiles.
const BYTES: u64 = 1 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(index) = arguments.iter().position(|argument| argument == "--cold") {
        let ranks = arguments[index + 1].parse().expect("a number of ranks");
        println!("{}", choose(ranks).as_nanos());
        return;
    }
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .configure_from_args();
    RANKS.into_iter().for_each(|ranks| planning(&mut criterion, ranks));
    criterion.final_summary();
}

fn context() -> Context {
    Context::new(None, Constants::of(TransportKind::Shm, 2, 2))
}

fn problem(ranks: usize) -> Problem {
    Problem::new(Collective::AllReduce, ranks)
}

/// How long the choice for one all-reduce takes: every candidate priced, those near the best built and proved.
fn choose(ranks: usize) -> Duration {
    let (context, problem) = (context(), problem(ranks));
    let start = Instant::now();
    black_box(select::explain(&context, problem, BYTES)).expect("some algorithm fits");
    start.elapsed()
}

fn choose_in_a_new_process(ranks: usize) -> Duration {
    let this = std::env::current_exe().expect("this benchmark has a path");
    let done = Command::new(this).args(["--cold", &ranks.to_string()]).output().expect("it starts again");
    let text = String::from_utf8_lossy(&done.stdout);
    Duration::from_nanos(text.trim().parse().expect("nanoseconds"))
}

/// The candidates of the choice, each with the tiles at which it is cheapest.
fn candidates(ranks: usize) -> Vec<Candidate> {
    let explained = select::explain(&context(), problem(ranks), BYTES).expect("some algorithm fits");
    let fitting = explained.candidates.into_iter().filter(|one| one.time_us.is_some());
    fitting.map(|one| Candidate { name: one.name, problem: Problem { tiles: one.tiles, ..problem(ranks) } }).collect()
}

struct Candidate {
    name: String,
    problem: Problem,
}

impl Candidate {
    fn plan(&self) -> Plan {
        algorithm::find(&self.name).expect("a candidate is registered").plan(&self.problem)
    }
}

fn planning(criterion: &mut Criterion, ranks: usize) {
    let mut group = criterion.benchmark_group(format!("all_reduce of 1 MiB among {ranks} ranks"));
    for one in candidates(ranks) {
        let name = format!("{} in {} tiles", one.name, one.problem.tiles);
        group.bench_function(BenchmarkId::new("build", &name), |bencher| {
            bencher.iter(|| {
                let plan = one.plan();
                (0..ranks).for_each(|rank| drop(black_box(plan.program(rank))));
            });
        });
        let plan = one.plan();
        group.bench_function(BenchmarkId::new("check", &name), |bencher| {
            bencher.iter(|| check(black_box(&plan)).expect("a registered plan is right"));
        });
        let checked: Checked = check(&plan).expect("a registered plan is right");
        let counts = Counts::Even(BYTES / ELEMENT_BYTES);
        group.bench_function(BenchmarkId::new("lower rank 0", &name), |bencher| {
            bencher.iter(|| lower(black_box(&checked), 0, &counts, ELEMENT_BYTES, false));
        });
    }
    group.bench_function("choice, all proofs known", |bencher| bencher.iter(|| choose(ranks)));
    group.bench_function("cold choice", |bencher| {
        bencher.iter_custom(|iterations| (0..iterations).map(|_| choose_in_a_new_process(ranks)).sum());
    });
    group.finish();
}
