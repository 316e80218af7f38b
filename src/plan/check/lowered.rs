//! The proof of what a plan is lowered to: all ranks' instructions run on symbols, element by element.
//!
//! [`check`](super::check) proves a plan whatever the counts; this proves the byte places, explicit waits and message sizes that
//! [`lower`] makes of it for given counts, under the rules of the executor and no others:
//! lanes advance in order, posts leave each outbox in order, each as far as its instruction has come, an instruction
//! waits for its messages and for its explicit waits (for releases, for other lanes), and nothing else protects memory.
//!
//! ## Why one schedule is enough
//! Programs are a Kahn network: every link has one sending and one receiving lane, so what is received depends on no
//! schedule, and neither does the order "happens before" that messages make. A vector clock per lane (Lamport, Fidge, Mattern)
//! records it, and two accesses to an element, one of them a write, that it does not order are a flaw, whichever came
//! first here. The clocks count single elements, the finest pieces in which an executor could stream: with coarser ones there
//! is more order, not less.
//!
//! The reach is the hardest in both ways. A message stays in the sender's memory until its receiver takes it and only then is
//! released, so whoever waits for releases waits longest; no link holds anything, so a program free of deadlock here is so at any depth. But
//! a release tells its waiter nothing of what the receiver did (a copy may have been taken long before): it protects the
//! memory that was posted and orders nothing else.
//!
//! Pieces make no difference to deadlock. Every element of a message waits for the same element only, so a circle
//! among whole instructions is a circle among their last elements.

mod machine;
mod memory;
mod promised;
#[cfg(test)]
pub(crate) mod tests;
mod value;

use super::code::bound;
use super::{Checked, Flaw};
use crate::plan::Problem;
use crate::plan::chunk::Counts;
use crate::plan::lower::{Lowered, Misfit, lower};
use crate::types::{Collective, Rank};
use std::fmt;

/// What is proved: larger calls would show nothing new, and their proof takes more memory and time than there is.
const MAX_RANKS: u64 = 1 << 10;
const MAX_MOVES: u64 = 1 << 20;
const MAX_ELEMENTS: u64 = 1 << 20;
const MAX_CLOCK_WORK: u64 = 1 << 28;

/// Proves what every rank's program is lowered to for a call: that outputs hold what the plan promises, added up in its
/// order; that nothing is overwritten while a peer may read it, and no two lanes race; that messages match in bytes and none is
/// left over; that every place lies in its buffer; that nothing waits for ever.
///
/// `counts` has one entry per rank. With `in_place` every rank that has both buffers, in a collective that has such a form,
/// has them in one memory. Takes time in proportion to elements times ranks: to be asked with small counts.
///
/// # Errors
/// The first [`Flaw::Lowered`] found; [`Flaw::TooLarge`] for more than some 1,000 ranks or a million moves or elements.
///
/// # Panics
/// If `counts` has not one entry per rank.
pub fn check_lowered(checked: &Checked, counts: &[Counts], element_bytes: u64, in_place: bool) -> Result<(), Flaw> {
    bound("ranks", checked.plan().problem.ranks as u64, MAX_RANKS)?;
    bound("moves", checked.facts().moves, MAX_MOVES)?;
    let programs = lower_all(checked, counts, element_bytes, in_place);
    bound_work(&programs, element_bytes)?;
    run(checked, counts, element_bytes, &programs)
}

/// [`check_lowered`] for small calls of the shape that the plan is for, of 4-byte elements, apart and in place.
///
/// `count` is as in [`Counts::Even`]; where blocks may differ, they have from none to three elements.
///
/// # Errors
/// The first flaw.
pub fn check_lowered_at(checked: &Checked, count: u64) -> Result<(), Flaw> {
    let problem = &checked.plan().problem;
    let demands = checked.plan().demands;
    let chunks = if demands.equal_chunks { checked.plan().grid().chunks_of_count() } else { 1 };
    let counts = small_counts(problem, count.next_multiple_of(u64::from(chunks)));
    check_lowered(checked, &counts, 4, false)?;
    if has_in_place_form(problem.collective) && !checked.plan().demands.apart {
        check_lowered(checked, &counts, 4, true).map_err(|flaw| Flaw::InPlace(Box::new(flaw)))?;
    }
    Ok(())
}

/// Of a plan for uneven blocks a mixture with empty ones, of others the same everywhere.
fn small_counts(problem: &Problem, count: u64) -> Vec<Counts> {
    let of_pair = |source: Rank, target: Rank| ((source * 5 + target * 3 + 1) as u64 * (count + 1)) % 4;
    let ranks = || 0..problem.ranks;
    match problem.collective.even() {
        Collective::AllToAll if problem.uneven => {
            let input = |rank| ranks().map(|target| of_pair(rank, target)).collect();
            let output = |rank| ranks().map(|source| of_pair(source, rank)).collect();
            ranks().map(|rank| Counts::Pairwise { input: input(rank), output: output(rank) }).collect()
        }
        Collective::AllGather | Collective::ReduceScatter if problem.uneven => {
            vec![Counts::PerRank(ranks().map(|rank| of_pair(rank, rank)).collect()); problem.ranks]
        }
        _ => vec![Counts::Even(count); problem.ranks],
    }
}

