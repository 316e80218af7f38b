use super::*;
use crate::algorithm::find;
use crate::plan::check::check;
use crate::plan::{Move, Operand, Problem, Program, Step};

const ALIKE: [(&str, Collective); 10] = [
    ("ring", Collective::AllReduce),
    ("ring", Collective::AllGather),
    ("ring", Collective::ReduceScatter),
    ("circulant", Collective::AllReduce),
    ("circulant", Collective::ReduceScatter),
    ("bruck", Collective::AllGather),
    ("direct", Collective::AllGather),
    ("direct", Collective::ReduceScatter),
    ("two_shot", Collective::AllReduce),
    ("direct", Collective::AllToAll),
];

fn plan(name: &str, collective: Collective, ranks: usize, uneven: bool) -> Plan {
    find(name).unwrap().plan(&Problem { uneven, ..Problem::new(collective, ranks) })
}

#[test]
fn what_is_proved_by_rotation_is_what_is_proved_whole() {
    for (name, collective) in ALIKE {
        for ranks in (2..=20).chain([33, 64, 65, 70]) {
            for uneven in [false, true].into_iter().filter(|uneven| !uneven || collective != Collective::AllToAll) {
                let plan = plan(name, collective, ranks, uneven);
                let whole = check(&plan).unwrap();
                let found = by_rotation(&plan);
                assert_eq!(found.as_ref(), Ok(whole.facts()), "{name} {collective} of {ranks}");
                let by_few = by_rotation_of(&plan, &[0, ranks / 2]);
                let is_cut = ranks > 3 && ["circulant", "bruck"].contains(&name);
                assert!(
                    is_cut || ranks == 2 || by_few.as_ref() == Ok(whole.facts()),
                    "{name} {collective} of {ranks}: {by_few:?}"
                );
                assert!(!is_cut || by_few.is_err());
            }
        }
    }
}

#[test]
fn plans_that_do_not_look_alike_are_left_to_the_whole_proof() {
    for (name, collective, ranks) in [
        ("halving_doubling", Collective::AllReduce, 8),
        ("one_shot", Collective::AllReduce, 5),
        ("recursive_halving", Collective::ReduceScatter, 8),
        ("recursive_doubling", Collective::AllGather, 8),
        ("binomial", Collective::Broadcast, 8),
    ] {
        assert!(by_rotation(&plan(name, collective, ranks, false)).is_err(), "{name}");
    }
}

/// A move with other ranks and blocks, as another rank has it; None where a run goes round the last block.
fn moved(one: &Move, collective: Collective, ranks: usize, by: usize) -> Option<Move> {
    let mut one = one.clone();
    for operand in one.sources.iter_mut().chain(&mut one.destinations) {
        match operand {
            Operand::Peer { rank, .. } => *rank = (*rank + by) % ranks,
            Operand::Local(span) => {
                let is_own = match span.buffer {
                    crate::plan::Buffer::Input => collective == Collective::AllGather,
                    crate::plan::Buffer::Output => collective == Collective::ReduceScatter,
                    crate::plan::Buffer::Scratch => true,
                };
                if !is_own {
                    span.start = (span.start + by as u32) % ranks as u32;
                    if span.start + span.len > ranks as u32 {
                        return None;
                    }
                }
            }
        }
    }
    Some(one)
}

/// The same change in every rank's program: dropped, repeated, swapped, redirected moves. What is accepted must be right.
#[test]
fn what_is_wrong_on_all_ranks_alike_is_rejected() {
    let (mut rejected, mut accepted) = (0, 0);
    for (name, collective) in ALIKE {
        for ranks in 2..=6 {
            let program = plan(name, collective, ranks, false).program(0);
            let moves: Vec<Move> = program.lanes[0]
                .iter()
                .map(|step| match step {
                    Step::Move(one) => one.clone(),
                    Step::Repeat { .. } | Step::Wait { .. } => unreachable!("none of these repeats"),
                })
                .collect();
            let mut mutants: Vec<Vec<Move>> = Vec::new();
            for index in 0..moves.len() {
                let mut dropped = moves.clone();
                dropped.remove(index);
                mutants.push(dropped);
                let mut twice = moves.clone();
                twice.insert(index, moves[index].clone());
                mutants.push(twice);
                if index > 0 {
                    let mut swapped = moves.clone();
                    swapped.swap(index - 1, index);
                    mutants.push(swapped);
                }
                let operands = moves[index].sources.len() + moves[index].destinations.len();
                for operand in 0..operands {
                    for by in 1..ranks {
                        let mut other = moves.clone();
                        let one = &mut other[index];
                        let at = one.sources.iter_mut().chain(&mut one.destinations).nth(operand).unwrap();
                        match at {
                            Operand::Peer { rank, .. } => *rank = (*rank + by) % ranks,
                            Operand::Local(span) => span.start = (span.start + by as u32) % ranks as u32,
                        }
                        mutants.push(other);
                    }
                }
            }
            for mutant in mutants {
                let scratch = program.scratch.clone();
                let everyone: Option<Vec<Vec<Step>>> = (0..ranks)
                    .map(|by| mutant.iter().map(|one| moved(one, collective, ranks, by).map(Step::Move)).collect())
                    .collect();
                let Some(everyone) = everyone else { continue };
                let problem = Problem::new(collective, ranks);
                let plan = Plan::new("mutant", problem, ranks as u32, move |rank| Program {
                    lanes: vec![everyone[rank].clone()],
                    scratch: scratch.iter().map(|id| (id + rank as u32) % ranks as u32).collect(),
                });
                let by_few = by_rotation_of(&plan, &[0, ranks - 1]);
                assert!(
                    by_few.is_err() || check(&plan).is_ok(),
                    "{name} {collective} of {ranks}: {:?}",
                    plan.program(0)
                );
                match by_rotation(&plan) {
                    Ok(_) => {
                        accepted += 1;
                        assert!(check(&plan).is_ok(), "{name} {collective} of {ranks}: {:?}", plan.program(0));
                    }
                    Err(_) => rejected += 1,
                }
            }
        }
    }
    println!("{rejected} rejected, {accepted} accepted and right");
    assert!(rejected > 1000 && accepted > 10, "{rejected} rejected, {accepted} accepted");
}

#[test]
fn sets_go_round() {
    for ranks in [1u32, 5, 63, 64, 65, 130, 200] {
        let words = (ranks as usize).div_ceil(64);
        for distance in 0..ranks {
            let mut set = vec![0u64; words];
            let mut expected = vec![0u64; words];
            for rank in (0..ranks).filter(|rank| rank % 3 == 0 || rank % 7 == 1) {
                set[rank as usize / 64] |= 1 << (rank % 64);
                let to = (rank + distance) % ranks;
                expected[to as usize / 64] |= 1 << (to % 64);
            }
            assert_eq!(rotated(&set, distance, ranks), expected, "{ranks} by {distance}");
        }
    }
}
