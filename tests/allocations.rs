//! Calls that repeat allocate nothing, over any transport.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::process::{Command, Stdio};
use std::time::Duration;
use unisono::{Communicator, ReduceOp, Result};

/// Counts what each thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: all work is the system's allocator's; the counter is a plain number without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const RANKS: usize = 3;
/// Set for the processes that play a rank.
const ROLE: &str = "RANK_OF_ALLOCATIONS_TEST";
const TIMEOUT: Duration = Duration::from_secs(60);

/// Elements of the largest call, by the size of the call: in a cell, in a ring, lent or in many frames.
const COUNTS: [usize; 3] = [2, 5000, 60_000];

struct Buffers {
    input: Vec<f32>,
    output: Vec<f32>,
    /// What handles own meanwhile.
    owned: [Vec<f32>; 2],
}

impl Buffers {
    /// Vectors of these lengths, without allocating. They go back when the operation is over.
    fn lend(&mut self, lengths: [usize; 2]) -> [Vec<f32>; 2] {
        let mut owned = std::mem::take(&mut self.owned);
        owned.iter_mut().zip(lengths).for_each(|(vector, length)| vector.resize(length, 1.0));
        owned
    }
}

type Call = fn(&mut Communicator, &mut Buffers, usize) -> Result<()>;

const CALLS: [(&str, Call); 18] = [
    ("all_reduce", |it, buffers, n| it.all_reduce(&buffers.input[..n], &mut buffers.output[..n], ReduceOp::Sum)),
    ("all_reduce in place", |it, buffers, n| it.all_reduce_in_place(&mut buffers.output[..n], ReduceOp::Avg)),
    ("all_reduce scaled", |it, buffers, n| it.all_reduce_in_place(&mut buffers.output[..n], ReduceOp::PreMulSum(0.5))),
    ("all_gather", |it, buffers, n| it.all_gather(&buffers.input[..n], &mut buffers.output[..RANKS * n])),
    ("reduce_scatter", |it, buffers, n| {
        it.reduce_scatter(&buffers.input[..RANKS * n], &mut buffers.output[..n], ReduceOp::Max)
    }),
    ("broadcast", |it, buffers, n| it.broadcast(&mut buffers.output[..n], 1)),
    ("reduce", |it, buffers, n| it.reduce(&buffers.input[..n], &mut buffers.output[..n], ReduceOp::Sum, 2)),
    ("all_to_all", |it, buffers, n| it.all_to_all(&buffers.input[..RANKS * n], &mut buffers.output[..RANKS * n])),
    ("barrier", |it, _, _| it.barrier()),
    ("all_gather_v", |it, buffers, n| {
        let counts = [1, n as u64, 0];
        let own = counts[it.rank()] as usize;
        it.all_gather_v(&buffers.input[..own], &mut buffers.output[..n + 1], &counts)
    }),
    ("all_to_all_v", |it, buffers, n| {
        let counts = [n as u64; RANKS];
        it.all_to_all_v(&buffers.input[..RANKS * n], &counts, &mut buffers.output[..RANKS * n], &counts)
    }),
    ("send and recv", |it, buffers, n| match it.rank() {
        0 => it.send(&buffers.input[..n], 2),
        2 => it.recv(&mut buffers.output[..n], 0),
        _ => Ok(()),
    }),
    ("group", |it, buffers, n| {
        let (rank, size) = (it.rank(), it.size());
        let (own, next) = buffers.output.split_at_mut(n);
        let (more, to_self) = next.split_at_mut(n);
        it.group(|group| {
            // Of one way there are two, of different lengths.
            group.send(&buffers.input[..n], (rank + 1) % size);
            group.recv(own, (rank + size - 1) % size);
            group.send(&buffers.input[..1], (rank + 1) % size);
            group.recv(&mut more[..1], (rank + size - 1) % size);
            group.send(&buffers.input[..n], rank);
            group.recv(&mut to_self[..n], rank);
        })
    }),
    ("all_reduce started", |it, buffers, n| {
        let [first, second] = buffers.lend([n, 1]);
        let first = it.start_all_reduce(first, ReduceOp::Sum)?;
        let second = it.start_all_reduce(second, ReduceOp::Sum)?;
        buffers.owned = [first.wait()?, second.wait()?];
        Ok(())
    }),
    ("barrier started", |it, _, _| it.start_barrier()?.wait()),
    ("all_to_all_v started", |it, buffers, n| {
        let [input, output] = buffers.lend([RANKS * n; 2]);
        let counts = [n as u64; RANKS];
        let (input, output) = it.start_all_to_all_v(input, &counts, output, &counts)?.wait()?;
        buffers.owned = [input, output];
        Ok(())
    }),
    ("send and recv started", |it, buffers, n| {
        let (rank, size) = (it.rank(), it.size());
        let [out, back] = buffers.lend([n; 2]);
        let sent = it.start_send(out, (rank + 1) % size)?;
        let received = it.start_recv(back, (rank + size - 1) % size)?;
        buffers.owned = [sent.wait()?, received.wait()?];
        Ok(())
    }),
    ("all_reduce in a scope", |it, buffers, n| {
        let output = &mut buffers.output[..n];
        it.scope(|scope| scope.start_all_reduce(output, ReduceOp::Sum)?.wait())
    }),
];

