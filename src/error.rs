//! The one error: what failed, where, and what to do.

use crate::types::Rank;
use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as far as a program may want to tell cases apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The deadline passed; the message names who was missing.
    Timeout,
    /// A peer's process ended or its connection broke.
    PeerLost,
    /// Ranks made different calls at the same place.
    Mismatch,
    /// Another rank failed first, or `abort` was called.
    Aborted,
    /// The call's own arguments can't be right.
    InvalidArgument,
    /// The environment or the settings contradict themselves or lack something.
    Configuration,
    /// The ranks could not find or did not trust each other.
    Rendezvous,
    /// The machine ran out of something: memory, file descriptors, threads.
    Resource,
    /// A required transport can't be had.
    Transport,
    /// A communicator of a parent process was used in a forked child.
    Forked,
    /// A plan failed its proof.
    Plan,
}

impl ErrorKind {
    /// A stable word for logs and scripts.
    pub const fn name(self) -> &'static str {
        match self {
            ErrorKind::Timeout => "timeout",
            ErrorKind::PeerLost => "peer_lost",
            ErrorKind::Mismatch => "mismatch",
            ErrorKind::Aborted => "aborted",
            ErrorKind::InvalidArgument => "invalid_argument",
            ErrorKind::Configuration => "configuration",
            ErrorKind::Rendezvous => "rendezvous",
            ErrorKind::Resource => "resource",
            ErrorKind::Transport => "transport",
            ErrorKind::Forked => "forked",
            ErrorKind::Plan => "plan",
        }
    }
}

/// Any failure of this library: a full sentence, and its parts for programs.
///
/// After a failed collective its output is unspecified and its input intact, unless it was in place. A communicator on which an
/// error other than [`ErrorKind::InvalidArgument`] was returned is finished: every later call on it fails at once. Calls that
/// all ranks refuse alike before anything has begun say so and leave it as it was ([`Error::communicator_is_usable`]).
#[derive(Clone)]
pub struct Error(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    kind: ErrorKind,
    message: String,
    remedy: Option<String>,
    rank: Option<Rank>,
    peer: Option<Rank>,
    operation: Option<String>,
    sequence: Option<u64>,
    step: Option<u32>,
    bytes: Option<u64>,
    is_agreed: bool,
}

impl Error {
    /// `message` is a clause without a full stop: what failed and where.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Box::new(Parts {
            kind,
            message: message.into(),
            remedy: None,
            rank: None,
            peer: None,
            operation: None,
            sequence: None,
            step: None,
            bytes: None,
            is_agreed: false,
        }))
    }

    /// What the reader can do about it, as an imperative clause.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Error {
        self.0.remedy = Some(remedy.into());
        self
    }

    /// The rank on which the error was noticed.
    pub fn on_rank(mut self, rank: Rank) -> Error {
        self.0.rank = Some(rank);
        self
    }

    /// The rank that is to blame or was waited for.
    pub fn with_peer(mut self, peer: Rank) -> Error {
        self.0.peer = Some(peer);
        self
    }

    /// The call, such as `all_reduce`, and its number on the communicator; or `send` or `recv`, and the number of the message among
    /// those between its two ranks in its direction.
    pub fn in_operation(mut self, operation: impl Into<String>, sequence: u64) -> Error {
        self.0.operation = Some(operation.into());
        self.0.sequence = Some(sequence);
        self
    }

    /// The step of the rank's program, and the bytes of it that were done.
    pub fn at_step(mut self, step: u32, bytes: u64) -> Error {
        self.0.step = Some(step);
        self.0.bytes = Some(bytes);
        self
    }

    /// All ranks refuse the call with this error before anything of it has begun, so that the communicator can go on.
    pub(crate) fn agreed(mut self) -> Error {
        self.0.is_agreed = true;
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
    pub fn message(&self) -> &str {
        &self.0.message
    }
    /// What can be done about it.
    pub fn advice(&self) -> Option<&str> {
        self.0.remedy.as_deref()
    }
    pub fn rank(&self) -> Option<Rank> {
        self.0.rank
    }
    pub fn peer(&self) -> Option<Rank> {
        self.0.peer
    }
    pub fn operation(&self) -> Option<&str> {
        self.0.operation.as_deref()
    }
    pub fn sequence(&self) -> Option<u64> {
        self.0.sequence
    }
    pub fn step(&self) -> Option<u32> {
        self.0.step
    }
    pub fn bytes(&self) -> Option<u64> {
        self.0.bytes
    }
    pub fn is_timeout(&self) -> bool {
        self.0.kind == ErrorKind::Timeout
    }
    pub fn is_peer_lost(&self) -> bool {
        self.0.kind == ErrorKind::PeerLost
    }
    pub fn is_mismatch(&self) -> bool {
        self.0.kind == ErrorKind::Mismatch
    }
    /// Whether the communicator can go on after this error.
    pub fn communicator_is_usable(&self) -> bool {
        self.0.kind == ErrorKind::InvalidArgument || self.0.is_agreed
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = &*self.0;
        f.write_str(&parts.message)?;
        let mut separator = " (";
        let mut note = |f: &mut fmt::Formatter<'_>, text: fmt::Arguments<'_>| {
            f.write_str(separator)?;
            separator = ", ";
            f.write_fmt(text)
        };
        if let Some(rank) = parts.rank {
            note(f, format_args!("on rank {rank}"))?;
        }
        if let (Some(operation), Some(sequence)) = (&parts.operation, parts.sequence) {
            note(f, format_args!("in {operation} #{sequence}"))?;
        }
        if let (Some(step), Some(bytes)) = (parts.step, parts.bytes) {
            note(f, format_args!("step {step} after {bytes} bytes"))?;
        }
        if separator == ", " {
            f.write_str(")")?;
        }
        match &parts.remedy {
            Some(remedy) => write!(f, ": {remedy}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} error: {self}", self.0.kind.name())
    }
}

impl std::error::Error for Error {}

impl From<crate::types::UnknownName> for Error {
    fn from(unknown: crate::types::UnknownName) -> Error {
        Error::new(ErrorKind::InvalidArgument, unknown.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_sentence_with_place_and_remedy() {
        let error = Error::new(ErrorKind::Timeout, "rank 3 did not enter within 2 s")
            .on_rank(0)
            .with_peer(3)
            .in_operation("all_reduce", 7)
            .at_step(2, 4096)
            .remedy("look at rank 3, or give a longer timeout");
        assert_eq!(
            error.to_string(),
            "rank 3 did not enter within 2 s (on rank 0, in all_reduce #7, step 2 after 4096 bytes): look at rank 3, or give a longer timeout"
        );
        assert!(error.is_timeout() && error.peer() == Some(3) && !error.communicator_is_usable());
    }
}
