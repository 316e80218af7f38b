//! Runs lowered programs on numbers, on random schedules and transports: each message is copied out early, late, or lent until it
//! is taken. No clocks, no symbols: a program is right if all outputs are.

use super::super::promised::{Expected, Promised};
use crate::plan::lower::{Lowered, Place, Source};
use crate::plan::{Buffer, Reduction};
use crate::types::{Collective, Rank};
use std::cmp::Ordering;

fn random(state: &mut u64) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33) as usize
}

struct Lane {
    rank: Rank,
    number: usize,
    next: usize,
    done: usize,
}

/// A message: what was copied out of its memory, and how many elements were taken.
struct Post {
    lane: usize,
    instruction: usize,
    place: Place,
    elements: usize,
    is_lent: bool,
    staged: Vec<u64>,
    taken: usize,
}

struct World<'a> {
    programs: &'a [Lowered],
    element_bytes: u64,
    collective: Collective,
    memory: Vec<Vec<u64>>,
    /// Where input, output and scratch of a rank begin.
    starts: Vec<[u64; 3]>,
    posts: Vec<Vec<Vec<Post>>>,
    lanes: Vec<Lane>,
}

/// One run. The programs are valid.
pub(super) fn run(expected: &Expected, programs: &[Lowered], element_bytes: u64, seed: u64) -> Result<(), String> {
    let mut state = seed;
    let mut world = World::new(expected, programs, element_bytes, &mut state);
    loop {
        if random(&mut state).is_multiple_of(3) {
            world.copy_out(&mut state);
        }
        let first = random(&mut state);
        let lanes = world.lanes.len();
        let mut moved = false;
        for lane in (0..lanes).map(|lane| (lane + first) % lanes) {
            moved = world.step(lane)?;
            if moved {
                break;
            }
        }
        if !moved && !world.copy_out(&mut state) {
            return world.compare(expected);
        }
    }
}

fn input(collective: Collective, rank: Rank, element: u64) -> u64 {
    let mut state = ((rank as u64) << 32) | element;
    if collective == Collective::Barrier { 1 << rank } else { random(&mut state) as u64 }
}

