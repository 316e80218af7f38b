//! `unisono bench`: times a collective over a sweep of sizes, and verifies every result.

mod arguments;
mod case;
mod measure;
mod report;
mod row;
mod statistics;
mod table;
mod values;

pub use arguments::Arguments;

use crate::failure::{BAD_ARGUMENTS, FAILED, Failure};
use crate::launch::{Launch, Output};
use arguments::Transport;
use measure::Sweep;
use report::Report;
use std::env;
use unisono::bootstrap::{Job, Launcher};
use unisono::{Builder, Communicator, TransportKind};

/// Memory of a rank that is a process, before it has buffers: what 200 of them took from MemAvailable, 4.6 MiB each, measured on
/// x86-64 Linux, November 2026, and rounded up.
const PROCESS_BYTES: u64 = 5 << 20;

impl Arguments {
    /// Whether this is a rank of a job that another program has started.
    pub fn is_of_another_launcher(&self) -> bool {
        let job = Job::from_environment(&|name| env::var(name).ok());
        self.ranks.is_none() && job.is_ok_and(|job| job.launcher != Launcher::Alone)
    }

    /// Starts ranks, or joins those that a launcher started, and runs the sweep; the exit status is 1 if a result was wrong.
    pub fn run(self) -> Result<u8, Failure> {
        self.check()?;
        let job = Job::from_environment(&|name| env::var(name).ok())?;
        match (self.ranks, job.launcher) {
            (Some(ranks), _) => self.run_ranks(ranks),
            (None, Launcher::Alone) => {
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                self.run_ranks(cores)
            }
            (None, _) => {
                // One rank says it for all, or for all of its host.
                let quiet = |failure, is_quiet| if is_quiet { Failure { message: None, ..failure } } else { failure };
                self.check_among(job.size).map_err(|failure| quiet(failure, job.rank > 0))?;
                self.check_memory(job.size, job.local_size.unwrap_or(1), 0)
                    .map_err(|failure| quiet(failure, job.local_rank.is_some_and(|rank| rank > 0)))?;
                self.run_as_rank()
            }
        }
    }

    /// A world of our own: threads for the memory transport, else processes that run this same command as ranks.
    fn run_ranks(self, ranks: usize) -> Result<u8, Failure> {
        self.check_among(ranks)?;
        let process_bytes = if self.transport == Transport::Memory { 0 } else { PROCESS_BYTES };
        self.check_memory(ranks, ranks, process_bytes)?;
        if self.transport == Transport::Memory {
            return self.run_threads(ranks);
        }
        // What every rank would say is said once.
        Builder::check_variables(&|name| env::var(name).ok())?;
        let program = env::current_exe()
            .map_err(|cause| Failure::new(FAILED, format!("can't find this program to start ranks of it: {cause}")))?;
        Launch::new(program, ranks).arguments(without_ranks(env::args_os().skip(1))).output(Output::OneVoice).run()
    }

    fn run_threads(self, ranks: usize) -> Result<u8, Failure> {
        let communicators = Communicator::builder().local(ranks)?;
        std::thread::scope(|scope| {
            let arguments = &self;
            let start = |communicator: Communicator| {
                let rank = communicator.rank();
                let thread = std::thread::Builder::new().spawn_scoped(scope, move || arguments.sweep(communicator));
                thread.map_err(|cause| no_thread(rank, ranks, &cause))
            };
            // Where one does not start, the communicators of the rest are dropped, and those before it end.
            let ranks = communicators.into_iter().map(start).collect::<Result<Vec<_>, Failure>>()?;
            // Every rank reports the same failure in its own words; the first rank's is the one to tell.
            let outcomes =
                ranks.into_iter().map(|rank| rank.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            outcomes.collect::<Vec<_>>().into_iter().collect::<Result<Vec<u8>, Failure>>()
        })
        .map(|statuses| statuses.into_iter().max().unwrap_or(0))
    }

    fn run_as_rank(self) -> Result<u8, Failure> {
        let mut builder = Communicator::builder();
        match self.transport {
            Transport::Auto => {}
            Transport::Shm => builder = builder.transport(TransportKind::Shm).require(TransportKind::Shm),
            Transport::Tcp => builder = builder.transport(TransportKind::Tcp).require(TransportKind::Tcp),
            Transport::Memory => {
                return Err(Failure::new(
                    BAD_ARGUMENTS,
                    "--transport memory is among threads of one process, but a launcher has started processes: \
                     give --ranks, or take another transport",
                ));
            }
            Transport::Mpi | Transport::Fabric => unreachable!("refused when the arguments were checked"),
        }
        self.sweep(builder.from_env()?)
    }

    /// One rank's part; only rank 0 prints.
    fn sweep(&self, communicator: Communicator) -> Result<u8, Failure> {
        let mut report = Report::new(self, &communicator);
        let mut sweep = Sweep::new(self, communicator)?;
        report.begin(&sweep)?;
        for size in sweep.sizes() {
            report.announce(size);
            let measured = sweep.measure(size)?;
            report.add(&sweep, measured)?;
        }
        report.end()
    }
}

fn no_thread(rank: usize, ranks: usize, cause: &std::io::Error) -> Failure {
    Failure::new(
        FAILED,
        format!(
            "no thread can be started for rank {rank} of {ranks}: {cause}: take fewer ranks, or raise the limits of threads \
             (`ulimit -u`, the control group's pids.max, kernel.threads-max, vm.max_map_count)"
        ),
    )
}

/// The arguments of the ranks: all but the number of ranks.
fn without_ranks(arguments: impl Iterator<Item = std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    let mut kept = Vec::new();
    let mut skip_next = false;
    for argument in arguments {
        if std::mem::take(&mut skip_next) {
            continue;
        }
        if argument == "--ranks" {
            skip_next = true;
        } else if !argument.to_string_lossy().starts_with("--ranks=") {
            kept.push(argument);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::without_ranks;

    #[test]
    fn ranks_are_started_with_all_arguments_but_their_number() {
        let given = ["bench", "all_reduce", "--ranks", "4", "--json", "--ranks=3", "--max", "8"];
        let kept = without_ranks(given.iter().map(Into::into));
        assert_eq!(kept, ["bench", "all_reduce", "--json", "--max", "8"]);
    }
}
