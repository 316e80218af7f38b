//! The plan: what every rank does, as data. An algorithm writes it; everything else reads it.
//!
//! A [`Plan`] is a pure function from a rank to its [`Program`], never a list of all ranks: at 499,968 ranks a flat ring
//! all-reduce has 5×10^11 sends. A program is a few lanes that run side by side; a lane is a short list of steps in order.
//!
//! ## The one step
//! A [`Move`] reads one or more operands, folds them if it reduces, and stores the result into one or more places. An operand
//! is a span of the rank's own memory or a message: `Peer` among the sources receives, among the destinations sends.
//! Messages match first in, first out per (source rank, target rank, channel), so that the same program runs by
//! load and store, through staged tiles or on a wire, and a peer's memory need not be named to be read in place: the message
//! that carries its address is the one that would have carried its bytes.
//!
//! ## When a step blocks
//! - A step waits for the messages it receives, never for those it sends if it has a local operand to send from: such a send is
//!   *posted* and its bytes leave as the peer takes them.
//! - A step that overwrites memory from which a posted send has not been *released* (the peer has taken all of it) waits for
//!   the release. The same holds at the end of the program.
//! - A step with a reduction whose only destinations are peers has no memory to post from: it waits until the peers have taken
//!   the result (a rendezvous), so a plan that is free of deadlock is so at any buffer depth.
//!
//! [`check`](mod@check) proves under exactly these rules that a plan keeps its collective's promise.

pub mod chakra;
pub mod check;
pub mod chunk;
pub mod cost;
pub mod counted;
pub mod lower;
pub mod msccl;
pub mod price;
#[cfg(any(test, fuzzing))]
pub(crate) mod properties;
mod sequence;
pub mod simulate;
pub mod text;

use crate::topology::Layout;
use crate::types::{Collective, Rank};
use std::fmt;
use std::sync::Arc;

/// The three memories that a program names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Buffer {
    /// What the caller passes in. Never written. May be the very memory of `Output` (in place), which the checker tries too.
    Input,
    /// What the caller gets.
    Output,
    /// Temporary memory of this rank; slot i has the size that [`Program::scratch`] says.
    Scratch,
}

/// A run of whole chunks of one buffer. Inside a [`Step::Repeat`] it moves on by `stride` chunks per round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    pub buffer: Buffer,
    pub start: u32,
    pub len: u32,
    pub stride: u32,
}

/// One thing that a [`Move`] reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    Local(Span),
    /// A message: received from `rank` as a source, sent to `rank` as a destination.
    Peer {
        rank: Rank,
        channel: u16,
    },
}

/// How a move combines its sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// Sources are folded from first to last; the result still lacks contributions.
    Partial,
    /// As `Partial`, and the result holds all contributions: here, and only here, an average is divided.
    Final,
}

/// Reads the sources, folds them if there is a reduction, stores the result at every destination.
///
/// Without a reduction there is exactly one source. All local operands have the same chunks in the same order, and there
/// is at least one: nothing passes through a rank that is not in its memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Move {
    pub reduction: Option<Reduction>,
    pub sources: Vec<Operand>,
    pub destinations: Vec<Operand>,
    pub through: Through,
}

/// Who folds and copies what passes between ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Through {
    /// The ranks themselves: each message has its own bytes on the way.
    #[default]
    Messages,
    /// The switch of the domain, where it can (NVLS): messages received by one fold reach the rank as one, and messages sent by one
    /// move leave it as one. What the plan does is the same, and the checker does not look; the price is not. Where there is no
    /// such switch the move runs by messages.
    Switch,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Move(Move),
    /// `count` rounds of `body`, spans moving on by their stride each round. Not nested.
    Repeat {
        count: u32,
        body: Vec<Move>,
    },
    /// Waits until a step of another lane of this rank has ended: all it receives is stored. What it posted may still be
    /// under way.
    Wait {
        lane: u32,
        step: u32,
    },
}

/// Steps in order.
pub type Lane = Vec<Step>;

/// What one rank does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Side by side: no order between lanes but that which messages and [`Step::Wait`] make.
    pub lanes: Vec<Lane>,
    /// The size of each scratch slot, as the chunk that is as large (see [`chunk::ChunkId`]).
    pub scratch: Vec<chunk::ChunkId>,
}

impl Program {
    /// A program of one lane without scratch.
    pub fn of(steps: Lane) -> Program {
        Program { lanes: vec![steps], scratch: Vec::new() }
    }
}

