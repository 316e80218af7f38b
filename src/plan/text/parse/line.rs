//! One line of the text form: its words, numbers and operands, and where they stand.

use super::TextError;
use crate::plan::text::{MAX_NAME_CHARS, is_plain};
use crate::plan::{Buffer, Operand, Span};
use crate::types::UnknownName;
use std::str::FromStr;

/// Of a wrong word, as many characters are shown.
const SHOWN_CHARS: usize = 40;

/// A place to point to.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    line: usize,
    column: usize,
}

impl Mark {
    pub(super) fn error(self, message: String) -> TextError {
        TextError { line: self.line, column: self.column, message }
    }

    pub(super) fn unknown<'a>(self, what: &'static str, word: &str, known: impl Iterator<Item = &'a str>) -> TextError {
        let shown: String = word.chars().take(SHOWN_CHARS).collect();
        self.error(match word {
            "" => format!("a {what} is to come"),
            _ => UnknownName::new(what, &shown, known).to_string(),
        })
    }
}

/// What is left of one line, its comment removed.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    number: usize,
    column: usize,
    rest: &'a str,
}

impl<'a> Line<'a> {
    pub(super) fn new(number: usize, text: &'a str) -> Line<'a> {
        let mut line = Line { number, column: 1, rest: without_comment(text).trim_end() };
        line.skip_space();
        line
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { line: self.number, column: self.column }
    }

    /// Takes `bytes` off, and the space behind.
    fn take(&mut self, bytes: usize) -> &'a str {
        let taken = self.cut(bytes);
        self.skip_space();
        taken
    }

    fn cut(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.column += taken.chars().count();
        self.rest = rest;
        taken
    }

    fn skip_space(&mut self) {
        let space = self.rest.len() - self.rest.trim_start().len();
        self.cut(space);
    }

