//! The control plane of a communicator: who has entered which call, who is gone, and the first failure.
//!
//! It stands beside the data path because neighbours in the data path can't name a stopped rank three hops away. Each rank
//! keeps its own line up to date with plain stores ([`recorder`]); others read it only when they have waited for a while.
//! Between threads they read it directly, between processes they ask over the mesh and every rank's mesh thread answers.

mod frame;
mod hub;
mod mismatch;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
pub mod recorder;

use crate::bootstrap::{RankSet, World};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind};
use crate::transport::arena::Bell;
use crate::types::{Rank, TransportKind};
use frame::Failure;
pub use frame::Line;
pub use hub::Hub;
pub use mismatch::{describe_mismatch, named};
use recorder::{Recorder, told_before};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What one rank of one communicator knows of the others, shared with the thread that hears from them.
pub struct Control {
    communicator: u64,
    rank: Rank,
    members: Vec<Rank>,
    outlet: Outlet,
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
    bell: Mutex<Option<Bell>>,
    pub recorder: Recorder,
    /// What deadlines are timed with.
    pub clock: Clock,
}

/// What is known of a rank.
#[derive(Clone, Debug, Default)]
pub struct PeerLine {
    pub line: Option<Arc<Line>>,
    /// The last round of questions that the rank has answered.
    pub round: u64,
    /// The rank dropped its communicator or ended in good order.
    pub left: bool,
}

/// How to reach the other ranks' control planes.
pub enum Outlet {
    /// Threads of this process.
    Hub(Arc<Hub>),
    /// Processes.
    Mesh(Correspondence),
}

/// What is known of ranks that are processes.
pub struct Correspondence {
    world: Arc<World>,
    /// Of each world rank, which rank of the communicator it is.
    ranks: HashMap<Rank, Rank>,
    peers: Mutex<Vec<PeerLine>>,
}

impl Outlet {
    /// `members` are the world ranks of the communicator's ranks.
    pub fn mesh(world: Arc<World>, members: &[Rank]) -> Outlet {
        let ranks = members.iter().enumerate().map(|(rank, member)| (*member, rank)).collect();
        Outlet::Mesh(Correspondence { world, ranks, peers: Mutex::new(vec![PeerLine::default(); members.len()]) })
    }
}

/// See [`Control::pace`]; well below the time after which questions are repeated.
const MAX_PACE: Duration = Duration::from_secs(2);

/// Answers of threads need no asking.
const ALWAYS: u64 = u64::MAX;

impl Control {
    /// `members` are the world ranks, `transports` those to every rank, None to this one.
    pub fn new(
        communicator: u64,
        rank: Rank,
        members: Vec<Rank>,
        transports: Vec<Option<TransportKind>>,
        outlet: Outlet,
        clock: Clock,
    ) -> Arc<Control> {
        let control = Arc::new(Control {
            communicator,
            rank,
            members,
            outlet,
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
            bell: Mutex::new(None),
            recorder: Recorder::new(rank, transports),
            clock,
        });
        if let Outlet::Hub(hub) = &control.outlet {
            hub.enter(rank, &control);
        }
        control
    }

    pub fn communicator(&self) -> u64 {
        self.communicator
    }

    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// The world rank of a rank.
    pub fn member(&self, rank: Rank) -> Rank {
        self.members[rank]
    }

    /// Rung when something happens that a sleeping rank must see.
    pub fn set_bell(&self, bell: Bell) {
        *self.bell.lock().expect("no panic under this lock") = Some(bell);
    }

    /// Whether an operation can't succeed any more. One load: every wait loop looks.
    #[inline]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// The first failure, if there was one.
    pub fn failure(&self) -> Option<Error> {
        self.failure.lock().expect("no panic under this lock").clone()
    }

    /// Makes this the failure of the communicator on all ranks, unless there was one before; returns the one that counts.
    pub fn fail(&self, error: Error) -> Error {
        if !self.keep_failure(error.clone()) {
            return self.failure().unwrap_or(error);
        }
        // The others first: this rank may leave as soon as it sees the failure, and they would miss it without knowing why.
        let failure = Failure::of(&error, self.rank);
        match &self.outlet {
            Outlet::Hub(hub) => {
                for other in (0..self.size()).filter(|rank| *rank != self.rank).filter_map(|rank| hub.rank(rank)) {
                    other.note_failure(failure.clone().into_error(self.rank));
                }
            }
            // Where another failure was announced before, the ranks behind it need not hear of this one.
            Outlet::Mesh(mesh) => mesh.world.announce(self.communicator, &failure.encode()),
        }
        self.show_failure();
        error
    }

    /// Records a failure without telling others, unless there was one before.
    fn note_failure(&self, error: Error) {
        if self.keep_failure(error) {
            self.show_failure();
        }
    }

    /// False if there was one before.
    fn keep_failure(&self, error: Error) -> bool {
        let mut failure = self.failure.lock().expect("no panic under this lock");
        let is_first = failure.is_none();
        failure.get_or_insert(error);
        is_first
    }

    fn show_failure(&self) {
        self.failed.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        if let Some(bell) = &*self.bell.lock().expect("no panic under this lock") {
            bell.ring();
        }
    }

    /// Asks all ranks what they do at `sequence`, unless somebody did so less than `fresh` ago. Answers come by and by; the number
    /// returned is that of the round in which they count.
    pub fn ask(&self, sequence: u64, fresh: Duration) -> u64 {
        match &self.outlet {
            Outlet::Hub(_) => ALWAYS,
            Outlet::Mesh(mesh) => {
                mesh.world.ask(self.communicator, sequence, &self.recorder.line(sequence).encode(), fresh)
            }
        }
    }