/// The question that an algorithm answers with a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// One of the even collectives (see [`Collective::even`]).
    pub collective: Collective,
    pub ranks: usize,
    /// 0 where the collective has none.
    pub root: Rank,
    /// Blocks may have sizes of their own: the plan must be right whatever they are.
    pub uneven: bool,
    /// Into how many tiles a block is cut for pipelining; algorithms that don't pipeline are asked with 1.
    pub tiles: u32,
    /// Which ranks share a domain. A plan is right whatever it says; what it says is what hierarchical plans follow.
    pub layout: Layout,
    /// Whether the switch of every domain folds and copies what passes it ([`Through::Switch`]), so that plans which count on it
    /// are worth their price. They are right in any case.
    pub switch: bool,
}

impl Problem {
    /// Root 0, even blocks, one tile, no domains, no switch.
    pub fn new(collective: Collective, ranks: usize) -> Problem {
        Problem { collective, ranks, root: 0, uneven: false, tiles: 1, layout: Layout::Flat, switch: false }
    }
}

/// What a plan asks of a call beyond its problem. The plans of the registry ask nothing; those of other programs may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Demands {
    /// All chunks are equally large: counts are multiples of the number of chunks.
    pub equal_chunks: bool,
    /// Input and output are not the same memory.
    pub apart: bool,
}

/// A pure function from a rank to its program, and the question that it answers.
#[derive(Clone)]
pub struct Plan {
    /// The algorithm's name in the registry, or the file's for an imported plan.
    pub algorithm: String,
    pub problem: Problem,
    /// Into how many blocks buffers are cut where the collective leaves it open (all-reduce, broadcast, reduce): see
    /// [`chunk::Grid`].
    pub blocks: u32,
    pub demands: Demands,
    /// What it is composed of, if it is: see [`check::compose`].
    parts: Arc<[Part]>,
    program: Arc<dyn Fn(Rank) -> Program + Send + Sync>,
}

impl Plan {
    /// `blocks` counts only where the collective leaves it open (all-reduce, broadcast, reduce).
    pub fn new(
        algorithm: &str,
        problem: Problem,
        blocks: u32,
        program: impl Fn(Rank) -> Program + Send + Sync + 'static,
    ) -> Plan {
        let (demands, parts) = (Demands::default(), Arc::new([]));
        Plan { algorithm: algorithm.to_owned(), problem, blocks, demands, parts, program: Arc::new(program) }
    }

    /// The plan for calls that are as it demands.
    pub fn demanding(self, demands: Demands) -> Plan {
        Plan { demands, ..self }
    }

    /// The plan, known to be composed of these parts in this order by the rule of [`check::compose`].
    pub(crate) fn composed_of(self, parts: Vec<Part>) -> Plan {
        Plan { parts: parts.into(), ..self }
    }

    /// What the plan is composed of; empty if it is not composed.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// What `rank` does.
    pub fn program(&self, rank: Rank) -> Program {
        assert!(rank < self.problem.ranks, "rank {rank} of a plan for {}", self.problem.ranks);
        (self.program)(rank)
    }

    pub fn grid(&self) -> chunk::Grid {
        let equal_chunks = self.demands.equal_chunks;
        chunk::Grid { equal_chunks, ..chunk::Grid::new(&self.problem, self.blocks) }
    }
}

/// A stage of a composed plan: in every group of some ranks (a domain, a rail) a factor's plan runs, its ranks and chunks renamed.
#[derive(Clone, Debug)]
pub struct Part {
    /// One factor for each kind of group.
    pub factors: Vec<Plan>,
    /// How many chunks of the whole's tile one chunk of the factor is, at most.
    pub chunks: u64,
    /// Whether what is one message of the factor is one of the whole; else each chunk of the whole travels by itself.
    pub joins: bool,
    /// Of how many groups a rank is a member, at most, and how many groups there are.
    pub runs: u64,
    pub groups: u64,
    /// Whether one hop of the stage passes beside the stages of other tiles: its first sends are brought forward, or its last receipts
    /// put off.
    pub overlaps: bool,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("algorithm", &self.algorithm)
            .field("problem", &self.problem)
            .field("blocks", &self.blocks)
            .field("demands", &self.demands)
            .finish_non_exhaustive()
    }
}

