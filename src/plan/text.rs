//! A plan as text, both ways: for golden files, for reading, for plans that other programs make.
//!
//! ```text
//! plan ring all_reduce ranks=3 root=0 uneven=no tiles=1 blocks=3
//! rank 0
//!   lane
//!     copy input[0] -> peer 1
//!     reduce input[2], peer 2 -> output[2], peer 1
//!     finish input[1], peer 2 -> output[1], peer 1
//!     copy peer 2 -> output[0], peer 1
//!     copy peer 2 -> output[2]
//! rank 1
//! ...
//! ```
//!
//! The first line is the algorithm's name, quoted if it isn't a plain word, and the plan's problem. Every rank follows in order with its
//! lanes, one line per step: `copy`, `reduce` (a partial fold) or `finish` (a final one), sources, an arrow, destinations.
//! A span is `output[3]`, `output[3..5]` for the chunks 3 and 4, `output[3..5 by 2]` if it moves on by 2 chunks per round of a repeat;
//! a message is `peer 1`, or `peer 1:4` on channel 4. Before its lanes a rank may have `scratch 0 1 1`: as which chunks its scratch
//! slots are sized. `repeat 8` and `end` enclose moves; `wait 1:4` waits for step 4 of lane 1 of the same rank. A move that the switch of a
//! domain may carry out ends in `through switch`. What a plan demands of calls ends the first line: `equal` chunks, input and output
//! `apart`. Indentation and empty lines don't matter; `#` begins a comment.
//!
//! ```
//! let text = "\
//! plan one all_gather ranks=1 root=0 uneven=no tiles=1 blocks=1
//! rank 0
//!   lane
//!     copy input[0] -> output[0]
//! ";
//! let plan = unisono::plan::text::parse(text).unwrap();
//! assert_eq!(plan.text().to_string(), text);
//! let error = unisono::plan::text::parse(&text.replace("copy", "cpoy")).unwrap_err();
//! assert_eq!(error.to_string(), "line 4, column 5: unknown step `cpoy`; did you mean `copy`?");
//! ```

mod parse;
#[cfg(test)]
pub(crate) mod tests;

pub use parse::{TextError, parse};

use super::{Buffer, Demands, Lane, Move, Operand, Plan, Program, Reduction, Span, Step, Through};
use std::fmt;

/// The longest name of a plan that is read.
pub(super) const MAX_NAME_CHARS: usize = 200;

/// Shows a plan as text, see [the module](self). Costs what the plan's programs cost, for one rank after the other.
pub struct PlanText<'a>(&'a Plan);

impl Plan {
    /// The plan as text that [`parse`] reads back.
    pub fn text(&self) -> PlanText<'_> {
        PlanText(self)
    }
}

impl fmt::Display for PlanText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { algorithm, problem, blocks, .. } = self.0;
        f.write_str("plan ")?;
        write_name(f, algorithm)?;
        let uneven = if problem.uneven { "yes" } else { "no" };
        write!(
            f,
            " {} ranks={} root={} uneven={uneven} tiles={} blocks={blocks}",
            problem.collective, problem.ranks, problem.root, problem.tiles
        )?;
        let Demands { equal_chunks, apart } = self.0.demands;
        for (_, word) in [(equal_chunks, " equal"), (apart, " apart")].iter().filter(|(is_demanded, _)| *is_demanded) {
            f.write_str(word)?;
        }
        writeln!(f)?;
        for rank in 0..problem.ranks {
            writeln!(f, "rank {rank}")?;
            write_program(f, &self.0.program(rank))?;
        }
        Ok(())
    }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/')
}

fn write_name(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    if !name.is_empty() && name.chars().all(is_plain) {
        return f.write_str(name);
    }
    f.write_str("\"")?;
    for c in name.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if c.is_control() => write!(f, "\\u{{{:x}}}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

fn write_program(f: &mut fmt::Formatter<'_>, program: &Program) -> fmt::Result {
    if !program.scratch.is_empty() {
        f.write_str("  scratch")?;
        for chunk in &program.scratch {
            write!(f, " {chunk}")?;
        }
        writeln!(f)?;
    }
    for lane in &program.lanes {
        write_lane(f, lane)?;
    }
    Ok(())
}

fn write_lane(f: &mut fmt::Formatter<'_>, lane: &Lane) -> fmt::Result {
    writeln!(f, "  lane")?;
    for step in lane {
        match step {
            Step::Move(one) => writeln!(f, "    {one}")?,
            Step::Repeat { count, body } => {
                writeln!(f, "    repeat {count}")?;
                for one in body {
                    writeln!(f, "      {one}")?;
                }
                writeln!(f, "    end")?;
            }
            Step::Wait { lane, step } => writeln!(f, "    wait {lane}:{step}")?,
        }
    }
    Ok(())
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reduction {
            None => "copy",
            Some(Reduction::Partial) => "reduce",
            Some(Reduction::Final) => "finish",
        })?;
        write_operands(f, &self.sources)?;
        f.write_str(" ->")?;
        write_operands(f, &self.destinations)?;
        match self.through {
            Through::Messages => Ok(()),
            Through::Switch => f.write_str(" through switch"),
        }
    }
}

fn write_operands(f: &mut fmt::Formatter<'_>, operands: &[Operand]) -> fmt::Result {
    for (index, operand) in operands.iter().enumerate() {
        write!(f, "{} {operand}", if index == 0 { "" } else { "," })?;
    }
    Ok(())
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operand::Local(span) => write!(f, "{span}"),
            Operand::Peer { rank, channel: 0 } => write!(f, "peer {rank}"),
            Operand::Peer { rank, channel } => write!(f, "peer {rank}:{channel}"),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Span { buffer, start, len, stride } = *self;
        write!(f, "{buffer}[{start}")?;
        if len != 1 {
            write!(f, "..{}", u64::from(start) + u64::from(len))?;
        }
        if stride != 0 {
            write!(f, " by {stride}")?;
        }
        f.write_str("]")
    }
}

impl fmt::Display for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Buffer::Input => "input",
            Buffer::Output => "output",
            Buffer::Scratch => "scratch",
        })
    }
}
