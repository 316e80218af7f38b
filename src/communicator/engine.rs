//! The engine of one rank: prepares calls, runs them in order, waits, and says why when it waits in vain.

use super::call::{Call, fingerprint};
use super::diagnostics::Diagnostics;
use super::settings::Patience;
use crate::control::{Control, Line, describe_mismatch};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::links::{Hope, Links};
use crate::exec::run::{Memory, Runner, Standing};
use crate::fork;
use crate::plan::lower::{self, Lowered};
use crate::reduce::Kernel;
use crate::select::{Context, Selector};
use crate::transport::arena::Bell;
use crate::types::{Collective, Rank, ReduceOp};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::ticket::Ticket;
use super::waiting::{Waiting, left_early};

/// How much longer than an operation a connection for it may take: the operation's own timeout, which says more, comes first.
const CONNECT_GRACE: Duration = Duration::from_secs(1);

/// How often whoever looks for the root of an error looks at most.
const MAX_PAUSE: Duration = Duration::from_millis(20);

/// Calls of different shapes that stay prepared; the one that was not used for longest makes room.
const PREPARED: usize = 256;

pub struct Engine {
    pub rank: Rank,
    pub size: usize,
    pub links: Links,
    pub control: Arc<Control>,
    pub bell: Option<Bell>,
    pub patience: Patience,
    pub context: Arc<Context>,
    pub diagnostics: Diagnostics,
    recorded: bool,
    pub sequence: u64,
    shapes: Vec<Shape>,
    /// The shape that was used last, tried first.
    last: usize,
    uses: u64,
    queue: VecDeque<Queued>,
    pub(super) descriptors: Vec<libc::pollfd>,
}

/// A call that is ready to run.
struct Shape {
    call: Call,
    digest: u64,
    runner: Runner,
    /// Number of the call's text in the recorder.
    text: u32,
    used: u64,
    /// Pre-multiplied input, and the kernel that makes it.
    scaled: Option<(Kernel, Vec<u8>)>,
}

/// An operation that was started and waits its turn or runs.
struct Queued {
    call: Call,
    memory: Memory,
    timeout: Duration,
    ticket: Arc<Ticket>,
    running: Option<Running>,
}

/// The front of the queue while it runs.
struct Running {
    shape: usize,
    sequence: u64,
    waiting: Waiting,
}

// SAFETY: the addresses in `memory` are of buffers that the ticket keeps or the caller lends until the operation is over.
unsafe impl Send for Queued {}

impl Engine {
    pub fn new(
        rank: Rank,
        links: Links,
        control: Arc<Control>,
        bell: Option<Bell>,
        patience: Patience,
        context: Arc<Context>,
        diagnostics: Diagnostics,
    ) -> Engine {
        fork::watch();
        if let Some(bell) = &bell {
            control.set_bell(bell.clone());
        }
        Engine {
            rank,
            size: control.size(),
            links,
            control,
            bell,
            patience,
            context,
            diagnostics,
            recorded: false,
            sequence: 0,
            shapes: Vec::new(),
            last: 0,
            uses: 0,
            queue: VecDeque::new(),
            descriptors: Vec::new(),
        }
    }

    /// Runs a call to its end. Blocks, at most until the timeout.
    ///
    /// # Safety
    /// `memory` must be as [`Runner::begin`] wants it for this call until this returns.
    pub unsafe fn run(&mut self, call: &Call, memory: Memory, timeout: Duration) -> Result<()> {
        self.guard()?;
        while !self.queue.is_empty() {
            self.wait_for_front()?;
        }
        let shape = self.prepare(call, timeout)?;
        // SAFETY: the caller's.
        let sequence = unsafe { self.begin(shape, memory) };
        self.finish(shape, sequence, timeout)
    }

    /// Queues a call behind those that run. Does not wait, but may connect to peers that a plan needs for the first time.
    ///
    /// # Safety
    /// `memory` must be as [`Runner::begin`] wants it until the ticket is done.
    pub unsafe fn start(&mut self, call: Call, memory: Memory, timeout: Duration, ticket: Arc<Ticket>) -> Result<()> {
        self.guard()?;
        self.queue.push_back(Queued { call, memory, timeout, ticket, running: None });
        self.drive();
        Ok(())
    }

