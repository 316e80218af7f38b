//! Which ranks of a composed plan are looked at: all, unless that takes too long.

use super::places::Places;
use crate::plan::{Operand, Plan, Program, Step};
use crate::types::Rank;

/// Operands of moves, every round of a repeat counted, that a proof looks at: some 0.1 s.
const AFFORDABLE_OPERANDS: u64 = 8_000_000;
/// Of each plan at least so many ranks beside the first domain's are looked at.
const FEWEST: usize = 16;

/// How many ranks of a composed plan its proof looks at, and how many operands the program of one has, every round counted.
pub(crate) fn looked_at(plan: &Plan) -> (usize, u64) {
    let ranks = plan.problem.ranks;
    let layout = plan.problem.layout;
    let operands = operands(&plan.program(ranks / 2));
    let affordable = (AFFORDABLE_OPERANDS / operands.max(1)) as usize;
    let fewest = layout.domain_size(ranks, 0) + FEWEST;
    (affordable.max(fewest).min(ranks), operands)
}

fn operands(program: &Program) -> u64 {
    let count = |operands: &[Operand]| operands.len() as u64;
    let steps = program.lanes.iter().flatten().map(|step| match step {
        Step::Move(one) => count(&one.sources) + count(&one.destinations),
        Step::Repeat { count: rounds, body } => {
            body.iter().map(|one| count(&one.sources) + count(&one.destinations)).sum::<u64>() * u64::from(*rounds)
        }
        Step::Wait { .. } => 1,
    });
    steps.sum()
}

/// So many ranks: all of the first domain; of the others, evenly spread, the last among them, one each, at a place that goes round;
/// then all of the last domain, and the rest.
pub(super) fn ranks(places: &Places, count: usize) -> Vec<Rank> {
    let (domains, all) = (places.domains(), (0..places.domains()).map(|one| places.members(one).len()).sum::<usize>());
    if count >= all {
        return (0..all).collect();
    }
    let mut ranks = places.members(0).to_vec();
    let others = count.saturating_sub(ranks.len()).clamp(1, domains - 1);
    ranks.extend((1..=others).map(|number| {
        let members = places.members(number * (domains - 1) / others);
        members[number % members.len()]
    }));
    let mut is_in = vec![false; all];
    ranks.iter().for_each(|rank| is_in[*rank] = true);
    for rank in places.members(domains - 1).iter().copied().chain(0..all) {
        if ranks.len() >= count {
            break;
        }
        if !std::mem::replace(&mut is_in[rank], true) {
            ranks.push(rank);
        }
    }
    ranks
}
