//! What the writers of plans share: rank arithmetic, operands that are whole blocks, the program of a rank that is
//! alone.

use super::Algorithm;
use crate::plan::build::{copy, reduce, span};
use crate::plan::chunk::{ChunkId, Grid};
use crate::plan::{Buffer, Move, Operand, Order, Plan, Problem, Program, Promise, Reduction, Stage, Step};
use crate::types::{Collective, Rank};
use std::ops::Range;

/// `Ok` if the problem is well formed and of one of these collectives.
pub(super) fn serves(problem: &Problem, collectives: &[Collective]) -> Result<(), String> {
    if !collectives.contains(&problem.collective) {
        let names: Vec<&str> = collectives.iter().map(|collective| collective.name()).collect();
        return Err(format!("answers {}, not {}", names.join(", "), problem.collective));
    }
    if problem.ranks == 0 || problem.tiles == 0 {
        return Err("needs at least 1 rank and 1 tile".to_owned());
    }
    if problem.collective == Collective::Barrier && problem.tiles > 1 {
        return Err("moves one byte, which can't be cut into tiles".to_owned());
    }
    if problem.root >= problem.ranks {
        return Err(format!("needs a root below {} ranks, not {}", problem.ranks, problem.root));
    }
    let blocks = match problem.collective {
        Collective::AllToAll => problem.ranks.checked_mul(problem.ranks),
        _ => Some(problem.ranks),
    };
    match blocks.and_then(|blocks| blocks.checked_mul(problem.tiles as usize)) {
        Some(chunks) if chunks <= ChunkId::MAX as usize => Ok(()),
        _ if problem.collective == Collective::AllToAll && problem.tiles == 1 => Err(format!(
            "has more chunks than can be numbered: one for each of {0} x {0} pairs of ranks, and numbers end at 2^32",
            problem.ranks
        )),
        _ => Err(format!("has more chunks than can be numbered ({} ranks, {} tiles)", problem.ranks, problem.tiles)),
    }
}

/// A plan of which `program` writes the programs for 2 ranks and more.
pub(super) fn plan(
    algorithm: &dyn Algorithm,
    problem: &Problem,
    blocks: usize,
    program: fn(&Problem, Rank) -> Program,
) -> Plan {
    let (problem, blocks) = (*problem, blocks as u32);
    Plan::new(algorithm.name(), problem, blocks, move |rank| match problem.ranks {
        1 => alone(&problem, blocks),
        _ => program(&problem, rank),
    })
}

/// A plan in one block for all: a broadcast by the one writer, a reduce by the other.
pub(super) fn broadcast_or_reduce(
    algorithm: &dyn Algorithm,
    problem: &Problem,
    broadcast: fn(&Problem, Rank) -> Program,
    to_root: fn(&Problem, Rank) -> Program,
) -> Plan {
    let program = match problem.collective {
        Collective::Broadcast => broadcast,
        Collective::Reduce => to_root,
        other => unreachable!("{} does not fit {other}", algorithm.name()),
    };
    plan(algorithm, problem, 1, program)
}

/// One rank has but to move its input to its output; a reduction still ends in a `Final`, for the sake of a
/// pre-multiplier.
fn alone(problem: &Problem, blocks: u32) -> Program {
    let chunks = Grid::new(problem, blocks).chunks(0, Buffer::Input);
    let (input, output) = (span(Buffer::Input, 0, chunks), span(Buffer::Output, 0, chunks));
    program([if problem.collective.reduces() {
        reduce(Reduction::Final, [input], [output])
    } else {
        copy(input, [output])
    }])
}

/// A promise in whole blocks; a rank that is alone sends nothing.
pub(super) fn promise(problem: &Problem, hops: usize, blocks_sent: usize, blocks_received: usize) -> Promise {
    if problem.ranks == 1 {
        return Promise { hops: 0, chunks_sent: 0, chunks_received: 0 };
    }
    let tiles = u64::from(problem.tiles);
    Promise {
        hops: hops as u32,
        chunks_sent: blocks_sent as u64 * tiles,
        chunks_received: blocks_received as u64 * tiles,
    }
}

