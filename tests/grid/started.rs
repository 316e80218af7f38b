//! Operations that are started and waited for later, on one rank of a world of any transport.

use std::time::Duration;
use unisono::{Communicator, ErrorKind, Options, ReduceOp};

pub fn run(communicator: &mut Communicator) {
    of_one_root(communicator);
    of_uneven_blocks(communicator);
    in_a_scope(communicator);
    even_blocks_in_a_scope(communicator);
    under_options(communicator);
    messages_to_both_sides(communicator);
    messages_that_others_need_before_they_come(communicator);
    messages_in_a_scope(communicator);
}

/// Different lengths on different ranks, one of them 0.
fn counts(size: usize) -> Vec<u64> {
    (0..size as u64).map(|rank| 700 * rank).collect()
}

/// As many elements as each rank's count, all equal to its number.
fn blocks(counts: &[u64]) -> Vec<i32> {
    counts.iter().enumerate().flat_map(|(rank, count)| vec![rank as i32; *count as usize]).collect()
}

fn sum_of_ranks(size: usize) -> i32 {
    (size * (size - 1) / 2) as i32
}

fn of_one_root(communicator: &mut Communicator) {
    let (rank, size, root) = (communicator.rank(), communicator.size(), communicator.size() - 1);
    let at_root = |len: usize| vec![0i32; if rank == root { len } else { 0 }];
    let even = vec![3; size];
    let own = vec![rank as i32; 3];
    let reduce = communicator.start_reduce(own.clone(), at_root(3), ReduceOp::Sum, root).unwrap();
    let gather = communicator.start_gather(own.clone(), at_root(3 * size), root).unwrap();
    let all = if rank == root { blocks(&even) } else { Vec::new() };
    let scatter = communicator.start_scatter(all, vec![-1; 3].into_boxed_slice(), root).unwrap();
    let broadcast = communicator.start_broadcast(own.clone(), root).unwrap();
    assert_eq!(*scatter.wait().unwrap().1, own);
    assert_eq!(broadcast.wait().unwrap(), [root as i32; 3]);
    let (gathered, reduced) = (gather.wait().unwrap().1, reduce.wait().unwrap().1);
    if rank == root {
        assert_eq!((gathered, reduced), (blocks(&even), vec![sum_of_ranks(size); 3]));
    }
}

fn of_uneven_blocks(communicator: &mut Communicator) {
    let (rank, size) = (communicator.rank(), communicator.size());
    let counts = counts(size);
    let (own, all) = (counts[rank] as usize, blocks(&counts));
    let gather = communicator.start_all_gather_v(vec![rank as i32; own], vec![-1; all.len()], &counts).unwrap();
    let scatter = communicator.start_reduce_scatter_v(all.clone(), vec![-1; own], &counts, ReduceOp::Sum).unwrap();
    // Everybody sends rank r as much as r's count says.
    let (to, from) = (counts.clone(), vec![counts[rank]; size]);
    let exchange =
        communicator.start_all_to_all_v(vec![rank as i32; all.len()], &to, vec![-1; own * size], &from).unwrap();
    assert_eq!(exchange.wait().unwrap().1, blocks(&from));
    assert_eq!(gather.wait().unwrap().1, all);
    assert_eq!(scatter.wait().unwrap().1, vec![(rank * size) as i32; own]);
}

fn in_a_scope(communicator: &mut Communicator) {
    let (rank, size) = (communicator.rank(), communicator.size());
    let counts = counts(size);
    let (own, all) = (vec![rank as i32; counts[rank] as usize], blocks(&counts));
    let (mut gathered, mut scattered, mut reduced) = (vec![-1; all.len()], vec![-1; own.len()], [-1]);
    let mut exchanged = vec![-1; own.len() * size];
    let (mut to_root, mut from_root) = (vec![-1; size], [-1]);
    let ranks: Vec<i32> = (0..size as i32).collect();
    communicator
        .scope(|scope| {
            scope.start_all_gather_v(&own, &mut gathered, &counts)?;
            scope.start_reduce_scatter_v(&all, &mut scattered, &counts, ReduceOp::Max)?;
            scope.start_reduce(&ranks[rank..=rank], &mut reduced, ReduceOp::Sum, 0)?;
            scope.start_gather(&ranks[rank..=rank], &mut to_root, 0)?;
            scope.start_scatter(&ranks, &mut from_root, 0)?;
            let to_itself: Vec<u64> = vec![counts[rank]; size];
            scope.start_all_to_all_v(&all, &counts, &mut exchanged, &to_itself)?;
            scope.start_barrier()?.wait()
        })
        .unwrap();
    assert_eq!((gathered, &scattered, from_root), (all, &own, [rank as i32]));
    assert_eq!(exchanged, vec![rank as i32; own.len() * size]);
    if rank == 0 {
        assert_eq!((to_root, reduced), (ranks, [sum_of_ranks(size)]));
    }
}

