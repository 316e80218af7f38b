//! How well the engine `nccl` agrees with published measurements, and where its constants come from.
//!
//! `fidelity` prints the errors and fails if they exceed what is written here; `fidelity constants` fits the constants anew and
//! prints them as the library has them; `fidelity points TABLE` lists a table's points.

mod crossovers;
mod data;
mod fit;
mod guess;
mod report;

use data::Table;
use fit::{All, Samples};
use report::Errors;
use std::collections::HashMap;
use std::process::ExitCode;
use unisono::nccl::Generation;

/// What is asked of the library's constants: median and 90th percentile over all tables, and any table's median.
const MEDIAN: f64 = 0.10;
const P90: f64 = 0.25;
const TABLE_MEDIAN: f64 = 0.30;
/// The same of tables that were left out of the fit.
const LEFT_OUT_MEDIAN: f64 = 0.15;
/// The library's constants are rounded to three digits.
const OFF: f64 = 0.02;

fn main() -> ExitCode {
    let tables = data::read();
    let worlds = fit::worlds(&tables);
    let crossovers = crossovers::all();
    let samples = fit::samples(&tables, &worlds, &crossovers);
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => judge(&tables, &samples),
        ["constants"] => {
            print!("{}", fit::fit(&samples, &every(&tables), &All::guess()).rust());
            ExitCode::SUCCESS
        }
        ["points", name] => {
            points(&tables, &samples, name);
            ExitCode::SUCCESS
        }
        ["crossovers"] => {
            list_crossovers(&samples);
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: fidelity [constants | crossovers | points TABLE]");
            ExitCode::from(2)
        }
    }
}

fn every(tables: &[Table]) -> Vec<usize> {
    (0..tables.len()).collect()
}

fn judge(tables: &[Table], samples: &Samples) -> ExitCode {
    println!(
        "Median and 90th percentile of |predicted / measured - 1|, sizes from 1 KiB up. In sample: the library's constants;"
    );
    println!(
        "left out: fitted without this table and its twin of another type; source: without any table of the same source.\n"
    );
    println!(
        "{:26} {:>6}  {:>7} {:>6}  {:>8} {:>6}  {:>7} {:>6}",
        "table", "points", "sample", "p90", "left out", "p90", "source", "p90"
    );
    let mut library = All::library();
    let mut columns: [Vec<Errors>; 3] = Default::default();
    let mut fits = Fits::default();
    for (index, table) in tables.iter().enumerate() {
        let row = [
            Errors::of(samples, &library, table, index),
            Errors::of(samples, fits.without(tables, samples, |other| other.twin() == table.twin()), table, index),
            Errors::of(samples, fits.without(tables, samples, |other| other.source == table.source), table, index),
        ];
        if row[0].is_empty() {
            continue;
        }
        let cells: Vec<String> =
            row.iter().map(|one| format!("{:5.1} % {:4.1} %", 100.0 * one.median(), 100.0 * one.p90())).collect();
        println!("{:26} {:6}  {}", table.name, table.points.len(), cells.join("    "));
        for (column, errors) in columns.iter_mut().zip(row) {
            column.push(errors);
        }
    }
    let overall = columns.each_ref().map(|column| report::overall(column));
    let cells = overall.map(|(median, p90)| format!("{:5.1} % {:4.1} %", 100.0 * median, 100.0 * p90));
    println!("{:26} {:6}  {}\n", "all, weighed alike", "", cells.join("    "));
    generations(tables, samples);
    regret(tables, samples, &library);
    println!(
        "Left out: all-to-all of nvl72 below 16 MiB, an artefact of that run. No table has two of NCCL's pairs at one size.\n"
    );
    let off = library.furthest_from(&mut fit::fit(samples, &every(tables), &All::guess()));
    verdict(tables, &columns[0], overall, off)
}

/// Fits by the tables that they were made of.
#[derive(Default)]
struct Fits(HashMap<Vec<usize>, All>);

impl Fits {
    /// The constants that a fit without some tables gives.
    fn without(&mut self, tables: &[Table], samples: &Samples, left_out: impl Fn(&Table) -> bool) -> &All {
        let kept: Vec<usize> = every(tables).into_iter().filter(|index| !left_out(&tables[*index])).collect();
        self.0.entry(kept).or_insert_with_key(|kept| fit::fit(samples, kept, &All::guess()))
    }
}

