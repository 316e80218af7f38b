//! What many ranks say alike is passed on for the first of them only, and counted for the others.

use super::ranges;
use std::cmp::Reverse;
use std::collections::HashMap;

/// Different things that are remembered; whatever is said beyond them passes.
const MAX_SHAPES: usize = 1000;
/// Sentences of a summary.
const MAX_SENTENCES: usize = 8;
/// Of a longer line in the summary, in bytes: how it begins, and how it ends, where an error has its remedy.
const TOLD_BYTES: [usize; 2] = [160, 240];

pub struct Fold {
    /// So many ranks are let say the same.
    shown: usize,
    by_shape: HashMap<Vec<u8>, usize>,
    said: Vec<Said>,
}

/// Something that was said.
struct Said {
    line: Vec<u8>,
    shown: Vec<usize>,
    folded: Vec<usize>,
}

impl Fold {
    pub fn new(shown: usize) -> Fold {
        assert!(shown > 0, "somebody has to say it");
        Fold { shown, by_shape: HashMap::new(), said: Vec::new() }
    }

    /// Whether a rank's line is to be passed on. A rank may say the same again and again if it is among the first.
    pub fn passes(&mut self, rank: usize, line: &[u8]) -> bool {
        let shape = shape(line);
        let Some(&index) = self.by_shape.get(&shape) else {
            if self.said.len() < MAX_SHAPES {
                self.by_shape.insert(shape, self.said.len());
                self.said.push(Said { line: line.to_vec(), shown: vec![rank], folded: Vec::new() });
            }
            return true;
        };
        let said = &mut self.said[index];
        if said.shown.contains(&rank) {
            return true;
        }
        let passes = said.shown.len() < self.shown;
        let ranks = if passes { &mut said.shown } else { &mut said.folded };
        if ranks.last() != Some(&rank) {
            ranks.push(rank);
        }
        passes
    }

    /// What was not passed on, in sentences; lines that the same ranks said are in one.
    pub fn summary(self) -> Vec<String> {
        let mut groups: Vec<(Vec<usize>, Vec<Said>)> = Vec::new();
        for mut said in self.said.into_iter().filter(|said| !said.folded.is_empty()) {
            let mut ranks = std::mem::take(&mut said.folded);
            ranks.sort_unstable();
            ranks.dedup();
            match groups.iter_mut().find(|(known, _)| *known == ranks) {
                Some((_, same)) => same.push(said),
                None => groups.push((ranks, vec![said])),
            }
        }
        // What most of them said goes first.
        groups.sort_by_key(|(ranks, _)| Reverse(ranks.len()));
        let mut told: Vec<String> =
            groups.iter().take(MAX_SENTENCES).map(|(ranks, same)| sentence(ranks, same)).collect();
        if groups.len() > MAX_SENTENCES {
            told.push(format!("{} other things were said by several ranks each", groups.len() - MAX_SENTENCES));
        }
        told
    }
}

fn sentence(ranks: &[usize], same: &[Said]) -> String {
    let text = String::from_utf8_lossy(&same[0].line);
    let [begin, end] = TOLD_BYTES;
    let told = match text.len() > begin + end {
        true => {
            let (head, tail) = (text.floor_char_boundary(begin), text.ceil_char_boundary(text.len() - end));
            format!("{} ... {}", &text[..head], &text[tail..])
        }
        false => text.into_owned(),
    };
    let lines = match same.len() {
        1 => String::new(),
        2 => ", and one line more".to_owned(),
        count => format!(", and {} lines more", count - 1),
    };
    let plural = if ranks.len() == 1 { "" } else { "s" };
    let verb = if ranks.len() == 1 { "says" } else { "say" };
    format!(
        "{} more rank{plural} {verb} the same as rank {}: {told}{lines} ({})",
        ranks.len(),
        same[0].shown[0],
        ranges("rank", ranks.iter().copied()),
    )
}

/// What a line has in common with those of other ranks: numbers differ, and names that have numbers in them.
fn shape(line: &[u8]) -> Vec<u8> {
    let is_joined = |byte: &u8| byte.is_ascii_alphanumeric() || b".,-".contains(byte);
    let words = line.chunk_by(|a, b| is_joined(a) && is_joined(b));
    words.flat_map(|word| if word.iter().any(u8::is_ascii_digit) { b"#" } else { word }).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_say_alike_is_passed_on_for_the_first() {
        let mut fold = Fold::new(2);
        let mut passed = Vec::new();
        for rank in 0..10 {
            for line in [format!("rank {rank} of 10: ranks 3,5-7 are gone"), "it ends here".to_owned()] {
                if fold.passes(rank, line.as_bytes()) {
                    passed.push(line);
                }
            }
        }
        assert!(fold.passes(7, b"something else") && fold.passes(1, b"it ends here"));
        assert!(!fold.passes(9, b"it ends here"));
        assert_eq!(passed.len(), 4, "{passed:?}");
        let expected = "8 more ranks say the same as rank 0: rank 0 of 10: ranks 3,5-7 are gone, and one line more \
                        (ranks 2-9)";
        assert_eq!(fold.summary(), [expected]);
    }

    #[test]
    fn lines_differ_in_words_and_not_in_numbers() {
        for (one, other, alike) in [
            ("rank 3 (pid 17) is gone", "rank 12 (pid 4711) is gone", true),
            ("socket unisono-17ab is closed", "socket unisono-c0ffee1 is closed", true),
            ("ranks 1,3-5 left after 1.5ms", "ranks 2 left after 17ms", true),
            ("rank 3 is gone", "rank 3 is lost", false),
            ("", " ", false),
        ] {
            assert_eq!(shape(one.as_bytes()) == shape(other.as_bytes()), alike, "`{one}` and `{other}`");
        }
    }

    #[test]
    fn a_summary_is_short() {
        let mut fold = Fold::new(1);
        let word = |number: usize| "x".repeat(number + 1);
        for rank in 0..100 {
            for number in 0..=20 - rank % 20 {
                fold.passes(rank, word(number).as_bytes());
            }
        }
        let told = fold.summary();
        assert!(told.len() == MAX_SENTENCES + 1 && told[0].starts_with("99 more ranks say"), "{told:#?}");
    }

    #[test]
    fn a_long_line_is_cut_in_its_middle_between_characters() {
        let mut fold = Fold::new(1);
        let line = "ö".repeat(500);
        assert!(fold.passes(0, line.as_bytes()) && !fold.passes(3, line.as_bytes()));
        let told = fold.summary();
        let kept = format!("{} ... {}", "ö".repeat(80), "ö".repeat(120));
        assert_eq!(told, [format!("1 more rank says the same as rank 0: {kept} (rank 3)")]);
    }

    #[test]
    fn the_remedy_at_the_end_of_an_error_is_told() {
        let mut fold = Fold::new(1);
        let line =
            format!("unisono: {}: give fewer ranks, or raise the limit", "what happened, at length, ".repeat(40));
        assert!(fold.passes(0, line.as_bytes()) && !fold.passes(1, line.as_bytes()));
        let told = fold.summary();
        assert!(told[0].contains("give fewer ranks, or raise the limit (rank 1)"), "{told:?}");
        assert!(told[0].len() < 600, "{told:?}");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut fold = Fold::new(1);
        let word = |number: usize| format!("{}{}", "x".repeat(number % 97), "y".repeat(number / 97));
        assert!((0..2 * MAX_SHAPES).all(|number| fold.passes(number, word(number).as_bytes())));
        assert!(fold.passes(0, b"z") && fold.passes(1, b"z") && fold.said.len() == MAX_SHAPES);
    }
}
