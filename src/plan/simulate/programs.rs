//! The lowered programs of all ranks as flat tables: lanes of instructions, links of messages.

use super::fold::Fold;
use crate::plan::Through;
use crate::plan::check::Checked;
use crate::plan::chunk::Counts;
use crate::plan::lower::{Beginning, Instruction, Lowered, Source, lower};
use crate::types::Rank;
use std::collections::HashMap;

/// One lane of one rank.
pub(super) struct Lane {
    pub(super) rank: Rank,
    /// Instructions of [`Programs::instructions`].
    pub(super) first: usize,
    pub(super) end: usize,
}

/// What an instruction waits for, does and makes ready.
pub(super) struct Step {
    /// The step of another lane that must be done.
    pub(super) after: Option<u32>,
    /// Messages that must have been taken before it may write.
    pub(super) awaits: Vec<u32>,
    /// Links of which it takes the next message.
    pub(super) inboxes: Vec<u32>,
    /// Messages that it makes ready.
    pub(super) posts: Vec<u32>,
    pub(super) through: Through,
    /// Read and written in local memory where nothing is received: what is received is folded and stored as it comes in.
    pub(super) local_bytes: u64,
    /// A copy of local memory: what it sends can be read from its source while it copies.
    pub(super) posts_at_start: bool,
}

/// All messages from one rank to another on one channel, in order.
pub(super) struct Link {
    pub(super) from: Rank,
    pub(super) to: Rank,
    pub(super) first: u32,
    pub(super) messages: u32,
}

pub(super) struct Programs {
    pub(super) lanes: Vec<Lane>,
    pub(super) steps: Vec<Step>,
    pub(super) links: Vec<Link>,
    /// Bytes and link of every message.
    pub(super) messages: Vec<(u64, u32)>,
}

type LinkKey = (Rank, Rank, u16);

impl Programs {
    /// Of all ranks, or of those that stand for all.
    pub(super) fn new(checked: &Checked, counts: &Counts, element_bytes: u64, fold: Option<&Fold>) -> Programs {
        let ranks: Vec<Rank> = match fold {
            Some(fold) => fold.representatives().collect(),
            None => (0..checked.plan().problem.ranks).collect(),
        };
        let key = |from: Rank, to: Rank, channel: u16| {
            let (from, to) = fold.map_or((from, to), |fold| fold.link(from, to));
            (from, to, channel)
        };
        let lowered: Vec<(Rank, Lowered)> =
            ranks.into_iter().map(|rank| (rank, lower(checked, rank, counts, element_bytes, false))).collect();
        let mut programs = Programs { lanes: Vec::new(), steps: Vec::new(), links: Vec::new(), messages: Vec::new() };
        let mut numbers: HashMap<LinkKey, u32> = HashMap::new();
        for (rank, one) in &lowered {
            for (name, posts) in &one.outboxes {
                let (link, first) = (programs.links.len() as u32, programs.messages.len());
                let key = key(*rank, name.peer, name.channel);
                numbers.insert(key, link);
                let messages = posts.len() as u32;
                programs.links.push(Link { from: key.0, to: key.1, first: first as u32, messages });
                programs.messages.extend(posts.iter().map(|post| (post.bytes, link)));
            }
        }
        for (rank, one) in &lowered {
            let outboxes = one.outboxes.iter().map(|(name, _)| numbers[&key(*rank, name.peer, name.channel)]);
            let inboxes = one.inboxes.iter().map(|name| numbers[&key(name.peer, *rank, name.channel)]);
            let (outboxes, inboxes) = (outboxes.collect::<Vec<_>>(), inboxes.collect::<Vec<_>>());
            programs.add(*rank, one, &outboxes, &inboxes);
        }
        programs
    }

    fn add(&mut self, rank: Rank, lowered: &Lowered, outboxes: &[u32], inboxes: &[u32]) {
        let outboxes: Vec<u32> = outboxes.iter().map(|link| self.links[*link as usize].first).collect();
        let mut posts: HashMap<(usize, usize), Vec<u32>> = HashMap::new();
        for (first, (_, all)) in outboxes.iter().zip(&lowered.outboxes) {
            for (index, post) in (0..).zip(all) {
                posts.entry((post.lane, post.instruction)).or_default().push(first + index);
            }
        }
        let mut next = self.steps.len();
        let starts: Vec<usize> = lowered.lanes.iter().map(|lane| (next, next += lane.len()).0).collect();
        let last_of = |after: Beginning| Some((starts[after.lane] + after.instructions.checked_sub(1)?) as u32);
        for (lane, instructions) in lowered.lanes.iter().enumerate() {
            let first = self.steps.len();
            for (index, one) in instructions.iter().enumerate() {
                let posts = posts.remove(&(lane, index)).unwrap_or_default();
                let after = one.after.and_then(last_of);
                self.steps.push(Step { after, ..step(one, posts, &outboxes, inboxes) });
            }
            self.lanes.push(Lane { rank, first, end: self.steps.len() });
        }
    }
}

fn step(one: &Instruction, posts: Vec<u32>, outboxes: &[u32], inboxes: &[u32]) -> Step {
    let received = one.sources.iter().filter_map(|source| match source {
        Source::Inbox(index) => Some(inboxes[*index]),
        Source::Local(_) => None,
    });
    let received: Vec<u32> = received.collect();
    let operands = one.sources.len() + usize::from(one.destination.is_some()) + one.copies.len();
    let computes = received.is_empty() && one.destination.is_some();
    Step {
        after: None,
        awaits: one.awaits.iter().map(|release| outboxes[release.outbox] + release.post as u32).collect(),
        inboxes: received,
        posts,
        through: one.through,
        posts_at_start: computes && one.reduction.is_none(),
        local_bytes: if computes { one.bytes * operands as u64 } else { 0 },
    }
}