    /// Whether this communicator may still be used.
    pub fn guard(&mut self) -> Result<()> {
        if self.control.has_failed() {
            let failure = self.failure();
            return Err(self.recorded(failure));
        }
        Ok(())
    }

    /// The communicator's failure, as this rank reports it.
    fn failure(&self) -> Error {
        let unknown = || Error::new(ErrorKind::Aborted, "the communicator was aborted");
        self.control.failure().unwrap_or_else(unknown).on_rank(self.rank)
    }

    /// The index of the prepared shape of a call.
    fn prepare(&mut self, call: &Call, timeout: Duration) -> Result<usize> {
        self.uses += 1;
        if let Some(shape) = self.shapes.get_mut(self.last)
            && shape.call == *call
        {
            shape.used = self.uses;
            return Ok(self.last);
        }
        let found = self.shapes.iter().position(|shape| shape.call == *call);
        let index = match found {
            Some(index) => index,
            None => {
                let shape = self.make_shape(call, timeout).map_err(|error| self.fail_before(call, error))?;
                self.keep(shape)
            }
        };
        self.shapes[index].used = self.uses;
        self.last = index;
        Ok(index)
    }

    fn keep(&mut self, shape: Shape) -> usize {
        if self.shapes.len() < PREPARED {
            self.shapes.push(shape);
            return self.shapes.len() - 1;
        }
        let running = self.queue.front().and_then(|front| front.running.as_ref()).map(|running| running.shape);
        let (oldest, _) = self
            .shapes
            .iter()
            .enumerate()
            .filter(|(index, _)| Some(*index) != running)
            .min_by_key(|(_, shape)| shape.used)
            .expect("there are many shapes");
        self.shapes[oldest] = shape;
        oldest
    }

    fn make_shape(&mut self, call: &Call, timeout: Duration) -> Result<Shape> {
        let checked = Selector::choose(&self.context, call.problem(self.size), call.bytes(self.size), call.algorithm)?;
        // Pre-multiplied input lies in memory of its own, so it is in place no longer.
        let scale = matches!(call.op, Some(ReduceOp::PreMulSum(_)));
        let in_place = call.in_place && !scale;
        let lowered = lower::lower(&checked, self.rank, &call.counts, call.dtype.size() as u64, in_place);
        let kernel = kernel_of(call, self.size);
        let scaled = scale.then(|| {
            let kernel = Kernel::new(call.dtype, call.op.expect("it is a pre-multiplied sum"), self.size);
            (kernel, vec![0; lowered.input_bytes as usize])
        });
        let digest = call.digest(checked.plan());
        self.diagnostics.explain(self.rank, call, self.size, checked.plan());
        let text = self.control.recorder.register(call.text(&checked.plan().algorithm));
        // Connecting may have to wait for peers: from here on they can see what this rank is about to do.
        let sequence = self.sequence + 1;
        self.control.recorder.enter(sequence, text, fingerprint(digest, sequence));
        let (control, waiting) = (self.control.clone(), RefCell::new(Waiting::new(timeout, &self.control)));
        let hopeless = |peer| {
            let standing = || Standing::connecting(peer);
            let look = || waiting.borrow_mut().look_around(&control, sequence, standing).err();
            control.failure().or_else(look)
        };
        let hope = Hope { deadline: self.control.clock.now() + timeout + CONNECT_GRACE, hopeless: &hopeless };
        let runner = self.make_runner(lowered, kernel, call.dtype.size(), &hope)?;
        Ok(Shape { call: call.clone(), digest, runner, text, used: 0, scaled })
    }

    /// Opens the links of a lowered program.
    pub fn make_runner(
        &mut self,
        lowered: Lowered,
        kernel: Option<Kernel>,
        element_bytes: usize,
        hope: &Hope<'_>,
    ) -> Result<Runner> {
        let names = lowered.inboxes.iter().chain(lowered.outboxes.iter().map(|(name, _)| name));
        self.links.connect(names.copied(), hope)?;
        let inboxes = lowered.inboxes.iter().map(|name| self.links.open_inbox(*name, hope)).collect::<Result<_>>()?;
        let outboxes =
            lowered.outboxes.iter().map(|(name, _)| self.links.open_outbox(*name, hope)).collect::<Result<_>>()?;
        Ok(Runner::new(lowered, kernel, element_bytes, inboxes, outboxes))
    }

