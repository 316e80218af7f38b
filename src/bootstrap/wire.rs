//! Frames: a length (4 bytes, little-endian) and that many bytes, never more than [`MAX_FRAME_BYTES`].
//!
//! Everything that is read here is bounded before it is allocated, and everything that waits has a deadline.

use super::socket::{Stream, Watch, wait};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::Instant;

/// Largest payload of a caller, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 64 * 1024;
/// Largest body of a frame: a payload and what stands around it.
pub(super) const MAX_FRAME_BYTES: usize = MAX_PAYLOAD_BYTES + 1024;
const LENGTH_BYTES: usize = 4;
const READ_BYTES: usize = 16 * 1024;

/// A frame whose bytes mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame that can't be read")]
pub(super) struct Malformed;

impl From<Malformed> for io::Error {
    fn from(malformed: Malformed) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, malformed)
    }
}

/// Builds one frame.
pub(super) struct Encoder(Vec<u8>);

impl Encoder {
    pub fn new(kind: u8) -> Encoder {
        Encoder(vec![0, 0, 0, 0, kind])
    }

    pub fn fixed(mut self, bytes: &[u8]) -> Encoder {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn number(self, value: u64) -> Encoder {
        self.fixed(&value.to_le_bytes())
    }

    /// Bytes with their length before them.
    pub fn bytes(self, bytes: &[u8]) -> Encoder {
        self.number(bytes.len() as u64).fixed(bytes)
    }

    /// As much of the text as fits into `max` bytes, cut between characters.
    pub fn text(self, text: &str, max: usize) -> Encoder {
        let end = text.floor_char_boundary(max);
        self.bytes(&text.as_bytes()[..end])
    }

    pub fn finish(mut self) -> Vec<u8> {
        let body = self.0.len() - LENGTH_BYTES;
        assert!(body <= MAX_FRAME_BYTES, "a frame of {body} bytes");
        self.0[..LENGTH_BYTES].copy_from_slice(&(body as u32).to_le_bytes());
        self.0
    }
}

/// Takes the body of a frame apart.
pub(super) struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    pub fn new(body: &'a [u8]) -> Decoder<'a> {
        Decoder(body)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    pub fn kind(&mut self) -> Result<u8, Malformed> {
        Ok(self.fixed::<1>()?[0])
    }

    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    pub fn number(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.fixed()?))
    }

    /// A number that the sender made from a `usize` of at most 32 bits.
    pub fn index(&mut self) -> Result<usize, Malformed> {
        u32::try_from(self.number()?).map(|value| value as usize).map_err(|_| Malformed)
    }

    pub fn bytes(&mut self, max: usize) -> Result<&'a [u8], Malformed> {
        let count = self.index()?;
        if count > max { Err(Malformed) } else { self.take(count) }
    }

    pub fn text(&mut self, max: usize) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes(max)?).map_err(|_| Malformed)
    }

    /// Nothing may follow.
    pub fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed) }
    }
}

/// Bytes that came and are not yet frames.
#[derive(Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
}

impl Inbox {
    /// Reads once, without waiting. 0 is the end of the stream. Holds at most one frame and one read.
    pub fn read_from(&mut self, stream: &mut Stream) -> io::Result<usize> {
        self.bytes.drain(..self.start);
        self.start = 0;
        let held = self.bytes.len();
        self.bytes.resize(held + READ_BYTES, 0);
        let result = stream.read(&mut self.bytes[held..]);
        self.bytes.truncate(held + *result.as_ref().unwrap_or(&0));
        result
    }

    /// The body of the next whole frame.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, Malformed> {
        let rest = &self.bytes[self.start..];
        let Some((length, rest)) = rest.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > MAX_FRAME_BYTES {
            return Err(Malformed);
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.start += LENGTH_BYTES + length;
        Ok(Some(&self.bytes[self.start - length..self.start]))
    }

    #[cfg(any(test, fuzzing))]
    pub fn held_bytes(&self) -> usize {
        self.bytes.len()
    }

    #[cfg(test)]
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

/// Reads exactly these bytes.
pub(super) fn read_exact(stream: &mut Stream, mut buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
    while !buffer.is_empty() {
        match stream.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => buffer = &mut buffer[count..],
            Err(error) => wait_out(error, Watch::readable(stream.as_fd()), deadline)?,
        }
    }
    Ok(())
}

/// Writes all of these bytes.
pub(super) fn write_all(stream: &Stream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.send(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) => wait_out(error, Watch::writable(stream.as_fd()), deadline)?,
        }
    }
    Ok(())
}

/// Reads one frame and nothing behind it.
pub(super) fn read_frame(stream: &mut Stream, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut length = [0; LENGTH_BYTES];
    read_exact(stream, &mut length, deadline)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_FRAME_BYTES {
        return Err(Malformed.into());
    }
    let mut body = vec![0; length];
    read_exact(stream, &mut body, deadline)?;
    Ok(body)
}

/// Sleeps if the failure was only that nothing could move yet.
pub(super) fn wait_out(error: io::Error, watch: Watch, deadline: Instant) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::WouldBlock if Instant::now() >= deadline => Err(io::ErrorKind::TimedOut.into()),
        io::ErrorKind::WouldBlock => wait(&mut [watch], Some(deadline)),
        _ => Err(error),
    }
}
