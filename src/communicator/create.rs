//! Making communicators: of threads, of the processes of a job, and the parts common to both.

use super::diagnostics::warn_of_unknown_variables;
use super::engine::Engine;
use super::settings::{Patience, Settings};
use super::{Communicator, Progress, Shared};
use crate::bootstrap::{ControlSink, HostId, Job, RankSet, World};
use crate::clock::Clock;
use crate::control::{Control, Hub, Line, Outlet};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::links::{Links, Path};
use crate::select::Context;
use crate::select::rules::Rules;
use crate::topology::Layout;
use crate::topology::host::Constants;
use crate::transport::arena::{Arena, Reach};
use crate::transport::memory::{self, Mapping};
use crate::types::{Rank, TransportKind};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::{Duration, Instant};

/// The world's own communicator.
const WORLD: u64 = 1;

/// Where a communicator comes from: what it needs to make others of the same ranks.
#[derive(Clone)]
pub(super) enum Origin {
    Threads(Arc<ThreadWorld>),
    Processes(Arc<ProcessWorld>),
}

/// Threads of one process that began as one world.
pub(super) struct ThreadWorld {
    /// What the ranks of a new communicator share, until all of them have taken it.
    nurseries: Mutex<HashMap<u64, Nursery>>,
}

struct Nursery {
    arena: Arc<Arena>,
    hub: Arc<Hub>,
    still_to_come: usize,
}

/// Processes that began as one job.
pub(super) struct ProcessWorld {
    pub world: Arc<World>,
    transport: Option<TransportKind>,
    shm_bytes: Option<usize>,
    /// The control planes to which frames of the mesh go.
    controls: Arc<Controls>,
}

#[derive(Default)]
struct Controls {
    by_communicator: Mutex<HashMap<u64, Weak<Control>>>,
    /// Where this rank stood in communicators that it has left, oldest first.
    left: Mutex<VecDeque<(u64, Line)>>,
}

/// Communicators that a rank remembers to have left. Of an older one it says that it never had it.
const LEFT: usize = 1024;

impl Controls {
    fn all(&self) -> Vec<Arc<Control>> {
        self.by_communicator.lock().expect("no panic under this lock").values().filter_map(Weak::upgrade).collect()
    }

    fn get(&self, communicator: u64) -> Option<Arc<Control>> {
        self.by_communicator.lock().expect("no panic under this lock").get(&communicator).and_then(Weak::upgrade)
    }

    /// Whether this was the last one.
    fn leave(&self, control: &Control) -> bool {
        let mut left = self.left.lock().expect("no panic under this lock");
        if left.len() == LEFT {
            left.pop_front();
        }
        left.push_back((control.communicator(), control.recorder.last_line()));
        let mut controls = self.by_communicator.lock().expect("no panic under this lock");
        controls.remove(&control.communicator());
        controls.is_empty()
    }
}

impl ControlSink for Controls {
    fn announced(&self, origin: Rank, communicator: u64, word: &[u8]) {
        if let Some(control) = self.get(communicator) {
            control.hear(origin, word);
        }
    }

    fn asked(&self, communicator: u64, sequence: u64) -> Vec<u8> {
        if let Some(control) = self.get(communicator) {
            return control.answer(sequence);
        }
        let left = self.left.lock().expect("no panic under this lock");
        left.iter().find(|(id, _)| *id == communicator).map_or_else(Vec::new, |(_, line)| line.encode())
    }

    fn answered(&self, communicator: u64, round: u64, answer: &[u8], ranks: &RankSet) {
        if let Some(control) = self.get(communicator) {
            control.hear_answer(round, answer, ranks);
        }
    }

    fn lost(&self, rank: Rank, how: &str) {
        self.all().iter().for_each(|control| control.peer_lost(rank, how));
    }

    fn left(&self, rank: Rank) {
        self.all().iter().for_each(|control| control.peer_left(rank));
    }
}

