//! The control plane of a job: each rank keeps connections to a few neighbours, and what one floods reaches all.
//!
//! One thread per process serves them. It sleeps in poll(2) when nothing happens. Every connection is first in, first out and
//! every rank passes frames on in the order in which it first got them, so frames of one origin arrive in order everywhere:
//! a number per origin tells the copies apart.
//!
//! A neighbour's connection that closes without a goodbye means that its process ended; the rank that sees it tells all. A
//! stopped process keeps its sockets open and is not lost. Ranks that leave thin the mesh out: those that stay are linked as
//! long as a way of neighbours that stayed is left between them.

use super::door::Door;
use super::link::{Ended, Frame, Link, MAX_QUEUED_BYTES};
use super::mailbox::Mailbox;
use super::message::{Card, Control, Request, Tag};
use super::socket::{Stream, Watch, send, wait};
use super::wire::Malformed;
use crate::error::{Error, ErrorKind, Result};
use crate::types::Rank;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

/// How long a goodbye may take.
pub(super) const FAREWELL: Duration = Duration::from_millis(100);
/// Streams that wait for this rank to ask for them.
const MAX_PARKED: usize = 4096;

/// What is known of a rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Present,
    Left,
    Lost(String),
}

/// What a connection that was let in is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Stream,
    Handle,
}

struct Parked {
    purpose: Purpose,
    rank: Rank,
    tag: Tag,
    stream: Stream,
}

enum Command {
    Attach(Rank, Stream),
    Send(Rank, Frame),
    Flood(Frame),
    /// Ends after these last words.
    Leave(Frame),
    #[cfg(test)]
    Die,
}

/// What the mesh's thread and the callers' threads share.
struct State {
    commands: VecDeque<Command>,
    command_bytes: usize,
    /// Of the payload that this rank flooded last.
    sequence: u64,
    fates: Vec<Fate>,
    linked: Vec<Rank>,
    cards: Vec<Option<Card>>,
    parked: Vec<Parked>,
    leaving: bool,
    ended: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    bell: UnixStream,
    mailbox: Mailbox,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn command(&self, command: Command) {
        self.state().commands.push_back(command);
        self.ring();
    }

    /// A full pipe rings just as well, and after the thread's end there is nobody to wake.
    fn ring(&self) {
        let _ = send(self.bell.as_fd(), &[0]);
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.changed.notify_all();
        result
    }
}

/// The callers' end of the mesh.
pub(super) struct Mesh {
    rank: Rank,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    thread_id: ThreadId,
}

