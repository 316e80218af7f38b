//! The engine of one rank: prepares calls, runs them in order, waits, and says why when it waits in vain.

mod active;
mod connecting;
mod dial;
mod failure;
mod messages;
mod pipe;
mod queue;
mod transfers;

use super::apart::Apart;
use super::call::{Call, fingerprint};
use super::diagnostics::Diagnostics;
use super::prepared::Prepared;
use super::settings::Patience;
use super::started::ticket::Ticket;
use super::waiting::Waiting;
use crate::control::Control;
use crate::error::Result;
use crate::exec::links::{Hope, Links};
use crate::exec::run::{Memory, Runner, Standing};
use crate::fork;
use crate::plan::chunk::Counts;
use crate::plan::lower::{self, Lowered};
use crate::reduce::Kernel;
use crate::select::report::Report;
use crate::select::{Context, Selector};
use crate::topology::Layout;
use crate::transport::arena::Bell;
use crate::types::{Collective, LinkName, Rank, ReduceOp};
use active::{Active, Agreement};
use messages::Messages;
use pipe::Pipes;
use queue::Queued;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
pub use transfers::Transfer;

/// How much longer than an operation a connection for it may take: the operation's own timeout, which says more, comes first.
const CONNECT_GRACE: Duration = Duration::from_secs(1);

/// Calls of different shapes that stay prepared; the one that was not used for longest makes room.
const PREPARED: usize = 256;

/// Lists of counts that are kept for calls to come.
const SPARE_COUNTS: usize = 16;

pub struct Engine {
    pub rank: Rank,
    pub size: usize,
    pub links: Links,
    pub control: Arc<Control>,
    pub bell: Option<Bell>,
    pub patience: Patience,
    /// Never moves unless it is set.
    pub apart: Apart,
    pub context: Arc<Context>,
    /// Which ranks share a host.
    pub layout: Layout,
    pub diagnostics: Diagnostics,
    recorded: bool,
    pub sequence: u64,
    shapes: Prepared<Shape>,
    /// Where ranks are strict.
    agreement: Option<Agreement>,
    /// Scratch of the operation that runs, and its pre-multiplied input: one at a time, so that calls that stay prepared hold none.
    pub(super) scratch: Vec<u8>,
    scaled: Vec<u8>,
    queue: VecDeque<Queued>,
    /// Lists of started calls that are over, for the next ones.
    pub spare_counts: Vec<Counts>,
    pipes: Pipes,
    messages: Messages,
    descriptors: Vec<libc::pollfd>,
}

/// A call that is ready to run.
struct Shape {
    digest: u64,
    runner: Runner,
    /// Number of the call's text in the recorder.
    text: u32,
    bytes: u64,
    /// Makes pre-multiplied input.
    scale: Option<Scale>,
}

/// A call that needs links to become a shape.
struct Draft {
    digest: u64,
    lowered: Lowered,
    kernel: Option<Kernel>,
    element_bytes: usize,
    text: u32,
    bytes: u64,
    scale: Option<Scale>,
}

impl Draft {
    fn links(&self) -> impl Iterator<Item = LinkName> {
        let outboxes = self.lowered.outboxes.iter().map(|(name, _)| *name);
        self.lowered.inboxes.iter().copied().chain(outboxes)
    }
}