    pub(super) fn word(&mut self) -> &'a str {
        let end = self.rest.find(|c: char| !is_plain(c)).unwrap_or(self.rest.len());
        self.take(end)
    }

    /// The rest up to a space, to be shown in a message.
    fn shown(&self) -> String {
        let word = self.rest.split_whitespace().next().unwrap_or("");
        if word.is_empty() {
            "the line ends".to_owned()
        } else {
            format!("`{}`", word.chars().take(SHOWN_CHARS).collect::<String>())
        }
    }

    pub(super) fn end(&self) -> Result<(), TextError> {
        match self.is_at_end() {
            true => Ok(()),
            false => Err(self.mark().error(format!("{} where the line should end", self.shown()))),
        }
    }

    pub(super) fn has_symbol(&mut self, symbol: &str) -> bool {
        let has = self.rest.starts_with(symbol);
        if has {
            self.take(symbol.len());
        }
        has
    }

    pub(super) fn symbol(&mut self, symbol: &str) -> Result<(), TextError> {
        let at = *self;
        match self.has_symbol(symbol) {
            true => Ok(()),
            false => Err(at.mark().error(format!("{} where `{symbol}` should be", at.shown()))),
        }
    }

    /// Takes the next word if it is this one.
    pub(super) fn has_word(&mut self, word: &str) -> bool {
        let mut rest = *self;
        let has = rest.word() == word;
        if has {
            *self = rest;
        }
        has
    }

    pub(super) fn keyword(&mut self, keyword: &'static str) -> Result<(), TextError> {
        let start = self.mark();
        let word = self.word();
        if word == keyword { Ok(()) } else { Err(start.unknown("word", word, std::iter::once(keyword))) }
    }

    pub(super) fn number<T: FromStr>(&mut self) -> Result<T, TextError> {
        let at = *self;
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        if end == 0 {
            return Err(at.mark().error(format!("{} where a number should be", at.shown())));
        }
        self.take(end).parse().map_err(|_| at.mark().error(format!("{} is too large a number here", at.shown())))
    }

    pub(super) fn field<T: FromStr>(&mut self, name: &'static str) -> Result<T, TextError> {
        self.keyword(name)?;
        self.symbol("=")?;
        self.number()
    }

    pub(super) fn yes_or_no(&mut self, name: &'static str) -> Result<bool, TextError> {
        self.keyword(name)?;
        self.symbol("=")?;
        let start = self.mark();
        match self.word() {
            "yes" => Ok(true),
            "no" => Ok(false),
            word => Err(start.unknown("answer", word, ["yes", "no"].into_iter())),
        }
    }

    pub(super) fn named<T: FromStr<Err = UnknownName>>(&mut self) -> Result<T, TextError> {
        let start = self.mark();
        let word = self.word();
        let shown: String = word.chars().take(SHOWN_CHARS).collect();
        word.parse().or_else(|_| shown.parse()).map_err(|error: UnknownName| start.error(error.to_string()))
    }

    /// A plain word, or anything in quotes.
    pub(super) fn name(&mut self) -> Result<String, TextError> {
        let start = self.mark();
        let name = if self.rest.starts_with('"') { self.quoted()? } else { self.word().to_owned() };
        if name.chars().count() > MAX_NAME_CHARS {
            return Err(start.error(format!("a name of more than {MAX_NAME_CHARS} characters")));
        }
        Ok(name)
    }

    fn quoted(&mut self) -> Result<String, TextError> {
        let start = self.mark();
        let mut name = String::new();
        let mut rest = self.rest[1..].chars();
        loop {
            match rest.next() {
                Some('"') => break,
                Some('\\') => match escaped(&mut rest) {
                    Some(c) => name.push(c),
                    None => return Err(start.error("a name with a `\\` that stands for nothing".to_owned())),
                },
                Some(c) => name.push(c),
                None => return Err(start.error("a name without a closing quote".to_owned())),
            }
        }
        self.take(self.rest.len() - rest.as_str().len());
        Ok(name)
    }

    /// Operands between commas, maybe none.
    pub(super) fn operands(&mut self) -> Result<Vec<Operand>, TextError> {
        let mut operands = Vec::new();
        if self.is_at_end() || ["->", "through"].iter().any(|end| self.rest.starts_with(end)) {
            return Ok(operands);
        }
        loop {
            operands.push(self.operand()?);
            if !self.has_symbol(",") {
                return Ok(operands);
            }
        }
    }

    pub(super) fn operand(&mut self) -> Result<Operand, TextError> {
        let start = self.mark();
        let buffer = match self.word() {
            "peer" => {
                let rank = self.number()?;
                let channel = if self.has_symbol(":") { self.number()? } else { 0 };
                return Ok(Operand::Peer { rank, channel });
            }
            "input" => Buffer::Input,
            "output" => Buffer::Output,
            "scratch" => Buffer::Scratch,
            word => return Err(start.unknown("operand", word, ["input", "output", "scratch", "peer"].into_iter())),
        };
        self.symbol("[")?;
        let start: u32 = self.number()?;
        let len = if self.has_symbol("..") { self.len_from(start)? } else { 1 };
        let stride = if self.rest.starts_with("by") { self.keyword("by").and_then(|()| self.number())? } else { 0 };
        self.symbol("]")?;
        Ok(Operand::Local(Span { buffer, start, len, stride }))
    }

    /// The end of a span, as its length.
    fn len_from(&mut self, start: u32) -> Result<u32, TextError> {
        let at = self.mark();
        let end: u64 = self.number()?;
        let len = end.checked_sub(u64::from(start)).and_then(|len| u32::try_from(len).ok());
        len.ok_or_else(|| at.error(format!("a span from {start} to {end}")))
    }
}

/// What a backslash stands for: a quote, itself, or `u{hex}`.
fn escaped(rest: &mut std::str::Chars) -> Option<char> {
    match rest.next()? {
        c @ ('"' | '\\') => Some(c),
        'u' => {
            let (digits, after) = rest.as_str().strip_prefix('{')?.split_once('}')?;
            *rest = after.chars();
            char::from_u32(u32::from_str_radix(digits, 16).ok()?)
        }
        _ => None,
    }
}

/// The line up to a `#` outside quotes.
fn without_comment(text: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    for (index, c) in text.char_indices() {
        match c {
            '#' if !quoted => return &text[..index],
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = quoted && c == '\\' && !escaped;
    }
    text
}
