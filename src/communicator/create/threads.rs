//! Worlds of threads.

use super::{Ground, kinds};
use crate::clock::Clock;
use crate::control::{Control, Hub, Outlet};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::links::Path;
use crate::room;
use crate::transport::arena::Arena;
use crate::types::Rank;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// Threads of one process that began as one world.
#[derive(Default)]
pub struct ThreadWorld {
    /// What the ranks of a new communicator share, until all of them have taken it.
    nurseries: Mutex<HashMap<u64, Nursery>>,
}

struct Nursery {
    arena: Arc<Arena>,
    hub: Arc<Hub>,
    still_to_come: usize,
}

/// Memory of a world of threads for every two ranks and for every rank, before anything is sent: the peak of worlds of 1000 and 4000
/// ranks, measured on x86-64 Linux with glibc, November 2026, and rounded up.
const BYTES_PER_PAIR: u64 = 64;
const BYTES_PER_RANK: u64 = 192 << 10;

/// Refuses worlds of threads whose communicators alone need more memory than this host has left.
pub fn check_room(ranks: usize) -> Result<()> {
    let ranks = ranks as u64;
    let wanted =
        ranks.saturating_mul(ranks).saturating_mul(BYTES_PER_PAIR).saturating_add(ranks.saturating_mul(BYTES_PER_RANK));
    match room::of_host().filter(|(left, _)| *left < wanted) {
        None => Ok(()),
        Some((left, limit)) => Err(Error::new(
            ErrorKind::Resource,
            format!(
                "a world of {ranks} threads takes {} of memory, and {} {}",
                room::shown(wanted),
                room::shown(left),
                limit.describe()
            ),
        )
        .remedy("take fewer ranks")),
    }
}

impl ThreadWorld {
    pub(super) fn ground(&self, id: u64, rank: Rank, members: &[Rank]) -> Result<Ground> {
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
