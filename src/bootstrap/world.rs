//! The public face: all ranks of a job after they met.

mod call;
mod files;
mod join;
mod streams;

use super::host::HostId;
use super::mailbox::ControlSink;
use super::mesh::Mesh;
use super::message::MAX_ANSWER_BYTES;
use super::secret::Key;
use super::wire::MAX_PAYLOAD_BYTES;
use crate::error::{Error, ErrorKind, Result};
use crate::types::Rank;
#[cfg(test)]
pub(super) use files::handle_name;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

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
    pub(super) fn several(&self) -> &Links {
        self.links.as_ref().expect("a world of several has links")
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
