//! Messages between two ranks on their way: prepared at the first one of a way, without allocation from then on.

use super::active::Active;
use super::failure::failed_in;
use super::{CONNECT_GRACE, Engine};
use crate::communicator::waiting::{Waiting, Work};
use crate::control::recorder::{Direction, Failed, Message, Recorder};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::links::{Hope, Links};
use crate::exec::run::{Memory, Runner, Standing};
use crate::plan::lower::{Instruction, Lowered, Place, Post, Source};
use crate::plan::{Buffer, Through};
use crate::transport::Head;
use crate::transport::arena::CHANNELS;
use crate::types::{DType, LinkName, Rank};
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

const CHANNEL: u16 = CHANNELS - 1;

/// One send or receive of a group.
pub struct Transfer {
    pub message: Message,
    address: *mut u8,
    state: State,
    /// Index of its pipe, its number there, and its number in the recorder.
    pipe: usize,
    sequence: u64,
    entry: u64,
}

// SAFETY: the address is used only by a blocking call on the memory that was borrowed for it.
unsafe impl Send for Transfer {}
// SAFETY: as above; a shared transfer gives the address to nobody.
unsafe impl Sync for Transfer {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not begun: an earlier one may hold its pipe.
    Queued,
    Running,
    Done,
}

/// The way of messages to a peer or from it.
struct Pipe {
    runner: Runner,
    /// Messages so far.
    messages: u64,
    /// One of them is on its way; the next has to wait for its end.
    busy: bool,
    /// What goes over the link for an empty one.
    filler: Box<u8>,
}

/// The pipes that were used so far.
#[derive(Default)]
pub struct Pipes {
    all: Vec<Pipe>,
    by_way: HashMap<(Direction, Rank), usize>,
}

impl Transfer {
    pub fn new(message: Message, address: *mut u8) -> Transfer {
        Transfer { message, address, state: State::Queued, pipe: 0, sequence: 0, entry: 0 }
    }

    fn way(&self) -> (Direction, Rank) {
        (self.message.direction, self.message.peer)
    }

    fn numbered(&self) -> String {
        self.message.numbered(self.sequence)
    }

    /// Copies a message that a rank sends itself.
    ///
    /// # Safety
    /// The memory of both must be there, that of `received` writable, and apart.
    pub unsafe fn copy_to(&self, received: &Transfer) {
        assert_eq!(self.message.bytes, received.message.bytes);
        // SAFETY: the caller's.
        unsafe { std::ptr::copy_nonoverlapping(self.address, received.address, self.message.bytes as usize) };
    }
}

/// The transfers of a group, to be waited for.
struct Group<'a> {
    pipes: &'a mut [Pipe],
    transfers: &'a mut [Transfer],
    recorder: &'a Recorder,
    /// The started operation that runs meanwhile.
    beside: Option<Active<'a>>,
}

impl Group<'_> {
    /// Moves everything as far as it goes; true when all is done. An error comes with the index of its transfer.
    fn advance(&mut self, links: &mut Links) -> Result<bool, (usize, Error)> {
        let mut all_done = true;
        for (index, transfer) in self.transfers.iter_mut().enumerate() {
            let pipe = &mut self.pipes[transfer.pipe];
            if transfer.state == State::Queued && !pipe.busy {
                let head = head_of(&transfer.message);
                pipe.runner.resize(head.message_bytes);
                let address = if transfer.message.bytes > 0 { transfer.address } else { &raw mut *pipe.filler };
                // SAFETY: the group borrowed the memory for as long as this runs, and what runs is cancelled before an error
                // returns; the filler is as long as the byte that stands for an empty message, and nobody else's.
                unsafe { pipe.runner.begin(Memory::new(address, address), head.fingerprint) };
                pipe.busy = true;
                transfer.state = State::Running;
            }
            if transfer.state == State::Running && pipe.runner.poll(links).map_err(|error| (index, error))? {
                pipe.busy = false;
                transfer.state = State::Done;
                self.recorder.finish_message(transfer.entry);
            }
            all_done &= transfer.state == State::Done;
        }
        Ok(all_done)
    }

    /// Whom all that runs waits for.
    fn standing(&self, links: &mut Links) -> Standing {
        let mut all = Standing::default();
        for transfer in self.transfers.iter().filter(|one| one.state == State::Running) {
            let one = self.pipes[transfer.pipe].runner.standing(links);
            all.waits_for.extend(one.waits_for);
            all.ends_show.extend(one.ends_show);
        }
        all.waits_for.sort_unstable();
        all.waits_for.dedup();
        all
    }
}

impl Work for Group<'_> {
    fn poll(&mut self, links: &mut Links) -> Result<bool> {
        let done = self.advance(links).map_err(|(_, error)| error)?;
        let beside = self.beside.as_mut().is_some_and(|active| !matches!(active.poll(links), Ok(false)));
        Ok(done || beside)
    }

    fn add_descriptors(&self, links: &mut Links, into: &mut Vec<libc::pollfd>) {
        for transfer in self.transfers.iter().filter(|one| one.state == State::Running) {
            self.pipes[transfer.pipe].runner.add_descriptors(links, into);
        }
        if let Some(beside) = &self.beside {
            beside.add_descriptors(links, into);
        }
    }
}

