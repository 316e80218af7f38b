//! Sends and receives, started on buffers that their handle owns.

use super::buffer::Lent;
use super::{Handle, StableBuffer};
use crate::communicator::{Communicator, With};
use crate::error::Result;
use crate::types::{Element, Rank};

impl Communicator {
    /// Starts [`Communicator::send`] of a buffer that the handle owns. Does not wait: what is started moves on side by side, and
    /// beside collectives. Messages between two ranks still arrive in the order in which they were sent, started or not.
    ///
    /// # Errors
    /// `InvalidArgument` for this rank itself or one out of range, and what the communicator has failed with before; the buffer is
    /// dropped then.
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// // Both send first, which blocking calls must not.
    /// let other = 1 - communicator.rank();
    /// let sent = communicator.start_send(vec![communicator.rank() as u8; 3], other)?;
    /// let received = communicator.start_recv(vec![9u8; 3], other)?;
    /// assert_eq!(received.wait()?, [other as u8; 3]);
    /// sent.wait()?;
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn start_send<T: Element, B: StableBuffer<T>>(&mut self, data: B, to: Rank) -> Result<Handle<B>> {
        self.plain().start_send(data, to)
    }

    /// Starts [`Communicator::recv`] into a buffer that the handle owns: see [`Communicator::start_send`].
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp, Result};
    /// # let mut ranks = Communicator::local(2)?;
    /// # let body = |communicator: &mut Communicator| -> Result<()> {
    /// match communicator.rank() {
    ///     0 => communicator.send(&[1.5f32, 2.5], 1)?,
    ///     _ => {
    ///         let coming = communicator.start_recv(vec![0.0f32; 2], 0)?;
    ///         // something useful
    ///         assert_eq!(coming.wait()?, [1.5, 2.5]);
    ///     }
    /// }
    /// # Ok(())
    /// # };
    /// # std::thread::scope(|threads| ranks.iter_mut().for_each(|rank| drop(threads.spawn(|| body(rank).unwrap()))));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn start_recv<T: Element, B: StableBuffer<T>>(&mut self, data: B, from: Rank) -> Result<Handle<B>> {
        self.plain().start_recv(data, from)
    }
}

impl With<'_> {
    pub fn start_send<T: Element, B: StableBuffer<T>>(self, data: B, to: Rank) -> Result<Handle<B>> {
        let mut lent = Lent::new(data);
        let data = &*lent.get_mut().elements();
        // SAFETY: the buffer is in `lent`, which the handle and then the ticket keep, untouched, until the operation is over.
        let ticket = unsafe { self.communicator.start_group(&self.options, |group| group.send(data, to))? };
        Ok(self.communicator.handle(ticket, lent))
    }

    pub fn start_recv<T: Element, B: StableBuffer<T>>(self, data: B, from: Rank) -> Result<Handle<B>> {
        let mut lent = Lent::new(data);
        let data = lent.get_mut().elements();
        // SAFETY: as in `start_send`.
        let ticket = unsafe { self.communicator.start_group(&self.options, |group| group.recv(data, from))? };
        Ok(self.communicator.handle(ticket, lent))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Communicator, ErrorKind, Options, ReduceOp};
    use std::time::Duration;

    fn pair() -> [Communicator; 2] {
        Communicator::builder().timeout(Duration::from_secs(60)).local(2).unwrap().try_into().unwrap()
    }

    #[test]
    fn a_message_that_nobody_sends_ends_by_its_own_timeout() {
        let [mut zero, _one] = pair();
        let soon = Options::default().timeout(Duration::from_millis(50));
        let error = zero.with(soon).start_recv(vec![0u8; 3], 1).unwrap().wait().unwrap_err();
        assert!(error.is_timeout() && error.message().contains("recv u8 x 3 from rank 1"), "{error}");
        assert!(error.message().contains("50ms"), "{error}");
    }

    #[test]
    fn a_message_in_flight_when_its_communicator_is_dropped_is_an_error_and_no_wait() {
        let [mut zero, mut one] = pair();
        let coming = zero.start_recv(vec![0u8; 3], 1).unwrap();
        let large = zero.start_send(vec![1u64; 300_000], 1).unwrap();
        drop(zero);
        assert_eq!(coming.wait().unwrap_err().kind(), ErrorKind::Aborted);
        assert_eq!(large.wait().unwrap_err().kind(), ErrorKind::Aborted);
        let error = one.barrier().unwrap_err();
        assert!(error.message().contains("dropped its communicator with operations in flight"), "{error}");
    }

    #[test]
    fn a_mismatch_is_told_by_the_handle() {
        let [mut zero, mut one] = pair();
        std::thread::scope(|scope| {
            // An error if rank 1 has found one.
            scope.spawn(move || drop(zero.start_send(vec![1u8; 4], 1).unwrap().wait()));
            let error = one.start_recv(vec![0f32; 1], 0).unwrap().wait().unwrap_err();
            assert!(
                error.is_mismatch() && error.message().contains("does not fit what rank 0 sends, u8 x 4"),
                "{error}"
            );
        });
    }

    #[test]
    fn what_can_not_be_right_is_refused_and_changes_nothing() {
        let [mut zero, mut one] = pair();
        let ring = Options::default().algorithm("ring");
        let refused = [
            zero.start_send(vec![1u8], 0).map(drop),
            zero.start_recv(vec![1u8], 2).map(drop),
            zero.with(ring).start_send(vec![1u8], 1).map(drop),
        ];
        assert!(refused.iter().all(|one| matches!(one, Err(error) if error.kind() == ErrorKind::InvalidArgument)));
        std::thread::scope(|scope| {
            scope.spawn(|| one.all_reduce_in_place(&mut [1i32], ReduceOp::Sum).unwrap());
            zero.all_reduce_in_place(&mut [1i32], ReduceOp::Sum).unwrap();
        });
    }
}
