//! Sends and receives between two ranks, and groups of them in which no order can deadlock.
//!
//! They have a channel of their own, so they neither wait for collectives nor count among them. Messages between two ranks
//! arrive in the order in which they were sent.

use super::Communicator;
use super::engine::Engine;
use super::waiting::Waiting;
use crate::error::Result;
use crate::exec::links::Hope;
use crate::exec::run::{Memory, Runner};
use crate::plan::Buffer;
use crate::plan::Through;
use crate::plan::lower::{Instruction, Lowered, Place, Post, Source};
use crate::transport::arena::CHANNELS;
use crate::types::{DType, Element, LinkName, Rank};
use std::marker::PhantomData;
use std::time::Duration;

const CHANNEL: u16 = CHANNELS - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Send,
    Receive,
}

#[derive(Clone, Copy)]
struct Transfer {
    direction: Direction,
    peer: Rank,
    address: *mut u8,
    bytes: u64,
    dtype: DType,
}

/// Sends and receives that run side by side: see [`Communicator::group`].
pub struct Group<'a> {
    transfers: Vec<Transfer>,
    marker: PhantomData<&'a mut [u8]>,
}

impl<'a> Group<'a> {
    /// Adds a send of `data` to a rank.
    pub fn send<T: Element>(&mut self, data: &'a [T], to: Rank) {
        self.add(Direction::Send, to, data.as_ptr().cast_mut().cast(), data.len(), T::DTYPE);
    }

    /// Adds a receive of as many elements as `data` has from a rank.
    pub fn recv<T: Element>(&mut self, data: &'a mut [T], from: Rank) {
        self.add(Direction::Receive, from, data.as_mut_ptr().cast(), data.len(), T::DTYPE);
    }

    fn add(&mut self, direction: Direction, peer: Rank, address: *mut u8, count: usize, dtype: DType) {
        let bytes = (count * dtype.size()) as u64;
        self.transfers.push(Transfer { direction, peer, address, bytes, dtype });
    }
}

impl Communicator {
    /// Sends `data` to a rank, which must receive as many elements of the same type. Blocks until the memory may be reused, which
    /// may be before or after the other rank receives.
    ///
    /// # Errors
    /// `InvalidArgument` for a rank out of range, `Timeout`, `PeerLost`, `Mismatch`.
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// match communicator.rank() {
    ///     0 => communicator.send(&[1u8, 2], 1)?,
    ///     _ => {
    ///         let mut data = [0u8; 2];
    ///         communicator.recv(&mut data, 0)?;
    ///         assert_eq!(data, [1, 2]);
    ///     }
    /// }
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn send<T: Element>(&mut self, data: &[T], to: Rank) -> Result<()> {
        self.group(|group| group.send(data, to))
    }

    /// Receives from a rank. Blocks until the data is there.
    ///
    /// # Errors
    /// As [`Communicator::send`].
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// match communicator.rank() {
    ///     0 => communicator.send(&[1.5f32], 1)?,
    ///     _ => {
    ///         let mut data = [0.0f32];
    ///         communicator.recv(&mut data, 0)?;
    ///         assert_eq!(data, [1.5]);
    ///     }
    /// }
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn recv<T: Element>(&mut self, data: &mut [T], from: Rank) -> Result<()> {
        self.group(|group| group.recv(data, from))
    }

    /// Runs the sends and receives that `fill` adds side by side: no order among them, or between them and those of other ranks'
    /// groups, can deadlock. Blocks until all are done. A rank may send to itself if the same group receives it.
    ///
    /// ```
    /// # use unisono::Communicator;
    /// let mut alone = Communicator::local(1)?.pop().unwrap();
    /// let (out, mut back) = ([1u8, 2], [0u8; 2]);
    /// alone.group(|group| {
    ///     group.send(&out, 0);
    ///     group.recv(&mut back, 0);
    /// })?;
    /// assert_eq!(back, out);
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn group<'a>(&mut self, fill: impl FnOnce(&mut Group<'a>)) -> Result<()> {
        let mut group = Group { transfers: Vec::new(), marker: PhantomData };
        fill(&mut group);
        self.shared.check_process()?;
        let transfers = self.check_transfers(group.transfers)?;
        self.shared.lock().transfer(&transfers, self.timeout)
    }

    /// Refuses what can't be right, does what stays on this rank, and returns the rest.
    fn check_transfers(&self, transfers: Vec<Transfer>) -> Result<Vec<Transfer>> {
        if let Some(wrong) = transfers.iter().find(|one| one.peer >= self.size) {
            return Err(self.invalid(format!("send or receive: rank {} is no rank of {}", wrong.peer, self.size)));
        }
        let to_self =
            |direction| transfers.iter().filter(move |one| one.peer == self.rank && one.direction == direction);
        if to_self(Direction::Send).count() != to_self(Direction::Receive).count() {
            return Err(self.invalid("a rank that sends to itself must receive that in the same group"));
        }
        for (send, receive) in to_self(Direction::Send).zip(to_self(Direction::Receive)) {
            if (send.bytes, send.dtype) != (receive.bytes, receive.dtype) {
                return Err(
                    self.invalid(format!("a rank sends itself {} bytes and receives {}", send.bytes, receive.bytes))
                );
            }
            // SAFETY: both were borrowed, one of them mutably, for as long as the group: they are as long as they say and apart.
            unsafe { std::ptr::copy_nonoverlapping(send.address, receive.address, send.bytes as usize) };
        }
        Ok(transfers.into_iter().filter(|one| one.peer != self.rank && one.bytes > 0).collect())
    }
}

