//! What control planes say to each other: where a rank stands, and what failed. It is JSON: rare, small, bounded by the mesh, and
//! a stranger to a version can still be read.

use crate::error::{Error, ErrorKind};
use crate::types::{Collective, Rank};
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
    /// What the rank is in: the oldest message or the call that it has begun and not ended.
    pub doing: Option<String>,
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
    remedy: Option<String>,
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

/// Longest message, remedy and name of an operation that are handed on, in bytes; as JSON they fit into a payload however they are escaped.
const MAX_MESSAGE_BYTES: usize = 4096;
const MAX_REMEDY_BYTES: usize = 1024;
const MAX_OPERATION_BYTES: usize = 256;

fn cut(mut text: String, max_bytes: usize) -> String {
    text.truncate(text.floor_char_boundary(max_bytes));
    text
}

impl Failure {
    pub fn of(error: &Error, rank: Rank) -> Failure {
        // The number of a message is the affair of its two ranks.
        let collective = error.operation().filter(|name| name.parse::<Collective>().is_ok());
        Failure {
            kind: error.kind().name().to_owned(),
            message: cut(error.message().to_owned(), MAX_MESSAGE_BYTES),
            remedy: error.advice().map(|remedy| cut(remedy.to_owned(), MAX_REMEDY_BYTES)),
            peer: error.peer().or(Some(rank)),
            operation: collective.map(str::to_owned).zip(error.sequence()),
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
        let noticed = format!("rank {from} noticed it first");
        let mut error = Error::new(kind, message).remedy(match self.remedy {
            Some(remedy) => format!("{}; {noticed}", cut(remedy, MAX_REMEDY_BYTES)),
            None => format!("see the output of rank {from}, which noticed it first"),
        });
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
        let line = Line { entered: 9, finished: 8, calls: vec![call], doing: Some("barrier".to_owned()), left: false };
        let bytes = line.encode();
        assert_eq!(Line::decode(&bytes), Some(line));
        assert_eq!(Line::decode(&bytes[..bytes.len() - 1]), None);
        let failure = Failure::of(&error, 1);
        let bytes = failure.encode();
        assert_eq!(Failure::decode(&bytes), Some(failure.clone()));
        assert_eq!(Failure::decode(&bytes[..bytes.len() - 1]), None);
        let heard = failure.into_error(1);
        assert!(heard.is_timeout() && heard.peer() == Some(3) && heard.sequence() == Some(9));
        let message = Error::new(ErrorKind::Timeout, "no message").in_operation("recv", 9).remedy("send one");
        let heard = Failure::of(&message, 1).into_error(1);
        assert_eq!((heard.operation(), heard.advice()), (None, Some("send one; rank 1 noticed it first")));
        assert_eq!(Failure::decode(b"\xff{}"), None);
    }

    #[test]
    fn the_longest_failure_still_fits_into_a_payload() {
        let error = Error::new(ErrorKind::Mismatch, "\u{1}".repeat(1 << 20)).remedy("\u{1}".repeat(1 << 20));
        assert!(Failure::of(&error, 1).encode().len() <= crate::bootstrap::MAX_PAYLOAD_BYTES);
    }
}