impl<'a> World<'a> {
    fn new(expected: &Expected, programs: &'a [Lowered], element_bytes: u64, state: &mut u64) -> World<'a> {
        let collective = expected.collective;
        let (memory, starts, posts, lanes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut world = World { programs, element_bytes, collective, memory, starts, posts, lanes };
        for (rank, program) in programs.iter().enumerate() {
            let bytes = [program.input_bytes, program.output_bytes, program.scratch_bytes];
            let [inputs, outputs, scratch] = bytes.map(|bytes| bytes.div_ceil(element_bytes));
            let [input_start, output_start] = match program.alias.map(|bytes| bytes / element_bytes as i64) {
                None => [0, inputs],
                Some(offset) => [offset.max(0) as u64, (-offset).max(0) as u64],
            };
            let end = (input_start + inputs).max(output_start + outputs);
            let mut cells: Vec<u64> = (0..end + scratch).map(|_| random(state) as u64).collect();
            for element in 0..inputs {
                cells[(input_start + element) as usize] = input(collective, rank, element);
            }
            world.memory.push(cells);
            world.starts.push([input_start, output_start, end]);
            let post = |post: &crate::plan::lower::Post| Post {
                lane: world.lanes.len() + post.lane,
                instruction: post.instruction,
                place: post.place,
                elements: (post.bytes / element_bytes) as usize,
                is_lent: random(state).is_multiple_of(2),
                staged: Vec::new(),
                taken: 0,
            };
            let mut post = post;
            world.posts.push(program.outboxes.iter().map(|(_, posts)| posts.iter().map(&mut post).collect()).collect());
            world.lanes.extend((0..program.lanes.len()).map(|number| Lane { rank, number, next: 0, done: 0 }));
        }
        world
    }

    fn cell(&mut self, rank: Rank, place: Place, element: usize) -> &mut u64 {
        let start = self.starts[rank][place.buffer as usize];
        &mut self.memory[rank][(start + place.offset / self.element_bytes) as usize + element]
    }

    /// Elements of a post that its instruction has made.
    fn ready(&self, post: &Post) -> usize {
        let lane = &self.lanes[post.lane];
        match lane.next.cmp(&post.instruction) {
            Ordering::Less => 0,
            Ordering::Equal => lane.done,
            Ordering::Greater => post.elements,
        }
    }

    /// Copies the next element of some outbox out of its memory; false if none is ready.
    fn copy_out(&mut self, state: &mut u64) -> bool {
        let mut ready = Vec::new();
        for (rank, outboxes) in self.posts.iter().enumerate() {
            for (outbox, posts) in outboxes.iter().enumerate() {
                let is_next = |post: &&Post| !post.is_lent && post.staged.len() < post.elements;
                let next = posts.iter().position(|post| is_next(&post));
                ready.extend(
                    next.filter(|&next| posts[next].staged.len() < self.ready(&posts[next]))
                        .map(|next| (rank, outbox, next)),
                );
            }
        }
        if ready.is_empty() {
            return false;
        }
        let (rank, outbox, post) = ready[random(state) % ready.len()];
        let Post { place, ref staged, .. } = self.posts[rank][outbox][post];
        let element = staged.len();
        let value = *self.cell(rank, place, element);
        self.posts[rank][outbox][post].staged.push(value);
        true
    }

    fn is_released(&self, rank: Rank, outbox: usize, last: usize) -> bool {
        let is_out = |post: &Post| post.elements == if post.is_lent { post.taken } else { post.staged.len() };
        self.posts[rank][outbox][..=last].iter().all(is_out)
    }

    /// The message that an inbox shows: its sender's rank, outbox and post.
    fn message(&self, rank: Rank, inbox: usize) -> Option<(Rank, usize, usize)> {
        let name = self.programs[rank].inboxes[inbox];
        let outboxes = &self.programs.get(name.peer)?.outboxes;
        let outbox = outboxes.iter().position(|(to, _)| to.peer == rank && to.channel == name.channel)?;
        let post = self.posts[name.peer][outbox].iter().position(|post| post.taken < post.elements)?;
        Some((name.peer, outbox, post))
    }

    /// One element of a lane's present instruction; false if it must wait.
    fn step(&mut self, lane: usize) -> Result<bool, String> {
        let Lane { rank, number, next, done } = self.lanes[lane];
        let programs = self.programs;
        let Some(instruction) = programs[rank].lanes[number].get(next) else { return Ok(false) };
        let own = lane - number;
        let has_begun = instruction.after.is_none_or(|after| self.lanes[own + after.lane].next >= after.instructions);
        if !has_begun || !instruction.awaits.iter().all(|release| self.is_released(rank, release.outbox, release.post))
        {
            return Ok(false);
        }
        let Some(destination) = instruction.destination else {
            self.lanes[lane].next += 1;
            return Ok(true);
        };
        for source in &instruction.sources {
            let Source::Inbox(inbox) = *source else { continue };
            let Some((from, outbox, post)) = self.message(rank, inbox) else { return Ok(false) };
            let post = &self.posts[from][outbox][post];
            if (if post.is_lent { self.ready(post) } else { post.staged.len() }) <= post.taken {
                return Ok(false);
            }
            if post.elements as u64 * self.element_bytes != instruction.bytes {
                return Err("a message has other bytes".to_owned());
            }
        }
        let mut parts = Vec::new();
        for source in &instruction.sources {
            parts.push(match *source {
                Source::Local(place) => *self.cell(rank, place, done),
                Source::Inbox(inbox) => {
                    let (from, outbox, index) = self.message(rank, inbox).expect("seen above");
                    let post = &mut self.posts[from][outbox][index];
                    post.taken += 1;
                    let Post { is_lent, place, .. } = *post;
                    if is_lent { *self.cell(from, place, done) } else { post.staged[done] }
                }
            });
        }
        let value = self.fold(instruction.reduction, &parts);
        for place in std::iter::once(&destination).chain(&instruction.copies) {
            *self.cell(rank, *place, done) = value;
        }
        let state = &mut self.lanes[lane];
        state.done += 1;
        if state.done as u64 * self.element_bytes == instruction.bytes {
            (state.next, state.done) = (next + 1, 0);
        }
        Ok(true)
    }

    fn fold(&self, reduction: Option<Reduction>, parts: &[u64]) -> u64 {
        match (reduction, self.collective) {
            (None, _) => parts[0],
            (_, Collective::Barrier) => parts.iter().fold(0, |union, part| union | part),
            (Some(Reduction::Partial), _) => parts.iter().fold(0u64, |sum, part| sum.wrapping_add(*part)),
            (Some(Reduction::Final), _) => parts.iter().fold(0u64, |sum, part| sum.wrapping_add(*part)).wrapping_mul(3),
        }
    }

    fn compare(&mut self, expected: &Expected) -> Result<(), String> {
        if self.lanes.iter().any(|lane| lane.next < self.programs[lane.rank].lanes[lane.number].len()) {
            return Err("nothing moves any more".to_owned());
        }
        if self.posts.iter().flatten().flatten().any(|post| post.taken < post.elements) {
            return Err("a message is left over".to_owned());
        }
        for rank in 0..self.programs.len() {
            for (element, promised) in expected.output(rank).into_iter().enumerate() {
                let everyone = |element| {
                    let inputs = (0..self.programs.len()).map(|rank| input(self.collective, rank, element));
                    self.fold(Some(Reduction::Final), &inputs.collect::<Vec<_>>())
                };
                let promised = match promised {
                    Promised::Input(rank, element) => input(self.collective, rank, element),
                    Promised::Sum(element) => everyone(element),
                    Promised::Everyone => everyone(0),
                };
                if *self.cell(rank, Place { buffer: Buffer::Output, offset: 0 }, element) != promised {
                    return Err(format!("rank {rank}: element {element} is wrong"));
                }
            }
        }
        Ok(())
    }
}
