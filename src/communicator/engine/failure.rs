//! How operations end that can't succeed.

use super::Engine;
use crate::communicator::call::Call;
use crate::control::describe_mismatch;
use crate::control::recorder::Failed;
use crate::error::{Error, ErrorKind};
use std::time::Duration;

impl Engine {
    /// The communicator's failure, as this rank reports it.
    pub(super) fn failure(&self) -> Error {
        let unknown = || Error::new(ErrorKind::Aborted, "the communicator was aborted");
        self.control.failure().unwrap_or_else(unknown).on_rank(self.rank)
    }

    /// Ends an operation that can't succeed: nobody reads its memory any more, every rank learns why.
    pub(super) fn end_in_error(&mut self, shape: usize, sequence: u64, error: Error) -> Error {
        self.shapes[shape].runner.cancel(&mut self.links);
        let operation = self.shapes.call(shape).collective.name();
        let standing = self.shapes[shape].runner.standing(&mut self.links);
        self.control.recorder.fail(sequence, Failed { step: standing.step, bytes: standing.bytes });
        let error = self.root_cause(error, sequence);
        let error = self.control.fail(error.in_operation(operation, sequence)).on_rank(self.rank);
        let error = failed_in(error, operation, sequence, Failed { step: standing.step, bytes: standing.bytes });
        self.recorded(error)
    }

    /// What the data path saw is often a consequence: a mismatch of two ranks says little of the others, a closed connection
    /// or a loan taken back has its reason elsewhere. Waits a moment for the control plane to know better.
    pub(super) fn root_cause(&mut self, error: Error, sequence: u64) -> Error {
        let patience = match error.kind() {
            ErrorKind::Mismatch => Duration::from_millis(300),
            ErrorKind::PeerLost | ErrorKind::Aborted => Duration::from_millis(500),
            _ => return error,
        };
        let deadline = self.control.clock.now() + patience;
        self.control.ask(sequence);
        loop {
            if let Some(known) = self.control.failure() {
                return known;
            }
            let lines = self.control.lines(sequence);
            let complete = lines.iter().all(|peer| peer.line.as_ref().is_some_and(|line| line.entered >= sequence));
            let late = self.control.clock.now() >= deadline;
            if error.is_mismatch()
                && (complete || late)
                && let Some(mismatch) = describe_mismatch(sequence, &lines)
            {
                return mismatch;
            }
            if late {
                return error;
            }
            self.control.clock.sleep(Duration::from_millis(2));
            self.control.ask(sequence);
        }
    }

    /// The error of a call that could not begin.
    pub(super) fn fail_before(&mut self, call: &Call, error: Error) -> Error {
        let sequence = self.sequence + 1;
        self.control.recorder.fail(sequence, Failed { step: 0, bytes: 0 });
        let error = self.root_cause(error, sequence);
        let error = self.control.fail(error.in_operation(call.collective.name(), sequence)).on_rank(self.rank);
        self.recorded(error)
    }

    /// Writes the record of the last operations, once, if that is wished; returns the error that led to it.
    pub fn recorded(&mut self, error: Error) -> Error {
        if !std::mem::replace(&mut self.recorded, true) {
            self.diagnostics.record(&self.control, self.rank, &error);
        }
        error
    }
}

/// The error as the operation returns it in which this rank learned of it: if it is this operation's, with where it stood.
pub(super) fn failed_in(error: Error, operation: &str, sequence: u64, at: Failed) -> Error {
    // What is no operation's affair, such as a death, ends this one.
    let error = if error.operation().is_none() { error.in_operation(operation, sequence) } else { error };
    match (error.operation(), error.sequence()) {
        (Some(name), Some(number)) if (name, number) == (operation, sequence) => error.at_step(at.step, at.bytes),
        _ => error,
    }
}
