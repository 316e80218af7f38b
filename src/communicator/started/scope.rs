//! Operations on borrowed buffers, inside a scope that can't be left before they are done.

use super::handle::wait_for;
use super::ticket::Ticket;
use crate::communicator::collectives::{Ask, Buffers};
use crate::communicator::{Communicator, Group, Options, Shared, With};
use crate::error::Result;
use crate::types::{Collective, Element, Rank, ReduceOp};
use std::marker::PhantomData;
use std::sync::Arc;

/// Starts operations on buffers that live longer than the scope: see [`Communicator::scope`].
pub struct Scope<'scope, 'env: 'scope> {
    communicator: &'scope mut Communicator,
    /// Of every operation that is started in it.
    options: Options,
    tickets: Vec<Arc<Ticket>>,
    /// Invariant in both, as in `std::thread::scope`: what is borrowed for 'env can't be given back inside.
    marker: PhantomData<(&'scope mut &'scope (), &'env mut &'env ())>,
}

/// An operation on borrowed buffers. It may be forgotten: the scope waits for it all the same.
pub struct ScopedHandle {
    ticket: Arc<Ticket>,
    shared: Arc<Shared>,
}

impl ScopedHandle {
    /// Blocks until the operation is over, at most until its timeout.
    pub fn wait(self) -> Result<()> {
        wait_for(&self.ticket, &self.shared)
    }
}

impl Communicator {
    /// Runs `body`, in which operations may be started on borrowed buffers. When it returns, or panics, all of them are waited
    /// for; the first error of an operation that was not waited for inside is returned.
    ///
    /// ```
    /// # use unisono::{Communicator, ReduceOp};
    /// let mut alone = Communicator::local(1)?.pop().unwrap();
    /// let mut gradients = [1.0f32, 2.0];
    /// let computed = alone.scope(|scope| {
    ///     let sum = scope.start_all_reduce(&mut gradients, ReduceOp::Sum)?;
    ///     let computed = 6 * 7; // while the gradients travel
    ///     sum.wait()?;
    ///     Ok(computed)
    /// })?;
    /// assert_eq!((computed, gradients), (42, [1.0, 2.0]));
    /// # Ok::<(), unisono::Error>(())
    /// ```
    pub fn scope<'env, R>(
        &mut self,
        body: impl for<'scope> FnOnce(&mut Scope<'scope, 'env>) -> Result<R>,
    ) -> Result<R> {
        self.plain().scope(body)
    }
}

impl With<'_> {
    pub fn scope<'env, R>(self, body: impl for<'scope> FnOnce(&mut Scope<'scope, 'env>) -> Result<R>) -> Result<R> {
        let With { communicator, options } = self;
        // The list is used again, so that scopes that repeat allocate nothing.
        let tickets = std::mem::take(&mut communicator.scoped);
        let mut scope = Scope { communicator, options, tickets, marker: PhantomData };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(&mut scope)));
        let Scope { communicator, mut tickets, .. } = scope;
        let mut first_error = Ok(());
        for ticket in tickets.drain(..) {
            first_error = first_error.and(wait_for(&ticket, &communicator.shared));
        }
        communicator.scoped = tickets;
        let outcome = outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        first_error.map(|()| outcome)
    }
}

