//! The built binary, as a shell sees it.

mod arguments;
mod check;
mod check_file;
mod doctor;
mod golden;
mod launch;
mod machines;
mod one_price;
mod plan;
mod rules;
mod terminal;

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// `unisono` with these arguments.
fn unisono(arguments: &[&str]) -> Command {
    let mut command = program(env!("CARGO_BIN_EXE_unisono"));
    command.args(arguments).stdin(Stdio::null()).env_remove("UNISONO_WRITE_GOLDEN");
    command
}

/// A program that ignores no signal at first, whoever runs the tests: `nohup`, and a script in the background, hand down some
/// that are ignored, which a launcher leaves so and a shell can't even change.
fn program(path: &str) -> Command {
    let mut command = Command::new(path);
    // SAFETY: only system calls are made between fork and exec.
    unsafe {
        command.pre_exec(|| {
            for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
                libc::signal(signal, libc::SIG_DFL);
            }
            Ok(())
        });
    }
    command
}

/// What a finished command left: its status as a shell gives it, and both outputs.
struct Finished {
    status: i32,
    stdout: String,
    stderr: String,
}

/// A child that is killed if it has not ended after a minute: a hang fails its test and no more.
fn watched(command: &mut Command) -> Child {
    let child = command.spawn().expect("the binary starts");
    let stat = format!("/proc/{}/stat", child.id());
    let start_time = move || fs::read_to_string(&stat).ok()?.rsplit(") ").next()?.split(' ').nth(19).map(str::to_owned);
    let (pid, started) = (child.id().to_string(), start_time());
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(60));
        if started.is_some() && start_time() == started {
            let _ = Command::new("/bin/sh").args(["-c", &format!("kill -KILL {pid}")]).status();
        }
    });
    child
}

fn finish(mut command: Command) -> Finished {
    let child = watched(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    finished(child.wait_with_output().expect("it ends"))
}

fn finished(output: Output) -> Finished {
    use std::os::unix::process::ExitStatusExt;
    let text = |bytes| String::from_utf8(bytes).expect("outputs are UTF-8");
    let by_signal = output.status.signal().map(|signal| 128 + signal);
    Finished {
        status: output.status.code().or(by_signal).expect("it ended"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

impl Finished {
    /// Fails the test with everything that is known if `holds` is not so.
    #[track_caller]
    fn expect(&self, holds: bool, what: &str) {
        assert!(holds, "{what}\nstatus {}\n-- stdout\n{}\n-- stderr\n{}", self.status, self.stdout, self.stderr);
    }

    #[track_caller]
    fn expect_status(&self, status: i32) {
        self.expect(self.status == status, &format!("the status should be {status}"));
    }

    /// One sentence on stderr that contains `part`, and this status.
    #[track_caller]
    fn expect_refusal(&self, status: i32, part: &str) {
        self.expect_status(status);
        let one = self.stderr.lines().count() == 1 && self.stderr.starts_with("unisono: ");
        self.expect(one && self.stderr.contains(part), &format!("one sentence with `{part}` was expected"));
    }
}