/// One send or receive on its way.
struct Active {
    transfer: Transfer,
    runner: Runner,
    done: bool,
}

impl Engine {
    fn transfer(&mut self, transfers: &[Transfer], timeout: Duration) -> Result<()> {
        self.guard()?;
        let control = self.control.clone();
        let hope = Hope { deadline: control.clock.now() + timeout, hopeless: &|_| control.failure() };
        let names = transfers.iter().map(|transfer| LinkName { peer: transfer.peer, channel: CHANNEL });
        self.links.connect(names, &hope).map_err(|error| self.control.fail(error).on_rank(self.rank))?;
        let mut active = Vec::with_capacity(transfers.len());
        for &transfer in transfers {
            let made = self.make_runner(program(&transfer), None, transfer.dtype.size(), &hope);
            let mut runner = made.map_err(|error| self.control.fail(error).on_rank(self.rank))?;
            let memory = Memory::new(transfer.address, transfer.address);
            // SAFETY: the group borrowed the memory for as long as this runs, and `end_transfers` cancels before an error returns.
            unsafe { runner.begin(memory, fingerprint(transfer.dtype)) };
            active.push(Active { transfer, runner, done: false });
        }
        let mut waiting = Waiting::new(timeout, &self.control);
        loop {
            // Peers may be waiting for this rank in an operation that it has started.
            self.drive();
            match self.move_transfers(&mut active, &mut waiting) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => {
                    active.iter_mut().for_each(|one| one.runner.cancel(&mut self.links));
                    let error = self.control.fail(error).on_rank(self.rank);
                    return Err(self.recorded(error));
                }
            }
        }
    }

    /// Polls all transfers, and rests if none is done; true when all are.
    fn move_transfers(&mut self, active: &mut [Active], waiting: &mut Waiting) -> Result<bool> {
        let mut first_open = None;
        for index in 0..active.len() {
            let (before, rest) = active.split_at_mut(index);
            let one = &mut rest[0];
            // Messages of one pair and direction share a link, so they go one after the other.
            let blocked = before.iter().any(|earlier| {
                !earlier.done
                    && (earlier.transfer.peer, earlier.transfer.direction)
                        == (one.transfer.peer, one.transfer.direction)
            });
            if !one.done && !blocked {
                one.done = one.runner.poll(&mut self.links)?;
            }
            if !one.done {
                first_open.get_or_insert(index);
            }
        }
        let Some(open) = first_open else { return Ok(true) };
        if self.control.has_failed() {
            return Err(self.guard().expect_err("it has failed"));
        }
        let Active { transfer, runner, done } = &mut active[open];
        let what = match transfer.direction {
            Direction::Send => "send",
            Direction::Receive => "receive",
        };
        waiting.check_deadline(&self.control, self.sequence, what, || runner.standing(&mut self.links))?;
        *done = waiting.rest(runner, &mut self.links, &self.patience, self.bell.as_ref(), &mut self.descriptors)?;
        Ok(false)
    }
}

/// What both sides of a transfer must agree on besides its length, which every record carries.
fn fingerprint(dtype: DType) -> u32 {
    0x5e4d_0000 | dtype as u32
}

/// The program of one rank in one transfer.
fn program(transfer: &Transfer) -> Lowered {
    let name = LinkName { peer: transfer.peer, channel: CHANNEL };
    let place = Place { buffer: Buffer::Input, offset: 0 };
    let target = Place { buffer: Buffer::Output, offset: 0 };
    let bytes = transfer.bytes;
    let instruction = |sources, destination, outboxes| Instruction {
        awaits: Vec::new(),
        reduction: None,
        sources,
        destination,
        copies: Vec::new(),
        outboxes,
        bytes,
        through: Through::Messages,
    };
    let (step, inboxes, outboxes) = match transfer.direction {
        Direction::Send => {
            let post = Post { lane: 0, instruction: 0, place, bytes };
            (instruction(vec![Source::Local(place)], None, vec![0]), vec![], vec![(name, vec![post])])
        }
        Direction::Receive => (instruction(vec![Source::Inbox(0)], Some(target), vec![]), vec![name], vec![]),
    };
    let lanes = vec![vec![step]];
    Lowered { lanes, inboxes, outboxes, input_bytes: bytes, output_bytes: bytes, ..Lowered::default() }
}
