//! Transports: they know bytes and peers, never plans.
//!
//! ## The contract
//! A link joins one rank to one peer on one channel, in one direction. It carries messages first in, first out, each as one
//! or more records, every record with a [`Head`].
//! - [`Outbox::push`] takes as many bytes as there is room for and never blocks. What it took is gone from the caller's memory:
//!   the caller may overwrite it.
//! - [`Outbox::lend`] hands over memory without copying, where the peer can reach it: the caller may overwrite it once
//!   [`Outbox::is_returned`], and must [`Outbox::revoke`] before it gives up on an operation.
//! - [`Inbox::peek`] shows what has come, [`Inbox::take`] consumes it. Neither blocks. What is [`Lent`] may be taken back
//!   before it is taken: [`Inbox::hold`] and [`Inbox::is_revoked`] tell.
//! - Nobody writes into the memory of another rank: a peer that wakes up late can harm no one.
//! - A broken link is an error of kind `PeerLost` that names the peer, at the next call.

pub mod arena;
#[cfg(test)]
pub mod faulty;
mod flow;
pub mod memory;
#[cfg(all(test, loom))]
mod models;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
pub mod ring;
pub mod seats;
#[cfg(test)]
mod stress;
pub mod tcp;
#[cfg(test)]
mod tcp_tests;
pub mod window;

use crate::error::Result;
pub use ring::Loan;
use std::sync::Arc;
use window::Windows;

/// What stands at the front of every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Of the operation: both sides must mean the same one.
    pub fingerprint: u32,
    /// Of the whole message, not of this record.
    pub message_bytes: u64,
}

/// What has come and was not taken yet.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub head: Head,
    pub data: *const u8,
    /// Bytes of the record at `data`.
    pub len: usize,
    pub lent: Lent,
}

/// Whether the bytes of a record still are the peer's own memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lent {
    /// They stay as they are until they are taken.
    Not,
    /// They are, and may be unmapped once the peer takes them back: hold them while reading.
    Address,
    /// They are, in a window: always readable, but what was read counts only if [`Inbox::is_revoked`] denies it afterwards.
    Window,
}

/// What a look for one whole message found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Nothing,
    /// The message, in one record that is not lent.
    Whole(*const u8),
    /// Something else: [`Inbox::peek`] tells what.
    Other,
}

/// Whether a record is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    Part,
    All,
}

/// The sending end of a link.
pub enum Outbox {
    Ring(ring::Sender),
    Tcp(tcp::Sender),
    #[cfg(test)]
    Faulty(faulty::Sender),
}

/// The receiving end of a link.
pub enum Inbox {
    Ring(ring::Receiver),
    Tcp(tcp::Receiver),
    #[cfg(test)]
    Faulty(faulty::Receiver),
}

impl Outbox {
    /// Takes up to `available` of the message's next bytes; 0 if there is no room now.
    ///
    /// # Safety
    /// `data` must be readable for `available` bytes.
    #[inline]
    pub unsafe fn push(&mut self, head: Head, data: *const u8, available: usize) -> Result<usize> {
        // SAFETY: the caller's.
        unsafe {
            match self {
                Outbox::Ring(sender) => Ok(sender.push(head, data, available)),
                Outbox::Tcp(sender) => sender.push(head, data, available),
                #[cfg(test)]
                Outbox::Faulty(sender) => sender.push(head, data, available),
            }
        }
    }

    /// Lends a whole message; its number if there was room.
    #[inline]
    pub fn lend(&mut self, head: Head, loan: Loan, len: u64) -> Option<u64> {
        match self {
            Outbox::Ring(sender) => sender.lend(head, loan, len),
            Outbox::Tcp(_) => unreachable!("memory is not lent over TCP"),
            #[cfg(test)]
            Outbox::Faulty(sender) => sender.lend(head, loan, len),
        }
    }

