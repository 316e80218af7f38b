//! Two threads at the two ends of one real link, flat out: order, contents, sleep and loans. Also what `ci/sanitize` watches.

use super::arena::Arena;
use super::faulty::Random;
use super::memory::Mapping;
use super::window::{Window, Windows};
use super::{Head, Lent, Loan, ring};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const MESSAGES: u64 = 20_000;
const LIMIT: Duration = Duration::from_secs(120);

/// Both ranks of a world of two; rank 0 sends.
fn ends(arena: &Arc<Arena>) -> (ring::Sender, ring::Receiver) {
    (ring::Sender::open(arena, 0, 1, 0).expect("there is room"), ring::Receiver::open(arena, 0, 1, 0, Arc::default()))
}

fn staged() -> Arc<Arena> {
    // So little that the bytes of the ring, not its cells, are what runs out.
    let bytes = 64 << 10;
    Arena::for_processes(Mapping::anonymous(bytes).unwrap(), 2).unwrap()
}

/// The bytes of a message say which it is and where each belongs.
fn message(number: u64) -> Vec<u8> {
    let mut random = Random(number);
    let len = 1 + random.below([8, 300, 6000][number as usize % 3]);
    (0..len).map(|index| (number ^ (index * 7)) as u8).collect()
}

fn send_all(mut sender: ring::Sender) {
    let start = Instant::now();
    for number in 0..MESSAGES {
        let bytes = message(number);
        let head = Head { fingerprint: number as u32, message_bytes: bytes.len() as u64 };
        let mut sent = 0;
        while sent < bytes.len() {
            let rest = &bytes[sent..];
            // SAFETY: a slice is readable.
            let taken = unsafe { sender.push(head, rest.as_ptr(), rest.len()) };
            sent += taken;
            if taken == 0 {
                assert!(start.elapsed() < LIMIT, "message {number} can't be sent");
                std::thread::yield_now();
            }
        }
    }
}

#[test]
fn messages_come_whole_and_in_order_to_a_receiver_that_sleeps() {
    let arena = staged();
    let (sender, mut receiver) = ends(&arena);
    let sending = std::thread::spawn(move || send_all(sender));
    let bell = arena.bell(1);
    let mut random = Random(1);
    let start = Instant::now();
    for number in 0..MESSAGES {
        let expected = message(number);
        let mut came = Vec::new();
        while came.len() < expected.len() {
            let Some(record) = receiver.peek() else {
                assert!(start.elapsed() < LIMIT, "message {number} does not come");
                bell.sleep(Duration::from_millis(50), &mut || receiver.peek().is_some());
                continue;
            };
            assert_eq!(record.head, Head { fingerprint: number as u32, message_bytes: expected.len() as u64 });
            let part = 1 + random.below(record.len as u64) as usize;
            // SAFETY: the record is ours to read until it is taken.
            came.extend_from_slice(unsafe { std::slice::from_raw_parts(record.data, part) });
            receiver.take(part, record.len, Lent::Not);
        }
        assert!(came == expected, "message {number} came damaged");
    }
    sending.join().unwrap();
}

