//! What the mesh's thread and the callers' threads share, and how one wakes the other.

use crate::bootstrap::link::Frame;
use crate::bootstrap::mailbox::Mailbox;
use crate::bootstrap::message::{Card, Tag};
use crate::bootstrap::socket::{Stream, send};
use crate::bootstrap::survey::Surveys;
use crate::types::Rank;
use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What is known of a rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::bootstrap) enum Fate {
    Present,
    Left,
    Lost(String),
}

/// What a connection that was let in is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bootstrap) enum Purpose {
    Stream,
    Handle,
}

pub(in crate::bootstrap) struct Parked {
    pub purpose: Purpose,
    pub rank: Rank,
    pub tag: Tag,
    pub stream: Stream,
}

impl Parked {
    /// The first half of its tag.
    pub fn family(&self) -> u64 {
        u64::from_le_bytes(*self.tag.first_chunk().expect("a tag has 16 bytes"))
    }
}

pub(in crate::bootstrap) enum Command {
    Attach(Rank, Stream),
    Send(Rank, Frame),
    Announce(u64, Frame),
    /// Ends after these last words.
    Leave(Frame),
    #[cfg(test)]
    Die,
}

/// What the mesh's thread and the callers' threads share.
pub(in crate::bootstrap) struct State {
    pub commands: VecDeque<Command>,
    pub command_bytes: usize,
    pub surveys: Surveys,
    pub fates: Vec<Fate>,
    pub linked: Vec<Rank>,
    pub cards: Vec<Option<Card>>,
    pub parked: Vec<Parked>,
    /// First halves of the tags of connections that nobody will ask for any more, oldest first.
    pub refused: VecDeque<u64>,
    pub leaving: bool,
    pub ended: bool,
    /// This process has no file descriptor for a connection that waits outside.
    pub starved: bool,
}

pub(in crate::bootstrap) struct Shared {
    pub state: Mutex<State>,
    pub changed: Condvar,
    pub bell: UnixStream,
    pub mailbox: Mailbox,
}

impl Shared {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn command(&self, command: Command) {
        self.state().commands.push_back(command);
        self.ring();
    }

    /// A full pipe rings just as well, and after the thread's end there is nobody to wake.
    pub(super) fn ring(&self) {
        let _ = send(self.bell.as_fd(), &[0]);
    }

    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.changed.notify_all();
        result
    }
}
