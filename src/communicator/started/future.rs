//! Awaiting a handle, in any runtime.

use super::handle::Handle;
use crate::communicator::Progress;
use crate::error::Result;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// How long one poll may hold its thread where the task has to move the operation on itself.
const LONGEST_REST: Duration = Duration::from_millis(1);

impl<B: Send + Unpin + 'static> Future for Handle<B> {
    type Output = Result<B>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<B>> {
        if self.progress == Progress::Thread {
            self.ticket.set_waker(context.waker());
        }
        if self.poll_once() || self.progress == Progress::Caller && self.rest_and_poll() {
            return Poll::Ready(self.finish());
        }
        if self.progress == Progress::Caller {
            // Nobody else moves the operation on, so this task must be polled again.
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<B: Send + 'static> Handle<B> {
    /// Waits for a moment as a blocking call does, and looks again.
    fn rest_and_poll(&mut self) -> bool {
        match self.shared.try_lock() {
            Some(mut engine) => {
                engine.rest_at_most(LONGEST_REST);
                engine.drive();
            }
            // Whoever has the engine moves this operation on.
            None => std::thread::sleep(LONGEST_REST),
        }
        self.ticket.is_done()
    }
}

#[cfg(test)]
mod tests {
    use crate::communicator::Communicator;
    use crate::{Progress, ReduceOp};
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake, Waker};
    use std::thread::Thread;
    use std::time::{Duration, Instant};

    const LATE: Duration = Duration::from_millis(300);

    /// The smallest runtime: sleeps until it is woken. What came of the future, and how often it was polled.
    fn block_on<F: Future>(future: F) -> (F::Output, u32) {
        struct Unpark(Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut future = pin!(future);
        for polls in 1.. {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return (output, polls);
            }
            std::thread::park();
        }
        unreachable!("it is polled until it is ready")
    }

    /// How often an operation was polled for which the other rank comes late, and how long that took.
    fn polls_until_the_other_comes(progress: Progress) -> (u32, Duration) {
        let builder = Communicator::builder().timeout(Duration::from_secs(60)).progress(progress);
        let mut ranks = builder.local(2).unwrap();
        let (mut late, mut early) = (ranks.pop().unwrap(), ranks.pop().unwrap());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(LATE);
                late.all_reduce_in_place(&mut [2i32; 3], ReduceOp::Sum).unwrap();
            });
            let started = Instant::now();
            let (sum, polls) = block_on(early.start_all_reduce(vec![1i32; 3], ReduceOp::Sum).unwrap());
            assert_eq!(sum.unwrap(), [3; 3]);
            (polls, started.elapsed())
        })
    }

    #[test]
    fn the_progress_thread_wakes_an_awaiting_task_once() {
        let (polls, _) = polls_until_the_other_comes(Progress::Thread);
        // Once before, once after; a third where it was woken in between by what the runtime had left over.
        assert!(polls <= 3, "{polls} polls");
    }

    #[test]
    fn a_task_that_moves_its_operation_on_itself_rests_between_polls() {
        let (polls, elapsed) = polls_until_the_other_comes(Progress::Caller);
        // 2,000 yields at most come first; then a poll takes a millisecond, unless a bell ends it early.
        let most = 2_500 + 2 * elapsed.as_millis() as u32;
        assert!(polls <= most, "{polls} polls in {elapsed:?}");
    }
}
