//! The built binary, as a shell sees it.

mod arguments;
mod launch;

use std::process::{Command, Output, Stdio};

/// `unisono` with these arguments.
fn unisono(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unisono"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// What a finished command left: its status as a shell gives it, and both outputs.
struct Finished {
    status: i32,
    stdout: String,
    stderr: String,
}

fn finish(mut command: Command) -> Finished {
    finished(command.output().expect("the binary starts"))
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