    /// # Safety
    /// As [`Runner::begin`].
    unsafe fn begin(&mut self, index: usize, mut memory: Memory) -> u64 {
        let shape = &mut self.shapes[index];
        if let Some((kernel, scaled)) = &mut shape.scaled {
            let source = crate::reduce::Source { address: memory.input, raw: true };
            let count = scaled.len() / shape.call.dtype.size();
            // SAFETY: the input is readable for its bytes, of which there are as many in `scaled`.
            unsafe { kernel.run(&[source], scaled.as_mut_ptr(), count, false) };
            memory.input = scaled.as_ptr();
        }
        self.sequence += 1;
        let fingerprint = fingerprint(shape.digest, self.sequence);
        self.control.recorder.enter(self.sequence, shape.text, fingerprint);
        // SAFETY: the caller's.
        unsafe { shape.runner.begin(memory, fingerprint) };
        self.sequence
    }

    fn finish(&mut self, shape: usize, sequence: u64, timeout: Duration) -> Result<()> {
        let Engine { shapes, links, control, patience, .. } = self;
        let runner = &mut shapes[shape].runner;
        for _ in 0..patience.spins {
            match runner.poll(links) {
                Ok(true) => {
                    control.recorder.finish(sequence);
                    return Ok(());
                }
                Ok(false) if control.has_failed() => break,
                Ok(false) => std::hint::spin_loop(),
                Err(error) => return Err(self.end_in_error(shape, sequence, error)),
            }
        }
        let mut waiting = Waiting::new(timeout, &self.control);
        loop {
            match self.wait_once(shape, sequence, &mut waiting) {
                Ok(true) => {
                    self.control.recorder.finish(sequence);
                    return Ok(());
                }
                Ok(false) => {}
                Err(error) => return Err(self.end_in_error(shape, sequence, error)),
            }
        }
    }

    /// One round of patient waiting: polls, looks around, sleeps; true when the operation is done.
    fn wait_once(&mut self, shape: usize, sequence: u64, waiting: &mut Waiting) -> Result<bool> {
        let Engine { shapes, links, control, patience, bell, descriptors, rank, .. } = self;
        let runner = &mut shapes[shape].runner;
        if runner.poll(links)? {
            return Ok(true);
        }
        if control.has_failed() {
            let unknown = || Error::new(ErrorKind::Aborted, "the communicator was aborted");
            return Err(control.failure().unwrap_or_else(unknown).on_rank(*rank));
        }
        waiting.look_around(control, sequence, || runner.standing(links))?;
        waiting.rest(runner, links, patience, bell.as_ref(), descriptors)
    }

    /// Ends an operation that can't succeed: nobody reads its memory any more, every rank learns why.
    fn end_in_error(&mut self, shape: usize, sequence: u64, error: Error) -> Error {
        self.shapes[shape].runner.cancel(&mut self.links);
        let call = &self.shapes[shape].call;
        let standing = self.shapes[shape].runner.standing(&mut self.links);
        let operation = call.collective.name();
        let error = self.root_cause(error, sequence);
        let mut error = self.control.fail(error.in_operation(operation, sequence));
        error = error.on_rank(self.rank);
        if error.operation() == Some(operation) && error.sequence() == Some(sequence) {
            error = error.at_step(standing.step, standing.bytes);
        }
        self.recorded(error)
    }