/// Chooses what a communicator is made with.
///
/// What is not set here is taken from UNISONO_TIMEOUT (seconds), UNISONO_TRANSPORT, UNISONO_REQUIRE, UNISONO_ALGORITHM,
/// UNISONO_RULES (a file of [`rules`](crate::select::rules)) and UNISONO_SHM_BYTES, then from the defaults. UNISONO_EXPLAIN=1 makes rank 0 say
/// on stderr of every new shape of call what runs and why, as `unisono plan` does. UNISONO_RECORD=DIR makes every rank append its last operations to DIR/rank-R.jsonl when a communicator fails. Other
/// variables that begin with UNISONO_ are warned of once, through `tracing`.
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
        let world = Arc::new(ThreadWorld { nurseries: Mutex::default() });
        let constants = Constants::of(TransportKind::Memory, ranks, processors());
        let context = Context::new(settings.algorithm.clone(), constants).with_rules(rules);
        let context = Arc::new(Context { strict: settings.strict.unwrap_or(false), ..context });
        let members: Vec<Rank> = (0..ranks).collect();
        (0..ranks)
            .map(|rank| Origin::Threads(world.clone()).make(WORLD, rank, &members, context.clone(), &settings))
            .collect()
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
        let hello = Hello::of(&settings, job.rank);
        let world = World::join(job, &hello.encode(), deadline)?;
        let hellos =
            (0..world.size()).map(|rank| Hello::decode(rank, &world.peer(rank).hello)).collect::<Result<Vec<_>>>()?;
        agree(&hellos).map_err(|error| error.on_rank(world.rank()))?;
        let rules = hellos[0].rules.clone().transpose().map_err(|told| told.error().on_rank(world.rank()))?;
        let controls = Arc::new(Controls::default());
        let origin = Origin::Processes(Arc::new(ProcessWorld {
            world: world.clone(),
            transport: hellos[0].transport,
            shm_bytes: hellos[0].shm_bytes,
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
        let neighbours = members.iter().filter(|member| world.peer(**member).host == world.peer(0).host).count();
        let constants = Constants::of(kind.unwrap_or(TransportKind::Memory), neighbours, hellos[0].processors);
        let context = Context::new(hellos[0].algorithm.clone(), constants).with_rules(rules.unwrap_or_default());
        let context = Arc::new(Context { strict: hellos[0].strict, ..context });
        let made = origin.make(WORLD, world.rank(), &members, context, &settings);
        // The others may be waiting for what this rank can't do, and should hear why.
        let communicator = made.inspect_err(|error| world.give_up(error.message()))?;
        tracing::info!("{}", communicator.describe());
        Ok(communicator)
    }
}

/// Processors that this process may use.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What every rank tells every other before anything is chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) version: String,
    pub(super) algorithm: Option<String>,
    /// Rank 0's, where it has any; if they can't be read, all hear why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rules: Option<std::result::Result<Rules, Refusal>>,
    pub(super) transport: Option<TransportKind>,
    pub(super) require: Option<TransportKind>,
    pub(super) shm_bytes: Option<usize>,
    /// That the rank may use; rank 0's number counts.
    pub(super) processors: usize,
    pub(super) strict: bool,
}

/// Why rank 0's rules can't be followed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Refusal {
    what: String,
    remedy: String,
}

impl Refusal {
    fn error(self) -> Error {
        Error::new(ErrorKind::Configuration, excerpt(&self.what, 1000)).remedy(excerpt(&self.remedy, 200))
    }
}

