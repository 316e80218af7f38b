//! Breaks plans, one small change at a time, and asks whether the checker notices.

use super::interpret;
use crate::plan::check::check;
use crate::plan::{Buffer, Lane, Move, Operand, Plan, Program, Reduction, Step};
use crate::types::Rank;
use std::fmt;
use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Drop,
    Repeat,
    SwapWithNext,
    RedirectPeer,
    RedirectChunk,
    Resize,
    FlipFinal,
    RedirectChannel,
    /// A lane becomes two, and what ordered its parts is gone.
    SplitLane,
    /// Another lane, or another step, is waited for.
    RedirectWait,
}

impl Change {
    pub(crate) const ALL: [Change; 10] = [
        Change::Drop,
        Change::Repeat,
        Change::SwapWithNext,
        Change::RedirectPeer,
        Change::RedirectChunk,
        Change::Resize,
        Change::FlipFinal,
        Change::RedirectChannel,
        Change::SplitLane,
        Change::RedirectWait,
    ];
}

/// What became of the mutants of one kind of change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) rejected: usize,
    /// Of those, how many the interpreter too saw go wrong.
    pub(crate) rejected_by_both: usize,
    /// Accepted, and right in every run of the interpreter.
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
        writeln!(f, "{:<16}{:>10}{:>12}{:>14}", "change", "rejected", "(by both)", "equivalent")?;
        for change in Change::ALL {
            let Count { rejected, rejected_by_both, equivalent } = self.of(change);
            writeln!(f, "{:<16}{rejected:>10}{rejected_by_both:>12}{equivalent:>14}", format!("{change:?}"))?;
        }
        Ok(())
    }
}

/// Tries every mutant of every plan.
///
/// # Panics
/// If the checker accepts a mutant that goes wrong in the interpreter.
pub(crate) fn try_all(plans: &[Plan], seeds: Range<u64>) -> Report {
    let mut report = Report::default();
    for plan in plans {
        for_each_mutant(plan, |change, mutant| report.judge(change, &mutant, seeds.clone()));
    }
    report
}

/// Tries mutants of mutants of mutants, chosen by chance: `tries` of each plan.
///
/// # Panics
/// As [`try_all`].
pub(crate) fn try_far(plans: &[Plan], tries: usize, mut state: u64) -> Report {
    let mut report = Report::default();
    for plan in plans {
        for _ in 0..tries {
            let mut mutant = (Change::Drop, plan.clone());
            for _ in 0..3 {
                let mut mutants = Vec::new();
                for_each_mutant(&mutant.1, |change, plan| mutants.push((change, plan)));
                if !mutants.is_empty() {
                    mutant = mutants.swap_remove(interpret::random(&mut state) as usize % mutants.len());
                }
            }
            report.judge(mutant.0, &mutant.1, 0..3);
        }
    }
    report
}

impl Report {
    fn judge(&mut self, change: Change, mutant: &Plan, seeds: Range<u64>) {
        let count = &mut self.counts[change as usize];
        let verdict = check(mutant);
        if !is_well_formed(mutant) {
            assert!(verdict.is_err(), "{change:?} reaches out of a buffer and was accepted:\n{}", mutant.text());
            count.rejected += 1;
            return;
        }
        match (verdict, interpret::run_all(mutant, seeds)) {
            (Err(_), run) => {
                count.rejected += 1;
                count.rejected_by_both += usize::from(run.is_err());
            }
            (Ok(_), Ok(())) => count.equivalent += 1,
            (Ok(_), Err(wrong)) => panic!("{change:?} was accepted, and {wrong}:\n{}", mutant.text()),
        }
    }
}

/// Whether all spans lie inside their buffers, so that the interpreter can run the plan.
fn is_well_formed(plan: &Plan) -> bool {
    let grid = plan.grid();
    let fits = |rank, program: &Program, operand: &Operand, rounds: u32| match operand {
        Operand::Peer { rank: peer, .. } => *peer < plan.problem.ranks,
        Operand::Local(span) => {
            let end = span.start + rounds.saturating_sub(1) * span.stride + span.len;
            span.len > 0 && end <= chunks(&grid, rank, program, span.buffer)
        }
    };
    (0..plan.problem.ranks).all(|rank| {
        let program = plan.program(rank);
        let mut steps = program.lanes.iter().flatten();
        steps.all(|step| {
            let (rounds, moves) = match step {
                Step::Move(one) => (1, std::slice::from_ref(one)),
                Step::Repeat { count, body } => (*count, body.as_slice()),
                Step::Wait { lane, step } => {
                    return program.lanes.get(*lane as usize).is_some_and(|steps| (*step as usize) < steps.len());
                }
            };
            let mut operands = moves.iter().flat_map(|one| one.sources.iter().chain(&one.destinations));
            operands.all(|operand| fits(rank, &program, operand, rounds))
        })
    })
}

fn chunks(grid: &crate::plan::chunk::Grid, rank: Rank, program: &Program, buffer: Buffer) -> u32 {
    match buffer {
        Buffer::Scratch => program.scratch.len() as u32,
        Buffer::Input | Buffer::Output => grid.chunks(rank, buffer),
    }
}

