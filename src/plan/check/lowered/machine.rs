//! All ranks' lowered programs side by side, run as [the executor](crate::exec::run) runs them.

use super::Wrong;
use super::memory::{Clock, Event, Memory, PostId, Read, Unordered};
use super::promised::{Expected, Promised};
use super::value::{Value, Values};
use crate::plan::check::{Checked, Flaw};
use crate::plan::lower::{Beginning, Instruction, Lowered, Place, Release, Source};
use crate::plan::{Buffer, Reduction};
use crate::types::{LinkName, Rank};

pub(super) struct Machine<'a> {
    programs: &'a [Lowered],
    element_bytes: u64,
    ranks: Vec<RankState>,
    lanes: Vec<Lane>,
    values: Values,
}

struct RankState {
    memory: Memory,
    outboxes: Vec<Outbox>,
    inboxes: Vec<Inbox>,
}

#[derive(Default)]
struct Outbox {
    /// Posts of which all elements are ready.
    ready: usize,
    /// For each post that is not taken, what was before each of its elements became ready.
    clocks: Vec<Vec<Clock>>,
    /// Posts of which the receiver has taken all.
    taken: usize,
    /// Which lanes' events have waited for all posts up to this one.
    awaited: Vec<(usize, Event)>,
}

struct Inbox {
    from: Rank,
    /// The sender's index of the outbox; `None` if it has none for us.
    outbox: Option<usize>,
}

struct Lane {
    rank: Rank,
    number: usize,
    next: usize,
    /// Elements of the instruction that are done.
    done: u64,
    entered: bool,
    clock: Vec<u32>,
    /// What was before the end of each instruction that is done, if lanes of the rank wait for each other.
    ends: Vec<Clock>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(expected: &Expected, programs: &'a [Lowered], element_bytes: u64) -> Result<Machine<'a>, Flaw> {
        let values = Values::new((0..programs.len()).map(|rank| expected.elements(rank, Buffer::Input)));
        let lane_count = programs.iter().map(|program| program.lanes.len()).sum();
        let mut machine =
            Machine { programs, element_bytes, ranks: Vec::new(), lanes: Vec::with_capacity(lane_count), values };
        for (rank, program) in programs.iter().enumerate() {
            let state = machine.rank_state(expected, rank).map_err(|wrong| match wrong {
                Wrong::Misfit(misfit) => wrong.at(rank, misfit.lane, misfit.instruction),
                wrong => wrong.at(rank, 0, 0),
            })?;
            machine.ranks.push(state);
            for number in 0..program.lanes.len() {
                let clock = vec![0; lane_count];
                machine.lanes.push(Lane { rank, number, next: 0, done: 0, entered: false, clock, ends: Vec::new() });
            }
        }
        Ok(machine)
    }

    fn rank_state(&self, expected: &Expected, rank: Rank) -> Result<RankState, Wrong> {
        let program = &self.programs[rank];
        program.validate().map_err(Wrong::Misfit)?;
        for (buffer, found) in [(Buffer::Input, program.input_bytes), (Buffer::Output, program.output_bytes)] {
            let expected = expected.elements(rank, buffer) * self.element_bytes;
            if found != expected {
                return Err(Wrong::BufferBytes { found, expected });
            }
        }
        let mut memory = Memory::new(program, self.element_bytes)?;
        for element in 0..expected.elements(rank, Buffer::Input) {
            let index = memory.index(Place { buffer: Buffer::Input, offset: element * self.element_bytes })?;
            memory.fill(index, self.values.input(rank, element));
        }
        let inbox = |name: &LinkName| {
            let ours = |(to, _): &(LinkName, _)| (to.peer, to.channel) == (rank, name.channel);
            let outboxes = self.programs.get(name.peer).map_or(&[][..], |peer| &peer.outboxes);
            Inbox { from: name.peer, outbox: outboxes.iter().position(ours) }
        };
        let outbox =
            |(_, posts): &(LinkName, Vec<_>)| Outbox { clocks: vec![Vec::new(); posts.len()], ..Outbox::default() };
        Ok(RankState {
            memory,
            outboxes: program.outboxes.iter().map(outbox).collect(),
            inboxes: program.inboxes.iter().map(inbox).collect(),
        })
    }

    /// Runs all lanes to their ends.
    pub(super) fn run(&mut self) -> Result<(), Flaw> {
        loop {
            let mut moved = false;
            for lane in 0..self.lanes.len() {
                moved |= self.advance(lane).map_err(|wrong| self.flaw(lane, wrong))?;
            }
            if !moved {
                break;
            }
        }
        for lane in 0..self.lanes.len() {
            if let Some(wait) = self.wait(lane) {
                return Err(self.flaw(lane, wait));
            }
        }
        for (rank, (state, program)) in self.ranks.iter().zip(self.programs).enumerate() {
            for (outbox, (name, posts)) in state.outboxes.iter().zip(&program.outboxes) {
                if let Some(post) = posts.get(outbox.taken) {
                    return Err(Wrong::NeverTaken { to: name.peer }.at(rank, post.lane, post.instruction));
                }
            }
        }
        Ok(())
    }

    fn flaw(&self, lane: usize, wrong: Wrong) -> Flaw {
        let Lane { rank, number, next, .. } = self.lanes[lane];
        wrong.at(rank, number, next)
    }

    fn instruction(&self, lane: usize) -> Option<&'a Instruction> {
        let Lane { rank, number, next, .. } = self.lanes[lane];
        self.programs[rank].lanes[number].get(next)
    }

