//! A link over one TCP connection: frames of a fixed header and payload.
//!
//! The sender writes straight from the caller's memory; the receiver reads into a buffer of its own, from which the executor
//! folds or copies. Every frame carries its number, and the frames of a message add up to it, so a connection that lost or
//! repeated bytes shows as an error.
//!
//! There are no credits: how far a sender may be ahead of its receiver is bounded by bytes alone, those that the two sockets
//! hold (net.ipv4.tcp_wmem and tcp_rmem) and one buffer of [`BUFFER`] bytes, not by messages as in a ring. A receiver reads only when
//! it is asked for a record and has none, so nothing piles up behind it: a full buffer leaves the rest to the kernel, whose
//! window then holds the sender up.

use super::{Head, Lent, Record, Taken};
use crate::error::{Error, ErrorKind, Result};
use crate::types::Rank;
use std::io::{self, ErrorKind as Io, IoSlice, Read};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

pub(super) const HEADER: usize = 32;
const MAGIC: u32 = 0x556e_6931;
/// The receiver's buffer; also the largest frame.
pub(super) const BUFFER: usize = 256 << 10;
/// A frame's payload is at most this, so that the receiver can begin to fold early and one lane can't hold up another.
pub(super) const FRAME: usize = BUFFER / 2;

pub(super) fn encode(head: Head, number: u64, len: usize) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[4..8].copy_from_slice(&head.fingerprint.to_le_bytes());
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    bytes[16..24].copy_from_slice(&head.message_bytes.to_le_bytes());
    bytes[24..32].copy_from_slice(&(len as u64).to_le_bytes());
    bytes
}

/// What a header says, if it is the one that is due.
pub(super) fn decode(bytes: &[u8; HEADER], number: u64) -> Option<(Head, usize)> {
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    let half = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
    let len = usize::try_from(word(24)).ok()?;
    let sound = half(0) == MAGIC && word(8) == number && len <= FRAME && len > 0;
    sound.then(|| (Head { fingerprint: half(4), message_bytes: word(16) }, len))
}

/// Bytes of its message that are to come behind a frame of this head and length, where `missing` of a message with `head` were
/// before it; None if the frame is no part of a message.
fn missing_behind((head, missing): (Head, u64), (frame_head, len): (Head, usize)) -> Option<u64> {
    let missing = match missing {
        0 => frame_head.message_bytes,
        _ if frame_head == head => missing,
        _ => return None,
    };
    missing.checked_sub(len as u64)
}

