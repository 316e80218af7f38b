//! What a communicator is made with, and the first one of a program.

use super::controls::Controls;
use super::hello::{Hello, agree};
use super::processes::ProcessWorld;
use super::threads::{self, ThreadWorld};
use super::{Origin, WORLD};
use crate::bootstrap::{Job, World};
use crate::communicator::diagnostics::warn_of_unknown_variables;
use crate::communicator::settings::Settings;
use crate::communicator::{Communicator, Progress};
use crate::error::{Error, ErrorKind, Result};
use crate::select::Context;
use crate::select::rules::Rules;
use crate::topology::host::Speeds;
use crate::types::{Rank, TransportKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Chooses what a communicator is made with.
///
/// What is not set here is taken from UNISONO_TIMEOUT (seconds), UNISONO_TRANSPORT, UNISONO_REQUIRE, UNISONO_ALGORITHM,
/// UNISONO_RULES (a file of [`rules`](crate::select::rules)), UNISONO_STRICT, UNISONO_CALIBRATE, UNISONO_MOVE_APART and UNISONO_SHM_BYTES,
/// then from the defaults.
/// UNISONO_EXPLAIN=1 makes rank 0 say on stderr which transports a communicator uses, and of every new shape of call what runs and
/// why, as `unisono plan` does. UNISONO_RECORD=DIR makes every rank append its last operations to DIR/rank-R.jsonl when a
/// communicator fails. Other variables that begin with UNISONO_ are warned of once, through `tracing`.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    settings: Settings,
}

impl Builder {
    /// How long anything may wait: rendezvous, connections, every call. 300 s unless set.
    pub fn timeout(mut self, timeout: Duration) -> Builder {
        self.settings.timeout = Some(timeout);
        self
    }

    /// Uses this transport between all pairs that can, instead of the fastest that each pair has.
    pub fn transport(mut self, transport: TransportKind) -> Builder {
        self.settings.transport = Some(transport);
        self
    }

    /// Fails on all ranks unless every pair uses this transport, so that nothing is downgraded silently.
    pub fn require(mut self, transport: TransportKind) -> Builder {
        self.settings.require = Some(transport);
        self
    }

    /// Who moves started operations on; the caller unless set.
    pub fn progress(mut self, progress: Progress) -> Builder {
        self.settings.progress = progress;
        self
    }

    /// Takes this algorithm wherever it fits. Rank 0's word counts for all.
    pub fn algorithm(mut self, name: &str) -> Builder {
        self.settings.algorithm = Some(name.to_owned());
        self
    }

    /// Follows these rules before any price is asked, where no algorithm is set. Rank 0's word counts for all.
    pub fn rules(mut self, rules: Rules) -> Builder {
        self.settings.rules = Some(rules);
        self
    }

    /// All ranks agree on every collective before any of its data moves, at the price of a barrier each: where calls differ, no rank
    /// returns Ok from them, and no buffer is touched. Otherwise a rank whose result doesn't depend on the others (the root of a
    /// small broadcast, say) learns of the difference at its next call. Rank 0's word counts for all.
    pub fn strict(mut self, strict: bool) -> Builder {
        self.settings.strict = Some(strict);
        self
    }

    /// Whether prices rest on what rank 0 measures of its host, once per process, as they do unless this says no. That takes some
    /// 10 ms, and 30 ms beside much other work (measured on 2 busy cores of an AMD EPYC), for which the other ranks wait. Without, they rest on a table, and every run of a program makes the same choices, and so the same sums to the last bit,
    /// near sizes where the choice flips too. Rank 0's word counts for all.
    pub fn calibrate(mut self, calibrate: bool) -> Builder {
        self.settings.calibrate = Some(calibrate);
        self
    }

    /// Whether a rank that finds itself again and again on the processor of another rank of its host moves to a free one, as it does
    /// unless this says no. The kernel puts two threads on one processor now and then though another has none, and may leave them
    /// there for tens of milliseconds, in which every call waits for both to take turns. A rank notices only while it waits in a
    /// call, moves once in 10 ms at most and only where the host has a processor for each of its ranks, and is bound to nothing
    /// afterwards: the thread may run wherever it could before. Ranks that their launcher bound to a processor each stay there.
    /// Among ranks of a host that share memory only, so not under tcp. Each rank's word counts for itself.
    pub fn move_apart(mut self, move_apart: bool) -> Builder {
        self.settings.move_apart = Some(move_apart);
        self
    }

    /// Says how fast this host is, as prices see it: measured, for so many ranks, unless the environment of this process says
    /// otherwise.
    ///
    /// # Errors
    /// As [`Builder::check_variables`].
    pub fn host_speeds(ranks: usize) -> Result<Speeds> {
        Ok(Settings::default().or_environment(&|name| std::env::var(name).ok())?.speeds(ranks))
    }

