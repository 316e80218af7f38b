//! Operations that were started: handles that own their buffers.

use super::collectives::Buffers;
use super::settings::Options;
use super::ticket::Ticket;
use super::{Communicator, Progress, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{Collective, Element, Rank, ReduceOp};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

/// A buffer whose elements stay where they are when it is moved.
///
/// # Safety
/// `elements` must return the same memory as long as the value lives, wherever it is moved to.
pub unsafe trait StableBuffer<T>: Send + 'static {
    /// The elements, at the same address at every call.
    fn elements(&mut self) -> &mut [T];
}

// SAFETY: a vector's elements are on the heap.
unsafe impl<T: Element> StableBuffer<T> for Vec<T> {
    fn elements(&mut self) -> &mut [T] {
        self
    }
}

// SAFETY: a box's elements are on the heap.
unsafe impl<T: Element> StableBuffer<T> for Box<[T]> {
    fn elements(&mut self) -> &mut [T] {
        self
    }
}

/// An operation in flight that owns its buffers `B` and gives them back when it is done.
///
/// With [`Progress::Caller`] it moves on inside calls on its communicator or on this handle; with [`Progress::Thread`] by itself.
/// It can be polled, waited for, or awaited in any runtime or none. An awaiting task is woken by the progress thread when the
/// operation is over; with [`Progress::Caller`] nobody else moves the operation on, so the task asks to be polled again at once
/// and keeps a core busy until then: take [`Progress::Thread`] where tasks await. Dropping it does not stop the operation, which other ranks
/// may need: its buffers are freed when it is done, or when the communicator is dropped.
#[must_use = "the buffers come back from `wait`"]
pub struct Handle<B: Send + 'static> {
    ticket: Arc<Ticket>,
    shared: Arc<Shared>,
    progress: Progress,
    /// None once they were given back.
    buffers: Option<B>,
}

impl<B: Send + 'static> Handle<B> {
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

    fn finish(&mut self) -> Result<B> {
        self.shared.check_process()?;
        let buffers = self.buffers.take();
        self.ticket.result()?;
        buffers.ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "this operation's buffers were given back before"))
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