    /// What a lane that can't go on waits for; `None` at its end.
    fn wait(&self, lane: usize) -> Option<Wrong> {
        let instruction = self.instruction(lane)?;
        let rank = self.lanes[lane].rank;
        if let Some(release) = instruction.awaits.iter().find(|release| !self.is_released(rank, release)) {
            return Some(Wrong::NoRelease { to: self.programs[rank].outboxes[release.outbox].0.peer });
        }
        if let Some(after) = instruction.after.filter(|after| !self.has_begun(lane, after)) {
            return Some(Wrong::NoEnd { lane: after.lane });
        }
        let inbox = instruction.sources.iter().find_map(|source| match *source {
            Source::Inbox(inbox) if self.message(lane, inbox).is_none() => Some(inbox),
            _ => None,
        });
        inbox.map(|inbox| Wrong::NoMessage { from: self.ranks[rank].inboxes[inbox].from })
    }

    fn has_begun(&self, lane: usize, after: &Beginning) -> bool {
        self.lanes[self.lane_of_rank(lane, after.lane)].next >= after.instructions
    }

    /// Lane `number` of the rank of `lane`.
    fn lane_of_rank(&self, lane: usize, number: usize) -> usize {
        lane - self.lanes[lane].number + number
    }

    fn is_released(&self, rank: Rank, release: &Release) -> bool {
        self.ranks[rank].outboxes[release.outbox].taken > release.post
    }

    /// Goes as far as it can; whether it went anywhere.
    fn advance(&mut self, lane: usize) -> Result<bool, Wrong> {
        let mut moved = false;
        while let Some(instruction) = self.instruction(lane) {
            if !self.lanes[lane].entered && !self.enter(lane, instruction) {
                break;
            }
            if instruction.destination.is_none() {
                self.tick(lane);
                for element in 0..self.elements(instruction.bytes)? {
                    self.make_ready(lane, instruction, element)?;
                }
            } else {
                let elements = self.elements(instruction.bytes)?;
                while self.lanes[lane].done < elements {
                    if !self.compute(lane, instruction)? {
                        return Ok(moved);
                    }
                    moved = true;
                }
            }
            let rank = self.lanes[lane].rank;
            let are_waited_for = self.programs[rank].lanes.iter().flatten().any(|one| one.after.is_some());
            let state = &mut self.lanes[lane];
            (state.next, state.done, state.entered) = (state.next + 1, 0, false);
            if are_waited_for {
                state.ends.push(state.clock.as_slice().into());
            }
            moved = true;
        }
        Ok(moved)
    }

    fn elements(&self, bytes: u64) -> Result<u64, Wrong> {
        if bytes.is_multiple_of(self.element_bytes) { Ok(bytes / self.element_bytes) } else { Err(Wrong::Misaligned) }
    }