/// The lender writes its memory anew for every loan, half of the time after taking the last one back unasked.
#[test]
fn lent_memory_is_never_read_after_it_was_taken_back() {
    const WORDS: usize = 512;
    let arena = Arena::for_threads(2).unwrap();
    let (mut sender, mut receiver) = ends(&arena);
    let lending = std::thread::spawn(move || {
        let mut random = Random(2);
        let mut memory = vec![0u64; WORDS];
        for number in 0..MESSAGES {
            memory.fill(number);
            let bytes = (WORDS * 8) as u64;
            let head = Head { fingerprint: number as u32, message_bytes: bytes };
            let loan = Loan::Address(memory.as_ptr().cast());
            let lent = loop {
                match sender.lend(head, loan, bytes) {
                    Some(lent) => break lent,
                    None => std::thread::yield_now(),
                }
            };
            if random.one_in(2) {
                sender.revoke();
            } else {
                while !sender.is_returned(lent) {
                    std::thread::yield_now();
                }
            }
        }
        // The last loan may still be out.
        sender.revoke();
    });
    let start = Instant::now();
    let mut read = 0;
    for number in 0..MESSAGES {
        let mut left = WORDS;
        while left > 0 {
            let Some(record) = receiver.peek() else {
                assert!(start.elapsed() < LIMIT, "loan {number} does not come");
                std::thread::yield_now();
                continue;
            };
            assert_eq!(record.head.fingerprint, number as u32);
            if !receiver.hold() {
                receiver.take(record.len, record.len, Lent::Address);
                break;
            }
            let words = left.min(200);
            // SAFETY: the loan is held.
            let piece = unsafe { std::slice::from_raw_parts(record.data.cast::<u64>(), words) };
            assert!(piece.iter().all(|word| *word == number), "loan {number} was written while it was read");
            receiver.take(words * 8, record.len, Lent::Address);
            left -= words;
            read += 1;
        }
    }
    lending.join().unwrap();
    assert!(read > 0, "every loan was taken back before it was read");
}

/// As above in a window, where the lender waits for nobody: it writes while the receiver reads, and what was read then must
/// not count.
#[test]
fn what_was_written_over_in_a_window_does_not_count() {
    const WORDS: usize = 512;
    const BYTES: usize = WORDS * 8;
    let arena = staged();
    let (mut sender, mut receiver) = ends(&arena);
    let window = Arc::new(Window { memory: Mapping::anonymous(2 * BYTES).unwrap(), part_bytes: BYTES });
    receiver.set_windows(Arc::new(Windows::default().with(1, window.clone())));
    // Each side uses the memory as the processes do, in whatever order; only that is said word by word.
    let word = |at: *const u8, index: usize| {
        // SAFETY: the index is inside the part, which `window` keeps mapped; all access to it is by atomics.
        unsafe { AtomicU64::from_ptr(at.cast_mut().cast::<u64>().add(index)) }
    };
    let lending = std::thread::spawn(move || {
        let mut random = Random(3);
        for number in 0..MESSAGES {
            (0..WORDS).for_each(|index| word(window.memory.address(), index).store(number, Ordering::Relaxed));
            let head = Head { fingerprint: number as u32, message_bytes: BYTES as u64 };
            let lent = loop {
                match sender.lend(head, Loan::Window { id: 1, offset: 0 }, BYTES as u64) {
                    Some(lent) => break lent,
                    None => std::thread::yield_now(),
                }
            };
            if random.one_in(2) {
                (0..random.below(2000)).for_each(|_| std::hint::spin_loop());
                sender.revoke();
            } else {
                while !sender.is_returned(lent) {
                    std::thread::yield_now();
                }
            }
        }
    });
    let start = Instant::now();
    let (mut read, mut revoked) = (0, 0);
    for number in 0..MESSAGES {
        let mut left = WORDS;
        while left > 0 {
            let Some(record) = receiver.peek() else {
                assert!(start.elapsed() < LIMIT, "loan {number} does not come");
                std::thread::yield_now();
                continue;
            };
            assert_eq!((record.head.fingerprint, record.lent), (number as u32, Lent::Window));
            let words = left.min(200);
            let piece: [u64; 200] = std::array::from_fn(|index| match index < words {
                true => word(record.data, index).load(Ordering::Relaxed),
                false => number,
            });
            if receiver.is_revoked() {
                revoked += 1;
                receiver.take(record.len, record.len, record.lent);
                break;
            }
            assert!(piece.iter().all(|word| *word == number), "loan {number} was written while it was read");
            receiver.take(words * 8, record.len, record.lent);
            left -= words;
            read += 1;
        }
    }
    lending.join().unwrap();
    assert!(read > 0 && revoked > 0, "{read} pieces were read, {revoked} loans taken back before");
}
