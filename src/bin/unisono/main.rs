//! The command line: parse, call the library, print.
//!
//! Exit status: 0, 1 (the work failed), 2 (bad arguments, files among them that can't be read); `launch` gives that of its program. Errors are one sentence on
//! stderr.

mod arguments;
mod bench;
mod bound;
mod bounded;
mod check;
mod doctor;
mod failure;
mod launch;
mod machine;
mod machines;
mod os;
mod output;
mod output_file;
mod plan;
mod plan_file;
mod simulate;
mod topology;

use clap::Parser;
use failure::Failure;
use std::process::ExitCode;

/// Collective communication for distributed training: one plan, proved, priced, and run everywhere
#[derive(Parser)]
#[command(name = "unisono", version, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Subcommand,
}

#[derive(clap::Subcommand)]
enum Subcommand {
    Bench(Box<bench::Arguments>),
    Bound(bound::Arguments),
    Check(check::Arguments),
    Doctor(doctor::Arguments),
    Launch(launch::Arguments),
    Plan(Box<plan::Arguments>),
    Simulate(Box<simulate::Arguments>),
    Machines(machines::Arguments),
    Topology(topology::Arguments),
}

fn main() -> ExitCode {
    ExitCode::from(run().unwrap_or_else(Failure::report))
}

fn run() -> Result<u8, Failure> {
    let line = CommandLine::try_parse().map_err(|error| arguments::explain(&error))?;
    match &line.command {
        // The doctor lists them among what else it finds.
        Subcommand::Doctor(_) => {}
        // Rank 0 tells when it makes its communicator.
        Subcommand::Bench(arguments) if arguments.is_of_another_launcher() => {}
        _ => failure::warn_of_unknown_variables(),
    }
    match line.command {
        Subcommand::Bench(arguments) => arguments.run(),
        Subcommand::Bound(arguments) => arguments.run(),
        Subcommand::Check(arguments) => arguments.run(),
        Subcommand::Doctor(arguments) => arguments.run(),
        Subcommand::Launch(arguments) => arguments.run(),
        Subcommand::Plan(arguments) => arguments.run(),
        Subcommand::Simulate(arguments) => arguments.run(),
        Subcommand::Machines(arguments) => arguments.run(),
        Subcommand::Topology(arguments) => arguments.run(),
    }
}