impl Hello {
    fn of(settings: &Settings, rank: Rank) -> Hello {
        let refusal = |error: Error| Refusal {
            what: error.message().to_owned(),
            remedy: "mend the file that UNISONO_RULES names to rank 0, or unset the variable".to_owned(),
        };
        Hello {
            rules: (rank == 0 && settings.has_rules()).then(|| settings.rules().map_err(refusal)),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            algorithm: settings.algorithm.clone(),
            transport: settings.transport,
            require: settings.require,
            shm_bytes: settings.shm_bytes,
            processors: processors(),
            strict: settings.strict.unwrap_or(false),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain fields")
    }

    pub(super) fn decode(rank: Rank, bytes: &[u8]) -> Result<Hello> {
        serde_json::from_slice(bytes).map_err(|cause| {
            Error::new(
                ErrorKind::Rendezvous,
                format!("rank {rank} speaks another language: {}", excerpt(&cause.to_string(), 100)),
            )
            .with_peer(rank)
            .remedy("run the same version of the library on every rank")
        })
    }
}

/// What another rank wrote, as far as it belongs into a sentence of ours.
fn excerpt(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

/// Every rank must run the same version: plans of others need not match ours.
fn agree(hellos: &[Hello]) -> Result<()> {
    match hellos.iter().enumerate().find(|(_, hello)| hello.version != hellos[0].version) {
        None => Ok(()),
        Some((rank, hello)) => Err(Error::new(
            ErrorKind::Rendezvous,
            format!(
                "rank {rank} runs version {} and rank 0 version {}",
                excerpt(&hello.version, 100),
                excerpt(&hellos[0].version, 100)
            ),
        )
        .with_peer(rank)
        .remedy("run the same version of the library on every rank")),
    }
}

/// The parts of a communicator that depend on where its ranks are.
struct Ground {
    paths: Vec<Option<Path>>,
    arena: Option<(Arc<Arena>, usize)>,
    control: Arc<Control>,
    local_ranks: usize,
}

impl Origin {
    /// A communicator of `members` (world ranks), of which this is `rank`. Collective: every member calls it.
    pub fn make(
        &self,
        id: u64,
        rank: Rank,
        members: &[Rank],
        context: Arc<Context>,
        settings: &Settings,
    ) -> Result<Communicator> {
        let deadline = Instant::now() + settings.timeout();
        let ground = match self {
            Origin::Threads(world) => world.ground(id, rank, members)?,
            Origin::Processes(world) => world.ground(id, rank, members, deadline)?,
        };
        let Ground { paths, arena, control, local_ranks } = ground;
        let transports = kinds(&paths);
        let links = Links::new(rank, paths, self.connector(id, members));
        let bell = arena.as_ref().map(|(arena, index)| arena.bell(*index));
        let patience = Patience::for_ranks(local_ranks, settings.progress, bell.is_some());
        let timeout = settings.timeout();
        let size = members.len();
        let diagnostics = settings.diagnostics.clone();
        let layout = self.layout(members);
        let mut engine =
            Engine::new(rank, links, control.clone(), bell.clone(), patience, context.clone(), diagnostics.clone());
        engine.layout = layout;
        if context.strict {
            engine.be_strict(timeout)?;
        }
        let generation = crate::fork::generation();
        let shared = Arc::new(Shared {
            engine: Mutex::new(engine),
            work: Condvar::new(),
            bell,
            callers: AtomicUsize::new(0),
            generation,
            rank,
        });
        if settings.progress == Progress::Thread {
            super::handle::spawn_progress_thread(&shared)?;
        }
        Ok(Communicator {
            rank,
            size,
            timeout,
            progress: settings.progress,
            transports,
            shared_bytes: arena.map_or(0, |(arena, _)| arena.bytes()),
            context,
            layout,
            diagnostics,
            control,
            shared,
            origin: self.clone(),
            transfers: Vec::new(),
            counts: [Vec::new(), Vec::new()],
            children: 0,
        })
    }

    fn connector(&self, id: u64, members: &[Rank]) -> crate::exec::links::Connect {
        match self {
            Origin::Threads(_) => Arc::new(|names, _| unreachable!("threads reach {names:?} through memory")),
            Origin::Processes(world) => {
                let (world, members) = (world.world.clone(), members.to_vec());
                let world_rank = move |peer: Rank| members[peer];
                Arc::new(move |names, hope| {
                    let wanted: Vec<_> =
                        names.iter().map(|name| (world_rank(name.peer), tag(id, u64::from(name.channel)))).collect();
                    let rank_of = |world_rank| {
                        let index = wanted.iter().position(|(rank, _)| *rank == world_rank);
                        names[index.expect("one of those that are wanted")].peer
                    };
                    world.open_streams(&wanted, hope.deadline, &|peer| (hope.hopeless)(rank_of(peer)))
                })
            }
        }
    }

    /// Which members share a host; all of them find the same.
    fn layout(&self, members: &[Rank]) -> Layout {
        let Origin::Processes(world) = self else { return Layout::Flat };
        let mut known: HashMap<&HostId, u32> = HashMap::new();
        let host = |member: &Rank| {
            let next = known.len() as u32;
            *known.entry(&world.world.peer(*member).host).or_insert(next)
        };
        Layout::of(&members.iter().map(host).collect::<Vec<u32>>())
    }

    /// The transport of the slowest pair; None for a world of one rank.
    pub fn slowest(&self, members: &[Rank]) -> Option<TransportKind> {
        match self {
            Origin::Threads(_) => (members.len() > 1).then_some(TransportKind::Memory),
            Origin::Processes(world) => members.iter().skip(1).map(|member| world.kind(members[0], *member)).max(),
        }
    }

    /// A dropped communicator leaves nothing behind. The last one of a process says goodbye for it here: a progress thread or a
    /// handle may still hold the world when the process ends, which would look like a death.
    pub fn leave(&self, control: &Control) {
        if let Origin::Processes(world) = self {
            let was_last = world.controls.leave(control);
            world.world.refuse_streams(control.communicator());
            if was_last {
                world.world.leave();
            }
        }
    }
}

fn kinds(paths: &[Option<Path>]) -> Vec<Option<TransportKind>> {
    paths.iter().map(|path| path.as_ref().map(Path::kind)).collect()
}

/// Names a connection or a shared file of a communicator.
pub(super) fn tag(id: u64, part: u64) -> [u8; 16] {
    let mut tag = [0; 16];
    tag[..8].copy_from_slice(&id.to_le_bytes());
    tag[8..].copy_from_slice(&part.to_le_bytes());
    tag
}

/// The part of a tag that stands for the arena, apart from those of channels and windows.
const ARENA_PART: u64 = 1 << 32;

impl ThreadWorld {
    fn ground(&self, id: u64, rank: Rank, members: &[Rank]) -> Result<Ground> {
        let size = members.len();
        let mut nurseries = self.nurseries.lock().expect("no panic under this lock");
        if let std::collections::hash_map::Entry::Vacant(vacant) = nurseries.entry(id) {
            vacant.insert(Nursery { arena: Arena::for_threads(size)?, hub: Hub::new(size), still_to_come: size });
        }
        let nursery = nurseries.get_mut(&id).expect("just made");
        let (arena, hub) = (nursery.arena.clone(), nursery.hub.clone());
        nursery.still_to_come -= 1;
        if nursery.still_to_come == 0 {
            nurseries.remove(&id);
        }
        drop(nurseries);
        let path = |peer: Rank| (peer != rank).then(|| Path::Arena { arena: arena.clone(), own: rank, peer });
        let paths: Vec<Option<Path>> = (0..size).map(path).collect();
        Ok(Ground {
            control: Control::new(id, rank, members.to_vec(), kinds(&paths), Outlet::Hub(hub), Clock::Real),
            paths,
            arena: Some((arena, rank)),
            local_ranks: size,
        })
    }
}

impl ProcessWorld {
    /// How two world ranks reach each other.
    fn kind(&self, a: Rank, b: Rank) -> TransportKind {
        let same_host = self.world.peer(a).host == self.world.peer(b).host;
        if same_host && self.transport != Some(TransportKind::Tcp) { TransportKind::Shm } else { TransportKind::Tcp }
    }

    fn ground(&self, id: u64, rank: Rank, members: &[Rank], deadline: Instant) -> Result<Ground> {
        let own = members[rank];
        let local: Vec<Rank> = members
            .iter()
            .copied()
            .filter(|member| *member == own || self.kind(own, *member) == TransportKind::Shm)
            .collect();
        let arena = match local.len() {
            1 => None,
            _ => Some(self.share_arena(id, own, &local, deadline)?),
        };
        let index = |member: Rank| local.iter().position(|local| *local == member);
        let path = |member: &Rank| match (&arena, index(*member)) {
            _ if *member == own => None,
            (Some(arena), Some(peer)) => {
                Some(Path::Arena { arena: arena.clone(), own: index(own).expect("we are local"), peer })
            }
            _ => Some(Path::Tcp),
        };
        let paths: Vec<Option<Path>> = members.iter().map(path).collect();
        let outlet = Outlet::mesh(self.world.clone(), members);
        let control = Control::new(id, rank, members.to_vec(), kinds(&paths), outlet, Clock::Real);
        self.controls.by_communicator.lock().expect("no panic under this lock").insert(id, Arc::downgrade(&control));
        Ok(Ground {
            paths,
            control,
            arena: arena.clone().map(|arena| (arena, index(own).expect("we are local"))),
            local_ranks: members
                .iter()
                .filter(|member| self.world.peer(**member).host == self.world.peer(own).host)
                .count(),
        })
    }

    fn share_arena(&self, id: u64, own: Rank, local: &[Rank], deadline: Instant) -> Result<Arc<Arena>> {
        let bytes = self.shm_bytes.unwrap_or_else(|| Arena::default_bytes(local.len(), Reach::Processes));
        let mapping = self.share_memory(own, local, tag(id, ARENA_PART), bytes, deadline)?;
        Arena::for_processes(mapping, local.len())
    }

    /// Memory of `bytes` that all `local` ranks map: made by the first of them, handed to the others.
    pub fn share_memory(
        &self,
        own: Rank,
        local: &[Rank],
        tag: [u8; 16],
        bytes: usize,
        deadline: Instant,
    ) -> Result<Mapping> {
        let file = if local[0] == own { Some(memory::create_file(bytes)?) } else { None };
        let file = self.world.share_fd(local, tag, file, deadline)?;
        Mapping::of_file(&file, bytes)
    }
}