/// Writes what fits. Unlike `Write`, without SIGPIPE where the peer is gone: a program that is not Rust's need not ignore that.
fn send(stream: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: zero is a value of all its fields: no name, no control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    // An `IoSlice` has the layout of an `iovec`; the kernel only reads it.
    message.msg_iov = slices.as_ptr().cast::<libc::iovec>().cast_mut();
    message.msg_iovlen = slices.len() as _;
    // SAFETY: the slices live across the call, and with them what they point to.
    let sent = unsafe { libc::sendmsg(stream.as_raw_fd(), &message, libc::MSG_NOSIGNAL) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

fn lost(peer: Rank, cause: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::PeerLost, format!("the connection to rank {peer} broke: {cause}"))
        .with_peer(peer)
        .remedy(format!("see the output of rank {peer}"))
}

pub struct Sender {
    peer: Rank,
    stream: Arc<TcpStream>,
    frames: u64,
    header: [u8; HEADER],
    /// Bytes of the header that are out, and of the payload that are still to come, of the frame being written.
    header_sent: usize,
    payload_left: usize,
}

impl Sender {
    /// The stream must be in non-blocking mode.
    pub fn new(peer: Rank, stream: Arc<TcpStream>) -> Sender {
        Sender { peer, stream, frames: 0, header: [0; HEADER], header_sent: HEADER, payload_left: 0 }
    }

    pub fn descriptor(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// # Safety
    /// `data` must be readable for `available` bytes, and be what follows the bytes that earlier calls took of the message.
    pub unsafe fn push(&mut self, head: Head, data: *const u8, available: usize) -> Result<usize> {
        let mut sent = 0;
        while sent < available {
            if self.payload_left == 0 {
                let len = (available - sent).min(FRAME);
                self.header = encode(head, self.frames, len);
                (self.header_sent, self.payload_left) = (0, len);
                self.frames += 1;
            }
            let len = self.payload_left.min(available - sent);
            // SAFETY: sent + len <= available, and the caller vouches for those.
            let payload = unsafe { std::slice::from_raw_parts(data.add(sent), len) };
            let slices = [IoSlice::new(&self.header[self.header_sent..]), IoSlice::new(payload)];
            let written = match send(&self.stream, &slices) {
                Ok(0) => return Err(lost(self.peer, "nothing could be written")),
                Ok(written) => written,
                Err(error) if error.kind() == Io::WouldBlock => break,
                Err(error) if error.kind() == Io::Interrupted => continue,
                Err(error) => return Err(lost(self.peer, error)),
            };
            let of_header = written.min(HEADER - self.header_sent);
            self.header_sent += of_header;
            self.payload_left -= written - of_header;
            sent += written - of_header;
        }
        Ok(sent)
    }
}

pub struct Receiver {
    peer: Rank,
    stream: Arc<TcpStream>,
    frames: u64,
    buffer: Box<[u8]>,
    /// Bytes of the buffer that are read but not consumed.
    start: usize,
    end: usize,
    /// Of the frame whose payload stands at `start`.
    head: Head,
    payload_left: usize,
    /// Bytes of the message in frames that did not come yet.
    missing: u64,
}

impl Receiver {
    /// The stream must be in non-blocking mode.
    pub fn new(peer: Rank, stream: Arc<TcpStream>) -> Receiver {
        Receiver {
            peer,
            stream,
            frames: 0,
            buffer: vec![0; BUFFER].into(),
            start: 0,
            end: 0,
            head: Head { fingerprint: 0, message_bytes: 0 },
            payload_left: 0,
            missing: 0,
        }
    }

    pub fn descriptor(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    /// Shows whole 64-byte lines of the frame, or its end, so that elements are never cut.
    pub fn peek(&mut self) -> Result<Option<Record>> {
        loop {
            if self.payload_left == 0 && self.end - self.start >= HEADER {
                self.open_frame()?;
            }
            if self.payload_left > 0 {
                let here = (self.end - self.start).min(self.payload_left);
                let len = if here == self.payload_left { here } else { here & !63 };
                if len > 0 {
                    let data = self.buffer[self.start..].as_ptr();
                    return Ok(Some(Record { head: self.head, data, len, lent: Lent::Not }));
                }
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    fn open_frame(&mut self) -> Result<()> {
        let header: &[u8; HEADER] = self.buffer[self.start..self.start + HEADER].try_into().expect("a header's length");
        let frame = decode(header, self.frames);
        let behind = frame.and_then(|frame| missing_behind((self.head, self.missing), frame));
        let (Some((head, len)), Some(missing)) = (frame, behind) else {
            return Err(lost(self.peer, "a frame came out of order or damaged"));
        };
        (self.head, self.missing) = (head, missing);
        self.payload_left = len;
        self.start += HEADER;
        self.frames += 1;
        Ok(())
    }

    /// Reads more; false if nothing has come.
    fn fill(&mut self) -> Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.buffer.len() - self.end < FRAME {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        loop {
            match (&*self.stream).read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err(lost(self.peer, "it was closed")),
                Ok(read) => {
                    self.end += read;
                    return Ok(true);
                }
                Err(error) if error.kind() == Io::WouldBlock => return Ok(false),
                Err(error) if error.kind() == Io::Interrupted => {}
                Err(error) => return Err(lost(self.peer, error)),
            }
        }
    }

    pub fn take(&mut self, bytes: usize, record_len: usize) -> Taken {
        debug_assert!(bytes <= record_len && bytes <= self.payload_left);
        self.start += bytes;
        self.payload_left -= bytes;
        if bytes == record_len { Taken::All } else { Taken::Part }
    }
}
