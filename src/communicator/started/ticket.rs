//! The state of one started operation, shared by its handle and the engine.

use crate::error::{Error, Result};
use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;

#[derive(Default)]
pub struct Ticket {
    done: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    error: Option<Error>,
    waker: Option<Waker>,
    /// Buffers of a handle that was dropped before the operation was done.
    kept: Option<Box<dyn Any + Send>>,
}

impl Ticket {
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// The outcome of an operation that is done.
    pub fn result(&self) -> Result<()> {
        assert!(self.is_done());
        match &self.lock().error {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    pub fn resolve(&self, result: Result<()>) {
        let (waker, kept) = {
            let mut state = self.lock();
            state.error = result.err();
            self.done.store(true, Ordering::Release);
            (state.waker.take(), state.kept.take())
        };
        drop(kept);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes this task when the operation is done.
    pub fn set_waker(&self, waker: &Waker) {
        match &mut self.lock().waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Keeps the buffers until the operation is done; drops them now if it is.
    pub fn keep(&self, buffers: Box<dyn Any + Send>) {
        let mut state = self.lock();
        if !self.is_done() {
            state.kept = Some(buffers);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic under this lock")
    }
}

/// Tickets that are kept for operations to come.
const KEPT: usize = 64;

/// The tickets of a communicator, which are used again, so that operations that are started and waited for in turn allocate none.
#[derive(Default)]
pub struct Tickets {
    all: Vec<Arc<Ticket>>,
    /// Where the next one that nobody holds may be.
    next: usize,
}

impl Tickets {
    pub fn take(&mut self) -> Arc<Ticket> {
        for _ in 0..self.all.len() {
            let index = self.next % self.all.len();
            self.next = index + 1;
            if let Some(ticket) = Arc::get_mut(&mut self.all[index]) {
                *ticket.done.get_mut() = false;
                *ticket.state.get_mut().expect("no panic under this lock") = State::default();
                return self.all[index].clone();
            }
        }
        let ticket = Arc::<Ticket>::default();
        if self.all.len() < KEPT {
            self.all.push(ticket.clone());
        }
        ticket
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_ticket_is_used_again_when_nobody_holds_it_and_as_new() {
        let mut tickets = Tickets::default();
        let first = tickets.take();
        first.resolve(Err(Error::new(ErrorKind::Aborted, "it was ended")));
        let held = first.clone();
        let second = tickets.take();
        assert!(!Arc::ptr_eq(&first, &second), "the first one's outcome is still asked for");
        assert!(held.result().is_err());
        let address = Arc::as_ptr(&first);
        drop((first, held));
        let third = tickets.take();
        assert_eq!(Arc::as_ptr(&third), address);
        assert!(!third.is_done());
        third.resolve(Ok(()));
        assert!(third.result().is_ok(), "the error was another operation's");
    }

    #[test]
    fn more_operations_than_tickets_are_kept_are_served_all_the_same() {
        let mut tickets = Tickets::default();
        let held: Vec<_> = (0..2 * KEPT).map(|_| tickets.take()).collect();
        assert!(held.iter().enumerate().all(|(index, one)| held[..index].iter().all(|other| !Arc::ptr_eq(one, other))));
        assert_eq!(tickets.all.len(), KEPT);
    }
}