impl Engine {
    /// Runs sends and receives to peers side by side. Blocks, at most until the timeout.
    pub fn transfer(&mut self, transfers: &mut [Transfer], timeout: Duration) -> Result<()> {
        self.guard()?;
        self.number(transfers);
        if let Err((index, error)) = self.give_pipes(transfers, timeout) {
            return Err(self.end_transfers(transfers, index, error));
        }
        let mut waiting = Waiting::new(timeout, &self.control);
        loop {
            // Peers may be waiting for this rank in an operation that it has started.
            self.drive();
            match self.wait_for_transfers(transfers, &mut waiting) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err((index, error)) => return Err(self.end_transfers(transfers, index, error)),
            }
        }
    }

    /// Gives the transfers their numbers. Connecting may have to wait for peers: from here on they can see what this rank is about to do.
    fn number(&mut self, transfers: &mut [Transfer]) {
        for index in 0..transfers.len() {
            let (before, rest) = transfers.split_at_mut(index);
            let transfer = &mut rest[0];
            transfer.sequence = match self.pipes.by_way.get(&transfer.way()) {
                Some(&known) => {
                    self.pipes.all[known].messages += 1;
                    self.pipes.all[known].messages
                }
                // The first group of a way is seldom large.
                None => before.iter().filter(|one| one.way() == transfer.way()).count() as u64 + 1,
            };
            transfer.entry = self.control.recorder.enter_message(&transfer.message, transfer.sequence);
        }
    }

    /// Gives the transfers their pipes, which are made at first use. An error comes with the index of its transfer.
    fn give_pipes(&mut self, transfers: &mut [Transfer], timeout: Duration) -> Result<(), (usize, Error)> {
        let is_new = |pipes: &Pipes, one: &Transfer| !pipes.by_way.contains_key(&one.way());
        if transfers.iter().any(|one| is_new(&self.pipes, one)) {
            self.connect_to_peers(transfers, timeout)?;
        }
        for (index, transfer) in transfers.iter_mut().enumerate() {
            transfer.pipe = match self.pipes.by_way.get(&transfer.way()) {
                Some(&known) => known,
                None => self.make_pipe(transfer).map_err(|error| (index, error))?,
            };
            let pipe = &mut self.pipes.all[transfer.pipe];
            pipe.messages = pipe.messages.max(transfer.sequence);
        }
        Ok(())
    }

    /// All at once, so that nobody waits for a peer that waits for another.
    fn connect_to_peers(&mut self, transfers: &[Transfer], timeout: Duration) -> Result<(), (usize, Error)> {
        let (rank, control, sequence) = (self.rank, self.control.clone(), self.sequence);
        let index_of = |peer| transfers.iter().position(|one| one.message.peer == peer).unwrap_or(0);
        let waiting = RefCell::new(Waiting::new(timeout, &control));
        let hopeless = |peer| {
            let text = || format!("rank {rank}'s {}", transfers[index_of(peer)].numbered());
            let standing = || Standing::connecting(peer);
            let look = || waiting.borrow_mut().look_for_peers(&control, sequence, text, standing).err();
            control.failure().or_else(look)
        };
        let hope = Hope { deadline: control.clock.now() + timeout + CONNECT_GRACE, hopeless: &hopeless };
        let names = transfers.iter().map(|one| LinkName { peer: one.message.peer, channel: CHANNEL });
        self.links.connect(names, &hope).map_err(|error| (error.peer().map_or(0, index_of), error))
    }

    fn make_pipe(&mut self, transfer: &Transfer) -> Result<usize> {
        let Message { direction, peer, dtype, .. } = transfer.message;
        // The connection is there: nothing is left to wait for.
        let hope = Hope { deadline: self.control.clock.now(), hopeless: &|_| None };
        let runner = self.make_runner(program(direction, peer, 1), None, dtype.size(), &hope)?;
        self.pipes.all.push(Pipe { runner, messages: 0, busy: false, filler: Box::new(0) });
        self.pipes.by_way.insert(transfer.way(), self.pipes.all.len() - 1);
        Ok(self.pipes.all.len() - 1)
    }

    /// Moves all transfers on, and rests if some are not done; true when all are. An error comes with the index of its transfer.
    fn wait_for_transfers(
        &mut self,
        transfers: &mut [Transfer],
        waiting: &mut Waiting,
    ) -> Result<bool, (usize, Error)> {
        let failure = self.control.has_failed().then(|| self.failure());
        let Engine {
            pipes, shapes, agreement, queue, rank, sequence, links, control, patience, bell, descriptors, ..
        } = self;
        let running = queue.front().and_then(|front| front.running());
        let beside =
            running.map(|running| Active { agreement: agreement.as_mut(), runner: &mut shapes[running.shape].runner });
        let mut group = Group { pipes: &mut pipes.all, transfers, recorder: &control.recorder, beside };
        if group.advance(links)? {
            return Ok(true);
        }
        let open = group.transfers.iter().position(|one| one.state != State::Done).expect("not all are done");
        if let Some(failure) = failure {
            return Err((open, failure));
        }
        // Other ranks hear this too.
        let text = || format!("rank {rank}'s {}", group.transfers[open].numbered());
        waiting.look_for_peers(control, *sequence, text, || group.standing(links)).map_err(|error| (open, error))?;
        // An error shows again at the next poll, with the transfer that it belongs to.
        let _ = waiting.rest(&mut group, links, patience, bell.as_ref(), descriptors);
        Ok(false)
    }

    /// Ends a group that can't succeed: nobody reads or writes its memory any more, every rank learns why.
    fn end_transfers(&mut self, transfers: &[Transfer], failed: usize, error: Error) -> Error {
        let mut failed_at = Failed { step: 0, bytes: 0 };
        for (index, transfer) in transfers.iter().enumerate().filter(|(_, one)| one.state != State::Done) {
            let mut at = Failed { step: 0, bytes: 0 };
            if transfer.state == State::Running {
                let runner = &mut self.pipes.all[transfer.pipe].runner;
                runner.cancel(&mut self.links);
                let Standing { step, bytes, .. } = runner.standing(&mut self.links);
                at = Failed { step, bytes };
            }
            self.control.recorder.fail_message(transfer.entry, at);
            if index == failed {
                failed_at = at;
            }
        }
        let transfer = &transfers[failed];
        let error = match error.kind() {
            ErrorKind::Mismatch => self.explain_mismatch(transfer, error),
            _ => self.root_cause(error, self.sequence),
        };
        let operation = transfer.message.direction.name();
        let error = self.control.fail(error.in_operation(operation, transfer.sequence)).on_rank(self.rank);
        self.recorded(failed_in(error, operation, transfer.sequence, failed_at))
    }

    /// The data path knows numbers; says what they stand for.
    fn explain_mismatch(&mut self, transfer: &Transfer, error: Error) -> Error {
        let Message { peer, .. } = transfer.message;
        let came = self.pipes.all[transfer.pipe].runner.came(&mut self.links);
        let sent = came.and_then(sent_under);
        let Some((dtype, bytes)) = sent else { return error };
        let count = bytes / dtype.size() as u64;
        let (rank, expected) = (self.rank, transfer.numbered());
        let text = format!("rank {rank}'s {expected} does not fit what rank {peer} sends, {dtype} x {count}");
        let remedy = format!("give as many elements of the same type, in the same order, on ranks {rank} and {peer}");
        Error::new(ErrorKind::Mismatch, text).with_peer(peer).remedy(remedy)
    }
}

