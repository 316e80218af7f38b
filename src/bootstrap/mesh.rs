//! The control plane of a job: each rank keeps connections to a few neighbours, and passes on what it hears.
//!
//! One thread per process serves them. It sleeps in poll(2) when nothing happens. Everything that goes around is such that a rank
//! passes it on once, whoever says it how often: of a topic the first announcement, of a question the answers of each rank, of a
//! rank its end. Under load, and for answers always, what comes within a few milliseconds goes out together.
//!
//! A neighbour's connection that closes without a goodbye means that its process ended; the rank that sees it tells all. A
//! stopped process keeps its sockets open and is not lost. Ranks that leave thin the mesh out: those that stay are linked as
//! long as a way of neighbours that stayed is left between them.

mod state;

use super::dial::no_descriptors;
use super::door::Door;
use super::link::MAX_QUEUED_BYTES;
use super::mailbox::Mailbox;
use super::message::{Card, Control, Tag};
use super::ranks::RankSet;
use super::socket::Stream;
use super::survey::Surveys;
use super::worker::Worker;
use crate::error::{Error, ErrorKind, Result};
use crate::types::Rank;
pub(super) use state::{Command, Fate, Parked, Purpose, Shared, State};
use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

/// How long a rank that leaves waits for its neighbours once its goodbye is on its way to all of them.
pub(super) const FAREWELL: Duration = Duration::from_millis(100);

/// How long it takes at most until it is, on a machine that has too much to do or beside a neighbour that does not read.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(2);

/// What stands before the reason of a rank that gave up.
const GAVE_UP: &str = "it gave up: ";

/// How often whoever waits for a connection asks whether there is still hope.
pub(super) const ASK_HOPE_INTERVAL: Duration = Duration::from_millis(20);

/// How long a connection may take to be let in that was dialled before its rank left.
const ARRIVAL: Duration = Duration::from_secs(1);

/// Whoever waits in vain while this process has had no file descriptor for so long waits no longer.
const STARVATION: Duration = Duration::from_millis(500);

