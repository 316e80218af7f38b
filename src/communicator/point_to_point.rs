//! Sends and receives between two ranks, and groups of them in which no order can deadlock.
//!
//! They have a channel of their own, so they neither wait for collectives nor count among them. Messages between two ranks
//! arrive in the order in which they were sent.

use super::engine::Transfer;
use super::started::ticket::Ticket;
use super::{Communicator, Options, With};
use crate::control::recorder::{Direction, Message};
use crate::error::Result;
use crate::types::{Element, Rank};
use std::marker::PhantomData;
use std::sync::Arc;

/// Sends and receives that run side by side: see [`Communicator::group`].
pub struct Group<'a> {
    transfers: Vec<Transfer>,
    marker: PhantomData<&'a mut [u8]>,
}

impl<'a> Group<'a> {
    /// Adds a send of `data` to a rank.
    pub fn send<T: Element>(&mut self, data: &'a [T], to: Rank) {
        let bytes = size_of_val(data) as u64;
        let message = Message { direction: Direction::Send, peer: to, dtype: T::DTYPE, bytes };
        self.transfers.push(Transfer::new(message, data.as_ptr().cast_mut().cast()));
    }

    /// Adds a receive of as many elements as `data` has from a rank.
    pub fn recv<T: Element>(&mut self, data: &'a mut [T], from: Rank) {
        let bytes = size_of_val(data) as u64;
        let message = Message { direction: Direction::Receive, peer: from, dtype: T::DTYPE, bytes };
        self.transfers.push(Transfer::new(message, data.as_mut_ptr().cast()));
    }
}

impl Communicator {
    /// Sends `data` to a rank, which must receive as many elements of the same type, be they none. Blocks until the memory may be reused, which
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
        self.with(Options::default()).send(data, to)
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
        self.with(Options::default()).recv(data, from)
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
        self.with(Options::default()).group(fill)
    }

    /// Refuses what can't be right, does what stays on this rank, and leaves the rest.
    fn keep_to_peers(&self, transfers: &mut Vec<Transfer>) -> Result<()> {
        if let Some(wrong) = transfers.iter().find(|one| one.message.peer >= self.size) {
            let Message { direction, peer, .. } = wrong.message;
            return Err(self.invalid(format!("{}: rank {peer} is no rank of {}", direction.name(), self.size)));
        }
        let to_self = |direction| {
            transfers.iter().filter(move |one| one.message.peer == self.rank && one.message.direction == direction)
        };
        if to_self(Direction::Send).count() != to_self(Direction::Receive).count() {
            return Err(self.invalid("a rank that sends to itself must receive that in the same group"));
        }
        for (send, receive) in to_self(Direction::Send).zip(to_self(Direction::Receive)) {
            let (sent, received) = (&send.message, &receive.message);
            if (sent.bytes, sent.dtype) != (received.bytes, received.dtype) {
                return Err(self.invalid(format!("this rank sends itself other than it receives: {sent}, {received}")));
            }
            // SAFETY: both were borrowed, one of them mutably, for as long as the group: they are as long as they say and apart.
            unsafe { send.copy_to(receive) };
        }
        transfers.retain(|one| one.message.peer != self.rank);
        Ok(())
    }
}

impl With<'_> {
    pub fn send<T: Element>(self, data: &[T], to: Rank) -> Result<()> {
        self.group(|group| group.send(data, to))
    }

    pub fn recv<T: Element>(self, data: &mut [T], from: Rank) -> Result<()> {
        self.group(|group| group.recv(data, from))
    }

    pub fn group<'a>(self, fill: impl FnOnce(&mut Group<'a>)) -> Result<()> {
        let With { communicator, options } = self;
        let mut transfers = communicator.transfers(&options, fill)?;
        let timeout = options.timeout.unwrap_or(communicator.timeout);
        // SAFETY: the group has borrowed the memory for longer than this call, which blocks until nobody uses it.
        unsafe { communicator.shared.lock().transfer(&mut transfers, timeout)? };
        transfers.clear();
        communicator.transfers = transfers;
        Ok(())
    }
}

impl Communicator {
    /// What of a group goes to peers; what stays on this rank is done.
    fn transfers<'a>(&mut self, options: &Options, fill: impl FnOnce(&mut Group<'a>)) -> Result<Vec<Transfer>> {
        // The list is used again, so that calls that repeat allocate nothing.
        let mut group = Group { transfers: std::mem::take(&mut self.transfers), marker: PhantomData };
        fill(&mut group);
        self.shared.check_process()?;
        if let Some(name) = &options.algorithm {
            return Err(self.invalid(format!("messages between two ranks take no algorithm, so not {name}")));
        }
        let mut transfers = group.transfers;
        self.keep_to_peers(&mut transfers)?;
        Ok(transfers)
    }

    /// Starts the messages of a group.
    ///
    /// # Safety
    /// As `Communicator::start` for calls: what the group borrows must be left alone until the ticket is done.
    pub(super) unsafe fn start_group<'a>(
        &mut self,
        options: &Options,
        fill: impl FnOnce(&mut Group<'a>),
    ) -> Result<Arc<Ticket>> {
        let transfers = self.transfers(options, fill)?;
        let ticket = self.tickets.take();
        let timeout = options.timeout.unwrap_or(self.timeout);
        // SAFETY: the caller's.
        self.transfers = unsafe { self.shared.lock().start_transfers(transfers, timeout, ticket.clone())? };
        self.shared.work.notify_one();
        Ok(ticket)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Communicator, Error};
    use std::time::Duration;

    type Receive = fn(&mut Communicator) -> Result<(), Error>;

    /// Rank 0 sends nothing, then three bytes; what rank 1 makes of it.
    fn after_an_empty_send(receive: Receive) -> Result<(), Error> {
        let mut ranks = Communicator::builder().timeout(Duration::from_secs(60)).local(2).unwrap();
        let (mut one, mut zero) = (ranks.pop().unwrap(), ranks.pop().unwrap());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                zero.send::<f32>(&[], 1).unwrap();
                // An error if rank 1 has found one.
                let _ = zero.send(&[1u8, 2, 3], 1);
            });
            receive(&mut one)
        })
    }

    #[test]
    fn empty_messages_meet_empty_receives_only() {
        after_an_empty_send(|one| {
            one.recv::<f32>(&mut [], 0)?;
            let mut data = [0u8; 3];
            one.recv(&mut data, 0)?;
            assert_eq!(data, [1, 2, 3]);
            Ok(())
        })
        .unwrap();
        let wrong: [(Receive, &str); 3] = [
            (|one| one.recv(&mut [0u8; 3], 0), "rank 1's recv u8 x 3 from rank 0"),
            (|one| one.recv(&mut [0f32; 1], 0), "rank 1's recv f32 x 1 from rank 0"),
            (|one| one.recv::<u8>(&mut [], 0), "rank 1's recv u8 x 0 from rank 0"),
        ];
        for (receive, received) in wrong {
            let error = after_an_empty_send(receive).unwrap_err();
            let text = format!("{received} (message 1 of the pair) does not fit what rank 0 sends, f32 x 0");
            assert!(error.is_mismatch() && error.message() == text, "{error}");
        }
    }
}
