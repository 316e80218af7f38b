//! Plans for several domains, proved whole wherever that is feasible.

use super::*;
use crate::algorithm::find;
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

fn hierarchies() -> impl Iterator<Item = &'static dyn Algorithm> {
    let one = Problem { layout: Layout::Blocks(2), switch: true, ..Problem::new(Collective::AllReduce, 4) };
    let other = Problem { collective: Collective::AllToAll, ..one };
    let joins = move |algorithm: &&dyn Algorithm| {
        [one, other].iter().any(|problem| {
            let flat = Problem { layout: Layout::Flat, ..*problem };
            algorithm.fits(problem).is_ok() && algorithm.fits(&flat).is_err()
        })
    };
    registry().iter().copied().filter(move |algorithm| joins(algorithm))
}

fn hierarchical_problems(
    algorithm: &dyn Algorithm,
    most: usize,
    tiles: &'static [u32],
) -> impl Iterator<Item = Problem> {
    let collectives = Collective::ALL.into_iter().filter(|collective| !collective.is_uneven());
    let layouts = layouts(most);
    collectives
        .flat_map(move |collective| {
            layouts.clone().into_iter().flat_map(move |(ranks, layout)| {
                tiles.iter().flat_map(move |&tiles| {
                    let problem = Problem { layout, tiles, switch: true, ..Problem::new(collective, ranks) };
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
        let large = hierarchical_problems(algorithm, 64, &[1]).filter(|problem| !problem.uneven && problem.ranks > 12);
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
