//! kill -9 of any rank during any collective: all others learn who it was, and nothing is left behind.

use super::process::{TIMEOUT, expect_all, start, tell_all};
use super::{Chance, deep, names_rank};
use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant};

const COLLECTIVES: [&str; 10] = [
    "all_reduce",
    "all_gather",
    "reduce_scatter",
    "broadcast",
    "reduce",
    "gather",
    "scatter",
    "all_to_all",
    "barrier",
    "send_recv",
];

/// A death is noticed as it happens: half of all kills are known everywhere within this time, on a machine with other work too.
const TYPICALLY: Duration = Duration::from_secs(2);

/// No survivor had to wait for the timeout: that comes much later.
const ALWAYS: Duration = Duration::from_secs(20);
const _: () = assert!(2 * ALWAYS.as_secs() < TIMEOUT.as_secs());

#[test]
fn survivors_of_a_kill_name_the_victim() {
    let mut chance = Chance::new("kills");
    let kills = if deep() { 200 } else { 20 };
    let mut slowest = Vec::new();
    for number in 0..kills {
        let ranks = 2 + (number + chance.below(2) * 3) % 7;
        let victim = chance.below(ranks);
        let collective = COLLECTIVES[number % COLLECTIVES.len()];
        let count = *chance.pick(&[1, 7, 1000, 65_537, 400_000]);
        // Each collective over both in turn.
        let transport = ["shm", "tcp"][(number + number / COLLECTIVES.len()) % 2];
        let root = chance.below(ranks);
        let call = format!("{collective} f32 sum {count} {root}");
        let what = format!("kill {number}: rank {victim} of {ranks} in `{call}` over {transport}");
        println!("{what}");
        slowest.push(kill(&mut chance, ranks, victim, transport, &call, &what));
    }
    slowest.sort();
    let (median, most) = (slowest[slowest.len() / 2], slowest[slowest.len() - 1]);
    println!("{kills} kills: the last survivor knew after {median:?} in the median, {most:?} at most");
    assert!(median < TYPICALLY, "in the median {median:?}: {slowest:?}");
    assert!(most < ALWAYS, "at most {most:?}: {slowest:?}");
}

/// How long it took until the last survivor had told its error.
fn kill(chance: &mut Chance, ranks: usize, victim: usize, transport: &str, call: &str, what: &str) -> Duration {
    let mut processes = start(ranks, &[("UNISONO_TRANSPORT", transport)]);
    tell_all(&mut processes, &format!("loop {call}"));
    expect_all(&processes, "running");
    let mut sockets: HashSet<String> = processes.iter().flat_map(|process| process.sockets()).collect();
    chance.pass_up_to_ms(5);
    processes[victim].signal(libc::SIGKILL);
    let killed = Instant::now();
    let mut survivors = processes;
    let victim_process = survivors.remove(victim);
    for survivor in &survivors {
        let failed = survivor.failed();
        assert_eq!(failed.kind, "peer_lost", "{what}: {failed:?}");
        assert!(names_rank(&failed.message, victim), "{what}: {failed:?}");
    }
    let took = killed.elapsed();
    sockets.extend(survivors.iter().flat_map(|process| process.sockets()));
    let files: Vec<String> = survivors.iter().map(|process| format!("/proc/{}", process.id())).collect();
    survivors.into_iter().for_each(|survivor| survivor.end());
    drop(victim_process);
    assert!(files.iter().all(|process| !fs::exists(process).expect("/proc is there")), "{what}: a process is left");
    expect_nothing_left(&sockets, what);
    took
}

/// No name in /dev/shm, no abstract socket of theirs.
fn expect_nothing_left(sockets: &HashSet<String>, what: &str) {
    let shared = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let ours = |name: &str| name.contains("unisono");
    let names: Vec<String> = shared.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert!(!names.iter().any(|name| ours(name)), "{what}: left in /dev/shm: {names:?}");
    let table = fs::read_to_string("/proc/net/unix").expect("it is there");
    let left: Vec<&str> = table
        .lines()
        .filter(|line| line.split_whitespace().nth(6).is_some_and(|inode| sockets.contains(inode)))
        .collect();
    assert!(left.is_empty(), "{what}: sockets left: {left:?}");
}

#[test]
fn a_rank_that_leaves_early_is_named_and_nobody_waits_for_the_timeout() {
    for transport in ["shm", "tcp"] {
        for ranks in [2, 4] {
            let mut processes = start(ranks, &[("UNISONO_TRANSPORT", transport), ("UNISONO_TIMEOUT", "300")]);
            tell_all(&mut processes, "repeat 5 all_reduce f32 sum 1000 0");
            expect_all(&processes, "ok");
            let leaver = processes.pop().expect("there are some");
            leaver.end();
            tell_all(&mut processes, "call all_reduce f32 sum 1000 0");
            for process in &processes {
                let failed = process.failed();
                assert!(
                    failed.kind == "peer_lost" && names_rank(&failed.message, ranks - 1),
                    "{transport}: {failed:?}"
                );
            }
            processes.into_iter().for_each(|process| process.end());
        }
    }
}
