//! Sends and receives that were started: they move on side by side, and beside the calls.

use super::active::Active;
use super::dial::{Dial, NAP};
use super::pipe::{Pipe, link_to};
use super::transfers::{Group, Transfer, Watch};
use super::{CONNECT_GRACE, Engine};
use crate::communicator::started::ticket::Ticket;
use crate::communicator::waiting::{Waiting, Work};
use crate::control::recorder::Recorder;
use crate::error::{Error, Result};
use crate::exec::links::Links;
use crate::types::Rank;
use std::sync::Arc;
use std::time::Duration;

/// A group that was started.
pub struct Started {
    transfers: Vec<Transfer>,
    /// Out only while the engine rests by it.
    waiting: Option<Waiting>,
    ticket: Arc<Ticket>,
}

#[derive(Default)]
pub struct Messages {
    /// In the order of their start, which is that of the messages of each way.
    started: Vec<Started>,
    /// Connections that are being made, one for each peer, so that none waits for another.
    dials: Vec<(Rank, Dial)>,
    /// Of groups that are over, for the next ones.
    spare: Vec<Vec<Transfer>>,
}

impl Messages {
    pub fn is_empty(&self) -> bool {
        self.started.is_empty()
    }
}

/// All that moves in an engine, to be rested by.
struct Everything<'a> {
    pipes: &'a mut [Pipe],
    started: &'a mut [Started],
    recorder: &'a Recorder,
    call: Option<Active<'a>>,
}

impl Work for Everything<'_> {
    fn poll(&mut self, links: &mut Links) -> Result<bool> {
        // What an operation ends with shows again when it is driven, so that an error only ends the rest.
        let mut ended = false;
        for Started { transfers, .. } in self.started.iter_mut() {
            let mut group = Group { pipes: self.pipes, transfers, recorder: self.recorder };
            ended |= !matches!(group.advance(links), Ok(false));
        }
        Ok(ended | self.call.as_mut().is_some_and(|call| !matches!(call.poll(links), Ok(false))))
    }

    fn add_descriptors(&self, links: &mut Links, into: &mut Vec<libc::pollfd>) {
        for transfer in self.started.iter().flat_map(|started| &started.transfers) {
            transfer.add_descriptors(self.pipes, links, into);
        }
        if let Some(call) = &self.call {
            call.add_descriptors(links, into);
        }
    }
}

impl Engine {
    /// Starts sends and receives to peers, which run side by side. Does not wait. Gives back a list for the next ones.
    ///
    /// # Safety
    /// The memory of the transfers must be there, that of receives be nobody else's, until the ticket is done.
    pub unsafe fn start_transfers(
        &mut self,
        mut transfers: Vec<Transfer>,
        timeout: Duration,
        ticket: Arc<Ticket>,
    ) -> Result<Vec<Transfer>> {
        self.guard()?;
        self.number(&mut transfers);
        if let Err((index, error)) = self.dial_peers(&transfers, timeout) {
            return Err(self.end_transfers(&transfers, index, error));
        }
        let waiting = Some(Waiting::new(timeout, &self.control));
        self.messages.started.push(Started { transfers, waiting, ticket });
        self.drive();
        Ok(self.messages.spare.pop().unwrap_or_default())
    }

    /// Opens the pipes that need no connection, and begins to connect to the other peers. An error comes with the index of its
    /// transfer.
    fn dial_peers(&mut self, transfers: &[Transfer], timeout: Duration) -> Result<(), (usize, Error)> {
        for (index, transfer) in transfers.iter().enumerate() {
            if !self.pipes.all[transfer.pipe()].is_open() {
                self.dial_peer(transfer, timeout).map_err(|error| (index, error))?;
            }
        }
        Ok(())
    }

    fn dial_peer(&mut self, transfer: &Transfer, timeout: Duration) -> Result<()> {
        let peer = transfer.message.peer;
        let missing = self.links.unconnected([link_to(peer)]);
        if missing.is_empty() {
            return self.open_pipe(transfer.pipe());
        }
        if !self.messages.dials.iter().any(|(dialled, _)| *dialled == peer) {
            let deadline = self.control.clock.now() + timeout + CONNECT_GRACE;
            let dial = Dial::begin(missing, self.links.connector(), self.control.clone(), deadline)?;
            self.messages.dials.push((peer, dial));
        }
        Ok(())
    }

