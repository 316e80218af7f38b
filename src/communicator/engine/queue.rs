//! Calls that were started: they run one after the other, moved on by whoever drives the engine, as started messages are.

use super::active::Active;
use super::connecting::Connecting;
use super::dial::Dial;
use super::{CONNECT_GRACE, Engine, SPARE_COUNTS};
use crate::communicator::call::Call;
use crate::communicator::started::ticket::Ticket;
use crate::communicator::waiting::Waiting;
use crate::control::recorder::Failed;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::links::Hope;
use crate::exec::run::{Memory, Standing};
use crate::plan::chunk::Counts;
use std::sync::Arc;
use std::time::Duration;

/// An operation that was started and waits its turn or runs.
pub struct Queued {
    call: Call,
    memory: Memory,
    timeout: Duration,
    pub ticket: Arc<Ticket>,
    stage: Stage,
}

impl Queued {
    pub fn new(call: Call, memory: Memory, timeout: Duration, ticket: Arc<Ticket>) -> Queued {
        Queued { call, memory, timeout, ticket, stage: Stage::Queued }
    }

    pub fn is_connecting(&self) -> bool {
        matches!(self.stage, Stage::Connecting(_))
    }

    pub fn running(&self) -> Option<&Running> {
        match &self.stage {
            Stage::Running(running) => Some(running),
            Stage::Queued | Stage::Connecting(_) => None,
        }
    }
}

/// How far an operation has come; only the front of the queue gets beyond the first.
pub enum Stage {
    Queued,
    Connecting(Box<Connecting>),
    Running(Running),
}

pub struct Running {
    pub shape: usize,
    sequence: u64,
    waiting: Waiting,
}

// SAFETY: the addresses in `memory` are of buffers that the ticket keeps or the caller lends until the operation is over.
unsafe impl Send for Queued {}

impl Engine {
    /// Lets all that was started go as far as it can; true while operations are left.
    pub fn drive(&mut self) -> bool {
        self.drive_messages();
        self.drive_calls() || !self.messages.is_empty()
    }

    /// Whether anything that was started is not over.
    pub(super) fn has_started(&self) -> bool {
        !self.queue.is_empty() || !self.messages.is_empty()
    }

    fn drive_calls(&mut self) -> bool {
        while let Some(front) = self.queue.front_mut() {
            let stage = std::mem::replace(&mut front.stage, Stage::Queued);
            match self.advance(stage) {
                Ok(None) => self.resolve_front(Ok(())),
                Ok(Some(stage)) => {
                    self.queue[0].stage = stage;
                    return true;
                }
                Err(error) => self.resolve_front(Err(error)),
            }
        }
        false
    }

    /// Moves the front of the queue on from its stage; None when it is done.
    fn advance(&mut self, stage: Stage) -> Result<Option<Stage>> {
        let stage = match stage {
            Stage::Queued => self.open_front()?,
            Stage::Connecting(connecting) => self.connect_front(connecting)?,
            Stage::Running(running) => Stage::Running(running),
        };
        match stage {
            Stage::Running(running) => Ok(self.step(running)?.map(Stage::Running)),
            Stage::Queued | Stage::Connecting(_) => Ok(Some(stage)),
        }
    }

    /// Begins the front of the queue, or to connect to the peers that it needs for the first time.
    fn open_front(&mut self) -> Result<Stage> {
        self.guard()?;
        let Queued { ref call, timeout, .. } = self.queue[0];
        let waiting = Waiting::new(timeout, &self.control);
        if let Some(index) = self.shapes.find(call) {
            return Ok(self.begin_front(index, waiting));
        }
        let call = call.clone();
        let connecting = self.draft(&call).and_then(|draft| {
            let missing = self.links.unconnected(draft.links());
            let deadline = self.control.clock.now() + timeout + CONNECT_GRACE;
            let (connect, control) = (self.links.connector(), self.control.clone());
            let dial = Dial::begin(missing, connect, control, deadline)?;
            Ok(Connecting { draft, waiting, dial })
        });
        match connecting {
            Ok(connecting) => self.connect_front(Box::new(connecting)),
            Err(error) => Err(self.fail_before(&call, error)),
        }
    }

