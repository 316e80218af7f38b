//! One direction of one channel between two ranks that share memory: a ring of cells, and a ring of bytes beside it.
//!
//! ## Layout
//! A cell is 256 bytes. Its first 8 are the stamp: cell number + 1, stored last (release) by the sender, so that the cell itself
//! says when it is full and a small message costs the receiver one cache line. The payload never covers a stamp, so no data can
//! look like one. Behind the stamp: fingerprint (4), kind and record length (4), length of the whole message (8), payload.
//!
//! A record carries up to [`INLINE`] bytes in its cell; more in the byte ring (`Staged`); or nothing but an address (`Lent`), where
//! the receiver can read the sender's memory itself.
//!
//! ## Who may touch what
//! The sender writes cells `head`, `head + 1`... while fewer than `cells` of them are not yet consumed, then their stamp. The
//! receiver reads a cell once its stamp is there, and gives it back, with its bytes or its loan, by raising `consumed` (release).
//! The sender looks at `consumed` only when its last known value says that the ring is full, or when it must know that a loan
//! came back. There is one sender and one receiver.
//!
//! ## Loans
//! While a loan is out the receiver reads the sender's memory, so an operation that fails must take its loans back before it
//! returns. The cell's `state` decides.
//! - By address, among threads: the memory may be unmapped once it was taken back. The receiver goes `FREE -> READING -> FREE`
//!   around every piece that it reads, the sender `FREE -> REVOKED`; who comes second waits (the sender, for one piece at the
//!   longest) or fails (the receiver).
//! - In a window, among processes: the receiver has mapped it too, so reading is never a fault, and it may be stopped for ever in
//!   the middle of it. The sender stores `REVOKED` and waits for nobody; the receiver looks at the state behind every piece that
//!   it has read, and throws the piece away if it was taken back. It only reads the cell, whose line it has anyway.

use super::arena::{Arena, Bell, Reach};
use super::flow::{self, Flow};
use super::window::Windows;
use super::{Head, Lent, Look, Record, Taken};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Bytes of a cell; the ring's header is two cells.
const CELL: usize = 256;
const HEAD: usize = 24;
/// Payload bytes that fit into a cell.
pub const INLINE: usize = CELL - HEAD;

const KIND_INLINE: u32 = 0;
const KIND_STAGED: u32 = 1;
const KIND_LENT: u32 = 2;
const KIND_WINDOW: u32 = 3;

/// How large the rings of an arena are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dimensions {
    /// A power of two.
    pub cells: u32,
    /// A power of two, or 0 where messages are only inline or lent.
    pub bytes: u32,
}

impl Dimensions {
    pub fn total(&self) -> usize {
        2 * CELL + self.cells as usize * CELL + self.bytes as usize
    }
}

/// Raw access to one ring.
#[derive(Clone)]
struct Ring {
    base: *mut u8,
    dimensions: Dimensions,
    #[expect(dead_code, reason = "keeps the memory mapped")]
    arena: Arc<Arena>,
}

// SAFETY: `base` points into `arena`, which is Sync; who touches what is said above.
unsafe impl Send for Ring {}

impl Ring {
    fn consumed(&self) -> &AtomicU64 {
        // SAFETY: the first 8 bytes of a ring are this counter, aligned (rings are aligned to cells) and alive with the arena.
        unsafe { AtomicU64::from_ptr(self.base.cast()) }
    }

    fn cell(&self, number: u64) -> *mut u8 {
        let index = (number & u64::from(self.dimensions.cells - 1)) as usize;
        // SAFETY: index < cells, inside the ring's memory.
        unsafe { self.base.add((2 + index) * CELL) }
    }

    fn stamp(&self, number: u64) -> &AtomicU64 {
        // SAFETY: the first 8 bytes of a cell are its stamp.
        unsafe { AtomicU64::from_ptr(self.cell(number).cast()) }
    }

