use super::*;
use crate::algorithm::{find, registry};
use crate::plan::build::{copy, one, peer, reduce};
use crate::plan::check::check;
use crate::plan::price::{Ports, price};
use crate::plan::{Buffer, Move, Operand, Plan, Problem, Program, Reduction, Step, Through};
use crate::topology::{Gaps, Gpu, Limit, Link, Network, Node, NodeKind, Reached, Run, Unit};
use crate::types::Collective;

const NVLINK: f64 = 900e9;
const NIC: f64 = 50e9;
const NVLINK_NS: f64 = 1_000.0;
const NIC_NS: f64 = 20_000.0;

/// Units of GPUs around a switch, a NIC for each.
fn machine(units: usize, gpus: usize) -> Topology {
    let mut nodes: Vec<Node> = (0..gpus).map(|gpu| Node { name: format!("gpu{gpu}"), kind: NodeKind::Gpu }).collect();
    nodes.push(Node { name: "switch".to_owned(), kind: NodeKind::Switch { reduces: true } });
    nodes.extend((0..gpus).map(|gpu| Node { name: format!("nic{gpu}"), kind: NodeKind::Nic }));
    let mut links = Vec::new();
    for gpu in 0..gpus {
        let ends = [(gpus, LinkClass::NvLink, NVLINK, NVLINK_NS / 2.0), (gpus + 1 + gpu, LinkClass::Nic, NIC, 1_000.0)];
        for (other, class, bytes_per_s, latency_ns) in ends {
            links.push(Link { from: gpu, to: other, class, bytes_per_s, latency_ns });
            links.push(Link { from: other, to: gpu, class, bytes_per_s, latency_ns });
        }
    }
    Topology {
        name: "test".to_owned(),
        gpu: Gpu { model: "test".to_owned(), memory_bytes_per_s: 8e12 },
        kinds: vec![Unit::new("unit", nodes, links, Vec::new(), 0)],
        runs: vec![Run { kind: 0, count: units }],
        network: Network { name: "EFA".to_owned(), latency_ns: NIC_NS - 2_000.0, unit_bytes_per_s: None },
        reached: Reached::default(),
        gaps: Gaps::default(),
        constants: Vec::new(),
    }
}

fn run(name: &str, problem: Problem, on: &Topology, bytes: u64) -> Simulated {
    let checked = check(&find(name).unwrap().plan(&problem)).unwrap();
    let counts = Counts::of_elements(problem.collective, problem.ranks, bytes / 4);
    simulate(&checked, on, &counts, 4, None).unwrap()
}

fn near(found_ns: f64, expected_ns: f64) {
    assert!((found_ns / expected_ns - 1.0).abs() < 1e-6, "{found_ns} ns, expected {expected_ns}");
}

#[test]
fn a_ring_takes_its_formula() {
    let bytes = 64 << 20;
    let part = bytes as f64 / 8.0;
    let one = run("ring", Problem::new(Collective::AllReduce, 8), &machine(1, 8), bytes);
    near(one.time_ns, 14.0 * (part / NVLINK * 1e9 + NVLINK_NS));
    assert_eq!(one.messages, 8 * 14);
    let [nvlink] = &one.uses[..] else { panic!("{:?}", one.uses) };
    assert_eq!(nvlink.class, LinkClass::NvLink);
    assert!((nvlink.bytes - 2.0 * 8.0 * 14.0 * part).abs() < 1.0, "into the switch and out of it: {nvlink:?}");
    // Two domains: every round waits for the two messages between them, whose NICs are the slowest.
    let two = run("ring", Problem::new(Collective::AllReduce, 8), &machine(2, 4), bytes);
    assert!(two.time_ns > 13.0 * part / NIC * 1e9 && two.time_ns < 14.0 * (part / NIC * 1e9 + NIC_NS), "{two:?}");
}

