//! Programs of a few short messages, as one list of sends and folds.
//!
//! What such a program costs is its instructions, not its bytes. One lane does all, every message fits into a record, and nothing
//! has to come back before memory is written again: so sends and folds stand in one order, and running them takes neither pumps
//! nor waits for releases. Whatever is not as expected (a record in parts, one that is lent, another call's) is left as it is,
//! and the general loop goes on from there: where it stands is kept up to date.
//!
//! In the general loop a send that finds no room holds up nothing else; here it holds up what stands behind it. That ends: of
//! this call there is room for all, and what earlier calls left in a link is taken by peers that need nothing more of this rank.

use super::{Memory, Runner};
use crate::error::Result;
use crate::exec::links::Links;
use crate::plan::Reduction;
use crate::plan::lower::{Instruction, Lowered, Place, Post, Source};
use crate::reduce;
use crate::transport::{Head, Lent, Look, ring};
use std::ops::Range;

/// Messages of one call in one link, at most: half of the smallest ring.
const POSTS: usize = 4;

pub(super) struct Brief {
    steps: Vec<Step>,
    operands: Vec<Source>,
    /// Addresses of the fold that runs.
    sources: Vec<reduce::Source>,
    /// The step that runs; none after the general loop has taken over.
    next: usize,
}

enum Step {
    Send { outbox: usize, post: Post },
    Fold(Fold),
}

struct Fold {
    instruction: usize,
    /// By index into [`Brief::operands`].
    operands: Range<usize>,
    destination: Place,
    copies: Vec<Place>,
    /// None: the operand is copied.
    reduction: Option<Reduction>,
    bytes: usize,
    elements: usize,
}

/// How far a run came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Done,
    /// Something has not come yet, or there is no room for a message.
    Waiting,
    /// The general loop has to go on.
    Unusual,
}

impl Brief {
    /// The program's list, if it is one of few short messages.
    pub fn of(lowered: &Lowered, element_bytes: usize) -> Option<Brief> {
        let [lane] = &lowered.lanes[..] else { return None };
        let is_short = |post: &Post| post.bytes <= ring::INLINE as u64;
        if !lowered.outboxes.iter().all(|(_, posts)| posts.len() <= POSTS && posts.iter().all(is_short)) {
            return None;
        }
        let mut brief = Brief { steps: Vec::new(), operands: Vec::new(), sources: Vec::new(), next: 0 };
        for (index, instruction) in lane.iter().enumerate() {
            brief.add(index, instruction, lowered, element_bytes)?;
        }
        let most = lane.iter().map(|one| one.sources.len()).max().unwrap_or(0);
        brief.sources = vec![reduce::Source { address: std::ptr::null(), raw: false }; most];
        Some(brief)
    }

    fn add(&mut self, index: usize, one: &Instruction, lowered: &Lowered, element_bytes: usize) -> Option<()> {
        // A post that is waited for stands before its instruction, and what was not lent is free once it is sent.
        let is_local = |source: &Source| matches!(source, Source::Local(_));
        if one.bytes > ring::INLINE as u64 && !one.sources.iter().all(is_local) {
            return None;
        }
        if let Some(destination) = one.destination {
            let start = self.operands.len();
            self.operands.extend_from_slice(&one.sources);
            self.steps.push(Step::Fold(Fold {
                instruction: index,
                operands: start..self.operands.len(),
                destination,
                copies: one.copies.clone(),
                reduction: one.reduction,
                bytes: usize::try_from(one.bytes).ok()?,
                elements: usize::try_from(one.bytes).ok()? / element_bytes,
            }));
        }
        for &outbox in &one.outboxes {
            let post = lowered.outboxes[outbox].1.iter().find(|post| post.instruction == index)?;
            self.steps.push(Step::Send { outbox, post: *post });
        }
        Some(())
    }

    pub fn begin(&mut self) {
        self.next = 0;
    }
}

impl Runner {
    /// Goes as far as it can; the general loop's state is where it stands.
    #[inline]
    pub(super) fn poll_brief(&mut self, links: &mut Links) -> Result<Stop> {
        let Runner { brief: Some(brief), memory, lanes, outboxes, inboxes, kernel, fingerprint, .. } = self else {
            return Ok(Stop::Unusual);
        };
        while let Some(step) = brief.steps.get(brief.next) {
            match step {
                Step::Send { outbox, post } => {
                    let outgoing = &mut outboxes[*outbox];
                    lanes[0].next = post.instruction + 1;
                    let head = Head { fingerprint: *fingerprint, message_bytes: post.bytes };
                    let (address, len) = (memory.at(post.place), post.bytes as usize);
                    // SAFETY: a validated place of the call's buffers (`begin`).
                    match unsafe { links.outbox(outgoing.link).push(head, address, len)? } {
                        0 => return Ok(Stop::Waiting),
                        sent if sent == len => outgoing.next += 1,
                        part => {
                            outgoing.sent = part as u64;
                            return Ok(brief.give_up());
                        }
                    }
                }
                Step::Fold(fold) => {
                    lanes[0].next = fold.instruction;
                    let operands = &brief.operands[fold.operands.clone()];
                    let head = Head { fingerprint: *fingerprint, message_bytes: fold.bytes as u64 };
                    for (operand, source) in operands.iter().zip(&mut brief.sources) {
                        source.address = match *operand {
                            Source::Local(place) => memory.at(place).cast_const(),
                            Source::Inbox(inbox) => match links.inbox(inboxes[inbox]).look(head)? {
                                Look::Whole(data) => data,
                                Look::Nothing => return Ok(Stop::Waiting),
                                Look::Other => return Ok(brief.give_up()),
                            },
                        };
                    }
                    let sources = &brief.sources[..operands.len()];
                    // SAFETY: local operands are validated places of the call's buffers (`begin`), received ones whole messages of
                    // as many bytes, which stay until they are taken; they overlap exactly or not at all.
                    unsafe { fold.run(sources, memory, kernel.as_ref()) };
                    for operand in operands {
                        if let Source::Inbox(inbox) = *operand {
                            links.inbox(inboxes[inbox]).take(fold.bytes, fold.bytes, Lent::Not);
                        }
                    }
                }
            }
            brief.next += 1;
        }
        if brief.next == brief.steps.len() {
            lanes[0].next = self.lowered.lanes[0].len();
            return Ok(Stop::Done);
        }
        Ok(Stop::Unusual)
    }
}

impl Brief {
    fn give_up(&mut self) -> Stop {
        self.next = usize::MAX;
        Stop::Unusual
    }
}

impl Fold {
    /// # Safety
    /// `sources` are readable, and the destinations of `memory` writable, for the fold's bytes.
    #[inline]
    unsafe fn run(&self, sources: &[reduce::Source], memory: &Memory, kernel: Option<&reduce::Kernel>) {
        let target = memory.at(self.destination);
        // SAFETY: the caller's.
        unsafe {
            match (self.reduction, kernel) {
                (Some(reduction), Some(kernel)) => {
                    kernel.run(sources, target, self.elements, reduction == Reduction::Final);
                }
                _ => super::copy(sources[0].address, target, self.bytes),
            }
            for place in &self.copies {
                super::copy(target, memory.at(*place), self.bytes);
            }
        }
    }
}
