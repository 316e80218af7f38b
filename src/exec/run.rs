//! Runs one rank's lowered program: a resumable loop that never blocks, allocates or takes a lock.
//!
//! Lanes advance instruction by instruction. Posts are pumped: an outbox sends its posts in order, each as far as the
//! instruction behind it has come, so a received, reduced and forwarded chunk leaves while it is still in the cache.

mod brief;
mod standing;

use super::links::Links;
use super::stream;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::lower::{Beginning, Instruction, Lowered, Place, Post, Release, Source};
use crate::plan::{Buffer, Reduction};
use crate::reduce::{self, Kernel};
use crate::transport::{Head, Lent};
use crate::types::Rank;
use brief::{Brief, Stop};
pub use standing::Standing;

/// Bytes that are folded or copied before posts are pumped and loans given back: small enough to stay in a core's cache.
const PIECE: u64 = 128 << 10;
/// Posts of fewer bytes are copied even where they could be lent: a loan costs the receiver two more cache lines.
const LEND_FROM: u64 = 4096;

/// A program with its links, ready to run any number of times.
pub struct Runner {
    lowered: Lowered,
    kernel: Option<Kernel>,
    element_bytes: usize,
    inboxes: Vec<usize>,
    outboxes: Vec<Outgoing>,
    lanes: Vec<Lane>,
    memory: Memory,
    fingerprint: u32,
    sources: Vec<reduce::Source>,
    pieces: Vec<Piece>,
    /// Where the program is one of few short messages.
    brief: Option<Brief>,
    /// The output is too large to stay in the caches: what is copied there, and not sent on, goes past them.
    streams: bool,
}

/// The addresses of one call.
#[derive(Clone, Copy)]
pub struct Memory {
    pub input: *const u8,
    pub output: *mut u8,
    /// Null for a program that has none.
    pub scratch: *mut u8,
}

impl Memory {
    pub fn new(input: *const u8, output: *mut u8) -> Memory {
        Memory { input, output, scratch: std::ptr::null_mut() }
    }

    #[inline]
    fn at(&self, place: Place) -> *mut u8 {
        let base = match place.buffer {
            Buffer::Input => self.input.cast_mut(),
            Buffer::Output => self.output,
            Buffer::Scratch => self.scratch,
        };
        base.wrapping_add(place.offset as usize)
    }
}

// SAFETY: the pointers are to buffers that the operation owns or that the caller lends for its whole duration; a runner is used
// by one thread at a time.
unsafe impl Send for Runner {}

#[derive(Clone, Copy, Default)]
struct Lane {
    next: usize,
    /// Bytes of the instruction `next` that are done.
    done: u64,
    /// The instruction's waits are over.
    entered: bool,
}

struct Outgoing {
    link: usize,
    /// The post being sent, and its bytes that are out.
    next: usize,
    sent: u64,
    /// For each post that is out, the last loan up to it: the one that carries it or, where it was copied, one before it that
    /// must be back too when the post counts as released.
    loans: Vec<Option<u64>>,
    /// Loans come back in order, so that the last one speaks for all.
    last_loan: Option<u64>,
}

impl Outgoing {
    #[inline]
    fn last_loan_is_back(&self, links: &mut Links) -> bool {
        self.last_loan.is_none_or(|number| links.outbox(self.link).is_returned(number))
    }
}

/// A received record that is being read.
#[derive(Clone, Copy)]
struct Piece {
    inbox: usize,
    record_len: usize,
    lent: Lent,
}

impl Runner {
    /// `inboxes` and `outboxes` are the links of the program, in its order.
    ///
    /// # Panics
    /// If the program does not [validate](Lowered::validate), or there are fewer or more links than it names: everything below
    /// that indexes or computes an address relies on it.
    pub fn new(
        lowered: Lowered,
        kernel: Option<Kernel>,
        element_bytes: usize,
        inboxes: Vec<usize>,
        outboxes: Vec<usize>,
    ) -> Runner {
        if let Err(misfit) = lowered.validate() {
            panic!("a lowered program that can't run: {misfit}");
        }
        assert_eq!((inboxes.len(), outboxes.len()), (lowered.inboxes.len(), lowered.outboxes.len()));
        let outgoing = |(link, (_, posts)): (usize, &(_, Vec<_>))| Outgoing {
            link,
            next: 0,
            sent: 0,
            loans: vec![None; posts.len()],
            last_loan: None,
        };
        let outboxes = outboxes.into_iter().zip(&lowered.outboxes).map(outgoing).collect();
        let most_sources = lowered.lanes.iter().flatten().map(|one| one.sources.len()).max().unwrap_or(0);
        Runner {
            lanes: vec![Lane::default(); lowered.lanes.len()],
            memory: Memory::new(std::ptr::null(), std::ptr::null_mut()),
            fingerprint: 0,
            sources: Vec::with_capacity(most_sources),
            pieces: Vec::with_capacity(most_sources),
            streams: lowered.output_bytes >= stream::threshold(),
            brief: Brief::of(&lowered, &inboxes, element_bytes),
            lowered,
            kernel,
            element_bytes,
            inboxes,
            outboxes,
        }
    }

