//! Plans for several domains, proved whole wherever that is feasible.

use super::*;
use crate::algorithm::find;
use crate::plan::Through;
use crate::plan::check::prove;
use crate::plan::{Move, Operand, Stage, Step};
use crate::topology::Layout;
use std::collections::BTreeMap;

/// Domains of one size, of two sizes, in a row or dealt out, and as they come.
fn layouts(most: usize) -> Vec<(usize, Layout)> {
    let mut layouts: Vec<(usize, Layout)> = Vec::new();
    for size in 1..=most {
        for domains in 2..=most / size {
            layouts.push((size * domains, Layout::Blocks(size as u32)));
            layouts.push((size * domains, Layout::Interleaved(domains as u32)));
            if size > 1 && size * domains < most {
                // One domain has a rank less, or a single one; dealt out, one has a rank more.
                layouts.push((size * domains - 1, Layout::Blocks(size as u32)));
                layouts.push((size * (domains - 1) + 1, Layout::Blocks(size as u32)));
                layouts.push((size * domains + 1, Layout::Interleaved(domains as u32)));
            }
        }
    }
    let listed: [&[u32]; 6] = [
        &[0, 1, 1, 0, 2, 2, 1],
        &[0, 0, 0, 1, 2, 2, 2, 1, 2],
        &[0, 1, 2, 2, 1, 0],
        &[0, 1, 1, 1, 1, 1, 1, 1],
        &[0, 0, 1, 0, 0, 2, 2, 3, 3, 3, 3],
        &[0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1],
    ];
    layouts.extend(listed.iter().map(|domains| (domains.len(), Layout::of(domains))));
    layouts
}

pub fn hierarchies() -> impl Iterator<Item = &'static dyn Algorithm> {
    let one = Problem { layout: Layout::Blocks(2), switch: true, ..Problem::new(Collective::AllReduce, 4) };
    use Collective::*;
    let joins = move |algorithm: &&dyn Algorithm| {
        [AllReduce, AllToAll, Broadcast, Gather, Scatter, Barrier].iter().any(|collective| {
            let problem = &Problem { collective: *collective, ..one };
            let flat = Problem { layout: Layout::Flat, ..*problem };
            algorithm.fits(problem).is_ok() && algorithm.fits(&flat).is_err()
        })
    };
    registry().iter().copied().filter(move |algorithm| joins(algorithm))
}

/// All of few ranks; of many the first, the last and one in the middle.
fn roots(ranks: usize) -> Vec<usize> {
    if ranks <= 8 { (0..ranks).collect() } else { vec![0, ranks / 2, ranks - 1] }
}

pub fn hierarchical_problems(
    algorithm: &dyn Algorithm,
    most: usize,
    tiles: &'static [u32],
) -> impl Iterator<Item = Problem> {
    let collectives = Collective::ALL.into_iter().filter(|collective| !collective.is_uneven());
    let layouts = layouts(most);
    collectives
        .flat_map(move |collective| {
            layouts.clone().into_iter().flat_map(move |(ranks, layout)| {
                let roots = if collective.has_root() { roots(ranks) } else { vec![0] };
                let rooted = roots.into_iter().flat_map(|root| tiles.iter().map(move |&tiles| (root, tiles)));
                rooted.flat_map(move |(root, tiles)| {
                    let problem = Problem { root, layout, tiles, switch: true, ..Problem::new(collective, ranks) };
                    [false, true].map(|uneven| Problem { uneven, ..problem })
                })
            })
        })
        .filter(|problem| algorithm.fits(problem).is_ok())
}

fn proved(algorithm: &dyn Algorithm, problem: &Problem) {
    let proved = check(&algorithm.plan(problem)).and_then(|checked| {
        assert!(checked.facts().bit_equal);
        keeps_promise(&checked, &algorithm.promise(problem), &|chunk| algorithm.order(problem, chunk))
    });
    proved.unwrap_or_else(|flaw| panic!("{} on {problem:?}: {flaw}", algorithm.name()));
}

#[test]
fn every_hierarchy_of_up_to_64_ranks_is_proved_whole() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for algorithm in hierarchies() {
        let small = hierarchical_problems(algorithm, 12, &[1, 2, 5]);
        // Beyond 36 those in a row, one rank missing or not, stand for the others.
        let in_a_row = |problem: &Problem| problem.ranks <= 36 || matches!(problem.layout, Layout::Blocks(_));
        let large = hierarchical_problems(algorithm, 64, &[1])
            .filter(|problem| !problem.uneven && problem.ranks > 12 && in_a_row(problem));
        for problem in small.chain(large) {
            proved(algorithm, &problem);
            *counts.entry(algorithm.name()).or_default() += 1;
        }
    }
    println!("{counts:?}");
    assert!(counts.len() >= 8 && counts.values().all(|count| *count >= 40), "{counts:?}");
}

