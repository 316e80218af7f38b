//! The executor against the same all-reduce written by hand: what it costs that plans are data.
//!
//! f32, sum, ranks are threads. By hand: at 8 bytes every rank stores its elements beside a stamp and folds all ranks' in order;
//! above, a two-shot, each rank folding its block out of the peers' inputs where they lie and copying the other blocks. Both
//! use the library's kernels, so that the difference is the interpreter, its control plane and its transport.

use criterion::{BenchmarkId, Criterion, Throughput};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};
use unisono::plan::chunk::split;
use unisono::reduce::{Kernel, Source};
use unisono::{Communicator, DType, Options, ReduceOp};

const SIZES: [(usize, &str, &str); 3] =
    [(8, "8 B", "one_shot"), (32 << 10, "32 KiB", "two_shot"), (2 << 20, "2 MiB", "two_shot")];

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(1000))
        .configure_from_args();
    for ranks in [2, 4] {
        for (bytes, name, algorithm) in SIZES {
            let mut group = criterion.benchmark_group(format!("all_reduce by {ranks} threads, {name}"));
            group.throughput(Throughput::Bytes(bytes as u64));
            let team = Team::by_hand(ranks, bytes);
            group.bench_function(BenchmarkId::from_parameter("by hand"), |bencher| {
                bencher.iter_custom(|calls| team.time(calls));
            });
            drop(team);
            for algorithm in [Some(algorithm), None] {
                let team = Team::by_executor(ranks, bytes, algorithm);
                let label = format!("executor, {}", algorithm.unwrap_or("its own choice"));
                group.bench_function(BenchmarkId::from_parameter(label), |bencher| {
                    bencher.iter_custom(|calls| team.time(calls));
                });
            }
            group.finish();
        }
    }
    criterion.final_summary();
}

/// Threads that run the same number of calls in lockstep; the first reports its time.
struct Team {
    jobs: Vec<Sender<(u64, Sender<Duration>)>>,
}

impl Team {
    /// One thread per rank; `calls` runs a number of calls and returns the time from their common start.
    fn of(ranks: Vec<impl FnMut(u64) -> Duration + Send + 'static>) -> Team {
        let start = |mut calls: Box<dyn FnMut(u64) -> Duration + Send>| {
            let (sender, receiver) = channel::<(u64, Sender<Duration>)>();
            std::thread::spawn(move || {
                for (count, answer) in receiver {
                    answer.send(calls(count)).expect("the benchmark waits for every rank");
                }
            });
            sender
        };
        Team { jobs: ranks.into_iter().map(|calls| start(Box::new(calls))).collect() }
    }

    /// The time of the slowest rank.
    fn time(&self, calls: u64) -> Duration {
        let (sender, answers) = channel();
        for job in &self.jobs {
            job.send((calls, sender.clone())).expect("a rank does not panic");
        }
        drop(sender);
        answers.into_iter().max().expect("every rank answers")
    }

    fn by_executor(ranks: usize, bytes: usize, algorithm: Option<&'static str>) -> Team {
        let rank = |mut communicator: Communicator| {
            let (input, mut output) = buffers(communicator.rank(), bytes);
            move |calls: u64| {
                communicator.barrier().expect("all ranks come");
                let start = Instant::now();
                for _ in 0..calls {
                    let options = Options { algorithm: algorithm.map(Into::into), ..Options::default() };
                    communicator.with(options).all_reduce(&input, &mut output, ReduceOp::Sum).expect("all ranks come");
                }
                let time = start.elapsed();
                verify(&output, communicator.size());
                time
            }
        };
        Team::of(Communicator::local(ranks).expect("threads need little").into_iter().map(rank).collect())
    }

    fn by_hand(ranks: usize, bytes: usize) -> Team {
        let meeting = std::sync::Arc::new(Meeting::new(ranks));
        let rank = |rank: usize| {
            let (input, mut output) = buffers(rank, bytes);
            let mut hand = Hand {
                rank,
                meeting: meeting.clone(),
                epoch: 0,
                kernel: Kernel::new(DType::F32, ReduceOp::Sum, ranks),
            };
            move |calls: u64| {
                hand.barrier();
                let start = Instant::now();
                for _ in 0..calls {
                    match bytes {
                        8 => hand.one_shot(&input, &mut output),
                        _ => hand.two_shot(&input, &mut output),
                    }
                }
                let time = start.elapsed();
                verify(&output, ranks);
                time
            }
        };
        Team::of((0..ranks).map(rank).collect())
    }
}

fn buffers(rank: usize, bytes: usize) -> (Vec<f32>, Vec<f32>) {
    let count = bytes / size_of::<f32>();
    (vec![rank as f32 + 1.0; count], vec![0.0; count])
}

