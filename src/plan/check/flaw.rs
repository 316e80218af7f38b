//! Every way in which a plan can be wrong, each with its place, each one clear sentence.

use super::lowered::Wrong;
use crate::error::{Error, ErrorKind};
use crate::plan::chunk::ChunkId;
use crate::plan::{Buffer, Order};
use crate::types::{Collective, Rank};
use std::fmt;

/// Where in a plan something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub rank: Rank,
    pub lane: u32,
    /// The step's index in its lane.
    pub step: u32,
    /// Where inside the step, if that is a repeat.
    pub inside: Option<Inside>,
}

/// Where inside a repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inside {
    pub round: u32,
    /// The move's index in the body.
    pub index: u32,
}

/// The two ends of a message, and its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub source: Rank,
    pub target: Rank,
    pub channel: u16,
}

/// One chunk of a rank's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    pub buffer: Buffer,
    pub index: u32,
}

/// How a rank of a composed plan departs from its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// A step that is none of those that come next in any part.
    Foreign,
    /// A step before others that it may not pass.
    OutOfOrder,
    /// A step before the end of what it needs from another lane.
    NotAwaited,
    /// The end of a lane, while its parts have steps left.
    Missing,
    /// Lanes that are too many, or use a channel together.
    Lanes,
}

/// What holds a step up for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The message has not been sent.
    Message(Link),
    /// The step overwrites memory from which a message is posted that nobody takes.
    Release(Link),
    /// The step's result has no memory of its own and waits to be taken.
    Taken(Link),
    /// This step of the same rank has not ended.
    Step(Place),
}

impl Wait {
    /// The messages on which it waits, unless it is for a step of its own rank.
    pub fn link(&self) -> Option<Link> {
        match *self {
            Wait::Message(link) | Wait::Release(link) | Wait::Taken(link) => Some(link),
            Wait::Step(_) => None,
        }
    }
}

/// What stands in an output chunk instead of what the collective promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing was ever written.
    Nothing,
    /// The input chunk of a rank, unreduced.
    Input { rank: Rank, chunk: u32 },
    /// A fold of another chunk.
    OtherChunk(ChunkId),
    /// A fold without this rank's contribution.
    Without(Rank),
    /// All contributions, but the last fold is marked partial: an average would not be divided.
    NotFinal,
}

