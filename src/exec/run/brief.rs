//! Programs of a few short messages, as one list of sends and folds.
//!
//! What such a program costs is its instructions, not its bytes. One lane does all, every message fits into a record, and nothing
//! has to come back before memory is written again: so sends and folds stand in one order, and running them takes neither pumps
//! nor waits for releases. Whatever is not as expected (a record in parts, one that is lent, another call's) is left as it is,
//! and the general loop goes on from there: where it stands is kept up to date.
//!
//! In the general loop a send that finds no room holds up nothing else; here it holds up what stands behind it. That ends: of
//! this call there is room for all, in a ring's cells as in a socket's buffer of some thousand bytes, and what earlier calls left in a link
//! is taken by peers that need nothing more of this rank.

use super::{Memory, Runner};
use crate::error::Result;
use crate::exec::links::Links;
use crate::plan::lower::{Instruction, Lowered, Place, Post, Source};
use crate::plan::{Buffer, Reduction};
use crate::reduce;
use crate::transport::arena::LEAST_CELLS;
use crate::transport::{Head, Lent, Look, ring};
use std::ops::Range;

/// Messages of one call in one link, at most: half of the smallest ring.
const POSTS: usize = 4;
const _: () = assert!(2 * POSTS <= LEAST_CELLS as usize, "a ring has room for all messages of a call");

pub(super) struct Brief {
    steps: Vec<Step>,
    operands: Vec<Operand>,
    /// Addresses of the fold that runs.
    sources: Vec<reduce::Source>,
    /// Where the call's input, output and scratch begin.
    bases: [*mut u8; 3],
    /// The step that runs; none after the general loop has taken over.
    next: usize,
    /// Messages fit into a cell each. It changes where a program is [resized](Runner::resize).
    is_short: bool,
}

/// A [`Place`] whose address takes no branch.
#[derive(Clone, Copy)]
struct Spot {
    base: usize,
    offset: usize,
}

impl Spot {
    fn of(place: Place) -> Spot {
        let base = match place.buffer {
            Buffer::Input => 0,
            Buffer::Output => 1,
            Buffer::Scratch => 2,
        };
        Spot { base, offset: place.offset as usize }
    }

    #[inline]
    fn address(self, bases: &[*mut u8; 3]) -> *mut u8 {
        bases[self.base].wrapping_add(self.offset)
    }
}

#[derive(Clone, Copy)]
enum Operand {
    Local(Spot),
    /// The next message of this link.
    Link(usize),
}

enum Step {
    Send { outbox: usize, instruction: usize, from: Spot, bytes: usize },
    Fold(Fold),
}

struct Fold {
    instruction: usize,
    /// By index into [`Brief::operands`].
    operands: Range<usize>,
    destination: Spot,
    copies: Vec<Spot>,
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
    /// The program's list, if it is one of few short messages. `inboxes`: their links.
    pub fn of(lowered: &Lowered, inboxes: &[usize], element_bytes: usize) -> Option<Brief> {
        let [lane] = &lowered.lanes[..] else { return None };
        let is_short = |post: &Post| post.bytes <= ring::INLINE as u64;
        if !lowered.outboxes.iter().all(|(_, posts)| posts.len() <= POSTS && posts.iter().all(is_short)) {
            return None;
        }
        let bases = [std::ptr::null_mut(); 3];
        let mut brief =
            Brief { steps: Vec::new(), operands: Vec::new(), sources: Vec::new(), bases, next: 0, is_short: true };
        for (index, instruction) in lane.iter().enumerate() {
            brief.add_fold(index, instruction, inboxes, element_bytes)?;
            for &outbox in &instruction.outboxes {
                let Post { place, bytes, .. } =
                    *lowered.outboxes[outbox].1.iter().find(|post| post.instruction == index)?;
                let bytes = bytes as usize;
                brief.steps.push(Step::Send { outbox, instruction: index, from: Spot::of(place), bytes });
            }
        }
        let most = lane.iter().map(|one| one.sources.len()).max().unwrap_or(0);
        brief.sources = vec![reduce::Source { address: std::ptr::null(), raw: false }; most];
        Some(brief)
    }

    /// What is awaited is over by then: a post stands before the instruction that awaits it, and was not lent.
    fn add_fold(&mut self, index: usize, one: &Instruction, inboxes: &[usize], element_bytes: usize) -> Option<()> {
        let is_local = |source: &Source| matches!(source, Source::Local(_));
        if one.bytes > ring::INLINE as u64 && !one.sources.iter().all(is_local) {
            return None;
        }
        let Some(destination) = one.destination else { return Some(()) };
        let start = self.operands.len();
        self.operands.extend(one.sources.iter().map(|source| match *source {
            Source::Local(place) => Operand::Local(Spot::of(place)),
            Source::Inbox(inbox) => Operand::Link(inboxes[inbox]),
        }));
        let bytes = usize::try_from(one.bytes).ok()?;
        self.steps.push(Step::Fold(Fold {
            instruction: index,
            operands: start..self.operands.len(),
            destination: Spot::of(destination),
            copies: one.copies.iter().copied().map(Spot::of).collect(),
            reduction: one.reduction,
            bytes,
            elements: bytes / element_bytes,
        }));
        Some(())
    }

    pub fn begin(&mut self, memory: Memory) {
        self.bases = [memory.input.cast_mut(), memory.output, memory.scratch];
        self.next = if self.is_short { 0 } else { usize::MAX };
    }