    fn enter(&mut self, lane: usize, instruction: &Instruction) -> bool {
        let rank = self.lanes[lane].rank;
        let has_begun = instruction.after.is_none_or(|after| self.has_begun(lane, &after));
        if !has_begun || !instruction.awaits.iter().all(|release| self.is_released(rank, release)) {
            return false;
        }
        if let Some(Beginning { lane: other, instructions }) = instruction.after
            && let Some(last) = instructions.checked_sub(1)
        {
            let end = self.lanes[self.lane_of_rank(lane, other)].ends[last].clone();
            self.lanes[lane].clock.iter_mut().zip(&*end).for_each(|(known, more)| *known = (*known).max(*more));
        }
        let event = self.tick(lane);
        for release in &instruction.awaits {
            self.ranks[rank].outboxes[release.outbox].awaited.push((release.post, event));
        }
        self.lanes[lane].entered = true;
        true
    }

    /// The lane goes on to its next event.
    fn tick(&mut self, lane: usize) -> Event {
        let number = &mut self.lanes[lane].clock[lane];
        *number += 1;
        Event { lane, number: *number }
    }

    /// The post whose next element an inbox shows, if that is ready: the sender, its post and what was before.
    fn message(&self, lane: usize, inbox: usize) -> Option<(Rank, PostId, &Clock)> {
        let Lane { rank, done, .. } = self.lanes[lane];
        let Inbox { from, outbox } = self.ranks[rank].inboxes[inbox];
        let sending = &self.ranks[from].outboxes[outbox?];
        let clock = sending.clocks.get(sending.taken)?.get(done as usize)?;
        Some((from, PostId { outbox: outbox?, post: sending.taken }, clock))
    }

    /// Does the next element of an instruction; false if a message for it has not come.
    fn compute(&mut self, lane: usize, instruction: &Instruction) -> Result<bool, Wrong> {
        let inboxes = instruction.sources.iter().filter_map(|source| match *source {
            Source::Inbox(inbox) => Some(inbox),
            Source::Local(_) => None,
        });
        for inbox in inboxes.clone() {
            let Some((from, id, _)) = self.message(lane, inbox) else { return Ok(false) };
            let sent = self.programs[from].outboxes[id.outbox].1[id.post].bytes;
            if sent != instruction.bytes {
                return Err(Wrong::MessageBytes { from, sent, expected: instruction.bytes });
            }
        }
        for inbox in inboxes {
            let sent_at = self.message(lane, inbox).expect("it was just seen").2.clone();
            let known = self.lanes[lane].clock.iter_mut();
            known.zip(&*sent_at).for_each(|(known, sent)| *known = (*known).max(*sent));
        }
        let event = self.tick(lane);
        let mut parts = Vec::with_capacity(instruction.sources.len());
        for source in &instruction.sources {
            parts.push(match *source {
                Source::Local(place) => self.read(lane, place, event)?,
                Source::Inbox(inbox) => self.take(lane, inbox, event)?,
            });
        }
        let value = self.fold(instruction.reduction, parts);
        for place in instruction.destination.iter().chain(&instruction.copies) {
            self.write(lane, *place, value, event)?;
        }
        let element = self.lanes[lane].done;
        self.lanes[lane].done += 1;
        self.make_ready(lane, instruction, element)?;
        Ok(true)
    }

    fn fold(&mut self, reduction: Option<Reduction>, parts: Vec<Value>) -> Value {
        match reduction {
            Some(reduction) => self.values.fold(reduction, parts),
            None => parts[0],
        }
    }

    /// The element that the present instruction of a lane is at, of the operand that starts at `place`.
    fn index(&self, lane: usize, place: Place, element: u64) -> Result<usize, Wrong> {
        Ok(self.ranks[self.lanes[lane].rank].memory.index(place)? + element as usize)
    }

    fn read(&mut self, lane: usize, place: Place, event: Event) -> Result<Value, Wrong> {
        let index = self.index(lane, place, self.lanes[lane].done)?;
        let Lane { rank, ref clock, .. } = self.lanes[lane];
        let read = self.ranks[rank].memory.read(index, event, clock);
        read.map_err(|wrong| self.name_lane(wrong))
    }

