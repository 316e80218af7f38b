//! Messages between two ranks on their way: prepared at the first one of a way, without allocation from then on.

use super::failure::failed_in;
use super::pipe::{Pipe, link_to};
use super::{CONNECT_GRACE, Engine};
use crate::communicator::started::ticket::Ticket;
use crate::communicator::waiting::{Waiting, Work};
use crate::control::Control;
use crate::control::recorder::{Failed, Message, Recorder};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::links::{Hope, Links};
use crate::exec::run::{Memory, Standing};
use crate::transport::Head;
use crate::types::{DType, Rank};
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

/// One send or receive of a group.
#[derive(Clone)]
pub struct Transfer {
    pub message: Message,
    address: *mut u8,
    state: State,
    /// Index of its pipe, its number there, and its number in the recorder.
    pipe: usize,
    sequence: u64,
    entry: u64,
}

// SAFETY: the address is of memory that a blocking call borrows, or that a ticket or a scope keeps until its operation is over.
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

impl Transfer {
    pub fn new(message: Message, address: *mut u8) -> Transfer {
        Transfer { message, address, state: State::Queued, pipe: 0, sequence: 0, entry: 0 }
    }

    pub fn is_open(&self) -> bool {
        self.state != State::Done
    }

    pub fn pipe(&self) -> usize {
        self.pipe
    }

    /// Adds the descriptors that would wake whoever waits for it.
    pub fn add_descriptors(&self, pipes: &[Pipe], links: &mut Links, into: &mut Vec<libc::pollfd>) {
        if self.state == State::Running {
            pipes[self.pipe].opened().add_descriptors(links, into);
        }
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
pub struct Group<'a> {
    pub pipes: &'a mut [Pipe],
    pub transfers: &'a mut [Transfer],
    pub recorder: &'a Recorder,
}

impl Group<'_> {
    /// Moves everything as far as it goes; true when all is done. An error comes with the index of its transfer.
    pub fn advance(&mut self, links: &mut Links) -> Result<bool, (usize, Error)> {
        let mut all_done = true;
        for (index, transfer) in self.transfers.iter_mut().enumerate() {
            let pipe = &mut self.pipes[transfer.pipe];
            if transfer.state == State::Queued
                && !pipe.busy
                && let Some(runner) = &mut pipe.runner
            {
                let head = head_of(&transfer.message);
                runner.resize(head.message_bytes);
                let address = if transfer.message.bytes > 0 { transfer.address } else { &raw mut *pipe.filler };
                // SAFETY: the memory is the group's for as long as this runs, and what runs is cancelled before an error
                // is told; the filler is as long as the byte that stands for an empty message, and nobody else's.
                unsafe { runner.begin(Memory::new(address, address), head.fingerprint) };
                pipe.busy = true;
                transfer.state = State::Running;
            }
            if transfer.state == State::Running && pipe.opened_mut().poll(links).map_err(|error| (index, error))? {
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
            let one = self.pipes[transfer.pipe].opened().standing(links);
            all.waits_for.extend(one.waits_for);
            all.ends_show.extend(one.ends_show);
        }
        let connecting = self.transfers.iter().filter(|one| one.is_open() && !self.pipes[one.pipe].is_open());
        all.waits_for.extend(connecting.map(|one| one.message.peer));
        all.is_connecting = self.transfers.iter().any(|one| one.is_open() && !self.pipes[one.pipe].is_open());
        all.waits_for.sort_unstable();
        all.waits_for.dedup();
        all
    }
}

/// What looking for a group's peers needs to know of its rank.
pub struct Watch<'a> {
    pub rank: Rank,
    pub control: &'a Control,
    /// Number of the rank's last call.
    pub sequence: u64,
    /// Of the communicator, if it has failed.
    pub failure: Option<Error>,
}

impl Group<'_> {
    /// Moves everything on, and looks around if it is time to; true when all is done. An error comes with the index of its transfer.
    pub fn step(&mut self, watch: Watch<'_>, waiting: &mut Waiting, links: &mut Links) -> Result<bool, (usize, Error)> {
        if self.advance(links)? {
            return Ok(true);
        }
        let Watch { rank, control, sequence, failure } = watch;
        let open = self.transfers.iter().position(Transfer::is_open).expect("not all are done");
        if let Some(failure) = failure {
            return Err((open, failure));
        }
        // Other ranks hear this too.
        let text = || format!("rank {rank}'s {}", self.transfers[open].numbered());
        waiting.look_for_peers(control, sequence, text, || self.standing(links)).map_err(|error| (open, error))?;
        Ok(false)
    }
}

