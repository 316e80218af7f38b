//! A rank that is told on stdin what to do, and tells on stdout what came of it, one line each.
//!
//! | command | answer |
//! |---|---|
//! | `call CALL` | `ok`, or the error |
//! | `repeat COUNT CALL` | `ok` after all, or the error |
//! | `loop CALL` | `running` after some, then the error |
//! | `round TIMEOUT_MS CALL` | as `loop`, on a duplicate that is dropped then; the buffers are painted before the error is told |
//! | `window_round TIMEOUT_MS COLLECTIVE COUNT` | as `round`, on windows; `wrong` if a call says that all is well, and it is not |
//! | `check`, `window_check` | `intact` if the paint of the last round is still there |
//! | `alloc LENGTH` | `ok` once a window of bytes is allocated and freed, or the error |
//! | `no_more_files` | `ok`; from then on this process opens none |
//! | `timeout MS`, `describe`, `fork`, `shm` | see the code |
//!
//! A CALL is `collective type op count root`; of `send` and `recv` the root is the peer.

use crate::fork;
use crate::registered::Registered;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};
use unisono::{Communicator, Element, Error, ReduceOp};

/// Set for the processes that play a rank.
pub const ROLE: &str = "RANK_OF_FAULTS_TEST";
/// Calls that a rank makes before it says that it is running.
const WARM_UP: usize = 3;

/// Does nothing in an ordinary run of the tests.
#[test]
fn a_process_that_plays_a_rank() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let mut communicator = match Communicator::from_env() {
        Ok(communicator) => communicator,
        Err(error) => return say(&format!("failed {}", outcome(&error, Instant::now(), Duration::ZERO))),
    };
    say("joined");
    let mut painted = Painted::default();
    for line in std::io::stdin().lines() {
        obey(&mut communicator, &mut painted, &line.expect("UTF-8"));
    }
    drop(communicator);
    say("dropped");
}

/// The leading newline ends what the test runner may have begun to print.
fn say(line: &str) {
    let _ = std::io::stdout().lock().write_all(format!("\n#{line}\n").as_bytes());
}

/// What the last rounds left.
#[derive(Default)]
struct Painted {
    buffers: Buffers,
    windows: Option<Registered>,
}

fn obey(communicator: &mut Communicator, painted: &mut Painted, line: &str) {
    let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
    let number = |text: &str| text.parse::<u64>().expect("a number");
    match command {
        "call" => report(|| Call::parse(rest).run(communicator, &mut Buffers::default())),
        "repeat" => {
            let (count, call) = rest.split_once(' ').expect("a count and a call");
            let (call, mut buffers) = (Call::parse(call), Buffers::default());
            report(|| (0..number(count)).try_for_each(|_| call.run(communicator, &mut buffers)));
        }
        "loop" => {
            let (call, mut buffers) = (Call::parse(rest), Buffers::default());
            say(&run_until_error(|| call.run(communicator, &mut buffers)));
        }
        "round" => {
            let (timeout, call) = rest.split_once(' ').expect("a timeout and a call");
            let mut copy = communicator.duplicate().expect("the world stands");
            copy.set_timeout(Duration::from_millis(number(timeout)));
            let call = Call::parse(call);
            let error = run_until_error(|| call.run(&mut copy, &mut painted.buffers));
            painted.buffers.paint();
            say(&error);
        }
        "window_round" => {
            let words: Vec<&str> = rest.split(' ').collect();
            let [timeout, collective, count] = words[..] else { panic!("`{line}` is no round") };
            let mut copy = communicator.duplicate().expect("the world stands");
            let count = number(count) as usize;
            let windows =
                painted.windows.insert(Registered::new(&mut copy, collective, count).expect("there is memory"));
            copy.set_timeout(Duration::from_millis(number(timeout)));
            let error = run_until_error(|| {
                windows.call(&mut copy).map(|is_right| {
                    if !is_right {
                        say("wrong");
                    }
                })
            });
            windows.paint();
            say(&error);
        }
        "check" => say(if painted.buffers.is_painted() { "intact" } else { "overwritten" }),
        "window_check" => {
            let is_painted = painted.windows.as_ref().is_some_and(Registered::is_painted);
            say(if is_painted { "intact" } else { "overwritten" });
        }
        "timeout" => communicator.set_timeout(Duration::from_millis(number(rest))),
        "alloc" => report(|| {
            let window = communicator.alloc::<u8>(number(rest) as usize)?;
            communicator.free(window)
        }),
        "no_more_files" => {
            open_no_more_files();
            say("ok");
        }
        "describe" => say(&communicator.describe()),
        "fork" => say(&fork::use_in_a_child(communicator)),
        _ => panic!("unknown command {line}"),
    }
}

