//! How operations end that can't succeed.

use super::Engine;
use crate::communicator::call::Call;
use crate::communicator::waiting::left_early;
use crate::control::recorder::Failed;
use crate::control::{Line, describe_mismatch};
use crate::error::{Error, ErrorKind};
use std::time::Duration;

/// How rarely whoever looks for the root of an error looks at most.
const MAX_PAUSE: Duration = Duration::from_millis(20);

/// What a rank has told before its goodbye may come this much later, over another way.
const WORD_BEFORE_GOODBYE: Duration = Duration::from_millis(100);

impl Engine {
    /// The communicator's failure, as this rank reports it.
    pub(super) fn failure(&self) -> Error {
        let unknown = || Error::new(ErrorKind::Aborted, "the communicator was aborted");
        self.control.failure().unwrap_or_else(unknown).on_rank(self.rank)
    }

    /// Ends an operation that can't succeed: nobody reads its memory any more, every rank learns why.
    pub(super) fn end_in_error(&mut self, shape: usize, sequence: u64, error: Error) -> Error {
        let operation = self.shapes.call(shape).collective.name();
        let (mut active, links) = self.active(shape);
        active.cancel(links);
        let standing = active.standing(links);
        self.control.recorder.fail(sequence, Failed { step: standing.step, bytes: standing.bytes });
        let error = self.root_cause(error, sequence);
        let error = self.control.fail(error.in_operation(operation, sequence)).on_rank(self.rank);
        let error = failed_in(error, operation, sequence, Failed { step: standing.step, bytes: standing.bytes });
        self.recorded(error)
    }

    /// What the data path saw is often a consequence: a mismatch of two ranks says little of the others, a closed connection
    /// or a loan taken back has its reason elsewhere. Waits a moment for the control plane to know better.
    pub(super) fn root_cause(&mut self, error: Error, sequence: u64) -> Error {
        let pace = self.control.pace();
        let patience = match error.kind() {
            ErrorKind::Mismatch => Duration::from_millis(300) + pace,
            ErrorKind::PeerLost | ErrorKind::Aborted => Duration::from_millis(500) + pace,
            _ => return error,
        };
        let started = self.control.clock.now();
        let deadline = started + patience;
        let mut pause = Duration::from_millis(2);
        loop {
            self.control.ask(sequence, pace);
            if let Some(known) = self.control.failure() {
                return known;
            }
            let now = self.control.clock.now();
            let late = now >= deadline;
            if error.is_mismatch()
                && let Some(mismatch) = self.known_mismatch(sequence, late)
            {
                return mismatch;
            }
            // A rank that left because of a failure has told of that before.
            if let Some(gone) = error.peer().filter(|peer| error.is_peer_lost() && self.control.has_left(*peer))
                && now >= started + WORD_BEFORE_GOODBYE + pace
            {
                return left_early(gone, "its part of this call is missing");
            }
            if late {
                return error;
            }
            self.control.clock.sleep(pause);
            pause = (2 * pause).min(MAX_PAUSE);
        }
    }

    /// The mismatch at this call, once all ranks are known to have entered it, or as far as it is known when it is late.
    fn known_mismatch(&self, sequence: u64, late: bool) -> Option<Error> {
        let lines = self.control.lines(sequence);
        let has_entered = |line: &Line| line.left || line.entered >= sequence;
        let complete = lines.iter().all(|peer| peer.line.as_deref().is_some_and(has_entered));
        if complete || late { describe_mismatch(sequence, &lines) } else { None }
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
