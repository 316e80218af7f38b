//! Every registered plan lowered and proved for many counts, and mutants of lowered programs, each rejected or right in a judge
//! that shares no code with the proof.

use super::*;
use crate::algorithm::{Algorithm, registry};
use crate::plan::Problem;
use crate::plan::check::{check, tests::samples};

/// Every problem that an algorithm answers with this many ranks; with a root, the first, the second and the last.
pub(super) fn problems(algorithm: &'static dyn Algorithm, ranks: usize) -> impl Iterator<Item = Problem> {
    let tiles: &[u32] = if algorithm.pipelines() { &[1, 3] } else { &[1] };
    let even = Collective::ALL.into_iter().filter(|collective| !collective.is_uneven());
    even.flat_map(move |collective| {
        let mut roots = if collective.has_root() { vec![0, 1 % ranks, ranks - 1] } else { vec![0] };
        roots.dedup();
        roots.into_iter().flat_map(move |root| {
            let problem = move |&tiles| [false, true].map(|uneven| Problem { collective, ranks, root, uneven, tiles });
            tiles.iter().flat_map(problem)
        })
    })
    .filter(|problem| algorithm.fits(problem).is_ok())
}

/// Counts of all ranks: the same everywhere, or a mixture with empty blocks where blocks may differ.
pub(crate) fn counts(problem: &Problem, count: u64) -> Vec<Counts> {
    let of_pair = |source: Rank, target: Rank| (source * 5 + target * 3 + 1) as u64 * count % 4;
    let ranks = 0..problem.ranks;
    match problem.collective {
        Collective::AllToAll if problem.uneven => ranks
            .clone()
            .map(|rank| Counts::Pairwise {
                input: ranks.clone().map(|target| of_pair(rank, target)).collect(),
                output: ranks.clone().map(|source| of_pair(source, rank)).collect(),
            })
            .collect(),
        Collective::AllGather | Collective::ReduceScatter if problem.uneven => {
            let blocks = Counts::PerRank(ranks.clone().map(|rank| of_pair(rank, rank)).collect());
            vec![blocks; problem.ranks]
        }
        _ => vec![Counts::Even(count); problem.ranks],
    }
}

fn forms(collective: Collective) -> &'static [bool] {
    if has_in_place_form(collective) { &[false, true] } else { &[false] }
}

#[test]
fn every_registered_plan_is_proved_lowered() {
    let mut proved = 0;
    for algorithm in registry() {
        for ranks in (1..=9).chain([13]) {
            for problem in problems(*algorithm, ranks) {
                let plan = algorithm.plan(&problem);
                let checked = check(&plan).unwrap_or_else(|flaw| panic!("{} on {problem:?}: {flaw}", algorithm.name()));
                let chunks = u64::from(plan.grid().blocks * plan.grid().tiles);
                for count in [0, 1, 2, chunks.saturating_sub(1), 2 * chunks + 1] {
                    for &in_place in forms(problem.collective) {
                        let verdict = check_lowered(&checked, &counts(&problem, count), 4, in_place);
                        let name = algorithm.name();
                        verdict.unwrap_or_else(|flaw| {
                            panic!("{name} on {problem:?}, count {count}, in place {in_place}: {flaw}")
                        });
                        proved += 1;
                    }
                }
            }
        }
    }
    println!("{proved} lowered plans proved");
}

#[test]
fn samples_with_several_lanes_and_rendezvous_are_proved_lowered() {
    for plan in samples::all() {
        let checked = check(&plan).unwrap();
        for count in 0..=9 {
            for &in_place in forms(plan.problem.collective) {
                check_lowered(&checked, &counts(&plan.problem, count), 2, in_place)
                    .unwrap_or_else(|flaw| panic!("{} with {count}, in place {in_place}: {flaw}", plan.algorithm));
            }
        }
    }
}
