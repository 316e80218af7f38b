//! Many ranks, and ranks that wait for each other, as threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use unisono::algorithm::registry;
use unisono::plan::Problem;
use unisono::{Collective, Communicator, Options, ReduceOp};

/// Many times what it takes on two processors that have nothing else to do.
const LIMIT: Duration = Duration::from_secs(60);
/// For making the communicators of a thousand alone.
const MADE: Duration = Duration::from_secs(10);

#[test]
fn worlds_of_a_thousand_threads_and_of_two() {
    for size in [1000, 2000] {
        let start = Instant::now();
        // Whoever waits in vain waits longer than the test allows.
        let ranks = Communicator::builder().timeout(2 * LIMIT).local(size).unwrap();
        let made = start.elapsed();
        assert!(made < MADE * (size / 1000) as u32, "{size} communicators were made in {made:?}");
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
fn any_two_of_many_threads_have_room_for_all_that_they_send() {
    const RANKS: usize = 48;
    std::thread::scope(|threads| {
        for mut communicator in Communicator::local(RANKS).unwrap() {
            threads.spawn(move || {
                let rank = communicator.rank();
                let direct = Options { algorithm: Some("direct".into()), ..Options::default() };
                let (input, mut output) = ([rank as u32; RANKS], [0; RANKS]);
                communicator.with(direct).all_to_all(&input, &mut output).unwrap();
                let mut received = [RANKS as u32 - 1; RANKS];
                communicator
                    .group(|group| {
                        for (peer, place) in received.chunks_mut(1).enumerate().filter(|(peer, _)| *peer != rank) {
                            group.send(&input[..1], peer);
                            group.recv(place, peer);
                        }
                    })
                    .unwrap();
                received[rank] = rank as u32;
                let all: [u32; RANKS] = std::array::from_fn(|from| from as u32);
                assert_eq!((output, received), (all, all));
            });
        }
    });
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