/// Calls in a row of which none may allocate, and how often that is tried: where a call had to wait for long it looked around,
/// which allocates.
const ROW: usize = 20;
const TRIES: usize = 30;

fn play_a_rank(communicator: &mut Communicator) {
    let length = RANKS * COUNTS[COUNTS.len() - 1];
    let owned = [vec![1.0; length], vec![1.0; length]];
    let mut buffers = Buffers { input: vec![1.0; length], output: vec![0.0; length], owned };
    for (name, call) in CALLS {
        for count in COUNTS {
            // The same again and again, and two in turn, so that neither is the last one.
            for counts in [[count; 2], [count, count - 1]] {
                let allocations = in_a_row(communicator, |communicator, number| {
                    call(communicator, &mut buffers, counts[number % 2]).unwrap();
                });
                assert!(
                    allocations.contains(&0),
                    "rank {}, {name} of {counts:?} elements: {allocations:?} allocations in {ROW} calls",
                    communicator.rank()
                );
            }
        }
    }
}

/// Allocations of each row of calls, until every rank has had a row without any.
fn in_a_row(communicator: &mut Communicator, mut call: impl FnMut(&mut Communicator, usize)) -> Vec<u64> {
    // These prepare.
    (0..ROW).for_each(|number| call(communicator, number));
    let mut counted = Vec::with_capacity(TRIES);
    let mut all_without = false;
    while !all_without && counted.len() < TRIES {
        let before = ALLOCATIONS.get();
        (0..ROW).for_each(|number| call(communicator, number));
        counted.push(ALLOCATIONS.get() - before);
        let mut without = [u8::from(counted.contains(&0))];
        communicator.all_reduce_in_place(&mut without, ReduceOp::Min).unwrap();
        all_without = without == [1];
    }
    counted
}

#[test]
fn threads() {
    let world = Communicator::builder().timeout(TIMEOUT).local(RANKS).unwrap();
    std::thread::scope(|threads| {
        let ranks: Vec<_> =
            world.into_iter().map(|mut communicator| threads.spawn(move || play_a_rank(&mut communicator))).collect();
        ranks.into_iter().for_each(|rank| rank.join().unwrap());
    });
}

/// Does nothing in an ordinary run of the tests.
#[test]
fn a_process_that_plays_a_rank() {
    if std::env::var_os(ROLE).is_some() {
        play_a_rank(&mut Communicator::builder().timeout(TIMEOUT).from_env().unwrap());
    }
}

fn processes(transport: &str) {
    let rank = |rank: usize| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "a_process_that_plays_a_rank", "-q"])
            .env(ROLE, "1")
            .env("RANK", rank.to_string())
            .env("WORLD_SIZE", RANKS.to_string())
            .env("UNISONO_JOB_ID", format!("allocations-{}-{transport}", std::process::id()))
            .env("UNISONO_TRANSPORT", transport)
            .stdin(Stdio::null());
        command.spawn().unwrap()
    };
    let ranks: Vec<_> = (0..RANKS).map(rank).collect();
    for mut rank in ranks {
        assert!(rank.wait().unwrap().success(), "{transport}");
    }
}

#[test]
fn processes_over_shm() {
    processes("shm");
}

#[test]
fn processes_over_tcp() {
    processes("tcp");
}
