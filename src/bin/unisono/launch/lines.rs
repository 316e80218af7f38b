//! Lines of ranks: whole, in bounded memory.

/// A line without an end is cut here; each part is passed on as a line.
pub const LONGEST_LINE_BYTES: usize = 64 << 10;

/// Collects what one rank writes until a line is whole.
#[derive(Default)]
pub struct Lines {
    unfinished: Vec<u8>,
}

impl Lines {
    /// Takes what was read and passes on every line that it completes.
    pub fn take(&mut self, mut bytes: &[u8], pass_on: &mut dyn FnMut(&[u8])) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.append(&bytes[..end], pass_on);
            self.end(pass_on);
            bytes = &bytes[end + 1..];
        }
        self.append(bytes, pass_on);
    }

    fn append(&mut self, mut bytes: &[u8], pass_on: &mut dyn FnMut(&[u8])) {
        while self.unfinished.len() + bytes.len() > LONGEST_LINE_BYTES {
            let (fits, rest) = bytes.split_at(LONGEST_LINE_BYTES - self.unfinished.len());
            self.unfinished.extend_from_slice(fits);
            self.end(pass_on);
            bytes = rest;
        }
        self.unfinished.extend_from_slice(bytes);
    }

    /// The rank writes no more: what it left unfinished becomes a line.
    pub fn finish(&mut self, pass_on: &mut dyn FnMut(&[u8])) {
        if !self.unfinished.is_empty() {
            self.end(pass_on);
        }
    }

    fn end(&mut self, pass_on: &mut dyn FnMut(&[u8])) {
        pass_on(&self.unfinished);
        self.unfinished.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn passed_on(pieces: &[&[u8]]) -> String {
        let mut passed = String::new();
        let mut pass_on = |line: &[u8]| passed.push_str(&format!("{}\n", String::from_utf8_lossy(line)));
        let mut lines = Lines::default();
        pieces.iter().for_each(|piece| lines.take(piece, &mut pass_on));
        lines.finish(&mut pass_on);
        passed
    }

    #[test]
    fn lines_are_whole_however_they_were_read() {
        assert_eq!(passed_on(&[b"one\nt", b"", b"wo", b"\n\nlast"]), "one\ntwo\n\nlast\n");
        assert_eq!(passed_on(&[b""]), "");
    }

    #[test]
    fn a_line_without_end_is_cut_and_nothing_is_lost() {
        let long = vec![b'x'; 3 * LONGEST_LINE_BYTES + 5];
        for pieces in [1000, LONGEST_LINE_BYTES, long.len()] {
            let text = passed_on(&long.chunks(pieces).collect::<Vec<_>>());
            let lengths: Vec<usize> = text.lines().map(|line| line.len()).collect();
            assert_eq!(lengths, [LONGEST_LINE_BYTES, LONGEST_LINE_BYTES, LONGEST_LINE_BYTES, 5]);
        }
        let full = [&long[..LONGEST_LINE_BYTES], b"\n"].concat();
        assert_eq!(passed_on(&[&full]).lines().count(), 1, "a line of just that length is whole");
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same_lines(text in "[ab\n]{0,200}", size in 1usize..20) {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let expected: String = text.lines().map(|line| format!("{line}\n")).collect();
            prop_assert_eq!(passed_on(&pieces), expected);
        }
    }
}
