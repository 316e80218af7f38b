//! Watches over the ranks: passes their output on, and sees to it that they end together.
//!
//! One thread, one loop, one call that waits. When the job ends before its time, it goes down a ladder: the ranks may
//! report ([`REPORT`]), all processes are asked to end (SIGTERM, [`TERMINATE`]), whatever is left is killed.

use super::descendants::{descendants, signal_descendants};
use super::keeper::{Kept, VANISH};
use super::process::{self, Inherited, Meeting, RankProcess};
use super::sink::{Output, Sinks};
use super::{Launch, ranges};
use crate::failure::{BY_SIGNAL, FAILED, Failure};
use crate::os::{self, FileLimit, Interest, Reaped};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// How long the ranks may go on after one has failed: their own errors say more than "killed".
pub const REPORT: Duration = Duration::from_secs(3);

/// How long a process may take to end after SIGTERM.
pub const TERMINATE: Duration = Duration::from_secs(1);

/// Ranks that may say the same once one has failed: most of them tell of its end.
const SAY_THE_SAME: usize = 4;

/// Between two rounds of killing: a process may have been started in the middle of the last.
const KILL_AGAIN: Duration = Duration::from_millis(10);

enum Stage {
    Running,
    Reporting {
        until: Instant,
    },
    Terminating {
        until: Instant,
    },
    Killing {
        until: Instant,
    },
    /// Nothing is left but output to pass on.
    Over,
}

/// Why the job does not end with 0: the first thing that happened.
enum Cause {
    NotStarted(Failure),
    Failed(ExitStatus),
    Signalled(i32),
    /// Our own output can't be written.
    Output(io::Error),
    KeeperGone,
}

impl Cause {
    fn status(&self) -> u8 {
        match self {
            Cause::NotStarted(failure) => failure.status,
            Cause::Failed(status) => exit_status(*status),
            Cause::Signalled(signal) => BY_SIGNAL + *signal as u8,
            Cause::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Failure::reader_gone().status,
            Cause::Output(_) | Cause::KeeperGone => FAILED,
        }
    }
}

pub struct Supervisor {
    kept: Kept,
    sinks: Sinks,
    ranks: Vec<RankProcess>,
    stage: Stage,
    cause: Option<Cause>,
    /// One rank speaks for all, and is part of the program that started them.
    one_voice: bool,
}

impl Supervisor {
    /// Starts all ranks; if one can't be started the others are on their way out already.
    pub fn start(launch: &Launch, meeting: &Meeting, kept: Kept) -> io::Result<Supervisor> {
        os::adopt_orphans()?;
        let inherited = Inherited { files: FileLimit::get()?, signals: kept.signals.mask_before() };
        inherited.files.raised().set()?;
        let mut sinks = Sinks::open(launch.output == super::Output::Prefix)?;
        let one_voice = launch.output == super::Output::OneVoice;
        if one_voice {
            sinks.fold(1);
        }
        let mut supervisor =
            Supervisor { kept, sinks, ranks: Vec::new(), stage: Stage::Running, cause: None, one_voice };
        for rank in 0..launch.ranks {
            match process::start(launch, meeting, rank, inherited) {
                Ok(process) => supervisor.ranks.push(process),
                Err(failure) => {
                    supervisor.sinks.message(failure.message.as_deref().unwrap_or_default());
                    supervisor.end_because(Cause::NotStarted(failure));
                    break;
                }
            }
        }
        Ok(supervisor)
    }

    /// Returns the job's exit status when no process of it is left.
    pub fn run(mut self) -> io::Result<u8> {
        loop {
            let anything = self.wait()?;
            if matches!(self.stage, Stage::Over) && !anything {
                if self.sinks.unfold() {
                    continue;
                }
                return Ok(self.cause.map_or(0, |cause| cause.status()));
            }
            self.take_signals();
            self.take_ended();
            self.escalate(Instant::now());
        }
    }

    /// Waits for something to do and moves what output there is; tells whether there was anything.
    fn wait(&mut self) -> io::Result<bool> {
        let full = [Output::Stdout, Output::Stderr].map(|output| self.sinks.is_full(output));
        let is_readable = |output: Output| !full[output as usize];
        let mut watched = vec![(self.kept.signals.fd(), Interest::Read)];
        watched.extend(self.sinks.all().filter(|sink| !sink.is_empty()).map(|sink| (sink.fd(), Interest::Write)));
        let streams = self.ranks.iter().flat_map(|rank| &rank.streams);
        watched.extend(streams.filter(|stream| is_readable(stream.output)).map(|stream| (stream.fd(), Interest::Read)));
        let mut ready = os::poll(&watched, self.timeout())?.into_iter();
        let anything = ready.clone().any(|is_ready| is_ready);

        let _signals = ready.next();
        let mut lost = None;
        for sink in self.sinks.all_mut().filter(|sink| !sink.is_empty()) {
            if ready.next() == Some(true)
                && let Err(error) = sink.write()
            {
                sink.discard();
                lost = Some(error);
            }
        }
        for rank in &mut self.ranks {
            let sinks = &mut self.sinks;
            rank.streams.retain_mut(|stream| {
                !is_readable(stream.output) || ready.next() != Some(true) || stream.forward(sinks)
            });
        }
        if let Some(error) = lost {
            self.output_lost(error);
        }
        Ok(anything)
    }

    fn timeout(&self) -> Option<Duration> {
        match self.stage {
            Stage::Running => None,
            Stage::Reporting { until } | Stage::Terminating { until } => {
                Some(until.saturating_duration_since(Instant::now()))
            }
            Stage::Killing { .. } => Some(KILL_AGAIN),
            // All writers have ended: what is not there now never comes, whoever still holds a pipe.
            Stage::Over if self.sinks.is_empty() => Some(Duration::ZERO),
            Stage::Over => None,
        }
    }

