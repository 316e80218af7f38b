//! Reads the text form. The text may come from anywhere: it is bounded, nothing is believed, nothing recurses.

use super::is_plain;
use crate::error::{Error, ErrorKind};
use crate::plan::{Buffer, Lane, Move, Operand, Plan, Problem, Program, Reduction, Span, Step};
use crate::types::{Collective, UnknownName};
use std::str::FromStr;

const MAX_TEXT_BYTES: usize = 1 << 28;
const MAX_RANKS: usize = 1 << 20;
const MAX_NAME_CHARS: usize = 200;
/// Of a wrong word, as many characters are shown.
const SHOWN_CHARS: usize = 40;

/// What can't be read as a plan, and where. Lines and columns are counted from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct TextError {
    pub line: usize,
    pub column: usize,
    pub message: String,
}

impl From<TextError> for Error {
    fn from(error: TextError) -> Error {
        Error::new(ErrorKind::InvalidArgument, error.to_string())
    }
}

/// Reads a plan. It may still be wrong in what it does: [`check`](crate::plan::check::check) it.
///
/// # Errors
/// The first thing that is not as [the text form](super) says.
pub fn parse(text: &str) -> Result<Plan, TextError> {
    if text.len() > MAX_TEXT_BYTES {
        let message = format!("the text is longer than {MAX_TEXT_BYTES} bytes");
        return Err(TextError { line: 1, column: 1, message });
    }
    let mut lines =
        text.lines().enumerate().map(|(index, text)| Line::new(index + 1, text)).filter(|line| !line.is_empty());
    let mut last = Line::new(1, "");
    let mut header = lines.next().unwrap_or(last);
    let Header { algorithm, problem, blocks } = parse_header(&mut header)?;
    let mut reader = Reader { ranks: problem.ranks, programs: Vec::new(), repeat: None };
    for mut line in lines {
        reader.line(&mut line)?;
        last = line;
    }
    let programs = reader.finish(&last)?;
    Ok(Plan::new(&algorithm, problem, blocks, move |rank| programs[rank].clone()))
}

struct Header {
    algorithm: String,
    problem: Problem,
    blocks: u32,
}

fn parse_header(line: &mut Line) -> Result<Header, TextError> {
    line.keyword("plan")?;
    let algorithm = line.name()?;
    let collective = line.named::<Collective>()?;
    let ranks_at = line.mark();
    let ranks = line.field("ranks")?;
    if ranks > MAX_RANKS {
        return Err(ranks_at.error(format!("a plan as text is for at most {MAX_RANKS} ranks")));
    }
    let root = line.field("root")?;
    let uneven = line.yes_or_no("uneven")?;
    let tiles = line.field("tiles")?;
    let blocks = line.field("blocks")?;
    line.end()?;
    Ok(Header { algorithm, problem: Problem { collective, ranks, root, uneven, tiles }, blocks })
}

struct Reader {
    ranks: usize,
    programs: Vec<Program>,
    /// The repeat whose `end` is still to come.
    repeat: Option<(u32, Vec<Move>)>,
}

impl Reader {
    fn line(&mut self, line: &mut Line) -> Result<(), TextError> {
        const KNOWN: [&str; 8] = ["rank", "scratch", "lane", "repeat", "end", "copy", "reduce", "finish"];
        let start = line.mark();
        let word = line.word();
        let in_repeat = self.repeat.is_some();
        match word {
            "copy" => self.one_move(start, line, None)?,
            "reduce" => self.one_move(start, line, Some(Reduction::Partial))?,
            "finish" => self.one_move(start, line, Some(Reduction::Final))?,
            "end" => self.end(start)?,
            _ if in_repeat && KNOWN.contains(&word) => {
                return Err(start.error(format!("`{word}` inside a repeat; `end` it first")));
            }
            "repeat" => {
                self.lane(start)?;
                self.repeat = Some((line.number()?, Vec::new()));
            }
            "lane" => self.program(start)?.lanes.push(Vec::new()),
            "scratch" => self.scratch(start, line)?,
            "rank" => self.rank(line)?,
            _ => return Err(start.unknown("step", word, KNOWN.iter().copied())),
        }
        line.end()
    }

    fn rank(&mut self, line: &mut Line) -> Result<(), TextError> {
        let start = line.mark();
        let rank: usize = line.number()?;
        let expected = self.programs.len();
        if expected == self.ranks {
            return Err(start.error(format!("rank {rank} of a plan for {}", self.ranks)));
        }
        if rank != expected {
            return Err(start.error(format!("rank {rank} where rank {expected} is to come")));
        }
        self.programs.push(Program::default());
        Ok(())
    }

    fn scratch(&mut self, start: Mark, line: &mut Line) -> Result<(), TextError> {
        let program = self.program(start)?;
        if !program.lanes.is_empty() || !program.scratch.is_empty() {
            return Err(start.error("`scratch` stands once, before a rank's lanes".to_owned()));
        }
        while !line.is_at_end() {
            program.scratch.push(line.number()?);
        }
        if program.scratch.is_empty() {
            return Err(line.mark().error("a chunk number is to come".to_owned()));
        }
        Ok(())
    }

