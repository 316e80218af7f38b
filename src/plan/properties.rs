//! What must hold of plans that others wrote. See [`crate::fuzzing`].

use super::Plan;
use super::check::{Limits, check_lowered_at, check_within};
use super::text::parse;
use crate::fuzzing::{assert_one_sentence, peak_bytes};

/// So small that every plan is proved or refused at once. [`Limits::FULL`] works by the same counting.
const LIMITS: Limits = Limits {
    ranks: 64,
    chunks: 1 << 10,
    moves: 1 << 11,
    work: 1 << 13,
    messages: 1 << 8,
    fold_words: 1 << 13,
    clock_cells: 1 << 14,
    clock_work: 1 << 17,
    reads: 1 << 9,
};
/// What a proof within these limits may allocate beyond a multiple of the text.
const PROOF_BYTES: usize = 1 << 20;

/// Text is refused in one sentence, or is a plan whose own text says the same; the plan is proved or refused within bounds, and
/// what is proved is also right as it is lowered.
pub(crate) fn text(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let (plan, peak) = peak_bytes(|| parse(text));
    assert!(peak <= 40 * text.len() + 4096, "{peak} bytes for a text of {}", text.len());
    match plan {
        Ok(plan) => {
            assert_same_text(&plan);
            proof(&plan, text.len());
        }
        Err(error) => {
            assert!(error.line >= 1 && error.column >= 1);
            assert_one_sentence(&error.to_string(), 0);
        }
    }
}

fn assert_same_text(plan: &Plan) {
    let text = plan.text().to_string();
    let again = parse(&text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
    assert_eq!((&again.algorithm, again.problem, again.blocks), (&plan.algorithm, plan.problem, plan.blocks));
    assert_eq!(again.text().to_string(), text);
}

fn proof(plan: &Plan, text_bytes: usize) {
    let (checked, peak) = peak_bytes(|| check_within(plan, &LIMITS));
    assert!(peak <= 40 * text_bytes + PROOF_BYTES, "{peak} bytes to prove a text of {text_bytes}");
    match checked {
        Ok(checked) => {
            for count in [0, 1, 7] {
                if let Err(flaw) = check_lowered_at(&checked, count) {
                    panic!("a plan that was proved is wrong for {count} elements: {flaw}");
                }
            }
        }
        Err(flaw) => assert_one_sentence(&flaw.to_string(), 0),
    }
}
