//! Loom models: every interleaving and every reordering that the memory model allows, of two threads that run the steps of
//! [`flow`](super::flow). `ci/loom` runs them.
//!
//! Each protocol has twins with one planted mistake, which loom must find: else the model would prove nothing.

use super::flow::{self, Flow, Word};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use loom::thread;
use std::sync::atomic::Ordering as Order;

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    // More switches than this by force have never been needed to show a mistake of two threads.
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// A word whose stores release nothing: the mistake of a `Relaxed` where `Release` is needed.
struct Weak<W>(W);

impl<W: Word> Word for Weak<W> {
    type Value = W::Value;

    fn load(&self, order: Order) -> W::Value {
        self.0.load(order)
    }

    fn store(&self, value: W::Value, _order: Order) {
        self.0.store(value, Order::Relaxed);
    }

    fn compare_exchange(&self, current: W::Value, new: W::Value) -> Result<W::Value, W::Value> {
        self.0.compare_exchange(current, new)
    }
}

/// A ring whose payloads loom watches: who touches one that is not his is found out.
struct Ring<S, C> {
    consumed: C,
    stamps: Vec<S>,
    payloads: Vec<UnsafeCell<u64>>,
    /// The byte ring in lines of 64 bytes, the unit of its positions.
    lines: Vec<UnsafeCell<u64>>,
}

// SAFETY: that threads take turns at the cells is what loom checks.
unsafe impl<S: Sync, C: Sync> Sync for Ring<S, C> {}
// SAFETY: as above.
unsafe impl<S: Send, C: Send> Send for Ring<S, C> {}

const CELLS: u32 = 2;
const LINE: u64 = 64;

fn ring<S, C>(stamp: fn() -> S, consumed: fn() -> C, lines: u64) -> Arc<Ring<S, C>> {
    let cells = |count: u64| (0..count).map(|_| UnsafeCell::new(0)).collect();
    Arc::new(Ring {
        consumed: consumed(),
        stamps: (0..CELLS).map(|_| stamp()).collect(),
        payloads: cells(CELLS.into()),
        lines: cells(lines),
    })
}

impl<S: Word<Value = u64>, C: Word<Value = u64>> Ring<S, C> {
    fn index(number: u64) -> usize {
        (number & u64::from(CELLS - 1)) as usize
    }

    fn line(&self, position: u64) -> &UnsafeCell<u64> {
        &self.lines[((position / LINE) & (self.lines.len() as u64 - 1)) as usize]
    }

    /// Sends messages that say their number, by the byte ring if there is one.
    fn send(&self, messages: u64) {
        let mut flow = Flow::new(CELLS, (self.lines.len() as u64 * LINE) as u32);
        for number in 0..messages {
            while !flow.has_cell(&self.consumed) {
                thread::yield_now();
            }
            let mut word = number;
            if !self.lines.is_empty() {
                let (position, _) = loop {
                    match flow.claim(LINE as usize, &self.consumed) {
                        Some(claimed) => break claimed,
                        None => thread::yield_now(),
                    }
                };
                // SAFETY: loom checks that nobody else is at it.
                self.line(position).with_mut(|line| unsafe { *line = number });
                word = position;
            }
            // SAFETY: as above.
            self.payloads[Self::index(number)].with_mut(|payload| unsafe { *payload = word });
            flow.publish(&self.stamps[Self::index(number)]);
        }
    }

    fn receive(&self, messages: u64) {
        for number in 0..messages {
            while !flow::is_published(&self.stamps[Self::index(number)], number) {
                thread::yield_now();
            }
            // SAFETY: loom checks that nobody else is at it.
            let mut word = self.payloads[Self::index(number)].with(|payload| unsafe { *payload });
            if !self.lines.is_empty() {
                // SAFETY: as above.
                word = self.line(word).with(|line| unsafe { *line });
            }
            assert_eq!(word, number);
            flow::give_back(&self.consumed, number + 1);
        }
    }
}

fn strong() -> AtomicU64 {
    AtomicU64::new(0)
}

fn weak() -> Weak<AtomicU64> {
    Weak(AtomicU64::new(0))
}

