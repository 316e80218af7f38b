//! How a command fails: one sentence on stderr, and the exit status.

use std::io::{self, Write};
use unisono::{Error, ErrorKind};

/// The work failed.
pub const FAILED: u8 = 1;
/// The arguments can't be right.
pub const BAD_ARGUMENTS: u8 = 2;
/// As shells say it: the program is there and can't be run.
pub const NOT_EXECUTABLE: u8 = 126;
/// As shells say it: there is no such program.
pub const NOT_FOUND: u8 = 127;
/// As shells say that a signal ended a process: this plus the signal's number.
pub const BY_SIGNAL: u8 = 128;

#[derive(Debug)]
pub struct Failure {
    pub status: u8,
    /// None where the user needs no word: the reader of our output has gone, or a message stands there already.
    pub message: Option<String>,
}

impl Failure {
    pub fn new(status: u8, message: impl Into<String>) -> Failure {
        Failure { status, message: Some(message.into()) }
    }

    /// Tells the user, and returns the exit status.
    pub fn report(self) -> u8 {
        if let Some(message) = self.message {
            tell(&message);
        }
        self.status
    }

    /// Whoever read our stdout has gone, as `head -1` does: end quietly, as if by SIGPIPE.
    ///
    /// The signal itself stays ignored, as Rust has it: a rank must not die of a socket that a lost peer closed.
    pub fn reader_gone() -> Failure {
        Failure { status: BY_SIGNAL + libc::SIGPIPE as u8, message: None }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let status = if error.kind() == ErrorKind::InvalidArgument { BAD_ARGUMENTS } else { FAILED };
        Failure::new(status, error.to_string())
    }
}

/// An error of writing our own output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Failure::reader_gone()
        } else {
            Failure::new(FAILED, format!("cannot write the output: {error}"))
        }
    }
}

/// Says one sentence on stderr, in one write: the ranks of a job share it, and their lines must not run into each other.
/// A sentence on stderr.
pub fn tell(sentence: &str) {
    // Where stderr can't be written there is nobody to tell.
    let _ = io::stderr().write_all(format!("unisono: {sentence}\n").as_bytes());
}

/// Variables that begin with `UNISONO_` and mean nothing are probably misspelt. Told once per job: by who started it.
pub fn warn_of_unknown_variables() {
    if std::env::var_os("UNISONO_LAUNCHED").is_some() {
        return;
    }
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for (name, nearest) in unisono::bootstrap::unknown_variables(names) {
        let meant = nearest.map(|nearest| format!("; was {nearest} meant?")).unwrap_or_default();
        tell(&format!("warning: {name} means nothing{meant}"));
    }
}
