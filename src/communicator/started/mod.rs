//! Operations that are started and waited for later: on buffers that a handle owns, or that are lent inside a scope.

mod buffer;
mod exchanges;
mod future;
mod gathers;
mod handle;
mod messages;
mod progress;
mod reductions;
mod scope;
pub(super) mod ticket;

pub use buffer::StableBuffer;
pub use handle::Handle;
pub(super) use progress::spawn_progress_thread;
pub use scope::{Scope, ScopedHandle};

use super::collectives::{Ask, Buffers, Request};
use super::settings::Options;
use super::{Communicator, With};
use crate::error::Result;
use crate::plan::chunk::Counts;
use crate::types::Element;
use buffer::Lent;
use std::sync::Arc;
use ticket::Ticket;

impl Communicator {
    /// Queues a call.
    ///
    /// # Safety
    /// Nothing but the operation may use the buffers until the ticket is done, except that inputs may be read.
    unsafe fn start<T: Element>(
        &mut self,
        ask: Ask,
        buffers: Buffers<'_, T>,
        options: &Options,
    ) -> Result<Arc<Ticket>> {
        let mut request = Request::default();
        self.fill(&mut request, ask, buffers, options)?;
        let ticket = self.tickets.take();
        let timeout = options.timeout.unwrap_or(self.timeout);
        let is_uneven = !matches!(request.call.counts, Counts::Even(_));
        let mut engine = self.shared.lock();
        // SAFETY: `fill` has checked the lengths; the rest is the caller's.
        unsafe { engine.start(request.call, request.memory, timeout, ticket.clone())? };
        let spare = if is_uneven { engine.spare_counts.pop() } else { None };
        drop(engine);
        if let Some(counts) = spare {
            self.take_back(counts);
        }
        self.shared.work.notify_one();
        Ok(ticket)
    }

    fn handle<B: Send + 'static>(&self, ticket: Arc<Ticket>, buffers: Lent<B>) -> Handle<B> {
        Handle::new(ticket, self.shared.clone(), self.progress, buffers)
    }
}

impl With<'_> {
    fn start_in_place<T: Element, B: StableBuffer<T>>(self, ask: Ask, buffer: B) -> Result<Handle<B>> {
        let mut lent = Lent::new(buffer);
        let buffers = Buffers::InPlace(lent.get_mut().elements());
        // SAFETY: the buffer is in `lent`, which the handle and then the ticket keep, untouched, until the operation is over.
        let ticket = unsafe { self.communicator.start(ask, buffers, &self.options)? };
        Ok(self.communicator.handle(ticket, lent))
    }

    fn start_apart<T: Element, A: StableBuffer<T>, B: StableBuffer<T>>(
        self,
        ask: Ask,
        input: A,
        output: B,
    ) -> Result<Handle<(A, B)>> {
        let mut lent = Lent::new((input, output));
        let (input, output) = lent.get_mut();
        let buffers = Buffers::Apart(&*input.elements(), output.elements());
        // SAFETY: as in `start_in_place`.
        let ticket = unsafe { self.communicator.start(ask, buffers, &self.options)? };
        Ok(self.communicator.handle(ticket, lent))
    }
}