    fn take(&mut self, lane: usize, inbox: usize, event: Event) -> Result<Value, Wrong> {
        let (from, id, _) = self.message(lane, inbox).expect("it was there before anything was taken");
        let Lane { rank, done, .. } = self.lanes[lane];
        let post = &self.programs[from].outboxes[id.outbox].1[id.post];
        let sender = &mut self.ranks[from];
        let index = sender.memory.index(post.place)? + done as usize;
        if (done + 1) * self.element_bytes == post.bytes {
            let sending = &mut sender.outboxes[id.outbox];
            sending.taken += 1;
            sending.clocks[id.post] = Vec::new();
        }
        Ok(sender.memory.take(index, rank, Read { event, post: Some(id) }))
    }

    fn write(&mut self, lane: usize, place: Place, value: Value, event: Event) -> Result<(), Wrong> {
        let index = self.index(lane, place, self.lanes[lane].done)?;
        let Lane { rank, ref clock, .. } = self.lanes[lane];
        let RankState { memory, outboxes, .. } = &mut self.ranks[rank];
        let is_over = |read: &Read| {
            let was_awaited = |id: PostId| {
                let awaited = &outboxes[id.outbox].awaited;
                awaited.iter().any(|(post, event)| *post >= id.post && event.is_before(clock))
            };
            read.event.is_before(clock) || read.post.is_some_and(was_awaited)
        };
        memory.write(index, value, event, clock, is_over).map_err(|unordered| match unordered {
            Unordered::Posted(reader) => Wrong::Overwritten { reader },
            Unordered::With(Read { event, post: None }) => Wrong::Race { other: self.lanes[event.lane].number },
            Unordered::With(Read { event, .. }) => Wrong::LateReader { reader: self.lanes[event.lane].rank },
        })
    }

    /// An element of all posts of an instruction can be taken from now on.
    fn make_ready(&mut self, lane: usize, instruction: &Instruction, element: u64) -> Result<(), Wrong> {
        if instruction.outboxes.is_empty() {
            return Ok(());
        }
        let Lane { rank, ref clock, .. } = self.lanes[lane];
        let now: Clock = clock.as_slice().into();
        let event = Event { lane, number: now[lane] };
        let elements = self.elements(instruction.bytes)?;
        for &outbox in &instruction.outboxes {
            let (name, posts) = &self.programs[rank].outboxes[outbox];
            let RankState { memory, outboxes, .. } = &mut self.ranks[rank];
            let sending = &mut outboxes[outbox];
            let index = memory.index(posts[sending.ready].place)? + element as usize;
            let posted = memory.post(index, name.peer, event, &now);
            sending.clocks[sending.ready].push(now.clone());
            sending.ready += usize::from(element + 1 == elements);
            posted.map_err(|wrong| self.name_lane(wrong))?;
        }
        Ok(())
    }

    /// Memory knows lanes by their number among all ranks' lanes.
    fn name_lane(&self, wrong: Wrong) -> Wrong {
        match wrong {
            Wrong::Race { other } => Wrong::Race { other: self.lanes[other].number },
            wrong => wrong,
        }
    }

    /// Whether every output holds what the collective promises, added up as the plan says.
    pub(super) fn compare(&mut self, checked: &Checked, expected: &Expected) -> Result<(), Flaw> {
        for rank in 0..self.programs.len() {
            let orders = expected.orders(checked, rank);
            let mut orders = orders.iter().flat_map(|(elements, order)| (0..*elements).map(move |_| order));
            for (element, promised) in (0..).zip(expected.output(rank)) {
                let order = orders.next();
                let place = Place { buffer: Buffer::Output, offset: element * self.element_bytes };
                let wrong = |wrong: Wrong| wrong.at(rank, 0, self.programs[rank].lanes.first().map_or(0, Vec::len));
                let found = self.ranks[rank].memory.index(place).map(|index| self.ranks[rank].memory.value(index));
                let found = found.map_err(wrong)?;
                let is_kept = match (promised, order) {
                    (Promised::Input(source, element), _) => found == self.values.input(source, element),
                    (Promised::Everyone, _) => self.values.contributors(found).len() == self.programs.len(),
                    (Promised::Sum(element), Some(order)) => found == self.values.sum(order, element),
                    (Promised::Sum(_), None) => false,
                };
                if !is_kept {
                    return Err(wrong(Wrong::Output { element }));
                }
            }
        }
        Ok(())
    }
}
