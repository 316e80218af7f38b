//! The rest of the interface, on one rank of a world of any transport: all ranks run the same functions in the same order.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use unisono::{Collective, Communicator, ErrorKind, Options, ReduceOp};

pub fn run(communicator: &mut Communicator) {
    split_by_parity_and_reversed(communicator);
    split_without_one(communicator);
    duplicate_from_two_threads(communicator);
    windows(communicator);
    a_window_on_some_ranks(communicator);
    crate::started::run(communicator);
    handles(communicator);
    futures(communicator);
    a_handle_dropped_in_flight(communicator);
    scope(communicator);
    algorithms_by_name(communicator);
    empty_calls(communicator);
}

/// Sums 1 + 2 + ... over the ranks and checks it: the communicator works.
fn check_sum(communicator: &mut Communicator, len: usize) {
    let mut data = vec![communicator.rank() as i64 + 1; len];
    communicator.all_reduce_in_place(&mut data, ReduceOp::Sum).unwrap();
    assert_eq!(data, vec![triangle(communicator); len], "{}", communicator.describe());
}

fn triangle(communicator: &Communicator) -> i64 {
    let size = communicator.size() as i64;
    size * (size + 1) / 2
}

/// The parent's ranks in the order of the child's.
fn members(child: &mut Communicator, parent_rank: usize) -> Vec<u64> {
    let mut members = vec![0; child.size()];
    child.all_gather(&[parent_rank as u64], &mut members).unwrap();
    members
}

fn split_by_parity_and_reversed(communicator: &mut Communicator) {
    let (rank, size) = (communicator.rank(), communicator.size());
    let mut half = communicator.split(Some(rank as u32 % 2), -(rank as i64)).unwrap().unwrap();
    let of_parity: Vec<u64> = (0..size).rev().filter(|other| other % 2 == rank % 2).map(|other| other as u64).collect();
    assert_eq!(members(&mut half, rank), of_parity);
    // Parent and child take turns, in different orders on different ranks' halves.
    for len in [1, 100, 10_000] {
        check_sum(&mut half, len);
        check_sum(communicator, len);
    }
    let mut quarter = half.split(Some(0), 0).unwrap().unwrap();
    drop(half);
    check_sum(&mut quarter, 10);
}

fn split_without_one(communicator: &mut Communicator) {
    let (rank, last) = (communicator.rank(), communicator.size() - 1);
    let rest = communicator.split((rank != last).then_some(7), 0).unwrap();
    assert_eq!(rest.is_none(), rank == last);
    if let Some(mut rest) = rest {
        assert_eq!(members(&mut rest, rank), (0..last as u64).collect::<Vec<_>>());
    }
    check_sum(communicator, 3);
}

fn duplicate_from_two_threads(communicator: &mut Communicator) {
    let mut copy = communicator.duplicate().unwrap();
    assert_eq!((copy.rank(), copy.size()), (communicator.rank(), communicator.size()));
    std::thread::scope(|threads| {
        threads.spawn(|| (0..100).for_each(|round| check_sum(&mut copy, 1 + 37 * round)));
        (0..100).for_each(|round| check_sum(communicator, 4000 - 37 * round));
    });
}

fn windows(communicator: &mut Communicator) {
    let rank = communicator.rank();
    for len in [1usize, 1000, 300_007] {
        let mut window = communicator.alloc::<i64>(len).unwrap();
        assert!(window.iter().all(|element| *element == 0));
        for algorithm in ["ring", "two_shot", "one_shot", "recursive_doubling", "halving_doubling", "double_tree"] {
            window.fill(rank as i64 + 1);
            let options = Options::default().algorithm(algorithm);
            communicator.with(options).all_reduce_in_place(&mut window, ReduceOp::Sum).unwrap();
            assert!(window.iter().all(|sum| *sum == triangle(communicator)), "{algorithm}, {len} elements");
        }
        let mut all = communicator.alloc::<i64>(len * communicator.size()).unwrap();
        window.fill(rank as i64);
        communicator.all_gather(&window, &mut all).unwrap();
        assert!(all.chunks_exact(len).enumerate().all(|(rank, block)| block.iter().all(|x| *x == rank as i64)));
        assert!(window.iter().all(|element| *element == rank as i64));
        let part = &mut all[len / 2..][..len / 3];
        part.fill(1);
        communicator.all_reduce_in_place(part, ReduceOp::Sum).unwrap();
        assert!(part.iter().all(|sum| *sum == communicator.size() as i64));
        communicator.free(all).unwrap();
        communicator.free(window).unwrap();
    }
    let lost = communicator.alloc::<u8>(5000).unwrap();
    drop(lost);
    let error = communicator.alloc::<u8>(100 + rank).err();
    assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::InvalidArgument));
    check_sum(communicator, 64);
}

/// Whether a buffer lies in a window is each rank's own affair.
fn a_window_on_some_ranks(communicator: &mut Communicator) {
    let len = 200_003;
    let mut window = communicator.alloc::<i64>(len).unwrap();
    let mut vector = vec![0; len];
    for parity in [0, 1] {
        let rank = communicator.rank();
        let data: &mut [i64] = if rank % 2 == parity { &mut window } else { &mut vector };
        data.fill(rank as i64 + 1);
        communicator.all_reduce_in_place(data, ReduceOp::Sum).unwrap();
        assert!(data.iter().all(|sum| *sum == triangle(communicator)));
    }
    communicator.free(window).unwrap();
}

