//! Breaks lowered programs, one small change at a time, and asks whether the proof notices.

use super::super::promised::Expected;
use super::super::{lower_all, run};
use super::judge;
use crate::plan::Reduction;
use crate::plan::check::Checked;
use crate::plan::chunk::Counts;
use crate::plan::lower::{Beginning, Instruction, Lowered, Place, Source};
use std::fmt;

const ELEMENT_BYTES: u64 = 2;
const SEEDS: u64 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    DropWait,
    EarlierWait,
    Shift,
    SwapPosts,
    ShiftPost,
    WrongBytes,
    SwapInstructions,
    DropInstruction,
    DropSource,
    DropCopy,
    RedirectInbox,
    FlipFinal,
}

impl Change {
    pub(crate) const ALL: [Change; 12] = [
        Change::DropWait,
        Change::EarlierWait,
        Change::Shift,
        Change::SwapPosts,
        Change::ShiftPost,
        Change::WrongBytes,
        Change::SwapInstructions,
        Change::DropInstruction,
        Change::DropSource,
        Change::DropCopy,
        Change::RedirectInbox,
        Change::FlipFinal,
    ];
}

/// What became of the mutants of one kind of change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) rejected: usize,
    /// Of those, how many the judge too saw go wrong.
    pub(crate) rejected_by_both: usize,
    /// Accepted, and right in every run of the judge.
    pub(crate) equivalent: usize,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    counts: [Count; Change::ALL.len()],
}

impl Report {
    pub(crate) fn of(&self, change: Change) -> Count {
        self.counts[change as usize]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<18}{:>10}{:>12}{:>14}", "change", "rejected", "(by both)", "equivalent")?;
        for change in Change::ALL {
            let Count { rejected, rejected_by_both, equivalent } = self.of(change);
            writeln!(f, "{:<18}{rejected:>10}{rejected_by_both:>12}{equivalent:>14}", format!("{change:?}"))?;
        }
        Ok(())
    }
}

/// Tries every mutant of what every rank's program is lowered to.
///
/// # Panics
/// If the proof accepts a mutant that goes wrong in the judge.
pub(crate) fn try_all(checked: &Checked, counts: &[Counts], in_place: bool, report: &mut Report) {
    let programs = lower_all(checked, counts, ELEMENT_BYTES, in_place);
    let expected = Expected::new(checked, counts);
    for rank in 0..programs.len() {
        for_each_mutant(&programs[rank], &mut |change, mutant| {
            let mut mutants = programs.clone();
            mutants[rank] = mutant;
            let count = &mut report.counts[change as usize];
            let is_valid = mutants[rank].validate().is_ok();
            let judged = |seed| Some((seed, judge::run(&expected, &mutants, ELEMENT_BYTES, seed).err()?));
            let wrong = is_valid.then(|| (0..SEEDS).find_map(judged)).flatten();
            match (run(checked, counts, ELEMENT_BYTES, &mutants), wrong) {
                (Err(_), wrong) => {
                    count.rejected += 1;
                    count.rejected_by_both += usize::from(wrong.is_some());
                }
                (Ok(()), None) if is_valid => count.equivalent += 1,
                (Ok(()), wrong) => {
                    let (plan, mutant) = (checked.plan().text(), &mutants[rank]);
                    panic!("{change:?} on rank {rank} was accepted, and {wrong:?} (seed, why):\n{mutant:?}\n{plan}");
                }
            }
        });
    }
}

fn for_each_mutant(program: &Lowered, visit: &mut dyn FnMut(Change, Lowered)) {
    for lane in 0..program.lanes.len() {
        for index in 0..program.lanes[lane].len() {
            instruction_mutants(program, &program.lanes[lane][index], &mut |change, mutant| {
                let mut mutated = program.clone();
                mutated.lanes[lane][index] = mutant;
                visit(change, mutated);
            });
            sequence_mutants(program, lane, index, visit);
        }
    }
    for outbox in 0..program.outboxes.len() {
        post_mutants(program, outbox, visit);
    }
}

fn post_mutants(program: &Lowered, outbox: usize, visit: &mut dyn FnMut(Change, Lowered)) {
    let posts = &program.outboxes[outbox].1;
    for (index, post) in posts.iter().enumerate() {
        if let Some(next) = posts.get(index + 1).filter(|next| next.place != post.place) {
            let mut mutated = program.clone();
            let of = &mut mutated.outboxes[outbox].1;
            (of[index].place, of[index + 1].place) = (next.place, post.place);
            visit(Change::SwapPosts, mutated);
        }
        for bytes in [post.bytes - ELEMENT_BYTES, post.bytes + ELEMENT_BYTES] {
            let mut mutated = program.clone();
            mutated.outboxes[outbox].1[index].bytes = bytes;
            visit(Change::WrongBytes, mutated);
        }
        for place in shifted(post.place) {
            let mut mutated = program.clone();
            mutated.outboxes[outbox].1[index].place = place;
            visit(Change::ShiftPost, mutated);
        }
    }
}

