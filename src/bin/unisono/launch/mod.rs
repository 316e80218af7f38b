//! `unisono launch`: N processes of this host as one job, which start with the environment that ranks need and end together.

mod descendants;
mod fold;
mod keeper;
mod lines;
mod process;
mod sink;
mod supervisor;

use crate::failure::{FAILED, Failure};
use process::Meeting;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use supervisor::Supervisor;

/// Start N processes of a program on this host, each with RANK, WORLD_SIZE and the rest in its environment
///
/// Rank 0 has this command's stdin, the others have none. When a rank fails, the others have 3 s to report; then they and
/// everything that they started are ended (SIGTERM, 1 s later SIGKILL). The exit status is that of the first rank that
/// failed, 128 + n if signal n ended it; 127 if the program can't be found, 126 if it can't be run. What this command was
/// started to ignore (SIGHUP under nohup, Ctrl-C in the background of a script) the ranks ignore too.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Processes to start
    #[arg(short = 'n', long = "ranks", value_name = "N", value_parser = crate::arguments::ranks, allow_negative_numbers = true)]
    ranks: usize,

    /// Where the ranks' output goes: `prefix` puts `[rank] ` before every line (64 KiB at most; longer ones are cut),
    /// `plain` passes it through, any other value is a directory that gets rank-R.out and rank-R.err
    #[arg(long, value_name = "prefix|plain|DIR", default_value = "prefix", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    output: String,

    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    command: Vec<OsString>,
}

impl Arguments {
    pub fn run(self) -> Result<u8, Failure> {
        let mut command = self.command.into_iter();
        let program = command.next().unwrap_or_default();
        let output = match &*self.output {
            "prefix" => Output::Prefix,
            "plain" => Output::Plain,
            _ => Output::Directory(PathBuf::from(self.output)),
        };
        Launch::new(program, self.ranks).arguments(command).output(output).run()
    }
}

/// Where the ranks' output goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Line by line to our own stdout and stderr, each line with its rank in front.
    Prefix,
    /// The ranks have our stdout and stderr themselves.
    Plain,
    /// As `Plain`, but what other ranks than 0 write to stderr passes line by line, and what several of them say alike once.
    OneVoice,
    /// Files of this directory, which is made if need be.
    Directory(PathBuf),
}

/// A job of one program on this host.
#[derive(Clone, Debug)]
pub struct Launch {
    program: OsString,
    arguments: Vec<OsString>,
    ranks: usize,
    output: Output,
}

impl Launch {
    pub fn new(program: impl Into<OsString>, ranks: usize) -> Launch {
        assert!(ranks > 0, "a job has at least one rank");
        Launch { program: program.into(), arguments: Vec::new(), ranks, output: Output::Prefix }
    }

    pub fn arguments(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Launch {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    pub fn output(mut self, output: Output) -> Launch {
        self.output = output;
        self
    }

    /// Runs the job to its end and returns its exit status; nothing of it is left then, nor if this process is killed.
    ///
    /// Must be called before any thread is started: it forks (see [`keeper`]).
    ///
    /// # Errors
    /// The supervisor could not be started or was killed. What goes wrong with the ranks is told on stderr as it happens.
    pub fn run(self) -> Result<u8, Failure> {
        let meeting = Meeting::new()?;
        keeper::keep(|kept| {
            Supervisor::start(&self, &meeting, kept).and_then(Supervisor::run).unwrap_or_else(|error: io::Error| {
                let remedy = match error.raw_os_error() {
                    Some(libc::EMFILE | libc::ENFILE) => format!(": {}", process::MORE_FILES),
                    _ => String::new(),
                };
                Failure::new(FAILED, format!("the supervisor of the ranks failed: {error}{remedy}")).report()
            })
        })
    }
}

/// Ranks in words: `rank 3`, `ranks 0, 2-5`.
fn ranges(noun: &str, ranks: impl Iterator<Item = usize>) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for rank in ranks {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == rank => *last = rank,
            _ => runs.push((rank, rank)),
        }
    }
    let plural = if let [(first, last)] = runs[..]
        && first == last
    {
        ""
    } else {
        "s"
    };
    let runs: Vec<String> = runs
        .iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") })
        .collect();
    format!("{noun}{plural} {}", runs.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_in_a_row_are_named_by_their_ends() {
        assert_eq!(ranges("rank", [3].into_iter()), "rank 3");
        assert_eq!(ranges("rank", [0, 2, 3, 4, 7].into_iter()), "ranks 0, 2-4, 7");
    }
}
