//! Proofs by parts: they accept what is right, and nothing that is wrong on any rank.

use super::hierarchy::{hierarchical_problems, hierarchies, smallest};
use super::*;
use crate::algorithm::find;
use crate::plan::check::compose::by_parts;
use crate::plan::check::prove;
use crate::plan::check::tests::interpret::random;
use crate::plan::{Buffer, Move, Operand, Program, Reduction, Step};
use crate::topology::Layout;
use crate::types::Rank;
use std::collections::BTreeMap;

#[test]
fn every_small_hierarchy_is_made_of_its_parts() {
    let mut proved = 0;
    for algorithm in hierarchies() {
        let small = hierarchical_problems(algorithm, 12, &[1, 2, 5]);
        let large = hierarchical_problems(algorithm, 24, &[1, 3]).filter(|problem| problem.ranks > 12);
        for problem in small.chain(large) {
            let flaw = by_parts(&algorithm.plan(&problem)).err();
            assert!(flaw.is_none(), "{} on {problem:?}: {}", algorithm.name(), flaw.unwrap());
            proved += 1;
        }
    }
    println!("{proved} plans");
    assert!(proved > 2000, "{proved} plans");
}

/// Every change of one place of one rank: what is still said to be made of its parts is proved whole.
#[test]
fn mutants_of_small_composed_plans_depart_from_their_parts() {
    let mut counts: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    for plan in smallest().filter(|plan| !plan.parts().is_empty()) {
        mutate::for_each_mutant(&plan, |change, mutant| {
            let mutant = mutant.composed_of(plan.parts().to_vec());
            let by_parts = by_parts(&mutant).is_ok();
            let whole = check(&mutant).is_ok();
            assert!(whole || !by_parts, "{change:?} of {plan:?} was accepted:\n{}", mutant.text());
            let [made, caught, right] = counts.entry(format!("{change:?}")).or_default();
            *made += 1;
            *caught += usize::from(!by_parts);
            *right += usize::from(whole);
        });
    }
    println!("{:<16}{:>10}{:>10}{:>16}", "change", "made", "caught", "right as a whole");
    counts.iter().for_each(|(change, [made, caught, right])| println!("{change:<16}{made:>10}{caught:>10}{right:>16}"));
    assert!(counts.values().all(|[made, caught, right]| made - caught <= *right && *caught > 0), "{counts:?}");
}

/// A change of one step of one rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Spoil {
    Drop,
    Repeat,
    Swap,
    OtherPeer,
    OtherChunk,
    OtherChannel,
    OtherLength,
    OtherFinality,
    /// The whole program is that of another rank of the domain.
    OtherRank,
}

const SPOILS: [Spoil; 9] = [
    Spoil::Drop,
    Spoil::Repeat,
    Spoil::Swap,
    Spoil::OtherPeer,
    Spoil::OtherChunk,
    Spoil::OtherChannel,
    Spoil::OtherLength,
    Spoil::OtherFinality,
    Spoil::OtherRank,
];

/// The spoiled program; `None` where chance has found nothing to spoil.
fn spoiled(spoil: Spoil, plan: &Plan, rank: Rank, state: &mut u64) -> Option<Program> {
    let right = plan.program(rank);
    let mut program = right.clone();
    let mut choose = |count: usize| random(state) as usize % count.max(1);
    let lane = choose(program.lanes.len());
    let steps = &mut program.lanes[lane];
    let step = choose(steps.len());
    match spoil {
        Spoil::Drop => drop(steps.remove(step)),
        Spoil::Repeat => steps.insert(step, steps[step].clone()),
        Spoil::Swap if step + 1 < steps.len() => steps.swap(step, step + 1),
        Spoil::Swap => return None,
        Spoil::OtherRank => program = plan.program(rank ^ 1),
        _ => {
            let one: &mut Move = match &mut steps[step] {
                Step::Move(one) => one,
                Step::Repeat { body, .. } => {
                    let index = choose(body.len());
                    &mut body[index]
                }
                Step::Wait { .. } => return None,
            };
            let (sources, all) = (one.sources.len(), one.sources.len() + one.destinations.len());
            let index = choose(all);
            let operand =
                if index < sources { &mut one.sources[index] } else { &mut one.destinations[index - sources] };
            match (spoil, operand) {
                (Spoil::OtherPeer, Operand::Peer { rank: peer, .. }) => {
                    *peer = if *peer ^ 1 == rank { *peer ^ 2 } else { *peer ^ 1 }
                }
                (Spoil::OtherChannel, Operand::Peer { channel, .. }) => *channel += 1,
                (Spoil::OtherChunk, Operand::Local(span)) => span.start ^= 1,
                (Spoil::OtherLength, Operand::Local(span)) => span.len += 1,
                (Spoil::OtherFinality, _) => {
                    one.reduction = one.reduction.map(|reduction| match reduction {
                        Reduction::Final => Reduction::Partial,
                        Reduction::Partial => Reduction::Final,
                    });
                }
                _ => return None,
            }
        }
    }
    (program != right).then_some(program)
}