fn handles(communicator: &mut Communicator) {
    let (rank, size) = (communicator.rank(), communicator.size());
    let first = communicator.start_all_reduce(vec![rank as i64 + 1; 5000], ReduceOp::Sum).unwrap();
    let second = communicator.start_broadcast(vec![rank as u8; 70_000].into_boxed_slice(), size - 1).unwrap();
    let mut third = communicator.start_barrier().unwrap();
    let gather = communicator.start_all_gather(vec![rank as u32; 9], vec![0u32; 9 * size]).unwrap();
    let input: Vec<f64> = (0..4 * size).map(|index| (index / 4) as f64).collect();
    let scatter = communicator.start_reduce_scatter(input, vec![0.0f64; 4], ReduceOp::Max).unwrap();
    let to_all = communicator.start_all_to_all(vec![rank as i32; size], vec![0i32; size]).unwrap();
    // An operation ends by its own timeout at the latest, so this loop does.
    while !third.poll_once() {
        std::thread::yield_now();
    }
    // Results may be fetched in any order.
    assert_eq!(to_all.wait().unwrap().1, (0..size as i32).collect::<Vec<_>>());
    assert_eq!(first.wait().unwrap(), vec![triangle(communicator); 5000]);
    assert!(second.wait().unwrap().iter().all(|byte| usize::from(*byte) == size - 1));
    third.wait().unwrap();
    let (input, output) = gather.wait().unwrap();
    assert_eq!(input, [rank as u32; 9]);
    assert!(output.chunks(9).enumerate().all(|(rank, block)| block == [rank as u32; 9]));
    assert_eq!(scatter.wait().unwrap().1, [rank as f64; 4]);
}

/// The smallest runtime: sleeps until woken, and wakes by itself never.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn futures(communicator: &mut Communicator) {
    let expected = triangle(communicator);
    for len in [0, 1, 1000, 100_000] {
        let one = communicator.start_all_reduce(vec![communicator.rank() as i64 + 1; len], ReduceOp::Sum).unwrap();
        let two = communicator.start_barrier().unwrap();
        let sums = block_on(async {
            two.await?;
            one.await
        });
        assert_eq!(sums.unwrap(), vec![expected; len]);
    }
}

fn a_handle_dropped_in_flight(communicator: &mut Communicator) {
    for len in [1, 100_000] {
        drop(communicator.start_all_reduce(vec![1.0f32; len], ReduceOp::Sum).unwrap());
        let mut polled = communicator.start_all_reduce(vec![1.0f32; len], ReduceOp::Sum).unwrap();
        polled.poll_once();
        drop(polled);
        check_sum(communicator, 100);
    }
}

fn scope(communicator: &mut Communicator) {
    let (rank, size, sum) = (communicator.rank(), communicator.size(), triangle(communicator));
    let mut forgotten = vec![rank as i64 + 1; 60_000];
    let mut waited = vec![rank as i64 + 1; 3];
    let (input, mut all) = (vec![rank as u16 as i32; 5], vec![0; 5 * size]);
    let answer = communicator.scope(|scope| {
        scope.start_all_reduce(&mut forgotten, ReduceOp::Sum)?;
        let handle = scope.start_all_reduce(&mut waited, ReduceOp::Sum)?;
        scope.start_all_gather(&input, &mut all)?;
        handle.wait()?;
        Ok(42)
    });
    assert_eq!(answer.unwrap(), 42);
    assert_eq!((forgotten, waited), (vec![sum; 60_000], vec![sum; 3]));
    assert!(all.chunks(5).enumerate().all(|(rank, block)| block == [rank as i32; 5]));
}

/// A wrong name, or an algorithm that does not fit, is refused before anything is sent; the communicator lives on.
fn algorithms_by_name(communicator: &mut Communicator) {
    for (name, part) in [("rign", "did you mean `ring`?"), ("dissemination", "does not fit")] {
        let options = Options::default().algorithm(name);
        let error = communicator.with(options).all_reduce_in_place(&mut [1.0f32; 4], ReduceOp::Sum).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains(part), "{error}");
        check_sum(communicator, 2);
    }
    for name in ["ring", "recursive_doubling"] {
        let options = Options::default().algorithm(name);
        communicator.with(options).all_reduce_in_place(&mut [1.0f32; 4], ReduceOp::Sum).unwrap();
        let last = communicator.recent_operations().pop().expect("there was one");
        assert!(format!("{last:?}").contains(name), "{last:?}");
    }
    let explanation = communicator.explain(Collective::AllReduce, 1 << 20).unwrap();
    assert!(explanation.candidates.iter().any(|one| one.name == explanation.chosen));
}

fn empty_calls(communicator: &mut Communicator) {
    communicator.all_reduce_in_place::<f32>(&mut [], ReduceOp::Avg).unwrap();
    communicator.broadcast::<u8>(&mut [], 0).unwrap();
    communicator.group(|_| {}).unwrap();
    communicator.barrier().unwrap();
}
