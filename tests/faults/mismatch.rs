//! Ranks that make different calls: every rank learns, groups are listed smallest first, and nobody takes wrong data for right.

use super::process::{Failed, start, tell_all};
use super::worker::{Buffers, Call};
use std::time::Duration;
use unisono::{Communicator, Error, Progress};

/// What the one rank does, and all others. Both may be several calls.
struct Case {
    name: &'static str,
    one: &'static [&'static str],
    others: &'static [&'static str],
    /// Whether a rank can get its whole result without data of a rank that differs.
    independent: bool,
}

const fn case(name: &'static str, one: &'static [&'static str], others: &'static [&'static str]) -> Case {
    Case { name, one, others, independent: false }
}

const CASES: &[Case] = &[
    case("another collective", &["all_gather f32 sum 100 0"], &["all_reduce f32 sum 100 0"]),
    case("another type", &["all_reduce i32 sum 100 0"], &["all_reduce f32 sum 100 0"]),
    case("another operation", &["all_reduce f32 max 100 0"], &["all_reduce f32 sum 100 0"]),
    case("another count", &["all_reduce f32 sum 101 0"], &["all_reduce f32 sum 100 0"]),
    case("a much larger count", &["all_reduce f32 sum 300000 0"], &["all_reduce f32 sum 100 0"]),
    case("a barrier", &["barrier f32 sum 0 0"], &["all_to_all f32 sum 1000 0"]),
    case("a skipped call", &["all_gather f32 sum 9 0"], &["all_reduce f32 sum 9 0", "all_gather f32 sum 9 0"]),
    Case {
        name: "another root",
        one: &["broadcast f32 sum 50 1"],
        others: &["broadcast f32 sum 50 0"],
        independent: true,
    },
    Case {
        name: "another root, large",
        one: &["reduce f32 sum 70000 1"],
        others: &["reduce f32 sum 70000 0"],
        independent: true,
    },
];

/// Calls after those of the case, at which a rank that had returned learns.
const NEXT: [&str; 2] = ["all_reduce f32 sum 3 0", "all_reduce f32 sum 3 0"];

/// What a rank got: calls that returned well, then the error.
struct Got {
    calls_done: usize,
    kind: String,
    message: String,
}

fn check(case: &Case, ranks: usize, odd_one: usize, got: &[Got], where_: &str, strict: bool) {
    for (rank, Got { calls_done, kind, message }) in got.iter().enumerate() {
        let what = format!(
            "{}, {ranks} ranks, rank {odd_one} differs, {where_}: rank {rank} after {calls_done}: {message}",
            case.name
        );
        assert_eq!(kind, "mismatch", "{what}");
        let may_return = case.independent && !strict;
        assert!(may_return || *calls_done == 0, "a result that can't be right: {what}");
        let group = |ranks: Vec<usize>| match (ranks[0], ranks.len()) {
            (first, 1) => format!("rank {first}: "),
            (first, _) => format!("ranks {first}"),
        };
        let others = group((0..ranks).filter(|rank| *rank != odd_one).collect());
        let (_, groups) = message.split_once(": ").unwrap_or_else(|| panic!("no groups: {what}"));
        let at = |text: &str| groups.find(text).unwrap_or_else(|| panic!("`{text}` is missing: {what}"));
        let (odd, others) = (at(&format!("rank {odd_one}: ")), at(&others));
        assert!(ranks == 2 || odd < others, "the smaller group comes first: {what}");
    }
}

fn shapes() -> impl Iterator<Item = (usize, usize)> {
    [(2, 0), (2, 1), (3, 2), (5, 1)].into_iter()
}

#[test]
fn threads_learn_of_different_calls() {
    for ((ranks, odd_one), strict) in shapes().flat_map(|shape| [(shape, false), (shape, true)]) {
        for case in CASES {
            let builder = Communicator::builder().timeout(Duration::from_secs(50)).strict(strict);
            let communicators = builder.local(ranks).unwrap();
            let got: Vec<Got> = std::thread::scope(|scope| {
                let run = |mut communicator: Communicator| {
                    let calls = if communicator.rank() == odd_one { case.one } else { case.others };
                    scope.spawn(move || run_until_error(&mut communicator, calls))
                };
                let threads: Vec<_> = communicators.into_iter().map(run).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            check(case, ranks, odd_one, &got, "threads", strict);
        }
    }
}

fn run_until_error(communicator: &mut Communicator, calls: &[&str]) -> Got {
    let mut calls_done = 0;
    for call in calls.iter().chain(&NEXT) {
        let result: Result<(), Error> = Call::parse(call).run(communicator, &mut Buffers::default());
        if let Err(error) = result {
            return Got { calls_done, kind: error.kind().name().to_owned(), message: error.to_string() };
        }
        calls_done += 1;
    }
    Got { calls_done, kind: "none".to_owned(), message: "no error".to_owned() }
}

#[test]
fn processes_learn_of_different_calls() {
    for (transport, strict) in [("shm", "0"), ("tcp", "0"), ("shm", "1"), ("tcp", "1")] {
        for (ranks, odd_one) in shapes() {
            for case in CASES {
                let mut processes = start(ranks, &[("UNISONO_TRANSPORT", transport), ("UNISONO_STRICT", strict)]);
                for (rank, process) in processes.iter_mut().enumerate() {
                    let calls = if rank == odd_one { case.one } else { case.others };
                    calls.iter().chain(&NEXT).for_each(|call| process.tell(&format!("call {call}")));
                }
                let got = processes.iter().map(|process| {
                    let mut calls_done = 0;
                    loop {
                        let line = process.next_line();
                        if line != "ok" {
                            let Failed { kind, message, .. } = Failed::parse(&line);
                            break Got { calls_done, kind, message };
                        }
                        calls_done += 1;
                        assert!(calls_done < 2 + NEXT.len(), "{}: no error on a rank", case.name);
                    }
                });
                let got: Vec<Got> = got.collect();
                check(case, ranks, odd_one, &got, transport, strict == "1");
            }
        }
    }
}

/// The root's part of a small broadcast is done at once; where ranks are strict, it is not begun.
#[test]
fn strict_ranks_move_no_data_of_calls_that_differ() {
    for strict in [false, true] {
        let builder =
            Communicator::builder().timeout(Duration::from_secs(50)).progress(Progress::Thread).strict(strict);
        let communicators = builder.local(3).unwrap();
        let roots: Vec<Result<Vec<i32>, Error>> = std::thread::scope(|scope| {
            let run = |mut communicator: Communicator| {
                scope.spawn(move || {
                    let root = if communicator.rank() == 0 { 0 } else { 1 };
                    let agreed = communicator.start_broadcast(vec![1], 2).unwrap().wait().unwrap();
                    assert_eq!(agreed, [1]);
                    communicator.start_broadcast(vec![7], root).unwrap().wait()
                })
            };
            let threads: Vec<_> = communicators.into_iter().map(run).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(roots[0].is_ok(), !strict, "{:?}", roots[0]);
        assert!(!strict || roots.iter().flatten().next().is_none(), "{roots:?}");
        let errors = roots.into_iter().filter_map(Result::err);
        assert!(errors.into_iter().all(|error| error.is_mismatch()));
    }
}

/// The counts of an uneven all-to-all are each rank's own affair, so only the bytes show that they do not fit.
#[test]
fn counts_that_do_not_fit_are_named_on_both_sides() {
    let communicators = Communicator::builder().timeout(Duration::from_secs(50)).local(2).unwrap();
    let errors: Vec<Error> = std::thread::scope(|scope| {
        let run = |mut communicator: Communicator| {
            scope.spawn(move || {
                // Rank 0 sends three elements, rank 1 expects two.
                let (to, from) = if communicator.rank() == 0 { ([1, 3], [1, 1]) } else { ([1, 1], [2, 1]) };
                let (input, mut output) =
                    (vec![0f32; to.iter().sum::<u64>() as usize], vec![0f32; from.iter().sum::<u64>() as usize]);
                let result = communicator.all_to_all_v(&input, &to, &mut output, &from);
                // Whoever has all it expects learns at its next call.
                result.and_then(|()| communicator.barrier()).expect_err("it can't succeed")
            })
        };
        let threads: Vec<_> = communicators.into_iter().map(run).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for error in errors {
        assert!(error.is_mismatch(), "{error}");
        assert_eq!(error.message(), "rank 0 sends 12 bytes where rank 1 expects 8", "{error}");
        assert_eq!(error.operation(), Some("all_to_all_v"), "{error}");
        assert!(error.to_string().contains("give counts that agree on ranks 1 and 0"), "{error}");
    }
}

#[test]
fn a_call_that_differs_in_its_buffers_alone_is_no_mismatch() {
    // The root of a broadcast has one buffer, as all others; with 0 elements nothing travels at all.
    let mut processes = start(3, &[]);
    for call in ["broadcast f32 sum 0 2", "all_reduce f32 sum 0 0", "broadcast f32 sum 10 2"] {
        tell_all(&mut processes, &format!("call {call}"));
        processes.iter().for_each(|process| process.expect("ok"));
    }
    processes.into_iter().for_each(|process| process.end());
}
