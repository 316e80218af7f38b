//! Handles: what is left of a started operation to its caller.

use super::buffer::Lent;
use super::ticket::Ticket;
use crate::communicator::{Progress, Shared};
use crate::error::{Error, ErrorKind, Result};
use std::sync::Arc;

/// An operation in flight that owns its buffers `B` and gives them back when it is done.
///
/// With [`Progress::Caller`] it moves on inside calls on its communicator or on this handle; with [`Progress::Thread`] by itself.
/// It can be polled, waited for, or awaited in any runtime or none. An awaiting task is woken by the progress thread when the
/// operation is over. With [`Progress::Caller`] nobody else moves it on, so the task asks to be polled again at once, and each poll
/// gives the processor away, or rests for a millisecond at most once that was in vain for long: little is burned, but other tasks
/// of the same thread get their turns that much later. Take [`Progress::Thread`] where many tasks share a thread.
///
/// Dropping it does not stop the operation, which other ranks
/// may need: its buffers are freed when it is done, or when the communicator is dropped.
#[must_use = "the buffers come back from `wait`"]
pub struct Handle<B: Send + 'static> {
    pub(super) ticket: Arc<Ticket>,
    pub(super) shared: Arc<Shared>,
    pub(super) progress: Progress,
    /// None once they were given back.
    buffers: Option<Lent<B>>,
}

impl<B: Send + 'static> Handle<B> {
    pub(super) fn new(ticket: Arc<Ticket>, shared: Arc<Shared>, progress: Progress, buffers: Lent<B>) -> Handle<B> {
        Handle { ticket, shared, progress, buffers: Some(buffers) }
    }

    /// Moves the operation on without waiting; true when it is over, well or ill. While another thread is in a call on the
    /// communicator, that call moves it on, and this only looks.
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp};
    /// let mut alone = Communicator::local(1)?.pop().unwrap();
    /// let mut handle = alone.start_all_reduce(vec![1i32; 8], ReduceOp::Sum)?;
    /// while !handle.poll_once() {
    ///     // something useful
    /// }
    /// assert_eq!(handle.wait()?, [1; 8]);
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn poll_once(&mut self) -> bool {
        if self.shared.check_process().is_err() {
            return true;
        }
        if !self.ticket.is_done()
            && self.progress == Progress::Caller
            && let Some(mut engine) = self.shared.try_lock()
        {
            engine.drive();
        }
        self.ticket.is_done()
    }

    /// Blocks until the operation is over, at most until its timeout, and gives the buffers back.
    ///
    /// # Errors
    /// Those of the blocking call; the buffers are dropped then.
    pub fn wait(mut self) -> Result<B> {
        wait_for(&self.ticket, &self.shared)?;
        self.finish()
    }

    pub(super) fn finish(&mut self) -> Result<B> {
        self.shared.check_process()?;
        let buffers = self.buffers.take();
        self.ticket.result()?;
        buffers
            .map(Lent::give_back)
            .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "this operation's buffers were given back before"))
    }
}

/// Moves operations on until this one is over, and returns its outcome.
pub(super) fn wait_for(ticket: &Ticket, shared: &Shared) -> Result<()> {
    shared.check_process()?;
    while !ticket.is_done() {
        let mut engine = shared.lock();
        engine.drive();
        if !ticket.is_done() {
            engine.rest();
        }
    }
    ticket.result()
}

impl<B: Send + 'static> Drop for Handle<B> {
    fn drop(&mut self) {
        if let Some(buffers) = self.buffers.take() {
            self.ticket.keep(Box::new(buffers));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Communicator, Options, ReduceOp};
    use std::time::Duration;

    #[test]
    fn polling_does_not_wait_for_a_thread_that_is_in_a_call() {
        let mut ranks = Communicator::builder().timeout(Duration::from_secs(60)).local(2).unwrap();
        let mut late = ranks.pop().unwrap();
        let mut early = ranks.pop().unwrap();
        let mut handle = early.start_all_reduce(vec![1u8; 4], ReduceOp::Sum).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| early.barrier().unwrap());
            while handle.shared.try_lock().is_some() {
                std::thread::yield_now();
            }
            // The barrier has the engine until rank 1 comes, which is after this.
            assert!(!handle.poll_once());
            late.all_reduce_in_place(&mut [1u8; 4], ReduceOp::Sum).unwrap();
            late.barrier().unwrap();
        });
        assert_eq!(handle.wait().unwrap(), [2; 4]);
    }

    #[test]
    fn an_operation_ends_by_the_timeout_that_it_was_started_with() {
        let mut ranks = Communicator::builder().timeout(Duration::from_secs(600)).local(2).unwrap();
        let soon = Options::default().timeout(Duration::from_millis(50));
        let error = ranks[0].with(soon).start_barrier().unwrap().wait().unwrap_err();
        assert!(error.is_timeout() && error.message().contains("50ms"), "{error}");
    }
}