/// Calls `visit` with every plan that differs from `plan` by one change in one place.
pub(crate) fn for_each_mutant(plan: &Plan, mut visit: impl FnMut(Change, Plan)) {
    let programs: Vec<Program> = (0..plan.problem.ranks).map(|rank| plan.program(rank)).collect();
    for (rank, program) in programs.iter().enumerate() {
        for (lane, steps) in program.lanes.iter().enumerate() {
            let chunks = |buffer| chunks(&plan.grid(), rank, program, buffer);
            let mut visit = |change, lanes: Vec<Lane>| {
                let mut programs = programs.clone();
                programs[rank].lanes.splice(lane..=lane, lanes);
                let program = move |rank: Rank| programs[rank].clone();
                let mutant = Plan::new(&plan.algorithm, plan.problem, plan.blocks, program);
                visit(change, mutant.demanding(plan.demands));
            };
            for index in 1..steps.len() {
                visit(Change::SplitLane, vec![steps[..index].to_vec(), steps[index..].to_vec()]);
            }
            let steps_of = program.lanes.iter().map(Vec::len).collect();
            let context = Context { ranks: programs.len(), rank, steps_of, chunks: &chunks };
            lane_mutants(&context, steps, &mut |change, mutant| visit(change, vec![mutant]));
        }
    }
}

struct Context<'a> {
    ranks: usize,
    rank: Rank,
    /// Of every lane of the rank.
    steps_of: Vec<usize>,
    chunks: &'a dyn Fn(Buffer) -> u32,
}

fn lane_mutants(context: &Context, steps: &Lane, visit: &mut dyn FnMut(Change, Lane)) {
    sequence_mutants(steps, visit);
    for (index, step) in steps.iter().enumerate() {
        let mut replace = |change, step| {
            let mut mutant = steps.clone();
            mutant[index] = step;
            visit(change, mutant);
        };
        match step {
            Step::Move(one) => move_mutants(context, one, &mut |change, one| replace(change, Step::Move(one))),
            Step::Repeat { count, body } => {
                for count in [count.saturating_sub(1), count + 1] {
                    replace(Change::Resize, Step::Repeat { count, body: body.clone() });
                }
                let count = *count;
                sequence_mutants(body, &mut |change, body| replace(change, Step::Repeat { count, body }));
                for (index, one) in body.iter().enumerate() {
                    move_mutants(context, one, &mut |change, one| {
                        let mut body = body.clone();
                        body[index] = one;
                        replace(change, Step::Repeat { count, body });
                    });
                }
            }
            Step::Wait { lane, step } => {
                let others = (0..).zip(&context.steps_of).filter(|(other, _)| other != lane);
                let others = others.flat_map(|(lane, steps)| (0..*steps as u32).map(move |step| (lane, step)));
                for (lane, step) in
                    others.chain([(*lane, step + 1)]).chain(step.checked_sub(1).map(|step| (*lane, step)))
                {
                    replace(Change::RedirectWait, Step::Wait { lane, step });
                }
            }
        }
    }
}

/// Changes of what stands where in a sequence.
fn sequence_mutants<T: Clone + PartialEq>(items: &[T], visit: &mut dyn FnMut(Change, Vec<T>)) {
    for index in 0..items.len() {
        let mut mutant = items.to_vec();
        mutant.remove(index);
        visit(Change::Drop, mutant);
        let mut mutant = items.to_vec();
        mutant.insert(index, items[index].clone());
        visit(Change::Repeat, mutant);
        if index + 1 < items.len() && items[index] != items[index + 1] {
            let mut mutant = items.to_vec();
            mutant.swap(index, index + 1);
            visit(Change::SwapWithNext, mutant);
        }
    }
}

fn move_mutants(context: &Context, one: &Move, visit: &mut dyn FnMut(Change, Move)) {
    if let Some(reduction) = one.reduction {
        let flipped = if reduction == Reduction::Final { Reduction::Partial } else { Reduction::Final };
        visit(Change::FlipFinal, Move { reduction: Some(flipped), ..one.clone() });
    }
    for (index, operand) in one.sources.iter().chain(&one.destinations).enumerate() {
        for (change, operand) in operand_mutants(context, *operand) {
            let mut mutant = one.clone();
            match index.checked_sub(one.sources.len()) {
                None => mutant.sources[index] = operand,
                Some(index) => mutant.destinations[index] = operand,
            }
            visit(change, mutant);
        }
    }
}

fn operand_mutants(context: &Context, operand: Operand) -> Vec<(Change, Operand)> {
    match operand {
        Operand::Peer { rank, channel } => {
            let others = (1..context.ranks).map(|distance| (rank + distance) % context.ranks);
            let others = others.filter(|&other| other != context.rank);
            let mut mutants: Vec<_> =
                others.map(|rank| (Change::RedirectPeer, Operand::Peer { rank, channel })).collect();
            mutants.push((Change::RedirectChannel, Operand::Peer { rank, channel: channel + 1 }));
            mutants
        }
        Operand::Local(span) => {
            let chunks = (context.chunks)(span.buffer);
            let starts = (0..chunks).filter(|&start| start != span.start);
            let mut mutants: Vec<_> = starts
                .map(|start| (Change::RedirectChunk, Operand::Local(crate::plan::Span { start, ..span })))
                .collect();
            for len in [span.len.saturating_sub(1), span.len + 1] {
                mutants.push((Change::Resize, Operand::Local(crate::plan::Span { len, ..span })));
            }
            mutants
        }
    }
}