fn pass<S, C>(stamp: fn() -> S, consumed: fn() -> C, lines: u64, messages: u64)
where
    S: Word<Value = u64> + Send + Sync + 'static,
    C: Word<Value = u64> + Send + Sync + 'static,
{
    explore(move || {
        let ring = ring(stamp, consumed, lines);
        let sender = ring.clone();
        let sending = thread::spawn(move || sender.send(messages));
        ring.receive(messages);
        sending.join().unwrap();
    });
}

#[test]
fn loom_cells_change_hands_around_the_ring() {
    pass(strong, strong, 0, 5);
}

#[test]
fn loom_staged_bytes_change_hands_around_the_ring() {
    pass(strong, strong, 2, 4);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn loom_finds_a_stamp_that_does_not_release() {
    pass(weak, strong, 0, 1);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn loom_finds_cells_that_are_given_back_without_release() {
    pass(strong, weak, 0, 3);
}

/// A sender lends its memory, gives up, and uses the memory again; a receiver reads it in pieces while it may.
fn lend<W>(state: fn() -> W, asks: bool)
where
    W: Word<Value = u32> + Send + Sync + 'static,
{
    struct Lent<W> {
        stamp: AtomicU64,
        state: W,
        memory: UnsafeCell<u64>,
    }
    // SAFETY: that threads take turns at the memory is what loom checks.
    unsafe impl<W: Sync> Sync for Lent<W> {}
    // SAFETY: as above.
    unsafe impl<W: Send> Send for Lent<W> {}

    explore(move || {
        let lent = Arc::new(Lent { stamp: AtomicU64::new(0), state: state(), memory: UnsafeCell::new(1) });
        let lender = lent.clone();
        let lending = thread::spawn(move || {
            flow::open_loan(&lender.state);
            Flow::new(CELLS, 0).publish(&lender.stamp);
            flow::revoke(&lender.state, thread::yield_now);
            // SAFETY: loom checks that nobody reads it.
            lender.memory.with_mut(|memory| unsafe { *memory = 2 });
        });
        for _ in 0..2 {
            if flow::is_published(&lent.stamp, 0) && (!asks || flow::hold(&lent.state)) {
                // SAFETY: loom checks that nobody writes it.
                assert_eq!(lent.memory.with(|memory| unsafe { *memory }), 1);
                flow::let_go(&lent.state);
            }
        }
        lending.join().unwrap();
    });
}

#[test]
fn loom_nobody_reads_memory_that_was_taken_back() {
    lend(|| AtomicU32::new(0), true);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn loom_finds_a_reader_that_does_not_ask() {
    lend(|| AtomicU32::new(0), false);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn loom_finds_a_reader_that_lets_go_without_release() {
    lend(|| Weak(AtomicU32::new(0)), true);
}

/// What is wrong with the twin of a window's loan.
#[derive(Clone, Copy, PartialEq)]
enum Slip {
    Nothing,
    ReceiverTakesAnything,
    ReceiverLooksTooEarly,
    SenderWritesTooEarly,
}

/// A sender lends a window, gives up and writes there again without waiting; a receiver reads it in pieces, before, meanwhile or
/// later. Both sides' accesses to the memory are of no order but what the protocol gives them.
fn lend_window(slip: Slip) {
    #[derive(Default)]
    struct Lent {
        stamp: AtomicU64,
        state: AtomicU32,
        memory: AtomicU64,
    }

    explore(move || {
        let lent = Arc::new(Lent::default());
        let lender = lent.clone();
        let lending = thread::spawn(move || {
            lender.memory.store(1, Ordering::Relaxed);
            flow::open_loan(&lender.state);
            Flow::new(CELLS, 0).publish(&lender.stamp);
            match slip {
                Slip::SenderWritesTooEarly => lender.state.store(flow::REVOKED, Ordering::Release),
                _ => flow::revoke_at_once(&lender.state),
            }
            lender.memory.store(2, Ordering::Relaxed);
        });
        for _ in 0..2 {
            if flow::is_published(&lent.stamp, 0) {
                let piece = lent.memory.load(Ordering::Relaxed);
                let was_revoked = match slip {
                    Slip::ReceiverTakesAnything => false,
                    Slip::ReceiverLooksTooEarly => lent.state.load(Ordering::Relaxed) == flow::REVOKED,
                    _ => flow::was_revoked(&lent.state),
                };
                assert!(was_revoked || piece == 1, "a piece that was written over counts");
            }
        }
        lending.join().unwrap();
    });
}

#[test]
fn loom_nothing_counts_that_was_written_over_in_a_window() {
    lend_window(Slip::Nothing);
}

#[test]
#[should_panic(expected = "written over counts")]
fn loom_finds_a_reader_of_a_window_that_takes_anything() {
    lend_window(Slip::ReceiverTakesAnything);
}

#[test]
#[should_panic(expected = "written over counts")]
fn loom_finds_a_reader_of_a_window_whose_look_overtakes_its_reads() {
    lend_window(Slip::ReceiverLooksTooEarly);
}

#[test]
#[should_panic(expected = "written over counts")]
fn loom_finds_a_lender_of_a_window_whose_writes_overtake_the_revocation() {
    lend_window(Slip::SenderWritesTooEarly);
}

/// When, in the waker's program, the sleeper's membarrier interrupts its processor: a barrier runs there, then it goes on.
#[derive(Clone, Copy, PartialEq)]
enum Strike {
    BeforeStore,
    BetweenStoreAndLook,
    AfterLook,
    /// No membarrier: the mistake of a bell without one.
    Never,
}

#[derive(Default)]
struct Bed {
    stamp: AtomicU64,
    rang: AtomicU32,
    sleeping: AtomicU32,
    membarrier_wanted: AtomicU32,
    membarrier_done: AtomicU32,
}

impl Bed {
    fn wake(&self, strike: Strike) {
        let interrupt = |at| {
            if strike == at {
                while self.membarrier_wanted.load(Ordering::Relaxed) == 0 {
                    thread::yield_now();
                }
                fence(Ordering::SeqCst);
                self.membarrier_done.store(1, Ordering::Relaxed);
            }
        };
        interrupt(Strike::BeforeStore);
        Flow::new(CELLS, 0).publish(&self.stamp);
        interrupt(Strike::BetweenStoreAndLook);
        if flow::is_sleeping(&self.sleeping) {
            self.rang.fetch_add(1, Ordering::Release);
        }
        interrupt(Strike::AfterLook);
    }

    /// What the bell had rung when the rank went to sleep on it; None if it stayed awake.
    fn sleep(&self, strike: Strike, looks_again: bool) -> Option<u32> {
        let before = self.rang.load(Ordering::Acquire);
        flow::begin_sleep(&self.sleeping);
        fence(Ordering::SeqCst);
        if strike != Strike::Never {
            self.membarrier_wanted.store(1, Ordering::Relaxed);
            while self.membarrier_done.load(Ordering::Relaxed) == 0 {
                thread::yield_now();
            }
            fence(Ordering::SeqCst);
        }
        let ready = looks_again && flow::is_published(&self.stamp, 0);
        (!ready).then_some(before)
    }
}

/// The kernel lets nobody sleep on a word that has changed, and wakes who sleeps when it changes: so a rank that went to sleep
/// wakes if and only if the bell rang since.
fn sleep_and_wake(strike: Strike, looks_again: bool) {
    explore(move || {
        let bed = Arc::new(Bed::default());
        let waker = bed.clone();
        let waking = thread::spawn(move || waker.wake(strike));
        let asleep_since = bed.sleep(strike, looks_again);
        waking.join().unwrap();
        if let Some(before) = asleep_since {
            assert_ne!(bed.rang.load(Ordering::Acquire), before, "the rank sleeps, and nobody wakes it");
        }
    });
}

#[test]
fn loom_no_sleeper_is_missed_whenever_the_membarrier_strikes() {
    for strike in [Strike::BeforeStore, Strike::BetweenStoreAndLook, Strike::AfterLook] {
        sleep_and_wake(strike, true);
    }
}

#[test]
#[should_panic(expected = "nobody wakes it")]
fn loom_finds_a_bell_without_membarrier() {
    sleep_and_wake(Strike::Never, true);
}

#[test]
#[should_panic(expected = "nobody wakes it")]
fn loom_finds_a_sleeper_that_does_not_look_again() {
    sleep_and_wake(Strike::AfterLook, false);
}