impl Work for Group<'_> {
    fn poll(&mut self, links: &mut Links) -> Result<bool> {
        self.advance(links).map_err(|(_, error)| error)
    }

    fn add_descriptors(&self, links: &mut Links, into: &mut Vec<libc::pollfd>) {
        self.transfers.iter().for_each(|transfer| transfer.add_descriptors(self.pipes, links, into));
    }
}

impl Engine {
    /// Runs sends and receives to peers side by side. Blocks, at most until the timeout.
    ///
    /// # Safety
    /// The memory of the transfers must be there, that of receives be nobody else's, until this returns.
    pub unsafe fn transfer(&mut self, transfers: &mut [Transfer], timeout: Duration) -> Result<()> {
        self.guard()?;
        if self.has_started() {
            // Peers may be waiting for this rank in what it has started.
            let ticket = Arc::<Ticket>::default();
            // SAFETY: the caller's: this returns when the ticket is done.
            unsafe { self.start_transfers(transfers.to_vec(), timeout, ticket.clone())? };
            return self.wait_for(&ticket);
        }
        self.number(transfers);
        let opened = self.open_pipes(transfers, timeout);
        match opened.and_then(|()| self.spin_for_transfers(transfers)) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err((index, error)) => return Err(self.end_transfers(transfers, index, error)),
        }
        let mut waiting = Waiting::new(timeout, &self.control);
        loop {
            match self.wait_for_transfers(transfers, &mut waiting) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err((index, error)) => return Err(self.end_transfers(transfers, index, error)),
            }
        }
    }

    /// Gives the transfers their pipes and numbers. Connecting may have to wait for peers: from here on they can see what this rank
    /// is about to do.
    pub(super) fn number(&mut self, transfers: &mut [Transfer]) {
        for transfer in transfers {
            transfer.pipe = self.pipes.of(&transfer.message);
            let pipe = &mut self.pipes.all[transfer.pipe];
            pipe.messages += 1;
            transfer.sequence = pipe.messages;
            transfer.entry = self.control.recorder.enter_message(&transfer.message, transfer.sequence);
        }
    }

    /// Opens the pipes of the transfers, at their first use. An error comes with the index of its transfer.
    fn open_pipes(&mut self, transfers: &[Transfer], timeout: Duration) -> Result<(), (usize, Error)> {
        if transfers.iter().all(|one| self.pipes.all[one.pipe].is_open()) {
            return Ok(());
        }
        self.connect_to_peers(transfers, timeout)?;
        for (index, transfer) in transfers.iter().enumerate() {
            self.open_pipe(transfer.pipe).map_err(|error| (index, error))?;
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
        let names = transfers.iter().map(|one| link_to(one.message.peer));
        self.links.connect(names, &hope).map_err(|error| (error.peer().map_or(0, index_of), error))
    }

    /// Moves all transfers on for as long as a call spins; true when all are done. An error comes with the index of its transfer.
    fn spin_for_transfers(&mut self, transfers: &mut [Transfer]) -> Result<bool, (usize, Error)> {
        let Engine { pipes, links, control, patience, .. } = self;
        let mut group = Group { pipes: &mut pipes.all, transfers, recorder: &control.recorder };
        for _ in 0..patience.spins {
            if group.advance(links)? {
                return Ok(true);
            }
            if control.has_failed() {
                break;
            }
            std::hint::spin_loop();
        }
        Ok(false)
    }

    /// Moves all transfers on, and rests if some are not done; true when all are. An error comes with the index of its transfer.
    fn wait_for_transfers(
        &mut self,
        transfers: &mut [Transfer],
        waiting: &mut Waiting,
    ) -> Result<bool, (usize, Error)> {
        let failure = self.control.has_failed().then(|| self.failure());
        let Engine { pipes, rank, sequence, links, control, patience, bell, apart, descriptors, .. } = self;
        let mut group = Group { pipes: &mut pipes.all, transfers, recorder: &control.recorder };
        let watch = Watch { rank: *rank, control, sequence: *sequence, failure };
        if group.step(watch, waiting, links)? {
            return Ok(true);
        }
        // An error shows again at the next poll, with the transfer that it belongs to.
        let _ = waiting.rest(&mut group, links, patience, bell.as_ref(), apart, descriptors);
        Ok(false)
    }

    /// Ends a group that can't succeed: nobody reads or writes its memory any more, every rank learns why.
    pub(super) fn end_transfers(&mut self, transfers: &[Transfer], failed: usize, error: Error) -> Error {
        let mut failed_at = Failed { step: 0, bytes: 0 };
        for (index, transfer) in transfers.iter().enumerate().filter(|(_, one)| one.state != State::Done) {
            let mut at = Failed { step: 0, bytes: 0 };
            if transfer.state == State::Running {
                let runner = self.pipes.all[transfer.pipe].opened_mut();
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
        let came = self.pipes.all[transfer.pipe].opened_mut().came(&mut self.links);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::recorder::Direction;

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
