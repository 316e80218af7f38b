//! A forked child must leave its parent's communicator alone.

use super::process::{expect_all, start, tell_all};
use std::time::Duration;
use unisono::{Communicator, ErrorKind, ReduceOp, Result};

/// What a child reports that panicked.
const PANICKED: i32 = 99;

/// Forks, tries everything in the child, drops the communicator there, and tells what the child found. Called by a rank.
pub fn use_in_a_child(communicator: &mut Communicator) -> String {
    // Its progress in the child is refused as well; dropped there, it must not disturb the operation here.
    let started = communicator.start_all_reduce(vec![1.0f32; 100], ReduceOp::Sum).expect("the job stands");
    // SAFETY: the child runs our own code only, which takes no lock of the parent: that is what is tested; it leaves by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let run = std::panic::AssertUnwindSafe(|| in_child(communicator, started));
        let wrong = std::panic::catch_unwind(run).unwrap_or(PANICKED);
        // SAFETY: ends the child without running what the parent has registered.
        unsafe { libc::_exit(wrong) }
    }
    let mut status = 0;
    // SAFETY: waits for our own child; `status` is ours.
    unsafe { libc::waitpid(child, &mut status, 0) };
    let in_parent = started.wait().map(|sum| sum[0] == communicator.size() as f32);
    format!("child {} parent {in_parent:?}", libc::WEXITSTATUS(status))
}

/// The number of the first thing that was not refused as it should; 0 if all were.
fn in_child(communicator: &mut Communicator, started: unisono::Handle<Vec<f32>>) -> i32 {
    // SAFETY: a child that hangs is a failure that the parent sees as a signal.
    unsafe { libc::alarm(30) };
    let (mut one, mut many) = ([1i32], vec![0i32; communicator.size()]);
    let counts = vec![1u64; communicator.size()];
    let mut results: Vec<Result<()>> = vec![
        communicator.barrier(),
        communicator.all_reduce_in_place(&mut one, ReduceOp::Sum),
        communicator.all_gather(&one, &mut many),
        communicator.all_gather_v(&one, &mut many, &counts),
        communicator.reduce_scatter(&many, &mut one, ReduceOp::Sum),
        communicator.broadcast(&mut one, 0),
        communicator.reduce_in_place(&mut one, ReduceOp::Sum, 0),
        communicator.gather_in_place(&mut many, 0),
        communicator.scatter_in_place(&mut many, 0),
        communicator.send(&one, 0),
        communicator.recv(&mut one, 0),
        communicator.group(|_| {}),
        communicator.split(Some(0), 0).map(|_| ()),
        communicator.duplicate().map(|_| ()),
        communicator.alloc::<f32>(8).map(|_| ()),
        communicator.start_barrier().map(|_| ()),
        communicator.scope(|scope| scope.start_all_reduce(&mut one, ReduceOp::Sum).map(|_| ())),
    ];
    communicator.abort();
    communicator.abort_handle().abort();
    results.push(started.wait().map(|_| ()));
    let refused = |result: &Result<()>| matches!(result, Err(error) if error.kind() == ErrorKind::Forked);
    let wrong = results.iter().position(|result| !refused(result)).map_or(0, |index| index as i32 + 1);
    // The parent's copy lives on; this one is dropped as by a child that ends in good order.
    // SAFETY: the child ends now without looking at it again.
    unsafe { std::ptr::drop_in_place(communicator) };
    wrong
}

#[test]
fn a_forked_child_is_refused_and_does_not_disturb_its_parent() {
    for transport in ["shm", "tcp"] {
        let mut processes = start(3, &[("UNISONO_TRANSPORT", transport)]);
        tell_all(&mut processes, "repeat 3 all_reduce f32 sum 10 0");
        expect_all(&processes, "ok");
        tell_all(&mut processes, "fork");
        expect_all(&processes, "child 0 parent Ok(true)");
        tell_all(&mut processes, "repeat 3 all_reduce f32 sum 10 0");
        expect_all(&processes, "ok");
        processes.into_iter().for_each(|process| process.end());
    }
}

#[test]
fn a_forked_child_of_a_process_with_ranks_as_threads_is_refused() {
    let mut alone = Communicator::builder().timeout(Duration::from_secs(50)).local(1).unwrap().pop().unwrap();
    assert_eq!(use_in_a_child(&mut alone), "child 0 parent Ok(true)");
    alone.barrier().unwrap();
}
