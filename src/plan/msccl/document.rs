//! A file of the format as data, before anything is made of it.

use super::Origin;
use crate::plan::Buffer;
use crate::types::{Collective, Rank};

/// What a file says. Ranks are its `gpu`s, in order of their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub(super) name: String,
    pub(super) protocol: Protocol,
    pub(super) collective: Collective,
    /// Where the collective has one.
    pub(super) root: Rank,
    /// Into how many chunks the larger of input and output is cut.
    pub(super) chunks: u32,
    pub(super) placement: Placement,
    pub(super) gpus: Vec<Gpu>,
    /// For how many chunks it may ask.
    pub(super) most_chunks: u64,
}

impl Document {
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// Chunks of all GPUs, and chunks of all steps: the larger.
    pub(super) fn chunks_in_all(&self) -> u64 {
        let steps = self.gpus.iter().flat_map(|gpu| &gpu.blocks).flat_map(|block| &block.steps);
        let moved = steps.map(|step| u64::from(step.count)).sum();
        (u64::from(self.chunks) * self.gpus.len() as u64).max(moved)
    }

    /// Thread blocks of the GPU that has most.
    pub fn thread_blocks(&self) -> usize {
        self.gpus.iter().map(|gpu| gpu.blocks.len()).max().unwrap_or(0)
    }

    /// Steps of the thread block that has most.
    pub fn steps(&self) -> usize {
        let blocks = self.gpus.iter().flat_map(|gpu| &gpu.blocks);
        blocks.map(|block| block.steps.len()).max().unwrap_or(0)
    }

    /// The line of the text, from 1, where a step stands.
    ///
    /// # Panics
    /// If the origin or the text is of another document.
    pub fn line(&self, text: &str, origin: &Origin) -> usize {
        let Origin { gpu, block, step } = *origin;
        let at = self.gpus[gpu].blocks[block as usize].steps[step as usize].at;
        text[..at].matches('\n').count() + 1
    }
}

/// How messages travel through a connection, which says how many of them it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Simple,
    Ll,
    Ll128,
}

impl Protocol {
    pub const ALL: [Protocol; 3] = [Protocol::Simple, Protocol::Ll, Protocol::Ll128];

    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Simple => "Simple",
            Protocol::Ll => "LL",
            Protocol::Ll128 => "LL128",
        }
    }

    /// Messages that were sent and not received: a further send waits. A connection has 8 slots (`NCCL_STEPS`), of which a message of
    /// `Simple` takes 4 (`MSCCL_CHUNKSTEPS`) and one of the others 1, as read in the interpreters of MSCCL and RCCL. A
    /// step whose chunks are larger than a slot sends several messages; plans are made for sizes (`maxBytes`) where that is not so.
    pub const fn connection_depth(self) -> u32 {
        match self {
            Protocol::Simple => 2,
            Protocol::Ll | Protocol::Ll128 => 8,
        }
    }
}

/// Where input and output of a call may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Each in its own memory.
    Apart,
    /// In one memory: `i` and `o` are two names of it.
    InPlace,
    /// Either.
    Both,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Gpu {
    pub(super) input_chunks: u32,
    pub(super) output_chunks: u32,
    pub(super) scratch_chunks: u32,
    /// In order of their ids.
    pub(super) blocks: Vec<Block>,
}

/// A thread block: steps in order, at most one peer to send to and one to receive from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) send: Option<Rank>,
    pub(super) receive: Option<Rank>,
    pub(super) channel: u16,
    pub(super) steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) kind: Kind,
    pub(super) source: Place,
    pub(super) destination: Place,
    /// Chunks.
    pub(super) count: u32,
    /// Another step of the GPU that must have ended. Files may name an earlier one of that block, see [`Document::parse`].
    pub(super) after: Option<StepId>,
    /// Whether its end is made known to those that wait for it.
    pub(super) is_awaited: bool,
    /// Where it stands in the text, in bytes.
    pub(super) at: usize,
}

/// A step of a GPU: the index of its block and its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct StepId {
    pub(super) block: u32,
    pub(super) step: u32,
}

/// A chunk of a buffer; meaningless where the step's kind does not use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) buffer: Buffer,
    pub(super) offset: u32,
}

/// What a step does: receives, reduces, copies (stores), sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Send,
    Receive,
    ReceiveCopySend,
    ReceiveReduceSend,
    ReceiveReduceCopy,
    ReceiveReduceCopySend,
    Copy,
    Reduce,
    /// Only waits.
    Nop,
}

impl Kind {
    pub(super) const ALL: [Kind; 9] = [
        Kind::Send,
        Kind::Receive,
        Kind::ReceiveCopySend,
        Kind::ReceiveReduceSend,
        Kind::ReceiveReduceCopy,
        Kind::ReceiveReduceCopySend,
        Kind::Copy,
        Kind::Reduce,
        Kind::Nop,
    ];

    /// As the format has it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Kind::Send => "s",
            Kind::Receive => "r",
            Kind::ReceiveCopySend => "rcs",
            Kind::ReceiveReduceSend => "rrs",
            Kind::ReceiveReduceCopy => "rrc",
            Kind::ReceiveReduceCopySend => "rrcs",
            Kind::Copy => "cpy",
            Kind::Reduce => "re",
            Kind::Nop => "nop",
        }
    }

    pub(super) const fn sends(self) -> bool {
        matches!(self, Kind::Send | Kind::ReceiveCopySend | Kind::ReceiveReduceSend | Kind::ReceiveReduceCopySend)
    }

    pub(super) const fn receives(self) -> bool {
        matches!(
            self,
            Kind::Receive
                | Kind::ReceiveCopySend
                | Kind::ReceiveReduceSend
                | Kind::ReceiveReduceCopy
                | Kind::ReceiveReduceCopySend
        )
    }

    /// Whether it reads its source.
    pub(super) const fn reads(self) -> bool {
        !matches!(self, Kind::Receive | Kind::ReceiveCopySend | Kind::Nop)
    }

    /// Whether it stores to its destination.
    pub(super) const fn writes(self) -> bool {
        !matches!(self, Kind::Send | Kind::ReceiveReduceSend | Kind::Nop)
    }
}

/// The collectives of the format, by its names; those that have two are written by the first.
pub(super) const COLLECTIVES: [(&str, Collective); 9] = [
    ("allreduce", Collective::AllReduce),
    ("allgather", Collective::AllGather),
    ("reducescatter", Collective::ReduceScatter),
    ("reduce_scatter", Collective::ReduceScatter),
    ("alltoall", Collective::AllToAll),
    ("broadcast", Collective::Broadcast),
    ("reduce", Collective::Reduce),
    ("gather", Collective::Gather),
    ("scatter", Collective::Scatter),
];

/// A buffer by its letter.
pub(super) const BUFFERS: [(&str, Buffer); 3] = [("i", Buffer::Input), ("o", Buffer::Output), ("s", Buffer::Scratch)];
