//! What may come over a connection, and what may become of it.

use super::faulty::Random;
use super::tcp::{BUFFER, FRAME, HEADER, Receiver, Sender, encode};
use super::{Head, Lent};
use crate::error::{ErrorKind, Result};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

fn end(stream: TcpStream) -> Arc<TcpStream> {
    stream.set_nonblocking(true).unwrap();
    Arc::new(stream)
}

fn head(message_bytes: u64) -> Head {
    Head { fingerprint: 5, message_bytes }
}

/// The next bytes of the message, or why there are none; waits for them.
fn receive(receiver: &mut Receiver) -> Result<(Head, Vec<u8>)> {
    let start = Instant::now();
    loop {
        if let Some(record) = receiver.peek()? {
            assert_eq!(record.lent, Lent::Not);
            // SAFETY: the record is ours to read until it is taken.
            let bytes = unsafe { std::slice::from_raw_parts(record.data, record.len) }.to_vec();
            receiver.take(record.len, record.len);
            return Ok((record.head, bytes));
        }
        assert!(start.elapsed() < LIMIT, "nothing comes");
        std::thread::yield_now();
    }
}

/// What a receiver says in the end to one who writes these bytes and closes.
fn refusal(bytes: &[u8]) -> String {
    let (mut peer, own) = pair();
    peer.write_all(bytes).unwrap();
    drop(peer);
    let mut receiver = Receiver::new(3, end(own));
    loop {
        if let Err(error) = receive(&mut receiver) {
            assert_eq!((error.kind(), error.peer()), (ErrorKind::PeerLost, Some(3)), "{error}");
            let again = receiver.peek().expect_err("a broken connection stays broken");
            assert_eq!(again.to_string(), error.to_string());
            return error.to_string();
        }
    }
}

#[test]
fn headers_of_nonsense_break_the_connection() {
    let sound = encode(head(100), 0, 100);
    let with = |at: usize, value: u64| {
        let mut bytes = sound;
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        bytes.to_vec()
    };
    let frames = |frames: &[(Head, u64, usize)]| {
        let frame =
            |(head, number, len): &(Head, u64, usize)| [&encode(*head, *number, *len)[..], &vec![0; *len]].concat();
        frames.iter().flat_map(frame).collect::<Vec<u8>>()
    };
    let damaged = [
        ("no frame", vec![b'G'; HEADER]),
        ("not the first frame", with(8, 1)),
        ("a frame of no bytes", with(24, 0)),
        ("a frame that is too long", with(24, FRAME as u64 + 1)),
        ("a frame of all bytes there are", with(24, u64::MAX)),
        ("a frame longer than its message", with(16, 99)),
        ("a message of no bytes", with(16, 0)),
        ("more frames than the message has", frames(&[(head(100), 0, 60), (head(100), 1, 41)])),
        ("another message in the middle of one", frames(&[(head(100), 0, 60), (head(101), 1, 40)])),
        ("a frame twice", frames(&[(head(100), 0, 60), (head(100), 0, 40)])),
    ];
    for (what, bytes) in damaged {
        assert!(refusal(&bytes).contains("out of order or damaged"), "{what}: {}", refusal(&bytes));
    }
    let cut = frames(&[(head(100), 0, 60), (head(100), 1, 40)]);
    for len in [0, 1, HEADER - 1, HEADER, HEADER + 59, HEADER + 60, cut.len()] {
        assert!(refusal(&cut[..len]).contains("closed"), "{len} bytes: {}", refusal(&cut[..len]));
    }
}

#[test]
fn damage_anywhere_ends_in_an_error_and_not_in_a_panic() {
    let mut random = Random(11);
    for _ in 0..200 {
        let mut bytes = encode(head(1 << random.below(20)), 0, 1 + random.below(4096) as usize).to_vec();
        bytes.extend((0..random.below(200)).map(|_| random.next() as u8));
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << random.below(8);
        refusal(&bytes);
    }
}

