//! Every registered plan run by an interpreter that shares no code with the checker, and proved by the checker: two
//! judges.

mod hierarchy;
mod interpreter;
mod parts;

use super::{Algorithm, registry};
use crate::plan::check::tests::mutate;
use crate::plan::check::{check, keeps_promise};
use crate::plan::chunk::ChunkId;
use crate::plan::text::tests::assert_golden;
use crate::plan::{Plan, Problem};
use crate::topology::Layout;
use crate::types::Collective;
use interpreter::{Machine, Value};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The naive definition of every collective: who contributes to this chunk of the output.
fn assert_right(algorithm: &dyn Algorithm, problem: &Problem, chunk: ChunkId, value: &Value) {
    let block = (chunk / problem.tiles) as usize;
    let from = |rank| Value::Input { rank, chunk };
    match problem.collective {
        Collective::AllReduce | Collective::ReduceScatter | Collective::Reduce => {
            let order = algorithm.order(problem, chunk);
            assert!(value.is_sum(&order, chunk, true), "chunk {chunk} is {value:?}, declared {order:?}");
        }
        Collective::Barrier => {}
        Collective::AllGather | Collective::Gather => assert_eq!(*value, from(block)),
        Collective::Broadcast | Collective::Scatter => assert_eq!(*value, from(problem.root)),
        Collective::AllToAll => assert_eq!(*value, from(block / problem.ranks)),
        _ => unreachable!("not an even collective with algorithms"),
    }
    let mut ranks = Vec::new();
    value.ranks(&mut ranks);
    ranks.sort_unstable();
    match problem.collective {
        Collective::Barrier => ranks.dedup(),
        collective if collective.reduces() => {}
        _ => return,
    }
    assert_eq!(ranks, (0..problem.ranks).collect::<Vec<_>>(), "contributions to chunk {chunk}");
}

fn judge(algorithm: &dyn Algorithm, problem: &Problem) {
    let plan = algorithm.plan(problem);
    for (in_place, backwards, burst) in
        [(false, false, usize::MAX), (true, true, usize::MAX), (true, false, 1), (false, true, 1)]
    {
        let mut machine = Machine::new(&plan, in_place);
        machine.run(backwards, burst);
        for rank in 0..problem.ranks {
            machine.outputs(rank).for_each(|(chunk, value)| assert_right(algorithm, problem, chunk, value));
        }
        assert_eq!(machine.cost(), algorithm.promise(problem));
    }
}

/// Every problem that `algorithm` answers, among these ranks and tiles.
fn problems(
    algorithm: &dyn Algorithm,
    ranks: impl Iterator<Item = usize> + Clone,
    tiles: &'static [u32],
) -> impl Iterator<Item = Problem> {
    Collective::ALL
        .into_iter()
        .filter(|collective| !collective.is_uneven())
        .flat_map(move |collective| {
            let uneven = [false, true];
            ranks.clone().flat_map(move |ranks| {
                (0..if collective.has_root() { ranks } else { 1 }).flat_map(move |root| {
                    tiles.iter().flat_map(move |&tiles| {
                        uneven.map(|uneven| Problem {
                            root,
                            uneven,
                            tiles,
                            switch: true,
                            ..Problem::new(collective, ranks)
                        })
                    })
                })
            })
        })
        .filter(|problem| algorithm.fits(problem).is_ok())
}

#[test]
fn every_plan_keeps_the_promise_of_its_collective_and_of_its_file() {
    for algorithm in registry() {
        for problem in problems(*algorithm, 1..=17, &[1, 3]) {
            let judged = catch_unwind(AssertUnwindSafe(|| judge(*algorithm, &problem)));
            assert!(judged.is_ok(), "{} on {problem:?}", algorithm.name());
        }
    }
}

/// Two tiles are enough to tell a tile from a block; the interpreter tries three.
#[test]
fn every_plan_is_proved() {
    for algorithm in registry() {
        for problem in problems(*algorithm, 1..=33, &[1, 2]) {
            let proved = check(&algorithm.plan(&problem)).and_then(|checked| {
                assert!(checked.facts().bit_equal);
                keeps_promise(&checked, &algorithm.promise(&problem), &|chunk| algorithm.order(&problem, chunk))
            });
            proved.unwrap_or_else(|flaw| panic!("{} on {problem:?}: {flaw}", algorithm.name()));
        }
    }
}

