//! Many ranks on few processors: what they ask each other does not drown them, and nobody healthy is blamed.

use super::process::{Process, expect_all, start, tell_all};
use std::time::{Duration, Instant};

const RANKS: usize = 64;
/// Several times what it takes two processors that others use too.
const LIMIT: Duration = Duration::from_secs(40);

/// The ranks that the sentence blames: all that it names before it says where it was noticed.
fn blamed(message: &str) -> Vec<&str> {
    let blames = message.split(" (on rank ").next().expect("a first part");
    let number = |text: &str| text.find(|next: char| !",-0123456789".contains(next)).unwrap_or(text.len());
    let names = |words: &str| blames.split(words).skip(1).map(|text| &text[..number(text)]).collect::<Vec<_>>();
    [names("rank "), names("ranks ")].concat()
}

#[test]
fn of_many_ranks_only_the_one_that_is_stopped_is_blamed() {
    for (transport, victim) in [("shm", 17), ("tcp", 40)] {
        let mut processes = start(RANKS, &[("UNISONO_TRANSPORT", transport)]);
        tell_all(&mut processes, "repeat 3 all_reduce f32 sum 1000 0");
        expect_all(&processes, "ok");
        processes[victim].stop();
        tell_all(&mut processes, "timeout 4000");
        tell_all(&mut processes, "call all_reduce f32 sum 1000 0");
        for rank in (0..RANKS).filter(|rank| *rank != victim) {
            let failed = processes[rank].failed();
            assert_eq!(failed.kind, "timeout", "{transport}, rank {rank}: {failed:?}");
            assert_eq!(blamed(&failed.message), [victim.to_string()], "{transport}, rank {rank}: {failed:?}");
        }
        processes[victim].signal(libc::SIGCONT);
        processes[victim].next_line();
        processes.into_iter().for_each(Process::end);
    }
}

#[test]
fn many_ranks_connect_all_to_all_at_once() {
    let mut processes = start(RANKS, &[("UNISONO_TRANSPORT", "tcp"), ("UNISONO_ALGORITHM", "direct")]);
    let started = Instant::now();
    tell_all(&mut processes, "call all_to_all f32 sum 16 0");
    expect_all(&processes, "ok");
    let took = started.elapsed();
    println!("{RANKS} ranks made {} connections and an all_to_all in {took:?}", RANKS * (RANKS - 1) / 2);
    assert!(took < LIMIT, "{took:?}");
    processes.into_iter().for_each(Process::end);
}

#[test]
fn any_two_of_many_ranks_on_a_host_have_room_for_all_that_they_send() {
    const RANKS: usize = 48;
    let mut processes = start(RANKS, &[("UNISONO_TRANSPORT", "shm")]);
    for call in
        ["all_to_all f32 sum 16 0", "exchange f32 sum 16 0", "broadcast f32 sum 70000 5", "exchange f32 sum 3000 0"]
    {
        tell_all(&mut processes, &format!("call {call}"));
        expect_all(&processes, "ok");
    }
    processes.into_iter().for_each(Process::end);
}

#[test]
fn who_is_blamed_is_read_off_the_sentence() {
    let message =
        "call 9: ranks 3,5-7 did not enter it; rank 12 did not answer (on rank 4, in barrier): look at rank 3";
    assert_eq!(blamed(message), ["12", "3,5-7"]);
}
