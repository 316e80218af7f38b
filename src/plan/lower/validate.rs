//! What the executor takes for granted of a lowered program, looked at once so that it need not look again.

use super::{Instruction, Lowered, Place, Post, Source};
use crate::plan::Buffer;
use crate::types::LinkName;
use std::collections::HashSet;
use std::fmt;

/// What is wrong with a lowered program, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misfit {
    pub lane: usize,
    pub instruction: usize,
    pub what: &'static str,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lane {}, instruction {}: {}", self.lane, self.instruction, self.what)
    }
}

impl std::error::Error for Misfit {}

impl Lowered {
    /// Whether every index exists, every place lies in its memory, operands overlap exactly or not at all, each
    /// link belongs to one lane, and posts stand in the order in which they become ready. With that the executor's
    /// pointers are sound whatever plan the program came from; whether it computes the right thing is for
    /// [`check_lowered`](crate::plan::check::check_lowered) to say. Takes time linear in the program.
    ///
    /// # Errors
    /// The first misfit.
    pub fn validate(&self) -> Result<(), Misfit> {
        self.validate_links()?;
        let mut receivers = vec![None; self.inboxes.len()];
        let mut posts_listed = vec![0; self.outboxes.len()];
        for (lane, steps) in self.lanes.iter().enumerate() {
            for (index, instruction) in steps.iter().enumerate() {
                let misfit = |what| Misfit { lane, instruction: index, what };
                self.validate_awaits(lane, index, instruction).map_err(misfit)?;
                self.validate_memory(instruction).map_err(misfit)?;
                validate_sources(lane, index, instruction, &mut receivers).map_err(misfit)?;
                for &outbox in &instruction.outboxes {
                    *posts_listed.get_mut(outbox).ok_or(misfit("sends by an outbox that does not exist"))? += 1;
                }
            }
        }
        for (outbox, listed) in posts_listed.into_iter().enumerate() {
            self.validate_posts(outbox, listed)?;
        }
        Ok(())
    }

    fn validate_links(&self) -> Result<(), Misfit> {
        let mut seen = HashSet::new();
        let mut are_new = |name: &LinkName| seen.insert(*name);
        let inboxes_differ = self.inboxes.iter().all(&mut are_new);
        seen.clear();
        let mut are_new = |name: &LinkName| seen.insert(*name);
        let outboxes_differ = self.outboxes.iter().all(|(name, _)| are_new(name));
        if inboxes_differ && outboxes_differ {
            return Ok(());
        }
        Err(Misfit { lane: 0, instruction: 0, what: "two inboxes or two outboxes are the same link" })
    }

    fn validate_awaits(&self, lane: usize, index: usize, instruction: &Instruction) -> Result<(), &'static str> {
        for release in &instruction.awaits {
            let (_, posts) = self.outboxes.get(release.outbox).ok_or("waits for an outbox that does not exist")?;
            let post = posts.get(release.post).ok_or("waits for a post that does not exist")?;
            if post.lane == lane && post.instruction >= index {
                return Err("waits for a post that it has yet to make");
            }
        }
        match instruction.after {
            Some(after) if after.lane == lane && after.instructions > index => Err("waits for its own end"),
            Some(after) if self.lanes.get(after.lane).is_none_or(|steps| steps.len() < after.instructions) => {
                Err("waits for instructions that do not exist")
            }
            _ => Ok(()),
        }
    }

    fn validate_memory(&self, instruction: &Instruction) -> Result<(), &'static str> {
        let bytes = instruction.bytes;
        let locals = || {
            instruction.sources.iter().filter_map(|source| match source {
                Source::Local(place) => Some(*place),
                Source::Inbox(_) => None,
            })
        };
        let stores = || instruction.destination.iter().chain(&instruction.copies).copied();
        if !locals().chain(stores()).all(|place| self.contains(place, bytes)) {
            return Err("reaches out of a buffer");
        }
        if stores().any(|place| place.buffer == Buffer::Input) {
            return Err("writes to the input");
        }
        for (index, store) in stores().enumerate() {
            let written = self.memory(store, bytes);
            let others = locals().chain(stores().skip(index + 1)).map(|place| self.memory(place, bytes));
            if others.into_iter().any(|other| other != written && other.overlaps(&written)) {
                return Err("has operands that overlap in part");
            }
        }
        Ok(())
    }

    fn contains(&self, place: Place, bytes: u64) -> bool {
        let total = match place.buffer {
            Buffer::Input => self.input_bytes,
            Buffer::Output => self.output_bytes,
            Buffer::Scratch => self.scratch_bytes,
        };
        place.offset.checked_add(bytes).is_some_and(|end| end <= total)
    }

    /// `listed`: by how many instructions the outbox is named.
    fn validate_posts(&self, outbox: usize, listed: usize) -> Result<(), Misfit> {
        let posts = &self.outboxes[outbox].1;
        let mut previous: Option<&Post> = None;
        for post in posts {
            let misfit = |what| Misfit { lane: post.lane, instruction: post.instruction, what };
            let instruction = self.lanes.get(post.lane).and_then(|steps| steps.get(post.instruction));
            let instruction = instruction.ok_or(misfit("is posted from, and does not exist"))?;
            if !instruction.outboxes.contains(&outbox) {
                return Err(misfit("is posted from, and does not know it"));
            }
            if post.bytes == 0 || post.bytes != instruction.bytes {
                return Err(misfit("posts other bytes than it makes ready"));
            }
            if !self.contains(post.place, post.bytes) {
                return Err(misfit("posts from outside of a buffer"));
            }
            match previous {
                Some(previous) if previous.lane != post.lane => {
                    return Err(misfit("shares an outbox with another lane"));
                }
                Some(previous) if previous.instruction >= post.instruction => {
                    return Err(misfit("posts out of the order of its lane"));
                }
                _ => previous = Some(post),
            }
        }
        match previous {
            Some(last) if posts.len() != listed => {
                Err(Misfit { lane: last.lane, instruction: last.instruction, what: "has an outbox without its post" })
            }
            _ => Ok(()),
        }
    }
}