    /// About as long as all ranks may need to answer, on a machine that has other things to do: what a question costs grows with
    /// the number of ranks, and many of them may share a processor.
    pub fn pace(&self) -> Duration {
        let ranks = match &self.outlet {
            Outlet::Hub(_) => self.size(),
            Outlet::Mesh(mesh) => mesh.world.size(),
        };
        Duration::from_millis(10 + ranks as u64).min(MAX_PACE)
    }

    /// What is known of a rank at `sequence`. Of this rank itself that is always something.
    pub fn peer(&self, rank: Rank, sequence: u64) -> PeerLine {
        let of = |control: &Control| Some(Arc::new(control.recorder.line(sequence)));
        match &self.outlet {
            _ if rank == self.rank => PeerLine { line: of(self), round: ALWAYS, left: false },
            Outlet::Hub(hub) => {
                let left = hub.has_left(rank);
                match hub.rank(rank) {
                    Some(control) => PeerLine { line: of(&control), round: ALWAYS, left },
                    None => PeerLine { left, ..PeerLine::default() },
                }
            }
            Outlet::Mesh(mesh) => mesh.peers.lock().expect("no panic under this lock")[rank].clone(),
        }
    }

    /// As [`Control::peer`], of all ranks.
    pub fn lines(&self, sequence: u64) -> Vec<PeerLine> {
        (0..self.size()).map(|rank| self.peer(rank, sequence)).collect()
    }

    pub fn has_left(&self, rank: Rank) -> bool {
        match &self.outlet {
            Outlet::Hub(hub) => hub.has_left(rank),
            Outlet::Mesh(mesh) => mesh.peers.lock().expect("no panic under this lock")[rank].left,
        }
    }

    /// Whether one of these ranks is known to have made another call than this rank at `sequence`, or shortly before.
    pub fn differs(&self, sequence: u64, ranks: &[Rank]) -> bool {
        let own = |one| self.recorder.fingerprint(one).map(|fingerprint| (one, fingerprint));
        let own: Vec<(u64, u32)> = told_before(sequence).filter_map(own).collect();
        let differs_from = |of: &dyn Fn(u64) -> Option<u32>| {
            own.iter().any(|(one, fingerprint)| of(*one).is_some_and(|other| other != *fingerprint))
        };
        match &self.outlet {
            Outlet::Hub(hub) => {
                let others = ranks.iter().filter_map(|rank| hub.rank(*rank));
                others.into_iter().any(|other| differs_from(&|one| other.recorder.fingerprint(one)))
            }
            Outlet::Mesh(mesh) => {
                let peers = mesh.peers.lock().expect("no panic under this lock");
                let lines = ranks.iter().filter_map(|rank| peers[*rank].line.as_ref());
                lines.into_iter().any(|line| differs_from(&|one| line.call(one).map(|call| call.fingerprint)))
            }
        }
    }

    /// This rank makes no more calls.
    pub fn leave(&self) {
        if let Outlet::Hub(hub) = &self.outlet {
            hub.leave(self.rank);
        }
    }

    /// The process of a world rank ended without a goodbye.
    pub fn peer_lost(&self, world_rank: Rank, how: &str) {
        if let Some(rank) = self.rank_of(world_rank) {
            let error = Error::new(ErrorKind::PeerLost, format!("rank {rank} is gone: {how}"))
                .with_peer(rank)
                .remedy(format!("see the output of rank {rank}; the communicator can only be dropped"));
            // Every rank hears of a loss from the mesh itself, so nobody needs to be told.
            self.note_failure(error);
        }
    }

    fn rank_of(&self, world_rank: Rank) -> Option<Rank> {
        match &self.outlet {
            Outlet::Hub(_) => self.members.iter().position(|member| *member == world_rank),
            Outlet::Mesh(mesh) => mesh.ranks.get(&world_rank).copied(),
        }
    }

    /// The process of a world rank said goodbye.
    pub fn peer_left(&self, world_rank: Rank) {
        if let (Some(rank), Outlet::Mesh(mesh)) = (self.rank_of(world_rank), &self.outlet) {
            mesh.peers.lock().expect("no panic under this lock")[rank].left = true;
            self.wake();
        }
    }

    /// What a world rank announced of this communicator.
    pub fn hear(&self, world_rank: Rank, word: &[u8]) {
        if let (Some(from), Some(failure)) = (self.rank_of(world_rank), Failure::decode(word)) {
            self.note_failure(failure.into_error(from));
        }
    }

    /// What this rank answers to a question.
    pub fn answer(&self, sequence: u64) -> Vec<u8> {
        self.recorder.line(sequence).encode()
    }

    /// What world ranks answered. An empty answer is one of ranks that do not have the communicator yet.
    pub fn hear_answer(&self, round: u64, answer: &[u8], world_ranks: &RankSet) {
        let Outlet::Mesh(mesh) = &self.outlet else { return };
        let line = if answer.is_empty() { Some(Line::default()) } else { Line::decode(answer) };
        let Some(line) = line.map(Arc::new) else { return };
        let mut peers = mesh.peers.lock().expect("no panic under this lock");
        for rank in world_ranks.iter().filter_map(|world_rank| mesh.ranks.get(&world_rank)) {
            let left = peers[*rank].left || line.left;
            peers[*rank] = PeerLine { line: Some(line.clone()), round, left };
        }
    }
}
