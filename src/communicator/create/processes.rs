//! Worlds of processes.

use super::controls::Controls;
use super::{Ground, kinds, tag};
use crate::bootstrap::{HostId, World};
use crate::clock::Clock;
use crate::control::{Control, Outlet};
use crate::error::{Error, Result};
use crate::exec::links::Path;
use crate::transport::arena::{Arena, Reach};
use crate::transport::memory::{self, Mapping};
use crate::types::{Rank, TransportKind};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

/// Processes that began as one job.
pub struct ProcessWorld {
    pub world: Arc<World>,
    pub transport: Option<TransportKind>,
    pub shm_bytes: Option<usize>,
    /// That the process of each rank may use.
    pub processors: Vec<usize>,
    /// The control planes to which frames of the mesh go.
    pub controls: Arc<Controls>,
}

/// How long the ranks of a host wait for each other while they share a file, and what ends it sooner.
pub struct FileHope<'a> {
    pub deadline: Instant,
    /// Why there will be no file.
    pub hopeless: &'a dyn Fn() -> Option<Error>,
}

/// The part of a tag that stands for the arena, apart from those of channels and windows.
const ARENA_PART: u64 = 1 << 32;

impl ProcessWorld {
    /// Between ranks of one host.
    pub fn uses_shared_memory(&self) -> bool {
        self.transport != Some(TransportKind::Tcp)
    }

    /// How two world ranks reach each other.
    pub fn kind(&self, a: Rank, b: Rank) -> TransportKind {
        let same_host = self.world.peer(a).host == self.world.peer(b).host;
        if same_host && self.uses_shared_memory() { TransportKind::Shm } else { TransportKind::Tcp }
    }

    /// Members on the host that has most of them.
    pub fn most_on_a_host(&self, members: &[Rank]) -> usize {
        let mut counts: HashMap<&HostId, usize> = HashMap::new();
        for member in members {
            *counts.entry(&self.world.peer(*member).host).or_default() += 1;
        }
        counts.into_values().max().unwrap_or(1)
    }

    pub(super) fn ground(&self, id: u64, rank: Rank, members: &[Rank], hope: &FileHope) -> Result<Ground> {
        let own = members[rank];
        let local: Vec<Rank> = members
            .iter()
            .copied()
            .filter(|member| *member == own || self.kind(own, *member) == TransportKind::Shm)
            .collect();
        let arena = match local.len() {
            1 => None,
            _ => Some(self.share_arena(id, own, &local, hope)?),
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

    fn share_arena(&self, id: u64, own: Rank, local: &[Rank], hope: &FileHope) -> Result<Arc<Arena>> {
        let bytes = self.shm_bytes.unwrap_or_else(|| Arena::default_bytes(local.len(), Reach::Processes));
        let mapping = self.share_memory(own, local, tag(id, ARENA_PART), bytes, hope)?;
        Arena::for_processes(mapping, local.len())
    }

    /// Memory of `bytes` that all `local` ranks map: made by the first of them, handed to the others.
    fn share_memory(&self, own: Rank, local: &[Rank], tag: [u8; 16], bytes: usize, hope: &FileHope) -> Result<Mapping> {
        let file = if local[0] == own { Some(memory::create_file(bytes)?) } else { None };
        self.share_file(local, tag, file, bytes, hope)
    }

    /// The memory of a file of `bytes` that all `local` ranks map: given by the first of them, who made it.
    pub fn share_file(
        &self,
        local: &[Rank],
        tag: [u8; 16],
        file: Option<OwnedFd>,
        bytes: usize,
        hope: &FileHope,
    ) -> Result<Mapping> {
        let file = self.world.share_fd(local, tag, file, hope.deadline, hope.hopeless)?;
        Mapping::of_file(&file, bytes)
    }
}
