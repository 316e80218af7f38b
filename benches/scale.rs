//! What an answer costs as the machine grows, from one UltraServer to 499,968 GPUs: all-reduce of 1 GiB on p6e-gb200x72.
//!
//! "plan": all candidates priced and the choice proved. "program": one rank's moves, lowered to what it would run. "simulate": the
//! chosen plan as flows; above 2,048 ranks one rank of each domain stands for it. Every row is measured in a process of its own
//! (this executable, started with `--units K`), so that nothing is known beforehand. `--svg FILE` draws the table.

use std::fmt::Write;
use std::process::{Command, ExitCode};
use std::time::Instant;
use unisono::Collective;
use unisono::plan::chunk::Counts;
use unisono::plan::lower::lower;
use unisono::plan::simulate::simulate;
use unisono::select::machine::{Machine, Question};
use unisono::topology::machines::Request;

const MACHINE: &str = "p6e-gb200x72";
const GPUS: usize = 72;
const BYTES: u64 = 1 << 30;
const ELEMENT_BYTES: u64 = 4;
const UNITS: [usize; 14] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 6944];

/// Seconds.
struct Row {
    units: usize,
    plan: f64,
    program: f64,
    simulate: f64,
    algorithm: String,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| arguments.iter().position(|one| one == name).and_then(|index| arguments.get(index + 1));
    if let Some(units) = value("--units").and_then(|text| text.parse().ok()) {
        let Row { plan, program, simulate, algorithm, .. } = measure(units);
        println!("{plan} {program} {simulate} {algorithm}");
        return ExitCode::SUCCESS;
    }
    println!("# all_reduce of 1 GiB on {MACHINE}, one core");
    println!("{:>6} {:>8} {:>12} {:>12} {:>12}  algorithm", "units", "GPUs", "plan (s)", "program (s)", "simulate (s)");
    let mut rows = Vec::new();
    for units in UNITS {
        let row = measure_in_a_new_process(units);
        let Row { plan, program, simulate, algorithm, .. } = &row;
        println!("{units:>6} {:>8} {plan:>12.4} {program:>12.5} {simulate:>12.3}  {algorithm}", units * GPUS);
        rows.push(row);
    }
    if let Some(file) = value("--svg")
        && let Err(error) = std::fs::write(file, drawing(&rows))
    {
        eprintln!("scale: cannot write {file}: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn measure(units: usize) -> Row {
    let topology = Request { units, ..Request::new(MACHINE) }.topology().expect("a machine of the presets");
    let start = Instant::now();
    let machine = Machine::new(&topology);
    let question = Question { collective: Collective::AllReduce, bytes: BYTES, layout: topology.layout() };
    let mut answer = machine.explain(question).expect("some algorithm fits");
    let checked =
        machine.prove(question, &mut answer).and_then(|proof| proof.within(0.0)).expect("it is proved in time");
    let plan = start.elapsed().as_secs_f64();
    let counts = Counts::Even(BYTES / ELEMENT_BYTES);
    let start = Instant::now();
    let lowered = lower(&checked, units * GPUS / 2, &counts, ELEMENT_BYTES, false);
    let program = start.elapsed().as_secs_f64();
    assert!(!lowered.lanes.is_empty(), "a rank has something to do");
    let start = Instant::now();
    simulate(&checked, &topology, &counts, ELEMENT_BYTES, None).expect("the plan fits the machine");
    Row { units, plan, program, simulate: start.elapsed().as_secs_f64(), algorithm: answer.chosen().name.clone() }
}

fn measure_in_a_new_process(units: usize) -> Row {
    let this = std::env::current_exe().expect("this benchmark has a path");
    let done = Command::new(this).args(["--units", &units.to_string()]).output().expect("it starts again");
    let text = String::from_utf8_lossy(&done.stdout);
    let mut words = text.split_whitespace();
    let mut seconds = || words.next().and_then(|word| word.parse().ok()).expect("seconds");
    let (plan, program, simulate) = (seconds(), seconds(), seconds());
    Row { units, plan, program, simulate, algorithm: words.next().expect("a name").to_owned() }
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const MARGIN: f64 = 60.0;

/// Both axes logarithmic; a dotted line of the slope of linear growth.
fn drawing(rows: &[Row]) -> String {
    let gpus = |row: &Row| (row.units * GPUS) as f64;
    let (least_x, most_x) = (gpus(&rows[0]).log10(), gpus(rows.last().expect("there are rows")).log10());
    let (least_y, most_y) = (-4.0, 2.0);
    let x = |gpus: f64| MARGIN + (gpus.log10() - least_x) / (most_x - least_x) * (WIDTH - 2.0 * MARGIN);
    let y = |seconds: f64| {
        let part = (seconds.log10().clamp(least_y, most_y) - least_y) / (most_y - least_y);
        HEIGHT - MARGIN - part * (HEIGHT - 2.0 * MARGIN)
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let mut text = |at: (f64, f64), anchor: &str, words: &str| {
        writeln!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{words}</text>", at.0, at.1)
            .expect("strings take all");
    };
    for power in -4..=2 {
        text((MARGIN - 8.0, y(10f64.powi(power)) + 4.0), "end", &format!("{} s", 10f64.powi(power)));
    }
    // The last two lie too close together for a number each.
    for row in rows[..rows.len() - 2].iter().step_by(2).chain(rows.last()) {
        text((x(gpus(row)), HEIGHT - MARGIN + 18.0), "middle", &(row.units * GPUS).to_string());
    }
    text((WIDTH / 2.0, HEIGHT - 16.0), "middle", "GPUs of p6e-gb200x72 UltraServers, all-reduce of 1 GiB, one core");
    let mut line = |points: &[(f64, f64)], style: &str| {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        writeln!(svg, "<polyline points=\"{}\" fill=\"none\" {style}/>", points.join(" ")).expect("strings take all");
    };
    for power in -4..=2 {
        let at = y(10f64.powi(power));
        line(&[(MARGIN, at), (WIDTH - MARGIN, at)], "stroke=\"#ddd\"");
    }
    let (first, last) = (&rows[0], rows.last().expect("there are rows"));
    let linear = first.plan * gpus(last) / gpus(first);
    line(&[(x(gpus(first)), y(first.plan)), (x(gpus(last)), y(linear))], "stroke=\"#888\" stroke-dasharray=\"2 4\"");
    type Measure = fn(&Row) -> f64;
    let measures: [(&str, &str, Measure); 3] = [
        ("plan: all candidates priced, the choice proved", "#1f77b4", |row| row.plan),
        ("a rank's program, lowered", "#2ca02c", |row| row.program),
        ("simulate", "#d62728", |row| row.simulate),
    ];
    for (_, color, of) in &measures {
        let points: Vec<(f64, f64)> = rows.iter().map(|row| (x(gpus(row)), y(of(row)))).collect();
        line(&points, &format!("stroke=\"{color}\" stroke-width=\"2\""));
    }
    for (index, (name, color, _)) in measures.iter().enumerate() {
        let at = 20.0 + 16.0 * index as f64;
        writeln!(svg, "<text x=\"{MARGIN}\" y=\"{at}\" fill=\"{color}\">{name}</text>").expect("strings take all");
    }
    writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"20\" text-anchor=\"end\" fill=\"#888\">dotted: linear growth</text>",
        WIDTH - MARGIN
    )
    .expect("strings take all");
    svg.push_str("</svg>\n");
    svg
}