impl<'env> Scope<'_, 'env> {
    /// Starts [`Communicator::all_reduce_in_place`].
    pub fn start_all_reduce<T: Element>(&mut self, buffer: &'env mut [T], op: ReduceOp) -> Result<ScopedHandle> {
        self.start(Ask::of(Collective::AllReduce).by(op), Buffers::InPlace(buffer))
    }

    /// Starts [`Communicator::reduce`].
    pub fn start_reduce<T: Element>(
        &mut self,
        input: &'env [T],
        output: &'env mut [T],
        op: ReduceOp,
        root: Rank,
    ) -> Result<ScopedHandle> {
        self.start(Ask::of(Collective::Reduce).by(op).at(root), Buffers::Apart(input, output))
    }

    /// Starts [`Communicator::reduce_scatter`].
    pub fn start_reduce_scatter<T: Element>(
        &mut self,
        input: &'env [T],
        output: &'env mut [T],
        op: ReduceOp,
    ) -> Result<ScopedHandle> {
        self.start(Ask::of(Collective::ReduceScatter).by(op), Buffers::Apart(input, output))
    }

    /// Starts [`Communicator::reduce_scatter_v`].
    pub fn start_reduce_scatter_v<T: Element>(
        &mut self,
        input: &'env [T],
        output: &'env mut [T],
        counts: &[u64],
        op: ReduceOp,
    ) -> Result<ScopedHandle> {
        let counts = self.communicator.per_rank(counts);
        self.start(Ask::of(Collective::ReduceScatterV).by(op).with(counts), Buffers::Apart(input, output))
    }

    /// Starts [`Communicator::all_gather`].
    pub fn start_all_gather<T: Element>(&mut self, input: &'env [T], output: &'env mut [T]) -> Result<ScopedHandle> {
        self.start(Ask::of(Collective::AllGather), Buffers::Apart(input, output))
    }

    /// Starts [`Communicator::all_gather_v`].
    pub fn start_all_gather_v<T: Element>(
        &mut self,
        input: &'env [T],
        output: &'env mut [T],
        counts: &[u64],
    ) -> Result<ScopedHandle> {
        let counts = self.communicator.per_rank(counts);
        self.start(Ask::of(Collective::AllGatherV).with(counts), Buffers::Apart(input, output))
    }

    /// Starts [`Communicator::gather`].
    pub fn start_gather<T: Element>(
        &mut self,
        input: &'env [T],
        output: &'env mut [T],
        root: Rank,
    ) -> Result<ScopedHandle> {
        self.start(Ask::of(Collective::Gather).at(root), Buffers::Apart(input, output))
    }

    /// Starts [`Communicator::broadcast`].
    pub fn start_broadcast<T: Element>(&mut self, buffer: &'env mut [T], root: Rank) -> Result<ScopedHandle> {
        self.start(Ask::of(Collective::Broadcast).at(root), Buffers::InPlace(buffer))
    }

    /// Starts [`Communicator::scatter`].
    pub fn start_scatter<T: Element>(
        &mut self,
        input: &'env [T],
        output: &'env mut [T],
        root: Rank,
    ) -> Result<ScopedHandle> {
        self.start(Ask::of(Collective::Scatter).at(root), Buffers::Apart(input, output))
    }

    /// Starts [`Communicator::all_to_all`].
    pub fn start_all_to_all<T: Element>(&mut self, input: &'env [T], output: &'env mut [T]) -> Result<ScopedHandle> {
        self.start(Ask::of(Collective::AllToAll), Buffers::Apart(input, output))
    }

    /// Starts [`Communicator::all_to_all_v`].
    pub fn start_all_to_all_v<T: Element>(
        &mut self,
        input: &'env [T],
        input_counts: &[u64],
        output: &'env mut [T],
        output_counts: &[u64],
    ) -> Result<ScopedHandle> {
        let counts = self.communicator.pairwise(input_counts, output_counts);
        self.start(Ask::of(Collective::AllToAllV).with(counts), Buffers::Apart(input, output))
    }

    /// Starts [`Communicator::barrier`].
    pub fn start_barrier(&mut self) -> Result<ScopedHandle> {
        self.start::<u8>(Ask::of(Collective::Barrier), Buffers::Token)
    }

    /// Starts [`Communicator::group`]; of a single message too.
    pub fn start_group(&mut self, fill: impl FnOnce(&mut Group<'env>)) -> Result<ScopedHandle> {
        // SAFETY: as in `start`.
        let ticket = unsafe { self.communicator.start_group(&self.options, fill)? };
        Ok(self.keep(ticket))
    }

    fn start<T: Element>(&mut self, ask: Ask, buffers: Buffers<'env, T>) -> Result<ScopedHandle> {
        // SAFETY: the buffers are borrowed for 'env, and the scope does not end before the operation is over.
        let ticket = unsafe { self.communicator.start(ask, buffers, &self.options)? };
        Ok(self.keep(ticket))
    }

    fn keep(&mut self, ticket: Arc<Ticket>) -> ScopedHandle {
        self.tickets.push(ticket.clone());
        ScopedHandle { ticket, shared: self.communicator.shared.clone() }
    }
}
