//! The test's end of a job of processes.

use super::NO_HANG;
use super::worker::ROLE;
use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Of the communicators of jobs, unless a test sets another.
pub const TIMEOUT: Duration = Duration::from_secs(50);

/// One rank. It is killed when dropped, so that a failed test leaves nothing behind.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
}

/// What a rank said of an error.
#[derive(Debug)]
pub struct Failed {
    pub kind: String,
    pub wall: Duration,
    pub processor: Duration,
    pub message: String,
}

impl Process {
    /// The command of a rank, to which limits may be added.
    pub fn command() -> Command {
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command.args(["--exact", "worker::a_process_that_plays_a_rank", "--nocapture", "-q"]).env(ROLE, "1");
        command
    }

    pub fn spawn(command: &mut Command, environment: &[(&str, String)]) -> Process {
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("this binary starts");
        let (sender, output) = channel();
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(line) = line.strip_prefix('#') {
                    let _ = sender.send(line.to_owned());
                }
            }
        });
        Process { input: child.stdin.take(), child, output }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    #[track_caller]
    pub fn next_line(&self) -> String {
        self.output.recv_timeout(NO_HANG).expect("the rank says something: it hangs, or has died")
    }

    #[track_caller]
    pub fn expect(&self, line: &str) {
        assert_eq!(self.next_line(), line);
    }

    /// The error that the rank tells next.
    #[track_caller]
    pub fn failed(&self) -> Failed {
        Failed::parse(&self.next_line())
    }

    pub fn tell(&mut self, command: &str) {
        // A rank that has died can't read; what is expected of it shows that.
        let _ = writeln!(self.input.as_mut().expect("not ended yet"), "{command}");
    }

    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: the child is this test's own and was not waited for, so its pid is not another's.
        assert_eq!(unsafe { libc::kill(self.child.id() as libc::pid_t, signal) }, 0);
    }

    /// Stops the rank, all of its threads, before this returns.
    pub fn stop(&self) {
        self.signal(libc::SIGSTOP);
        let deadline = Instant::now() + NO_HANG;
        while !self.is_stopped() {
            assert!(Instant::now() < deadline, "process {} does not stop", self.id());
            std::thread::yield_now();
        }
    }

    fn is_stopped(&self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.id())).into_iter().flatten().flatten();
        let stat = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        threads.map(stat).all(|stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')))
    }

    /// Lets the rank drop its communicator and end, which it must do well.
    #[track_caller]
    pub fn end(mut self) {
        drop(self.input.take());
        self.expect("dropped");
        assert!(self.child.wait().expect("it is ours").success());
    }

    /// Inodes of its sockets.
    pub fn sockets(&self) -> HashSet<String> {
        let links = fs::read_dir(format!("/proc/{}/fd", self.id())).into_iter().flatten().flatten();
        let names = links.filter_map(|link| fs::read_link(link.path()).ok());
        names
            .filter_map(|name| Some(name.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
            .collect()
    }
}

impl Failed {
    #[track_caller]
    pub fn parse(line: &str) -> Failed {
        let words: Vec<&str> = line.splitn(5, ' ').collect();
        let ["error", kind, wall, processor, message] = words[..] else { panic!("an error was expected, not: {line}") };
        let span = |text: &str| Duration::from_millis(text.parse().expect("milliseconds"));
        Failed { kind: kind.to_owned(), wall: span(wall), processor: span(processor), message: message.to_owned() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A name for a job that no other test has.
pub fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("faults-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A job of processes that meet by name, with some more of its environment.
pub fn spawn(size: usize, of_job: &[(&str, &str)]) -> Vec<Process> {
    spawn_as(size, of_job, |_| {})
}

/// As [`spawn`], with limits.
pub fn spawn_as(size: usize, of_job: &[(&str, &str)], limit: impl Fn(&mut Command)) -> Vec<Process> {
    let job = unique();
    let rank = |rank: usize| {
        let mut environment = vec![
            ("RANK", rank.to_string()),
            ("WORLD_SIZE", size.to_string()),
            ("UNISONO_JOB_ID", job.clone()),
            ("UNISONO_TIMEOUT", TIMEOUT.as_secs().to_string()),
        ];
        environment.extend(of_job.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let mut command = Process::command();
        limit(&mut command);
        Process::spawn(&mut command, &environment)
    };
    (0..size).map(rank).collect()
}

/// As [`spawn`], and all ranks have met.
#[track_caller]
pub fn start(size: usize, of_job: &[(&str, &str)]) -> Vec<Process> {
    let processes = spawn(size, of_job);
    processes.iter().for_each(|process| process.expect("joined"));
    processes
}

pub fn tell_all(processes: &mut [Process], command: &str) {
    processes.iter_mut().for_each(|process| process.tell(command));
}

#[track_caller]
pub fn expect_all(processes: &[Process], line: &str) {
    processes.iter().for_each(|process| process.expect(line));
}
