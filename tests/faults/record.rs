//! What a failed communicator leaves for whoever looks into it: the record of its last operations, and the explanation.

use super::process::{Process, expect_all, start, tell_all};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
        let lines = record(&directory, rank);
        let header = &lines[0];
        assert_eq!((header["rank"].as_u64(), header["size"].as_u64()), (Some(rank), Some(3)), "{header}");
        assert!(header["error"].as_str().is_some_and(|error| error.contains("rank 2")), "{header}");
        assert!(header["pid"].is_u64() && header["host"].is_string() && header["schema"] == 2, "{header}");
        assert_eq!((&header["oldest_sequence"], &header["kind"]), (&1.into(), &"peer_lost".into()), "{header}");
        let calls: Vec<&str> = lines[1..].iter().map(|line| line["call"].as_str().expect("a text")).collect();
        assert_eq!(header["operations"], calls.len(), "{header}");
        assert!(
            calls.len() >= 2 && calls[..2].iter().all(|call| call.starts_with("all_reduce f32 x 10 sum")),
            "{calls:?}"
        );
        assert!(lines[1]["ended_ns_ago"].is_u64(), "{}", lines[1]);
        assert!(lines[1]["failed_at_step"].is_null() && lines[1]["bytes"] == 40 && lines[1]["transport"] == "shm");
    }
    fs::remove_dir_all(&directory).expect("ours");
}

/// Header and operations of a rank's file.
fn record(directory: &Path, rank: u64) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(directory.join(format!("rank-{rank}.jsonl"))).expect("it was written");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn the_record_says_where_the_operation_stood_that_failed() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(super::process::unique());
    let mut processes =
        start(2, &[("UNISONO_RECORD", directory.to_str().expect("UTF-8")), ("UNISONO_TRANSPORT", "tcp")]);
    tell_all(&mut processes, "repeat 2 all_reduce f32 sum 10 0");
    expect_all(&processes, "ok");
    let before = SystemTime::now();
    // Rank 1 takes no part.
    processes[0].tell("timeout 500");
    processes[0].tell("call all_gather f32 sum 10 0");
    assert_eq!(processes[0].failed().kind, "timeout");
    let lines = record(&directory, 0);
    let (header, failed) = (&lines[0], &lines[3]);
    assert_eq!((failed["operation"].as_str(), failed["sequence"].as_u64()), (Some("all_gather"), Some(3)), "{failed}");
    assert_eq!((failed["rank"].as_u64(), failed["bytes"].as_u64()), (Some(0), Some(80)), "{failed}");
    assert!(failed["failed_at_step"].is_u64() && failed["failed_after_bytes"].is_u64(), "{failed}");
    assert!(failed["transport"] == "tcp" && failed["ended_ns_ago"].is_u64(), "{failed}");
    assert_eq!((&header["entered_sequence"], &header["finished_sequence"]), (&3.into(), &2.into()), "{header}");
    let at = UNIX_EPOCH + Duration::from_nanos(header["wall_clock_unix_ns"].as_u64().expect("a time"));
    assert!(before < at && at <= SystemTime::now(), "{header}");
    processes.into_iter().for_each(|process| process.end());
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
fn rank_0_explains_the_transports_and_every_new_shape_once() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unisono"));
    command
        .args(["bench", "all_reduce", "--ranks", "2", "--min", "8", "--max", "8", "--json"])
        .env("UNISONO_EXPLAIN", "1");
    let done = command.output().expect("it runs");
    let stderr = String::from_utf8(done.stderr).expect("UTF-8");
    let times = |part: &str| stderr.lines().filter(|line| line.contains(part)).count();
    assert_eq!(times("unisono: world of 2 ranks: 1 pair by shm, at most "), 1, "{stderr}");
    assert_eq!(times("all_reduce f32 x 2 sum on 2 ranks: "), 1, "{stderr}");
}
