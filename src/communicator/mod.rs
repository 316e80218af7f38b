//! The public face: a communicator and its collectives.
//!
//! Every collective comes in these forms: a blocking method on [`Communicator`], the same under [`Options`] through
//! [`Communicator::with`], and a `start_` method that returns a [`Handle`], or in a [`Scope`] takes borrowed buffers.

mod apart;
mod call;
mod collectives;
mod create;
mod diagnostics;
mod engine;
mod point_to_point;
mod prepared;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
mod record;
mod settings;
mod shared;
#[cfg(test)]
mod simulation;
mod split;
mod started;
mod waiting;
mod window;

pub use collectives::With;
pub use create::Builder;
pub use point_to_point::Group;
pub use settings::{DEFAULT_TIMEOUT, Options, Progress};
pub use started::{Handle, Scope, ScopedHandle, StableBuffer};
pub use window::Window;

use crate::control::Control;
use crate::control::recorder::RecordedOperation;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Problem;
use crate::select::report::Report;
use crate::select::{self, Context, Explanation};
use crate::topology::Layout;
use crate::types::{Collective, DType, Rank, TransportKind};
use create::Origin;
use diagnostics::Diagnostics;
use engine::Transfer;
use shared::Shared;
use started::ticket::{Ticket, Tickets};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A group of ranks that make the same calls in the same order.
///
/// Starting an operation takes `&mut self`, because order matters: operations run one after the other in the order in which
/// they were started, which must be the same on all ranks. A thread that wants an order of its own takes a
/// [`Communicator::duplicate`].
///
/// A call returns when this rank's part of it is done, which may be before other ranks have begun theirs. Who only sends, such as the
/// root of many small broadcasts, runs ahead until the link is full: among ranks of a host after 8 to 32 messages, over tcp when the
/// kernel takes no more bytes of the connection (by net.ipv4.tcp_wmem and tcp_rmem, often 4 MiB and 6 MiB; each message has 32 bytes
/// besides its own). Only then does it notice that the receiver is stopped; a [`Communicator::barrier`] now and then
/// keeps all close, and [`Builder::strict`] closer. Running ahead takes no other memory than that: over tcp it is the kernel's, up to
/// these limits for each connection, and a buffer of 256 KiB at the receiver, which reads no further before it needs more.
///
/// Blocking calls block at most until the communicator's timeout (300 s unless set). After any error but
/// [`ErrorKind::InvalidArgument`] the communicator is finished on all ranks, and can only be dropped.
///
/// ```
/// use unisono::{Communicator, ReduceOp};
///
/// let mut ranks = Communicator::local(2)?;
/// std::thread::scope(|threads| {
///     for communicator in &mut ranks {
///         threads.spawn(move || {
///             let mut data = [communicator.rank() as f32 + 1.0; 4];
///             communicator.all_reduce_in_place(&mut data, ReduceOp::Sum).unwrap();
///             assert_eq!(data, [3.0; 4]);
///         });
///     }
/// });
/// # Ok::<(), unisono::Error>(())
/// ```
pub struct Communicator {
    rank: Rank,
    size: usize,
    timeout: Duration,
    progress: Progress,
    transports: Vec<Option<TransportKind>>,
    /// How many pairs of ranks use each transport.
    pairs: [(TransportKind, usize); TransportKind::ALL.len()],
    shared_bytes: usize,
    context: Arc<Context>,
    /// Which ranks share a host.
    layout: Layout,
    /// Ranks on this host.
    local_ranks: usize,
    diagnostics: Diagnostics,
    control: Arc<Control>,
    shared: Arc<Shared>,
    origin: Origin,
    /// Memory of the last group and of the last uneven call, for the next ones.
    transfers: Vec<Transfer>,
    counts: [Vec<u64>; 2],
    tickets: Tickets,
    /// Memory of the last scope, for the next one.
    scoped: Vec<Arc<Ticket>>,
    /// Communicators split off and windows allocated so far: equal on all ranks, so that both get equal names.
    children: u64,
}

impl Communicator {
    /// The communicator of all ranks of this job, found from the environment: `unisono launch`, torchrun, Open MPI, MPICH or
    /// Intel MPI, Slurm, RANK and WORLD_SIZE set by hand, or a world of one rank where there is nothing.
    ///
    /// Blocks until all ranks have come, or the timeout (UNISONO_TIMEOUT in seconds, else 300 s) has passed.
    ///
    /// # Errors
    /// `Configuration` for an environment that contradicts itself, `Rendezvous` or `Timeout` when ranks did not come.
    ///
    /// ```
    /// let communicator = unisono::Communicator::from_env()?;
    /// println!("rank {} of {}", communicator.rank(), communicator.size());
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn from_env() -> Result<Communicator> {
        Communicator::builder().from_env()
    }

