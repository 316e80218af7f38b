//! Throughput of every collective over every transport: bytes as nccl-tests counts them, by the time of rank 0.
//!
//! The ranks of a world are this executable again (`--rank-of TRANSPORT RANKS`): threads of one process for memory, processes
//! for shm and tcp. The benchmark itself is no rank: it writes jobs to rank 0's stdin, rank 0 broadcasts them, all ranks run
//! them in lockstep, and rank 0 answers with nanoseconds. One part alone: `cargo bench --bench collectives -- shm/2/all_reduce`.

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use unisono::{Collective, Communicator, ReduceOp, Result, TransportKind};

const RANKS: [usize; 2] = [2, 4];
const SIZES: [(u64, &str); 4] = [(8, "8 B"), (32 << 10, "32 KiB"), (2 << 20, "2 MiB"), (32 << 20, "32 MiB")];
const RANK_OF: &str = "--rank-of";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(index) = arguments.iter().position(|argument| argument == RANK_OF) {
        let ranks = arguments[index + 2].parse().expect("a number of ranks");
        return if arguments[index + 1] == TransportKind::Memory.name() {
            run_threads(ranks)
        } else {
            run_rank(Communicator::from_env()?)
        };
    }
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(200))
        .configure_from_args();
    for transport in TransportKind::ALL {
        for ranks in RANKS {
            let mut world = World::start(transport, ranks);
            for collective in Collective::ALL {
                let group = criterion.benchmark_group(format!("{transport}/{ranks}/{collective}"));
                measure(group, &mut world, collective, ranks);
            }
        }
    }
    criterion.final_summary();
    Ok(())
}

fn measure(mut group: BenchmarkGroup<'_, WallTime>, world: &mut World, collective: Collective, ranks: usize) {
    if collective == Collective::Barrier {
        group.bench_function("no data", |bencher| bencher.iter_custom(|calls| world.time(collective, 0, calls)));
        return;
    }
    for (bytes, name) in SIZES {
        group.throughput(Throughput::Bytes(Shape::new(collective, bytes, ranks).bytes));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter_custom(|calls| world.time(collective, bytes, calls));
        });
    }
    group.finish();
}

