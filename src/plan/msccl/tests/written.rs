//! Plans written as files and read again.

use super::*;
use crate::algorithm::{Algorithm, find, registry};
use crate::plan::check::Checked;
use crate::plan::check::tests::samples;
use crate::plan::{Plan, Problem};
use crate::types::Collective;

fn is_written(collective: Collective) -> bool {
    COLLECTIVES.iter().any(|(_, known)| *known == collective)
}

/// Every problem of these ranks that an algorithm answers and the format knows.
fn problems(algorithm: &'static dyn Algorithm, ranks: usize) -> impl Iterator<Item = Problem> {
    let tiles: &[u32] = if algorithm.pipelines() { &[1, 3] } else { &[1] };
    let written = Collective::ALL.into_iter().filter(|collective| is_written(*collective));
    let rooted = written.flat_map(move |collective| {
        let roots = if collective.has_root() { ranks } else { 1 };
        (0..roots).flat_map(move |root| {
            tiles.iter().map(move |&tiles| Problem { root, tiles, ..Problem::new(collective, ranks) })
        })
    });
    rooted.filter(|problem| algorithm.fits(problem).is_ok())
}

/// What is read back is proved in both ways, and costs no more messages, chunks and hops than the plan.
fn assert_round_trip(plan: &Plan) -> Checked {
    let checked = check(plan).unwrap_or_else(|flaw| panic!("{plan:?}: {flaw}"));
    let text = write(&checked, Protocol::Simple).unwrap_or_else(|error| panic!("{plan:?}: {error}"));
    let document = Document::parse(&text).unwrap_or_else(|error| panic!("{plan:?}: {error}\n{text}"));
    assert_eq!(document.to_string(), text);
    let mut posted = None;
    for connections in [Connections::Buffered, Connections::Posted] {
        let read = document.plan(&text, connections).unwrap_or_else(|error| panic!("{plan:?}: {error}\n{text}")).plan;
        let told = |flaw| panic!("{plan:?}, {connections:?}: {flaw}\n{}\n{text}\n{}", plan.text(), read.text());
        let again = check(&read).unwrap_or_else(told);
        let (before, after) = (checked.facts(), again.facts());
        let counts =
            |facts: &crate::plan::check::Facts| (facts.chunks_sent, facts.chunks_received, facts.messages_sent);
        assert_eq!(counts(before), counts(after), "{plan:?}\n{}\n{text}", plan.text());
        assert!(after.hops <= before.hops, "{plan:?}: {} hops, then {}\n{text}", before.hops, after.hops);
        assert_eq!((read.problem.collective, read.problem.root), (plan.problem.collective, plan.problem.root));
        posted = Some(again);
    }
    posted.expect("two were read")
}

#[test]
fn every_registered_plan_comes_back_and_is_proved() {
    let mut written = 0;
    for algorithm in registry() {
        for ranks in 1..=9 {
            for problem in problems(*algorithm, ranks) {
                assert_round_trip(&algorithm.plan(&problem));
                written += 1;
            }
        }
    }
    println!("{written} plans came back");
    assert!(written > 800, "{written}");
}

/// They repeat, wait, fold into peers alone, and have lanes that share memory.
#[test]
fn samples_come_back_and_are_proved() {
    let samples = samples::all().into_iter().filter(|plan| is_written(plan.problem.collective));
    let written: Vec<Checked> = samples.map(|plan| assert_round_trip(&plan)).collect();
    assert!(written.len() > 9);
}

/// What was read can be written again, and is lowered right.
#[test]
fn what_was_read_can_be_written() {
    for text in [PAIRS.to_owned(), gather()] {
        let plan = read(&text).unwrap();
        let again = assert_round_trip(&plan);
        check_lowered_at(&again, 1).unwrap_or_else(|flaw| panic!("{flaw}"));
    }
}

/// So many blocks that what orders them is looked for in each rank alone. There a missing dependency may be one that messages make up
/// for, so it is no race.
#[test]
fn files_of_very_many_blocks_are_proved() {
    let problem = |collective| Problem::new(collective, 110);
    assert_round_trip(&find("direct").unwrap().plan(&problem(Collective::AllToAll)));
    let plan = assert_round_trip(&find("two_shot").unwrap().plan(&problem(Collective::AllReduce))).plan().clone();
    let without = |rank| {
        let mut program = plan.program(rank);
        if rank == 109 {
            let lane = program.lanes.iter_mut().find(|lane| matches!(lane[..], [crate::plan::Step::Wait { .. }, ..]));
            drop(lane.expect("a lane waits").remove(0));
        }
        program
    };
    let programs: Vec<_> = (0..110).map(without).collect();
    let wrong = Plan::new("wrong", plan.problem, plan.blocks, move |rank| programs[rank].clone());
    let wrong = check(&wrong.demanding(plan.demands));
    assert!(matches!(wrong, Err(Flaw::TooLarge { .. } | Flaw::Unwritten { .. })), "{wrong:?}");
}

#[test]
fn a_barrier_is_no_file() {
    let problem = Problem::new(Collective::Barrier, 2);
    let checked = check(&find("dissemination").unwrap().plan(&problem)).unwrap();
    assert_eq!(write(&checked, Protocol::Simple).unwrap_err().to_string(), "MSCCL XML has no barrier");
}

#[test]
fn names_are_escaped() {
    let plan = read(PAIRS).unwrap();
    let named = Plan { algorithm: "a<b>&\"c\"".to_owned(), ..plan };
    assert_eq!(assert_round_trip(&named).plan().algorithm, named.algorithm);
}

/// Compares a file with `tests/golden/NAME.xml`. Run with `UNISONO_WRITE_GOLDEN=1` the file is written.
fn assert_golden(algorithm: &str, collective: Collective, ranks: usize, tiles: u32) {
    let problem = Problem { tiles, ..Problem::new(collective, ranks) };
    let checked = check(&find(algorithm).unwrap().plan(&problem)).unwrap();
    let path = format!("{}/tests/golden/{algorithm}_{collective}_{ranks}.xml", env!("CARGO_MANIFEST_DIR"));
    let text = write(&checked, Protocol::Simple).unwrap();
    if std::env::var_os("UNISONO_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(text, golden, "{path} is not what is written; UNISONO_WRITE_GOLDEN=1 writes it anew");
}

#[test]
fn small_plans_are_written_as_in_their_golden_files() {
    assert_golden("ring", Collective::AllReduce, 3, 1);
    assert_golden("two_shot", Collective::AllReduce, 3, 1);
    assert_golden("double_tree", Collective::AllReduce, 4, 2);
    assert_golden("direct", Collective::AllToAll, 3, 1);
    assert_golden("chain", Collective::Broadcast, 3, 3);
}
