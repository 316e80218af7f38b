//! The critical path: why it took as long as it did.

use crate::topology::LinkClass;
use crate::types::Rank;

/// A piece of the critical path.
#[derive(Clone, Debug, PartialEq)]
pub struct Leg {
    pub start_ns: f64,
    pub end_ns: f64,
    pub work: Work,
}

/// What went on in a leg.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Work {
    /// Bytes of a message flow; the class is that of the slowest link of its way.
    Flow { from: Rank, to: Rank, bytes: u64, class: LinkClass },
    /// The last byte is under way.
    Latency { from: Rank, to: Rank, class: LinkClass },
    /// A rank works in its own memory.
    Local { rank: Rank, bytes: u64 },
}

/// Why something could begin when it did: a number of the kind that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Start,
    /// The end of this step.
    Step(u32),
    /// The arrival of this message.
    Arrival(u32),
    /// The last byte of this message left its channel free.
    Passed(u32),
}
