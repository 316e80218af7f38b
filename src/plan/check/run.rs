//! Runs all ranks' programs on symbols, under the blocking rules of [`crate::plan`].
//!
//! Lanes and channels form a Kahn network: each channel has one sender and one receiver, so what a lane reads does not depend on
//! who ran first, and a lane that can move can still move later. One schedule therefore shows all outcomes, and one
//! that gets stuck shows that all do.
//!
//! A posted message stays where it is: its memory can't change until it is taken, so the receiver's values are read there. The result
//! of a rendezvous is kept by its lane, which waits. Moves joined by rendezvous complete together, when all of
//! them can: with less buffering than a whole message none could complete alone.

mod execute;

use super::code::{ChannelId, Code, LaneId, Move, Operand};
use super::flaw::{Flaw, Place};
use super::memory::Memory;
use super::race::Races;
use super::stuck;
use super::tally::Tally;
use super::value::{Value, Values};
use crate::types::Rank;
use execute::Origin;
use std::collections::VecDeque;

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The present move waits for messages or for the release of memory.
    Waiting,
    /// It can complete, as soon as those can with which it must complete together.
    Ready,
    Done,
}

/// How far a lane has come.
pub(super) struct Progress {
    pub(super) phase: Phase,
    step: u32,
    round: u32,
    index: u32,
    /// Moves completed.
    pub(super) completed: u64,
    /// Sources of the present move, from the first, that are known to be at hand.
    sources_at_hand: u32,
    is_queued: bool,
    waits_for_release: bool,
    /// The longest chain of messages up to here.
    hops: u32,
    /// The result of a rendezvous until it is taken.
    result: Vec<Value>,
    /// The search of [`Run::find_together`] that saw the lane last.
    seen_in: u64,
}

/// A message under way.
pub(super) struct Message {
    next: u32,
    pub(super) sender: LaneId,
    /// The sender's move, the round of its repeat, and its number among the lane's moves.
    step: u32,
    round: u32,
    pub(super) number: u64,
    /// The first cell of its values; `NONE` for a rendezvous.
    cells: u32,
    hops: u32,
    snapshot: u32,
}

#[derive(Clone, Copy)]
pub(super) struct Queue {
    pub(super) head: u32,
    tail: u32,
    /// The receiver's present move is ready to take the head.
    pub(super) taker_is_ready: bool,
}

pub(super) struct Run<'a> {
    pub(super) code: &'a Code,
    values: &'a mut Values,
    pub(super) memory: Memory,
    pub(super) lanes: Vec<Progress>,
    pub(super) queues: Vec<Queue>,
    pub(super) messages: Vec<Message>,
    free_message: u32,
    runnable: VecDeque<LaneId>,
    races: Option<Races>,
    tally: Tally,
    /// Lanes that complete together; kept to spare allocation, as are the next three.
    together: Vec<LaneId>,
    origins: Vec<Origin>,
    parts: Vec<Value>,
    result: Vec<Value>,
    searches: u64,
}

/// Runs a plan to its end: the memory it leaves, and what it cost.
pub(super) fn run(code: &Code, values: &mut Values, in_place: bool) -> Result<(Memory, Tally), Flaw> {
    let mut run = Run::new(code, values, in_place)?;
    while let Some(lane) = run.runnable.pop_front() {
        run.lanes[lane as usize].is_queued = false;
        run.advance(lane)?;
    }
    match stuck::explain(&mut run) {
        Some(flaw) => Err(flaw),
        None => Ok((run.memory, run.tally)),
    }
}