    fn state(&self, number: u64) -> &AtomicU32 {
        // SAFETY: of a lent cell, the 4 bytes behind address and length are its state, and no payload.
        unsafe { AtomicU32::from_ptr(self.cell(number).add(HEAD + 16).cast()) }
    }

    fn byte(&self, position: u64) -> *mut u8 {
        let offset = (position & u64::from(self.dimensions.bytes - 1)) as usize;
        // SAFETY: offset < bytes, inside the ring's memory.
        unsafe { self.base.add((2 + self.dimensions.cells as usize) * CELL + offset) }
    }
}

/// The sending half.
pub struct Sender {
    ring: Ring,
    peer_bell: Bell,
    flow: Flow,
}

/// Where the memory of a loan lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loan {
    /// At this address of the process that both ranks are threads of.
    Address(*const u8),
    /// At this offset of the sender's part of a window that both have mapped.
    Window { id: u32, offset: u64 },
}

impl Sender {
    /// The ring from this rank to a peer, allocated in the arena at first use. None if the arena is full.
    pub fn open(arena: &Arc<Arena>, from: usize, to: usize, channel: u16) -> Option<Sender> {
        let base = arena.ring_for_sending(from, to, channel)?;
        let dimensions = arena.dimensions(base.1);
        Some(Sender {
            ring: Ring { base: base.0, dimensions, arena: arena.clone() },
            peer_bell: arena.bell(to),
            flow: Flow::new(dimensions.cells, dimensions.bytes),
        })
    }

    /// Takes up to `available` bytes at `data`, as one record; returns how many, 0 if there is no room now.
    ///
    /// # Safety
    /// `data` must be readable for `available` bytes.
    #[inline]
    pub unsafe fn push(&mut self, head: Head, data: *const u8, available: usize) -> usize {
        if !self.flow.has_cell(self.ring.consumed()) {
            return 0;
        }
        let cell = self.ring.cell(self.flow.head());
        if available <= INLINE {
            // SAFETY: the cell is free, so the receiver does not look at it; the caller vouches for `data`.
            unsafe { copy_small(data, cell.add(HEAD), available) };
            self.publish(head, KIND_INLINE, available as u32);
            return available;
        }
        let Some((position, len)) = self.flow.claim(available, self.ring.consumed()) else { return 0 };
        // SAFETY: `claim` gave these bytes of the ring to us alone; the cell is free.
        unsafe {
            std::ptr::copy_nonoverlapping(data, self.ring.byte(position), len);
            cell.add(HEAD).cast::<u64>().write(position);
        }
        self.publish(head, KIND_STAGED, len as u32);
        len
    }

    /// Lends `len` bytes: the receiver reads them where they lie. Returns the loan's number, None if there is no room now.
    pub fn lend(&mut self, head: Head, loan: Loan, len: u64) -> Option<u64> {
        if !self.flow.has_cell(self.ring.consumed()) {
            return None;
        }
        let number = self.flow.head();
        let cell = self.ring.cell(number);
        let (kind, word) = match loan {
            Loan::Address(address) => (KIND_LENT, address as u64),
            Loan::Window { id, offset } => {
                // SAFETY: the cell is free and these bytes lie behind the state word.
                unsafe { cell.add(HEAD + 20).cast::<u32>().write(id) };
                (KIND_WINDOW, offset)
            }
        };
        // SAFETY: the cell is free, so the receiver does not look at it.
        unsafe {
            cell.add(HEAD).cast::<u64>().write(word);
            cell.add(HEAD + 8).cast::<u64>().write(len);
        }
        flow::open_loan(self.ring.state(number));
        self.publish(head, kind, 0);
        Some(number)
    }

    #[inline]
    fn publish(&mut self, head: Head, kind: u32, len: u32) {
        let number = self.flow.head();
        let cell = self.ring.cell(number);
        // SAFETY: the cell is free until its stamp is stored.
        unsafe {
            cell.add(8).cast::<u32>().write(head.fingerprint);
            cell.add(12).cast::<u32>().write(kind << 28 | len);
            cell.add(16).cast::<u64>().write(head.message_bytes);
        }
        self.flow.publish(self.ring.stamp(number));
        self.peer_bell.ring();
    }

