//! The links of one rank of one communicator: made at first use, found by index afterwards.

use crate::error::{Error, ErrorKind, Result};
use crate::transport::arena::{Arena, Reach};
#[cfg(test)]
use crate::transport::faulty;
use crate::transport::window::{Window, Windows};
use crate::transport::{Inbox, Loan, Outbox, ring, tcp};
use crate::types::{LinkName, Rank, TransportKind};
use std::collections::HashMap;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

/// How one rank reaches another.
#[derive(Clone)]
pub enum Path {
    /// Through an arena, in which the two have these indices.
    Arena { arena: Arc<Arena>, own: usize, peer: usize },
    /// Through a connection that the connector makes.
    Tcp,
    /// Through a network of tests.
    #[cfg(test)]
    Faulty(Arc<faulty::Network>),
}

impl Path {
    pub fn kind(&self) -> TransportKind {
        match self {
            Path::Arena { arena, .. } => match arena.reach() {
                Reach::Threads => TransportKind::Memory,
                Reach::Processes => TransportKind::Shm,
            },
            Path::Tcp => TransportKind::Tcp,
            #[cfg(test)]
            Path::Faulty(_) => TransportKind::Memory,
        }
    }
}

/// Makes the connections of these names, in their order; both sides of each call it. Blocks until the deadline at the longest, or
/// until there is a reason to stop.
pub type Connect = Arc<dyn Fn(&[LinkName], &Hope<'_>) -> Result<Vec<TcpStream>> + Send + Sync>;

/// For ranks that reach all others without connections.
#[cfg(test)]
pub fn never() -> Connect {
    Arc::new(|names, _| unreachable!("nobody dials {names:?}"))
}

/// How long connecting may take.
pub struct Hope<'a> {
    pub deadline: Instant,
    /// Asked, with the peer that is waited for, some times a second: a reason not to wait any longer.
    pub hopeless: &'a dyn Fn(Rank) -> Option<Error>,
}

pub struct Links {
    rank: Rank,
    paths: Vec<Option<Path>>,
    connect: Connect,
    streams: HashMap<LinkName, Arc<TcpStream>>,
    outboxes: Vec<Outbox>,
    inboxes: Vec<Inbox>,
    inbox_peers: Vec<Rank>,
    outbox_names: HashMap<LinkName, usize>,
    inbox_names: HashMap<LinkName, usize>,
    /// Outboxes whose peer reads this process's memory at any address.
    threads: Vec<bool>,
    /// This rank's parts of windows, which it may lend.
    parts: Vec<Part>,
    /// Whole windows, in which it reads what peers lend.
    windows: Arc<Windows>,
}

/// This rank's part of a window.
#[derive(Clone, Copy)]
struct Part {
    id: u32,
    start: usize,
    bytes: usize,
}

impl Links {
    /// `paths` has one entry per rank, None for the rank itself.
    pub fn new(rank: Rank, paths: Vec<Option<Path>>, connect: Connect) -> Links {
        Links {
            rank,
            paths,
            connect,
            streams: HashMap::new(),
            outboxes: Vec::new(),
            inboxes: Vec::new(),
            inbox_peers: Vec::new(),
            outbox_names: HashMap::new(),
            inbox_names: HashMap::new(),
            threads: Vec::new(),
            parts: Vec::new(),
            windows: Arc::default(),
        }
    }

    /// Makes the connections that these links need and do not have yet. To make all of them at once is faster than one by one, where
    /// each would have to wait for its peer.
    pub fn connect(&mut self, names: impl IntoIterator<Item = LinkName>, hope: &Hope<'_>) -> Result<()> {
        let missing = self.unconnected(names);
        if missing.is_empty() {
            return Ok(());
        }
        let streams = (self.connect)(&missing, hope)?;
        self.add_streams(&missing, streams)
    }