#[test]
fn messages_at_once_share_a_port() {
    let bytes = 64 << 20;
    let found = run("two_shot", Problem::new(Collective::AllReduce, 8), &machine(1, 8), bytes);
    near(found.time_ns, 2.0 * (7.0 / 8.0 * bytes as f64 / NVLINK * 1e9 + NVLINK_NS));
    let [nvlink] = &found.uses[..] else { panic!("{:?}", found.uses) };
    assert!(nvlink.busiest_share > 0.97 && nvlink.busiest_share <= 1.0, "{nvlink:?}");
}

fn block_of(buffer: Buffer, block: usize) -> Operand {
    one(buffer, block as u32)
}

/// All-reduce in the switch: each rank's block is folded on its way to it and copied on its way from it.
fn in_switch(problem: Problem) -> Plan {
    Plan::new("in_switch", problem, problem.ranks as u32, move |rank| {
        let others = || (0..problem.ranks).filter(move |other| *other != rank);
        let switch = |one: Move| Step::Move(Move { through: Through::Switch, ..one });
        let offers = others().map(|owner| switch(copy(block_of(Buffer::Input, owner), [peer(owner)])));
        let folded: Vec<_> = [block_of(Buffer::Input, rank)].into_iter().chain(others().map(peer)).collect();
        let spread: Vec<_> = [block_of(Buffer::Output, rank)].into_iter().chain(others().map(peer)).collect();
        let fold = switch(reduce(Reduction::Final, folded, spread));
        let takes = others().map(|owner| Step::Move(copy(peer(owner), [block_of(Buffer::Output, owner)])));
        Program::of(offers.chain([fold]).chain(takes).collect())
    })
}

#[test]
fn a_switch_folds_and_copies_on_the_way() {
    let bytes = 72u64 << 20;
    let checked = check(&in_switch(Problem::new(Collective::AllReduce, 8))).unwrap();
    let on = machine(1, 8);
    let found = simulate(&checked, &on, &Counts::Even(bytes / 4), 4, None).unwrap();
    // Each port passes 7/8 of the offers out and 1/8 folded in, then 1/8 out and 7/8 in: both directions take turns.
    near(found.time_ns, 2.0 * (7.0 / 8.0 * bytes as f64 / NVLINK * 1e9 + NVLINK_NS));
    let mut plain = on.clone();
    for node in &mut plain.kinds[0].nodes {
        if let NodeKind::Switch { reduces } = &mut node.kind {
            *reduces = false;
        }
    }
    let messages = simulate(&checked, &plain, &Counts::Even(bytes / 4), 4, None).unwrap();
    assert!(messages.uses[0].bytes > 1.7 * found.uses[0].bytes, "{messages:?} {found:?}");
}

#[test]
fn every_algorithm_ends_alike_each_time_and_its_path_has_no_gap() {
    for collective in Collective::ALL.into_iter().filter(|one| !one.is_uneven() && *one != Collective::SendRecv) {
        for (units, gpus) in [(1, 1), (1, 5), (2, 4), (3, 3)] {
            let on = machine(units, gpus);
            for algorithm in registry() {
                let problem = Problem { layout: on.layout(), ..Problem::new(collective, units * gpus) };
                if algorithm.fits(&problem).is_err() {
                    continue;
                }
                let what = format!("{} {collective} on {units} x {gpus}", algorithm.name());
                let checked = check(&algorithm.plan(&problem)).unwrap();
                let counts = Counts::of_elements(collective, problem.ranks, 1 << 20);
                let once = simulate(&checked, &on, &counts, 4, None).unwrap();
                let mut slices = Vec::new();
                assert_eq!(once, simulate(&checked, &on, &counts, 4, Some(&mut slices)).unwrap(), "{what}");
                let mut at = 0.0;
                for leg in &once.critical_path {
                    assert!((leg.start_ns - at).abs() < 1e-3 && leg.end_ns >= leg.start_ns, "{what}: {once:#?}");
                    at = leg.end_ns;
                }
                assert!((at - once.time_ns).abs() < 1e-3, "{what}: the path ends at {at} of {}", once.time_ns);
                assert!(slices.iter().all(|slice| slice.end_ns <= once.time_ns), "{what}");
                assert!(once.uses.iter().all(|one| one.busiest_share <= 1.0 + 1e-9), "{what}: {:?}", once.uses);
            }
        }
    }
}

