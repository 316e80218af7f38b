//! Which ranks of a composed plan are looked at: all, unless that takes too long.

use super::places::Places;
use crate::plan::{Move, Plan, Program, Step};
use crate::types::Rank;

/// What a proof may take to write and compare programs.
const AFFORDABLE_NS: f64 = 3.5e8;
/// Of every plan so many ranks are looked at.
const FEWEST: usize = 16;

/// What it takes to write an operand of a tile, one of its rounds, and a chunk of a factor in the whole; and to compare an operand. Fitted
/// to the processor time of `unisono plan` for 16, 512 and 6,944 units of p6e-gb200x72, 64 MiB and 1 GiB, all-reduce, all-gather and
/// reduce-scatter, November 2026, on an Intel Xeon (Emerald Rapids class, virtual machine): within a factor of 2.
const OPERAND_NS: f64 = 315.0;
const ROUND_NS: f64 = 12.0;
const CHUNK_NS: f64 = 55.0;
const COMPARED_NS: f64 = 45.0;
const COMPARED_ROUND_NS: f64 = 0.5;

/// How many ranks of a composed plan its proof looks at, and about how long that takes.
pub(crate) fn looked_at(plan: &Plan) -> (usize, f64) {
    let ranks = plan.problem.ranks;
    let chunks = plan.parts().iter().filter_map(|part| {
        let factor = part.factors.first()?;
        Some(f64::from(factor.grid().blocks) * part.runs as f64)
    });
    let chunks_ns = CHUNK_NS * chunks.sum::<f64>();
    let each_ns = program_ns(&plan.program(ranks / 2), f64::from(plan.problem.tiles)) + chunks_ns;
    let count = ((AFFORDABLE_NS / each_ns) as usize).max(FEWEST).min(ranks);
    (count, count as f64 * each_ns)
}

/// Units are written of one tile, and compared with all.
fn program_ns(program: &Program, tiles: f64) -> f64 {
    let operands = |one: &Move| (one.sources.len() + one.destinations.len()) as f64;
    let (mut steps, mut rounds) = (0.0, 0.0);
    for step in program.lanes.iter().flatten() {
        match step {
            Step::Move(one) => steps += operands(one),
            Step::Repeat { count, body } => {
                let once = body.iter().map(operands).sum::<f64>();
                // A repeat of one move is compared at once.
                let (times, more) = if body.len() == 1 { (1, *count) } else { (*count, 0) };
                steps += f64::from(times) * once;
                rounds += f64::from(more) * once;
            }
            Step::Wait { .. } => steps += 1.0,
        }
    }
    steps * (OPERAND_NS / tiles + COMPARED_NS) + rounds * (ROUND_NS / tiles + COMPARED_ROUND_NS)
}

/// So many ranks: all of the first domain if that leaves some; of the others, evenly spread, the last among them, one each, at a place
/// that goes round; then the rest.
pub(super) fn ranks(places: &Places, count: usize) -> Vec<Rank> {
    let (domains, all) = (places.domains(), (0..places.domains()).map(|one| places.members(one).len()).sum::<usize>());
    if count >= all {
        return (0..all).collect();
    }
    let first = places.members(0);
    let mut ranks = first[..if count < first.len() + FEWEST { 1 } else { first.len() }].to_vec();
    let others = (count - ranks.len()).clamp(1, domains - 1);
    ranks.extend((1..=others).map(|number| {
        let members = places.members(number * (domains - 1) / others);
        members[number % members.len()]
    }));
    let mut is_in = vec![false; all];
    ranks.iter().for_each(|rank| is_in[*rank] = true);
    let rest = places.members(domains - 1).iter().copied().chain(0..all);
    for rank in rest {
        if ranks.len() >= count {
            break;
        }
        if !std::mem::replace(&mut is_in[rank], true) {
            ranks.push(rank);
        }
    }
    ranks
}
