//! Reads the text form. The text may come from anywhere: it is bounded, nothing is believed, nothing recurses.

mod line;

use crate::error::{Error, ErrorKind};
use crate::plan::{Demands, Lane, Move, Plan, Problem, Program, Reduction, Step, Through};
use crate::types::Collective;
use line::{Line, Mark};

const MAX_TEXT_BYTES: usize = 1 << 28;
const MAX_RANKS: usize = 1 << 20;

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
    let Header { algorithm, problem, blocks, demands } = parse_header(&mut header)?;
    let mut reader = Reader { ranks: problem.ranks, programs: Vec::new(), repeat: None };
    for mut line in lines {
        reader.line(&mut line)?;
        last = line;
    }
    let programs = reader.finish(&last)?;
    Ok(Plan::new(&algorithm, problem, blocks, move |rank| programs[rank].clone()).demanding(demands))
}

struct Header {
    algorithm: String,
    problem: Problem,
    blocks: u32,
    demands: Demands,
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
    let demands = Demands { equal_chunks: line.has_word("equal"), apart: line.has_word("apart") };
    line.end()?;
    let problem = Problem { root, uneven, tiles, ..Problem::new(collective, ranks) };
    Ok(Header { algorithm, problem, blocks, demands })
}

struct Reader {
    ranks: usize,
    programs: Vec<Program>,
    /// The repeat whose `end` is still to come.
    repeat: Option<(u32, Vec<Move>)>,
}

impl Reader {
    fn line(&mut self, line: &mut Line) -> Result<(), TextError> {
        const KNOWN: [&str; 9] = ["rank", "scratch", "lane", "repeat", "end", "copy", "reduce", "finish", "wait"];
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
            "wait" => {
                let (lane, _, step) = (line.number()?, line.symbol(":")?, line.number()?);
                self.lane(start)?.push(Step::Wait { lane, step });
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
        let destinations = line.operands()?;
        let through = if line.has_symbol("through") {
            line.keyword("switch")?;
            Through::Switch
        } else {
            Through::Messages
        };
        let one = Move { reduction, sources, destinations, through };
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