/// Families of tags that are remembered to be refused.
const MAX_REFUSED: usize = 4096;

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
            surveys: Surveys::default(),
            fates: vec![Fate::Present; size],
            linked: Vec::new(),
            cards: vec![None; size],
            parked: Vec::new(),
            refused: VecDeque::new(),
            leaving: false,
            ended: false,
            starved: false,
        };
        let shared =
            Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), bell, mailbox: Mailbox::default() });
        let worker = Worker::new(rank, size, shared.clone(), ear, door);
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

    /// Queues an announcement, unless another on its topic has been heard by then. Beyond [`MAX_QUEUED_BYTES`] that the thread has
    /// not taken up yet, it is dropped.
    pub fn announce(&self, topic: u64, word: &[u8]) {
        let mut state = self.shared.state();
        if state.leaving || state.ended {
            return;
        }
        if state.command_bytes >= MAX_QUEUED_BYTES {
            tracing::warn!(rank = self.rank, "announcement dropped: {MAX_QUEUED_BYTES} bytes are queued already");
            return;
        }
        let frame = Control::Announced { topic, origin: self.rank, word }.encode();
        state.command_bytes += frame.len();
        state.commands.push_back(Command::Announce(topic, frame.into()));
        drop(state);
        self.shared.ring();
    }

    /// Asks all ranks, with the own answer; see [`Surveys::ask`].
    pub fn ask(&self, topic: u64, sequence: u64, answer: &[u8], fresh: Duration) -> u64 {
        let now = Instant::now();
        let mut state = self.shared.state();
        let fresh_from = now.checked_sub(fresh).unwrap_or(now);
        let round = state.surveys.ask(topic, sequence, (self.rank, answer), fresh_from, now);
        if state.surveys.is_dirty() {
            drop(state);
            self.shared.ring();
        }
        round
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
        self.wait_for(deadline, |state| {
            (missing(state).is_empty() || Self::anyone_lost(state) || state.starved).then_some(())
        });
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

    /// The first of these ranks known to be lost.
    pub fn first_lost_of(&self, ranks: &[Rank]) -> Option<Error> {
        let state = self.shared.state();
        let rank = ranks.iter().find(|rank| matches!(state.fates[**rank], Fate::Lost(_)))?;
        self.obituary(&state, *rank)
    }

    /// The error of a process that can't let in who waits outside.
    pub fn starved(&self) -> Option<Error> {
        let error = || no_descriptors(&io::Error::from_raw_os_error(libc::EMFILE)).on_rank(self.rank);
        self.shared.state().starved.then(error)
    }

    /// Closes connections whose tags begin with these bytes, now and when they come.
    pub fn refuse(&self, family: u64) {
        self.shared.change(|state| {
            if state.refused.len() == MAX_REFUSED {
                state.refused.pop_front();
            }
            state.refused.push_back(family);
            state.parked.retain(|parked| parked.family() != family);
        });
    }

    /// Blocks until that rank's connection has come.
    ///
    /// # Errors
    /// [`ErrorKind::PeerLost`] if the rank is gone, [`ErrorKind::Timeout`], and whatever `hopeless` says meanwhile.
    pub fn take_parked(
        &self,
        purpose: Purpose,
        rank: Rank,
        tag: Tag,
        deadline: Instant,
        hopeless: &dyn Fn() -> Option<Error>,
    ) -> Result<Stream> {
        let mut starved_since = None;
        let mut left_since = None;
        loop {
            // Before the rank's own fate: the reason why it left may be known.
            if let Some(error) = hopeless() {
                return Err(error);
            }
            let waited = self.wait_for(deadline.min(Instant::now() + ASK_HOPE_INTERVAL), |state| {
                let is_wanted = |parked: &Parked| (parked.purpose, parked.rank, parked.tag) == (purpose, rank, tag);
                match state.parked.iter().position(is_wanted) {
                    Some(index) => Some(Ok(state.parked.swap_remove(index).stream)),
                    // It may have dialled before it left: what knocks at the door is let in soon.
                    None if state.fates[rank] == Fate::Left && !state.leaving => {
                        let since = *left_since.get_or_insert_with(Instant::now);
                        (since.elapsed() >= ARRIVAL).then(|| self.obituary(state, rank).map(Err)).flatten()
                    }
                    None => self.obituary(state, rank).map(Err),
                }
            });
            match waited {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => return Err(hopeless().unwrap_or(error)),
                None => {}
            }
            let now = Instant::now();
            match self.starved() {
                Some(error) if now >= deadline || now >= *starved_since.get_or_insert(now) + STARVATION => {
                    return Err(error);
                }
                Some(_) => {}
                None => starved_since = None,
            }
            if now >= deadline {
                break;
            }
        }
        Err(Error::new(ErrorKind::Timeout, format!("rank {rank} did not connect in the time given"))
            .on_rank(self.rank)
            .with_peer(rank)
            .remedy(format!("look at what rank {rank} does, or give a longer timeout")))
    }

    /// Says goodbye and ends the thread; takes about [`FAREWELL`], and a little longer than [`LAST_WORDS`] at most.
    pub fn leave(&self) {
        self.end_with(Control::Left { ranks: RankSet::of(self.rank) });
    }

    /// Like [`Mesh::leave`], but for the others this rank is lost.
    pub fn give_up(&self, reason: &str) {
        // Where this rank gives up because another did, that one's reason is the one to tell.
        let reason = reason.rsplit(GAVE_UP).next().unwrap_or(reason);
        self.end_with(Control::Lost { ranks: RankSet::of(self.rank), how: format!("{GAVE_UP}{reason}") });
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
        let ended = self.wait_for(Instant::now() + LAST_WORDS + FAREWELL, |state| state.ended.then_some(()));
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
