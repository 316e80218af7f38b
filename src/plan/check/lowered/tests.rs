//! Every registered plan lowered and proved for many counts, and mutants of lowered programs, each rejected or right in a judge
//! that shares no code with the proof.

mod judge;
mod mutate;

use super::*;
use crate::algorithm::{Algorithm, registry};
use crate::plan::build::{copy, one, peer, reduce};
use crate::plan::check::{check, tests::samples};
use crate::plan::{Buffer, Plan, Program, Reduction, Step};

/// Every problem that an algorithm answers with this many ranks; with a root, the first, the second and the last.
fn problems(algorithm: &'static dyn Algorithm, ranks: usize) -> impl Iterator<Item = Problem> {
    let tiles: &[u32] = if algorithm.pipelines() { &[1, 3] } else { &[1] };
    let even = Collective::ALL.into_iter().filter(|collective| !collective.is_uneven());
    even.flat_map(move |collective| {
        let mut roots = if collective.has_root() { vec![0, 1 % ranks, ranks - 1] } else { vec![0] };
        roots.dedup();
        roots.into_iter().flat_map(move |root| {
            let problem = move |&tiles| {
                [false, true].map(|uneven| Problem { root, uneven, tiles, ..Problem::new(collective, ranks) })
            };
            tiles.iter().flat_map(problem)
        })
    })
    .filter(|problem| algorithm.fits(problem).is_ok())
}

/// No registered plan stores a result in two places of its own rank. This one does, and each rank reads another of the two.
fn stores_twice() -> Plan {
    let problem = Problem::new(Collective::AllReduce, 2);
    Plan::new("stores_twice", problem, 1, |rank| {
        let (other, scratch) = (peer(1 - rank), |slot| one(Buffer::Scratch, slot));
        let keep = copy(one(Buffer::Input, 0), [scratch(0), scratch(1), other]);
        let sources = if rank == 0 { [scratch(0), other] } else { [other, scratch(1)] };
        let fold = reduce(Reduction::Final, sources, [scratch(2)]);
        let out = copy(scratch(2), [one(Buffer::Output, 0)]);
        Program { lanes: vec![[keep, fold, out].map(Step::Move).to_vec()], scratch: vec![0; 3] }
    })
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
                    check_lowered_at(&checked, count)
                        .unwrap_or_else(|flaw| panic!("{} on {problem:?}, count {count}: {flaw}", algorithm.name()));
                    proved += forms(problem.collective).len();
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
            check_lowered_at(&checked, count).unwrap_or_else(|flaw| panic!("{} with {count}: {flaw}", plan.algorithm));
        }
    }
}

#[test]
fn every_lowered_mutant_is_rejected_or_equivalent() {
    let mut report = mutate::Report::default();
    let of_registry = registry().iter().flat_map(|algorithm| {
        (2..=5).flat_map(|ranks| problems(*algorithm, ranks)).map(|problem| algorithm.plan(&problem))
    });
    for plan in of_registry.chain(samples::all()).chain([stores_twice()]) {
        let checked = check(&plan).unwrap();
        let chunks = u64::from(plan.grid().blocks * plan.grid().tiles);
        let counts = small_counts(&plan.problem, chunks + 1);
        for &in_place in forms(plan.problem.collective) {
            mutate::try_all(&checked, &counts, in_place, &mut report);
        }
    }
    println!("{report}");
    for change in mutate::Change::ALL {
        assert!(report.of(change).rejected > 0, "no mutant by {change:?} was rejected:\n{report}");
    }
}
