//! `unisono launch` at a terminal: the keys that end a job, reading, hanging up.

use super::{program, watched};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Child;

/// Starts `unisono launch -n 2` of a shell script as the first process of a terminal of its own.
fn start(script: &str) -> (Child, File) {
    let (mut ours, mut theirs) = (-1, -1);
    let nothing = std::ptr::null_mut();
    // SAFETY: openpty writes two descriptors, which are nobody else's; it is given no name, settings or size.
    let (ours, theirs) = unsafe {
        assert_eq!(libc::openpty(&mut ours, &mut theirs, nothing, nothing.cast(), nothing.cast()), 0);
        libc::fcntl(ours, libc::F_SETFD, libc::FD_CLOEXEC);
        (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
    };
    let mut command = program(env!("CARGO_BIN_EXE_unisono"));
    command.args(["launch", "-n", "2", "/bin/sh", "-c", script]);
    let end = || theirs.try_clone().expect("a descriptor");
    command.stdin(end()).stdout(end()).stderr(end());
    let terminal = theirs.as_raw_fd();
    // SAFETY: only system calls are made between fork and exec.
    unsafe {
        command.pre_exec(move || {
            libc::setsid();
            if libc::ioctl(terminal, libc::TIOCSCTTY, 0) < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        });
    }
    (watched(&mut command), ours)
}

/// Reads until the job has written this many lines that end with `word`.
fn await_lines(terminal: &mut File, word: &str, count: usize) -> String {
    let mut text = String::new();
    let mut byte = [0];
    while text.lines().filter(|line| line.ends_with(word)).count() < count {
        assert_eq!(terminal.read(&mut byte).expect("more to come"), 1, "{text}");
        text.push(char::from(byte[0]));
    }
    text
}

/// All that is left; the end of a terminal is an error.
fn rest(terminal: &mut File) -> String {
    let mut bytes = Vec::new();
    let _ = terminal.read_to_end(&mut bytes);
    String::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn control_c_reaches_every_rank_once() {
    for (key, name, status) in [(b"\x03", "INT", 130), (b"\x1c", "QUIT", 131)] {
        // Spinning, since a shell that waits for `sleep` takes two signals for one; then a while in which a second arrives.
        let text =
            format!("trap 'echo got it; n=1' {name}; echo ready; while [ ! \"$n\" ]; do :; done; sleep 0.2; exit 0");
        let (mut child, mut terminal) = start(&text);
        await_lines(&mut terminal, "] ready", 2);
        terminal.write_all(key).expect("a key is pressed");
        let text = rest(&mut terminal);
        assert_eq!(text.lines().filter(|line| line.ends_with("] got it")).count(), 2, "{text}");
        assert_eq!(child.wait().expect("it ends").code(), Some(status));
    }
}

#[test]
fn rank_0_reads_from_the_terminal_and_the_others_read_nothing() {
    let (mut child, mut terminal) = start("read line; echo \"<$line>\"");
    terminal.write_all(b"hello\n").expect("a line is typed");
    let text = rest(&mut terminal);
    assert!(text.contains("[0] <hello>") && text.contains("[1] <>"), "{text}");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_terminal_that_hangs_up_ends_the_job() {
    let (mut child, mut terminal) = start("echo ready; exec sleep 1000");
    await_lines(&mut terminal, "ready", 2);
    drop(terminal);
    assert_eq!(child.wait().expect("it ends").code(), Some(129));
}