/// `receivers`: for every inbox the lane and the instruction that took from it last.
fn validate_sources(
    lane: usize,
    index: usize,
    instruction: &Instruction,
    receivers: &mut [Option<(usize, usize)>],
) -> Result<(), &'static str> {
    for source in &instruction.sources {
        let Source::Inbox(inbox) = *source else { continue };
        let receiver = receivers.get_mut(inbox).ok_or("receives by an inbox that does not exist")?;
        match receiver.replace((lane, index)) {
            Some(previous) if previous == (lane, index) => return Err("receives twice by one inbox"),
            Some((other, _)) if other != lane => return Err("shares an inbox with another lane"),
            _ => {}
        }
        if instruction.destination.is_none() {
            return Err("receives and has no place for it");
        }
    }
    match instruction.destination {
        None if !instruction.copies.is_empty() => Err("copies a result that it does not have"),
        Some(_) if instruction.bytes == 0 => Err("has no bytes"),
        Some(_) if instruction.sources.is_empty() => Err("has nothing to store"),
        Some(_) if instruction.reduction.is_none() && instruction.sources.len() > 1 => {
            Err("has several sources and no reduction")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Through;
    use crate::plan::lower::{Beginning, Release};

    /// Receives into the output, sends that on, then overwrites it once it is taken.
    fn program() -> Lowered {
        let place = |offset| Place { buffer: Buffer::Output, offset };
        let link = |peer| LinkName { peer, channel: 0 };
        let instruction = |sources, awaits, outboxes| Instruction {
            after: None,
            through: Through::Messages,
            awaits,
            reduction: None,
            sources,
            destination: Some(place(0)),
            copies: vec![place(8)],
            outboxes,
            bytes: 4,
        };
        let first = instruction(vec![Source::Inbox(0)], vec![], vec![0]);
        let second = instruction(vec![Source::Local(place(16))], vec![Release { outbox: 0, post: 0 }], vec![]);
        let post = Post { lane: 0, instruction: 0, place: place(0), bytes: 4 };
        Lowered {
            lanes: vec![vec![first, second]],
            inboxes: vec![link(1)],
            outboxes: vec![(link(2), vec![post])],
            output_bytes: 20,
            ..Lowered::default()
        }
    }

    /// Makes one thing wrong.
    type Spoil = fn(&mut Lowered);

    #[test]
    fn every_misfit_is_named() {
        assert_eq!(program().validate(), Ok(()));
        let cases: [(&str, Spoil); 22] = [
            ("waits for its own end", |it| it.lanes[0][1].after = Some(Beginning { lane: 0, instructions: 2 })),
            ("waits for instructions that do not exist", |it| {
                it.lanes[0][1].after = Some(Beginning { lane: 1, instructions: 0 });
            }),
            ("waits for instructions that do not exist", |it| {
                it.lanes.push(Vec::new());
                it.lanes[0][1].after = Some(Beginning { lane: 1, instructions: 1 });
            }),
            ("two inboxes or two outboxes are the same link", |it| it.inboxes.push(it.inboxes[0])),
            ("waits for an outbox that does not exist", |it| it.lanes[0][1].awaits[0].outbox = 1),
            ("waits for a post that does not exist", |it| it.lanes[0][1].awaits[0].post = 1),
            ("waits for a post that it has yet to make", |it| it.lanes[0].swap(0, 1)),
            ("reaches out of a buffer", |it| it.output_bytes = 19),
            ("reaches out of a buffer", |it| it.lanes[0][0].copies[0].offset = u64::MAX),
            ("writes to the input", |it| {
                it.input_bytes = 4;
                it.lanes[0][0].copies[0] = Place { buffer: Buffer::Input, offset: 0 };
            }),
            ("has operands that overlap in part", |it| it.lanes[0][0].copies[0].offset = 2),
            ("has operands that overlap in part", |it| {
                (it.input_bytes, it.alias) = (4, Some(1));
                it.lanes[0][1].sources[0] = Source::Local(Place { buffer: Buffer::Input, offset: 0 });
            }),
            ("receives by an inbox that does not exist", |it| it.lanes[0][0].sources[0] = Source::Inbox(1)),
            ("receives twice by one inbox", |it| it.lanes[0][0].sources.push(Source::Inbox(0))),
            ("shares an inbox with another lane", |it| {
                it.lanes.push(vec![Instruction { outboxes: vec![], ..it.lanes[0][0].clone() }]);
            }),
            ("receives and has no place for it", |it| it.lanes[0][0].destination = None),
            ("has no bytes", |it| it.lanes[0][1].bytes = 0),
            ("has nothing to store", |it| it.lanes[0][1].sources.clear()),
            ("has several sources and no reduction", |it| {
                let source = it.lanes[0][1].sources[0];
                it.lanes[0][1].sources.push(source);
            }),
            ("sends by an outbox that does not exist", |it| it.lanes[0][0].outboxes[0] = 1),
            ("posts other bytes than it makes ready", |it| it.outboxes[0].1[0].bytes = 3),
            ("posts out of the order of its lane", |it| {
                let post = it.outboxes[0].1[0];
                it.outboxes[0].1.push(post);
            }),
        ];
        for (what, change) in cases {
            let mut broken = program();
            change(&mut broken);
            assert_eq!(broken.validate().map_err(|misfit| misfit.what), Err(what));
        }
    }
}
