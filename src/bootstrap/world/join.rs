//! How ranks become a world: they meet, link up, and hand each other what every rank knows of every other.

use super::files::handle_name;
use super::{Links, Peer, World};
use crate::bootstrap::dial::Target;
use crate::bootstrap::door::Door;
use crate::bootstrap::environment::{Job, Meeting};
use crate::bootstrap::graph::{chords, ranges};
use crate::bootstrap::host::HostId;
use crate::bootstrap::mesh::Mesh;
use crate::bootstrap::message::{Card, Request};
use crate::bootstrap::rendezvous::{Met, meet};
use crate::bootstrap::socket::Listener;
use crate::bootstrap::wire::MAX_PAYLOAD_BYTES;
use crate::error::{Error, ErrorKind, Result};
use crate::types::Rank;
use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

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