/// Every block has a value of its own, by who sends it and where it stands.
fn even_blocks_in_a_scope(communicator: &mut Communicator) {
    const LEN: usize = 3;
    let (rank, size) = (communicator.rank(), communicator.size());
    let block = |from: usize, place: usize| [(100 * from + place) as i32; LEN];
    let all: Vec<i32> = (0..size).flat_map(|place| block(rank, place)).collect();
    let (mut scattered, mut gathered) = ([-1; LEN], vec![-1; LEN * size]);
    let (mut exchanged, mut told, mut summed) = (vec![-1; LEN * size], block(rank, rank), block(rank, 1));
    let own = block(rank, 7);
    communicator
        .scope(|scope| {
            let exchange = scope.start_all_to_all(&all, &mut exchanged)?;
            scope.start_reduce_scatter(&all, &mut scattered, ReduceOp::Sum)?;
            scope.start_broadcast(&mut told, size - 1)?;
            scope.start_all_gather(&own, &mut gathered)?;
            scope.start_all_reduce(&mut summed, ReduceOp::Sum)?;
            exchange.wait()
        })
        .unwrap();
    let from_each = |place: usize| (0..size).flat_map(|from| block(from, place)).collect::<Vec<i32>>();
    assert_eq!((exchanged, gathered), (from_each(rank), from_each(7)));
    let sum_at = |place: usize| [100 * sum_of_ranks(size) + (place * size) as i32; LEN];
    assert_eq!((scattered, summed), (sum_at(rank), sum_at(1)));
    assert_eq!(told, block(size - 1, size - 1));
}

/// What options say holds for what is started under them, and a wrong name is refused before anything is sent.
fn under_options(communicator: &mut Communicator) {
    let triangle = sum_of_ranks(communicator.size()) + communicator.size() as i32;
    let own = communicator.rank() as i32 + 1;
    for name in ["ring", "recursive_doubling"] {
        let options = Options::default().algorithm(name.to_owned()).timeout(Duration::from_secs(50));
        let handle = communicator.with(options.clone()).start_all_reduce(vec![own; 5], ReduceOp::Sum).unwrap();
        assert_eq!(handle.wait().unwrap(), [triangle; 5]);
        let mut lent = [own; 5];
        communicator.with(options).scope(|scope| scope.start_all_reduce(&mut lent, ReduceOp::Sum).map(drop)).unwrap();
        assert_eq!(lent, [triangle; 5]);
        let done = communicator.recent_operations();
        assert!(done.iter().rev().take(2).all(|one| one.call.ends_with(&format!("by {name}"))), "{done:?}");
    }
    let misspelt = Options::default().algorithm("rign");
    let refused = communicator.with(misspelt).start_all_reduce(vec![1], ReduceOp::Sum).map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    assert!(refused.to_string().contains("did you mean `ring`?"), "{refused}");
}

/// Elements of a message: none, few, and more than any buffer of a transport holds.
const LENGTHS: [usize; 4] = [0, 3, 5000, 1_500_000];

/// Everybody sends to the next rank and to the one before, all at once; with other messages and collectives between.
fn messages_to_both_sides(communicator: &mut Communicator) {
    let (rank, size) = (communicator.rank(), communicator.size());
    let (next, before) = ((rank + 1) % size, (rank + size - 1) % size);
    let mut sends = Vec::new();
    let mut receives = Vec::new();
    for (number, len) in LENGTHS.into_iter().enumerate() {
        let value = |from: usize| (10 * from + number) as i32;
        sends.push(communicator.start_send(vec![value(rank); len], next).unwrap());
        receives.push((communicator.start_recv(vec![-1; len], before).unwrap(), value(before)));
        receives.push((communicator.start_recv(vec![-1; len], next).unwrap(), value(next)));
        sends.push(communicator.start_send(vec![value(rank); len], before).unwrap());
    }
    let barrier = communicator.start_barrier().unwrap();
    // A blocking message of the same way comes behind those that were started.
    let mut last = [0u8];
    communicator
        .group(|group| {
            group.send(&[7u8], next);
            group.recv(&mut last, before);
        })
        .unwrap();
    assert_eq!(last, [7]);
    for (receive, value) in receives.into_iter().rev() {
        assert!(receive.wait().unwrap().iter().all(|element| *element == value));
    }
    sends.into_iter().for_each(|send| drop(send.wait().unwrap()));
    barrier.wait().unwrap();
}

/// A rank that has started to send goes into a collective, to which its peer comes only with the message.
fn messages_that_others_need_before_they_come(communicator: &mut Communicator) {
    let (rank, size) = (communicator.rank(), communicator.size());
    for len in LENGTHS {
        // On a communicator of its own, whose connections are yet to be made.
        let mut fresh = communicator.duplicate().unwrap();
        let sent = (rank == 0).then(|| fresh.start_send(vec![len as i64; len], size - 1).unwrap());
        if rank == size - 1 {
            let mut received = vec![-1i64; len];
            fresh.recv(&mut received, 0).unwrap();
            assert!(received.iter().all(|element| *element == len as i64));
        }
        let mut ranks = [1i32];
        fresh.all_reduce_in_place(&mut ranks, ReduceOp::Sum).unwrap();
        assert_eq!(ranks, [size as i32]);
        if let Some(sent) = sent {
            sent.wait().unwrap();
        }
    }
}

fn messages_in_a_scope(communicator: &mut Communicator) {
    let (rank, size) = (communicator.rank(), communicator.size());
    let (next, before) = ((rank + 1) % size, (rank + size - 1) % size);
    let (own, mut received, mut to_itself) = ([rank as u64; 9], [u64::MAX; 9], [u64::MAX; 9]);
    communicator
        .scope(|scope| {
            scope.start_group(|group| group.send(&own, next))?;
            scope.start_group(|group| {
                group.recv(&mut received, before);
                group.send(&own, rank);
                group.recv(&mut to_itself, rank);
            })?;
            scope.start_barrier().map(drop)
        })
        .unwrap();
    assert_eq!((received, to_itself), ([before as u64; 9], own));
}