    /// Streams however small the output is.
    #[cfg(test)]
    pub fn stream_always(&mut self) {
        self.streams = true;
    }

    /// Bytes of scratch that the program needs.
    pub fn scratch_bytes(&self) -> usize {
        self.lowered.scratch_bytes as usize
    }

    /// Sets the program to its beginning.
    ///
    /// # Safety
    /// Until [`Runner::poll`] has returned true or [`Runner::cancel`] was called, `memory.input` must be readable, and
    /// `memory.output` and `memory.scratch` writable, for the bytes of the lowered program, and nobody else may touch output and
    /// scratch. Input and output overlap exactly as the program was lowered for, or not at all.
    pub unsafe fn begin(&mut self, memory: Memory, fingerprint: u32) {
        self.memory = memory;
        self.fingerprint = fingerprint;
        self.lanes.fill(Lane::default());
        for outgoing in &mut self.outboxes {
            (outgoing.next, outgoing.sent, outgoing.last_loan) = (0, 0, None);
            outgoing.loans.fill(None);
        }
        if let Some(brief) = &mut self.brief {
            brief.begin(memory);
        }
    }

    /// Makes a program of one instruction over whole buffers, which moves one message, move one of another length.
    pub fn resize(&mut self, bytes: u64) {
        let Lowered { lanes, outboxes, input_bytes, output_bytes, .. } = &mut self.lowered;
        let [lane] = &mut lanes[..] else { panic!("a program of one lane is resized, not of {}", lanes.len()) };
        let [instruction] = &mut lane[..] else {
            panic!("a program of one instruction is resized, not of {}", lane.len())
        };
        assert!(*input_bytes == instruction.bytes && *output_bytes == instruction.bytes && bytes > 0);
        if let Some(brief) = &mut self.brief {
            brief.resize(bytes);
        }
        self.streams = bytes >= stream::threshold();
        (instruction.bytes, *input_bytes, *output_bytes) = (bytes, bytes, bytes);
        outboxes.iter_mut().flat_map(|(_, posts)| posts).for_each(|post| post.bytes = bytes);
    }

    /// Goes as far as it can without waiting; true when the program is done and all its memory released.
    #[inline]
    pub fn poll(&mut self, links: &mut Links) -> Result<bool> {
        match self.poll_brief(links)? {
            Stop::Done => return Ok(true),
            Stop::Waiting => return Ok(false),
            Stop::Unusual => {}
        }
        self.poll_any(links)
    }

    fn poll_any(&mut self, links: &mut Links) -> Result<bool> {
        loop {
            let mut moved = false;
            for lane in 0..self.lanes.len() {
                moved |= self.advance(lane, links)?;
            }
            let mut all_sent = true;
            for index in 0..self.outboxes.len() {
                moved |= self.pump(index, links)?;
                all_sent &= self.outboxes[index].next == self.lowered.outboxes[index].1.len();
            }
            if all_sent && self.lanes_are_done() && self.loans_are_back(links) {
                return Ok(true);
            }
            if !moved {
                return Ok(false);
            }
        }
    }

    fn lanes_are_done(&self) -> bool {
        self.lanes.iter().zip(&self.lowered.lanes).all(|(lane, steps)| lane.next == steps.len())
    }

    fn loans_are_back(&mut self, links: &mut Links) -> bool {
        self.outboxes.iter().all(|outgoing| outgoing.last_loan_is_back(links))
    }

    /// Takes back what is lent: after this no peer takes what it reads in this operation's memory for data.
    pub fn cancel(&mut self, links: &mut Links) {
        for outgoing in &self.outboxes {
            links.outbox(outgoing.link).revoke();
        }
    }