    fn output_lost(&mut self, error: io::Error) {
        if error.kind() != io::ErrorKind::BrokenPipe {
            self.sinks.message(&format!("cannot write the ranks' output: {error}: the job is ended"));
        }
        self.end_because(Cause::Output(error));
    }

    fn take_signals(&mut self) {
        while let Some(signal) = self.kept.signals.next() {
            if signal.number == libc::SIGCHLD {
                continue;
            }
            if self.kept.keeper_is_gone() {
                self.end_because(Cause::KeeperGone);
                continue;
            }
            if !signal.from_keyboard {
                self.ranks.iter().filter(|rank| rank.running).for_each(|rank| os::kill(rank.pid, signal.number));
            }
            if matches!(self.stage, Stage::Over) {
                self.sinks.all_mut().for_each(|sink| sink.discard());
            }
            self.end_because(Cause::Signalled(signal.number));
        }
    }

    /// Takes the statuses of all processes that have ended.
    fn take_ended(&mut self) {
        let mut ended = Vec::new();
        let nobody_is_left = loop {
            match os::reap() {
                Reaped::Running => break false,
                Reaped::Nobody => break true,
                Reaped::Child(pid, status) => {
                    // Others are orphans that a rank left to us.
                    if let Some(rank) = self.ranks.iter().position(|rank| rank.pid == pid && rank.running) {
                        self.ranks[rank].running = false;
                        ended.push((rank, status));
                    }
                }
            }
        };
        // The kernel does not tell in which order several ended: who was killed failed before those who noticed.
        let failed = ended.into_iter().filter(|(_, status)| !status.success());
        if let Some((rank, status)) = failed.min_by_key(|(rank, status)| (status.signal().is_none(), *rank)) {
            self.rank_failed(rank, status);
        }
        if nobody_is_left && !matches!(self.stage, Stage::Over) {
            self.stage = Stage::Over;
        } else if matches!(self.stage, Stage::Running | Stage::Reporting { .. })
            && self.running_ranks().next().is_none()
        {
            self.sinks.message("all ranks have ended; the processes that they left behind are ended");
            self.terminate();
        }
    }

    fn rank_failed(&mut self, rank: usize, status: ExitStatus) {
        if self.cause.is_some() {
            return;
        }
        // As if our own output could not be written: whoever read it has gone, and needs no word.
        if self.one_voice && exit_status(status) == Failure::reader_gone().status {
            return self.end_because(Cause::Output(io::ErrorKind::BrokenPipe.into()));
        }
        // Its last words come before ours. One read takes all that a pipe holds.
        let process = &mut self.ranks[rank];
        let watched: Vec<_> = process.streams.iter().map(|stream| (stream.fd(), Interest::Read)).collect();
        let mut ready = os::poll(&watched, Some(Duration::ZERO)).unwrap_or_default().into_iter();
        process.streams.retain_mut(|stream| ready.next() != Some(true) || stream.forward(&mut self.sinks));

        let how = match status.signal() {
            Some(signal) => format!("was ended by {}", os::describe_signal(signal)),
            None => format!("failed with status {}", exit_status(status)),
        };
        let others = match self.running_ranks().next() {
            Some(_) => format!("; {} s to report for {}", REPORT.as_secs(), ranges("rank", self.running_ranks())),
            None => String::new(),
        };
        self.sinks.message(&format!("rank {rank} {how}{others}"));
        self.sinks.fold(SAY_THE_SAME);
        self.end_because(Cause::Failed(status));
    }

    fn running_ranks(&self) -> impl Iterator<Item = usize> {
        (0..self.ranks.len()).filter(|rank| self.ranks[*rank].running)
    }

    /// Enters the ladder at the rung that fits, never a higher one; the first cause stands.
    fn end_because(&mut self, cause: Cause) {
        let now = Instant::now();
        match (&cause, &self.stage) {
            (_, Stage::Killing { .. } | Stage::Over) => {}
            (Cause::NotStarted(_) | Cause::KeeperGone, _) => self.stage = Stage::Killing { until: now + VANISH },
            (_, Stage::Terminating { .. }) => {}
            (Cause::Output(_), _) => self.terminate(),
            (Cause::Failed(_) | Cause::Signalled(_), Stage::Running) => {
                self.stage = Stage::Reporting { until: now + REPORT };
            }
            (Cause::Failed(_) | Cause::Signalled(_), Stage::Reporting { .. }) => {}
        }
        self.cause.get_or_insert(cause);
    }

    fn terminate(&mut self) {
        signal_descendants(libc::SIGTERM);
        self.stage = Stage::Terminating { until: Instant::now() + TERMINATE };
    }

    /// Takes the next step down the ladder when its time has come.
    fn escalate(&mut self, now: Instant) {
        match self.stage {
            Stage::Reporting { until } if now >= until => {
                let late = ranges("rank", self.running_ranks());
                self.sinks.message(&format!("{} s are over: ending {late}", REPORT.as_secs()));
                self.terminate();
            }
            Stage::Terminating { until } if now >= until => self.stage = Stage::Killing { until: now + VANISH },
            Stage::Killing { until } if now >= until => {
                self.sinks.message(&format!("{:?} do not end although they were killed", descendants()));
                self.stage = Stage::Over;
            }
            Stage::Killing { .. } => signal_descendants(libc::SIGKILL),
            Stage::Running | Stage::Reporting { .. } | Stage::Terminating { .. } | Stage::Over => {}
        }
    }
}

/// As a shell gives it: the program's own status, or 128 + n for signal n.
fn exit_status(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code as u8,
        (None, Some(signal)) => BY_SIGNAL + signal as u8,
        (None, None) => FAILED,
    }
}
