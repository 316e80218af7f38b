//! Input copies that only calls in place need.
//!
//! Plans that send their input and then overwrite it stage a copy in scratch first: in place, the peer may take the message only
//! after the output was written over the input. Out of place the input is never written, so what was staged may as well be read
//! where it came from, and the copy left out. Among two ranks that is a third of the instructions of a small all-reduce.

use crate::plan::{Buffer, Move, Operand, Program, Span, Step};

/// The program without its copies from input to scratch, if nothing but reading them in place of the input was done with
/// them until they were overwritten; the program as it was where that is not plain to see.
pub fn without_input_copies(program: Program) -> Program {
    shortened(&program).unwrap_or(program)
}

/// Only programs of one lane without repeats, so that the order of accesses is the order of steps.
fn shortened(program: &Program) -> Option<Program> {
    let [lane] = &program.lanes[..] else { return None };
    // Of each scratch slot, the input chunk that it stands for and that was not copied.
    let mut stands_for: Vec<Option<u32>> = vec![None; program.scratch.len()];
    let mut kept = Vec::new();
    for step in lane {
        let Step::Move(one) = step else { return None };
        if let Some((input, scratch)) = input_copy(one) {
            for offset in 0..scratch.len {
                stands_for[(scratch.start + offset) as usize] = Some(input.start + offset);
            }
            continue;
        }
        let mut one = one.clone();
        for source in &mut one.sources {
            *source = redirected(*source, &stands_for)?;
        }
        for destination in &one.destinations {
            if let Operand::Local(Span { buffer: Buffer::Scratch, start, len, .. }) = destination {
                stands_for[*start as usize..(start + len) as usize].fill(None);
            }
        }
        kept.push(Step::Move(one));
    }
    Some(Program { lanes: vec![kept], scratch: program.scratch.clone() })
}

/// The spans of a move that does nothing but copy input to scratch.
fn input_copy(one: &Move) -> Option<(Span, Span)> {
    match (one.reduction, &one.sources[..], &one.destinations[..]) {
        (None, [Operand::Local(from)], [Operand::Local(to)])
            if from.buffer == Buffer::Input && to.buffer == Buffer::Scratch =>
        {
            Some((*from, *to))
        }
        _ => None,
    }
}

/// The source with its scratch slots replaced by what they stand for; None if only some of them stand for input, or not for a run.
fn redirected(source: Operand, stands_for: &[Option<u32>]) -> Option<Operand> {
    let Operand::Local(span) = source else { return Some(source) };
    if span.buffer != Buffer::Scratch {
        return Some(source);
    }
    let slots = &stands_for[span.start as usize..(span.start + span.len) as usize];
    if slots.iter().all(Option::is_none) {
        return Some(source);
    }
    let first = slots[0]?;
    let is_run = slots.iter().zip(first..).all(|(slot, expected)| *slot == Some(expected));
    is_run.then_some(Operand::Local(Span { buffer: Buffer::Input, start: first, ..span }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm;
    use crate::plan::Problem;
    use crate::plan::text::parse;
    use crate::types::Collective;

    fn program_of(text: &str) -> Program {
        parse(text).expect("a plan").program(0)
    }

    #[test]
    fn a_small_all_reduce_loses_its_copy() {
        let problem = Problem::new(Collective::AllReduce, 2);
        for name in ["one_shot", "recursive_doubling"] {
            let plan = algorithm::find(name).unwrap().plan(&problem);
            let before = plan.program(0);
            let after = without_input_copies(before.clone());
            assert_eq!((before.lanes[0].len(), after.lanes[0].len()), (3, 2), "{name}");
            let scratch = |operand: &Operand| matches!(operand, Operand::Local(span) if span.buffer == Buffer::Scratch);
            for step in &after.lanes[0] {
                let Step::Move(one) = step else { panic!("{name} repeats nothing") };
                assert!(!one.sources.iter().chain(&one.destinations).any(scratch), "{name}: {one:?}");
            }
        }
    }

    #[test]
    fn what_is_half_copied_stays_as_it_is() {
        let text = "plan half all_reduce ranks=2 root=0 uneven=no tiles=1 blocks=2\n\
                    rank 0\n  scratch 0 1\n  lane\n    copy input[0] -> scratch[0]\n    copy peer 1 -> scratch[1]\n    \
                    copy scratch[0..2] -> peer 1\n\
                    rank 1\n  lane\n";
        let program = program_of(text);
        assert_eq!(without_input_copies(program.clone()), program);
    }
}