    fn advance(&mut self, lane: usize, links: &mut Links) -> Result<bool> {
        let mut moved = false;
        while let Some(instruction) = self.lowered.lanes[lane].get(self.lanes[lane].next) {
            if !self.lanes[lane].entered {
                let has_begun = |after: Beginning| self.lanes[after.lane].next >= after.instructions;
                if !instruction.after.is_none_or(has_begun)
                    || !instruction.awaits.iter().all(|release| self.is_released(*release, links))
                {
                    return Ok(moved);
                }
                self.lanes[lane].entered = true;
            }
            if instruction.destination.is_some() {
                let (piece_moved, complete) = self.compute(lane, links)?;
                moved |= piece_moved;
                if !complete {
                    return Ok(moved);
                }
            }
            let next = self.lanes[lane].next;
            self.lanes[lane] = Lane { next: next + 1, done: 0, entered: false };
            moved = true;
            for index in 0..self.lowered.lanes[lane][next].outboxes.len() {
                let outbox = self.lowered.lanes[lane][next].outboxes[index];
                self.pump(outbox, links)?;
            }
        }
        Ok(moved)
    }

    /// Works on the current instruction of a lane: whether anything moved, and whether it is complete.
    fn compute(&mut self, lane: usize, links: &mut Links) -> Result<(bool, bool)> {
        let mut moved = false;
        let bytes = self.lowered.lanes[lane][self.lanes[lane].next].bytes;
        while self.lanes[lane].done < bytes {
            let taken = self.compute_piece(lane, links)?;
            if taken == 0 {
                return Ok((moved, false));
            }
            self.lanes[lane].done += taken;
            moved = true;
            if bytes > PIECE {
                let next = self.lanes[lane].next;
                for index in 0..self.lowered.lanes[lane][next].outboxes.len() {
                    let outbox = self.lowered.lanes[lane][next].outboxes[index];
                    self.pump(outbox, links)?;
                }
            }
        }
        Ok((moved, true))
    }

    /// Folds or copies the next bytes that all sources have; 0 if one has none.
    #[inline]
    fn compute_piece(&mut self, lane: usize, links: &mut Links) -> Result<u64> {
        let Lane { next, done, .. } = self.lanes[lane];
        let instruction = &self.lowered.lanes[lane][next];
        let mut len = (instruction.bytes - done).min(PIECE) as usize;
        self.sources.clear();
        self.pieces.clear();
        for source in &instruction.sources {
            let address = match *source {
                Source::Local(place) => self.memory.at(place).wrapping_add(done as usize).cast_const(),
                Source::Inbox(index) => {
                    let inbox = self.inboxes[index];
                    let Some(record) = links.inbox(inbox).peek()? else { return Ok(0) };
                    let head = Head { fingerprint: self.fingerprint, message_bytes: instruction.bytes };
                    if record.head != head {
                        return Err(mismatch(links.rank(), links.peer_of_inbox(inbox), record.head, head));
                    }
                    len = len.min(record.len);
                    self.pieces.push(Piece { inbox, record_len: record.len, lent: record.lent });
                    record.data
                }
            };
            self.sources.push(reduce::Source { address, raw: false });
        }
        for (index, piece) in self.pieces.iter().enumerate() {
            if piece.lent == Lent::Address && !links.inbox(piece.inbox).hold() {
                release(&self.pieces[..index], links);
                return Err(gave_up(links.peer_of_inbox(piece.inbox)));
            }
        }
        let destination = instruction.destination.expect("compute is called for instructions that have one");
        // SAFETY: local operands lie in the call's buffers (`begin`), received ones were shown by `peek` and are held or stay mapped;
        // lengths are the shortest of all. Another process that takes its window back may write there meanwhile: any bits are
        // values of every element type, and what comes of them is thrown away below.
        unsafe { self.store(instruction, destination, done, len) };
        for piece in &self.pieces {
            if piece.lent == Lent::Window && links.inbox(piece.inbox).is_revoked() {
                release(&self.pieces, links);
                return Err(gave_up(links.peer_of_inbox(piece.inbox)));
            }
        }
        for piece in &self.pieces {
            links.inbox(piece.inbox).take(len, piece.record_len, piece.lent);
        }
        Ok(len as u64)
    }

    /// # Safety
    /// `self.sources` must be readable, and the destinations writable, for `len` bytes.
    unsafe fn store(&self, instruction: &Instruction, destination: Place, done: u64, len: usize) {
        let target = self.memory.at(destination).wrapping_add(done as usize);
        // SAFETY: the caller's; a plan's operands overlap exactly or not at all.
        unsafe {
            match (instruction.reduction, &self.kernel) {
                (Some(reduction), Some(kernel)) => {
                    kernel.run(&self.sources, target, len / self.element_bytes, reduction == Reduction::Final);
                }
                _ if self.streams && instruction.outboxes.is_empty() => {
                    copy_past_caches(self.sources[0].address, target, len);
                }
                _ => copy(self.sources[0].address, target, len),
            }
            for place in &instruction.copies {
                copy(target, self.memory.at(*place).wrapping_add(done as usize), len);
            }
        }
    }