fn shifted(place: Place) -> impl Iterator<Item = Place> {
    let offsets = [place.offset.checked_sub(ELEMENT_BYTES), Some(place.offset + ELEMENT_BYTES), Some(place.offset + 1)];
    offsets.into_iter().flatten().map(move |offset| Place { offset, ..place })
}

/// Changes of the order of a lane. Posts stay where they are, so only instructions without any are moved or dropped.
fn sequence_mutants(program: &Lowered, lane: usize, index: usize, visit: &mut dyn FnMut(Change, Lowered)) {
    let steps = &program.lanes[lane];
    let is_silent = |index: usize| steps.get(index).is_some_and(|one| one.outboxes.is_empty());
    if !is_silent(index) {
        return;
    }
    let mut mutated = program.clone();
    mutated.lanes[lane].remove(index);
    let posts = mutated.outboxes.iter_mut().flat_map(|(_, posts)| posts);
    posts.filter(|post| post.lane == lane && post.instruction > index).for_each(|post| post.instruction -= 1);
    visit(Change::DropInstruction, mutated);
    if is_silent(index + 1) && steps[index] != steps[index + 1] {
        let mut mutated = program.clone();
        mutated.lanes[lane].swap(index, index + 1);
        visit(Change::SwapInstructions, mutated);
    }
}

fn instruction_mutants(program: &Lowered, one: &Instruction, visit: &mut dyn FnMut(Change, Instruction)) {
    for (index, release) in one.awaits.iter().enumerate() {
        let mut mutant = one.clone();
        mutant.awaits.remove(index);
        visit(Change::DropWait, mutant);
        if let Some(post) = release.post.checked_sub(1) {
            let mut mutant = one.clone();
            mutant.awaits[index].post = post;
            visit(Change::EarlierWait, mutant);
        }
    }
    if let Some(after) = one.after {
        visit(Change::DropWait, Instruction { after: None, ..one.clone() });
        if let Some(instructions) = after.instructions.checked_sub(1) {
            let after = Some(Beginning { instructions, ..after });
            visit(Change::EarlierWait, Instruction { after, ..one.clone() });
        }
    }
    for bytes in [one.bytes.saturating_sub(ELEMENT_BYTES), one.bytes + ELEMENT_BYTES] {
        visit(Change::WrongBytes, Instruction { bytes, ..one.clone() });
    }
    for (index, source) in one.sources.iter().enumerate() {
        source_mutants(program, one, index, *source, visit);
    }
    for place in one.destination.into_iter().flat_map(shifted) {
        visit(Change::Shift, Instruction { destination: Some(place), ..one.clone() });
    }
    for (index, place) in one.copies.iter().enumerate() {
        let mut mutant = one.clone();
        mutant.copies.remove(index);
        visit(Change::DropCopy, mutant);
        for place in shifted(*place) {
            let mut mutant = one.clone();
            mutant.copies[index] = place;
            visit(Change::Shift, mutant);
        }
    }
    if let Some(reduction) = one.reduction {
        let flipped = if reduction == Reduction::Final { Reduction::Partial } else { Reduction::Final };
        visit(Change::FlipFinal, Instruction { reduction: Some(flipped), ..one.clone() });
    }
}

fn source_mutants(
    program: &Lowered,
    one: &Instruction,
    index: usize,
    source: Source,
    visit: &mut dyn FnMut(Change, Instruction),
) {
    let mut replace = |change, source| {
        let mut mutant = one.clone();
        mutant.sources[index] = source;
        visit(change, mutant);
    };
    // A local source of an instruction that stores nothing is only a name for what its posts read.
    match source {
        Source::Local(place) if one.destination.is_some() => {
            shifted(place).for_each(|place| replace(Change::Shift, Source::Local(place)));
        }
        Source::Local(_) => {}
        Source::Inbox(inbox) => {
            let others = (0..program.inboxes.len()).filter(|other| *other != inbox);
            others.for_each(|other| replace(Change::RedirectInbox, Source::Inbox(other)));
        }
    }
    if one.destination.is_some() {
        let mut mutant = one.clone();
        mutant.sources.remove(index);
        visit(Change::DropSource, mutant);
    }
}
