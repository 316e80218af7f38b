//! What a failed communicator leaves for whoever looks into it: the record of its last operations, and the explanation.

use super::process::{Process, expect_all, start, tell_all};
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn every_rank_writes_its_last_operations_when_the_communicator_fails() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(super::process::unique());
    let mut processes = start(3, &[("UNISONO_RECORD", directory.to_str().expect("UTF-8"))]);
    tell_all(&mut processes, "repeat 2 all_reduce f32 sum 10 0");
    expect_all(&processes, "ok");
    processes[2].signal(libc::SIGKILL);
    let mut survivors: Vec<Process> = processes.drain(..2).collect();
    tell_all(&mut survivors, "call barrier f32 sum 0 0");
    for process in survivors {
        assert_eq!(process.failed().kind, "peer_lost");
        process.end();
    }
    for rank in 0..2 {
        let text = fs::read_to_string(directory.join(format!("rank-{rank}.jsonl"))).expect("it was written");
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let header = &lines[0];
        assert_eq!((header["rank"].as_u64(), header["size"].as_u64()), (Some(rank), Some(3)), "{header}");
        assert!(header["error"].as_str().is_some_and(|error| error.contains("rank 2")), "{header}");
        assert!(header["pid"].is_u64() && header["host"].is_string() && header["schema"].is_u64(), "{header}");
        let calls: Vec<&str> = lines[1..].iter().map(|line| line["call"].as_str().expect("a text")).collect();
        assert!(
            calls.len() >= 2 && calls[..2].iter().all(|call| call.starts_with("all_reduce f32 x 10 sum")),
            "{calls:?}"
        );
        assert!(lines[1]["ended_ns_ago"].is_u64(), "{}", lines[1]);
    }
    fs::remove_dir_all(&directory).expect("ours");
}

#[test]
fn a_record_that_cannot_be_written_changes_nothing() {
    let mut processes = start(2, &[("UNISONO_RECORD", "/dev/null/nowhere")]);
    processes[1].signal(libc::SIGKILL);
    processes[0].tell("call barrier f32 sum 0 0");
    assert_eq!(processes[0].failed().kind, "peer_lost");
    processes.remove(0).end();
}

#[test]
fn rank_0_explains_every_new_shape_once() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unisono"));
    command
        .args(["bench", "all_reduce", "--ranks", "2", "--min", "8", "--max", "8", "--json"])
        .env("UNISONO_EXPLAIN", "1");
    let done = command.output().expect("it runs");
    let stderr = String::from_utf8(done.stderr).expect("UTF-8");
    let lines: Vec<&str> = stderr.lines().filter(|line| line.contains("all_reduce f32 x 2 sum on 2 ranks: ")).collect();
    assert_eq!(lines.len(), 1, "{stderr}");
}