    /// A world of `ranks` threads of this process: one communicator for each, to be moved to its thread.
    ///
    /// # Errors
    /// `InvalidArgument` for 0 ranks, `Resource` where there is no memory: the communicators alone take about 64 bytes for every two
    /// ranks, 1.6 GB for 5,000 of them.
    ///
    /// ```
    /// # use unisono::Communicator;
    /// let ranks = Communicator::local(3)?;
    /// assert!(ranks.iter().enumerate().all(|(rank, communicator)| communicator.rank() == rank && communicator.size() == 3));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn local(ranks: usize) -> Result<Vec<Communicator>> {
        Communicator::builder().local(ranks)
    }

    /// For everything that `from_env` and `local` leave at its default.
    ///
    /// ```
    /// # use unisono::Communicator;
    /// use std::time::Duration;
    ///
    /// let communicator = Communicator::builder().timeout(Duration::from_secs(20)).from_env()?;
    /// assert_eq!(communicator.timeout(), Duration::from_secs(20));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// This process's or thread's number in the communicator, from 0.
    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// The number of ranks.
    pub fn size(&self) -> usize {
        self.size
    }

    /// How long a blocking call, or a started operation, may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// From the next call on, on this rank.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// The transport to a rank; None to this rank itself.
    ///
    /// ```
    /// # use unisono::{Communicator, TransportKind};
    /// let ranks = Communicator::local(2)?;
    /// assert_eq!(ranks[0].transport_to(1), Some(TransportKind::Memory));
    /// assert_eq!(ranks[0].transport_to(0), None);
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn transport_to(&self, peer: Rank) -> Option<TransportKind> {
        self.transports.get(peer).copied().flatten()
    }

    /// The one transport of all this rank's peers; None where they differ or there are none.
    pub fn transport(&self) -> Option<TransportKind> {
        let mut kinds = self.transports.iter().flatten();
        let first = *kinds.next()?;
        kinds.all(|kind| *kind == first).then_some(first)
    }

    /// One line: how many pairs of ranks use each transport, how much memory this rank's host shares for them. With UNISONO_EXPLAIN=1
    /// rank 0 prints it to stderr when the communicator is made; also what [`std::fmt::Display`] prints.
    ///
    /// ```
    /// # use unisono::Communicator;
    /// let ranks = Communicator::local(4)?;
    /// assert!(ranks[0].describe().starts_with("world of 4 ranks: 6 pairs by memory, "));
    /// assert!(Communicator::local(1)?[0].to_string().starts_with("world of 1 rank, "));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn describe(&self) -> String {
        self.to_string()
    }

    /// Why a call of this many bytes (nccl-tests convention) runs the algorithm that it runs: the same prices and the same
    /// decision as the call itself.
    /// Prices every algorithm: milliseconds. Does not communicate.
    ///
    /// # Errors
    /// `Plan` where no algorithm serves the collective, as for `SendRecv`.
    ///
    /// ```
    /// # use unisono::{Collective, Communicator};
    /// let ranks = Communicator::local(4)?;
    /// let explanation = ranks[0].explain(Collective::AllReduce, 1 << 20)?;
    /// println!("{} in {:.0} µs", explanation.chosen, explanation.time_us);
    /// assert_eq!(explanation.candidates[0].name, explanation.chosen);
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn explain(&self, collective: Collective, bytes: u64) -> Result<Explanation> {
        select::explain(&self.context, self.problem(collective), bytes)
    }

    /// The same in words, as `unisono plan` prints it and UNISONO_EXPLAIN=1 for every new shape of call.
    ///
    /// # Errors
    /// As [`Communicator::explain`].
    pub fn report(&self, collective: Collective, bytes: u64) -> Result<Report> {
        Report::of_job(&self.context, self.problem(collective), bytes)
    }

    /// What a call of a collective asks, if its root is rank 0.
    fn problem(&self, collective: Collective) -> Problem {
        let counts = crate::plan::chunk::Counts::Even(0);
        let (dtype, op) = (DType::U8, None);
        let call = call::Call { collective, dtype, op, counts, root: 0, in_place: false, algorithm: None };
        call.problem(self.size, self.layout)
    }

    /// The last operations of this rank, oldest first: the record that is always on. It keeps the last 256 collectives, and as
    /// many sends and receives. Does not communicate.
    ///
    /// ```
    /// # use unisono::Communicator;
    /// let mut alone = Communicator::local(1)?.pop().unwrap();
    /// alone.all_gather(&[1.0f32], &mut [0.0])?;
    /// let last = alone.recent_operations().pop().unwrap();
    /// assert_eq!((last.operation, last.sequence, last.bytes), ("all_gather", 1, 4));
    /// assert!(last.ended_ns_ago <= Some(last.started_ns_ago) && last.failed_at_step.is_none());
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn recent_operations(&self) -> Vec<RecordedOperation> {
        self.control.recorder.operations()
    }

    /// Appends the record of the last operations to `directory`/rank-R.jsonl, R being this rank's number in the world: what
    /// UNISONO_RECORD makes a failed communicator do by itself. A header says whose record it is and when it was written; then
    /// come [`Communicator::recent_operations`], one JSON object a line. The communicator goes on as before, whatever comes of it.
    ///
    /// # Errors
    /// `Resource` if the file can't be written.
    ///
    /// ```
    /// # use unisono::Communicator;
    /// let mut alone = Communicator::local(1)?.pop().unwrap();
    /// alone.barrier()?;
    /// let directory = std::env::temp_dir().join(format!("unisono-record-{}", std::process::id()));
    /// alone.write_record(&directory)?;
    /// let text = std::fs::read_to_string(directory.join("rank-0.jsonl")).unwrap();
    /// assert_eq!(text.lines().count(), 2);
    /// # std::fs::remove_dir_all(directory).unwrap();
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn write_record(&self, directory: impl AsRef<std::path::Path>) -> Result<()> {
        record::write(directory.as_ref(), &self.control, self.rank, None)
    }

    /// Gives the communicator up on all ranks: whoever waits returns an error of kind `Aborted`. Never blocks; may be called
    /// again. In a forked child it does nothing.
    pub fn abort(&self) {
        if self.shared.check_process().is_err() {
            return;
        }
        let error = Error::new(ErrorKind::Aborted, format!("rank {} called abort", self.rank)).with_peer(self.rank);
        self.control.fail(error);
    }

    /// What [`Communicator::abort`] does, for another thread to do while this one is blocked in a call.
    ///
    /// ```
    /// # use unisono::{Communicator, ErrorKind};
    /// let mut ranks = Communicator::local(2)?;
    /// let abort = ranks[0].abort_handle();
    /// std::thread::spawn(move || abort.abort());
    /// // Rank 1 never comes, but this does not wait for the timeout.
    /// assert_eq!(ranks[0].barrier().unwrap_err().kind(), ErrorKind::Aborted);
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn abort_handle(&self) -> AbortHandle {
        AbortHandle { rank: self.rank, control: self.control.clone(), shared: Arc::downgrade(&self.shared) }
    }

    fn invalid(&self, what: impl Into<String>) -> Error {
        Error::new(ErrorKind::InvalidArgument, what).on_rank(self.rank)
    }
}