    fn connect_front(&mut self, mut connecting: Box<Connecting>) -> Result<Stage> {
        let Engine { links, control, sequence, .. } = self;
        let connected = match control.failure() {
            Some(failure) => Err(failure),
            None => connecting.poll(links, control, *sequence + 1),
        };
        let call = self.queue[0].call.clone();
        let Connecting { draft, waiting, .. } = match connected {
            Ok(true) => *connecting,
            Ok(false) => return Ok(Stage::Connecting(connecting)),
            Err(error) => return Err(self.fail_before(&call, error)),
        };
        // All connections are there: nothing is left to wait for.
        let hope = Hope { deadline: self.control.clock.now(), hopeless: &|_| None };
        let shape = self.finish_draft(draft, &hope).map_err(|error| self.fail_before(&call, error))?;
        let index = self.keep(&call, shape);
        Ok(self.begin_front(index, waiting))
    }

    fn begin_front(&mut self, shape: usize, waiting: Waiting) -> Stage {
        let memory = self.queue[0].memory;
        // SAFETY: whoever started the operation vouched for its memory.
        let sequence = unsafe { self.begin(shape, memory) };
        Stage::Running(Running { shape, sequence, waiting })
    }

    /// Polls a running operation; None when it is done.
    fn step(&mut self, mut running: Running) -> Result<Option<Running>> {
        let Running { shape, sequence, .. } = running;
        let Engine { shapes, agreement, links, control, .. } = self;
        let mut active = Active { agreement: agreement.as_mut(), runner: &mut shapes[shape].runner };
        let outcome = match active.poll(links) {
            Ok(true) => {
                control.recorder.finish(sequence);
                return Ok(None);
            }
            Ok(false) if control.has_failed() => Err(Error::new(ErrorKind::Aborted, "the communicator has failed")),
            Ok(false) => running.waiting.look_around(control, sequence, || active.standing(links)),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => Ok(Some(running)),
            Err(error) => Err(self.end_in_error(shape, sequence, error)),
        }
    }

    fn resolve_front(&mut self, result: Result<()>) {
        let front = self.queue.pop_front().expect("there is a front");
        if !matches!(front.call.counts, Counts::Even(_)) && self.spare_counts.len() < SPARE_COUNTS {
            self.spare_counts.push(front.call.counts);
        }
        front.ticket.resolve(result);
    }

    /// Rests for a moment, or until something comes, while an operation runs.
    pub fn rest(&mut self) {
        self.rest_at_most(Duration::MAX);
    }

    /// As [`Engine::rest`], for `longest` at most.
    pub fn rest_at_most(&mut self, longest: Duration) {
        if !self.messages.is_empty() {
            return self.rest_by_messages(longest);
        }
        let Engine { shapes, agreement, links, patience, bell, apart, descriptors, queue, .. } = self;
        let patience = &patience.with_sleep_of_at_most(longest);
        match queue.front_mut().map(|front| &mut front.stage) {
            Some(Stage::Running(Running { shape, waiting, .. })) => {
                // An error shows again at the next poll, which reports it.
                let mut active = Active { agreement: agreement.as_mut(), runner: &mut shapes[*shape].runner };
                let _ = waiting.rest(&mut active, links, patience, bell.as_ref(), apart, descriptors);
            }
            Some(Stage::Connecting(connecting)) => connecting.dial.rest(),
            Some(Stage::Queued) | None => {}
        }
    }

    pub(super) fn wait_for_front(&mut self) -> Result<()> {
        let ticket = self.queue.front().expect("there is a front").ticket.clone();
        // Its own outcome is for whoever started it.
        let _ = self.wait_for(&ticket);
        self.guard()
    }

    /// Moves everything on until this operation is over, and returns its outcome.
    pub fn wait_for(&mut self, ticket: &Ticket) -> Result<()> {
        while !ticket.is_done() {
            self.drive();
            if !ticket.is_done() {
                self.rest();
            }
        }
        ticket.result()
    }

    /// Ends everything that runs: the communicator is given up. Never blocks but for a peer that is reading a piece now.
    pub fn shut_down(&mut self) {
        if self.has_started() {
            let gone = Error::new(
                ErrorKind::Aborted,
                format!("rank {} dropped its communicator with operations in flight", self.rank),
            );
            self.control
                .fail(gone.with_peer(self.rank).remedy("wait for every operation before the communicator is dropped"));
            if let Some(&Running { shape, sequence, .. }) = self.queue.front().and_then(Queued::running) {
                let (mut active, links) = self.active(shape);
                active.cancel(links);
                let Standing { step, bytes, .. } = active.standing(links);
                self.control.recorder.fail(sequence, Failed { step, bytes });
            }
            self.end_messages();
            while !self.queue.is_empty() {
                let error = self.failure();
                self.resolve_front(Err(error));
            }
        }
        self.links.hang_up();
        self.control.leave();
    }
}