    /// What the data path saw is often a consequence: a mismatch of two ranks says little of the others, a closed connection
    /// or a loan taken back has its reason elsewhere. Waits a moment for the control plane to know better.
    fn root_cause(&mut self, error: Error, sequence: u64) -> Error {
        let pace = self.control.pace();
        let patience = match error.kind() {
            ErrorKind::Mismatch => Duration::from_millis(300) + pace,
            ErrorKind::PeerLost | ErrorKind::Aborted => Duration::from_millis(500) + pace,
            _ => return error,
        };
        let deadline = self.control.clock.now() + patience;
        let mut pause = Duration::from_millis(2);
        loop {
            self.control.ask(sequence, pace);
            if let Some(known) = self.control.failure() {
                return known;
            }
            let late = self.control.clock.now() >= deadline;
            if error.is_mismatch()
                && let Some(mismatch) = self.known_mismatch(sequence, late)
            {
                return mismatch;
            }
            if let Some(gone) = error.peer().filter(|peer| error.is_peer_lost() && self.control.has_left(*peer)) {
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
    fn fail_before(&mut self, call: &Call, error: Error) -> Error {
        let sequence = self.sequence + 1;
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

    /// Lets the front of the queue go as far as it can; true while operations are left.
    pub fn drive(&mut self) -> bool {
        while let Some(front) = self.queue.front_mut() {
            let running = match front.running.take() {
                Some(running) => running,
                None => {
                    let (call, timeout) = (front.call.clone(), front.timeout);
                    match self.guard().and_then(|()| self.prepare(&call, timeout)) {
                        Ok(shape) => {
                            let memory = self.queue[0].memory;
                            // SAFETY: whoever started the operation vouched for its memory.
                            let sequence = unsafe { self.begin(shape, memory) };
                            Running { shape, sequence, waiting: Waiting::new(timeout, &self.control) }
                        }
                        Err(error) => {
                            self.resolve_front(Err(error));
                            continue;
                        }
                    }
                }
            };
            match self.step(running) {
                Ok(None) => self.resolve_front(Ok(())),
                Ok(Some(running)) => {
                    self.queue[0].running = Some(running);
                    return true;
                }
                Err(error) => self.resolve_front(Err(error)),
            }
        }
        false
    }

    /// Polls a running operation; None when it is done.
    fn step(&mut self, mut running: Running) -> Result<Option<Running>> {
        let Running { shape, sequence, .. } = running;
        let Engine { shapes, links, control, .. } = self;
        let runner = &mut shapes[shape].runner;
        let outcome = match runner.poll(links) {
            Ok(true) => {
                control.recorder.finish(sequence);
                return Ok(None);
            }
            Ok(false) if control.has_failed() => Err(Error::new(ErrorKind::Aborted, "the communicator has failed")),
            Ok(false) => running.waiting.look_around(control, sequence, || runner.standing(links)),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(()) => Ok(Some(running)),
            Err(error) => Err(self.end_in_error(shape, sequence, error)),
        }
    }

    fn resolve_front(&mut self, result: Result<()>) {
        let front = self.queue.pop_front().expect("there is a front");
        front.ticket.resolve(result);
    }

    /// Rests for a moment, or until something comes, while an operation runs.
    pub fn rest(&mut self) {
        let Engine { shapes, links, patience, bell, descriptors, queue, .. } = self;
        if let Some(Running { shape, waiting, .. }) = queue.front_mut().and_then(|front| front.running.as_mut()) {
            // An error shows again at the next poll, which reports it.
            let _ = waiting.rest(&mut shapes[*shape].runner, links, patience, bell.as_ref(), descriptors);
        }
    }

    fn wait_for_front(&mut self) -> Result<()> {
        let ticket = self.queue.front().expect("there is a front").ticket.clone();
        while !ticket.is_done() {
            self.drive();
            if !ticket.is_done() {
                self.rest();
            }
        }
        self.guard()
    }

    /// Ends everything that runs: the communicator is given up. Never blocks but for a peer that is reading a piece now.
    pub fn shut_down(&mut self) {
        if !self.queue.is_empty() {
            let gone = Error::new(
                ErrorKind::Aborted,
                format!("rank {} dropped its communicator with operations in flight", self.rank),
            );
            self.control
                .fail(gone.with_peer(self.rank).remedy("wait for every operation before the communicator is dropped"));
            if let Some(Running { shape, .. }) = self.queue[0].running.take() {
                self.shapes[shape].runner.cancel(&mut self.links);
            }
            while !self.queue.is_empty() {
                let error = self.failure();
                self.resolve_front(Err(error));
            }
        }
        self.links.hang_up();
        self.control.leave();
    }
}

fn kernel_of(call: &Call, ranks: usize) -> Option<Kernel> {
    match (call.collective, call.op) {
        // A barrier's one byte is folded by an operation for which a contribution may come twice.
        (Collective::Barrier, _) => Some(Kernel::new(crate::types::DType::U8, ReduceOp::Max, ranks)),
        // The multiplication was done on the way in.
        (_, Some(ReduceOp::PreMulSum(_))) => Some(Kernel::new(call.dtype, ReduceOp::Sum, ranks)),
        (_, Some(op)) => Some(Kernel::new(call.dtype, op, ranks)),
        (_, None) => None,
    }
}
