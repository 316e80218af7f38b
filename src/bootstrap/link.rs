//! One control connection to a neighbour: frames in, queued frames out, nothing that waits.

use super::fork::ParentOnly;
use super::socket::{Stream, Watch};
use super::wire::{Inbox, Malformed};
use crate::types::Rank;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::sync::Arc;

/// Bytes that may wait for a neighbour that does not read; a stopped process must not fill the memory of others. What can be
/// told later waits for room before it is queued.
pub(super) const MAX_QUEUED_BYTES: usize = 16 << 20;
const IDLE_BYTES: usize = 64 << 10;

/// Fewer than the kernel takes at once.
const FRAMES_PER_WRITE: usize = 256;

/// A whole frame, shared among the links that it goes out on.
pub(super) type Frame = Arc<[u8]>;

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("its control connection closed without a goodbye")]
    Closed,
    #[error("its control connection broke: {0}")]
    Broke(io::Error),
    #[error("it sent {0} on its control connection")]
    Malformed(#[from] Malformed),
}

pub(super) struct Link {
    pub rank: Rank,
    /// Declared before the stream, so that it is dropped first.
    _parent_only: ParentOnly,
    stream: Stream,
    inbox: Inbox,
    outbox: VecDeque<Frame>,
    queued_bytes: usize,
    /// Bytes of the first queued frame that are already on their way.
    sent_of_first: usize,
    finished: bool,
    /// The neighbour was left out because it did not read.
    pub left_out: bool,
}

impl Link {
    pub fn new(rank: Rank, stream: Stream) -> Link {
        let (inbox, outbox) = (Inbox::default(), VecDeque::new());
        let _parent_only = ParentOnly::new(&stream);
        Link {
            rank,
            _parent_only,
            stream,
            inbox,
            outbox,
            queued_bytes: 0,
            sent_of_first: 0,
            finished: false,
            left_out: false,
        }
    }

    pub fn watch(&self) -> Watch {
        Watch::readable(self.stream.as_fd()).also_writable(!self.outbox.is_empty())
    }

    pub fn has_room(&self) -> bool {
        self.queued_bytes < MAX_QUEUED_BYTES
    }

    /// Whether the neighbour reads as fast as it is told things.
    pub fn keeps_up(&self) -> bool {
        self.queued_bytes < IDLE_BYTES
    }

    /// Queues a frame; after [`Link::finish`] it is dropped.
    pub fn queue(&mut self, frame: Frame) {
        if !self.finished {
            self.queued_bytes += frame.len();
            self.outbox.push_back(frame);
        }
    }

    /// Sends what the kernel takes, many frames at once.
    pub fn flush(&mut self) -> Result<(), Ended> {
        while !self.outbox.is_empty() {
            let mut skip = self.sent_of_first;
            let slices: Vec<IoSlice<'_>> = self
                .outbox
                .iter()
                .take(FRAMES_PER_WRITE)
                .map(|frame| IoSlice::new(&frame[std::mem::take(&mut skip)..]))
                .collect();
            match self.stream.send_all(&slices) {
                Ok(count) => self.note_sent(count),
                Err(error) if is_passing(&error) => return Ok(()),
                Err(error) => return Err(Ended::Broke(error)),
            }
        }
        Ok(())
    }

    fn note_sent(&mut self, count: usize) {
        self.sent_of_first += count;
        while let Some(frame) = self.outbox.pop_front_if(|frame| frame.len() <= self.sent_of_first) {
            self.sent_of_first -= frame.len();
            self.queued_bytes -= frame.len();
        }
    }

    /// Once all is sent, closes this direction. Closing outright could destroy what is still on its way.
    pub fn finish(&mut self) {
        if self.outbox.is_empty() && !self.finished {
            self.finished = true;
            // It fails only if the connection is gone, which reading will tell.
            let _ = self.stream.finish_sending();
        }
    }

    /// Everything is sent, and nothing more will be.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// The body of the next frame that has come.
    pub fn receive(&mut self) -> Result<Option<Vec<u8>>, Ended> {
        loop {
            if let Some(body) = self.inbox.next_frame()? {
                return Ok(Some(body.to_vec()));
            }
            match self.inbox.read_from(&mut self.stream) {
                Ok(0) => return Err(Ended::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_passing(&error) => return Ok(None),
                Err(error) => return Err(Ended::Broke(error)),
            }
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
