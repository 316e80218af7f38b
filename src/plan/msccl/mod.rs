//! MSCCL XML, the format in which others publish plans: read, and written.
//!
//! A file says, for every GPU of one collective, what its thread blocks (`tb`) do. A block has steps in order, at most one peer to send to and
//! one to receive from, on one channel: `s` and `r` send and receive, `rcs`, `rrs`, `rrc`, `rrcs` receive and reduce, copy, send,
//! in one step; `cpy` and `re` work in place of a message; a step may wait for a step of another block (`depid`, `deps`), and
//! a `nop` only waits. The format was read in the compiler msccl-tools and in the interpreters of MSCCL and of RCCL, which decide where the
//! two differ: the local operand of `rrc`, `rrs` and `rrcs` is `srcbuf[srcoff]`.
//!
//! ## As a plan
//! | file | plan |
//! |---|---|
//! | thread block | lane |
//! | connection of two GPUs on a channel | channel |
//! | step | one move, two where what is sent is copied first |
//! | dependency | [`Step::Wait`](super::Step::Wait) |
//! | `i`, `o`, `s` | input, output, scratch; in place see below |
//! | fold that completes all contributions | the final one: found by running the plan on symbols |
//!
//! Blocks run side by side and are ordered by nothing but messages and dependencies. To merge those that depend on each other into one lane would
//! hide exactly the bug that a checker is for, the dependency that is missing; so plans can say that one lane waits for
//! another's step, and [the checker](super::check) knows what that orders and what it does not.
//!
//! All chunks of a file are equally large ([`Demands::equal_chunks`](super::Demands)): a slot of scratch may hold any of them.
//!
//! ## Sends
//! MSCCL copies what it sends into the connection, which holds a few messages; then the memory is free. A plan's sends are posted from where they
//! lie. [`Connections::Posted`] makes them so where that can be proved, or else where nobody writes there later, or only who can wait for
//! it, and copies the others first; that is the plan to price, simulate and run. [`Connections::Buffered`] copies all, into as many slots as the connection has: if that plan is proved, the file
//! can't deadlock for want of slots either.
//!
//! ## In place
//! Of a file for calls in place `i` and `o` are one memory, and steps write to it by either name, while a plan never writes to its
//! input and is proved with both apart as well. Every chunk is read from the input until it is written, then from where it was
//! written: the output or, where that is only a part of the memory, scratch.
//!
//! ## What is not checked
//! Sizes (`minBytes`, `maxBytes`), what `nchannels`, `i_chunks` and `o_chunks` say beside what steps use, and the limits of one
//! runtime or the other on blocks, steps and counts.

mod document;
mod hazards;
mod memory;
mod order;
mod parse;
mod print;
#[cfg(test)]
mod tests;
mod translate;
mod write;
mod xml;

pub use document::{Document, Placement, Protocol};
pub use translate::{Connections, Origin, Reading};

use super::Plan;
use super::check::Checked;
use super::text::TextError;
use crate::error::{Error, ErrorKind};

/// Reads a file as a plan. It may still be wrong in what it does: [`check`](super::check::check) it.
///
/// # Errors
/// What [`Document::parse`] and [`Document::plan`] refuse.
pub fn read(text: &str) -> Result<Plan, TextError> {
    Ok(Document::parse(text)?.plan(text, Connections::Posted)?.plan)
}

/// Writes a plan as a file, for connections of this protocol.
///
/// Chunks become equal and sums may be added up in another order; hops, messages and their sizes stay. Limits of runtimes are not looked
/// at: RCCL, for one, takes 64 thread blocks of 64 steps a GPU.
///
/// # Errors
/// The format has no such collective; or the chunks are so many that [`read`] would refuse the file.
pub fn write(checked: &Checked, protocol: Protocol) -> Result<String, Error> {
    let document = write::document(checked, protocol)?;
    let text = document.to_string();
    let (chunks, most) = (document.chunks_in_all(), parse::most_chunks(&text));
    if chunks > most {
        let message = format!("{chunks} chunks, more than the {most} that are taken from a file of this length");
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    Ok(text)
}

impl Document {
    /// The plan, see [the module](self). `text` is what the document was parsed from, for the place of an error.
    ///
    /// # Errors
    /// A step that reaches out of its buffer; a plan of more blocks, steps or chunks than can be looked at.
    pub fn plan(&self, text: &str, connections: Connections) -> Result<Reading, TextError> {
        translate::translate(self, connections).map_err(|unfit| xml::error(text, unfit.at.unwrap_or(0), unfit.message))
    }
}
