//! Many ranks, and ranks that wait for each other, as threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use unisono::algorithm::registry;
use unisono::plan::Problem;
use unisono::{Collective, Communicator, Options, ReduceOp};

/// Many times what it takes on two processors that have nothing else to do.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn worlds_of_a_thousand_threads_and_of_two() {
    for size in [1000, 2000] {
        let start = Instant::now();
        let ranks = Communicator::local(size).unwrap();
        let made = start.elapsed();
        std::thread::scope(|threads| {
            for mut communicator in ranks {
                let play = move || {
                    communicator.barrier().unwrap();
                    let mut data = [communicator.rank() as i32, 1];
                    communicator.all_reduce_in_place(&mut data, ReduceOp::Sum).unwrap();
                    assert_eq!(data, [(size * (size - 1) / 2) as i32, size as i32]);
                };
                std::thread::Builder::new().stack_size(256 << 10).spawn_scoped(threads, play).unwrap();
            }
        });
        let took = start.elapsed();
        println!("{size} threads: made in {made:?}, barrier and all_reduce done after {took:?}");
        assert!(took < LIMIT, "{size} threads took {took:?}");
    }
}

#[test]
fn no_rank_leaves_a_barrier_before_all_have_come() {
    const RANKS: usize = 5;
    let fits = |collective| Problem::new(collective, RANKS);
    let names = registry().iter().filter(|one| one.fits(&fits(Collective::Barrier)).is_ok()).map(|one| one.name());
    for name in names {
        let come = AtomicUsize::new(0);
        std::thread::scope(|threads| {
            for mut communicator in Communicator::local(RANKS).unwrap() {
                let come = &come;
                threads.spawn(move || {
                    for round in 1..=200 {
                        come.fetch_add(1, Ordering::Relaxed);
                        communicator.with(Options::default().algorithm(name)).barrier().unwrap();
                        assert!(come.load(Ordering::Relaxed) >= RANKS * round, "{name}");
                    }
                });
            }
        });
    }
}
