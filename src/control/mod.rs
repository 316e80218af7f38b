//! The control plane of a communicator: who has entered which call, who is gone, and the first failure.
//!
//! It stands beside the data path because neighbours in the data path can't name a stopped rank three hops away. Each rank
//! keeps its own line up to date with plain stores ([`recorder`]); others read it only when they have waited for a while.
//! Between threads they read it directly, between processes they ask over the mesh and every rank's mesh thread answers.

mod frame;
mod mismatch;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
pub mod recorder;

use crate::bootstrap::World;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind};
use crate::transport::arena::Bell;
use crate::types::Rank;
use frame::Frame;
pub use frame::{Line, communicator_of};
pub use mismatch::{describe_mismatch, named};
use recorder::Recorder;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::time::{Duration, Instant};

/// An answer that is asked for again within this time is not given again, so that waiting ranks don't flood each other.
const ANSWER_INTERVAL: Duration = Duration::from_millis(20);

/// What one rank of one communicator knows of the others, shared with the thread that hears from them.
pub struct Control {
    communicator: u64,
    rank: Rank,
    /// World rank of each rank.
    members: Vec<Rank>,
    outlet: Outlet,
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
    peers: Mutex<Vec<PeerLine>>,
    last_answer: Mutex<Option<(Instant, u64)>>,
    bell: Mutex<Option<Bell>>,
    pub recorder: Recorder,
    /// What deadlines and answers are timed with.
    pub clock: Clock,
}

/// What was last heard of a rank.
#[derive(Clone, Debug, Default)]
pub struct PeerLine {
    pub line: Option<Line>,
    /// When `line` came; for threads it is always now.
    pub heard: Option<Instant>,
    /// The rank dropped its communicator or ended in good order.
    pub left: bool,
}

/// How to reach the other ranks' control planes.
pub enum Outlet {
    /// Threads of this process.
    Hub(Arc<Hub>),
    /// Processes.
    Mesh(Arc<World>),
}

/// The control planes of all ranks of a communicator of threads.
pub struct Hub {
    ranks: RwLock<Vec<Weak<Control>>>,
}

impl Hub {
    pub fn new(size: usize) -> Arc<Hub> {
        Arc::new(Hub { ranks: RwLock::new((0..size).map(|_| Weak::new()).collect()) })
    }

    fn rank(&self, rank: Rank) -> Option<Arc<Control>> {
        self.ranks.read().expect("no panic under this lock")[rank].upgrade()
    }
}

impl Control {
    pub fn new(communicator: u64, rank: Rank, members: Vec<Rank>, outlet: Outlet, clock: Clock) -> Arc<Control> {
        let size = members.len();
        let control = Arc::new(Control {
            communicator,
            rank,
            members,
            outlet,
            failed: AtomicBool::new(false),
            failure: Mutex::new(None),
            peers: Mutex::new(vec![PeerLine::default(); size]),
            last_answer: Mutex::new(None),
            bell: Mutex::new(None),
            recorder: Recorder::new(),
            clock,
        });
        if let Outlet::Hub(hub) = &control.outlet {
            hub.ranks.write().expect("no panic under this lock")[rank] = Arc::downgrade(&control);
        }
        control
    }

    pub fn communicator(&self) -> u64 {
        self.communicator
    }

    pub fn size(&self) -> usize {
        self.members.len()
    }

    /// The world rank of a rank, and back.
    pub fn member(&self, rank: Rank) -> Rank {
        self.members[rank]
    }

    pub fn rank_of(&self, world_rank: Rank) -> Option<Rank> {
        self.members.iter().position(|member| *member == world_rank)
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
        if !self.note_failure(error.clone()) {
            return self.failure().unwrap_or(error);
        }
        self.send(&Frame::Failed { error: frame::Failure::of(&error, self.rank) });
        error
    }

    /// Records a failure without telling others; false if there was one before.
    fn note_failure(&self, error: Error) -> bool {
        {
            let mut failure = self.failure.lock().expect("no panic under this lock");
            if failure.is_some() {
                return false;
            }
            *failure = Some(error);
        }
        self.failed.store(true, Ordering::Release);
        self.wake();
        true
    }

    fn wake(&self) {
        if let Some(bell) = &*self.bell.lock().expect("no panic under this lock") {
            bell.ring();
        }
    }

    /// Asks all ranks what they do at `sequence`; answers come by and by (threads need not be asked).
    pub fn ask(&self, sequence: u64) {
        match &self.outlet {
            Outlet::Hub(_) => {}
            Outlet::Mesh(_) => {
                self.send(&Frame::Asked { sequence });
                self.answer(sequence);
            }
        }
    }

    /// What is known of every rank at `sequence`. The own entry is always there.
    pub fn lines(&self, sequence: u64) -> Vec<PeerLine> {
        let mut lines = self.peers.lock().expect("no panic under this lock").clone();
        if let Outlet::Hub(hub) = &self.outlet {
            for (rank, entry) in lines.iter_mut().enumerate() {
                if let Some(control) = hub.rank(rank) {
                    entry.line = Some(control.recorder.line(sequence));
                    entry.heard = Some(self.clock.now());
                }
            }
        }
        lines[self.rank].line = Some(self.recorder.line(sequence));
        lines[self.rank].heard = Some(self.clock.now());
        lines
    }

    /// Tells the others that this rank will make no more calls.
    pub fn leave(&self) {
        self.send(&Frame::Left);
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

    /// The process of a world rank said goodbye.
    pub fn peer_left(&self, world_rank: Rank) {
        if let Some(rank) = self.rank_of(world_rank) {
            self.peers.lock().expect("no panic under this lock")[rank].left = true;
            self.wake();
        }
    }

    /// A frame for this communicator from a world rank.
    pub fn hear(&self, world_rank: Rank, frame: &[u8]) {
        if let (Some(from), Some(frame)) = (self.rank_of(world_rank), Frame::decode(frame)) {
            self.handle(from, frame);
        }
    }

    fn handle(&self, from: Rank, frame: Frame) {
        match frame {
            Frame::Asked { sequence } => self.answer(sequence),
            Frame::At { line } => {
                let mut peers = self.peers.lock().expect("no panic under this lock");
                peers[from].line = Some(line);
                peers[from].heard = Some(self.clock.now());
            }
            Frame::Failed { error } => {
                self.note_failure(error.into_error(from));
            }
            Frame::Left => {
                self.peers.lock().expect("no panic under this lock")[from].left = true;
                self.wake();
            }
        }
    }

    fn answer(&self, sequence: u64) {
        let now = self.clock.now();
        {
            let mut last = self.last_answer.lock().expect("no panic under this lock");
            if last.is_some_and(|(at, said)| said == sequence && now - at < ANSWER_INTERVAL) {
                return;
            }
            *last = Some((now, sequence));
        }
        self.send(&Frame::At { line: self.recorder.line(sequence) });
    }

    fn send(&self, frame: &Frame) {
        match &self.outlet {
            Outlet::Hub(hub) => {
                for rank in (0..self.size()).filter(|rank| *rank != self.rank) {
                    if let Some(control) = hub.rank(rank) {
                        control.handle(self.rank, frame.clone());
                    }
                }
            }
            Outlet::Mesh(world) => world.flood(&frame.encode(self.communicator)),
        }
    }
}
