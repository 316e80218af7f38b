//! The public face: all ranks of a job after they met.

use super::dial::{Dial, Target, no_descriptors};
use super::door::{Door, is_out_of_descriptors};
use super::environment::{Job, Meeting};
use super::graph::{children, chords, parent, ranges};
use super::handle::{receive_handle, send_handle};
use super::host::HostId;
use super::mailbox::ControlSink;
use super::mesh::{ASK_HOPE_INTERVAL, Mesh, Purpose};
use super::message::{Card, MAX_ANSWER_BYTES, Request, Tag};
use super::rendezvous::{Met, hex, meet};
use super::secret::Key;
use super::socket::{Listener, Stream};
use super::wire::{MAX_PAYLOAD_BYTES, write_all};
use crate::error::{Error, ErrorKind, Result};
use crate::types::Rank;
use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What every rank knows of every other.
#[derive(Clone, Debug)]
pub struct Peer {
    pub rank: Rank,
    pub host: HostId,
    /// In its own pid namespace.
    pub pid: u32,
    /// Where the rank listens for [`World::open_stream`]; meaningless in a world of one.
    pub address: SocketAddr,
    /// What the rank handed to [`World::join`].
    pub hello: Vec<u8>,
}

/// All ranks of a job, met and linked.
///
/// A forked child can't use its parent's world: calls that return a `Result` say so, the others do nothing.
pub struct World {
    rank: Rank,
    peers: Vec<Peer>,
    /// The process that joined.
    pid: u32,
    /// None in a world of one.
    pub(super) links: Option<Links>,
}

pub(super) struct Links {
    pub session: Key,
    mesh: Mesh,
}

