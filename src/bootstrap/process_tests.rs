//! Ranks as real processes, which can be killed and stopped: this test binary runs itself once per rank.

use super::world_tests::{LONG, soon, unique};
use super::*;
use crate::types::Rank;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Set for the processes that play a rank.
const ROLE: &str = "RANK_OF_PROCESS_TEST";

/// Prints what it hears, one line each.
struct Printing(Mutex<std::io::Stdout>);

impl Printing {
    fn print(&self, line: std::fmt::Arguments<'_>) {
        // One write per line. The leading newline ends what the test runner may have begun to print.
        let _ = self.0.lock().unwrap().write_all(format!("\n#{line}\n").as_bytes());
    }
}

impl ControlSink for Printing {
    fn announced(&self, origin: Rank, _topic: u64, word: &[u8]) {
        self.print(format_args!("announced {origin} {}", String::from_utf8_lossy(word)));
    }
    fn asked(&self, _topic: u64, sequence: u64) -> Vec<u8> {
        sequence.to_string().into_bytes()
    }
    fn answered(&self, _topic: u64, _round: u64, answer: &[u8], ranks: &RankSet) {
        for rank in ranks.iter() {
            self.print(format_args!("answered {rank} {}", String::from_utf8_lossy(answer)));
        }
    }
    fn lost(&self, rank: Rank, _how: &str) {
        self.print(format_args!("lost {rank}"));
    }
    fn left(&self, rank: Rank) {
        self.print(format_args!("left {rank}"));
    }
}

/// One rank: asks about lines of its input that are numbers, announces others, and leaves at the end of it. Does nothing in an ordinary run of the tests.
#[test]
fn a_process_that_plays_a_rank() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let job = Job::from_environment(&|name| std::env::var(name).ok()).unwrap();
    let printing = Arc::new(Printing(Mutex::new(std::io::stdout())));
    let world = match World::join(&job, b"", soon()) {
        Ok(world) => world,
        Err(error) => return printing.print(format_args!("failed {}", error.kind().name())),
    };
    printing.print(format_args!("joined"));
    world.set_sink(printing);
    for (topic, line) in (0..).zip(std::io::stdin().lines()) {
        let line = line.unwrap();
        match line.parse() {
            Ok(sequence) => drop(world.ask(0, sequence, line.as_bytes(), Duration::ZERO)),
            Err(_) => world.announce(topic << 32 | world.rank() as u64, line.as_bytes()),
        }
    }
}

/// The test's end of one rank. Kills it when dropped, so that a failed test leaves nothing behind.
struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
}

impl Process {
    fn spawn(environment: &[(&str, String)]) -> Process {
        let mut command = Command::new("/bin/sh");
        // The limit of open files goes first, and the shell makes way for the rank.
        command
            .args(["-c", r#"[ -z "$FILES" ] || ulimit -n "$FILES"; exec "$0" "$@""#])
            .arg(std::env::current_exe().unwrap());
        command.args(["--exact", "bootstrap::process_tests::a_process_that_plays_a_rank", "--nocapture", "-q"]);
        command.env(ROLE, "1").envs(environment.iter().map(|(name, value)| (name, value)));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, output) = channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        thread::spawn(move || {
            for line in lines.map_while(std::result::Result::ok) {
                if let Some(line) = line.strip_prefix('#') {
                    let _ = sender.send(line.to_owned());
                }
            }
        });
        Process { input: child.stdin.take(), child, output }
    }

    fn next_line(&self) -> String {
        self.output.recv_timeout(LONG).expect("the rank prints a line")
    }

    fn say(&mut self, text: &str) {
        writeln!(self.input.as_mut().unwrap(), "{text}").unwrap();
    }

    fn signal(&self, signal: libc::c_int) {
        // SAFETY: the child is this test's own and was not waited for, so its pid is not another's.
        assert_eq!(unsafe { libc::kill(self.child.id() as libc::pid_t, signal) }, 0);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(size: usize, of_job: &[(&str, &str)]) -> Vec<Process> {
    let processes = spawn_all(size, of_job);
    for process in &processes {
        assert_eq!(process.next_line(), "joined");
    }
    processes
}

fn spawn_all(size: usize, of_job: &[(&str, &str)]) -> Vec<Process> {
    (0..size).map(|rank| spawn(rank, size, of_job)).collect()
}

fn spawn(rank: Rank, size: usize, of_job: &[(&str, &str)]) -> Process {
    let mut environment = vec![("RANK", rank.to_string()), ("WORLD_SIZE", size.to_string())];
    environment.extend(of_job.iter().map(|(name, value)| (*name, value.to_string())));
    Process::spawn(&environment)
}

#[test]
fn a_killed_process_is_lost_to_all_others_and_one_that_ends_is_not() {
    let mut processes = start(5, &[("UNISONO_JOB_ID", &unique())]);
    processes[3].signal(libc::SIGKILL);
    for rank in [0, 1, 2, 4] {
        assert_eq!(processes[rank].next_line(), "lost 3", "at {rank}");
    }
    drop(processes[1].input.take());
    for rank in [0, 2, 4] {
        assert_eq!(processes[rank].next_line(), "left 1", "at {rank}");
    }
    assert!(processes[1].child.wait().unwrap().success());
}

#[test]
fn a_stopped_process_is_not_lost_and_hears_everything_later() {
    let mut processes = start(3, &[("UNISONO_JOB_ID", &unique())]);
    processes[2].signal(libc::SIGSTOP);
    processes[0].say("meanwhile");
    assert_eq!(processes[1].next_line(), "announced 0 meanwhile");
    processes[1].say("as before");
    assert_eq!(processes[0].next_line(), "announced 1 as before");
    processes[2].signal(libc::SIGCONT);
    let mut heard = [processes[2].next_line(), processes[2].next_line()];
    heard.sort();
    assert_eq!(heard, ["announced 0 meanwhile", "announced 1 as before"]);
}

#[test]
fn a_stopped_process_answers_no_question_before_it_goes_on() {
    let mut processes = start(4, &[("UNISONO_JOB_ID", &unique())]);
    processes[2].signal(libc::SIGSTOP);
    processes[0].say("17");
    for (rank, others) in [(0, [1, 3]), (1, [0, 3]), (3, [0, 1])] {
        let mut heard = [processes[rank].next_line(), processes[rank].next_line()];
        heard.sort();
        assert_eq!(heard, others.map(|other| format!("answered {other} 17")), "at {rank}");
    }
    processes[2].signal(libc::SIGCONT);
    for rank in [0, 1, 3] {
        assert_eq!(processes[rank].next_line(), "answered 2 17", "at {rank}");
    }
}

#[test]
fn processes_of_one_parent_meet_without_any_name() {
    // The parent of these is this process, whose other tests name their jobs.
    start(4, &[]);
}

#[test]
fn a_process_without_file_descriptors_says_so_and_holds_nobody_up() {
    let name = unique();
    let of_job = [("UNISONO_JOB_ID", name.as_str())];
    let starved = [of_job[0], ("FILES", "8")];
    let processes = [spawn(0, 3, &of_job), spawn(1, 3, &starved), spawn(2, 3, &of_job)];
    assert_eq!(processes[1].next_line(), "failed resource");
    assert_eq!(processes[0].next_line(), "failed peer_lost");
    assert_eq!(processes[2].next_line(), "failed peer_lost");
}