/// Set in the fingerprint of an empty message.
const EMPTY: u32 = 1 << 8;

/// What both sides must agree on. Records have at least a byte, so that one stands for an empty message, under a fingerprint of
/// its own.
fn head_of(message: &Message) -> Head {
    let fingerprint = Message::fingerprint(message.dtype);
    match message.bytes {
        0 => Head { fingerprint: fingerprint | EMPTY, message_bytes: 1 },
        message_bytes => Head { fingerprint, message_bytes },
    }
}

/// Type and bytes of the message with this head.
fn sent_under(head: Head) -> Option<(DType, u64)> {
    let dtype = Message::dtype_of(head.fingerprint & !EMPTY)?;
    Some((dtype, if head.fingerprint & EMPTY == 0 { head.message_bytes } else { 0 }))
}

/// The program of one rank for messages of one way.
fn program(direction: Direction, peer: Rank, bytes: u64) -> Lowered {
    let name = LinkName { peer, channel: CHANNEL };
    let place = Place { buffer: Buffer::Input, offset: 0 };
    let target = Place { buffer: Buffer::Output, offset: 0 };
    let instruction = |sources, destination, outboxes| Instruction {
        after: None,
        awaits: Vec::new(),
        reduction: None,
        sources,
        destination,
        copies: Vec::new(),
        outboxes,
        bytes,
        through: Through::Messages,
    };
    let (step, inboxes, outboxes) = match direction {
        Direction::Send => {
            let post = Post { lane: 0, instruction: 0, place, bytes };
            (instruction(vec![Source::Local(place)], None, vec![0]), vec![], vec![(name, vec![post])])
        }
        Direction::Receive => (instruction(vec![Source::Inbox(0)], Some(target), vec![]), vec![name], vec![]),
    };
    let lanes = vec![vec![step]];
    Lowered { lanes, inboxes, outboxes, input_bytes: bytes, output_bytes: bytes, ..Lowered::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_tells_type_and_bytes_of_its_message() {
        for dtype in DType::ALL {
            for bytes in [0, dtype.size() as u64, 1 << 33] {
                let head = head_of(&Message { direction: Direction::Send, peer: 1, dtype, bytes });
                assert_eq!(sent_under(head), Some((dtype, bytes)));
                assert!(head.message_bytes > 0);
            }
        }
    }
}