/// The processes of one world, of which rank 0 takes jobs.
struct World {
    processes: Vec<Child>,
    jobs: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl World {
    fn start(transport: TransportKind, ranks: usize) -> World {
        let this = std::env::current_exe().expect("this benchmark has a path");
        let process = |rank: usize, count: usize| {
            let mut command = Command::new(&this);
            command.args([RANK_OF, transport.name(), &ranks.to_string()]);
            command.env("UNISONO_RANK", rank.to_string()).env("UNISONO_WORLD_SIZE", count.to_string());
            command.env("UNISONO_JOB_ID", format!("{} {transport} {ranks}", std::process::id()));
            command.env("UNISONO_TRANSPORT", transport.name()).env("UNISONO_REQUIRE", transport.name());
            let (stdin, stdout) =
                if rank == 0 { (Stdio::piped(), Stdio::piped()) } else { (Stdio::null(), Stdio::null()) };
            command.stdin(stdin).stdout(stdout).spawn().expect("it starts again")
        };
        let count = if transport == TransportKind::Memory { 1 } else { ranks };
        let mut processes: Vec<Child> = (0..count).map(|rank| process(rank, count)).collect();
        let jobs = processes[0].stdin.take();
        let answers = BufReader::new(processes[0].stdout.take().expect("stdout is a pipe"));
        World { processes, jobs, answers }
    }

    fn time(&mut self, collective: Collective, bytes: u64, calls: u64) -> Duration {
        let index = Collective::ALL.iter().position(|one| *one == collective).expect("all are listed");
        let jobs = self.jobs.as_mut().expect("open until the end");
        writeln!(jobs, "{index} {bytes} {calls}").expect("rank 0 takes jobs");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("rank 0 answers");
        Duration::from_nanos(answer.trim().parse().expect("nanoseconds, or rank 0 has failed"))
    }
}

impl Drop for World {
    /// The end of its stdin ends rank 0, which tells the others.
    fn drop(&mut self) {
        drop(self.jobs.take());
        for process in &mut self.processes {
            let _ = process.wait();
        }
    }
}

fn run_threads(ranks: usize) -> Result<()> {
    let threads: Vec<_> = Communicator::local(ranks)?
        .into_iter()
        .map(|communicator| std::thread::spawn(move || run_rank(communicator)))
        .collect();
    threads.into_iter().try_for_each(|thread| thread.join().expect("a rank does not panic"))
}

fn run_rank(mut communicator: Communicator) -> Result<()> {
    let mut jobs = (communicator.rank() == 0).then(|| std::io::stdin().lines());
    loop {
        // Collective, bytes, calls; 0 calls end it.
        let mut job = [0u64; 3];
        if let Some(Some(line)) = jobs.as_mut().map(Iterator::next) {
            let line = line.expect("jobs are text");
            job.iter_mut().zip(line.split(' ')).for_each(|(field, text)| *field = text.parse().expect("a number"));
        }
        communicator.broadcast(&mut job, 0)?;
        let [collective, bytes, calls] = job;
        if calls == 0 {
            return Ok(());
        }
        let time = run(&mut communicator, Collective::ALL[collective as usize], bytes, calls)?;
        if communicator.rank() == 0 {
            println!("{}", time.as_nanos());
        }
    }
}

fn run(communicator: &mut Communicator, collective: Collective, bytes: u64, calls: u64) -> Result<Duration> {
    let shape = Shape::new(collective, bytes, communicator.size());
    let input = vec![1.0f32; shape.input];
    let mut output = vec![0.0f32; shape.output];
    // The first call of a shape chooses, proves and connects.
    call(communicator, collective, &input, &mut output, &shape.counts)?;
    communicator.barrier()?;
    let start = Instant::now();
    for _ in 0..calls {
        call(communicator, collective, &input, &mut output, &shape.counts)?;
    }
    Ok(start.elapsed())
}

/// The buffers of a call, in elements, of nearly the bytes that were asked for.
struct Shape {
    input: usize,
    output: usize,
    counts: Vec<u64>,
    /// As nccl-tests counts them.
    bytes: u64,
}

impl Shape {
    fn new(collective: Collective, bytes: u64, ranks: usize) -> Shape {
        let whole = bytes as usize / size_of::<f32>();
        let block = (whole / ranks).max(1);
        let (input, output) = match collective.even() {
            Collective::AllReduce | Collective::Broadcast | Collective::Reduce | Collective::SendRecv => (whole, whole),
            Collective::AllGather | Collective::Gather => (block, block * ranks),
            Collective::ReduceScatter | Collective::Scatter => (block * ranks, block),
            Collective::AllToAll => (block * ranks, block * ranks),
            Collective::Barrier => (0, 0),
            Collective::AllGatherV | Collective::ReduceScatterV | Collective::AllToAllV => {
                unreachable!("their even siblings stand for them")
            }
        };
        let bytes = (input.max(output) * size_of::<f32>()) as u64;
        Shape { input, output, counts: vec![block as u64; ranks], bytes }
    }
}

fn call(
    communicator: &mut Communicator,
    collective: Collective,
    input: &[f32],
    output: &mut [f32],
    counts: &[u64],
) -> Result<()> {
    match collective {
        Collective::AllReduce => communicator.all_reduce(input, output, ReduceOp::Sum),
        Collective::AllGather => communicator.all_gather(input, output),
        Collective::ReduceScatter => communicator.reduce_scatter(input, output, ReduceOp::Sum),
        Collective::Broadcast => communicator.broadcast(output, 0),
        Collective::Reduce => communicator.reduce(input, output, ReduceOp::Sum, 0),
        Collective::Gather => communicator.gather(input, output, 0),
        Collective::Scatter => communicator.scatter(input, output, 0),
        Collective::AllToAll => communicator.all_to_all(input, output),
        Collective::Barrier => communicator.barrier(),
        Collective::SendRecv => {
            let (rank, size) = (communicator.rank(), communicator.size());
            communicator.group(|group| {
                group.send(input, (rank + 1) % size);
                group.recv(output, (rank + size - 1) % size);
            })
        }
        Collective::AllGatherV => communicator.all_gather_v(input, output, counts),
        Collective::ReduceScatterV => communicator.reduce_scatter_v(input, output, counts, ReduceOp::Sum),
        Collective::AllToAllV => communicator.all_to_all_v(input, counts, output, counts),
    }
}
