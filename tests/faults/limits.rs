//! Where something runs out, or a setting can't be right: one sentence that says what and what to do.

use super::process::{Process, TIMEOUT, expect_all, spawn, spawn_as, start, tell_all};
use std::cell::Cell;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The output of `unisono` under a shell's limits.
fn shell(script: &str, environment: &[(&str, &str)]) -> (i32, String) {
    let script = script.replace("unisono", env!("CARGO_BIN_EXE_unisono"));
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script]).envs(environment.iter().copied());
    let done = command.output().expect("a shell");
    (done.status.code().expect("it ended by itself"), String::from_utf8(done.stderr).expect("UTF-8"))
}

fn expect_sentence(status: i32, stderr: &str, words: &[&str]) {
    assert!(matches!(status, 1 | 2), "status {status}: {stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(words.iter().any(|word| stderr.contains(word)), "one of {words:?} in: {stderr}");
}

#[test]
fn a_setting_that_cannot_be_right_is_one_sentence_with_its_name() {
    for (name, value) in [
        ("UNISONO_TIMEOUT", "soon"),
        ("UNISONO_TIMEOUT", "-1"),
        ("UNISONO_TIMEOUT", "inf"),
        ("UNISONO_TRANSPORT", "carrier-pigeon"),
        ("UNISONO_REQUIRE", "shn"),
        ("UNISONO_ALGORITHM", "rings"),
        ("UNISONO_SHM_BYTES", "lots"),
        ("UNISONO_SHM_BYTES", "-5"),
        ("UNISONO_EXPLAIN", "maybe"),
        ("UNISONO_CALIBRATE", "2"),
        ("UNISONO_MOVE_APART", "yes"),
        ("UNISONO_STRICT", "on"),
        ("UNISONO_RECORD", ""),
        ("UNISONO_RULES", ""),
        ("UNISONO_RULES", "/nowhere/rules.csv"),
    ] {
        let (status, stderr) = shell("unisono bench all_reduce --ranks 2 --transport memory --max 8", &[(name, value)]);
        expect_sentence(status, &stderr, &[name]);
        assert_eq!(stderr.lines().count(), 1, "{name}={value}: {stderr}");
    }
    for (name, value) in [
        ("UNISONO_PORT", "99999"),
        ("UNISONO_PORT", "http"),
        ("UNISONO_RANK", "first"),
        ("UNISONO_WORLD_SIZE", "0"),
        ("UNISONO_LOCAL_RANK", "x"),
        ("UNISONO_LOCAL_WORLD_SIZE", "x"),
        ("UNISONO_HOST_ID", ""),
        ("UNISONO_JOB_ID", ""),
        ("UNISONO_SECRET", ""),
    ] {
        let mut environment = vec![
            ("UNISONO_RANK", "0"),
            ("UNISONO_WORLD_SIZE", "2"),
            ("MASTER_ADDR", "127.0.0.1"),
            ("MASTER_PORT", "1"),
        ];
        environment.retain(|(other, _)| *other != name);
        environment.push((name, value));
        let (status, stderr) = shell("unisono bench all_reduce --max 8", &environment);
        expect_sentence(status, &stderr, &[name]);
        assert_eq!(stderr.lines().count(), 1, "{name}={value}: {stderr}");
    }
}

#[test]
fn a_misspelt_variable_is_warned_of_with_what_was_meant() {
    let (status, stderr) =
        shell("unisono bench all_reduce --ranks 2 --max 8", &[("UNISONO_TIMEOUTS", "5"), ("UNISONO_XYZZYX", "5")]);
    assert_eq!(status, 0, "{stderr}");
    let warnings: Vec<&str> = stderr.lines().filter(|line| line.contains("warning")).collect();
    assert_eq!(warnings.len(), 2, "once each, not once per rank: {stderr}");
    assert!(stderr.contains("UNISONO_TIMEOUTS means nothing; was UNISONO_TIMEOUT meant?"), "{stderr}");
}

#[test]
fn without_file_descriptors_the_job_ends_with_a_sentence() {
    // A rank of six needs 14 or 15 at the least, by how its connections overlap in time: fewer never suffice.
    for limit in [5, 8, 11] {
        let (status, stderr) = shell(
            &format!("ulimit -n {limit}; unisono bench all_reduce --ranks 6 --max 8"),
            &[("UNISONO_TIMEOUT", "30")],
        );
        expect_sentence(status, &stderr, &["ulimit -n"]);
    }
}

#[test]
fn more_ranks_than_fit_are_refused_in_a_sentence() {
    for (command, words) in [
        ("unisono bench all_reduce --ranks 200000 --max 8", "at most 131072 ranks"),
        ("unisono launch -n 5000000000 true", "is not a number of ranks"),
        ("ulimit -v 3000000; unisono bench all_reduce --ranks 1500 --transport memory --max 8", "ulimit"),
        ("unisono bench all_reduce --ranks 130000 --transport memory --max 8", "take fewer ranks"),
    ] {
        let (status, stderr) = shell(command, &[]);
        expect_sentence(status, &stderr, &[words]);
        assert_eq!(stderr.lines().count(), 1, "{command}: {stderr}");
    }
}

#[test]
fn buffers_that_the_host_has_not_are_refused_before_anything_starts() {
    let too_large = [
        "unisono bench all_reduce --ranks 4 --min 1TiB --max 16TiB",
        "unisono bench all_to_all --ranks 3 --min 8 --max 8TiB --registered",
        "unisono bench all_reduce --ranks 2 --transport memory --min 8 --max 8TiB --in-place",
        "unisono launch -n 2 unisono bench all_reduce --max 8TiB",
        "unisono bench all_reduce --ranks 130000 --max 8",
    ];
    for command in too_large {
        let (status, stderr) = shell(command, &[]);
        let said: Vec<&str> = stderr.lines().filter(|line| line.contains("take fewer ranks")).collect();
        assert!(status == 1 && said.len() == 1, "{command}: {status}: {stderr}");
        // A launcher tells of the ranks that failed.
        let rest: Vec<&str> = stderr.lines().filter(|line| !line.contains("take fewer ranks")).collect();
        assert!(rest.is_empty() || command.contains("launch"), "{command}: {stderr}");
    }
}

#[test]
fn a_window_whose_file_one_rank_cannot_open_fails_on_all_ranks_at_once() {
    // In the broadcast of the file among four, either 1 or 2 is between rank 0 and rank 3.
    for starved in [1, 2] {
        let mut processes = start(4, &[]);
        processes[starved].tell("no_more_files");
        processes[starved].expect("ok");
        tell_all(&mut processes, "alloc 100000");
        for (rank, failed) in processes.iter().map(Process::failed).enumerate() {
            assert!(failed.kind == "resource" && failed.message.contains("file descriptor"), "rank {rank}: {failed:?}");
            assert!(failed.wall < TIMEOUT / 2, "rank {rank}: {failed:?}");
        }
    }
}

#[test]
fn a_limit_on_file_sizes_is_a_sentence_and_no_signal() {
    let (status, stderr) = shell("ulimit -f 2000; unisono bench all_reduce --ranks 2 --max 8", &[]);
    expect_sentence(status, &stderr, &["ulimit -f"]);
}

#[test]
fn a_window_that_one_rank_cannot_have_is_refused_on_all_ranks_by_its_name() {
    // Enough for all that the ranks share from the beginning, on rank 2 alone not for large windows.
    let rank = Cell::new(0);
    let mut processes = spawn_as(3, &[], |command| {
        if rank.replace(rank.get() + 1) == 2 {
            address_space(command, 2 << 30);
        }
    });
    expect_all(&processes, "joined");
    let mut refused = |lengths: [u64; 3], kind: &str, words: &str| {
        processes.iter_mut().zip(lengths).for_each(|(process, length)| process.tell(&format!("alloc {length}")));
        for failed in processes.iter().map(Process::failed) {
            assert!(failed.kind == kind && failed.message.starts_with(words), "{lengths:?}: {failed:?}");
        }
        // Nothing was lost by it.
        tell_all(&mut processes, "alloc 100000");
        expect_all(&processes, "ok");
    };
    refused([700 << 20; 3], "resource", "rank 2 can't have a window of 700 MiB on each of the 3 ranks of its host: ");
    refused([1 << 44; 3], "resource", "rank 0 can't have a window of 16777216 MiB");
    refused([7, 1 << 44, 7], "invalid_argument", "rank 1 allocates a window of 17592186044416 bytes, rank 0 one of 7");
    processes.into_iter().for_each(|process| process.end());
}

/// Limits the address space of a rank.
fn address_space(command: &mut Command, bytes: u64) {
    // SAFETY: between fork and exec only plain memory is read and a system call is made.
    unsafe {
        command.pre_exec(move || {
            let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
            match libc::setrlimit(libc::RLIMIT_AS, &limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
}

#[test]
fn without_memory_all_ranks_say_so() {
    // Enough for the program, not for the memory that the ranks are to share.
    let environment = [("UNISONO_SHM_BYTES", "8589934592")];
    let processes = spawn_as(3, &environment, |command| address_space(command, 4 << 30));
    for process in &processes {
        let line = process.next_line();
        let told = line.starts_with("failed error resource ") || line.starts_with("failed error peer_lost ");
        assert!(told, "{line}");
    }
}

#[test]
fn shared_memory_too_small_to_begin_with_is_an_error_on_all_ranks() {
    for bytes in ["1", "4096", "20000"] {
        let processes = spawn(4, &[("UNISONO_SHM_BYTES", bytes)]);
        let lines: Vec<String> = processes.iter().map(Process::next_line).collect();
        assert!(lines.iter().any(|line| line.contains("UNISONO_SHM_BYTES")), "{bytes}: {lines:?}");
        assert!(lines.iter().all(|line| line.starts_with("failed error ")), "{bytes}: {lines:?}");
    }
}

#[test]
fn eight_mebibytes_are_enough_for_eight_ranks() {
    let mut processes = start(8, &[("UNISONO_SHM_BYTES", "8388608")]);
    for collective in ["all_reduce", "all_gather", "reduce_scatter", "broadcast", "all_to_all", "gather", "barrier"] {
        for count in [3, 5000, 300_000] {
            tell_all(&mut processes, &format!("call {collective} f32 sum {count} 1"));
            expect_all(&processes, "ok");
        }
    }
    processes.into_iter().for_each(|process| process.end());
}

#[test]
fn a_transport_that_is_required_and_not_had_is_an_error_on_all_ranks() {
    // Only rank 0 requires: its word is every rank's error.
    let job = super::process::unique();
    let processes: Vec<Process> = (0..3)
        .map(|rank: usize| {
            let mut environment = vec![
                ("RANK", rank.to_string()),
                ("WORLD_SIZE", "3".to_owned()),
                ("UNISONO_JOB_ID", job.clone()),
                ("UNISONO_TIMEOUT", "50".to_owned()),
                ("UNISONO_TRANSPORT", "tcp".to_owned()),
            ];
            if rank == 0 {
                environment.push(("UNISONO_REQUIRE", "shm".to_owned()));
            }
            Process::spawn(&mut Process::command(), &environment)
        })
        .collect();
    for process in &processes {
        let line = process.next_line();
        assert!(
            line.starts_with("failed error transport ") && line.contains("rank 0 requires the shm transport"),
            "{line}"
        );
    }
}
