//! What must hold of plans that others wrote. See [`crate::fuzzing`].

use super::Plan;
use super::check::{Limits, check_lowered_at, check_within};
use super::msccl::{Connections, Document};
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
    fold_probes: 1 << 15,
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

/// A file of MSCCL is refused in one sentence, or comes back as it was; so does each of the two plans that it is, which is then proved or
/// refused within bounds.
pub(crate) fn msccl(bytes: &[u8]) {
    /// So few that no plan takes long; [`Document::parse`] works by the same counting.
    const MOST_CHUNKS: u64 = 1 << 10;
    let Ok(text) = str::from_utf8(bytes) else { return };
    let refused = |error: super::text::TextError| {
        assert!(error.line >= 1 && error.column >= 1);
        assert_one_sentence(&error.to_string(), text.len());
    };
    let (document, peak) = peak_bytes(|| Document::parse_within(text, MOST_CHUNKS));
    assert!(peak <= 80 * text.len() + 8192, "{peak} bytes for a file of {}", text.len());
    let document = match document {
        Ok(document) => document,
        Err(error) => return refused(error),
    };
    let written = document.to_string();
    match Document::parse_within(&written, MOST_CHUNKS) {
        Ok(again) => assert_eq!(again.to_string(), written),
        Err(error) => panic!("{error} in\n{written}"),
    }
    for connections in [Connections::Posted, Connections::Buffered] {
        match document.plan(text, connections) {
            Ok(reading) => {
                assert_same_text(&reading.plan);
                proof(&reading.plan, text.len());
            }
            Err(error) => refused(error),
        }
    }
}

fn assert_same_text(plan: &Plan) {
    let text = plan.text().to_string();
    let again = parse(&text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
    assert_eq!((&again.algorithm, again.problem, again.blocks), (&plan.algorithm, plan.problem, plan.blocks));
    assert!(
        (0..plan.problem.ranks).all(|rank| again.program(rank) == plan.program(rank)),
        "another program in\n{text}"
    );
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::check::{Flaw, check};

    /// As [`LIMITS`], but with as many moves as ever: each of the other limits is met.
    const LONG: Limits = Limits { moves: Limits::FULL.moves, work: Limits::FULL.work, ..LIMITS };

    fn too_large(text: &str, limits: &Limits) -> &'static str {
        let plan = parse(text).expect("a plan");
        let (checked, peak) = peak_bytes(|| check_within(&plan, limits));
        assert!(peak <= 40 * text.len() + PROOF_BYTES, "{peak} bytes");
        match checked {
            Err(Flaw::TooLarge { what, .. }) => what,
            other => panic!("{:?} of\n{text}", other.map(|_| ())),
        }
    }

    #[test]
    fn a_short_text_that_asks_for_much_is_refused_before_it_costs_much() {
        for (text, what) in [
            (include_str!("../../tests/corpus/plan/repeat_four_billion.plan"), "moves"),
            (include_str!("../../tests/corpus/plan/four_billion_tiles.plan"), "chunks of memory"),
            (include_str!("../../tests/corpus/plan/folds_without_end.plan"), "words of memory for what is folded"),
            (include_str!("../../tests/corpus/plan/messages_without_end.plan"), "messages under way"),
            (include_str!("../../tests/corpus/plan/reads_without_end.plan"), "reads to keep in mind"),
        ] {
            assert_eq!(too_large(text, &LONG), what);
        }
        let lanes = "  lane\n".repeat(100);
        let many_lanes = format!(
            "plan x barrier ranks=1 root=0 uneven=no tiles=1 blocks=1\nrank 0\n{lanes}    repeat 60000000\n      copy input[0] -> output[0]\n    end\n"
        );
        assert_eq!(too_large(&many_lanes, &LONG), "steps of clocks to compare");
        let more_lanes = many_lanes.replace(&lanes, &lanes.repeat(2));
        assert_eq!(too_large(&more_lanes, &LONG), "clocks of lanes and messages side by side");
        let folds = include_str!("../../tests/corpus/plan/folds_without_end.plan");
        assert_eq!(too_large(folds, &Limits { fold_probes: 100, ..LONG }), "steps to look up folds");
        let work = "plan x all_reduce ranks=1 root=0 uneven=no tiles=9 blocks=9\nrank 0\n lane\n repeat 2000\n  finish input[0..81] -> output[0..81]\n end\n";
        assert_eq!(too_large(work, &LIMITS), "chunks to move");
    }

    #[test]
    fn a_proved_plan_that_is_long_is_not_proved_lowered() {
        let text = "plan x all_gather ranks=1 root=0 uneven=no tiles=1 blocks=1\nrank 0\n lane\n repeat 1100000\n  copy input[0] -> output[0]\n end\n";
        let checked = check(&parse(text).expect("a plan")).expect("it is right");
        let (flaw, peak) = peak_bytes(|| check_lowered_at(&checked, 1));
        assert!(matches!(flaw, Err(Flaw::TooLarge { what: "moves", .. })) && peak < 4096, "{flaw:?}, {peak} bytes");
        let wide = "plan x all_gather ranks=1 root=0 uneven=no tiles=1 blocks=1\nrank 0\n lane\n  copy input[0] -> output[0]\n";
        let checked = check(&parse(wide).expect("a plan")).expect("it is right");
        let (flaw, peak) = peak_bytes(|| check_lowered_at(&checked, 1 << 30));
        assert!(matches!(flaw, Err(Flaw::TooLarge { what: "elements", .. })) && peak < 4096, "{flaw:?}, {peak} bytes");
    }
}