    /// Those of these names that need a connection which is not there yet, each once.
    pub fn unconnected(&self, names: impl IntoIterator<Item = LinkName>) -> Vec<LinkName> {
        let is_missing =
            |name: &LinkName| matches!(self.paths[name.peer], Some(Path::Tcp)) && !self.streams.contains_key(name);
        let mut missing: Vec<LinkName> = names.into_iter().filter(is_missing).collect();
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// Keeps the connections of these names for their boxes.
    pub fn add_streams(&mut self, names: &[LinkName], streams: Vec<TcpStream>) -> Result<()> {
        for (name, stream) in names.iter().zip(streams) {
            stream.set_nonblocking(true).map_err(|cause| {
                Error::new(
                    ErrorKind::Resource,
                    format!("can't make the connection to rank {} non-blocking: {cause}", name.peer),
                )
            })?;
            self.streams.insert(*name, Arc::new(stream));
        }
        Ok(())
    }

    /// The index of the outbox of this name, which is made if need be. May block to connect.
    pub fn open_outbox(&mut self, name: LinkName, hope: &Hope<'_>) -> Result<usize> {
        if let Some(&index) = self.outbox_names.get(&name) {
            return Ok(index);
        }
        let (outbox, threads) = match self.path_to(name.peer) {
            Path::Arena { arena, own, peer } => {
                let sender =
                    ring::Sender::open(&arena, own, peer, name.channel).ok_or_else(|| self.arena_is_full(&arena))?;
                (Outbox::Ring(sender), arena.reach() == Reach::Threads)
            }
            Path::Tcp => (Outbox::Tcp(tcp::Sender::new(name.peer, self.stream(name, hope)?)), false),
            #[cfg(test)]
            Path::Faulty(network) => {
                let sender = faulty::Sender::open(&network, self.rank, name.peer, name.channel);
                (Outbox::Faulty(sender), network.lends())
            }
        };
        self.outboxes.push(outbox);
        self.threads.push(threads);
        self.outbox_names.insert(name, self.outboxes.len() - 1);
        Ok(self.outboxes.len() - 1)
    }

    /// The index of the inbox of this name, which is made if need be. May block to connect.
    pub fn open_inbox(&mut self, name: LinkName, hope: &Hope<'_>) -> Result<usize> {
        if let Some(&index) = self.inbox_names.get(&name) {
            return Ok(index);
        }
        let inbox = match self.path_to(name.peer) {
            Path::Arena { arena, own, peer } => {
                Inbox::Ring(ring::Receiver::open(&arena, peer, own, name.channel, self.windows.clone()))
            }
            Path::Tcp => Inbox::Tcp(tcp::Receiver::new(name.peer, self.stream(name, hope)?)),
            #[cfg(test)]
            Path::Faulty(network) => {
                Inbox::Faulty(faulty::Receiver::open(&network, name.peer, self.rank, name.channel))
            }
        };
        self.inboxes.push(inbox);
        self.inbox_peers.push(name.peer);
        self.inbox_names.insert(name, self.inboxes.len() - 1);
        Ok(self.inboxes.len() - 1)
    }

    fn path_to(&self, peer: Rank) -> Path {
        self.paths[peer].clone().unwrap_or_else(|| panic!("rank {} has no link to itself", self.rank))
    }

    fn stream(&mut self, name: LinkName, hope: &Hope<'_>) -> Result<Arc<TcpStream>> {
        self.connect([name], hope)?;
        Ok(self.streams[&name].clone())
    }

    /// Nothing more is sent: peers that wait for more see the end of the connections, behind the data.
    pub fn hang_up(&mut self) {
        for stream in self.streams.values() {
            // It fails only where the connection is gone, which says as much.
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
    }

    /// What makes connections, for another thread.
    pub fn connector(&self) -> Connect {
        self.connect.clone()
    }

    fn arena_is_full(&self, arena: &Arena) -> Error {
        Error::new(
            ErrorKind::Resource,
            format!(
                "the communicator's {} bytes of shared memory are used up by the rings of its ranks",
                arena.bytes()
            ),
        )
        .on_rank(self.rank)
        .remedy("raise UNISONO_SHM_BYTES on every rank, or take another algorithm or transport")
    }

    #[inline]
    pub fn outbox(&mut self, index: usize) -> &mut Outbox {
        &mut self.outboxes[index]
    }

    #[inline]
    pub fn inbox(&mut self, index: usize) -> &mut Inbox {
        &mut self.inboxes[index]
    }

    pub fn rank(&self) -> Rank {
        self.rank
    }

    pub fn peer_of_inbox(&self, index: usize) -> Rank {
        self.inbox_peers[index]
    }

    /// How `bytes` at `address` can be lent to the peer of an outbox; None if they must be copied, or better are. Memory that lies
    /// in no ring for the peer (threads) is lent whenever it does not fit into a cell.
    #[inline]
    pub fn loan(&self, outbox: usize, address: *const u8, bytes: u64, from: u64) -> Option<Loan> {
        if bytes <= ring::INLINE as u64 {
            return None;
        }
        if self.threads[outbox] {
            return Some(Loan::Address(address));
        }
        if bytes < from || self.parts.is_empty() || !matches!(self.outboxes[outbox], Outbox::Ring(_)) {
            return None;
        }
        let start = address as usize;
        let inside = |part: &&Part| part.start <= start && start + bytes as usize <= part.start + part.bytes;
        let part = self.parts.iter().find(inside)?;
        Some(Loan::Window { id: part.id, offset: (start - part.start) as u64 })
    }

    /// From now on memory in this range is lent as this window.
    pub fn add_window(&mut self, id: u32, start: *const u8, bytes: usize) {
        self.parts.push(Part { id, start: start as usize, bytes });
    }

    /// Makes a window's parts readable for loans of the ranks of this host.
    pub fn share_window(&mut self, id: u32, window: Arc<Window>) {
        self.replace_windows(self.windows.with(id, window));
    }

    pub fn remove_window(&mut self, id: u32) {
        self.parts.retain(|part| part.id != id);
        self.replace_windows(self.windows.without(id));
    }

    fn replace_windows(&mut self, windows: Windows) {
        self.windows = Arc::new(windows);
        self.inboxes.iter_mut().for_each(|inbox| inbox.set_windows(&self.windows));
    }
}