#[test]
fn messages_come_whole_however_they_are_cut() {
    let (own, peer) = pair();
    let messages: Vec<Vec<u8>> =
        [1usize, 63, 64, 65, FRAME - 1, FRAME, FRAME + 1, 3 * FRAME + 5].map(|len| vec![len as u8; len]).into();
    // A wire in the middle that passes on as little as one byte at a time.
    let (mut wire, far) = pair();
    let wiring = std::thread::spawn(move || {
        let (mut peer, mut random) = (peer, Random(12));
        let mut bytes = vec![0; 10_000];
        loop {
            let most = if random.one_in(2) { 40 } else { 10_000 };
            let most = 1 + random.below(most) as usize;
            match peer.read(&mut bytes[..most]).unwrap() {
                0 => break,
                read => wire.write_all(&bytes[..read]).unwrap(),
            }
        }
    });
    let expected = messages.clone();
    let sending = std::thread::spawn(move || {
        let mut sender = Sender::new(1, end(own));
        for message in &messages {
            let mut sent = 0;
            while sent < message.len() {
                let rest = &message[sent..];
                // SAFETY: a slice is readable, and `rest` is what follows.
                sent += unsafe { sender.push(head(message.len() as u64), rest.as_ptr(), rest.len()) }.unwrap();
            }
        }
    });
    let mut receiver = Receiver::new(0, end(far));
    for message in expected {
        let mut came = Vec::new();
        while came.len() < message.len() {
            let (head_of_message, bytes) = receive(&mut receiver).unwrap();
            assert_eq!(head_of_message, head(message.len() as u64));
            assert!(bytes.len() % 64 == 0 || came.len() + bytes.len() == message.len());
            came.extend(bytes);
        }
        assert!(came == message, "a message of {} bytes", message.len());
    }
    sending.join().unwrap();
    wiring.join().unwrap();
}

/// Whether SIGPIPE waits for this thread, which blocks it.
fn has_sigpipe() -> bool {
    // SAFETY: plain sets that the calls fill in.
    unsafe {
        let mut pending: libc::sigset_t = std::mem::zeroed();
        libc::sigpending(&mut pending);
        libc::sigismember(&pending, libc::SIGPIPE) == 1
    }
}

#[test]
fn writing_to_a_peer_that_is_gone_is_an_error_and_no_signal() {
    let testing = std::thread::spawn(|| {
        // A blocked signal stays pending even where it is ignored, as in this test's process.
        // SAFETY: a plain set of this thread.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigaddset(&mut set, libc::SIGPIPE);
            libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        }
        let (own, peer) = pair();
        peer.shutdown(Shutdown::Both).unwrap();
        drop(peer);
        let mut sender = Sender::new(2, end(own));
        let (bytes, start) = ([1u8; 4096], Instant::now());
        loop {
            // SAFETY: a slice is readable; every byte of the endless message is alike.
            match unsafe { sender.push(head(u64::MAX), bytes.as_ptr(), bytes.len()) } {
                Ok(_) => assert!(start.elapsed() < LIMIT, "a closed connection takes all"),
                Err(error) => {
                    break assert_eq!((error.kind(), error.peer()), (ErrorKind::PeerLost, Some(2)), "{error}");
                }
            }
        }
        // The reset was the first word of it; from now on the pipe is broken.
        // SAFETY: as above.
        assert!(unsafe { sender.push(head(u64::MAX), bytes.as_ptr(), bytes.len()) }.is_err());
        assert!(!has_sigpipe(), "SIGPIPE would end a program that does not ignore it");
    });
    testing.join().unwrap();
}

/// The size of a socket's buffer as the kernel counts it at this moment, which is more than the bytes that it holds.
fn socket_buffer(stream: &TcpStream, option: libc::c_int) -> usize {
    let (mut size, mut len): (libc::c_int, _) = (0, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the kernel writes one integer, which is as long as it is told.
    let result =
        unsafe { libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, option, (&raw mut size).cast(), &raw mut len) };
    assert_eq!(result, 0);
    size as usize
}

/// A receiver that looks and never takes holds up its sender; neither side stores more than the sockets and one buffer.
#[test]
fn who_sends_to_a_receiver_that_takes_nothing_is_held_up() {
    const OFFERED: usize = 256 << 20;
    const PIECE: usize = 100_000;
    let (near, far) = pair();
    let (near, far) = (end(near), end(far));
    let (mut sender, mut receiver) = (Sender::new(1, near.clone()), Receiver::new(0, far.clone()));
    let data = vec![1u8; PIECE];
    let (mut sent, mut last) = (0, Instant::now());
    while last.elapsed() < Duration::from_millis(300) {
        let rest = PIECE - sent % PIECE;
        // SAFETY: the slice is readable, and stands for the rest of the message that was begun.
        let pushed = unsafe { sender.push(head(PIECE as u64), data.as_ptr(), rest).unwrap() };
        receiver.peek().unwrap();
        sent += pushed;
        match pushed {
            0 => std::thread::yield_now(),
            _ => last = Instant::now(),
        }
        assert!(sent < OFFERED, "nothing holds the sender up");
    }
    let most = socket_buffer(&near, libc::SO_SNDBUF) + socket_buffer(&far, libc::SO_RCVBUF) + BUFFER;
    assert!((PIECE..=most).contains(&sent), "{sent} bytes are on the way, and there is room for {most}");
    assert_eq!(receive(&mut receiver).unwrap().1[0], 1, "what was sent is still there");
}
