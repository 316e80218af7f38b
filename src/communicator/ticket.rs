//! The state of one started operation, shared by its handle and the engine.

use crate::error::{Error, Result};
use std::any::Any;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
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
        self.lock().waker = Some(waker.clone());
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