    #[inline]
    pub fn is_returned(&mut self, number: u64) -> bool {
        match self {
            Outbox::Ring(sender) => sender.is_returned(number),
            Outbox::Tcp(_) => true,
            #[cfg(test)]
            Outbox::Faulty(sender) => sender.is_returned(number),
        }
    }

    pub fn revoke(&mut self) {
        match self {
            Outbox::Ring(sender) => sender.revoke(),
            Outbox::Tcp(_) => {}
            #[cfg(test)]
            Outbox::Faulty(sender) => sender.revoke(),
        }
    }

    /// The descriptor to wait on when there is no room.
    pub fn waits_on(&self) -> Option<std::os::fd::RawFd> {
        match self {
            Outbox::Ring(_) => None,
            Outbox::Tcp(sender) => Some(sender.descriptor()),
            #[cfg(test)]
            Outbox::Faulty(_) => None,
        }
    }
}

impl Inbox {
    /// What is left of the first record, if one has come.
    #[inline]
    pub fn peek(&mut self) -> Result<Option<Record>> {
        match self {
            Inbox::Ring(receiver) => Ok(receiver.peek()),
            Inbox::Tcp(receiver) => receiver.peek(),
            #[cfg(test)]
            Inbox::Faulty(receiver) => receiver.peek(),
        }
    }

    /// Looks for a message that comes in one record; [`Inbox::take`] takes it.
    #[inline]
    pub fn look(&mut self, head: Head) -> Result<Look> {
        if let Inbox::Ring(receiver) = self {
            return Ok(receiver.look(head));
        }
        Ok(match self.peek()? {
            None => Look::Nothing,
            Some(record)
                if record.head == head && record.len as u64 == head.message_bytes && record.lent == Lent::Not =>
            {
                Look::Whole(record.data)
            }
            Some(_) => Look::Other,
        })
    }

    /// Before a piece of a record lent by address is read; false if the sender took it back.
    pub fn hold(&mut self) -> bool {
        match self {
            Inbox::Ring(receiver) => receiver.hold(),
            Inbox::Tcp(_) => true,
            #[cfg(test)]
            Inbox::Faulty(receiver) => receiver.hold(),
        }
    }

    /// After a piece of a record lent in a window was read: whether its sender had taken it back before, so that what was read
    /// is worth nothing.
    #[inline]
    pub fn is_revoked(&self) -> bool {
        match self {
            Inbox::Ring(receiver) => receiver.is_revoked(),
            Inbox::Tcp(_) => false,
            #[cfg(test)]
            Inbox::Faulty(_) => false,
        }
    }

    /// Gives a held record back unread.
    pub fn release(&mut self) {
        match self {
            Inbox::Ring(receiver) => receiver.release(),
            Inbox::Tcp(_) => {}
            #[cfg(test)]
            Inbox::Faulty(receiver) => receiver.release(),
        }
    }

    /// Consumes `bytes` of a record of which `record_len` were left; `lent` as it said.
    #[inline]
    pub fn take(&mut self, bytes: usize, record_len: usize, lent: Lent) -> Taken {
        match self {
            Inbox::Ring(receiver) => receiver.take(bytes, record_len, lent),
            Inbox::Tcp(receiver) => receiver.take(bytes, record_len),
            #[cfg(test)]
            Inbox::Faulty(receiver) => receiver.take(bytes, record_len),
        }
    }

    /// The windows in which peers may lend, from now on.
    pub fn set_windows(&mut self, windows: &Arc<Windows>) {
        match self {
            Inbox::Ring(receiver) => receiver.set_windows(windows.clone()),
            Inbox::Tcp(_) => {}
            #[cfg(test)]
            Inbox::Faulty(_) => {}
        }
    }

    /// The descriptor to wait on when nothing has come.
    pub fn waits_on(&self) -> Option<std::os::fd::RawFd> {
        match self {
            Inbox::Ring(_) => None,
            Inbox::Tcp(receiver) => Some(receiver.descriptor()),
            #[cfg(test)]
            Inbox::Faulty(_) => None,
        }
    }
}