impl Mesh {
    /// Starts the thread, which lets in who comes through the door.
    pub fn start(rank: Rank, size: usize, door: Door) -> Result<Mesh> {
        let no_thread = |what: &str, error: io::Error| {
            Error::new(ErrorKind::Resource, format!("the control thread has no {what}: {error}"))
                .on_rank(rank)
                .remedy("raise the limits of open files and processes (`ulimit -n`, `ulimit -u`)")
        };
        let (bell, ear) = UnixStream::pair().map_err(|error| no_thread("pipe", error))?;
        for end in [&bell, &ear] {
            end.set_nonblocking(true).map_err(|error| no_thread("pipe", error))?;
        }
        let state = State {
            commands: VecDeque::new(),
            command_bytes: 0,
            sequence: 0,
            fates: vec![Fate::Present; size],
            linked: Vec::new(),
            cards: vec![None; size],
            parked: Vec::new(),
            leaving: false,
            ended: false,
        };
        let shared =
            Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), bell, mailbox: Mailbox::default() });
        let worker = Worker {
            rank,
            size,
            shared: shared.clone(),
            ear,
            door,
            links: Vec::new(),
            seen: vec![0; size],
            leaving: None,
        };
        let thread = std::thread::Builder::new()
            .name("unisono-mesh".to_owned())
            .spawn(move || worker.run())
            .map_err(|error| no_thread("thread", error))?;
        let thread_id = thread.thread().id();
        Ok(Mesh { rank, shared, thread: Mutex::new(Some(thread)), thread_id })
    }

    pub fn mailbox(&self) -> &Mailbox {
        &self.shared.mailbox
    }

    /// Makes a connection that passed the challenge the link to that neighbour.
    pub fn attach(&self, rank: Rank, stream: Stream) {
        self.shared.command(Command::Attach(rank, stream));
    }

    /// Sends a card to one neighbour.
    pub fn send_card(&self, to: Rank, card: &Card) {
        self.shared.command(Command::Send(to, Control::Card(card.clone()).encode().into()));
    }

    /// Queues a payload for every other rank. Beyond [`MAX_QUEUED_BYTES`] that the thread has not taken up yet, it is dropped.
    pub fn flood(&self, bytes: &[u8]) {
        let mut state = self.shared.state();
        if state.leaving || state.ended {
            return;
        }
        if state.command_bytes >= MAX_QUEUED_BYTES {
            tracing::warn!(rank = self.rank, "control payload dropped: {MAX_QUEUED_BYTES} bytes are queued already");
            return;
        }
        state.sequence += 1;
        let frame = Control::Payload { origin: self.rank, sequence: state.sequence, bytes }.encode();
        state.command_bytes += frame.len();
        state.commands.push_back(Command::Flood(frame.into()));
        drop(state);
        self.shared.ring();
    }

    /// Why that rank can't be reached any more, if so.
    pub fn farewell_of(&self, rank: Rank) -> Option<Error> {
        self.obituary(&self.shared.state(), rank)
    }

    fn obituary(&self, state: &State, rank: Rank) -> Option<Error> {
        if state.leaving || state.ended {
            return Some(Error::new(ErrorKind::Aborted, "this rank has left the job").on_rank(self.rank));
        }
        let lost = |message| Error::new(ErrorKind::PeerLost, message).on_rank(self.rank).with_peer(rank);
        match &state.fates[rank] {
            Fate::Present => None,
            Fate::Left => Some(lost(format!("rank {rank} has left the job"))),
            Fate::Lost(how) => {
                Some(lost(format!("rank {rank} is lost: {how}")).remedy(format!("look at the output of rank {rank}")))
            }
        }
    }

    /// Blocks until `ready` gives something, or the deadline passes (`None`).
    fn wait_for<T>(&self, deadline: Instant, mut ready: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
        let mut state = self.shared.state();
        loop {
            if let Some(result) = ready(&mut state) {
                return Some(result);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Blocks until all of these ranks are linked; else tells which are not, because a rank was lost or the deadline passed.
    pub fn wait_for_links(&self, wanted: &[Rank], deadline: Instant) -> Result<(), Vec<Rank>> {
        self.wait_for_ranks(wanted, deadline, |state, rank| state.linked.contains(&rank).then_some(())).map(|_| ())
    }

    /// Blocks until the cards of all these ranks have come; else as [`Mesh::wait_for_links`].
    pub fn wait_for_cards(&self, wanted: &[Rank], deadline: Instant) -> Result<Vec<Card>, Vec<Rank>> {
        self.wait_for_ranks(wanted, deadline, |state, rank| state.cards[rank].clone())
    }

    fn wait_for_ranks<T>(
        &self,
        wanted: &[Rank],
        deadline: Instant,
        has: impl Fn(&State, Rank) -> Option<T>,
    ) -> Result<Vec<T>, Vec<Rank>> {
        let missing =
            |state: &State| wanted.iter().copied().filter(|rank| has(state, *rank).is_none()).collect::<Vec<_>>();
        self.wait_for(deadline, |state| (missing(state).is_empty() || Self::anyone_lost(state)).then_some(()));
        let state = self.shared.state();
        let found: Vec<T> = wanted.iter().filter_map(|rank| has(&state, *rank)).collect();
        if found.len() == wanted.len() { Ok(found) } else { Err(missing(&state)) }
    }

    fn anyone_lost(state: &State) -> bool {
        state.ended || state.fates.iter().any(|fate| matches!(fate, Fate::Lost(_)))
    }

    /// The first rank known to be lost. One that left had joined and done its part.
    pub fn first_lost(&self) -> Option<Error> {
        let state = self.shared.state();
        let rank = state.fates.iter().position(|fate| matches!(fate, Fate::Lost(_)))?;
        self.obituary(&state, rank)
    }

    /// Blocks until that rank's connection has come.
    ///
    /// # Errors
    /// [`ErrorKind::PeerLost`] if the rank is gone, [`ErrorKind::Timeout`].
    pub fn take_parked(&self, purpose: Purpose, rank: Rank, tag: Tag, deadline: Instant) -> Result<Stream> {
        let waited = self.wait_for(deadline, |state| {
            let is_wanted = |parked: &Parked| (parked.purpose, parked.rank, parked.tag) == (purpose, rank, tag);
            match state.parked.iter().position(is_wanted) {
                Some(index) => Some(Ok(state.parked.swap_remove(index).stream)),
                None => self.obituary(state, rank).map(Err),
            }
        });
        waited.unwrap_or_else(|| {
            Err(Error::new(ErrorKind::Timeout, format!("rank {rank} did not connect in the time given"))
                .on_rank(self.rank)
                .with_peer(rank)
                .remedy(format!("look at what rank {rank} does, or give a longer timeout")))
        })
    }

    /// Says goodbye and ends the thread; takes at most about twice [`FAREWELL`].
    pub fn leave(&self) {
        self.end_with(Control::Left { rank: self.rank });
    }

    /// Like [`Mesh::leave`], but for the others this rank is lost.
    pub fn give_up(&self, reason: &str) {
        self.end_with(Control::Lost { rank: self.rank, how: format!("it gave up: {reason}") });
    }

    fn end_with(&self, last_words: Control<'_>) {
        self.shared.change(|state| state.leaving = true);
        self.shared.command(Command::Leave(last_words.encode().into()));
        self.await_end();
    }

    fn await_end(&self) {
        if std::thread::current().id() == self.thread_id {
            // Called from a sink: the thread goes on to say goodbye when the sink returns.
            return;
        }
        let ended = self.wait_for(Instant::now() + 2 * FAREWELL, |state| state.ended.then_some(()));
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A thread that is held up in a sink is left to end by itself.
        if let (Some(()), Some(thread)) = (ended, thread) {
            let _ = thread.join();
        }
    }

    /// Drops all connections without a goodbye, as the end of the process would.
    #[cfg(test)]
    pub fn die(&self) {
        self.shared.change(|state| state.leaving = true);
        self.shared.command(Command::Die);
        self.await_end();
    }
}

/// The thread's end of the mesh.
struct Worker {
    rank: Rank,
    size: usize,
    shared: Arc<Shared>,
    ear: UnixStream,
    door: Door,
    links: Vec<Link>,
    /// The last payload of each origin.
    seen: Vec<u64>,
    /// Until when a goodbye may take.
    leaving: Option<Instant>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.mailbox.close();
        self.shared.change(|state| {
            state.ended = true;
            state.parked.clear();
        });
    }
}

impl Worker {
    fn run(mut self) {
        while self.obey() && !self.is_done() {
            if let Err(error) = self.turn() {
                tracing::error!(rank = self.rank, "the control thread ends: {error}");
                return;
            }
        }
    }

    fn is_done(&self) -> bool {
        self.leaving.is_some_and(|until| self.links.is_empty() || Instant::now() >= until)
    }

    /// Carries out what callers asked for; false if it is to end at once.
    fn obey(&mut self) -> bool {
        let commands = {
            let mut state = self.shared.state();
            state.command_bytes = 0;
            std::mem::take(&mut state.commands)
        };
        for command in commands {
            match command {
                Command::Attach(rank, stream) => self.attach(rank, stream),
                Command::Send(rank, frame) => {
                    self.links.iter_mut().filter(|link| link.rank == rank).for_each(|link| link.queue(frame.clone()))
                }
                Command::Flood(frame) => self.forward_payload(&frame, &[]),
                Command::Leave(last_words) => {
                    if self.leaving.is_none() {
                        self.leaving = Some(Instant::now() + FAREWELL);
                        self.links.iter_mut().for_each(|link| link.queue(last_words.clone()));
                    }
                }
                #[cfg(test)]
                Command::Die => return false,
            }
        }
        true
    }

    fn attach(&mut self, rank: Rank, stream: Stream) {
        if let Err(error) = stream.keep_alive() {
            tracing::debug!(rank = self.rank, peer = rank, "no keep-alive on the control connection: {error}");
        }
        self.links.push(Link::new(rank, stream));
        self.shared.change(|state| state.linked.push(rank));
    }

    /// Sends, sleeps until something happens, and takes it in.
    fn turn(&mut self) -> io::Result<()> {
        self.each_link(|link| link.flush());
        if self.leaving.is_some() {
            self.links.iter_mut().for_each(Link::finish);
        }
        let mut watches = vec![Watch::readable(self.ear.as_fd())];
        watches.extend(self.links.iter().map(Link::watch));
        self.door.watch(&mut watches);
        wait(&mut watches, self.door.wakes_at().into_iter().chain(self.leaving).min())?;
        if watches[0].is_ready() {
            // One read is enough: what is left rings again.
            let _ = self.ear.read(&mut [0; 512]);
        }
        let ready: Vec<Rank> = self
            .links
            .iter()
            .zip(&watches[1..])
            .filter(|(_, watch)| watch.is_ready())
            .map(|(link, _)| link.rank)
            .collect();
        for rank in ready {
            self.listen_to(rank);
        }
        let arrived = self.door.serve().map_err(|error| io::Error::other(error.to_string()))?;
        for (stream, request) in arrived {
            self.receive(stream, request);
        }
        Ok(())
    }

    fn each_link(&mut self, mut act: impl FnMut(&mut Link) -> Result<(), Ended>) {
        let mut ended = Vec::new();
        self.links.retain_mut(|link| match act(link) {
            Ok(()) => true,
            Err(reason) => {
                ended.push((link.rank, reason));
                false
            }
        });
        for (rank, reason) in ended {
            self.part_from(rank, reason);
        }
    }

    fn listen_to(&mut self, rank: Rank) {
        // Found anew for every frame: taking one in may end links.
        while let Some(index) = self.links.iter().position(|link| link.rank == rank) {
            let received = self.links[index].receive().and_then(|body| match body {
                Some(body) => self.take_in(rank, &body).map(|()| true).map_err(Ended::from),
                None => Ok(false),
            });
            match received {
                Ok(true) => {}
                Ok(false) => return,
                Err(reason) => {
                    self.links.swap_remove(index);
                    self.part_from(rank, reason);
                }
            }
        }
    }

    /// The link to that rank is over. After a goodbye, its or ours, that is as it should be.
    fn part_from(&mut self, rank: Rank, reason: Ended) {
        if self.leaving.is_none() {
            self.learn(rank, Fate::Lost(reason.to_string()), rank);
        }
    }

    fn take_in(&mut self, from: Rank, body: &[u8]) -> Result<(), Malformed> {
        let control = Control::decode(body)?;
        match control {
            Control::Card(card) if card.rank < self.size => {
                let rank = card.rank;
                self.shared.change(|state| {
                    state.cards[rank].get_or_insert(card);
                });
            }
            Control::Payload { origin, sequence, bytes } if origin < self.size => {
                if origin != self.rank && sequence > self.seen[origin] {
                    self.seen[origin] = sequence;
                    let frame: Frame = Control::Payload { origin, sequence, bytes }.encode().into();
                    self.forward_payload(&frame, &[from, origin]);
                    self.shared.mailbox.frame(origin, bytes);
                }
            }
            Control::Lost { rank, how } if rank < self.size => self.learn(rank, Fate::Lost(how), from),
            Control::Left { rank } if rank < self.size => self.learn(rank, Fate::Left, from),
            Control::Card(_) | Control::Payload { .. } | Control::Lost { .. } | Control::Left { .. } => {
                return Err(Malformed);
            }
        }
        Ok(())
    }

    /// Takes in that a rank is gone, the first time, and tells the neighbours.
    fn learn(&mut self, rank: Rank, fate: Fate, from: Rank) {
        if rank == self.rank {
            // Someone lost sight of this rank; what the others make of it they say in their own words.
            return;
        }
        let is_news = self.shared.change(|state| {
            let is_news = state.fates[rank] == Fate::Present;
            if is_news {
                state.fates[rank] = fate.clone();
            }
            is_news
        });
        if !is_news {
            return;
        }
        match fate {
            Fate::Present => unreachable!("nobody comes back"),
            Fate::Left => {
                self.forward(Control::Left { rank }, from);
                self.shared.mailbox.left(rank);
            }
            Fate::Lost(how) => {
                self.forward(Control::Lost { rank, how: how.clone() }, from);
                self.shared.mailbox.lost(rank, how);
            }
        }
    }

    /// News of life and death is small and goes out whatever is queued.
    fn forward(&mut self, control: Control<'_>, except: Rank) {
        let frame: Frame = control.encode().into();
        self.links.iter_mut().filter(|link| link.rank != except).for_each(|link| link.queue(frame.clone()));
    }

    fn forward_payload(&mut self, frame: &Frame, except: &[Rank]) {
        for link in self.links.iter_mut().filter(|link| !except.contains(&link.rank)) {
            if link.has_room() {
                link.queue(frame.clone());
            } else {
                tracing::warn!(rank = self.rank, peer = link.rank, "control payload dropped: the rank does not read");
            }
        }
    }

    /// Someone of the job came through the door.
    fn receive(&mut self, stream: Stream, request: Request) {
        let is_over_tcp = matches!(stream, Stream::Tcp(_));
        match request {
            Request::Link { rank } if is_over_tcp && rank < self.rank => {
                if self.links.iter().all(|link| link.rank != rank) {
                    self.attach(rank, stream);
                }
            }
            Request::Stream { rank, tag } if is_over_tcp && rank < self.rank => {
                self.park(Parked { purpose: Purpose::Stream, rank, tag, stream });
            }
            Request::Handle { rank, tag } if !is_over_tcp && rank < self.size => {
                self.park(Parked { purpose: Purpose::Handle, rank, tag, stream });
            }
            Request::Join(_) | Request::Link { .. } | Request::Stream { .. } | Request::Handle { .. } => {
                tracing::debug!(rank = self.rank, "a request that does not belong here was turned away");
            }
        }
    }

    /// Keeps a connection until it is asked for; a second of the same tag takes the place of the first, whose dialer gave up.
    fn park(&self, parked: Parked) {
        self.shared.change(|state| {
            let is_same =
                |other: &Parked| (other.purpose, other.rank, other.tag) == (parked.purpose, parked.rank, parked.tag);
            state.parked.retain(|other| !is_same(other));
            if state.parked.len() < MAX_PARKED {
                state.parked.push(parked);
            }
        });
    }
}