/// Why a plan was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The plan's problem makes no sense.
    Problem {
        what: &'static str,
    },
    /// The plan is larger than the checker is willing to prove.
    TooLarge {
        what: &'static str,
        limit: u64,
    },
    /// A scratch slot is sized after a chunk that does not exist, or whose size the rank can't know.
    ScratchSize {
        rank: Rank,
        slot: u32,
        chunk: ChunkId,
    },
    /// Two lanes of a rank send, or two receive, on one channel: which message is whose is left to chance.
    SharedChannel {
        rank: Rank,
        link: Link,
        lanes: [u32; 2],
    },

    NoSource {
        at: Place,
    },
    NoDestination {
        at: Place,
    },
    /// Several sources and no reduction to fold them.
    ManySources {
        at: Place,
        sources: usize,
    },
    /// All operands are peers: nothing passes through a rank that is not in its memory.
    NoLocalOperand {
        at: Place,
    },
    /// A span of no chunks.
    EmptySpan {
        at: Place,
        buffer: Buffer,
    },
    /// The rank has no such buffer.
    NoBuffer {
        at: Place,
        buffer: Buffer,
    },
    OutOfRange {
        at: Place,
        buffer: Buffer,
        end: u64,
        chunks: u32,
    },
    WritesInput {
        at: Place,
    },
    PeerOutOfRange {
        at: Place,
        peer: Rank,
        ranks: usize,
    },
    PeerIsSelf {
        at: Place,
    },
    /// The same peer and channel twice among the sources, or among the destinations, of one move.
    PeerTwice {
        at: Place,
        peer: Rank,
        channel: u16,
    },
    /// Local operands of one move whose chunks have different sizes.
    ShapesDiffer {
        at: Place,
        one: Spot,
        other: Spot,
    },
    /// Operands of one move overlap, and are not simply the same.
    Overlap {
        at: Place,
        spot: Spot,
    },
    /// A wait for a step that the rank does not have.
    NoSuchStep {
        at: Place,
        lane: u32,
        step: u32,
    },
    /// A fold in a collective that reduces nothing.
    NothingToReduce {
        at: Place,
        collective: Collective,
    },

    /// A message is not of the chunks that its receiver expects.
    SizesDiffer {
        at: Place,
        link: Link,
        sent_at: Place,
    },
    /// The step waits for a message, and its sender has ended.
    NeverSent {
        at: Place,
        link: Link,
    },
    /// Messages that nobody takes.
    NeverReceived {
        link: Link,
        sent_at: Place,
    },
    /// Each waits for the next, the last for the first. Long circles are cut short.
    Deadlock {
        circle: Vec<(Place, Wait)>,
    },

    /// A step reads memory that holds nothing yet.
    Unwritten {
        at: Place,
        spot: Spot,
    },
    /// A fold of two different chunks.
    ChunksMixed {
        at: Place,
        one: ChunkId,
        other: ChunkId,
    },
    /// The classic bug: everyone's data arrived, but one rank's more than once.
    CountedTwice {
        at: Place,
        rank: Rank,
    },
    /// A result that was final is folded again.
    FoldsFinal {
        at: Place,
    },
    /// A fold is marked final, and a contribution is missing.
    FinalTooEarly {
        at: Place,
        missing: Rank,
    },
    /// Two steps touch one chunk, one of them writes, and nothing orders them. `reader` is set where the first is a read on behalf
    /// of a peer: its step that takes the posted message.
    Race {
        spot: Spot,
        first: Place,
        reader: Option<Place>,
        second: Place,
    },
    WrongOutput {
        rank: Rank,
        chunk: u32,
        found: Found,
    },

    PromisedHops {
        promised: u32,
        found: u32,
    },
    PromisedChunksSent {
        promised: u64,
        found: u64,
    },
    PromisedChunksReceived {
        promised: u64,
        found: u64,
    },
    /// The plan adds up in another order than its algorithm declares. Orders are boxed to keep the error small.
    PromisedOrder {
        rank: Rank,
        chunk: u32,
        declared: Box<Order>,
        found: Box<Order>,
    },

    /// A rank of a composed plan does not do, in a right order, what its parts do.
    Composition {
        at: Place,
        departure: Departure,
    },
    /// The parts of a composed plan are not those of its collective.
    Parts {
        collective: Collective,
    },
    /// Wrong only when the output is the input's memory.
    InPlace(Box<Flaw>),
    /// What the plan is lowered to is wrong, at or about this instruction of a lane.
    Lowered {
        rank: Rank,
        lane: usize,
        instruction: usize,
        wrong: Box<Wrong>,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {}, lane {}, step {}", self.rank, self.lane, self.step)?;
        match self.inside {
            Some(inside) => write!(f, " (round {}, move {})", inside.round, inside.index),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Departure::Foreign => "is not what comes next in any part of the composed plan",
            Departure::OutOfOrder => "comes before steps of the composed plan that it may not pass",
            Departure::NotAwaited => "does not wait for the stage before, which another lane carries out",
            Departure::Missing => "is the end of a lane, and parts of the composed plan have steps left",
            Departure::Lanes => "is in a lane of its own, which may meet others",
        })
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "from rank {} to rank {} on channel {}", self.source, self.target, self.channel)
    }
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.buffer, self.index)
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wait::Message(link) => write!(f, "waits for a message {link}"),
            Wait::Release(link) => write!(f, "waits to overwrite what is posted {link}"),
            Wait::Taken(link) => write!(f, "waits for its result to be taken {link}"),
            Wait::Step(place) => write!(f, "waits for the end of {place}"),
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Nothing => f.write_str("nothing"),
            Found::Input { rank, chunk } => write!(f, "input[{chunk}] of rank {rank}"),
            Found::OtherChunk(chunk) => write!(f, "a fold of chunk {chunk}"),
            Found::Without(rank) => write!(f, "a fold without rank {rank}"),
            Found::NotFinal => f.write_str("a complete fold that is not marked final"),
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Problem { what } => f.write_str(what),
            Flaw::TooLarge { what, limit } => write!(f, "the plan has more than {limit} {what}, too many to prove"),
            Flaw::ScratchSize { rank, slot, chunk } => {
                write!(f, "rank {rank}: scratch[{slot}] has the size of chunk {chunk}, which the rank can't know")
            }
            Flaw::SharedChannel { rank, link, lanes: [one, other] } => {
                write!(f, "rank {rank}: lanes {one} and {other} share the messages {link}")
            }
            Flaw::NoSource { at } => write!(f, "{at} has no source"),
            Flaw::NoDestination { at } => write!(f, "{at} has no destination"),
            Flaw::ManySources { at, sources } => write!(f, "{at} has {sources} sources and no reduction"),
            Flaw::NoLocalOperand { at } => write!(f, "{at} has no local operand"),
            Flaw::EmptySpan { at, buffer } => write!(f, "{at} names a span of {buffer} without chunks"),
            Flaw::NoBuffer { at, buffer } => write!(f, "{at} names {buffer}, and the rank has none"),
            Flaw::OutOfRange { at, buffer, end, chunks } => {
                write!(f, "{at} reaches to {buffer}[..{end}], and {buffer} has {chunks} chunks")
            }
            Flaw::WritesInput { at } => write!(f, "{at} writes to input"),
            Flaw::PeerOutOfRange { at, peer, ranks } => write!(f, "{at} names rank {peer} of {ranks}"),
            Flaw::PeerIsSelf { at } => write!(f, "{at} names its own rank as peer"),
            Flaw::PeerTwice { at, peer, channel } => write!(f, "{at} names rank {peer} on channel {channel} twice"),
            Flaw::ShapesDiffer { at, one, other } => write!(f, "{at}: {one} and {other} differ in size"),
            Flaw::Overlap { at, spot } => write!(f, "{at}: operands overlap at {spot}"),
            Flaw::NoSuchStep { at, lane, step } => {
                write!(f, "{at} waits for lane {lane}, step {step}, and the rank has none")
            }
            Flaw::NothingToReduce { at, collective } => write!(f, "{at} folds, and {collective} reduces nothing"),
            Flaw::SizesDiffer { at, link, sent_at } => {
                write!(f, "{at} takes a message {link} of other sizes than {sent_at} sends")
            }
            Flaw::NeverSent { at, link } => write!(f, "{at} waits for a message {link} that is never sent"),
            Flaw::NeverReceived { link, sent_at } => write!(f, "{sent_at} sends a message {link} that nobody takes"),
            Flaw::Deadlock { circle } => {
                f.write_str("deadlock: ")?;
                for (index, (at, wait)) in circle.iter().enumerate() {
                    write!(f, "{}{at} {wait}", if index == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
            Flaw::Unwritten { at, spot } => write!(f, "{at} reads {spot}, which holds nothing yet"),
            Flaw::ChunksMixed { at, one, other } => write!(f, "{at} folds chunk {one} with chunk {other}"),
            Flaw::CountedTwice { at, rank } => write!(f, "{at} counts the contribution of rank {rank} twice"),
            Flaw::FoldsFinal { at } => write!(f, "{at} folds a result that is final already"),
            Flaw::FinalTooEarly { at, missing } => {
                write!(f, "{at} is marked final without the contribution of rank {missing}")
            }
            Flaw::Race { spot, first, reader: None, second } => {
                write!(f, "race on {spot}: nothing orders {first} and {second}")
            }
            Flaw::Race { spot, first, reader: Some(reader), second } => {
                write!(f, "race on {spot}: {first} posts it to {reader}, and nothing orders that before {second}")
            }
            Flaw::WrongOutput { rank, chunk, found } => write!(f, "rank {rank}: output[{chunk}] ends as {found}"),
            Flaw::PromisedHops { promised, found } => write!(f, "{promised} hops are promised, the plan has {found}"),
            Flaw::PromisedChunksSent { promised, found } => {
                write!(f, "{promised} chunks sent by the busiest rank are promised, the plan sends {found}")
            }
            Flaw::PromisedChunksReceived { promised, found } => {
                write!(f, "{promised} chunks received by the busiest rank are promised, the plan receives {found}")
            }
            Flaw::PromisedOrder { rank, chunk, declared, found } => {
                write!(f, "rank {rank}: output[{chunk}] adds up as ")?;
                write_order(f, found)?;
                f.write_str(", declared is ")?;
                write_order(f, declared)
            }
            Flaw::Composition { at, departure } => write!(f, "{at} {departure}"),
            Flaw::Parts { collective } => {
                write!(f, "the parts of the composed plan are not those of which {collective} is composed")
            }
            Flaw::InPlace(flaw) => write!(f, "in place: {flaw}"),
            Flaw::Lowered { rank, lane, instruction, wrong } => {
                write!(f, "lowered: rank {rank}, lane {lane}, instruction {instruction} {wrong}")
            }
        }
    }
}

/// Writes an order as `(0 + (1 + 2))`, cut short after a screenful.
fn write_order(f: &mut fmt::Formatter<'_>, order: &Order) -> fmt::Result {
    enum Piece<'a> {
        Order(&'a Order),
        Text(&'static str),
    }
    let mut rest = vec![Piece::Order(order)];
    for _ in 0..200 {
        match rest.pop() {
            None => return Ok(()),
            Some(Piece::Text(text)) => f.write_str(text)?,
            Some(Piece::Order(Order::Rank(rank))) => write!(f, "{rank}")?,
            Some(Piece::Order(Order::Fold(parts))) => {
                f.write_str("(")?;
                rest.push(Piece::Text(")"));
                for (index, part) in parts.iter().enumerate().rev() {
                    rest.push(Piece::Order(part));
                    if index > 0 {
                        rest.push(Piece::Text(" + "));
                    }
                }
            }
        }
    }
    f.write_str("...")
}

impl std::error::Error for Flaw {}

impl From<Flaw> for Error {
    fn from(flaw: Flaw) -> Error {
        Error::new(ErrorKind::Plan, flaw.to_string())
    }
}