#[test]
fn the_interpreter_agrees_on_hierarchies() {
    for algorithm in hierarchies() {
        for problem in hierarchical_problems(algorithm, 9, &[1, 3]) {
            let judged = catch_unwind(AssertUnwindSafe(|| judge(algorithm, &problem)));
            assert!(judged.is_ok(), "{} on {problem:?}", algorithm.name());
        }
    }
}

/// One of each for two domains of two and, with fewer tiles, for two and one.
pub fn smallest() -> impl Iterator<Item = Plan> {
    hierarchies().flat_map(|algorithm| {
        let problem = |collective, ranks, tiles| Problem {
            layout: Layout::Blocks(2),
            tiles,
            switch: true,
            ..Problem::new(collective, ranks)
        };
        let both = move |collective| [problem(collective, 4, 2), problem(collective, 3, 1)];
        let problems = Collective::ALL.into_iter().filter(|one| !one.is_uneven()).flat_map(both);
        problems.filter(|problem| algorithm.fits(problem).is_ok()).map(|problem| algorithm.plan(&problem))
    })
}

/// Chunks that go out and come in by the ports of the ranks in their domains, and that cross between domains: of each the most. What a
/// switch folds comes in once, what it copies goes out once. Then the same of messages, of which a switch has none.
fn counted_by_layout(plan: &Plan) -> [([u64; 2], u64); 2] {
    let problem = &plan.problem;
    let domain = |rank| problem.layout.domain(rank);
    let mut most = [([0; 2], 0); 2];
    for rank in 0..problem.ranks {
        let mut counts = [[[0u64; 2]; 2]; 2];
        let mut count = |one: &Move, times: u64| {
            let len = one.sources.iter().chain(&one.destinations).find_map(|operand| match operand {
                Operand::Local(span) => Some(u64::from(span.len)),
                Operand::Peer { .. } => None,
            });
            for (direction, operands) in [&one.destinations, &one.sources].into_iter().enumerate() {
                let mut by_switch = false;
                for operand in operands {
                    if let Operand::Peer { rank: peer, .. } = operand {
                        let crosses = domain(*peer) != domain(rank);
                        let once = !crosses && one.through == Through::Switch;
                        if !(once && by_switch) {
                            counts[0][usize::from(crosses)][direction] += times * len.unwrap();
                        }
                        counts[1][usize::from(crosses)][direction] += if once { 0 } else { times };
                        by_switch |= once;
                    }
                }
            }
        };
        for step in plan.program(rank).lanes.iter().flatten() {
            match step {
                Step::Move(one) => count(one, 1),
                Step::Repeat { count: times, body } => body.iter().for_each(|one| count(one, u64::from(*times))),
                Step::Wait { .. } => {}
            }
        }
        for ((inside, crossing), [near, far]) in most.iter_mut().zip(counts) {
            for direction in 0..2 {
                inside[direction] = inside[direction].max(near[direction]);
                *crossing = (*crossing).max(far[direction]);
            }
        }
    }
    most
}

#[test]
fn stages_say_what_passes_the_ports() {
    for algorithm in hierarchies() {
        for problem in hierarchical_problems(algorithm, 24, &[1, 3]) {
            // A root is busy while others are not: what stages say of it is no sum.
            if problem.uneven || problem.collective.has_root() {
                continue;
            }
            let [(inside, crossing), messages] = counted_by_layout(&algorithm.plan(&problem));
            let stages = algorithm.stages(&problem);
            let sum = |count: fn(&Stage) -> u64| stages.iter().map(count).sum::<u64>();
            let what = format!("{} on {problem:?}: {stages:?}", algorithm.name());
            assert_eq!(sum(|stage| stage.crossing_chunks), crossing, "{what}");
            let is_even = problem.layout.is_even(problem.ranks);
            let told = ([sum(|one| one.messages_out), sum(|one| one.messages_in)], sum(|one| one.crossing_messages));
            let waits = stages.iter().any(|stage| stage.idle_chunks > 0);
            let goes_round = algorithm.name().contains("circulant");
            match problem.layout {
                // Blocks go round the end at one domain in one round, at another in another; each chain meets one that does.
                _ if goes_round => assert!((messages.1..=2 * messages.1).contains(&told.1), "{what}"),
                // Of ranks that lead others the chain counts, which waits for messages of both.
                Layout::Blocks(_) if is_even && waits => assert_eq!(told.0, messages.0, "{what}"),
                _ if waits => {}
                Layout::Blocks(_) if is_even => assert_eq!(told, messages, "{what}"),
                // What lies in a row by chance is sent at once.
                _ => assert!(told.1 >= messages.1 && told.0.iter().zip(messages.0).all(|(a, b)| *a >= b), "{what}"),
            }
            let told = [sum(|stage| stage.chunks_out), sum(|stage| stage.chunks_in)];
            let agree = |(told, inside): (u64, u64)| told >= inside && (told == inside || !is_even);
            assert!(told.into_iter().zip(inside).all(agree), "{what}: {inside:?} inside");
            assert!(stages.iter().all(|stage| stage.hops == 0 || stage.crossing_hops == 0), "{what}");
        }
    }
    // Flat plans that know the layout: all their ranks' way out, and what stays inside, no more and no less.
    for name in ["direct", "two_shot"] {
        let algorithm = find(name).unwrap();
        for (ranks, size) in [(6, 2), (12, 4), (12, 3), (9, 3)] {
            for collective in
                [Collective::AllReduce, Collective::AllGather, Collective::ReduceScatter, Collective::AllToAll]
            {
                let problem = Problem { layout: Layout::Blocks(size), ..Problem::new(collective, ranks) };
                if algorithm.fits(&problem).is_ok() {
                    let counted = counted_by_layout(&algorithm.plan(&problem));
                    let stages = algorithm.stages(&problem);
                    let sum = |count: fn(&Stage) -> u64| stages.iter().map(count).sum::<u64>();
                    let told = [
                        ([sum(|one| one.chunks_out), sum(|one| one.chunks_in)], sum(|one| one.crossing_chunks)),
                        ([sum(|one| one.messages_out), sum(|one| one.messages_in)], sum(|one| one.crossing_messages)),
                    ];
                    assert_eq!(told, counted, "{name} {problem:?}");
                    let hops = stages.iter().map(|one| one.hops + one.crossing_hops).sum::<u32>();
                    assert_eq!(hops, algorithm.promise(&problem).hops, "{name} {problem:?}");
                }
            }
        }
    }
}