impl<B: Send + Unpin + 'static> Future for Handle<B> {
    type Output = Result<B>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<B>> {
        self.ticket.set_waker(context.waker());
        if self.poll_once() {
            return Poll::Ready(self.finish());
        }
        if self.progress == Progress::Caller {
            // Nobody else moves the operation on, so this task must be polled again.
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<B: Send + 'static> Drop for Handle<B> {
    fn drop(&mut self) {
        if let Some(buffers) = self.buffers.take() {
            self.ticket.keep(Box::new(buffers));
        }
    }
}

/// The thread that moves started operations on; it ends when the communicator and all its handles are gone.
pub(super) fn spawn_progress_thread(shared: &Arc<Shared>) -> Result<()> {
    let weak: Weak<Shared> = Arc::downgrade(shared);
    let run = move || {
        // A strong reference is held only for one round, so that the thread does not keep the engine alive.
        while let Some(shared) = weak.upgrade() {
            let mut engine = shared.lock_after_callers();
            if engine.drive() {
                engine.rest();
                drop(engine);
                std::thread::yield_now();
            } else {
                let wait = Duration::from_millis(50);
                drop(shared.work.wait_timeout(engine, wait).unwrap_or_else(std::sync::PoisonError::into_inner));
            }
        }
    };
    let spawned = std::thread::Builder::new().name("unisono-progress".to_owned()).spawn(run);
    spawned.map(drop).map_err(|cause| {
        Error::new(ErrorKind::Resource, format!("can't start a progress thread: {cause}"))
            .remedy("raise the limit of processes (ulimit -u), or use Progress::Caller")
    })
}

impl Communicator {
    /// Starts [`Communicator::all_reduce_in_place`] on a buffer that the handle owns. Does not wait for other ranks:
    /// connections that a plan needs for the first time are made meanwhile, by a thread.
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp};
    /// let mut alone = Communicator::local(1)?.pop().unwrap();
    /// let handle = alone.start_all_reduce(vec![1.0f32; 8], ReduceOp::Sum)?;
    /// assert_eq!(handle.wait()?, [1.0; 8]);
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn start_all_reduce<T: Element, B: StableBuffer<T>>(
        &mut self,
        mut buffer: B,
        op: ReduceOp,
    ) -> Result<Handle<B>> {
        let buffers = Buffers::InPlace(buffer.elements());
        let ticket = self.start(Collective::AllReduce, Some(op), 0, buffers)?;
        Ok(self.handle(ticket, buffer))
    }

    /// Starts [`Communicator::broadcast`].
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let handle = communicator.start_broadcast(vec![communicator.rank() as u64; 2], 1)?;
    /// assert_eq!(handle.wait()?, [1, 1]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn start_broadcast<T: Element, B: StableBuffer<T>>(&mut self, mut buffer: B, root: Rank) -> Result<Handle<B>> {
        let buffers = Buffers::InPlace(buffer.elements());
        let ticket = self.start(Collective::Broadcast, None, root, buffers)?;
        Ok(self.handle(ticket, buffer))
    }

    /// Starts [`Communicator::all_gather`]; the handle gives back (input, output).
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let own = vec![communicator.rank() as u8];
    /// let handle = communicator.start_all_gather(own, vec![0; 2])?;
    /// let (_own, all) = handle.wait()?;
    /// assert_eq!(all, [0, 1]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn start_all_gather<T: Element, A: StableBuffer<T>, B: StableBuffer<T>>(
        &mut self,
        mut input: A,
        mut output: B,
    ) -> Result<Handle<(A, B)>> {
        let buffers = Buffers::Apart(&*input.elements(), output.elements());
        let ticket = self.start(Collective::AllGather, None, 0, buffers)?;
        Ok(self.handle(ticket, (input, output)))
    }

    /// Starts [`Communicator::reduce_scatter`]; the handle gives back (input, output).
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let handle = communicator.start_reduce_scatter(vec![1i32, 2], vec![0; 1], ReduceOp::Sum)?;
    /// let (_input, own) = handle.wait()?;
    /// assert_eq!(own, [[2], [4]][communicator.rank()]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn start_reduce_scatter<T: Element, A: StableBuffer<T>, B: StableBuffer<T>>(
        &mut self,
        mut input: A,
        mut output: B,
        op: ReduceOp,
    ) -> Result<Handle<(A, B)>> {
        let buffers = Buffers::Apart(&*input.elements(), output.elements());
        let ticket = self.start(Collective::ReduceScatter, Some(op), 0, buffers)?;
        Ok(self.handle(ticket, (input, output)))
    }

    /// Starts [`Communicator::all_to_all`]; the handle gives back (input, output).
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// let rank = communicator.rank() as u8;
    /// let handle = communicator.start_all_to_all(vec![rank; 2], vec![0; 2])?;
    /// let (_input, output) = handle.wait()?;
    /// assert_eq!(output, [0, 1]);
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn start_all_to_all<T: Element, A: StableBuffer<T>, B: StableBuffer<T>>(
        &mut self,
        mut input: A,
        mut output: B,
    ) -> Result<Handle<(A, B)>> {
        let buffers = Buffers::Apart(&*input.elements(), output.elements());
        let ticket = self.start(Collective::AllToAll, None, 0, buffers)?;
        Ok(self.handle(ticket, (input, output)))
    }

    /// Starts [`Communicator::barrier`].
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// communicator.start_barrier()?.wait()?;
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn start_barrier(&mut self) -> Result<Handle<Vec<u8>>> {
        let mut token = vec![0u8];
        let ticket = self.start(Collective::Barrier, None, 0, Buffers::InPlace(token.elements()))?;
        Ok(self.handle(ticket, token))
    }

    fn handle<B: Send + 'static>(&self, ticket: Arc<Ticket>, buffers: B) -> Handle<B> {
        Handle { ticket, shared: self.shared.clone(), progress: self.progress, buffers: Some(buffers) }
    }

    /// Queues a call. The caller keeps the buffers where they are until the ticket is done.
    pub(super) fn start<T: Element>(
        &mut self,
        collective: Collective,
        op: Option<ReduceOp>,
        root: Rank,
        buffers: Buffers<'_, T>,
    ) -> Result<Arc<Ticket>> {
        let request = self.request(collective, op, root, None, buffers, &Options::default())?;
        let ticket = Arc::new(Ticket::default());
        // SAFETY: `request` has checked the lengths. The buffers are stable and owned by the handle or its ticket, or lent inside
        // a scope that waits: in both cases they outlive the operation.
        unsafe { self.shared.lock().start(request.call, request.memory, self.timeout, ticket.clone())? };
        self.shared.work.notify_one();
        Ok(ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
