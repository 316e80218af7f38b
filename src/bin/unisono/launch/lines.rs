//! Lines of many ranks on one stream: whole, each with its rank in front, in bounded memory.

use super::sink::Sink;

/// A line without an end is cut here; each part is passed on as a line.
pub const LONGEST_LINE_BYTES: usize = 64 << 10;

/// Collects what one rank writes until a line is whole.
pub struct Lines {
    prefix: Vec<u8>,
    unfinished: Vec<u8>,
}

impl Lines {
    pub fn of_rank(rank: usize) -> Lines {
        Lines { prefix: format!("[{rank}] ").into_bytes(), unfinished: Vec::new() }
    }

    /// Takes what was read and passes on every line that it completes.
    pub fn take(&mut self, mut bytes: &[u8], sink: &mut Sink) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.append(&bytes[..end], sink);
            self.pass_on(sink);
            bytes = &bytes[end + 1..];
        }
        self.append(bytes, sink);
    }

    fn append(&mut self, mut bytes: &[u8], sink: &mut Sink) {
        while self.unfinished.len() + bytes.len() > LONGEST_LINE_BYTES {
            let (fits, rest) = bytes.split_at(LONGEST_LINE_BYTES - self.unfinished.len());
            self.unfinished.extend_from_slice(fits);
            self.pass_on(sink);
            bytes = rest;
        }
        self.unfinished.extend_from_slice(bytes);
    }

    /// The rank writes no more: what it left unfinished becomes a line.
    pub fn finish(&mut self, sink: &mut Sink) {
        if !self.unfinished.is_empty() {
            self.pass_on(sink);
        }
    }

    fn pass_on(&mut self, sink: &mut Sink) {
        sink.line(&self.prefix, &self.unfinished);
        self.unfinished.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs::File;

    fn passed_on(pieces: &[&[u8]]) -> String {
        let (mut lines, mut sink) = (Lines::of_rank(7), Sink::new(File::open("/dev/null").expect("/dev/null")));
        pieces.iter().for_each(|piece| lines.take(piece, &mut sink));
        lines.finish(&mut sink);
        String::from_utf8_lossy(sink.queued()).into_owned()
    }

    #[test]
    fn lines_are_whole_however_they_were_read() {
        assert_eq!(passed_on(&[b"one\nt", b"", b"wo", b"\n\nlast"]), "[7] one\n[7] two\n[7] \n[7] last\n");
        assert_eq!(passed_on(&[b""]), "");
    }

    #[test]
    fn a_line_without_end_is_cut_and_nothing_is_lost() {
        let long = vec![b'x'; 3 * LONGEST_LINE_BYTES + 5];
        for pieces in [1000, LONGEST_LINE_BYTES, long.len()] {
            let text = passed_on(&long.chunks(pieces).collect::<Vec<_>>());
            let lengths: Vec<usize> = text.lines().map(|line| line.len() - "[7] ".len()).collect();
            assert_eq!(lengths, [LONGEST_LINE_BYTES, LONGEST_LINE_BYTES, LONGEST_LINE_BYTES, 5]);
        }
        let full = [&long[..LONGEST_LINE_BYTES], b"\n"].concat();
        assert_eq!(passed_on(&[&full]).lines().count(), 1, "a line of just that length is whole");
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_give_the_same_lines(text in "[ab\n]{0,200}", size in 1usize..20) {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let expected: String = text.lines().map(|line| format!("[7] {line}\n")).collect();
            prop_assert_eq!(passed_on(&pieces), expected);
        }
    }
}