    /// Bytes of memory that the ranks of one host share for their messages. Rank 0's word counts for all.
    pub fn shared_memory_bytes(mut self, bytes: usize) -> Builder {
        self.settings.shm_bytes = Some(bytes);
        self
    }

    /// As [`Communicator::local`].
    pub fn local(self, ranks: usize) -> Result<Vec<Communicator>> {
        if ranks == 0 {
            return Err(Error::new(ErrorKind::InvalidArgument, "a world of 0 ranks").remedy("ask for at least 1"));
        }
        // What the environment prefers is meant for processes; only what it requires is meant for every pair of ranks.
        let preferred = self.settings.transport;
        let settings = self.settings.or_environment(&|name| std::env::var(name).ok())?;
        for wanted in [preferred, settings.require].into_iter().flatten() {
            if wanted != TransportKind::Memory && ranks > 1 {
                return Err(Error::new(
                    ErrorKind::Transport,
                    format!("threads of one process can't use the {wanted} transport"),
                )
                .remedy("use the memory transport, or processes (`unisono launch`)"));
            }
        }
        let rules = settings.rules()?;
        threads::check_room(ranks)?;
        let origin = Origin::Threads(Arc::new(ThreadWorld::default()));
        let members: Vec<Rank> = (0..ranks).collect();
        let speeds = settings.speeds(ranks);
        let context = origin.context(&members, speeds);
        let (algorithm, strict) = (settings.algorithm.clone(), settings.strict.unwrap_or(false));
        let context = Arc::new(Context { algorithm, rules, strict, ..context });
        (0..ranks).map(|rank| origin.make(WORLD, rank, &members, context.clone(), &settings, &|| None)).collect()
    }

    /// Says what of these variables a communicator could not be made with, a file of rules included; for diagnostics. Of a job that
    /// they describe, [`Job::from_environment`](crate::bootstrap::Job::from_environment) says so.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`], with the variable and what to do.
    pub fn check_variables(lookup: &dyn Fn(&str) -> Option<String>) -> Result<()> {
        Settings::default().or_environment(lookup)?.rules().map(drop)
    }

    /// As [`Communicator::from_env`].
    pub fn from_env(self) -> Result<Communicator> {
        let lookup = |name: &str| std::env::var(name).ok();
        let job = Job::from_environment(&lookup);
        warn_of_unknown_variables(job.as_ref().ok().map(|job| job.rank));
        let settings = self.settings.or_environment(&lookup)?;
        Builder { settings }.of_job(&job?)
    }

    /// The communicator of a job's ranks, by what is set here alone.
    pub(in crate::communicator) fn of_job(self, job: &Job) -> Result<Communicator> {
        let settings = self.settings;
        let deadline = Instant::now() + settings.timeout();
        let hello = Hello::of(&settings, job);
        let world = World::join(job, &hello.encode(), deadline)?;
        let hellos =
            (0..world.size()).map(|rank| Hello::decode(rank, &world.peer(rank).hello)).collect::<Result<Vec<_>>>()?;
        agree(&hellos).map_err(|error| error.on_rank(world.rank()))?;
        let rules = hellos[0].rules.clone().transpose().map_err(|told| told.error().on_rank(0))?;
        let controls = Arc::new(Controls::default());
        let origin = Origin::Processes(Arc::new(ProcessWorld {
            world: world.clone(),
            transport: hellos[0].transport,
            shm_bytes: hellos[0].shm_bytes,
            processors: hellos.iter().map(|hello| hello.processors).collect(),
            controls: controls.clone(),
        }));
        world.set_sink(controls);
        let members: Vec<Rank> = (0..world.size()).collect();
        let kind = origin.slowest(&members);
        for (rank, hello) in hellos.iter().enumerate() {
            if let Some(wanted) = hello.require
                && let Some(found) = kind.filter(|found| *found != wanted)
            {
                return Err(Error::new(
                    ErrorKind::Transport,
                    format!("rank {rank} requires the {wanted} transport, but some pairs use {found}"),
                )
                .on_rank(world.rank())
                .remedy("place the ranks so that all pairs have it, or don't require it"));
            }
        }
        let first = &hellos[0];
        let context = origin.context(&members, first.speeds.unwrap_or(Speeds::ASSUMED));
        let (algorithm, rules) = (first.algorithm.clone(), rules.unwrap_or_default());
        let context = Arc::new(Context { algorithm, rules, strict: first.strict, ..context });
        let made = origin.make(WORLD, world.rank(), &members, context, &settings, &|| None);
        // The others may be waiting for what this rank can't do, and should hear why.
        made.inspect_err(|error| world.give_up(error.message()))
    }
}

/// Processors that this process may use.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