/// Some rank, not those that are looked at first, does something else: at a size of which all ranks are looked at.
#[test]
fn what_any_rank_of_many_does_otherwise_is_found() {
    let mut counts: BTreeMap<Spoil, [usize; 2]> = BTreeMap::new();
    let mut state = 20261124;
    for algorithm in hierarchies() {
        for collective in Collective::ALL {
            let layout = Layout::Blocks(16);
            let problem = Problem { layout, switch: true, tiles: 2, ..Problem::new(collective, 80) };
            if algorithm.fits(&problem).is_err() {
                continue;
            }
            let plan = algorithm.plan(&problem);
            assert!(prove(&plan).is_ok(), "{} {collective}", algorithm.name());
            for spoil in SPOILS {
                let tried = (0..20).filter_map(|_| {
                    let rank = 2 + random(&mut state) as usize % 76;
                    spoiled(spoil, &plan, rank, &mut state).map(|program| (rank, program))
                });
                for (spoiled, program) in tried.take(3).collect::<Vec<_>>() {
                    let right = plan.clone();
                    let wrong = Plan::new("spoiled", problem, plan.blocks, move |rank| {
                        if rank == spoiled { program.clone() } else { right.program(rank) }
                    });
                    let caught = prove(&wrong.clone().composed_of(plan.parts().to_vec())).is_err();
                    let [made, found] = counts.entry(spoil).or_default();
                    (*made, *found) = (*made + 1, *found + usize::from(caught));
                    // Another right order of the parts, as when a send comes earlier, or a wait twice.
                    let is_right = caught || check(&wrong).is_ok();
                    assert!(is_right, "{} {collective}: {spoil:?} of rank {spoiled}", algorithm.name());
                }
            }
        }
    }
    println!("{:<16}{:>10}{:>10}", "change", "made", "caught");
    counts.iter().for_each(|(spoil, [made, caught])| println!("{:<16}{made:>10}{caught:>10}", format!("{spoil:?}")));
    assert!(counts.len() == SPOILS.len() && counts.values().all(|[made, _]| *made >= 20), "{counts:?}");
}

/// A domain that adds up along a ring, where all others do so directly: right as a whole, and not what the parts say.
#[test]
fn another_factor_in_one_domain_is_found() {
    let [direct, ring] = ["hierarchical_ring", "ring_2d"].map(|name| find(name).unwrap());
    let layout = Layout::Blocks(16);
    for collective in [Collective::AllReduce, Collective::AllGather, Collective::ReduceScatter] {
        let problem = Problem { layout, tiles: 2, ..Problem::new(collective, 80) };
        let [plan, other] = [direct, ring].map(|algorithm| algorithm.plan(&problem));
        let (right, parts) = (plan.clone(), plan.parts().to_vec());
        let mixed = Plan::new("mixed", problem, plan.blocks, move |rank| {
            if layout.domain(rank) == 3 { other.program(rank) } else { right.program(rank) }
        });
        assert!(check(&mixed).is_ok(), "{collective}");
        assert!(prove(&mixed.composed_of(parts)).is_err(), "{collective}");
    }
}

/// Wrong on every rank alike: idle, without waits, or reading its input again and again.
#[test]
fn what_all_ranks_do_otherwise_is_found() {
    type Spoil = fn(&mut Program);
    let spoil: [(&str, Spoil); 3] = [
        ("hierarchical_ring", |program| program.lanes = vec![Vec::new()]),
        ("nvls_circulant", |program| program.lanes[1].retain(|step| !matches!(step, Step::Wait { .. }))),
        ("hierarchical_ring", |program| {
            let input = |operand: &mut Operand| match operand {
                Operand::Local(span) if span.buffer == Buffer::Output => span.buffer = Buffer::Input,
                _ => {}
            };
            for step in program.lanes.iter_mut().flatten() {
                if let Step::Move(one) = step {
                    one.sources.iter_mut().for_each(input);
                }
            }
        }),
    ];
    for (name, spoil) in spoil {
        let algorithm = find(name).unwrap();
        let layout = Layout::Blocks(16);
        let problem = Problem { layout, switch: true, tiles: 2, ..Problem::new(Collective::AllReduce, 80) };
        let plan = algorithm.plan(&problem);
        let parts = plan.parts().to_vec();
        let right = plan.clone();
        let wrong = Plan::new("spoiled", problem, plan.blocks, move |rank| {
            let mut program = right.program(rank);
            spoil(&mut program);
            program
        });
        assert!(prove(&plan).is_ok(), "{name}");
        assert!(prove(&wrong.composed_of(parts)).is_err(), "{name}");
    }
}