impl Drop for Communicator {
    fn drop(&mut self) {
        if self.shared.check_process().is_err() {
            return;
        }
        if std::thread::panicking() {
            let error = Error::new(ErrorKind::PeerLost, format!("rank {} is gone: its thread panicked", self.rank));
            self.control.fail(error.with_peer(self.rank).remedy(format!("see the panic of rank {}", self.rank)));
        }
        self.shared.lock().shut_down();
        self.shared.work.notify_all();
        self.origin.leave(&self.control);
    }
}

impl fmt::Display for Communicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.control.communicator() {
            create::WORLD => write!(f, "world of ")?,
            part => write!(f, "communicator {part:016x} of ")?,
        }
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        write!(f, "{} rank{}", self.size, plural(self.size))?;
        let chosen = self.pairs.iter().filter(|(_, pairs)| *pairs > 0);
        for (index, (kind, pairs)) in chosen.enumerate() {
            let before = if index == 0 { ":" } else { "," };
            write!(f, "{before} {pairs} pair{} by {kind}", plural(*pairs))?;
        }
        if self.shared_bytes > 0 {
            write!(f, ", at most {:.1} MiB shared", self.shared_bytes as f64 / f64::from(1 << 20))?;
        }
        write!(f, ", timeout {:?}", self.timeout)
    }
}

impl fmt::Debug for Communicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} in {self}", self.rank)
    }
}

/// Aborts a communicator from any thread.
#[derive(Clone)]
pub struct AbortHandle {
    rank: Rank,
    control: Arc<Control>,
    shared: Weak<Shared>,
}

impl AbortHandle {
    /// See [`Communicator::abort`].
    pub fn abort(&self) {
        // Once the communicator is gone there is nothing left to give up.
        if self.shared.upgrade().is_none_or(|shared| shared.check_process().is_err()) {
            return;
        }
        let error = Error::new(ErrorKind::Aborted, format!("rank {} called abort", self.rank)).with_peer(self.rank);
        self.control.fail(error);
    }
}