/// A generation of which nothing is known but the data sheet: the constants of its neighbour.
fn generations(tables: &[Table], samples: &Samples) {
    for (left_out, neighbour) in [
        (Generation::Ampere, Generation::Hopper),
        (Generation::Hopper, Generation::Blackwell),
        (Generation::Blackwell, Generation::Hopper),
    ] {
        let mut all = Fits::default().without(tables, samples, |table| table.generation == left_out).clone();
        all.adopt(left_out, neighbour);
        let errors: Vec<Errors> = (tables.iter().enumerate())
            .filter(|(_, table)| table.generation == left_out)
            .map(|(index, table)| Errors::of(samples, &all, table, index))
            .filter(|errors| !errors.is_empty())
            .collect();
        let (median, p90) = report::overall(&errors);
        println!(
            "without any table of {}, with {}'s constants: median {:.1} %, 90th percentile {:.1} %",
            left_out.name(),
            neighbour.name(),
            100.0 * median,
            100.0 * p90
        );
    }
}

/// How much longer the pick takes than the best pair, both by the model: no table tells.
fn regret(tables: &[Table], samples: &Samples, all: &All) {
    let mut ratios: Vec<f64> = (tables.iter().zip(&samples.tables))
        .flat_map(|(table, own)| {
            let constants = all.of(table.generation, table.network);
            own.iter().map(move |sample| samples.regret(&constants, sample))
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let at = |part: f64| 100.0 * (ratios[((ratios.len() - 1) as f64 * part) as usize] - 1.0);
    println!(
        "regret of the pick, by the model: median {:.1} %, 90th percentile {:.1} %, most {:.1} %",
        at(0.5),
        at(0.9),
        at(1.0)
    );
}

fn verdict(tables: &[Table], sample: &[Errors], overall: [(f64, f64); 3], off: f64) -> ExitCode {
    let mut broken: Vec<String> = Vec::new();
    let mut ask = |what: String, is: f64, at_most: f64| {
        if is.is_nan() || is > at_most {
            broken.push(format!("{what} is {:.1} %, more than {:.0} %", 100.0 * is, 100.0 * at_most));
        }
    };
    ask("the median".to_owned(), overall[0].0, MEDIAN);
    ask("the 90th percentile".to_owned(), overall[0].1, P90);
    ask("the median of what was left out".to_owned(), overall[1].0, LEFT_OUT_MEDIAN);
    ask("the library's constants are not those of the fit (`fidelity constants`): the difference".to_owned(), off, OFF);
    for (errors, table) in sample.iter().zip(tables) {
        ask(format!("the median of {}", table.name), errors.median(), TABLE_MEDIAN);
    }
    for one in &broken {
        println!("FAILED: {one}");
    }
    if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn points(tables: &[Table], samples: &Samples, name: &str) {
    let all = All::library();
    for (table, own) in tables.iter().zip(&samples.tables).filter(|(table, _)| table.name.contains(name)) {
        let constants = all.of(table.generation, table.network);
        for (sample, point) in own.iter().zip(&table.points) {
            let (algorithm, protocol) = sample.pick;
            println!(
                "{:26} {:4} GPUs {:12} B measured {:9.1} us predicted/measured {:.3} {algorithm}/{protocol}",
                table.name,
                point.gpus,
                point.bytes,
                point.time_us,
                samples.picked_ratio(&constants, sample),
            );
        }
    }
}

fn list_crossovers(samples: &Samples) {
    let all = All::library();
    for (one, choice) in &samples.crossovers {
        let ratio = one.ratio(choice, &all.of(one.world.generation, one.world.network));
        println!(
            "{} {} {:.0} GB/s, {:3} x 8 GPUs, {} of {:9.1} MiB: {}/{} after {}/{}, predicted ratio {ratio:.2}",
            one.world.generation.name(),
            one.world.network.name(),
            one.world.nic_bytes_per_s / 1e9,
            one.world.domains.len(),
            one.collective,
            one.bytes / f64::from(1 << 20),
            one.after.0,
            one.after.1,
            one.before.0,
            one.before.1,
        );
    }
}