fn open_no_more_files() {
    // A new descriptor is the lowest that is free. A lower limit would end waits on those that are open, too.
    let next = File::open("/dev/null").expect("it may open this one").as_raw_fd() as libc::rlim_t;
    let limit = libc::rlimit { rlim_cur: next, rlim_max: next };
    // SAFETY: the call only reads the limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}

fn report(run: impl FnOnce() -> Result<(), Error>) {
    let (start, processor_time) = (Instant::now(), processor_time());
    match run() {
        Ok(()) => say("ok"),
        Err(error) => say(&outcome(&error, start, processor_time)),
    }
}

/// Calls again and again; the error's line.
fn run_until_error(mut call: impl FnMut() -> Result<(), Error>) -> String {
    let (mut done, mut start, mut used) = (0, Instant::now(), processor_time());
    let error = loop {
        if let Err(error) = call() {
            break error;
        }
        done += 1;
        if done == WARM_UP {
            say("running");
        }
        (start, used) = (Instant::now(), processor_time());
    };
    outcome(&error, start, used)
}

/// Processor time of this process.
fn processor_time() -> Duration {
    // SAFETY: plain numbers, for which zero is a value; the call only writes them.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let span = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    span(usage.ru_utime) + span(usage.ru_stime)
}

/// `error KIND WALL_MS CPU_MS MESSAGE`.
fn outcome(error: &Error, start: Instant, used_before: Duration) -> String {
    let used = processor_time().saturating_sub(used_before);
    format!("error {} {} {} {error}", error.kind().name(), start.elapsed().as_millis(), used.as_millis())
}

/// One call as a test names it.
#[derive(Clone, Debug)]
pub struct Call {
    pub collective: String,
    pub dtype: String,
    pub op: ReduceOp,
    pub count: usize,
    pub root: usize,
}

impl Call {
    pub fn parse(text: &str) -> Call {
        let words: Vec<&str> = text.split(' ').collect();
        let [collective, dtype, op, count, root] = words[..] else { panic!("`{text}` is no call") };
        let op = match op {
            "sum" => ReduceOp::Sum,
            "max" => ReduceOp::Max,
            _ => panic!("unknown operation {op}"),
        };
        let number = |text: &str| text.parse().expect("a number");
        Call {
            collective: collective.to_owned(),
            dtype: dtype.to_owned(),
            op,
            count: number(count),
            root: number(root),
        }
    }

    pub fn run(&self, communicator: &mut Communicator, buffers: &mut Buffers) -> Result<(), Error> {
        match self.dtype.as_str() {
            "f32" => self.run_typed::<f32>(communicator, buffers),
            "i32" => self.run_typed::<i32>(communicator, buffers),
            other => panic!("unknown type {other}"),
        }
    }

    /// Every rank's blocks have `count` elements; what is in them does not matter here.
    fn run_typed<T: Element>(&self, communicator: &mut Communicator, buffers: &mut Buffers) -> Result<(), Error> {
        let Call { op, count, root, .. } = *self;
        let whole = count * communicator.size();
        let (input, output) = buffers.of::<T>(whole);
        let (part, part_out) = (&input[..count], &mut output[..]);
        match self.collective.as_str() {
            "all_reduce" => communicator.all_reduce(part, &mut part_out[..count], op),
            "all_gather" => communicator.all_gather(part, part_out),
            "reduce_scatter" => communicator.reduce_scatter(input, &mut part_out[..count], op),
            "broadcast" => communicator.broadcast(&mut part_out[..count], root),
            "reduce" => communicator.reduce(part, &mut part_out[..count], op, root),
            "gather" => communicator.gather(part, if communicator.rank() == root { part_out } else { &mut [] }, root),
            "scatter" => {
                let from = if communicator.rank() == root { input } else { &[] };
                communicator.scatter(from, &mut part_out[..count], root)
            }
            "all_to_all" => communicator.all_to_all(input, part_out),
            "barrier" => communicator.barrier(),
            "send" => communicator.send(part, root),
            "recv" => communicator.recv(&mut part_out[..count], root),
            // To the next rank, from the one before.
            "send_recv" => {
                let (rank, size) = (communicator.rank(), communicator.size());
                communicator.group(|group| {
                    group.send(part, (rank + 1) % size);
                    group.recv(&mut part_out[..count], (rank + size - 1) % size);
                })
            }
            // To every other rank, and from every other one.
            "exchange" => {
                let (rank, size) = (communicator.rank(), communicator.size());
                let peers = (0..size).filter(|peer| *peer != rank);
                let mut blocks = part_out.chunks_exact_mut(count);
                communicator.group(|group| {
                    peers.zip(&mut blocks).for_each(|(peer, block)| {
                        group.send(part, peer);
                        group.recv(block, peer);
                    });
                })
            }
            other => panic!("unknown collective {other}"),
        }
    }
}

/// Memory of calls, aligned for every type.
#[derive(Default)]
pub struct Buffers {
    input: Vec<u64>,
    output: Vec<u64>,
}

const PAINT: u64 = 0x5a5a_a5a5_0ff0_f00f;

impl Buffers {
    fn of<T: Element>(&mut self, count: usize) -> (&[T], &mut [T]) {
        let words = (count * size_of::<T>()).div_ceil(8);
        if self.input.len() != words {
            *self = Buffers { input: vec![0; words], output: vec![0; words] };
        }
        (&bytemuck::cast_slice(&self.input)[..count], &mut bytemuck::cast_slice_mut(&mut self.output)[..count])
    }

    fn paint(&mut self) {
        self.input.fill(PAINT);
        self.output.fill(PAINT);
    }

    fn is_painted(&self) -> bool {
        self.input.iter().chain(&self.output).all(|word| *word == PAINT)
    }
}