    /// Moves all started messages on as far as they go.
    pub(super) fn drive_messages(&mut self) {
        self.take_connections();
        let mut index = 0;
        while index < self.messages.started.len() {
            match self.step_messages(index) {
                Ok(false) => index += 1,
                Ok(true) => self.resolve_messages(index, Ok(())),
                Err((failed, error)) => self.fail_messages(index, failed, error),
            }
        }
    }

    /// Opens the pipes to peers to which a connection has come.
    fn take_connections(&mut self) {
        let mut index = 0;
        while index < self.messages.dials.len() {
            let (peer, dial) = &mut self.messages.dials[index];
            let peer = *peer;
            let come = match dial.poll(&mut self.links) {
                Ok(false) => {
                    index += 1;
                    continue;
                }
                Ok(true) => self.open_pipes_to(peer),
                Err(error) => Err(error),
            };
            self.messages.dials.remove(index);
            if let Err(error) = come {
                let waits = |one: &Transfer| one.is_open() && one.message.peer == peer;
                let of = |group: &Started| group.transfers.iter().position(waits);
                let first = self.messages.started.iter().enumerate().find_map(|(at, group)| Some((at, of(group)?)));
                if let Some((group, transfer)) = first {
                    self.fail_messages(group, transfer, error);
                }
            }
        }
    }

    fn open_pipes_to(&mut self, peer: Rank) -> Result<()> {
        let to_peer = |index: &usize| self.pipes.all[*index].peer() == peer;
        let pipes: Vec<usize> = (0..self.pipes.all.len()).filter(to_peer).collect();
        pipes.into_iter().try_for_each(|pipe| self.open_pipe(pipe))
    }

    fn step_messages(&mut self, index: usize) -> Result<bool, (usize, Error)> {
        let failure = self.control.has_failed().then(|| self.failure());
        let Engine { pipes, messages, rank, sequence, links, control, .. } = self;
        let Started { transfers, waiting, .. } = &mut messages.started[index];
        let mut group = Group { pipes: &mut pipes.all, transfers, recorder: &control.recorder };
        let watch = Watch { rank: *rank, control, sequence: *sequence, failure };
        group.step(watch, waiting.as_mut().expect("nobody rests by it"), links)
    }

    /// Ends a group that can't succeed; the communicator has failed.
    pub(super) fn fail_messages(&mut self, index: usize, failed: usize, error: Error) {
        let transfers = std::mem::take(&mut self.messages.started[index].transfers);
        let error = self.end_transfers(&transfers, failed, error);
        self.resolve_messages(index, Err(error));
    }

    /// Ends all groups, of a communicator that has failed.
    pub(super) fn end_messages(&mut self) {
        while let Some(first) = self.messages.started.first() {
            let open = first.transfers.iter().position(Transfer::is_open).unwrap_or(0);
            let failure = self.failure();
            self.fail_messages(0, open, failure);
        }
    }

    fn resolve_messages(&mut self, index: usize, result: Result<()>) {
        let Started { mut transfers, ticket, .. } = self.messages.started.remove(index);
        transfers.clear();
        self.messages.spare.push(transfers);
        ticket.resolve(result);
    }

    /// Rests for `longest` at most, or until something comes for a started message or for the call that runs beside.
    pub(super) fn rest_by_messages(&mut self, longest: Duration) {
        let mut waiting = self.messages.started[0].waiting.take().expect("it is out only in here");
        let longest = if self.is_connecting() { longest.min(NAP) } else { longest };
        let Engine {
            shapes,
            agreement,
            pipes,
            messages,
            links,
            control,
            patience,
            bell,
            apart,
            descriptors,
            queue,
            ..
        } = self;
        let running = queue.front().and_then(|front| front.running());
        let call =
            running.map(|running| Active { agreement: agreement.as_mut(), runner: &mut shapes[running.shape].runner });
        let recorder = &control.recorder;
        let mut everything = Everything { pipes: &mut pipes.all, started: &mut messages.started, recorder, call };
        let patience = &patience.with_sleep_of_at_most(longest);
        let _ = waiting.rest(&mut everything, links, patience, bell.as_ref(), apart, descriptors);
        self.messages.started[0].waiting = Some(waiting);
    }

    /// No descriptor tells of what a thread brings that connects.
    fn is_connecting(&self) -> bool {
        !self.messages.dials.is_empty() || self.queue.front().is_some_and(|front| front.is_connecting())
    }
}
