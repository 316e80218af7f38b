//! What control planes say to each other: where a rank stands, and what failed. It is JSON: rare, small, bounded by the mesh, and
//! a stranger to a version can still be read.

use crate::error::{Error, ErrorKind};
use crate::types::Rank;
use serde::{Deserialize, Serialize};

/// Where a rank stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The last call that the rank has entered, and the last one that it has finished; 0 before the first.
    pub entered: u64,
    pub finished: u64,
    /// The call at the sequence number that was asked for and some before it, and the last ones, newest first, as far as the rank
    /// has entered them and still remembers them.
    pub calls: Vec<EnteredCall>,
    /// It makes no more calls.
    pub left: bool,
}

impl Line {
    /// The call at a sequence number, if it is among those told.
    pub fn call(&self, sequence: u64) -> Option<&EnteredCall> {
        self.calls.iter().find(|call| call.sequence == sequence)
    }

    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a line has no maps and no foreign types")
    }

    /// None for what no version of us would send.
    pub fn decode(bytes: &[u8]) -> Option<Line> {
        serde_json::from_slice(bytes).ok()
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

    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a failure has no maps and no foreign types")
    }

    /// None for what no version of us would send.
    pub fn decode(bytes: &[u8]) -> Option<Failure> {
        serde_json::from_slice(bytes).ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_round_trip_and_garbage_is_nothing() {
        let error = Error::new(ErrorKind::Timeout, "rank 3 is missing").with_peer(3).in_operation("all_reduce", 9);
        let call = EnteredCall { sequence: 9, fingerprint: 7, text: "barrier".to_owned() };
        let line = Line { entered: 9, finished: 8, calls: vec![call], left: false };
        let bytes = line.encode();
        assert_eq!(Line::decode(&bytes), Some(line));
        assert_eq!(Line::decode(&bytes[..bytes.len() - 1]), None);
        let failure = Failure::of(&error, 1);
        let bytes = failure.encode();
        assert_eq!(Failure::decode(&bytes), Some(failure.clone()));
        assert_eq!(Failure::decode(&bytes[..bytes.len() - 1]), None);
        let heard = failure.into_error(1);
        assert!(heard.is_timeout() && heard.peer() == Some(3) && heard.sequence() == Some(9));
        assert_eq!(Failure::decode(b"\xff{}"), None);
    }
}