impl<'a> Run<'a> {
    fn new(code: &'a Code, values: &'a mut Values, in_place: bool) -> Result<Run<'a>, Flaw> {
        let memory = Memory::new(code, values, in_place);
        let races = Races::new(code, memory.values.len())?;
        let queue = Queue { head: NONE, tail: NONE, taker_is_ready: false };
        let mut run = Run {
            code,
            values,
            memory,
            lanes: Vec::with_capacity(code.lanes.len()),
            queues: vec![queue; code.channels.len()],
            messages: Vec::new(),
            free_message: NONE,
            runnable: VecDeque::new(),
            races,
            tally: Tally::new(code),
            together: Vec::new(),
            origins: Vec::new(),
            parts: Vec::new(),
            result: Vec::new(),
            searches: 0,
        };
        for lane in &code.lanes {
            run.lanes.push(Progress {
                phase: Phase::Waiting,
                step: lane.steps.start,
                round: 0,
                index: 0,
                completed: 0,
                sources_at_hand: 0,
                is_queued: false,
                waits_for_release: false,
                hops: 0,
                result: Vec::new(),
                seen_in: 0,
            });
        }
        for lane in 0..code.lanes.len() as LaneId {
            run.skip_empty_steps(lane);
            run.wake(lane);
        }
        Ok(run)
    }

    pub(super) fn rank(&self, lane: LaneId) -> Rank {
        self.code.lanes[lane as usize].rank
    }

    /// The present move of a lane that is not done, its number in the table and its round.
    pub(super) fn present(&self, lane: LaneId) -> (&'a Move, u32, u32) {
        let progress = &self.lanes[lane as usize];
        let number = self.code.steps[progress.step as usize].moves + progress.index;
        (&self.code.moves[number as usize], number, progress.round)
    }

    pub(super) fn place(&self, lane: LaneId) -> Place {
        self.code.place(lane, self.lanes[lane as usize].completed)
    }

    fn wake(&mut self, lane: LaneId) {
        let progress = &mut self.lanes[lane as usize];
        if !progress.is_queued && progress.phase == Phase::Waiting {
            progress.is_queued = true;
            self.runnable.push_back(lane);
        }
    }

    /// Completes the lane's present move if it and those joined with it can.
    fn advance(&mut self, lane: LaneId) -> Result<(), Flaw> {
        if self.lanes[lane as usize].phase != Phase::Waiting || !self.has_sources(lane)? || self.must_wait(lane) {
            return Ok(());
        }
        let (step, ..) = self.present(lane);
        self.lanes[lane as usize].phase = Phase::Ready;
        for channel in peers(self.code.sources(step)) {
            self.queues[channel as usize].taker_is_ready = true;
        }
        if step.is_rendezvous {
            self.offer(lane)?;
        }
        if self.find_together(lane).is_ok() {
            for index in 0..self.together.len() {
                self.complete(self.together[index])?;
            }
        }
        Ok(())
    }

    /// Whether all messages that the present move takes are there; each is compared with what the move expects.
    fn has_sources(&mut self, lane: LaneId) -> Result<bool, Flaw> {
        let (step, ..) = self.present(lane);
        let sources = self.code.sources(step);
        let known = self.lanes[lane as usize].sources_at_hand as usize;
        for (index, operand) in sources.iter().enumerate().skip(known) {
            if let Operand::Peer(channel) = *operand {
                let head = self.queues[channel as usize].head;
                if head == NONE {
                    self.lanes[lane as usize].sources_at_hand = index as u32;
                    return Ok(false);
                }
                self.compare_sizes(lane, channel, head)?;
            }
        }
        self.lanes[lane as usize].sources_at_hand = sources.len() as u32;
        Ok(true)
    }

    fn compare_sizes(&self, lane: LaneId, channel: ChannelId, message: u32) -> Result<(), Flaw> {
        let (step, _, round) = self.present(lane);
        let Message { sender, step: sent, round: sent_round, number, .. } = self.messages[message as usize];
        let sent = &self.code.moves[sent as usize];
        let here = self.memory.cells(self.rank(lane), self.code.any_span(step), round);
        let there = self.memory.cells(self.rank(sender), self.code.any_span(sent), sent_round);
        if self.memory.sizes(here) == self.memory.sizes(there) {
            return Ok(());
        }
        let link = self.code.channels[channel as usize].link;
        Err(Flaw::SizesDiffer { at: self.place(lane), link, sent_at: self.code.place(sender, number) })
    }

    /// Whether the present move would overwrite memory from which a message is posted.
    fn must_wait(&mut self, lane: LaneId) -> bool {
        let waits = self.posted_cell(lane).is_some();
        self.lanes[lane as usize].waits_for_release = waits;
        waits
    }

    /// A cell that the present move overwrites and from which a message is posted.
    pub(super) fn posted_cell(&self, lane: LaneId) -> Option<usize> {
        let (step, _, round) = self.present(lane);
        let rank = self.rank(lane);
        self.code.destinations(step).iter().find_map(|operand| match operand {
            Operand::Local(span) => {
                let mut cells = self.memory.cells(rank, span, round);
                cells.find(|&cell| self.memory.posted[cell] > 0)
            }
            Operand::Peer(_) => None,
        })
    }

    /// Gathers in `together` the lanes whose present moves can only complete with this lane's, all ready; or returns a rendezvous
    /// among them whose other end is not ready: the offering lane and the channel.
    pub(super) fn find_together(&mut self, lane: LaneId) -> Result<(), (LaneId, ChannelId)> {
        self.searches += 1;
        self.together.clear();
        self.add_together(lane);
        let mut next = 0;
        while next < self.together.len() {
            let member = self.together[next];
            next += 1;
            let (step, ..) = self.present(member);
            if step.is_rendezvous {
                for channel in peers(self.code.destinations(step)) {
                    let receiver = self.code.channels[channel as usize].receiver;
                    let queue = self.queues[channel as usize];
                    if queue.head != queue.tail || !queue.taker_is_ready {
                        return Err((member, channel));
                    }
                    if self.must_wait(receiver) {
                        self.withdraw(receiver);
                        return Err((member, channel));
                    }
                    self.add_together(receiver);
                }
            }
            for channel in peers(self.code.sources(step)) {
                let message = &self.messages[self.queues[channel as usize].head as usize];
                if message.cells == NONE {
                    self.add_together(message.sender);
                }
            }
        }
        Ok(())
    }

    /// Another lane has posted memory that this ready move overwrites: it waits again.
    fn withdraw(&mut self, lane: LaneId) {
        self.lanes[lane as usize].phase = Phase::Waiting;
        let (step, ..) = self.present(lane);
        for channel in peers(self.code.sources(step)) {
            self.queues[channel as usize].taker_is_ready = false;
        }
    }

    fn add_together(&mut self, lane: LaneId) {
        let seen_in = &mut self.lanes[lane as usize].seen_in;
        if *seen_in < self.searches {
            *seen_in = self.searches;
            self.together.push(lane);
        }
    }

    /// Computes the result of a rendezvous and shows it to its receivers.
    fn offer(&mut self, lane: LaneId) -> Result<(), Flaw> {
        self.begin(lane)?;
        self.compute(lane)?;
        std::mem::swap(&mut self.lanes[lane as usize].result, &mut self.result);
        self.send(lane, NONE)
    }

    fn complete(&mut self, lane: LaneId) -> Result<(), Flaw> {
        let (step, ..) = self.present(lane);
        if !step.is_rendezvous {
            self.begin(lane)?;
            self.compute(lane)?;
            self.store(lane)?;
        }
        self.take(lane);
        if !step.is_rendezvous {
            self.post(lane)?;
        }
        self.tally.add(self.rank(lane), self.code, step);
        self.go_on(lane);
        Ok(())
    }

    /// The lane's present move is complete.
    fn go_on(&mut self, lane: LaneId) {
        let progress = &mut self.lanes[lane as usize];
        progress.phase = Phase::Waiting;
        progress.completed += 1;
        progress.sources_at_hand = 0;
        progress.index += 1;
        let step = &self.code.steps[progress.step as usize];
        if progress.index == step.len {
            progress.index = 0;
            progress.round += 1;
        }
        self.skip_empty_steps(lane);
        self.wake(lane);
    }

    /// Moves past steps of which no round is left, a repeat of nothing included.
    fn skip_empty_steps(&mut self, lane: LaneId) {
        let progress = &mut self.lanes[lane as usize];
        let end = self.code.lanes[lane as usize].steps.end;
        while progress.step < end {
            let step = &self.code.steps[progress.step as usize];
            if step.len > 0 && progress.round < step.rounds {
                return;
            }
            progress.step += 1;
            progress.round = 0;
        }
        progress.phase = Phase::Done;
    }

    /// Posted from memory, or held by its lane.
    pub(super) fn is_posted_from(&self, message: u32, cell: usize) -> bool {
        let Message { sender, step, round, cells, .. } = self.messages[message as usize];
        let mut spans = self.code.posted(&self.code.moves[step as usize]).iter();
        cells != NONE && spans.any(|span| self.memory.cells(self.rank(sender), span, round).contains(&cell))
    }

    /// The messages on a channel, first to last.
    pub(super) fn queued(&self, channel: ChannelId) -> impl Iterator<Item = u32> {
        let some = |message: u32| (message != NONE).then_some(message);
        std::iter::successors(some(self.queues[channel as usize].head), move |&message| {
            some(self.messages[message as usize].next)
        })
    }
}

/// The channels among some operands.
pub(super) fn peers(operands: &[Operand]) -> impl Iterator<Item = ChannelId> {
    operands.iter().filter_map(|operand| match operand {
        Operand::Peer(channel) => Some(*channel),
        Operand::Local(_) => None,
    })
}