#[test]
fn a_single_domain_and_domains_of_one_are_refused_with_a_reason() {
    let problem = |layout| Problem { layout, ..Problem::new(Collective::AllReduce, 6) };
    let reason = |name: &str, layout| find(name).unwrap().fits(&problem(layout)).unwrap_err();
    assert_eq!(reason("hierarchical_ring", Layout::Flat), "joins domains, and there is only one");
    assert_eq!(
        reason("hierarchical_ring", Layout::Blocks(1)),
        "divides the work of a domain, and each has a single rank"
    );
    let no_switch = "needs switches that fold and copy, which these domains have not";
    assert_eq!(reason("nvls", Layout::Flat), no_switch);
    assert_eq!(reason("nvls_ring", Layout::Blocks(3)), no_switch);
}

/// At sizes at which both are feasible the proof by parts counts what the whole proof counts, and never less.
#[test]
fn a_proof_by_parts_has_the_facts_of_the_whole() {
    let layouts =
        [(66, Layout::Blocks(6)), (68, Layout::Interleaved(17)), (70, Layout::Blocks(35)), (71, Layout::Blocks(8))];
    for algorithm in hierarchies() {
        for (ranks, layout) in layouts {
            for collective in Collective::ALL {
                for tiles in [1, 3] {
                    let problem = Problem { layout, tiles, switch: true, ..Problem::new(collective, ranks) };
                    if algorithm.fits(&problem).is_err() {
                        continue;
                    }
                    let plan = algorithm.plan(&problem);
                    let what = format!("{} on {problem:?}", algorithm.name());
                    let proved = [check(&plan), prove(&plan)];
                    let [whole, parts] = proved.map(|one| one.unwrap_or_else(|flaw| panic!("{what}: {flaw}")));
                    let (whole, parts) = (whole.facts(), parts.facts());
                    // What a root does others don't, and the parts take both to be done by one.
                    let is_even = ranks != 71 && !collective.has_root();
                    for (whole, parts) in [
                        (u64::from(whole.hops), u64::from(parts.hops)),
                        (whole.chunks_sent, parts.chunks_sent),
                        (whole.chunks_received, parts.chunks_received),
                        (whole.chunks_reduced, parts.chunks_reduced),
                    ] {
                        assert!(parts >= whole && (!is_even || parts == whole), "{what}: {parts} by parts, {whole}");
                    }
                    assert_eq!(
                        (whole.lanes, whole.max_channel, whole.bit_equal),
                        (parts.lanes, parts.max_channel, true)
                    );
                    assert!(parts.messages_sent >= whole.messages_sent, "{what}: {whole:?} {parts:?}");
                    assert!(parts.scratch_chunks <= whole.scratch_chunks, "{what}: {whole:?} {parts:?}");
                }
            }
        }
    }
}

/// Half a million ranks: a program in milliseconds, a proof in a fraction of a second.
#[test]
fn half_a_million_ranks_are_planned_and_proved() {
    let algorithm = find("hierarchical_circulant").unwrap();
    let problem = Problem { layout: Layout::Blocks(72), tiles: 8, ..Problem::new(Collective::AllReduce, 499_968) };
    let plan = algorithm.plan(&problem);
    let last = plan.program(499_967);
    let moves = |step: &Step| if let Step::Repeat { body, .. } = step { body.len() } else { 1 };
    assert!(last.lanes[0].iter().map(moves).sum::<usize>() < 2000);
    let checked = prove(&plan).unwrap();
    let promise = algorithm.promise(&problem);
    assert_eq!(keeps_promise(&checked, &promise, &|_| unreachable!("no whole proof")), Ok(()));
    assert_eq!(promise.hops, 8 * 26 + 2);
}
