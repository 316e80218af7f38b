//! Ranks as threads that give up, leave, panic or run out of time.

use super::{NO_HANG, names_rank};
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};
use unisono::{Communicator, Error, Options, Progress, ReduceOp};

fn world(ranks: usize, progress: Progress) -> Vec<Communicator> {
    Communicator::builder().progress(progress).timeout(5 * NO_HANG).local(ranks).unwrap()
}

/// Runs one body per rank in a thread of its own.
fn each<R: Send>(world: Vec<Communicator>, body: impl Fn(Communicator) -> R + Sync) -> Vec<R> {
    std::thread::scope(|scope| {
        let body = &body;
        let threads: Vec<_> = world.into_iter().map(|communicator| scope.spawn(move || body(communicator))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn sum(communicator: &mut Communicator) -> Result<(), Error> {
    communicator.all_reduce_in_place(&mut [1.0f32; 500], ReduceOp::Sum)
}

#[test]
fn abort_from_another_thread_ends_a_blocked_call_on_every_rank() {
    let world = world(3, Progress::Caller);
    let handle = world[1].abort_handle();
    let started = Instant::now();
    let errors = std::thread::scope(|scope| {
        scope.spawn(move || {
            // Ranks 0 and 1 are blocked by now, or will find out when they begin: both must end.
            std::thread::sleep(Duration::from_millis(50));
            handle.abort();
            handle.abort();
        });
        each(world, |mut communicator| match communicator.rank() {
            // Does not take part until it hears.
            2 => loop {
                std::thread::sleep(Duration::from_millis(20));
                if started.elapsed() > Duration::from_millis(100) {
                    break sum(&mut communicator);
                }
            },
            _ => sum(&mut communicator),
        })
    });
    for error in errors.into_iter().map(Result::unwrap_err) {
        assert!(error.kind().name() == "aborted" && names_rank(error.message(), 1), "{error}");
    }
    assert!(started.elapsed() < NO_HANG);
}

#[test]
fn a_rank_that_leaves_is_named_to_those_that_wait() {
    for ranks in [2, 5] {
        let started = Instant::now();
        let results = each(world(ranks, Progress::Caller), |mut communicator| {
            sum(&mut communicator).unwrap();
            let is_leaver = communicator.rank() == ranks - 1;
            if is_leaver { Ok(()) } else { sum(&mut communicator) }
        });
        for result in &results[..ranks - 1] {
            let error = result.as_ref().unwrap_err();
            assert!(error.is_peer_lost() && names_rank(error.message(), ranks - 1), "{error}");
        }
        assert!(started.elapsed() < NO_HANG);
    }
}

#[test]
fn a_panic_of_one_rank_is_told_to_the_others() {
    let results = each(world(4, Progress::Caller), |mut communicator| {
        if communicator.rank() != 2 {
            return sum(&mut communicator);
        }
        let panic = std::panic::catch_unwind(AssertUnwindSafe(move || {
            let _dropped_while_panicking = communicator;
            std::panic::resume_unwind(Box::new("a bug of the program"));
        }));
        panic.map_err(|_| Error::new(unisono::ErrorKind::Aborted, "it panicked"))
    });
    for rank in [0, 1, 3] {
        let error = results[rank].as_ref().unwrap_err();
        assert!(error.is_peer_lost() && names_rank(error.message(), 2) && error.message().contains("panic"), "{error}");
    }
}

#[test]
fn a_communicator_dropped_with_operations_in_flight_ends_them_and_tells_the_others() {
    for progress in [Progress::Caller, Progress::Thread] {
        let results = each(world(3, progress), |mut communicator| {
            if communicator.rank() != 1 {
                return sum(&mut communicator);
            }
            // The second operation has begun on no other rank; the first may be done.
            let first = communicator.start_all_reduce(vec![1.0f32; 500], ReduceOp::Sum)?;
            let second = communicator.start_all_reduce(vec![1.0f32; 500], ReduceOp::Sum)?;
            drop(communicator);
            drop(first);
            second.wait().map(drop)
        });
        let error = results[1].as_ref().unwrap_err();
        assert!(error.kind().name() == "aborted" && names_rank(error.message(), 1), "{progress:?}: {error}");
    }
}

#[test]
fn the_timeout_of_one_call_goes_before_the_communicators() {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let (sender, receiver) = (std::sync::Mutex::new(Some(sender)), std::sync::Mutex::new(receiver));
    let started = Instant::now();
    let results = each(world(2, Progress::Caller), |mut communicator| {
        if communicator.rank() == 1 {
            // Stays away until rank 0 has ended, which drops the sender.
            let _ = receiver.lock().unwrap().recv_timeout(NO_HANG);
            return communicator.barrier();
        }
        let options = Options { timeout: Some(Duration::from_millis(200)), ..Options::default() };
        let result = communicator.with(options).barrier();
        drop(sender.lock().unwrap().take());
        result
    });
    assert!(started.elapsed() < NO_HANG);
    for error in results.into_iter().map(Result::unwrap_err) {
        assert!(
            error.is_timeout() && names_rank(error.message(), 1) && error.operation() == Some("barrier"),
            "{error}"
        );
    }
}

#[test]
fn after_an_error_every_call_fails_at_once_with_the_same_reason() {
    let results = each(world(2, Progress::Caller), |mut communicator| {
        communicator.abort();
        let first = sum(&mut communicator).unwrap_err();
        let second = communicator.barrier().unwrap_err();
        let third = communicator.send(&[1u8], 1 - communicator.rank()).unwrap_err();
        [first, second, third].map(|error| (error.kind(), error.message().to_owned(), error.communicator_is_usable()))
    });
    for [first, second, third] in results {
        assert!(first == second && second == third && !first.2, "{first:?} {second:?} {third:?}");
    }
}
