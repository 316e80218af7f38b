//! Moving apart: what two ranks do that the kernel has put on one processor while another has none.
//!
//! Whoever waits then holds up whom it waits for, and a call takes two switches of threads and the spinning before them. The kernel
//! parts such threads in the end, but may take tens of milliseconds: for its balance both are at work all the time. Binding each
//! rank to a processor would prevent it, and would starve whatever other threads the program has there. So ranks look after
//! themselves, and only when they give the processor away in a wait: each leaves in memory of the host where it runs, and one that
//! meets a lower rank there again and again moves to a processor on which no rank of the communicator was last seen. It may run
//! on all that it had again at once ([`affinity::move_to`]).

use crate::affinity::{self, Processors};
use crate::transport::seats::{Seats, Seen};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Times that a rank must have been where this one is, each between two looks of this one, before this one moves.
const MEETINGS: u8 = 3;
/// A thread moves at most once in so long: less than the kernel would take, and much more than a move costs.
const PAUSE: Duration = Duration::from_millis(10);

thread_local! {
    static LAST_MOVE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// One rank's part of it. The default never looks and never moves.
#[derive(Default)]
pub struct Apart {
    watch: Option<Watch>,
    #[cfg(test)]
    pub moves: u32,
}

impl Apart {
    /// For a rank of a host with a processor for each of its ranks.
    pub fn new(seats: Seats) -> Apart {
        Apart {
            watch: Some(Watch::new(seats)),
            #[cfg(test)]
            moves: 0,
        }
    }

    /// Gives the processor away for a moment, as a waiting rank does. Now and then it comes back on another one.
    pub fn give_way(&mut self) {
        std::thread::yield_now();
        let Some(watch) = &mut self.watch else { return };
        let is_shared = affinity::current().is_some_and(|processor| watch.look(processor));
        if is_shared && may_move_now() {
            match watch.change_seats() {
                Ok(_moved) => {
                    #[cfg(test)]
                    (self.moves += u32::from(_moved));
                }
                // This process is not allowed to, and will not be.
                Err(_) => self.watch = None,
            }
        }
    }
}

/// Whether this thread's last move is long enough ago; if so, this is the last one.
fn may_move_now() -> bool {
    let now = Instant::now();
    let may = LAST_MOVE.get().is_none_or(|last| now >= last + PAUSE);
    if may {
        LAST_MOVE.set(Some(now));
    }
    may
}

/// What a rank knows of where those below it wait.
struct Watch {
    seats: Seats,
    times: u32,
    processor: usize,
    /// Of each lower rank: what it left last, and how often this rank has met it.
    lower: Vec<(Seen, u8)>,
}

impl Watch {
    fn new(seats: Seats) -> Watch {
        let lower = (0..seats.own()).map(|rank| (seats.seen(rank), 0)).collect();
        Watch { seats, times: 0, processor: 0, lower }
    }

    /// Leaves that this rank is on `processor`; true if it should go elsewhere. Reads one word for each time it is called, on
    /// average.
    fn look(&mut self, processor: usize) -> bool {
        self.times = self.times.wrapping_add(1);
        self.seats.leave(Seen::new(self.times, processor));
        if !(self.times as usize).is_multiple_of(self.lower.len().max(1)) {
            return false;
        }
        if self.processor != processor {
            self.processor = processor;
            self.forget();
        }
        let mut is_shared = false;
        for (rank, (before, meetings)) in self.lower.iter_mut().enumerate() {
            let seen = self.seats.seen(rank);
            if seen != *before {
                *before = seen;
                *meetings = if seen.processor() == Some(processor) { meetings.saturating_add(1) } else { 0 };
            }
            is_shared |= *meetings >= MEETINGS;
        }
        is_shared
    }

    fn forget(&mut self) {
        self.lower.iter_mut().for_each(|(_, meetings)| *meetings = 0);
    }

    /// Moves to a processor on which no rank was last seen; false where there is none.
    fn change_seats(&mut self) -> std::io::Result<bool> {
        self.forget();
        let home = Processors::of_this_thread()?;
        let Some(free) = self.free(&home) else { return Ok(false) };
        affinity::move_to(&free, &home)?;
        Ok(true)
    }

    /// Of the processors that this thread may use those that are nobody's; None if there is none, or if there are fewer processors than
    /// ranks, which then share them whatever they do.
    fn free(&self, home: &Processors) -> Option<Processors> {
        let mut free = *home;
        for rank in 0..self.seats.ranks() {
            if let Some(taken) = self.seats.seen(rank).processor() {
                free.remove(taken);
            }
        }
        (home.count() >= self.seats.ranks() && !free.is_empty()).then_some(free)
    }
}

#[cfg(test)]
#[path = "apart_tests.rs"]
mod tests;