fn verify(output: &[f32], ranks: usize) {
    let expected = (ranks * (ranks + 1) / 2) as f32;
    assert!(output.iter().all(|element| *element == expected), "an all-reduce among {ranks} ranks is wrong");
}

/// A rank's own line of memory, which the others read.
#[repr(align(128))]
struct Line {
    /// Times this rank has come to a barrier.
    arrived: AtomicU64,
    /// 8 bytes of data, then the epoch to which they belong; one pair for even epochs, one for odd.
    cells: [(AtomicU64, AtomicU64); 2],
    input: AtomicPtr<f32>,
    output: AtomicPtr<f32>,
}

struct Meeting {
    lines: Vec<Line>,
    /// Polls before a waiting rank lets others run, as few as the executor's where ranks outnumber processors.
    spins: u32,
}

impl Meeting {
    fn new(ranks: usize) -> Meeting {
        let line = || Line {
            arrived: AtomicU64::new(0),
            cells: Default::default(),
            input: AtomicPtr::default(),
            output: AtomicPtr::default(),
        };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let spins = if ranks <= processors { 300 } else { 4 };
        Meeting { lines: std::iter::repeat_with(line).take(ranks).collect(), spins }
    }

    fn wait_until(&self, value: &AtomicU64, at_least: u64) {
        let mut spins = 0;
        while value.load(Ordering::Acquire) < at_least {
            if spins < self.spins {
                spins += 1;
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }
}

struct Hand {
    rank: usize,
    meeting: std::sync::Arc<Meeting>,
    epoch: u64,
    kernel: Kernel,
}

impl Hand {
    fn own(&self) -> &Line {
        &self.meeting.lines[self.rank]
    }

    fn ranks(&self) -> usize {
        self.meeting.lines.len()
    }

    fn barrier(&self) {
        let round = self.own().arrived.load(Ordering::Relaxed) + 1;
        self.own().arrived.store(round, Ordering::Release);
        self.meeting.lines.iter().for_each(|line| self.meeting.wait_until(&line.arrived, round));
    }

    /// Two elements of each rank, folded by every rank in the order of the ranks.
    fn one_shot(&mut self, input: &[f32], output: &mut [f32]) {
        self.epoch += 1;
        // A rank is at most one epoch ahead of the slowest reader, so two cells are enough.
        let parity = (self.epoch % 2) as usize;
        let (data, stamp) = &self.own().cells[parity];
        data.store(u64::from(input[0].to_bits()) | u64::from(input[1].to_bits()) << 32, Ordering::Relaxed);
        stamp.store(self.epoch, Ordering::Release);
        let mut sums: Option<[f32; 2]> = None;
        for line in &self.meeting.lines {
            let (data, stamp) = &line.cells[parity];
            self.meeting.wait_until(stamp, self.epoch);
            let bits = data.load(Ordering::Relaxed);
            let pair = [f32::from_bits(bits as u32), f32::from_bits((bits >> 32) as u32)];
            sums = Some(sums.map_or(pair, |sums| [sums[0] + pair[0], sums[1] + pair[1]]));
        }
        output.copy_from_slice(&sums.expect("there is a rank"));
    }

    fn two_shot(&self, input: &[f32], output: &mut [f32]) {
        let own = self.own();
        own.input.store(input.as_ptr().cast_mut(), Ordering::Relaxed);
        // From here to the last barrier `output` is reached through this address alone, by us and by the peers.
        let output = output.as_mut_ptr();
        own.output.store(output, Ordering::Relaxed);
        self.barrier();
        let block = |rank: usize| split(input.len() as u64, self.ranks() as u64, rank as u64);
        let range = block(self.rank);
        let (start, count) = (range.start as usize, (range.end - range.start) as usize);
        let at = |line: &Line| line.input.load(Ordering::Relaxed).wrapping_add(start).cast_const().cast();
        let sources: Vec<Source> =
            self.meeting.lines.iter().map(|line| Source { address: at(line), raw: true }).collect();
        // SAFETY: every rank lends as many elements until the last barrier; the destination is ours alone until the next one.
        unsafe { self.kernel.run(&sources, output.wrapping_add(start).cast(), count, true) };
        self.barrier();
        for peer in (0..self.ranks()).filter(|peer| *peer != self.rank) {
            let range = block(peer);
            let (start, count) = (range.start as usize, (range.end - range.start) as usize);
            let theirs = self.meeting.lines[peer].output.load(Ordering::Relaxed).wrapping_add(start);
            // SAFETY: the peer's block is done since the barrier, and nobody writes it before the last one; ours is apart from it.
            unsafe { std::ptr::copy_nonoverlapping(theirs, output.wrapping_add(start), count) };
        }
        self.barrier();
    }
}