    fn one_move(&mut self, start: Mark, line: &mut Line, reduction: Option<Reduction>) -> Result<(), TextError> {
        let sources = line.operands()?;
        line.symbol("->")?;
        let one = Move { reduction, sources, destinations: line.operands()? };
        match &mut self.repeat {
            Some((_, body)) => body.push(one),
            None => self.lane(start)?.push(Step::Move(one)),
        }
        Ok(())
    }

    fn end(&mut self, start: Mark) -> Result<(), TextError> {
        let Some((count, body)) = self.repeat.take() else {
            return Err(start.error("`end` without a `repeat`".to_owned()));
        };
        self.lane(start)?.push(Step::Repeat { count, body });
        Ok(())
    }

    fn program(&mut self, at: Mark) -> Result<&mut Program, TextError> {
        self.programs.last_mut().ok_or_else(|| at.error("`rank 0` is to come first".to_owned()))
    }

    fn lane(&mut self, at: Mark) -> Result<&mut Lane, TextError> {
        let program = self.program(at)?;
        program.lanes.last_mut().ok_or_else(|| at.error("`lane` is to come first".to_owned()))
    }

    fn finish(self, last: &Line) -> Result<Vec<Program>, TextError> {
        if self.repeat.is_some() {
            return Err(last.mark().error("the text ends inside a repeat; `end` is to come".to_owned()));
        }
        if self.programs.len() < self.ranks {
            return Err(last.mark().error(format!("the text ends before rank {}", self.programs.len())));
        }
        Ok(self.programs)
    }
}

/// A place to point to.
#[derive(Clone, Copy)]
struct Mark {
    line: usize,
    column: usize,
}

impl Mark {
    fn error(self, message: String) -> TextError {
        TextError { line: self.line, column: self.column, message }
    }

    fn unknown<'a>(self, what: &'static str, word: &str, known: impl Iterator<Item = &'a str>) -> TextError {
        let shown: String = word.chars().take(SHOWN_CHARS).collect();
        self.error(match word {
            "" => format!("a {what} is to come"),
            _ => UnknownName::new(what, &shown, known).to_string(),
        })
    }
}

/// What is left of one line, its comment removed.
#[derive(Clone, Copy)]
struct Line<'a> {
    number: usize,
    column: usize,
    rest: &'a str,
}

impl<'a> Line<'a> {
    fn new(number: usize, text: &'a str) -> Line<'a> {
        let mut line = Line { number, column: 1, rest: without_comment(text).trim_end() };
        line.skip_space();
        line
    }

    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    fn mark(&self) -> Mark {
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

    fn word(&mut self) -> &'a str {
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

    fn end(&self) -> Result<(), TextError> {
        match self.is_at_end() {
            true => Ok(()),
            false => Err(self.mark().error(format!("{} where the line should end", self.shown()))),
        }
    }

    fn has_symbol(&mut self, symbol: &str) -> bool {
        let has = self.rest.starts_with(symbol);
        if has {
            self.take(symbol.len());
        }
        has
    }

    fn symbol(&mut self, symbol: &str) -> Result<(), TextError> {
        let at = *self;
        match self.has_symbol(symbol) {
            true => Ok(()),
            false => Err(at.mark().error(format!("{} where `{symbol}` should be", at.shown()))),
        }
    }

    fn keyword(&mut self, keyword: &'static str) -> Result<(), TextError> {
        let start = self.mark();
        let word = self.word();
        if word == keyword { Ok(()) } else { Err(start.unknown("word", word, std::iter::once(keyword))) }
    }

    fn number<T: FromStr>(&mut self) -> Result<T, TextError> {
        let at = *self;
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        if end == 0 {
            return Err(at.mark().error(format!("{} where a number should be", at.shown())));
        }
        self.take(end).parse().map_err(|_| at.mark().error(format!("{} is too large a number here", at.shown())))
    }

    fn field<T: FromStr>(&mut self, name: &'static str) -> Result<T, TextError> {
        self.keyword(name)?;
        self.symbol("=")?;
        self.number()
    }

    fn yes_or_no(&mut self, name: &'static str) -> Result<bool, TextError> {
        self.keyword(name)?;
        self.symbol("=")?;
        let start = self.mark();
        match self.word() {
            "yes" => Ok(true),
            "no" => Ok(false),
            word => Err(start.unknown("answer", word, ["yes", "no"].into_iter())),
        }
    }

    fn named<T: FromStr<Err = UnknownName>>(&mut self) -> Result<T, TextError> {
        let start = self.mark();
        let word = self.word();
        let shown: String = word.chars().take(SHOWN_CHARS).collect();
        word.parse().or_else(|_| shown.parse()).map_err(|error: UnknownName| start.error(error.to_string()))
    }

    /// A plain word, or anything in quotes.
    fn name(&mut self) -> Result<String, TextError> {
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
    fn operands(&mut self) -> Result<Vec<Operand>, TextError> {
        let mut operands = Vec::new();
        if self.is_at_end() || self.rest.starts_with("->") {
            return Ok(operands);
        }
        loop {
            operands.push(self.operand()?);
            if !self.has_symbol(",") {
                return Ok(operands);
            }
        }
    }

    fn operand(&mut self) -> Result<Operand, TextError> {
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
