//! What a step must keep by itself, whatever the others do.

use super::flaw::{Flaw, Inside, Place, Spot};
use crate::plan::chunk::{ChunkId, Grid};
use crate::plan::{Buffer, Move, Operand, Span};
use crate::types::{Collective, Rank};

/// What the rules need to know of a rank.
pub(super) struct Context<'a> {
    pub(super) grid: &'a Grid,
    pub(super) uneven: bool,
    pub(super) scratch: &'a [ChunkId],
}

impl Context<'_> {
    fn chunks(&self, rank: Rank, buffer: Buffer) -> u32 {
        match buffer {
            Buffer::Scratch => self.scratch.len() as u32,
            Buffer::Input | Buffer::Output => self.grid.chunks(rank, buffer),
        }
    }

    fn size_class(&self, rank: Rank, spot: Spot) -> u32 {
        self.grid.size_class(self.grid.chunk_id(rank, spot.buffer, spot.index, self.scratch), self.uneven)
    }
}

/// Scratch slots are as large as chunks that exist and, in an uneven all-to-all, whose counts this rank is told.
pub(super) fn check_scratch(grid: &Grid, uneven: bool, rank: Rank, scratch: &[ChunkId]) -> Result<(), Flaw> {
    let blocks = if grid.collective == Collective::AllToAll { grid.ranks * grid.ranks } else { grid.blocks };
    for (slot, &chunk) in scratch.iter().enumerate() {
        let block = chunk / grid.tiles;
        let told = || block / grid.ranks == rank as u32 || block % grid.ranks == rank as u32;
        if block >= blocks || (uneven && grid.collective == Collective::AllToAll && !told()) {
            return Err(Flaw::ScratchSize { rank, slot: slot as u32, chunk });
        }
    }
    Ok(())
}

/// Checks one move in all its rounds; the chunks of its operands are returned.
pub(super) fn check_move(context: &Context, at: Place, step: &Move, rounds: u32) -> Result<u32, Flaw> {
    check_operands(context, at, step, rounds)?;
    let mut spans = operands(step).filter_map(|(operand, _)| match operand {
        Operand::Local(span) => Some(span),
        Operand::Peer { .. } => None,
    });
    let first = spans.next().ok_or(Flaw::NoLocalOperand { at })?;
    for span in spans {
        check_shapes(context, at, first, span, rounds)?;
    }
    Ok(first.len)
}

/// Checks what one move names, without comparing its operands.
pub(super) fn check_operands(context: &Context, at: Place, step: &Move, rounds: u32) -> Result<(), Flaw> {
    check_form(context, at, step)?;
    for (operand, writes) in operands(step) {
        match operand {
            Operand::Peer { rank, .. } => check_peer(context, at, *rank)?,
            Operand::Local(span) => check_span(context, at, span, rounds, writes)?,
        }
    }
    check_twice(at, &step.sources)?;
    check_twice(at, &step.destinations)
}

/// Sources, then destinations, and whether they are written.
fn operands(step: &Move) -> impl Iterator<Item = (&Operand, bool)> {
    let sources = step.sources.iter().map(|operand| (operand, false));
    sources.chain(step.destinations.iter().map(|operand| (operand, true)))
}

fn check_form(context: &Context, at: Place, step: &Move) -> Result<(), Flaw> {
    if step.sources.is_empty() {
        return Err(Flaw::NoSource { at });
    }
    if step.destinations.is_empty() {
        return Err(Flaw::NoDestination { at });
    }
    if step.reduction.is_none() && step.sources.len() > 1 {
        return Err(Flaw::ManySources { at, sources: step.sources.len() });
    }
    let collective = context.grid.collective;
    if step.reduction.is_some() && !collective.reduces() && collective != Collective::Barrier {
        return Err(Flaw::NothingToReduce { at, collective });
    }
    Ok(())
}

fn check_peer(context: &Context, at: Place, peer: Rank) -> Result<(), Flaw> {
    let ranks = context.grid.ranks as usize;
    if peer >= ranks {
        return Err(Flaw::PeerOutOfRange { at, peer, ranks });
    }
    if peer == at.rank {
        return Err(Flaw::PeerIsSelf { at });
    }
    Ok(())
}

fn check_span(context: &Context, at: Place, span: &Span, rounds: u32, writes: bool) -> Result<(), Flaw> {
    let buffer = span.buffer;
    if writes && buffer == Buffer::Input {
        return Err(Flaw::WritesInput { at });
    }
    if span.len == 0 {
        return Err(Flaw::EmptySpan { at, buffer });
    }
    let chunks = context.chunks(at.rank, buffer);
    if chunks == 0 {
        return Err(Flaw::NoBuffer { at, buffer });
    }
    let last_round = u64::from(rounds.saturating_sub(1));
    let end = u64::from(span.start) + last_round * u64::from(span.stride) + u64::from(span.len);
    if end > u64::from(chunks) {
        return Err(Flaw::OutOfRange { at, buffer, end, chunks });
    }
    Ok(())
}

/// Two messages of one move on one channel would be told apart by their order alone, which no executor should have to keep.
fn check_twice(at: Place, operands: &[Operand]) -> Result<(), Flaw> {
    if operands.len() < 2 {
        return Ok(());
    }
    let mut peers: Vec<(Rank, u16)> = Vec::with_capacity(operands.len());
    peers.extend(operands.iter().filter_map(|operand| match *operand {
        Operand::Peer { rank, channel } => Some((rank, channel)),
        Operand::Local(_) => None,
    }));
    peers.sort_unstable();
    match peers.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Flaw::PeerTwice { at, peer: pair[0].0, channel: pair[0].1 }),
        None => Ok(()),
    }
}

/// Two local operands have the same chunks, in every round.
fn check_shapes(context: &Context, at: Place, one: &Span, other: &Span, rounds: u32) -> Result<(), Flaw> {
    for round in 0..rounds {
        let spot = |span: &Span, index| Spot { buffer: span.buffer, index: span.start + round * span.stride + index };
        let differs = |&index: &u32| {
            context.size_class(at.rank, spot(one, index)) != context.size_class(at.rank, spot(other, index))
        };
        let shorter = one.len.min(other.len);
        let wrong = (0..shorter).find(differs).or((one.len != other.len).then_some(shorter - 1));
        if let Some(index) = wrong {
            let inside = at.inside.map(|inside| Inside { round, ..inside });
            let at = Place { inside, ..at };
            return Err(Flaw::ShapesDiffer { at, one: spot(one, index), other: spot(other, index) });
        }
        if one.stride == 0 && other.stride == 0 {
            break;
        }
    }
    Ok(())
}
