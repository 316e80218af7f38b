//! A stopped rank: it is named after the deadline, memory stays the caller's afterwards, and waiting costs little.

use super::process::{Process, expect_all, spawn_as, start, tell_all};
use super::{Chance, deep, names_rank};
use std::os::unix::process::CommandExt;

#[test]
fn a_stopped_rank_and_the_operation_are_named_after_the_deadline() {
    let (all_reduce, send_recv) = ("all_reduce", "send_recv");
    let cases = [
        ("shm", 2, 1, all_reduce),
        ("shm", 5, 3, all_reduce),
        ("tcp", 4, 0, all_reduce),
        // Only its neighbours wait for the victim itself.
        ("shm", 5, 2, send_recv),
        ("tcp", 4, 1, send_recv),
    ];
    for (transport, ranks, victim, call) in cases {
        let mut processes = start(ranks, &[("UNISONO_TRANSPORT", transport)]);
        // Long enough for every rank that runs to answer within a quarter of it, on a busy machine too.
        tell_all(&mut processes, "timeout 4000");
        tell_all(&mut processes, &format!("loop {call} f32 sum 20000 0"));
        expect_all(&processes, "running");
        processes[victim].stop();
        let waiting = |process: &Process| {
            let failed = process.failed();
            assert_eq!(failed.kind, "timeout", "{failed:?}");
            let names = |call: &str| failed.message.contains(&format!("{call} f32 x 20000"));
            assert!(failed.message.contains(&format!("rank {victim} did not answer")), "{failed:?}");
            assert!(if call == send_recv { names("send") || names("recv") } else { names(call) }, "{failed:?}");
        };
        let others = (0..ranks).filter(|rank| *rank != victim);
        others.for_each(|rank| waiting(&processes[rank]));
        processes[victim].signal(libc::SIGCONT);
        assert_eq!(processes[victim].failed().kind, "timeout");
        processes.into_iter().for_each(|process| process.end());
    }
}

/// Rounds on copies of one communicator: stop, time out, reuse the memory, continue, compare. `round_of` gives a round's command.
fn reuse_memory(transport: &str, ranks: usize, rounds: usize, round_of: fn(&mut Chance) -> String, check: &str) {
    let mut chance = Chance::new("stops");
    let mut processes = start(ranks, &[("UNISONO_TRANSPORT", transport)]);
    for round in 0..rounds {
        let call = round_of(&mut chance);
        let victim = chance.below(ranks);
        tell_all(&mut processes, &call);
        // A deadline this short may pass before the victim stops, on a busy machine; the rest of the round holds all the same.
        let first: Vec<String> = processes.iter().map(|process| process.next_line()).collect();
        chance.pass_up_to_ms(3);
        processes[victim].stop();
        let expect_error = |rank: usize| {
            let line = if first[rank] == "running" { processes[rank].next_line() } else { first[rank].clone() };
            let failed = super::process::Failed::parse(&line);
            assert_eq!(failed.kind, "timeout", "{transport}, round {round}, `{call}`, rank {rank}: {failed:?}");
        };
        let survivors: Vec<usize> = (0..ranks).filter(|rank| *rank != victim).collect();
        survivors.iter().for_each(|rank| expect_error(*rank));
        processes[victim].signal(libc::SIGCONT);
        expect_error(victim);
        tell_all(&mut processes, check);
        for (rank, process) in processes.iter().enumerate() {
            assert_eq!(process.next_line(), "intact", "{transport}, round {round}, `{call}`, rank {rank}");
        }
    }
    processes.into_iter().for_each(|process| process.end());
}

#[test]
fn memory_is_the_callers_again_after_a_timeout() {
    let round = |chance: &mut Chance| {
        let all = ["all_reduce", "all_gather", "broadcast", "all_to_all", "reduce_scatter", "send_recv"];
        let collective = *chance.pick(&all);
        // The root of small broadcasts runs ahead of a stopped rank as long as the kernel takes a few bytes now and then.
        let counts: &[usize] = if collective == "broadcast" { &[30_000, 100_000] } else { &[2, 3000, 100_000] };
        format!("round 150 {collective} f32 sum {} 0", chance.pick(counts))
    };
    for transport in ["shm", "tcp"] {
        reuse_memory(transport, 3, if deep() { 5000 } else { 8 }, round, "check");
    }
}

/// A rank that was stopped while it read a peer's window must not take for data what the peer wrote there after its timeout.
#[test]
fn a_rank_that_wakes_up_does_not_take_reused_windows_for_data() {
    let round = |chance: &mut Chance| {
        let all = ["all_reduce", "all_reduce_in_place", "all_gather", "broadcast", "reduce_scatter"];
        format!("window_round 150 {} {}", chance.pick(&all), chance.pick(&[3000, 100_000, 400_000]))
    };
    for ranks in [2, 3] {
        reuse_memory("shm", ranks, if deep() { 1000 } else { 12 }, round, "window_check");
    }
}

/// This process's child runs on two processors at most.
fn on_two_processors(command: &mut std::process::Command) {
    // SAFETY: between fork and exec only plain memory is touched and two system calls are made.
    unsafe {
        command.pre_exec(|| {
            let mut allowed: libc::cpu_set_t = std::mem::zeroed();
            libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut allowed);
            let mut kept: libc::cpu_set_t = std::mem::zeroed();
            let own = (0..libc::CPU_SETSIZE as usize).filter(|cpu| libc::CPU_ISSET(*cpu, &allowed));
            own.take(2).for_each(|cpu| libc::CPU_SET(cpu, &mut kept));
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &kept);
            Ok(())
        });
    }
}

#[test]
fn sixteen_ranks_on_two_processors_work_and_wait_without_burning_them() {
    for transport in ["shm", "tcp"] {
        let mut processes = spawn_as(16, &[("UNISONO_TRANSPORT", transport)], on_two_processors);
        expect_all(&processes, "joined");
        tell_all(&mut processes, "repeat 300 all_reduce f32 sum 16 0");
        expect_all(&processes, "ok");
        processes[5].stop();
        tell_all(&mut processes, "timeout 5000");
        tell_all(&mut processes, "call all_reduce f32 sum 16 0");
        // Together: each of 15 that spun all the time would have no more than 13 % of two processors.
        let mut all = 0.0;
        for rank in (0..16).filter(|rank| *rank != 5) {
            let failed = processes[rank].failed();
            let share = failed.processor.as_secs_f64() / failed.wall.as_secs_f64().max(1e-3);
            println!("{transport}, rank {rank}: {:.1} % of {:?}", 100.0 * share, failed.wall);
            assert_eq!(failed.kind, "timeout", "{failed:?}");
            assert!(names_rank(&failed.message, 5), "{failed:?}");
            all += share;
        }
        assert!(all < 0.2, "{transport}: the ranks used {:.0} % of a processor while they waited", 100.0 * all);
        processes[5].signal(libc::SIGCONT);
        // It may find all it needs, and learns at its next call then.
        processes[5].next_line();
        processes.into_iter().for_each(|process| process.end());
    }
}