/// No change to a plan in one place is both wrong and accepted.
#[test]
fn every_mutant_is_rejected_or_equivalent() {
    let plans: Vec<Plan> = registry()
        .iter()
        .flat_map(|algorithm| {
            let tiles: &[u32] = if algorithm.pipelines() { &[2] } else { &[1] };
            let last_root = |problem: &Problem| !problem.collective.has_root() || problem.root + 1 == problem.ranks;
            problems(*algorithm, 3..=4, tiles).filter(last_root).map(|problem| algorithm.plan(&problem))
        })
        .chain(hierarchy::smallest())
        .collect();
    let report = mutate::try_all(&plans, 0..2);
    println!("{} plans\n{report}", plans.len());
    // No algorithm makes one lane wait for another.
    for change in mutate::Change::ALL.into_iter().filter(|change| *change != mutate::Change::RedirectWait) {
        assert!(report.of(change).rejected > 0, "no mutant by {change:?} was rejected:\n{report}");
    }
    assert_eq!(report.of(mutate::Change::Drop).equivalent, 0, "some plan has a step that it can do without:\n{report}");
}

#[test]
fn small_plans_read_as_in_their_golden_files() {
    let golden = |algorithm: &str, collective, ranks, tiles| {
        let problem = Problem { tiles, ..Problem::new(collective, ranks) };
        let plan = super::find(algorithm).unwrap().plan(&problem);
        assert_golden(&plan, &format!("{algorithm}_{collective}_{ranks}"));
    };
    golden("ring", Collective::AllReduce, 3, 1);
    golden("two_shot", Collective::AllReduce, 3, 1);
    golden("recursive_doubling", Collective::AllReduce, 3, 1);
    golden("halving_doubling", Collective::AllReduce, 4, 1);
    golden("double_tree", Collective::AllReduce, 4, 2);
    golden("bruck", Collective::AllGather, 3, 1);
    golden("bruck", Collective::AllToAll, 4, 1);
    golden("binomial", Collective::Gather, 4, 1);
    golden("pat", Collective::ReduceScatter, 4, 1);
    let problem = Problem { layout: Layout::Blocks(2), tiles: 2, ..Problem::new(Collective::AllReduce, 4) };
    assert_golden(&super::find("hierarchical_ring").unwrap().plan(&problem), "hierarchical_ring_all_reduce_2x2");
}

#[test]
fn every_collective_has_an_algorithm_for_any_number_of_ranks() {
    for collective in Collective::ALL {
        for ranks in 1..=9 {
            let problem = Problem { uneven: collective.is_uneven(), ..Problem::new(collective.even(), ranks) };
            let served = registry().iter().any(|algorithm| algorithm.fits(&problem).is_ok());
            assert_eq!(served, collective != Collective::SendRecv, "{problem:?}");
        }
    }
}

#[test]
fn names_are_found_and_typos_name_the_nearest() {
    for algorithm in registry() {
        assert_eq!(super::find(algorithm.name()).unwrap().name(), algorithm.name());
        assert_eq!(registry().iter().filter(|one| one.name() == algorithm.name()).count(), 1, "a name of its own");
    }
    let error = super::find("two-shott").err().unwrap().to_string();
    assert_eq!(error, "unknown algorithm `two-shott`; did you mean `two_shot`?");
}

#[test]
fn problems_that_make_no_sense_are_refused_with_a_reason() {
    let problem = Problem::new(Collective::AllToAll, 4);
    let reason = |algorithm: &str, problem: Problem| super::find(algorithm).unwrap().fits(&problem).unwrap_err();
    assert_eq!(reason("ring", problem), "answers all_reduce, all_gather, reduce_scatter, not all_to_all");
    assert_eq!(reason("direct", Problem { ranks: 0, ..problem }), "needs at least 1 rank and 1 tile");
    assert_eq!(reason("direct", Problem { root: 4, ..problem }), "needs a root below 4 ranks, not 4");
    assert!(reason("direct", Problem { ranks: 70_000, ..problem }).contains("more chunks than can be numbered"));
    assert!(reason("bruck", Problem { uneven: true, ..problem }).contains("don't know their sizes"));
}
