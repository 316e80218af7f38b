//! Making communicators: of threads, of the processes of a job, and the parts common to both.

mod builder;
mod controls;
mod hello;
mod processes;
mod threads;

pub use builder::Builder;
#[cfg(any(test, fuzzing))]
pub(super) use hello::Hello;

use super::apart::Apart;
use super::engine::Engine;
use super::settings::{Patience, Settings};
use super::started::ticket::Tickets;
use super::{Communicator, Progress, Shared};
use crate::bootstrap::HostId;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::exec::links::{Links, Path};
use crate::select::Context;
use crate::topology::Layout;
use crate::topology::host::{Constants, Speeds};
use crate::transport::arena::Arena;
use crate::transport::seats::Seats;
use crate::types::{Rank, TransportKind};
pub(super) use processes::FileHope;
use processes::ProcessWorld;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicUsize};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;
use threads::ThreadWorld;

/// The world's own communicator.
pub(super) const WORLD: u64 = 1;

/// Where a communicator comes from: what it needs to make others of the same ranks.
#[derive(Clone)]
pub(super) enum Origin {
    Threads(Arc<ThreadWorld>),
    Processes(Arc<ProcessWorld>),
}

/// The parts of a communicator that depend on where its ranks are.
struct Ground {
    paths: Vec<Option<Path>>,
    arena: Option<(Arc<Arena>, usize)>,
    control: Arc<Control>,
    local_ranks: usize,
}

impl Origin {
    /// A communicator of `members` (world ranks), of which this is `rank`. Collective: every member calls it. `hopeless` tells of a
    /// failure elsewhere, for which nobody should wait any longer.
    pub fn make(
        &self,
        id: u64,
        rank: Rank,
        members: &[Rank],
        context: Arc<Context>,
        settings: &Settings,
        hopeless: &dyn Fn() -> Option<Error>,
    ) -> Result<Communicator> {
        let deadline = Instant::now() + settings.timeout();
        let ground = match self {
            Origin::Threads(world) => world.ground(id, rank, members)?,
            Origin::Processes(world) => world.ground(id, rank, members, &FileHope { deadline, hopeless })?,
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
        if let Some((arena, index)) = &arena
            && settings.moves_apart()
            && local_ranks <= builder::processors()
        {
            engine.apart = Apart::new(Seats::new(arena.clone(), *index));
        }
        if context.strict {
            engine.be_strict(timeout)?;
        }
        let generation = crate::fork::generation();
        let shared = Arc::new(Shared {
            engine: Mutex::new(engine),
            work: Condvar::new(),
            bell,
            callers: AtomicUsize::new(0),
            token: AtomicU8::new(0),
            generation,
            rank,
        });
        if settings.progress == Progress::Thread {
            super::started::spawn_progress_thread(&shared)?;
        }
        let communicator = Communicator {
            rank,
            size,
            timeout,
            progress: settings.progress,
            transports,
            pairs: self.pairs(members),
            shared_bytes: arena.map_or(0, |(arena, _)| arena.bytes()),
            context,
            layout,
            local_ranks,
            diagnostics,
            control,
            shared,
            origin: self.clone(),
            transfers: Vec::new(),
            counts: [Vec::new(), Vec::new()],
            tickets: Tickets::default(),
            scoped: Vec::new(),
            children: 0,
        };
        communicator.diagnostics.tell(rank, &communicator);
        Ok(communicator)
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

    /// How many pairs of members use each transport: counted by hosts, since of a thousand ranks there are half a million pairs.
    fn pairs(&self, members: &[Rank]) -> [(TransportKind, usize); TransportKind::ALL.len()] {
        let pairs_of = |ranks: usize| ranks * ranks.saturating_sub(1) / 2;
        let all = pairs_of(members.len());
        let (near, far) = match self {
            Origin::Threads(_) => (all, 0),
            Origin::Processes(world) => {
                let mut by_host: HashMap<&HostId, usize> = HashMap::new();
                members.iter().for_each(|member| *by_host.entry(&world.world.peer(*member).host).or_default() += 1);
                let near = by_host.into_values().map(pairs_of).sum();
                if world.uses_shared_memory() { (near, all - near) } else { (0, all) }
            }
        };
        TransportKind::ALL.map(|kind| match (kind, self) {
            (TransportKind::Memory, Origin::Threads(_)) | (TransportKind::Shm, Origin::Processes(_)) => (kind, near),
            (TransportKind::Tcp, Origin::Processes(_)) => (kind, far),
            _ => (kind, 0),
        })
    }

    /// The transport of the slowest pair; None for a world of one rank.
    pub fn slowest(&self, members: &[Rank]) -> Option<TransportKind> {
        match self {
            Origin::Threads(_) => (members.len() > 1).then_some(TransportKind::Memory),
            Origin::Processes(world) => members.iter().skip(1).map(|member| world.kind(members[0], *member)).max(),
        }
    }

    /// What the ranks of a communicator of `members` choose by, on hosts of this speed; all of them find the same. Wishes of users are
    /// not in it yet.
    pub fn context(&self, members: &[Rank], speeds: Speeds) -> Context {
        match self {
            Origin::Threads(_) => {
                let constants = Constants::of(TransportKind::Memory, members.len(), builder::processors());
                Context::new(None, constants.with_speeds(speeds))
            }
            Origin::Processes(world) => {
                let kind = if world.uses_shared_memory() { TransportKind::Shm } else { TransportKind::Tcp };
                let (ranks, processors) = (world.most_on_a_host(members), world.processors[members[0]]);
                Context::of_processes(Constants::of(kind, ranks, processors).with_speeds(speeds))
            }
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
