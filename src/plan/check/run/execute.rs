//! What a move does to memory and messages, once the schedule lets it.

use super::{Message, NONE, Progress, Run, peers};
use crate::plan::Span;
use crate::plan::check::code::bound;
use crate::plan::check::code::{LaneId, NO_LANE, Operand};
use crate::plan::check::flaw::{Flaw, Place, Spot};
use crate::plan::check::race::{Access, Races};
use crate::plan::check::value::{Clash, NOTHING};

/// Where the values of an operand are.
#[derive(Clone, Copy)]
pub(super) enum Origin {
    Cells(u32),
    Result(LaneId),
}

impl Run<'_> {
    /// Notes for the race detector and the hops what comes before the present move.
    pub(super) fn begin(&mut self, lane: LaneId) -> Result<(), Flaw> {
        let (step, _, round) = self.present(lane);
        if let Some(races) = &mut self.races {
            races.begin(lane)?;
        }
        for channel in peers(self.code.sources(step)) {
            let message = &self.messages[self.queues[channel as usize].head as usize];
            let hops = &mut self.lanes[lane as usize].hops;
            *hops = message.hops.max(*hops);
            if let Some(races) = &mut self.races {
                races.join(lane, message.snapshot);
            }
        }
        let rank = self.rank(lane);
        if !self.code.has_many_lanes(rank) {
            return Ok(());
        }
        for operand in self.code.sources(step) {
            if let Operand::Local(span) = operand {
                self.note_accesses(lane, span, round, |races, cell, index| races.read(lane, cell, index))?;
            }
        }
        Ok(())
    }

    fn note_accesses(
        &mut self,
        lane: LaneId,
        span: &Span,
        round: u32,
        note: impl Fn(&mut Races, usize, u32) -> Result<(), Access>,
    ) -> Result<(), Flaw> {
        let cells = self.memory.cells(self.rank(lane), span, round);
        for (index, cell) in (0..).zip(cells) {
            let Some(races) = &mut self.races else { return Ok(()) };
            if let Err(access) = note(races, cell, index) {
                let place = |lane, number: u32| self.code.place(lane, u64::from(number) - 1);
                return Err(Flaw::Race {
                    spot: spot(span, round, index),
                    first: place(access.owner, access.owner_number),
                    reader: (access.owner != access.lane).then(|| place(access.lane, access.number)),
                    second: self.place(lane),
                });
            }
        }
        Ok(())
    }

    /// The values that the present move stores or sends, into `result`.
    pub(super) fn compute(&mut self, lane: LaneId) -> Result<(), Flaw> {
        let (step, _, round) = self.present(lane);
        let rank = self.rank(lane);
        self.origins.clear();
        for operand in self.code.sources(step) {
            self.origins.push(match operand {
                Operand::Local(span) => {
                    self.check_written(lane, span, round)?;
                    Origin::Cells(self.memory.cells(rank, span, round).start as u32)
                }
                Operand::Peer(channel) => {
                    let message = &self.messages[self.queues[*channel as usize].head as usize];
                    if message.cells == NONE { Origin::Result(message.sender) } else { Origin::Cells(message.cells) }
                }
            });
        }
        let (memory, lanes) = (&self.memory, &self.lanes);
        let value = |origin: &Origin, index: u32| match *origin {
            Origin::Cells(start) => memory.values[(start + index) as usize],
            Origin::Result(sender) => lanes[sender as usize].result[index as usize],
        };
        self.result.clear();
        let Some(reduction) = step.reduction else {
            self.result.extend((0..step.len).map(|index| value(&self.origins[0], index)));
            return Ok(());
        };
        for index in 0..step.len {
            self.parts.clear();
            self.parts.extend(self.origins.iter().map(|origin| value(origin, index)));
            match self.values.fold(reduction, &self.parts) {
                Ok(value) => self.result.push(value),
                Err(clash) => return Err(clash_flaw(clash, self.place(lane), self.code.limits.fold_words)),
            }
        }
        Ok(())
    }

    fn check_written(&self, lane: LaneId, span: &Span, round: u32) -> Result<(), Flaw> {
        let cells = self.memory.cells(self.rank(lane), span, round);
        match self.memory.values[cells].iter().position(|&value| value == NOTHING) {
            Some(index) => Err(Flaw::Unwritten { at: self.place(lane), spot: spot(span, round, index as u32) }),
            None => Ok(()),
        }
    }

    /// Stores `result` at the local destinations.
    pub(super) fn store(&mut self, lane: LaneId) -> Result<(), Flaw> {
        let (step, _, round) = self.present(lane);
        self.check_overlap(lane)?;
        let rank = self.rank(lane);
        let is_late = step.copies_local;
        for operand in self.code.destinations(step) {
            if let Operand::Local(span) = operand {
                if self.code.has_many_lanes(rank) {
                    self.note_accesses(lane, span, round, |races, cell, index| {
                        races.write(lane, cell, index, is_late)
                    })?;
                }
                let cells = self.memory.cells(rank, span, round);
                self.memory.values[cells].copy_from_slice(&self.result);
            }
        }
        Ok(())
    }

    /// A destination may be a source (the move then works in place), but not lie across one or across another destination.
    fn check_overlap(&self, lane: LaneId) -> Result<(), Flaw> {
        let (step, _, round) = self.present(lane);
        let rank = self.rank(lane);
        let destinations = self.code.destinations(step);
        for (index, operand) in destinations.iter().enumerate() {
            let Operand::Local(span) = operand else { continue };
            let cells = self.memory.cells(rank, span, round);
            let meets = |other: &Operand, may_be_same: bool| match other {
                Operand::Local(other) => {
                    let other = self.memory.cells(rank, other, round);
                    cells.start < other.end && other.start < cells.end && !(may_be_same && cells.start == other.start)
                }
                Operand::Peer(_) => false,
            };
            let across_source = self.code.sources(step).iter().any(|source| meets(source, true));
            if across_source || destinations[index + 1..].iter().any(|other| meets(other, false)) {
                return Err(Flaw::Overlap { at: self.place(lane), spot: spot(span, round, 0) });
            }
        }
        Ok(())
    }

    /// Takes the present move's messages off their queues and releases the memory from which they were posted.
    pub(super) fn take(&mut self, lane: LaneId) {
        let (step, ..) = self.present(lane);
        for channel in peers(self.code.sources(step)) {
            let queue = &mut self.queues[channel as usize];
            let taken = queue.head;
            queue.head = self.messages[taken as usize].next;
            queue.taker_is_ready = false;
            if queue.head == NONE {
                queue.tail = NONE;
            }
            self.release(lane, taken);
            self.messages[taken as usize].next = self.free_message;
            self.free_message = taken;
        }
    }

    fn release(&mut self, taker: LaneId, message: u32) {
        let Message { sender, step, round, number, cells, snapshot, .. } = self.messages[message as usize];
        if let Some(races) = &mut self.races {
            races.drop_snapshot(snapshot);
        }
        if cells == NONE {
            return;
        }
        let rank = self.rank(sender);
        let watched = self.code.has_many_lanes(rank);
        for span in self.code.posted(&self.code.moves[step as usize]) {
            for (index, cell) in (0..).zip(self.memory.cells(rank, span, round)) {
                self.memory.posted[cell] -= 1;
                if let Some(races) = self.races.as_mut().filter(|_| watched) {
                    races.posted_read(taker, sender, number as u32 + 1, cell, index);
                }
            }
        }
        for lane in self.code.lanes_of[rank].clone() {
            if self.lanes[lane as usize].waits_for_release {
                self.wake(lane);
            }
        }
    }

    /// Posts the present move's messages from memory.
    pub(super) fn post(&mut self, lane: LaneId) -> Result<(), Flaw> {
        let (step, _, round) = self.present(lane);
        let messages = peers(self.code.destinations(step)).count() as u32;
        if messages == 0 {
            return Ok(());
        }
        let rank = self.rank(lane);
        let mut first_cell = NONE;
        for span in self.code.posted(step) {
            let cells = self.memory.cells(rank, span, round);
            first_cell = cells.start as u32;
            for posted in &mut self.memory.posted[cells] {
                *posted += messages;
            }
        }
        self.send(lane, first_cell)
    }

    /// Puts the present move's messages on their queues; their values are at `cells`, or with the lane if that is `NONE`.
    pub(super) fn send(&mut self, lane: LaneId, cells: u32) -> Result<(), Flaw> {
        let (step, step_number, round) = self.present(lane);
        let destinations = self.code.destinations(step);
        let mut snapshot = NONE;
        if let Some(races) = &mut self.races {
            let users = peers(destinations).count() as u32;
            snapshot = races.snapshot(lane, users)?;
        }
        let Progress { completed: number, hops, .. } = self.lanes[lane as usize];
        self.tally.hops = self.tally.hops.max(hops + 1);
        for channel in peers(destinations) {
            let message =
                Message { next: NONE, sender: lane, step: step_number, round, number, cells, hops: hops + 1, snapshot };
            let message = self.new_message(message)?;
            let queue = &mut self.queues[channel as usize];
            match queue.tail {
                NONE => queue.head = message,
                last => self.messages[last as usize].next = message,
            }
            queue.tail = message;
            let receiver = self.code.channels[channel as usize].receiver;
            if receiver != NO_LANE {
                self.wake(receiver);
            }
        }
        Ok(())
    }

    fn new_message(&mut self, message: Message) -> Result<u32, Flaw> {
        if self.free_message == NONE {
            self.messages.push(message);
            bound("messages under way", self.messages.len() as u64, self.code.limits.messages)?;
            return Ok(self.messages.len() as u32 - 1);
        }
        let slot = self.free_message;
        self.free_message = self.messages[slot as usize].next;
        self.messages[slot as usize] = message;
        Ok(slot)
    }
}

fn spot(span: &Span, round: u32, index: u32) -> Spot {
    Spot { buffer: span.buffer, index: span.start + round * span.stride + index }
}

fn clash_flaw(clash: Clash, at: Place, limit: u64) -> Flaw {
    match clash {
        Clash::Chunks(one, other) => Flaw::ChunksMixed { at, one, other },
        Clash::Twice(rank) => Flaw::CountedTwice { at, rank },
        Clash::Final => Flaw::FoldsFinal { at },
        Clash::FinalWithout(missing) => Flaw::FinalTooEarly { at, missing },
        Clash::TooMany => Flaw::TooLarge { what: "words of memory for what is folded", limit },
    }
}
