//! What a collective promises of every output chunk, compared with what a run left there.

use super::code::Code;
use super::flaw::{Flaw, Found};
use super::memory::Memory;
use super::value::{NOTHING, Value, Values};
use crate::plan::Buffer;
use crate::types::{Collective, Rank};

/// What must stand in an output chunk.
enum Promised {
    /// An input chunk of a rank, as it was.
    Input(Rank, u32),
    /// The final fold of everyone's contribution to this input chunk.
    Sum(u32),
    /// A sign of everyone.
    Everyone,
}

fn promised(code: &Code, rank: Rank, index: u32) -> Promised {
    let grid = &code.grid;
    let (block, tile) = (index / grid.tiles, index % grid.tiles);
    let own = rank as u32 * grid.tiles;
    match grid.collective {
        Collective::AllReduce | Collective::Reduce => Promised::Sum(index),
        Collective::ReduceScatter | Collective::ReduceScatterV => Promised::Sum(own + index),
        Collective::AllGather | Collective::AllGatherV | Collective::Gather => Promised::Input(block as Rank, tile),
        Collective::Broadcast => Promised::Input(grid.root, index),
        Collective::Scatter => Promised::Input(grid.root, own + index),
        Collective::AllToAll | Collective::AllToAllV => Promised::Input(block as Rank, own + tile),
        Collective::Barrier => Promised::Everyone,
        Collective::SendRecv => unreachable!("refused before it runs"),
    }
}

/// Compares all outputs with the promise.
pub(super) fn check(code: &Code, values: &Values, memory: &Memory) -> Result<(), Flaw> {
    for rank in 0..code.lanes_of.len() {
        for index in 0..code.grid.chunks(rank, Buffer::Output) {
            let value = memory.output(rank, index);
            if let Some(found) = difference(values, value, promised(code, rank, index)) {
                return Err(Flaw::WrongOutput { rank, chunk: index, found });
            }
        }
    }
    Ok(())
}

fn difference(values: &Values, value: Value, promised: Promised) -> Option<Found> {
    if value == NOTHING {
        return Some(Found::Nothing);
    }
    let input = values.as_input(value);
    match promised {
        Promised::Input(rank, chunk) if input == Some((rank, chunk)) => None,
        Promised::Everyone => values.missing(value).map(Found::Without),
        Promised::Input(..) | Promised::Sum(_) if let Some((rank, chunk)) = input => Some(Found::Input { rank, chunk }),
        Promised::Input(..) => Some(Found::OtherChunk(values.chunk(value))),
        Promised::Sum(chunk) if values.chunk(value) != chunk => Some(Found::OtherChunk(values.chunk(value))),
        Promised::Sum(_) => match values.missing(value) {
            Some(rank) => Some(Found::Without(rank)),
            None => (!values.is_final(value)).then_some(Found::NotFinal),
        },
    }
}

/// What every rank's output holds; kept for the order of addition, so only where something is reduced.
pub(super) fn outputs(code: &Code, memory: &Memory) -> Vec<Vec<Value>> {
    if !code.grid.collective.reduces() {
        return Vec::new();
    }
    let chunks = |rank| 0..code.grid.chunks(rank, Buffer::Output);
    (0..code.lanes_of.len()).map(|rank| chunks(rank).map(|index| memory.output(rank, index)).collect()).collect()
}

/// Whether ranks that hold the same chunk hold the same value.
pub(super) fn is_bit_equal(code: &Code, outputs: &[Vec<Value>]) -> bool {
    code.grid.collective != Collective::AllReduce || outputs.iter().all(|values| *values == outputs[0])
}