    fn is_released(&self, release: Release, links: &mut Links) -> bool {
        let outgoing = &self.outboxes[release.outbox];
        outgoing.next > release.post
            && outgoing.loans[release.post].is_none_or(|number| links.outbox(outgoing.link).is_returned(number))
    }

    /// Sends what is ready of an outbox's posts.
    #[inline]
    fn pump(&mut self, index: usize, links: &mut Links) -> Result<bool> {
        let posts = &self.lowered.outboxes[index].1;
        let mut moved = false;
        while let Some(post) = posts.get(self.outboxes[index].next) {
            let ready = self.ready_bytes(post);
            let outgoing = &mut self.outboxes[index];
            if ready == outgoing.sent {
                break;
            }
            let head = Head { fingerprint: self.fingerprint, message_bytes: post.bytes };
            let address = self.memory.at(post.place);
            let loan =
                if outgoing.sent == 0 { links.loan(outgoing.link, address, post.bytes, LEND_FROM) } else { None };
            if let Some(loan) = loan {
                if ready < post.bytes {
                    break;
                }
                let Some(number) = links.outbox(outgoing.link).lend(head, loan, post.bytes) else { break };
                outgoing.last_loan = Some(number);
                outgoing.sent = post.bytes;
            } else {
                let data = address.wrapping_add(outgoing.sent as usize);
                let available = (ready - outgoing.sent) as usize;
                // SAFETY: `ready` bytes of the post are computed, and stay as they are until it is released.
                let sent = unsafe { links.outbox(outgoing.link).push(head, data, available)? };
                if sent == 0 {
                    break;
                }
                outgoing.sent += sent as u64;
            }
            moved = true;
            if outgoing.sent == post.bytes {
                outgoing.loans[outgoing.next] = outgoing.last_loan;
                outgoing.next += 1;
                outgoing.sent = 0;
            }
        }
        Ok(moved)
    }

    /// The front of what has come where the program expects something. Not for the fast path.
    pub fn came(&self, links: &mut Links) -> Option<Head> {
        self.inboxes.iter().find_map(|inbox| Some(links.inbox(*inbox).peek().ok()??.head))
    }

    /// Bytes of a post that its instruction has made ready.
    #[inline]
    fn ready_bytes(&self, post: &Post) -> u64 {
        let lane = &self.lanes[post.lane];
        match lane.next.cmp(&post.instruction) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => lane.done,
            std::cmp::Ordering::Greater => post.bytes,
        }
    }
}

/// # Safety
/// Readable and writable for `len` bytes; the same address or no overlap.
#[inline]
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    if from != to.cast_const() {
        // SAFETY: the caller's.
        unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
    }
}

/// # Safety
/// As [`copy`].
unsafe fn copy_past_caches(from: *const u8, to: *mut u8, len: usize) {
    if from != to.cast_const() {
        // SAFETY: the caller's.
        unsafe { stream::copy(from, to, len) };
    }
}

/// Gives back what is held of these pieces, none of which is taken: their senders would wait for ever to take them back.
#[cold]
fn release(pieces: &[Piece], links: &mut Links) {
    for held in pieces.iter().filter(|piece| piece.lent == Lent::Address) {
        links.inbox(held.inbox).release();
    }
}

/// A peer has taken back what it had lent. The next poll finds the same.
#[cold]
fn gave_up(peer: Rank) -> Error {
    Error::new(ErrorKind::Aborted, format!("rank {peer} gave up on the operation")).with_peer(peer)
}

#[cold]
fn mismatch(rank: Rank, peer: Rank, came: Head, expected: Head) -> Error {
    if came.fingerprint == expected.fingerprint {
        let (came, expected) = (came.message_bytes, expected.message_bytes);
        let what = format!("rank {peer} sends {came} bytes where rank {rank} expects {expected}");
        let remedy = format!("give counts that agree on ranks {rank} and {peer}");
        return Error::new(ErrorKind::Mismatch, what).with_peer(peer).remedy(remedy);
    }
    Error::new(ErrorKind::Mismatch, format!("rank {peer} is in another call than rank {rank}"))
        .with_peer(peer)
        .remedy("make the same calls in the same order, with the same arguments, on every rank")
}