/// Every element in memory has a record, and every element of a move looks at the clocks of all lanes.
fn bound_work(programs: &[Lowered], element_bytes: u64) -> Result<(), Flaw> {
    let bytes = |program: &Lowered| program.input_bytes + program.output_bytes + program.scratch_bytes;
    bound("elements", programs.iter().map(bytes).sum::<u64>() / element_bytes, MAX_ELEMENTS)?;
    let lanes: u64 = programs.iter().map(|program| program.lanes.len() as u64).sum();
    let moved: u64 = programs.iter().flat_map(|program| &program.lanes).flatten().map(|one| one.bytes).sum();
    bound("steps of clocks to compare", (moved / element_bytes).saturating_mul(lanes), MAX_CLOCK_WORK)
}

fn lower_all(checked: &Checked, counts: &[Counts], element_bytes: u64, in_place: bool) -> Vec<Lowered> {
    let problem = &checked.plan().problem;
    assert_eq!(counts.len(), problem.ranks, "counts of every rank");
    let shares_memory = |rank: Rank| match problem.collective {
        Collective::Gather | Collective::Scatter => rank == problem.root,
        collective => has_in_place_form(collective),
    };
    let lower = |(rank, counts)| lower(checked, rank, counts, element_bytes, in_place && shares_memory(rank));
    counts.iter().enumerate().map(lower).collect()
}

/// Whether input and output of a call can share memory.
fn has_in_place_form(collective: Collective) -> bool {
    !matches!(collective.even(), Collective::AllToAll | Collective::Barrier | Collective::SendRecv)
}

fn run(checked: &Checked, counts: &[Counts], element_bytes: u64, programs: &[Lowered]) -> Result<(), Flaw> {
    let expected = promised::Expected::new(checked, counts);
    let mut machine = machine::Machine::new(&expected, programs, element_bytes)?;
    machine.run()?;
    machine.compare(checked, &expected)
}

/// What is wrong with a lowered program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Some index or place makes no sense by itself.
    Misfit(Misfit),
    /// A buffer has another size than the call's counts say, in bytes.
    BufferBytes { found: u64, expected: u64 },
    /// A place or length that is not of whole elements.
    Misaligned,
    /// The message has another number of bytes than its receiver expects.
    MessageBytes { from: Rank, sent: u64, expected: u64 },
    /// An element is read that was never written, or posted before it is.
    Unwritten,
    /// An element is overwritten from which a message to this rank is posted and not yet taken.
    Overwritten { reader: Rank },
    /// Another lane, of this rank, touches an element, one of the two writes, and nothing orders them.
    Race { other: usize },
    /// A message that this rank posted may be read by that rank after this write: nothing orders them.
    LateReader { reader: Rank },
    /// It waits for a message from this rank, for ever.
    NoMessage { from: Rank },
    /// It waits for this rank to take a message, for ever.
    NoRelease { to: Rank },
    /// It waits for what this lane of its own rank does, for ever.
    NoEnd { lane: usize },
    /// A message to this rank is left over.
    NeverTaken { to: Rank },
    /// An element of the output is not what is promised.
    Output { element: u64 },
}

impl Wrong {
    /// As a flaw of one instruction, or of the rank's whole program.
    fn at(self, rank: Rank, lane: usize, instruction: usize) -> Flaw {
        Flaw::Lowered { rank, lane, instruction, wrong: Box::new(self) }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Misfit(misfit) => f.write_str(misfit.what),
            Wrong::BufferBytes { found, expected } => write!(f, "a buffer has {found} bytes instead of {expected}"),
            Wrong::Misaligned => f.write_str("is not about whole elements"),
            Wrong::MessageBytes { from, sent, expected } => {
                write!(f, "expects {expected} bytes from rank {from}, which sends {sent}")
            }
            Wrong::Unwritten => f.write_str("reads or posts what holds nothing yet"),
            Wrong::Overwritten { reader } => write!(f, "overwrites what rank {reader} has yet to take"),
            Wrong::Race { other } => write!(f, "races with lane {other}"),
            Wrong::LateReader { reader } => write!(f, "overwrites what rank {reader} may still read"),
            Wrong::NoMessage { from } => write!(f, "waits for ever for a message from rank {from}"),
            Wrong::NoRelease { to } => write!(f, "waits for ever for rank {to} to take a message"),
            Wrong::NoEnd { lane } => write!(f, "waits for ever for lane {lane}"),
            Wrong::NeverTaken { to } => write!(f, "posts a message that rank {to} never takes"),
            Wrong::Output { element } => write!(f, "element {element} of the output is not what is promised"),
        }
    }
}
