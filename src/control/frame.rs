//! What control planes say to each other. Frames are JSON: rare, small, bounded by the mesh, and a stranger to a version
//! can still be read.

use crate::error::{Error, ErrorKind};
use crate::types::Rank;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Frame {
    /// "What do you do at this sequence number?"
    Asked {
        sequence: u64,
    },
    At {
        line: Line,
    },
    Failed {
        error: Failure,
    },
    Left,
}

/// Where a rank stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The last call that the rank has entered, and the last one that it has finished; 0 before the first.
    pub entered: u64,
    pub finished: u64,
    /// The call at the sequence number that was asked for and some before it, newest first, as far as the rank has entered
    /// them and still remembers them.
    pub calls: Vec<EnteredCall>,
    pub pid: u32,
}

impl Line {
    /// The call at a sequence number, if it is among those told.
    pub fn call(&self, sequence: u64) -> Option<&EnteredCall> {
        self.calls.iter().find(|call| call.sequence == sequence)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnteredCall {
    pub sequence: u64,
    pub fingerprint: u32,
    pub text: String,
}

/// An error on its way to other ranks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    kind: String,
    message: String,
    peer: Option<Rank>,
    operation: Option<(String, u64)>,
}

const KINDS: [ErrorKind; 11] = [
    ErrorKind::Timeout,
    ErrorKind::PeerLost,
    ErrorKind::Mismatch,
    ErrorKind::Aborted,
    ErrorKind::InvalidArgument,
    ErrorKind::Configuration,
    ErrorKind::Rendezvous,
    ErrorKind::Resource,
    ErrorKind::Transport,
    ErrorKind::Forked,
    ErrorKind::Plan,
];

/// Longest message and name of an operation that are handed on, in bytes; as JSON they fit into a payload however they are escaped.
const MAX_MESSAGE_BYTES: usize = 4096;
const MAX_OPERATION_BYTES: usize = 256;

fn cut(mut text: String, max_bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(max_bytes));
    text
}

impl Failure {
    pub fn of(error: &Error, rank: Rank) -> Failure {
        Failure {
            kind: error.kind().name().to_owned(),
            message: cut(error.message().to_owned(), MAX_MESSAGE_BYTES),
            peer: error.peer().or(Some(rank)),
            operation: error.operation().map(str::to_owned).zip(error.sequence()),
        }
    }

    /// The error as a rank returns it that only heard of it.
    pub fn into_error(self, from: Rank) -> Error {
        let kind = KINDS.into_iter().find(|kind| kind.name() == self.kind).unwrap_or(ErrorKind::Aborted);
        let message = cut(self.message, MAX_MESSAGE_BYTES);
        let message = match kind {
            // These speak of the whole communicator and name the rank to blame; others are the affair of the rank that failed.
            ErrorKind::Timeout | ErrorKind::PeerLost | ErrorKind::Mismatch | ErrorKind::Aborted => message,
            _ => format!("because of rank {from}: {message}"),
        };
        let mut error = Error::new(kind, message).remedy(format!("rank {from} noticed it first; see its output"));
        if let Some(peer) = self.peer {
            error = error.with_peer(peer);
        }
        if let Some((operation, sequence)) = self.operation {
            error = error.in_operation(cut(operation, MAX_OPERATION_BYTES), sequence);
        }
        error
    }
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    communicator: u64,
    frame: T,
}

impl Frame {
    pub fn encode(&self, communicator: u64) -> Vec<u8> {
        serde_json::to_vec(&Envelope { communicator, frame: self }).expect("frames have no maps and no foreign types")
    }

    /// None for what no version of us would send.
    pub fn decode(bytes: &[u8]) -> Option<Frame> {
        serde_json::from_slice::<Envelope<Frame>>(bytes).ok().map(|envelope| envelope.frame)
    }
}

/// For which communicator a frame is.
pub fn communicator_of(bytes: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Envelope<serde::de::IgnoredAny>>(bytes).ok().map(|envelope| envelope.communicator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip_and_garbage_is_nothing() {
        let error = Error::new(ErrorKind::Timeout, "rank 3 is missing").with_peer(3).in_operation("all_reduce", 9);
        let call = EnteredCall { sequence: 9, fingerprint: 7, text: "barrier".to_owned() };
        let line = Line { entered: 9, finished: 8, calls: vec![call], pid: 12 };
        for frame in [
            Frame::Asked { sequence: 9 },
            Frame::At { line },
            Frame::Failed { error: Failure::of(&error, 1) },
            Frame::Left,
        ] {
            let bytes = frame.encode(42);
            assert_eq!(Frame::decode(&bytes), Some(frame));
            assert_eq!(communicator_of(&bytes), Some(42));
            assert_eq!(Frame::decode(&bytes[..bytes.len() - 1]), None);
        }
        let heard = Failure::of(&error, 1).into_error(1);
        assert!(heard.is_timeout() && heard.peer() == Some(3) && heard.sequence() == Some(9));
        assert_eq!(Frame::decode(b"\xff{}"), None);
    }

    #[test]
    fn the_longest_failure_still_fits_into_a_payload() {
        let error = Error::new(ErrorKind::Mismatch, "\u{1}".repeat(1 << 20));
        let frame = Frame::Failed { error: Failure::of(&error, 1) };
        assert!(frame.encode(u64::MAX).len() <= crate::bootstrap::MAX_PAYLOAD_BYTES);
    }
}