impl World {
    /// Blocks until all ranks have joined. `hello` is handed to every other rank; at most [`MAX_PAYLOAD_BYTES`] bytes.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use unisono::bootstrap::{Job, World};
    ///
    /// let job = Job::from_environment(&|_| None)?; // alone; for real: &|name| std::env::var(name).ok()
    /// let world = World::join(&job, b"hello", Instant::now() + Duration::from_secs(30))?;
    /// assert_eq!((world.rank(), world.size()), (0, 1));
    /// assert_eq!(world.peer(0).hello, b"hello");
    /// # Ok::<(), unisono::Error>(())
    /// ```
    ///
    /// A world of one opens no socket and starts no thread. Looking up the name in `MASTER_ADDR` takes as long as the system's
    /// resolver does, whatever the deadline.
    ///
    /// # Errors
    /// - [`ErrorKind::Timeout`] if the deadline passed; on rank 0 it names the ranks that did not come;
    /// - [`ErrorKind::Rendezvous`] if ranks are double, sizes differ, secrets differ, or the address can't be listened on;
    /// - [`ErrorKind::PeerLost`] if a rank ended meanwhile;
    /// - [`ErrorKind::Configuration`], [`ErrorKind::Resource`], [`ErrorKind::InvalidArgument`] as they say.
    pub fn join(job: &Job, hello: &[u8], deadline: Instant) -> Result<Arc<World>> {
        if hello.len() > MAX_PAYLOAD_BYTES {
            return Err(too_long("a hello", hello.len()).on_rank(job.rank));
        }
        let host = match &job.host_id {
            Some(name) => HostId::named(name)?,
            None => HostId::of_this_host()?,
        };
        let card = |address| Card {
            rank: job.rank,
            host: host.clone(),
            pid: std::process::id(),
            address,
            hello: hello.to_vec(),
        };
        let pid = std::process::id();
        if job.size != 1 && job.meeting == Meeting::Alone || job.rank >= job.size {
            let message = format!("a job of {} ranks has no rank {} that meets nobody", job.size, job.rank);
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        if job.size == 1 {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            return Ok(Arc::new(World { rank: job.rank, peers: vec![Peer::from(card(address))], pid, links: None }));
        }
        let Met { session, listener, address, neighbours } = meet(job, &host, deadline)?;
        let handles = Listener::bind_abstract(&handle_name(&session, job.rank)).map_err(|error| {
            Error::new(ErrorKind::Resource, format!("no socket for handing over files: {error}")).on_rank(job.rank)
        })?;
        let mesh = Mesh::start(job.rank, job.size, Door::new(vec![listener, handles], session.clone()))?;
        let mut world = World { rank: job.rank, peers: Vec::new(), pid, links: Some(Links { session, mesh }) };
        let peers =
            world.link_up(&neighbours, deadline).and_then(|()| world.exchange_cards(card(address), job.size, deadline));
        match peers {
            Ok(peers) => {
                world.peers = peers;
                Ok(Arc::new(world))
            }
            Err(error) => {
                world.several().mesh.give_up(error.message());
                Err(error)
            }
        }
    }

    pub(super) fn several(&self) -> &Links {
        self.links.as_ref().expect("a world of several has links")
    }

    /// Connects to the neighbours: the lower rank dials. After a failure it still dials the rest, once each: over those links
    /// the others learn that this rank gave up.
    fn link_up(&self, neighbours: &[(Rank, SocketAddr)], deadline: Instant) -> Result<()> {
        let mesh = &self.several().mesh;
        let mut failure = None;
        for (rank, address) in neighbours.iter().filter(|(rank, _)| *rank > self.rank) {
            let was_dialled = Cell::new(false);
            let hopeless = || {
                let anyone = was_dialled.replace(true).then(|| mesh.first_lost()).flatten();
                mesh.farewell_of(*rank).or(anyone)
            };
            let request = Request::Link { rank: self.rank };
            match self.call(&Target::Tcp(*address), *rank, &request, deadline, &hopeless) {
                Ok(stream) => mesh.attach(*rank, stream),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
        let ranks: Vec<Rank> = neighbours.iter().map(|(rank, _)| *rank).collect();
        mesh.wait_for_links(&ranks, deadline).map_err(|missing| self.not_in_time(&missing, "link up"))
    }

    /// All-gathers the cards by dissemination (Bruck et al., 1997): in the round of chord d a rank hands the d cards that it
    /// has to the rank d below it, so all are everywhere after ⌈log₂ size⌉ rounds. Since every rank's own card is among them,
    /// nobody is done before everybody is linked.
    fn exchange_cards(&self, own: Card, size: usize, deadline: Instant) -> Result<Vec<Peer>> {
        let mesh = &self.several().mesh;
        let mut held = vec![own];
        for chord in chords(size) {
            let count = chord.min(size - chord);
            let below = (self.rank + size - chord) % size;
            for card in &held[..count] {
                mesh.send_card(below, card);
            }
            let wanted: Vec<Rank> = (0..count).map(|index| (self.rank + chord + index) % size).collect();
            let cards =
                mesh.wait_for_cards(&wanted, deadline).map_err(|missing| self.not_in_time(&missing, "say hello"))?;
            held.extend(cards);
        }
        held.rotate_right(self.rank);
        Ok(held.into_iter().map(Peer::from).collect())
    }

    fn not_in_time(&self, missing: &[Rank], what: &str) -> Error {
        let mesh = &self.several().mesh;
        mesh.starved().or_else(|| mesh.first_lost()).unwrap_or_else(|| {
            let error = Error::new(ErrorKind::Timeout, format!("{} did not {what} in the time given", ranges(missing)))
                .on_rank(self.rank)
                .remedy("look at the output of those ranks, or give a longer timeout");
            match missing.first() {
                Some(first) => error.with_peer(*first),
                None => error,
            }
        })
    }

    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// Ranks of the job.
    pub fn size(&self) -> usize {
        self.peers.len()
    }

    /// What is known of a rank, this one included.
    ///
    /// # Panics
    /// If there is no such rank.
    pub fn peer(&self, rank: Rank) -> &Peer {
        &self.peers[rank]
    }

    /// Sets who hears of announcements, questions and losses, in place of the sink before. What came earlier is delivered before this returns.
    /// The world holds the sink until [`World::leave`]; a sink that holds the world keeps both alive.
    pub fn set_sink(&self, sink: Arc<dyn ControlSink>) {
        if let Some(links) = self.own_links() {
            links.mesh.mailbox().open(sink);
        }
    }

    /// Tells every other rank, unless this rank has heard another word on the topic: the first one goes everywhere, one that comes
    /// later goes no further than where an earlier one has been. Never blocks: it is queued, and one that 16 MiB of others already wait
    /// before is dropped with a warning.
    ///
    /// # Panics
    /// If the word is longer than [`MAX_PAYLOAD_BYTES`].
    pub fn announce(&self, topic: u64, word: &[u8]) {
        assert!(word.len() <= MAX_PAYLOAD_BYTES, "a word of {} bytes", word.len());
        if let Some(links) = self.own_links() {
            links.mesh.announce(topic, word);
        }
    }

    /// Asks every rank, on a topic, about a sequence number, unless this rank has heard of such a question less than `fresh` ago.
    /// `answer` is this rank's own. Returns the round that will tell. Never blocks: answers go to the sinks of all ranks.
    ///
    /// # Panics
    /// If the answer is longer than [`MAX_ANSWER_BYTES`].
    pub fn ask(&self, topic: u64, sequence: u64, answer: &[u8], fresh: Duration) -> u64 {
        assert!(answer.len() <= MAX_ANSWER_BYTES, "an answer of {} bytes", answer.len());
        self.own_links().map_or(0, |links| links.mesh.ask(topic, sequence, answer, fresh))
    }

    /// A TCP connection to `peer` for data: [`World::open_streams`] for one.
    pub fn open_stream(&self, peer: Rank, tag: Tag, deadline: Instant) -> Result<TcpStream> {
        let streams = self.open_streams(&[(peer, tag)], deadline, &|_| None)?;
        Ok(streams.into_iter().next().expect("one was asked for"))
    }

    /// TCP connections for data to these peers, in this order, both ends authenticated. Both ends of one call it with the same tag;
    /// the lower rank dials, the higher waits for it. A rank dials all that it has to before it waits for any, so the order does not
    /// matter. `hopeless` is asked some times a second, with the rank that is waited for, and ends it with the error that it gives.
    /// The streams block, have `TCP_NODELAY` set, and are close-on-exec.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`], [`ErrorKind::PeerLost`], [`ErrorKind::Resource`]; [`ErrorKind::InvalidArgument`] for a rank that
    /// is this one or none; [`ErrorKind::Forked`].
    pub fn open_streams(
        &self,
        wanted: &[(Rank, Tag)],
        deadline: Instant,
        hopeless: &dyn Fn(Rank) -> Option<Error>,
    ) -> Result<Vec<TcpStream>> {
        self.check_process()?;
        // The nearest higher rank first: so at any time the dials of all ranks go to different ones.
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        order.sort_by_key(|index| (wanted[*index].0 < self.rank, wanted[*index].0));
        let mut streams: Vec<Option<TcpStream>> = wanted.iter().map(|_| None).collect();
        for index in order {
            let (peer, tag) = wanted[index];
            let links = self.links_to(peer)?;
            let hopeless = || hopeless(peer);
            let stream = if self.rank < peer {
                let target = Target::Tcp(self.peers[peer].address);
                let request = Request::Stream { rank: self.rank, tag };
                self.call(&target, peer, &request, deadline, &|| hopeless().or_else(|| links.mesh.farewell_of(peer)))?
            } else {
                links.mesh.take_parked(Purpose::Stream, peer, tag, deadline, &hopeless)?
            };
            let Stream::Tcp(stream) = stream else { unreachable!("streams are let in over TCP alone") };
            stream.set_nonblocking(false).map_err(|error| self.broken(peer, "connection", &error))?;
            streams[index] = Some(stream);
        }
        Ok(streams.into_iter().map(|stream| stream.expect("all were opened")).collect())
    }

    /// This rank opens no more streams whose tags begin with these bytes (little-endian): those that others have opened or open later
    /// are closed, so that they see it. Streams that this rank has taken are not touched.
    pub fn refuse_streams(&self, family: u64) {
        if let Some(links) = self.own_links() {
            links.mesh.refuse(family);
        }
    }

    /// Hands one file descriptor to several processes of this host: the first of the group gives it, the others give `None` and pass
    /// it on, as in a binomial broadcast; every member calls with the same tag and gets a descriptor of the same file, close-on-exec.
    /// `hopeless` is asked some times a second while another is waited for, and ends it with the error that it gives; so does the loss
    /// of any member.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the group does not hold this rank, holds one twice or one of another host, or `handle`
    /// is given by another than its first; otherwise as [`World::open_streams`].
    pub fn share_fd(
        &self,
        group: &[Rank],
        tag: Tag,
        handle: Option<OwnedFd>,
        deadline: Instant,
        hopeless: &dyn Fn() -> Option<Error>,
    ) -> Result<OwnedFd> {
        self.check_process()?;
        self.check_group(group, handle.is_some())?;
        let own = group.iter().position(|rank| *rank == self.rank).expect("the group was checked");
        // Whoever is lost may be anywhere in the broadcast: before this rank, behind it, or between it and one that it waits for.
        let any_lost = || self.own_links().and_then(|links| links.mesh.first_lost_of(group));
        let hopeless = || hopeless().or_else(any_lost);
        let handle = match handle {
            Some(handle) => handle,
            None => {
                let giver = group[parent(own)];
                let links = self.links_to(giver)?;
                let target = Target::Abstract(handle_name(&links.session, giver));
                let request = Request::Handle { rank: self.rank, tag };
                let hopeless = || hopeless().or_else(|| links.mesh.farewell_of(giver));
                let stream = self.call(&target, giver, &request, deadline, &hopeless)?;
                self.await_handle(&stream, giver, deadline, &hopeless)?
            }
        };
        for child in children(own, group.len()) {
            let member = group[child];
            let stream = self.links_to(member)?.mesh.take_parked(Purpose::Handle, member, tag, deadline, &hopeless)?;
            send_handle(&stream, handle.as_fd(), deadline)
                .map_err(|error| self.broken(member, "handing over a file", &error))?;
        }
        Ok(handle)
    }

    /// Receives a file from the rank that gives it, unless that becomes hopeless.
    fn await_handle(
        &self,
        stream: &Stream,
        giver: Rank,
        deadline: Instant,
        hopeless: &dyn Fn() -> Option<Error>,
    ) -> Result<OwnedFd> {
        loop {
            let error = match receive_handle(stream, deadline.min(Instant::now() + ASK_HOPE_INTERVAL)) {
                Ok(handle) => return Ok(handle),
                Err(error) => error,
            };
            if let Some(reason) = hopeless() {
                return Err(reason);
            }
            if is_out_of_descriptors(&error) {
                return Err(no_descriptors(&error).on_rank(self.rank));
            }
            if error.kind() != io::ErrorKind::TimedOut || Instant::now() >= deadline {
                return Err(self.broken(giver, "handing over a file", &error));
            }
        }
    }

    fn check_group(&self, group: &[Rank], gives: bool) -> Result<()> {
        let invalid = |message: String| Err(Error::new(ErrorKind::InvalidArgument, message).on_rank(self.rank));
        let listed = format!("the group {group:?}");
        if let Some(rank) = group.iter().find(|rank| **rank >= self.size()) {
            return invalid(format!("{listed} has rank {rank}, but the job has {} ranks", self.size()));
        }
        if !group.contains(&self.rank) {
            return invalid(format!("{listed} does not have this rank"));
        }
        if let Some(rank) = group.iter().find(|rank| self.peers[**rank].host != self.peers[self.rank].host) {
            return invalid(format!("{listed} has rank {rank}, which is on another host"));
        }
        if (1..group.len()).any(|index| group[..index].contains(&group[index])) {
            return invalid(format!("{listed} has a rank twice"));
        }
        if gives != (group[0] == self.rank) {
            return invalid(format!("the first of {listed} gives the file, and no other"));
        }
        Ok(())
    }

    /// Says goodbye, so that the end of this process is not taken for a death; takes about 100 ms at most, and 2 s beside a rank that
    /// does not read, or on a machine that has too much to do. Later calls fail or do
    /// nothing. Dropping the world does the same.
    pub fn leave(&self) {
        if let Some(links) = self.own_links() {
            links.mesh.leave();
        }
    }

    /// Ends this rank's part in the job because of a failure of its own: for the others it is lost, with these words.
    pub fn give_up(&self, reason: &str) {
        if let Some(links) = self.own_links() {
            links.mesh.give_up(reason);
        }
    }

    /// Dials a rank and says what for.
    fn call(
        &self,
        target: &Target,
        rank: Rank,
        request: &Request,
        deadline: Instant,
        hopeless: &dyn Fn() -> Option<Error>,
    ) -> Result<Stream> {
        let links = self.several();
        let at = |error: Error| if error.peer().is_some() { error } else { error.on_rank(self.rank).with_peer(rank) };
        let dial = Dial { target, rank, key: &links.session, has_listened: true, deadline };
        let stream = dial.connect(hopeless).map_err(at)?;
        write_all(&stream, &request.encode(), deadline).map_err(|error| self.broken(rank, "connection", &error))?;
        Ok(stream)
    }

    fn broken(&self, rank: Rank, what: &str, error: &io::Error) -> Error {
        let known = self.own_links().and_then(|links| links.mesh.farewell_of(rank));
        known.unwrap_or_else(|| {
            let (kind, remedy) = match error.kind() {
                io::ErrorKind::TimedOut => {
                    (ErrorKind::Timeout, "look at what that rank does, or give a longer timeout")
                }
                _ => (ErrorKind::PeerLost, "look at the output of that rank"),
            };
            Error::new(kind, format!("{what} with rank {rank} failed: {error}"))
                .on_rank(self.rank)
                .with_peer(rank)
                .remedy(remedy)
        })
    }

    fn check_process(&self) -> Result<()> {
        let here = std::process::id();
        if here == self.pid {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Forked,
            format!("this world was joined by process {} and used in process {here}", self.pid),
        )
        .on_rank(self.rank)
        .remedy("use it only in the process that joined, or start processes instead of forking"))
    }

    /// The links, for whoever may use them: not a forked child, whose copies of the locks may be held for ever.
    fn own_links(&self) -> Option<&Links> {
        self.links.as_ref().filter(|_| self.check_process().is_ok())
    }

    fn links_to(&self, peer: Rank) -> Result<&Links> {
        let invalid = |message| Error::new(ErrorKind::InvalidArgument, message).on_rank(self.rank);
        if peer == self.rank {
            return Err(invalid("a rank does not connect to itself".to_owned()));
        }
        match &self.links {
            Some(links) if peer < self.size() => Ok(links),
            _ => Err(invalid(format!("there is no rank {peer} among {}", self.size()))),
        }
    }

    /// Ends as if the process had been killed.
    #[cfg(test)]
    pub(crate) fn die(&self) {
        if let Some(links) = self.own_links() {
            links.mesh.die();
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.leave();
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("rank", &self.rank).field("size", &self.size()).finish_non_exhaustive()
    }
}

impl From<Card> for Peer {
    fn from(card: Card) -> Peer {
        let Card { rank, host, pid, address, hello } = card;
        Peer { rank, host, pid, address, hello }
    }
}

fn too_long(what: &str, bytes: usize) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("{what} has {bytes} bytes, at most {MAX_PAYLOAD_BYTES} fit"))
}

/// The abstract socket of a rank at which it hands out files; only ranks of the session can tell it.
pub(super) fn handle_name(session: &Key, rank: Rank) -> Vec<u8> {
    format!("unisono-{}", hex(&session.label("handles", rank as u64)[..16])).into_bytes()
}