    /// Whether the receiver has given back the loan (or record) of this number.
    pub fn is_returned(&mut self, number: u64) -> bool {
        self.flow.is_returned(number, self.ring.consumed())
    }

    /// Takes back every loan that is still out: after this nobody uses what it reads of the lent memory, and nobody reads it
    /// by address. For that it waits for at most one piece that the receiver, a thread of this process, is reading now.
    pub fn revoke(&mut self) {
        self.flow.refresh(self.ring.consumed());
        for number in self.flow.in_flight() {
            // SAFETY: the cell was published by us and is not consumed, so its head is what we wrote.
            let kind = unsafe { self.ring.cell(number).add(12).cast::<u32>().read() } >> 28;
            match kind {
                KIND_LENT => flow::revoke(self.ring.state(number), std::thread::yield_now),
                KIND_WINDOW => flow::revoke_at_once(self.ring.state(number)),
                _ => {}
            }
        }
    }
}

/// Copies a few bytes without a call where it is worth it.
///
/// # Safety
/// As `copy_nonoverlapping`.
#[inline]
unsafe fn copy_small(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: the caller's.
    unsafe {
        match len {
            8 => to.cast::<u64>().write_unaligned(from.cast::<u64>().read_unaligned()),
            4 => to.cast::<u32>().write_unaligned(from.cast::<u32>().read_unaligned()),
            _ => std::ptr::copy_nonoverlapping(from, to, len),
        }
    }
}

/// The receiving half.
pub struct Receiver {
    arena: Arc<Arena>,
    from: usize,
    to: usize,
    channel: u16,
    /// None until the sender allocated it.
    ring: Option<Ring>,
    peer_bell: Bell,
    tail: u64,
    /// Bytes of the record at `tail` that were taken already.
    taken: u64,
    windows: Arc<Windows>,
}

impl Receiver {
    /// `windows` are those in which the peer may lend.
    pub fn open(arena: &Arc<Arena>, from: usize, to: usize, channel: u16, windows: Arc<Windows>) -> Receiver {
        let (arena, peer_bell) = (arena.clone(), arena.bell(from));
        Receiver { arena, from, to, channel, ring: None, peer_bell, tail: 0, taken: 0, windows }
    }

    pub fn set_windows(&mut self, windows: Arc<Windows>) {
        self.windows = windows;
    }

    #[cold]
    fn find_ring(&mut self) -> bool {
        let Some((base, class)) = self.arena.ring_for_receiving(self.from, self.to, self.channel) else { return false };
        let dimensions = self.arena.dimensions(class);
        self.ring = Some(Ring { base, dimensions, arena: self.arena.clone() });
        true
    }

