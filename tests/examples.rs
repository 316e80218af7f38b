//! The examples as a reader of the README runs them: alone, and as several processes.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// An example, which `cargo test` builds (`cargo test --test examples` alone does not): it lies beside the folder of this
/// test's own binary.
fn example(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("this test has a path");
    let profile = this.parent().and_then(|deps| deps.parent()).expect("target/PROFILE/deps/THIS");
    let path = profile.join("examples").join(name);
    assert!(path.exists(), "{} is missing: `cargo build --examples` makes it", path.display());
    path
}

/// Runs a command to its end, which must be a good one, and returns its stdout. No rank waits longer than a minute for others.
fn output(command: &mut Command) -> String {
    let done = command.env("UNISONO_TIMEOUT", "60").stdin(Stdio::null()).output().expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&done.stdout), text(&done.stderr));
    assert!(done.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", done.status);
    stdout
}

fn alone(name: &str) -> String {
    output(&mut Command::new(example(name)))
}

fn launched(name: &str, ranks: usize, transport: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unisono"));
    command.args(["launch", "-n", &ranks.to_string()]).arg(example(name));
    output(command.env("UNISONO_TRANSPORT", transport))
}

#[test]
fn all_reduce_alone_and_launched() {
    assert_eq!(alone("all_reduce"), "rank 0 of 1: every sum is 1\n");
    let text = launched("all_reduce", 4, "auto");
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    let expected: Vec<String> = (0..4).map(|rank| format!("[{rank}] rank {rank} of 4: every sum is 10")).collect();
    assert_eq!(lines, expected);
}

/// The program itself asserts what it is there to show; here is seen that it came to its end, and with how many ranks.
#[test]
fn data_parallel_alone_and_launched() {
    let text = alone("data_parallel");
    assert!(text.starts_with("1599 wines, 1 ranks") && text.contains("loss 0.0e0, weights 0.0e0"), "{text}");
    for (ranks, transport) in [(2, "tcp"), (3, "shm"), (4, "auto")] {
        let text = launched("data_parallel", ranks, transport);
        assert!(text.starts_with(&format!("[0] 1599 wines, {ranks} ranks")), "{transport}: {text}");
        assert!(text.contains("[0] weights on every rank: "), "{transport}: {text}");
    }
}
