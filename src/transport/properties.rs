//! What must hold of the frames that carry data. See [`crate::fuzzing`].

use super::tcp::{self, Receiver};
use super::{Head, Taken};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Whatever comes over a connection, the receiver shows the payloads of sound frames in their order, and an error at the first
/// frame that is not sound, and never more than came.
///
/// The first byte says how much of what is shown is taken at a time, the next two after how many bytes the connection stops for
/// a while.
pub(crate) fn data(bytes: &[u8]) {
    let Some((&[taken, low, high], bytes)) = bytes.split_first_chunk::<3>() else { return };
    // Before anyone reads, a socket holds no more than some 200 KiB.
    let bytes = &bytes[..bytes.len().min(100 << 10)];
    let (near, far) = pair();
    let mut receiver = Receiver::new(1, near);
    let mut expected = Expected { bytes, number: 0, left: 0, head: Head { fingerprint: 0, message_bytes: 0 } };
    let pause = usize::from(u16::from_le_bytes([low, high])).min(bytes.len());
    for part in [&bytes[..pause], &bytes[pause..]] {
        send(&far, part);
        loop {
            let record = match receiver.peek() {
                Ok(Some(record)) => record,
                Ok(None) => break,
                Err(error) => {
                    assert!(error.is_peer_lost() && error.peer() == Some(1));
                    assert!(expected.is_broken(), "sound frames are refused");
                    return;
                }
            };
            assert!(expected.open(), "a frame is shown that is not sound");
            assert_eq!(record.head, expected.head);
            assert!(record.len > 0 && record.len <= expected.left);
            // SAFETY: `peek` vouches for the record until it is taken.
            let shown = unsafe { std::slice::from_raw_parts(record.data, record.len) };
            assert_eq!(shown, &expected.bytes[..record.len]);
            let count = (usize::from(taken) * 8 + 1).min(record.len);
            let end = if count == record.len { Taken::All } else { Taken::Part };
            assert_eq!(receiver.take(count, record.len), end);
            expected.bytes = &expected.bytes[count..];
            expected.left -= count;
        }
    }
    assert!(!expected.is_broken(), "a frame that is not sound goes unnoticed");
}

/// The definition of the stream, naively.
struct Expected<'a> {
    bytes: &'a [u8],
    number: u64,
    left: usize,
    head: Head,
}

impl Expected<'_> {
    /// Goes to the next payload, if there is none at hand and a sound header comes.
    fn open(&mut self) -> bool {
        if self.left > 0 {
            return true;
        }
        let Some((header, rest)) = self.bytes.split_first_chunk::<32>() else { return false };
        let Some((head, len)) = tcp::decode(header, self.number) else { return false };
        assert_eq!(tcp::encode(head, self.number, len), *header);
        (self.bytes, self.number, self.left, self.head) = (rest, self.number + 1, len, head);
        true
    }

    /// Whether the next thing that has come is a header that is not sound.
    fn is_broken(&self) -> bool {
        let header = self.bytes.first_chunk::<32>().filter(|_| self.left == 0);
        header.is_some_and(|header| tcp::decode(header, self.number).is_none())
    }
}

/// A connection of this process with itself. It is no TCP, but reads and writes like one.
fn pair() -> (Arc<TcpStream>, Arc<TcpStream>) {
    let (near, far) = UnixStream::pair().expect("descriptors are left");
    let [near, far] = [near, far].map(|end| {
        end.set_nonblocking(true).expect("a socket");
        Arc::new(TcpStream::from(OwnedFd::from(end)))
    });
    (near, far)
}

fn send(stream: &TcpStream, bytes: &[u8]) {
    let mut stream = stream;
    std::io::Write::write_all(&mut stream, bytes).expect("room for so little");
}

/// What a sender puts on a connection, by target and name.
#[cfg(test)]
pub(crate) fn recorded() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let control = |taken: u8, pause: u16| [&[taken][..], &pause.to_le_bytes()].concat();
    vec![
        ("data", "whole", [control(255, 0), sent(&[b"0123456789"])].concat()),
        ("data", "in_pieces", [control(2, 50), sent(&[&[1; 64], &[2; 128], &[3; 7]])].concat()),
        ("data", "damaged", [control(0, 33), sent(&[b"ab"]), vec![0; 40]].concat()),
    ]
}

/// The bytes of one message that becomes ready in pieces.
#[cfg(test)]
fn sent(pieces: &[&[u8]]) -> Vec<u8> {
    let (near, far) = pair();
    let mut sender = super::tcp::Sender::new(1, near);
    let head = Head { fingerprint: 0x1234_5678, message_bytes: pieces.iter().map(|piece| piece.len() as u64).sum() };
    let mut came = Vec::new();
    for piece in pieces {
        // SAFETY: the slice is readable for its length, and follows what was taken before.
        let taken = unsafe { sender.push(head, piece.as_ptr(), piece.len()) };
        assert_eq!(taken.ok(), Some(piece.len()));
        let mut buffer = vec![0; piece.len() + 4096];
        let count = std::io::Read::read(&mut &*far, &mut buffer).expect("bytes have come");
        came.extend_from_slice(&buffer[..count]);
    }
    came
}