/// Stages of a direct exchange, one for each hop: in each a rank sends a block to every other, in its domain or across.
pub(super) fn direct_stages(problem: &Problem, hops: usize) -> Vec<Stage> {
    let (ranks, tiles) = (problem.ranks, u64::from(problem.tiles));
    let domains = problem.layout.domains(ranks);
    let sizes = || (0..domains).map(|domain| problem.layout.domain_size(ranks, domain));
    let (smallest, largest) = (sizes().min().unwrap_or(1), sizes().max().unwrap_or(1));
    let across = u32::from(domains > 1);
    let stage = Stage {
        hops: 1 - across,
        crossing_hops: across,
        chunks_out: (largest as u64 - 1) * tiles,
        chunks_in: (largest as u64 - 1) * tiles,
        crossing_chunks: (ranks - smallest) as u64 * tiles,
        messages_out: largest as u64 - 1,
        messages_in: largest as u64 - 1,
        crossing_messages: (ranks - smallest) as u64,
        local_chunks: (ranks as u64 - 1) * tiles,
        ..Stage::default()
    };
    if ranks == 1 { Vec::new() } else { vec![stage; hops] }
}

/// All ranks in one fold, in ascending order.
pub(super) fn ascending(problem: &Problem) -> Order {
    Order::Fold((0..problem.ranks).map(Order::Rank).collect())
}

/// A program of one lane without scratch.
pub(super) fn program(moves: impl IntoIterator<Item = Move>) -> Program {
    Program::of(moves.into_iter().map(Step::Move).collect())
}

/// One move per tile: round `t` works on tile `t` of each span.
pub(super) fn each_tile(problem: &Problem, body: Move) -> Step {
    Step::Repeat { count: problem.tiles, body: vec![body] }
}

/// The rank `distance` places after `rank`, going round.
pub(super) fn ahead(problem: &Problem, rank: Rank, distance: usize) -> Rank {
    (rank + distance) % problem.ranks
}

/// The rank `distance` (at most the number of ranks) places before `rank`, going round.
pub(super) fn behind(problem: &Problem, rank: Rank, distance: usize) -> Rank {
    (rank + problem.ranks - distance) % problem.ranks
}

/// How many ranks there are from the root to `rank`, going up and round.
pub(super) fn from_root(problem: &Problem, rank: Rank) -> usize {
    behind(problem, rank, problem.root)
}

/// Block `index` of a buffer.
pub(super) fn block(problem: &Problem, buffer: Buffer, index: usize) -> Operand {
    blocks(problem, buffer, index..index + 1)
}

/// A run of blocks of a buffer.
pub(super) fn blocks(problem: &Problem, buffer: Buffer, range: Range<usize>) -> Operand {
    span(buffer, range.start as u32 * problem.tiles, range.len() as u32 * problem.tiles)
}

/// The chunks of these blocks, to size scratch.
pub(super) fn chunks_of(problem: &Problem, blocks: impl IntoIterator<Item = usize>) -> Vec<ChunkId> {
    let tiles = problem.tiles;
    blocks.into_iter().flat_map(|block| (0..tiles).map(move |tile| block as u32 * tiles + tile)).collect()
}

/// The `len` blocks from `first`, going round: one range, or two where they pass the end.
pub(super) fn wrapped(problem: &Problem, first: usize, len: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let (ranks, end) = (problem.ranks, first + len);
    [first..end.min(ranks), 0..end.saturating_sub(ranks)].into_iter().filter(|range| !range.is_empty())
}

/// Rounds after which something that doubles each round has reached all of `ranks`.
pub(super) fn ceil_log2(ranks: usize) -> usize {
    ranks.next_power_of_two().trailing_zeros() as usize
}