/// The order in which a reduction adds up, declared by the algorithm apart from its plan, replayed by tests in scalar code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// This rank's own input.
    Rank(Rank),
    /// One reduction step: folded from first to last in the accumulator's type, rounded to the element type at the end.
    Fold(Vec<Order>),
}

/// What an algorithm claims of its plan, from a formula in its file that does not look at the plan; the checker compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// Messages on the longest chain from any start to any end.
    pub hops: u32,
    /// Chunks sent by the rank that sends most.
    pub chunks_sent: u64,
    /// Chunks received by the rank that receives most.
    pub chunks_received: u64,
}

/// A part of a plan as its price sees it: what passes the ports of the busiest rank while a chain of messages goes on.
///
/// Stages follow each other, or overlap tile by tile where the plan pipelines. Within a stage domain and network are busy at the same
/// time: what stays in a domain and what crosses don't wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Stage {
    /// Stages of one number, which stand next to each other, follow each other; of chains with different numbers, which go on side by
    /// side, the longest counts.
    pub chain: u32,
    /// Messages on the stage's longest chain that stay in their domain, and that cross to another.
    pub hops: u32,
    pub crossing_hops: u32,
    /// Chunks, all tiles of them, that leave by the port into the domain of the rank that has most, and that come in by that of the
    /// rank that has most. What a switch folds or copies passes the port of whoever gets or gives it once.
    pub chunks_out: u64,
    pub chunks_in: u64,
    /// The same at a rank's way out to other domains, in the direction that has most.
    pub crossing_chunks: u64,
    /// Of the ranks that share something on their way out only one is busy at a time, so that it has all of it.
    pub alone: bool,
    /// Chunks for whose time the ways between domains stand idle one way, as what is to pass there waits for what passes the other.
    pub idle_chunks: u64,
    /// Chunks that are added up or copied by the rank that does most.
    pub local_chunks: u64,
    /// Messages of all tiles that leave by the port into the domain of the rank that has most, and that come in by that of the rank
    /// that has most; none where a switch folds or copies, which works through a stream.
    pub messages_out: u64,
    pub messages_in: u64,
    /// The same at a rank's way out to other domains, in the direction that has most.
    pub crossing_messages: u64,
    /// Each rank works on one tile while the next in the chain works on the one before (chains, trees): the last has nothing to do
    /// until the first tile has passed all hops. Every message is one chunk.
    pub pipelined: bool,
    /// Of such a stage the chunks of one tile for whose time the ports on its way are busy before the last rank's first is there, within
    /// domains and between them.
    pub fill_chunks: u64,
    pub crossing_fill_chunks: u64,
    /// Of a stage in a domain, if not 0: how many tiles are under way between two ranks, as the next sets out when the one so many
    /// before has come.
    pub in_flight: u32,
    /// Who folds and copies what stays in the domain.
    pub through: Through,
    /// Of a fold in a switch: how many tiles are asked for at a time. What is asked for comes a latency later; 0 for what is sent unasked.
    pub asked: u32,
}

/// Short hands for algorithms.
pub mod build {
    use super::*;

    /// One chunk.
    pub fn one(buffer: Buffer, chunk: u32) -> Operand {
        span(buffer, chunk, 1)
    }

    /// `len` chunks from `start`.
    pub fn span(buffer: Buffer, start: u32, len: u32) -> Operand {
        Operand::Local(Span { buffer, start, len, stride: 0 })
    }

    /// `len` chunks from `start`, moving on by `stride` chunks per round of a repeat.
    pub fn striding(buffer: Buffer, start: u32, len: u32, stride: u32) -> Operand {
        Operand::Local(Span { buffer, start, len, stride })
    }

    /// A message on channel 0.
    pub fn peer(rank: Rank) -> Operand {
        Operand::Peer { rank, channel: 0 }
    }

    /// A message on a channel of its own.
    pub fn peer_on(rank: Rank, channel: u16) -> Operand {
        Operand::Peer { rank, channel }
    }

    pub fn copy(source: Operand, destinations: impl Into<Vec<Operand>>) -> Move {
        Move { reduction: None, sources: vec![source], destinations: destinations.into(), through: Through::Messages }
    }

    pub fn reduce(
        reduction: Reduction,
        sources: impl Into<Vec<Operand>>,
        destinations: impl Into<Vec<Operand>>,
    ) -> Move {
        Move {
            reduction: Some(reduction),
            sources: sources.into(),
            destinations: destinations.into(),
            through: Through::Messages,
        }
    }
}
