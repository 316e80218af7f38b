//! Worlds of threads that run proved plans over real links, flat out; no lock or channel is between them, so that
//! ThreadSanitizer understands all that orders them.

use super::links::{self, Hope, Links, Path};
use super::run::{Memory, Runner};
use super::stream;
use crate::plan::Problem;
use crate::plan::check::tests::samples;
use crate::plan::check::{Checked, check};
use crate::plan::chunk::Counts;
use crate::plan::lower::lower;
use crate::reduce::Kernel;
use crate::select::Selector;
use crate::transport::arena::Arena;
use crate::transport::memory::Mapping;
use crate::types::{Collective, DType, Rank, ReduceOp};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const RANKS: usize = 4;
const ROUNDS: u32 = 200;
/// A few, of which programs are brief; many; and many that are copied past the caches.
const ELEMENTS: [(usize, bool); 3] = [(3, false), (5003, false), (5003, true)];
const LIMIT: Duration = Duration::from_secs(120);

fn run_rank(rank: Rank, arena: &Arc<Arena>, checked: &Checked, elements: usize, streams: bool) {
    let start = Instant::now();
    let path = |peer: Rank| (peer != rank).then(|| Path::Arena { arena: arena.clone(), own: rank, peer });
    let mut links = Links::new(rank, (0..RANKS).map(path).collect(), links::never());
    let lowered = lower(checked, rank, &Counts::Even(elements as u64), 4, false);
    let hope = Hope { deadline: start + LIMIT, hopeless: &|_| None };
    let inboxes = lowered.inboxes.iter().map(|name| links.open_inbox(*name, &hope).unwrap()).collect();
    let outboxes = lowered.outboxes.iter().map(|(name, _)| links.open_outbox(*name, &hope).unwrap()).collect();
    let kernel = Kernel::new(DType::U32, ReduceOp::Sum, RANKS);
    let mut runner = Runner::new(lowered, Some(kernel), 4, inboxes, outboxes);
    if streams {
        runner.stream_always();
    }
    let mut input = vec![0u32; elements];
    let mut output = vec![0u32; elements];
    let mut scratch = vec![0u8; runner.scratch_bytes()];
    for round in 0..ROUNDS {
        let value = |rank: usize, index: usize| (rank as u32 + 1) * (round + index as u32);
        input.iter_mut().enumerate().for_each(|(index, element)| *element = value(rank, index));
        let scratch = scratch.as_mut_ptr();
        let memory = Memory { scratch, ..Memory::new(input.as_ptr().cast(), output.as_mut_ptr().cast()) };
        // SAFETY: the buffers are of the lowered size, and left alone until the run is done.
        unsafe { runner.begin(memory, round) };
        while !runner.poll(&mut links).unwrap() {
            assert!(start.elapsed() < LIMIT, "rank {rank} waits in round {round}");
            std::thread::yield_now();
        }
        let right = |(index, came): (usize, &u32)| *came == (0..RANKS).map(|rank| value(rank, index)).sum::<u32>();
        assert!(output.iter().enumerate().all(right), "rank {rank}, round {round}");
    }
}

/// An arena per algorithm: new links on used rings would count from the beginning.
fn run_worlds(new_arena: impl Fn() -> Arc<Arena>) {
    let problem = Problem::new(Collective::AllReduce, RANKS);
    let registered = ["one_shot", "two_shot", "ring", "recursive_doubling", "double_tree"];
    let registered = registered.map(|algorithm| Selector::prove(algorithm, problem).unwrap());
    // Its lanes wait for each other, as no registered plan's do.
    for checked in registered.into_iter().chain([check(&samples::pairs_all_reduce(RANKS)).unwrap()]) {
        for (elements, streams) in ELEMENTS {
            let arena = &new_arena();
            std::thread::scope(|scope| {
                for rank in 0..RANKS {
                    let checked = &checked;
                    scope.spawn(move || run_rank(rank, arena, checked, elements, streams));
                }
            });
        }
    }
}

/// One thread copies past the caches and hands over, another reads: as a peer reads a window after a barrier.
#[test]
fn what_is_copied_past_the_caches_is_there_when_it_is_handed_over() {
    const BYTES: usize = 16 << 10;
    let (memory, round) = (Mapping::anonymous(BYTES).unwrap(), AtomicU64::new(0));
    // Odd rounds are the writer's, even ones the reader's.
    let wait_for = |own: u64| {
        let start = Instant::now();
        while round.load(Ordering::Acquire) != own {
            assert!(start.elapsed() < LIMIT, "nobody hands over round {own}");
            std::hint::spin_loop();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for own in 0..u64::from(10 * ROUNDS) {
                wait_for(2 * own);
                let values = vec![own as u8 | 1; BYTES];
                // SAFETY: the mapping has as many bytes, and is the writer's until the next store.
                unsafe { stream::copy(values.as_ptr(), memory.address(), BYTES) };
                round.store(2 * own + 1, Ordering::Release);
            }
        });
        for own in 0..u64::from(10 * ROUNDS) {
            wait_for(2 * own + 1);
            // SAFETY: the mapping is the reader's until the next store. From the end, which was written last.
            let seen = unsafe { std::slice::from_raw_parts(memory.address(), BYTES) };
            assert!(seen.iter().rev().all(|byte| *byte == own as u8 | 1), "round {own}");
            round.store(2 * own + 2, Ordering::Release);
        }
    });
}

#[test]
fn threads_read_what_is_lent_to_them() {
    run_worlds(|| Arena::for_threads(RANKS).unwrap());
}

#[test]
fn ranks_that_only_share_a_mapping_pass_everything_through_it() {
    let mapping = || Mapping::anonymous(1 << 20).unwrap();
    run_worlds(|| Arena::for_processes(mapping(), RANKS).unwrap());
}