struct Scale {
    kernel: Kernel,
    count: usize,
    bytes: usize,
}

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
            apart: Apart::default(),
            context,
            layout: Layout::Flat,
            diagnostics,
            recorded: false,
            sequence: 0,
            shapes: Prepared::new(PREPARED),
            agreement: None,
            scratch: Vec::new(),
            scaled: Vec::new(),
            queue: VecDeque::new(),
            spare_counts: Vec::new(),
            pipes: Pipes::default(),
            messages: Messages::default(),
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
        if self.has_started() {
            // Peers may need messages of this rank before they come to this call.
            let ticket = Arc::<Ticket>::default();
            // SAFETY: the caller's: this returns when the ticket is done.
            unsafe { self.start(call.clone(), memory, timeout, ticket.clone())? };
            return self.wait_for(&ticket);
        }
        let shape = self.prepare(call, timeout)?;
        // SAFETY: the caller's.
        let sequence = unsafe { self.begin(shape, memory) };
        self.finish(shape, sequence, timeout)
    }

    /// Queues a call behind those that run. Does not wait.
    ///
    /// # Safety
    /// `memory` must be as [`Runner::begin`] wants it until the ticket is done.
    pub unsafe fn start(&mut self, call: Call, memory: Memory, timeout: Duration, ticket: Arc<Ticket>) -> Result<()> {
        self.guard()?;
        self.queue.push_back(Queued::new(call, memory, timeout, ticket));
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

    /// The index of the prepared shape of a call. Blocks to connect to peers that its plan needs for the first time.
    fn prepare(&mut self, call: &Call, timeout: Duration) -> Result<usize> {
        if let Some(index) = self.shapes.find(call) {
            return Ok(index);
        }
        let shape = self.draft(call).and_then(|draft| {
            let (control, sequence) = (self.control.clone(), self.sequence + 1);
            let waiting = RefCell::new(Waiting::new(timeout, &control));
            let hopeless = |peer| {
                let standing = || Standing::connecting(peer);
                let look = || waiting.borrow_mut().look_around(&control, sequence, standing).err();
                control.failure().or_else(look)
            };
            let hope = Hope { deadline: control.clock.now() + timeout + CONNECT_GRACE, hopeless: &hopeless };
            self.finish_draft(draft, &hope)
        });
        shape.map(|shape| self.keep(call, shape)).map_err(|error| self.fail_before(call, error))
    }

    fn keep(&mut self, call: &Call, shape: Shape) -> usize {
        let running = self.queue.front().and_then(|front| front.running()).map(|running| running.shape);
        let (index, evicted) = self.shapes.insert(call.clone(), shape, running);
        if let Some(evicted) = evicted {
            self.control.recorder.retire(evicted.text);
        }
        index
    }

    /// All of a shape but the links.
    fn draft(&mut self, call: &Call) -> Result<Draft> {
        let bytes = call.bytes(self.size);
        let problem = call.problem(self.size, self.layout);
        let checked = Selector::choose(&self.context, problem, bytes, call.algorithm)?;
        // Pre-multiplied input lies in memory of its own, so it is in place no longer.
        let scale = matches!(call.op, Some(ReduceOp::PreMulSum(_)));
        let in_place = call.in_place && !scale;
        let lowered = lower::lower(&checked, self.rank, &call.counts, call.dtype.size() as u64, in_place);
        let kernel = kernel_of(call, self.size);
        let scale = scale.then(|| {
            let kernel = Kernel::new(call.dtype, call.op.expect("it is a pre-multiplied sum"), self.size);
            let bytes = lowered.input_bytes as usize;
            Scale { kernel, count: bytes / call.dtype.size(), bytes }
        });
        let digest = call.digest(checked.plan());
        let report = || Report::of_job(&self.context, problem, bytes);
        self.diagnostics.explain(self.rank, call, &checked, report);
        let text = self.control.recorder.register(call.collective, call.text(&checked.plan().algorithm));
        // Connecting may have to wait for peers: from here on they can see what this rank is about to do.
        let sequence = self.sequence + 1;
        self.control.recorder.enter(sequence, text, bytes, fingerprint(digest, sequence));
        Ok(Draft { digest, lowered, kernel, element_bytes: call.dtype.size(), text, bytes, scale })
    }

    fn finish_draft(&mut self, draft: Draft, hope: &Hope<'_>) -> Result<Shape> {
        let Draft { digest, lowered, kernel, element_bytes, text, bytes, scale } = draft;
        let runner = self.make_runner(lowered, kernel, element_bytes, hope)?;
        Ok(Shape { digest, runner, text, bytes, scale })
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
    /// As [`Runner::begin`], but for the scratch.
    unsafe fn begin(&mut self, index: usize, mut memory: Memory) -> u64 {
        let shape = &mut self.shapes[index];
        if let Some(Scale { kernel, count, bytes }) = &shape.scale {
            let source = crate::reduce::Source { address: memory.input, raw: true };
            let scaled = at_least(&mut self.scaled, *bytes);
            // SAFETY: the input is readable, and `scaled` writable, for that many elements.
            unsafe { kernel.run(&[source], scaled, *count, false) };
            memory.input = scaled;
        }
        memory.scratch = at_least(&mut self.scratch, shape.runner.scratch_bytes());
        self.sequence += 1;
        let fingerprint = fingerprint(shape.digest, self.sequence);
        self.control.recorder.enter(self.sequence, shape.text, shape.bytes, fingerprint);
        let mut active = Active { agreement: self.agreement.as_mut(), runner: &mut shape.runner };
        // SAFETY: the caller's; the scratch is large enough and nobody else's until the next operation begins, which is after
        // this one.
        unsafe { active.begin(memory, fingerprint) };
        self.sequence
    }

    fn finish(&mut self, shape: usize, sequence: u64, timeout: Duration) -> Result<()> {
        let Engine { shapes, agreement, links, control, patience, .. } = self;
        let mut active = Active { agreement: agreement.as_mut(), runner: &mut shapes[shape].runner };
        for _ in 0..patience.spins {
            match active.poll(links) {
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
        let Engine { shapes, agreement, links, control, patience, bell, apart, descriptors, .. } = self;
        let mut active = Active { agreement: agreement.as_mut(), runner: &mut shapes[shape].runner };
        if active.poll(links)? {
            return Ok(true);
        }
        if control.has_failed() {
            return Err(self.failure());
        }
        waiting.look_around(control, sequence, || active.standing(links))?;
        waiting.rest(&mut active, links, patience, bell.as_ref(), apart, descriptors)
    }
}

/// The start of a buffer that has at least so many bytes.
fn at_least(buffer: &mut Vec<u8>, bytes: usize) -> *mut u8 {
    if buffer.len() < bytes {
        // The old one first, so that never both are there.
        *buffer = Vec::new();
        *buffer = vec![0; bytes];
    }
    buffer.as_mut_ptr()
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