    /// What is left of the record at the head of the ring, if one has come.
    ///
    /// What is lent by address may be read only between [`Receiver::hold`] and [`Receiver::take`].
    #[inline]
    pub fn peek(&mut self) -> Option<Record> {
        if self.ring.is_none() && !self.find_ring() {
            return None;
        }
        let ring = self.ring.as_ref()?;
        if !flow::is_published(ring.stamp(self.tail), self.tail) {
            return None;
        }
        let cell = ring.cell(self.tail);
        // SAFETY: the stamp says that the sender has filled the cell and will not touch it until we raise `consumed`.
        let (fingerprint, word, message_bytes) = unsafe {
            (cell.add(8).cast::<u32>().read(), cell.add(12).cast::<u32>().read(), cell.add(16).cast::<u64>().read())
        };
        let (kind, len) = (word >> 28, u64::from(word & 0x0fff_ffff));
        // SAFETY: as above; `position` is masked to lie in the ring whatever it says.
        let (data, len, lent) = unsafe {
            match kind {
                KIND_INLINE => (cell.add(HEAD).cast_const(), len.min(INLINE as u64), Lent::Not),
                KIND_STAGED => {
                    let position = cell.add(HEAD).cast::<u64>().read();
                    (ring.byte(position).cast_const(), len.min(u64::from(ring.dimensions.bytes / 4)), Lent::Not)
                }
                // An address of another process is none here.
                KIND_LENT if self.arena.reach() == Reach::Threads => {
                    let address = cell.add(HEAD).cast::<*const u8>().read();
                    (address, cell.add(HEAD + 8).cast::<u64>().read(), Lent::Address)
                }
                _ => {
                    let id = cell.add(HEAD + 20).cast::<u32>().read();
                    let offset = cell.add(HEAD).cast::<u64>().read();
                    let len = cell.add(HEAD + 8).cast::<u64>().read();
                    (self.windows.address(id, self.from, offset, len)?, len, Lent::Window)
                }
            }
        };
        Some(Record {
            head: Head { fingerprint, message_bytes },
            // SAFETY: `taken` bytes of the record were given out before, so it is at least that long.
            data: unsafe { data.add(self.taken as usize) },
            len: (len - self.taken) as usize,
            lent,
        })
    }

    /// Looks for a message that lies in one cell.
    #[inline]
    pub fn look(&mut self, head: Head) -> Look {
        if self.ring.is_none() && !self.find_ring() {
            return Look::Nothing;
        }
        let Some(ring) = &self.ring else { return Look::Nothing };
        if !flow::is_published(ring.stamp(self.tail), self.tail) {
            return Look::Nothing;
        }
        let cell = ring.cell(self.tail);
        // SAFETY: the stamp says that the sender has filled the cell and will not touch it until we raise `consumed`.
        let (fingerprint, word, message_bytes) = unsafe {
            (cell.add(8).cast::<u32>().read(), cell.add(12).cast::<u32>().read(), cell.add(16).cast::<u64>().read())
        };
        let came = Head { fingerprint, message_bytes };
        // A record that was taken in part is no message any more, and one that is longer than a cell lies elsewhere.
        let is_whole =
            u64::from(word) == u64::from(KIND_INLINE << 28) | message_bytes && message_bytes <= INLINE as u64;
        if came != head || !is_whole || self.taken > 0 {
            return Look::Other;
        }
        // SAFETY: the payload of a cell starts there.
        Look::Whole(unsafe { cell.add(HEAD) })
    }

    /// Before a piece of a record lent by address is read: false if the sender has taken it back.
    pub fn hold(&mut self) -> bool {
        let ring = self.ring.as_ref().expect("peek found a record");
        flow::hold(ring.state(self.tail))
    }

    /// After a piece of a record lent in a window was read: whether the sender had taken it back before.
    #[inline]
    pub fn is_revoked(&self) -> bool {
        let ring = self.ring.as_ref().expect("peek found a record");
        flow::was_revoked(ring.state(self.tail))
    }

    /// Gives a held record back unread, so that its sender need not wait for us.
    pub fn release(&mut self) {
        let ring = self.ring.as_ref().expect("peek found a record");
        flow::let_go(ring.state(self.tail));
    }

    /// Marks `bytes` of the record at the head as taken, and gives the record back when it is used up. `lent` as in the record.
    #[inline]
    pub fn take(&mut self, bytes: usize, record_len: usize, lent: Lent) -> Taken {
        let ring = self.ring.as_ref().expect("peek found a record");
        if lent == Lent::Address {
            flow::let_go(ring.state(self.tail));
        }
        if bytes < record_len {
            self.taken += bytes as u64;
            return Taken::Part;
        }
        self.tail += 1;
        self.taken = 0;
        flow::give_back(ring.consumed(), self.tail);
        self.peer_bell.ring();
        Taken::All
    }
}

/// Orders a look at a bell's sleeper flag behind the store that the sleeper waits for, where no membarrier does.
pub(super) fn full_fence() {
    fence(Ordering::SeqCst);
}