#[test]
fn more_bandwidth_is_never_slower_where_nothing_is_shared() {
    for name in ["ring", "halving_doubling", "two_shot", "recursive_doubling"] {
        let mut on = machine(2, 4);
        let problem = Problem::new(Collective::AllReduce, 8);
        let before = run(name, problem, &on, 1 << 24).time_ns;
        let links = on.kinds[0].links.iter().map(|link| Link { bytes_per_s: 2.0 * link.bytes_per_s, ..link.clone() });
        on.kinds[0] = Unit::new("faster", on.kinds[0].nodes.clone(), links.collect(), Vec::new(), 0);
        assert!(run(name, problem, &on, 1 << 24).time_ns < before, "{name}");
    }
}

#[test]
fn what_does_not_fit_is_a_sentence() {
    let checked = check(&find("ring").unwrap().plan(&Problem::new(Collective::AllReduce, 9))).unwrap();
    let told = simulate(&checked, &machine(1, 8), &Counts::Even(9), 4, None).unwrap_err().to_string();
    assert_eq!(told, "9 ranks do not fit on 8 GPUs");
    let mut apart = machine(2, 4);
    apart.kinds[0] = Unit::new("no NICs", apart.kinds[0].nodes[..5].to_vec(), Vec::new(), Vec::new(), 0);
    let checked = check(&find("ring").unwrap().plan(&Problem::new(Collective::AllReduce, 8))).unwrap();
    let told = simulate(&checked, &apart, &Counts::Even(8), 4, None).unwrap_err();
    assert!(matches!(told, Failed::NoRoute { .. }), "{told}");
}

#[test]
fn a_trace_is_json_with_a_slice_for_every_message() {
    let checked = check(&find("ring").unwrap().plan(&Problem::new(Collective::AllReduce, 4))).unwrap();
    let mut slices = Vec::new();
    let found = simulate(&checked, &machine(1, 4), &Counts::Even(1 << 10), 4, Some(&mut slices)).unwrap();
    let mut text = Vec::new();
    trace::write(&slices, &mut text).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let events = value["traceEvents"].as_array().unwrap();
    let flows = events.iter().filter(|one| one["ph"] == "X" && one["args"]["bytes"].as_u64() == Some(1024));
    assert_eq!(flows.count(), found.messages);
    assert!(events.iter().any(|one| one["args"]["name"] == "to rank 3"));
}

/// What the closed form says of the same plan on the same machine.
fn priced(name: &str, problem: Problem, on: &Topology, bytes: u64) -> f64 {
    let algorithm = find(name).unwrap();
    let grid = algorithm.plan(&problem).grid();
    let chunk_bytes = bytes as f64 / f64::from(grid.blocks * grid.tiles);
    price(&algorithm.stages(&problem), chunk_bytes, grid.tiles, &Ports::of(on)).total_ns()
}

