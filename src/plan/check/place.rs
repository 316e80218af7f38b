//! Where in a plan to look for a flaw.

use super::flaw::{Flaw, Place};

impl Flaw {
    /// The step at which the flaw shows, the last of those concerned; `None` if it is about no single step.
    pub fn place(&self) -> Option<Place> {
        match self {
            Flaw::NoSource { at }
            | Flaw::NoDestination { at }
            | Flaw::ManySources { at, .. }
            | Flaw::NoLocalOperand { at }
            | Flaw::EmptySpan { at, .. }
            | Flaw::NoBuffer { at, .. }
            | Flaw::OutOfRange { at, .. }
            | Flaw::WritesInput { at }
            | Flaw::PeerOutOfRange { at, .. }
            | Flaw::PeerIsSelf { at }
            | Flaw::PeerTwice { at, .. }
            | Flaw::ShapesDiffer { at, .. }
            | Flaw::Overlap { at, .. }
            | Flaw::NoSuchStep { at, .. }
            | Flaw::NothingToReduce { at, .. }
            | Flaw::SizesDiffer { at, .. }
            | Flaw::NeverSent { at, .. }
            | Flaw::NeverReceived { sent_at: at, .. }
            | Flaw::Unwritten { at, .. }
            | Flaw::ChunksMixed { at, .. }
            | Flaw::CountedTwice { at, .. }
            | Flaw::FoldsFinal { at }
            | Flaw::FinalTooEarly { at, .. }
            | Flaw::Race { second: at, .. }
            | Flaw::Composition { at, .. } => Some(*at),
            Flaw::Deadlock { circle } => circle.first().map(|(at, _)| *at),
            Flaw::InPlace(flaw) => flaw.place(),
            Flaw::Problem { .. }
            | Flaw::TooLarge { .. }
            | Flaw::ScratchSize { .. }
            | Flaw::SharedChannel { .. }
            | Flaw::WrongOutput { .. }
            | Flaw::PromisedHops { .. }
            | Flaw::PromisedChunksSent { .. }
            | Flaw::PromisedChunksReceived { .. }
            | Flaw::PromisedOrder { .. }
            | Flaw::Parts { .. }
            | Flaw::Lowered { .. } => None,
        }
    }
}