    /// All messages have so many bytes from the next beginning on.
    pub fn resize(&mut self, new: u64) {
        self.is_short = new <= ring::INLINE as u64;
        // Of a longer one nothing here runs.
        let new = usize::try_from(new).unwrap_or(usize::MAX);
        for step in &mut self.steps {
            match step {
                Step::Send { bytes, .. } => *bytes = new,
                Step::Fold(fold) => {
                    assert!(fold.reduction.is_none(), "only what is copied is resized");
                    fold.bytes = new;
                }
            }
        }
    }
}

impl Runner {
    /// Goes as far as it can; the general loop's state is where it stands.
    #[inline]
    pub(super) fn poll_brief(&mut self, links: &mut Links) -> Result<Stop> {
        let Runner { brief: Some(brief), lanes, outboxes, kernel, fingerprint, .. } = self else {
            return Ok(Stop::Unusual);
        };
        while let Some(step) = brief.steps.get(brief.next) {
            match step {
                Step::Send { outbox, instruction, from, bytes } => {
                    let outgoing = &mut outboxes[*outbox];
                    lanes[0].next = instruction + 1;
                    let head = Head { fingerprint: *fingerprint, message_bytes: *bytes as u64 };
                    let address = from.address(&brief.bases);
                    // SAFETY: a validated place of the call's buffers (`begin`).
                    match unsafe { links.outbox(outgoing.link).push(head, address, *bytes)? } {
                        0 => return Ok(Stop::Waiting),
                        sent if sent == *bytes => outgoing.next += 1,
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
                            Operand::Local(spot) => spot.address(&brief.bases).cast_const(),
                            Operand::Link(link) => match links.inbox(link).look(head)? {
                                Look::Whole(data) => data,
                                Look::Nothing => return Ok(Stop::Waiting),
                                Look::Other => return Ok(brief.give_up()),
                            },
                        };
                    }
                    let sources = &brief.sources[..operands.len()];
                    // SAFETY: local operands are validated places of the call's buffers (`begin`), received ones whole messages of
                    // as many bytes, which stay until they are taken; they overlap exactly or not at all.
                    unsafe { fold.run(sources, &brief.bases, kernel.as_ref()) };
                    for operand in operands {
                        if let Operand::Link(link) = *operand {
                            links.inbox(link).take(fold.bytes, fold.bytes, Lent::Not);
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
    /// `sources` are readable, and the destinations behind `bases` writable, for the fold's bytes.
    #[inline]
    unsafe fn run(&self, sources: &[reduce::Source], bases: &[*mut u8; 3], kernel: Option<&reduce::Kernel>) {
        let target = self.destination.address(bases);
        // SAFETY: the caller's.
        unsafe {
            match (self.reduction, kernel) {
                (Some(reduction), Some(kernel)) => {
                    kernel.run(sources, target, self.elements, reduction == Reduction::Final);
                }
                _ => super::copy(sources[0].address, target, self.bytes),
            }
            for place in &self.copies {
                super::copy(target, place.address(bases), self.bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Problem;
    use crate::plan::chunk::Counts;
    use crate::plan::lower::lower;
    use crate::select::Selector;
    use crate::types::Collective;

    /// Steps of the list of rank 1, if there is one.
    fn steps(algorithm: &'static str, ranks: usize, count: u64) -> Option<usize> {
        let checked = Selector::prove(algorithm, Problem::new(Collective::AllReduce, ranks)).unwrap();
        let lowered = lower(&checked, 1, &Counts::Even(count), 4, false);
        let inboxes: Vec<usize> = (0..lowered.inboxes.len()).collect();
        Brief::of(&lowered, &inboxes, 4).map(|brief| brief.steps.len())
    }

    #[test]
    fn programs_of_few_short_messages_are_brief() {
        assert_eq!(steps("one_shot", 2, 2), Some(2), "a send and a fold");
        assert_eq!(steps("one_shot", 5, 2), Some(5), "four sends and a fold");
        assert!(steps("recursive_doubling", 8, 2).is_some());
        let fit = ring::INLINE as u64 / 4;
        assert!(steps("one_shot", 2, fit).is_some() && steps("one_shot", 2, fit + 1).is_none());
        assert!(steps("ring", 9, 9).is_none(), "a ring of nine sends sixteen messages to its neighbour");
    }

    /// Where a run begins, and how many bytes its message has there.
    fn begins(brief: &mut Brief, bytes: u64) -> (usize, usize) {
        brief.resize(bytes);
        brief.begin(Memory::new(std::ptr::null(), std::ptr::null_mut()));
        let bytes = brief.steps.iter().map(|step| match step {
            Step::Send { bytes, .. } | Step::Fold(Fold { bytes, .. }) => *bytes,
        });
        (brief.next, bytes.max().unwrap())
    }

    #[test]
    fn a_message_is_brief_as_long_as_it_is_short_whatever_there_was_before() {
        let checked = Selector::prove("binomial", Problem::new(Collective::Broadcast, 2)).unwrap();
        for rank in 0..2 {
            let lowered = lower(&checked, rank, &Counts::Even(1), 1, true);
            let mut brief = Brief::of(&lowered, &[0][..lowered.inboxes.len()], 1).unwrap();
            for bytes in [1, 100, ring::INLINE] {
                assert_eq!(begins(&mut brief, bytes as u64), (0, bytes), "rank {rank}");
                assert_eq!(begins(&mut brief, ring::INLINE as u64 + 1).0, usize::MAX, "the general loop's");
            }
        }
    }
}