#[test]
fn closed_form_and_simulation_agree_where_nobody_is_in_the_way() {
    let cases = [
        ("ring", Collective::AllReduce, 1),
        ("two_shot", Collective::AllReduce, 1),
        ("recursive_doubling", Collective::AllReduce, 1),
        ("halving_doubling", Collective::AllReduce, 1),
        ("ring", Collective::AllGather, 1),
        ("direct", Collective::AllGather, 1),
        ("bruck", Collective::AllGather, 1),
        ("ring", Collective::ReduceScatter, 1),
        ("direct", Collective::ReduceScatter, 1),
        ("direct", Collective::AllToAll, 1),
        ("chain", Collective::Broadcast, 1),
        ("chain", Collective::Broadcast, 16),
        ("chain", Collective::Reduce, 16),
        ("direct", Collective::Broadcast, 1),
        ("direct", Collective::Reduce, 1),
        ("direct", Collective::Gather, 1),
        ("direct", Collective::Scatter, 1),
        ("binomial", Collective::Broadcast, 1),
        ("binomial", Collective::Reduce, 1),
        ("binomial", Collective::Gather, 1),
        ("binomial", Collective::Scatter, 1),
        ("dissemination", Collective::Barrier, 1),
        ("direct", Collective::Barrier, 1),
    ];
    // What a root does is alike wherever the others are; a ring that crosses here and there is not.
    let is_rooted = |collective: Collective| collective.has_root() || collective == Collective::Barrier;
    let in_one = cases.iter().map(|case| (machine(1, 8), *case));
    let in_two = cases.iter().filter(|case| is_rooted(case.1)).map(|case| (machine(2, 4), *case));
    for (on, (name, collective, tiles)) in in_one.chain(in_two) {
        let sizes: &[u64] = if collective == Collective::Barrier { &[4] } else { &[1 << 10, 1 << 20, 1 << 28] };
        for &bytes in sizes {
            let problem = Problem { tiles, layout: on.layout(), ..Problem::new(collective, 8) };
            let (simulated, closed) = (run(name, problem, &on, bytes).time_ns, priced(name, problem, &on, bytes));
            // The own block is copied before the first message in some plans: the closed form sees it beside the messages.
            let copy_ns = 2.0 * bytes as f64 / 8.0 / on.gpu.memory_bytes_per_s * 1e9;
            let off = closed / simulated - 1.0;
            assert!(
                off < 0.01 && off > -0.01 - copy_ns / simulated,
                "{name} {collective} of {bytes} bytes on {} units: closed {closed}, simulated {simulated}",
                on.units()
            );
        }
    }
}

#[test]
fn one_rank_of_a_domain_stands_for_all_where_they_do_alike() {
    let shared = |mut on: Topology| {
        // The NICs of GPUs 0 and 1 share less than both could take, those of 2 and 3 as well.
        let unit = &on.kinds[0];
        let nic = |gpu: usize, out: bool| 4 * gpu + if out { 2 } else { 3 };
        let pair = |pair: usize, out: bool| Limit {
            name: format!("pair {pair} {out}"),
            bytes_per_s: 70e9,
            links: vec![nic(2 * pair, out), nic(2 * pair + 1, out)],
        };
        let limits = vec![pair(0, true), pair(0, false), pair(1, true), pair(1, false)];
        on.kinds[0] = Unit::new("pairs", unit.nodes.clone(), unit.links.clone(), limits, 0);
        on.network.unit_bytes_per_s = Some(120e9);
        on
    };
    let mut folded = 0;
    for on in [machine(1, 4), machine(3, 4), machine(4, 4), shared(machine(3, 4))] {
        let problem = Problem { layout: on.layout(), ..Problem::new(Collective::AllReduce, on.gpus()) };
        let plans = registry().iter().filter(|one| one.fits(&problem).is_ok()).map(|one| one.plan(&problem));
        let in_one_domain = (on.units() == 1).then(|| in_switch(problem));
        for plan in plans.chain(in_one_domain) {
            let checked = check(&plan).unwrap();
            let Some(fold) = Fold::of(checked.plan(), &on) else { continue };
            folded += 1;
            let counts = Counts::Even(3 << 20);
            let all = super::run(&checked, &on, &counts, 4, None, None).unwrap();
            let one = super::run(&checked, &on, &counts, 4, Some(&fold), None).unwrap();
            assert_eq!(one.messages * 4, all.messages, "{}", plan.algorithm);
            assert!((one.time_ns / all.time_ns - 1.0).abs() < 1e-6, "{}: {one:#?} {all:#?}", plan.algorithm);
            for (a, b) in one.uses.iter().zip(&all.uses) {
                let what = format!("{}: {a:?} {b:?}", plan.algorithm);
                assert!(
                    (a.bytes / b.bytes - 1.0).abs() < 1e-6 && (a.busiest_share - b.busiest_share).abs() < 1e-6,
                    "{what}"
                );
            }
        }
    }
    assert!(folded >= 9, "{folded}");
}
