use super::*;
use crate::topology::machines::Request;
use crate::topology::outline::{Joins, Outline, Star, gpu_names};
use crate::topology::{Gaps, LinkClass, Network, NodeKind, Reached, Run, Topology, random};
use proptest::prelude::*;

/// Units of `gpus` GPUs around a switch and a NIC for each, GB/s.
fn symmetric(units: usize, gpus: usize, nvlink: f64, nic: f64, reduces: bool) -> Topology {
    let star = |name: &str, joins, class, gb_per_s: f64, reduces| Star {
        name: name.to_owned(),
        joins,
        cards: 1,
        reduces,
        class,
        bytes_per_s: gb_per_s * 1e9,
        latency_ns: 500.0,
        shared_bytes_per_s: None,
        at: 0,
    };
    let nics = if nic > 0.0 { vec![star("nic", Joins::Every(1), LinkClass::Nic, nic, false)] } else { Vec::new() };
    let outline = Outline {
        name: "unit".to_owned(),
        gpus: gpu_names(gpus),
        switches: vec![star("switch", Joins::AllGpus, LinkClass::NvLink, nvlink, reduces)],
        nics,
        ..Outline::default()
    };
    Topology {
        name: "symmetric".to_owned(),
        gpu: crate::topology::Gpu { model: "test".to_owned(), memory_bytes_per_s: 8e12 },
        kinds: vec![outline.unit().unwrap()],
        runs: vec![Run { kind: 0, count: units }],
        network: Network { name: "test".to_owned(), latency_ns: 10_000.0, unit_bytes_per_s: None },
        reached: Reached::default(),
        gaps: Gaps::default(),
        constants: Vec::new(),
    }
}

/// GB/s that nothing exceeds.
fn algorithm_bandwidth(topology: &Topology, collective: Collective) -> f64 {
    1e-9 / bound(topology, collective).unwrap().s_per_byte
}

#[track_caller]
fn near(found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() < 1e-9, "{found}, expected {expected}");
}

/// The two-level formulas, written without any graph.
struct Closed {
    units: f64,
    gpus: f64,
    nvlink: f64,
    nic: f64,
}

impl Closed {
    fn all(&self) -> f64 {
        self.units * self.gpus
    }
    fn port(&self) -> f64 {
        if self.units > 1.0 { self.nvlink + self.nic } else { self.nvlink }
    }
    fn all_gather(&self) -> f64 {
        let outside = self.all() - self.gpus;
        let units = if outside > 0.0 { outside / (self.gpus * self.nic) } else { 0.0 };
        self.all() / ((self.all() - 1.0) / self.port()).max(units)
    }
    fn all_reduce_in_switch(&self) -> f64 {
        let units = 2.0 * (self.units - 1.0) / (self.units * self.gpus * self.nic);
        1.0 / (1.0 / self.port()).max(if self.units > 1.0 { units } else { 0.0 })
    }
    fn all_to_all(&self) -> f64 {
        let port = (self.all() - 1.0) / (self.all() * self.port());
        let units = (self.units - 1.0) / (self.units * self.nic);
        1.0 / port.max(if self.units > 1.0 { units } else { 0.0 })
    }
    fn broadcast(&self) -> f64 {
        if self.units > 1.0 { self.port().min(self.gpus * self.nic) } else { self.port() }
    }
}

#[test]
fn published_values_come_out_to_the_digits() {
    let cases = [
        (8, 450.0, 50.0, 1, [514.29, 257.14, 450.0, 514.29]),
        (8, 450.0, 50.0, 2, [533.33, 266.67, 400.0, 100.0]),
        (8, 450.0, 50.0, 16, [426.67, 213.33, 213.33, 53.33]),
        (8, 450.0, 50.0, 128, [403.15, 201.57, 201.57, 50.39]),
        (72, 900.0, 50.0, 1, [912.68, 456.34, 900.0, 912.68]),
        (72, 900.0, 50.0, 2, [956.64, 478.32, 950.0, 100.0]),
        (72, 900.0, 50.0, 16, [950.83, 475.41, 950.0, 53.33]),
        (72, 900.0, 50.0, 6944, [950.00, 475.00, 950.0, 50.01]),
        (72, 900.0, 100.0, 16, [1000.87, 500.43, 1000.0, 106.67]),
    ];
    for (gpus, nvlink, nic, units, expected) in cases {
        let plain = symmetric(units, gpus, nvlink, nic, false);
        let adding = symmetric(units, gpus, nvlink, nic, true);
        let found = [
            algorithm_bandwidth(&plain, Collective::AllGather),
            algorithm_bandwidth(&plain, Collective::AllReduce),
            algorithm_bandwidth(&adding, Collective::AllReduce),
            algorithm_bandwidth(&plain, Collective::AllToAll),
        ];
        let digits = |values: [f64; 4]| values.map(|value| format!("{value:.2}"));
        assert_eq!(digits(found), digits(expected), "{units} x {gpus}");
        near(algorithm_bandwidth(&adding, Collective::ReduceScatter), found[0]);
        near(algorithm_bandwidth(&adding, Collective::AllGather), found[0]);
    }
}

#[test]
fn flows_equal_the_closed_forms() {
    let cases = [
        (2, 8, 450.0, 50.0),
        (4, 8, 450.0, 50.0),
        (2, 4, 900.0, 50.0),
        (3, 6, 90.0, 20.0),
        (2, 8, 100.0, 60.0),
        (2, 3, 10.0, 30.0),
        (1, 8, 450.0, 0.0),
        (5, 8, 450.0, 50.0),
        (16, 72, 900.0, 50.0),
    ];
    for (units, gpus, nvlink, nic) in cases {
        let closed = Closed { units: units as f64, gpus: gpus as f64, nvlink, nic };
        let plain = symmetric(units, gpus, nvlink, nic, false);
        let adding = symmetric(units, gpus, nvlink, nic, true);
        near(algorithm_bandwidth(&plain, Collective::AllGather), closed.all_gather());
        near(algorithm_bandwidth(&plain, Collective::ReduceScatter), closed.all_gather());
        near(algorithm_bandwidth(&plain, Collective::AllReduce), closed.all_gather() / 2.0);
        near(algorithm_bandwidth(&adding, Collective::AllReduce), closed.all_reduce_in_switch());
        near(algorithm_bandwidth(&plain, Collective::AllToAll), closed.all_to_all());
        near(algorithm_bandwidth(&plain, Collective::Broadcast), closed.broadcast());
        near(algorithm_bandwidth(&plain, Collective::Reduce), closed.broadcast());
    }
}

#[test]
fn the_cut_is_named_and_tightness_is_known() {
    let rack = Request { units: 16, ..Request::new("p6e-gb200x72") }.topology().unwrap();
    let of = |collective| bound(&rack, collective).unwrap();
    assert_eq!(of(Collective::AllGather).cut, "the NVLink port and the NIC of one GPU");
    assert!(of(Collective::AllGather).tight);
    assert_eq!(of(Collective::AllToAll).cut, "all NICs of one unit");
    assert!(of(Collective::AllToAll).tight);
    assert!(!of(Collective::AllReduce).tight, "{:?}", of(Collective::AllReduce));
    let one = bound(&Request::new("p6e-gb200x72").topology().unwrap(), Collective::AllToAll).unwrap();
    assert_eq!((one.cut.as_str(), one.tight), ("the NVLink port of one GPU", true));
    // NICs take over: a ring of sums in the switches reaches it.
    let small = bound(&symmetric(16, 8, 450.0, 50.0, true), Collective::AllReduce).unwrap();
    assert_eq!((small.cut.as_str(), small.tight), ("all NICs of one unit", true));
    let four = bound(&symmetric(4, 8, 450.0, 50.0, true), Collective::AllReduce).unwrap();
    assert!(four.tight && four.why.contains("in the switches"), "{four:?}");
    assert!(bound(&symmetric(4, 8, 450.0, 50.0, false), Collective::AllReduce).unwrap().tight);
}

#[test]
fn a_spine_is_a_limit_of_units() {
    let mut machine = symmetric(4, 8, 450.0, 50.0, false);
    machine.network.unit_bytes_per_s = Some(100e9);
    let all_gather = bound(&machine, Collective::AllGather).unwrap();
    near(1e-9 / all_gather.s_per_byte, 32.0 / (24.0 / 100.0));
    assert_eq!(all_gather.cut, "the way into the spine of one unit");
    near(algorithm_bandwidth(&machine, Collective::AllReduce), 100.0 * 4.0 / (2.0 * 3.0));
    near(algorithm_bandwidth(&machine, Collective::AllToAll), 1.0 / (8.0 * 24.0 / (32.0 * 100.0)));
    assert!(bound(&machine, Collective::AllToAll).unwrap().tight);
}

#[test]
fn uneven_domains_are_bound_by_what_the_smaller_must_take_in() {
    // 72 + 64 GPUs: every GPU of the smaller takes in what the other 135 have, the smaller unit what 72 have.
    let mut machine = symmetric(1, 72, 900.0, 5.0, false);
    machine.kinds.push(symmetric(1, 64, 900.0, 5.0, false).kinds.remove(0));
    machine.runs.push(Run { kind: 1, count: 1 });
    let expected = 136.0 / (135.0_f64 / 905.0).max(72.0 / (64.0 * 5.0)).max(64.0 / (72.0 * 5.0));
    let found = bound(&machine, Collective::AllGather).unwrap();
    near(1e-9 / found.s_per_byte, expected);
    assert_eq!(found.cut, "all NICs of one unit `unit`");
}

#[test]
fn what_comes_in_slowly_is_sent_on_slowly() {
    // Cuts alone let a GPU's data leave once; without multicast it leaves for each of the others.
    let mut machine = symmetric(1, 3, 100.0, 0.0, false);
    let narrow = |machine: &mut Topology, from_gpus: bool| {
        let links = machine.kinds[0].links.iter_mut().filter(|link| (link.from < 3) == from_gpus);
        links.for_each(|link| link.bytes_per_s = 1e9);
    };
    narrow(&mut machine, true);
    let all_gather = bound(&machine, Collective::AllGather).unwrap();
    near(1e-9 / all_gather.s_per_byte, 3.0 / 2.0);
    assert!(!all_gather.tight, "{all_gather:?}");
    near(algorithm_bandwidth(&machine, Collective::ReduceScatter), 3.0 / 2.0);
    near(algorithm_bandwidth(&machine, Collective::AllReduce), 3.0 / 4.0);
    narrow(&mut machine, false);
    assert!(bound(&machine, Collective::AllGather).unwrap().tight);
}

#[test]
fn shared_nics_are_counted_once() {
    let p4d = Request { units: 2, ..Request::new("p4d") }.topology().unwrap();
    let all_gather = bound(&p4d, Collective::AllGather).unwrap();
    near(1e-9 / all_gather.s_per_byte, 16.0 / (8.0 / 50.0));
    assert_eq!((all_gather.cut.as_str(), all_gather.tight), ("all NICs of one unit", true));
}

#[test]
fn latency_is_that_of_the_farthest_pair() {
    let machine = symmetric(3, 4, 450.0, 50.0, false);
    let all_reduce = bound(&machine, Collective::AllReduce).unwrap();
    near(all_reduce.latency_s, 11e-6);
    let small = all_reduce.at(8);
    assert_eq!((small.seconds(), small.tight), (all_reduce.latency_s, false));
    assert_eq!(small.cut, "the latency of a message from unit to unit, 11.00 us");
    near(bound(&symmetric(1, 4, 450.0, 50.0, false), Collective::Barrier).unwrap().latency_s, 1e-6);
    let barrier = bound(&machine, Collective::Barrier).unwrap().at(0);
    assert_eq!((barrier.bandwidth_s, barrier.algorithm_bandwidth_gb_per_s()), (0.0, None));
}

/// Every node of a machine, unit by unit, and its links; limits stay apart.
struct Expanded {
    gpus: Vec<bool>,
    links: Vec<(usize, usize, f64)>,
    limits: Vec<(f64, Vec<usize>)>,
}

impl Expanded {
    fn new(topology: &Topology) -> Expanded {
        let mut all = Expanded { gpus: vec![false], links: Vec::new(), limits: Vec::new() };
        let networked = topology.layout().domains(topology.gpus()) > 1;
        for unit in topology.runs.iter().flat_map(|run| std::iter::repeat_n(&topology.kinds[run.kind], run.count)) {
            let (node, link) = (all.gpus.len(), all.links.len());
            all.gpus.extend(unit.nodes.iter().map(|node| node.kind == NodeKind::Gpu));
            let whole = |rate: f64| rate.round();
            all.links.extend(unit.links.iter().map(|one| (node + one.from, node + one.to, whole(one.bytes_per_s))));
            let limits = unit.limits.iter();
            all.limits
                .extend(limits.map(|one| (whole(one.bytes_per_s), one.links.iter().map(|one| link + one).collect())));
            let leaf = all.gpus.len();
            all.gpus.push(false);
            if networked {
                let nics = (0..unit.nodes.len()).filter(|node| unit.nodes[*node].kind == NodeKind::Nic);
                all.links.extend(nics.flat_map(|nic| [(node + nic, leaf, 1e30), (leaf, node + nic, 1e30)]));
                let spine = topology.network.unit_bytes_per_s.map_or(1e30, f64::round);
                all.links.extend([(leaf, 0, spine), (0, leaf, spine)]);
            }
        }
        all
    }

    /// What a side can send to the other: every limit cuts what its own links do, the sharpest of two that share a link first.
    fn out(&self, side: u32) -> f64 {
        let leaves = |link: usize| {
            let (from, to, _) = self.links[link];
            side >> from & 1 == 1 && side >> to & 1 == 0
        };
        let mut left: Vec<f64> =
            (0..self.links.len()).map(|link| if leaves(link) { self.links[link].2 } else { 0.0 }).collect();
        let unlimited: f64 = left.iter().sum();
        let mut saved = 0.0;
        for (rate, links) in &self.limits {
            let sum: f64 = links.iter().map(|link| left[*link]).sum();
            saved += (sum - rate).max(0.0);
            links.iter().for_each(|link| left[*link] = 0.0);
        }
        unlimited - saved
    }
}

/// The least of `out / GPUs` over all sides with some GPUs but not all, by trying every side.
fn least_rate(all: &Expanded) -> f64 {
    let nodes = all.gpus.len();
    let gpus = |side: u32| (0..nodes).filter(|node| all.gpus[*node] && side >> node & 1 == 1).count();
    let total = gpus(u32::MAX >> (32 - nodes));
    let sides = (0..1u32 << nodes).filter(|side| (1..total).contains(&gpus(*side)));
    sides.map(|side| all.out(side) / gpus(side) as f64).fold(f64::INFINITY, f64::min)
}

/// Machines small enough that every cut can be tried, whose limits all have a place in the graph and share no link.
fn small_machine() -> impl Strategy<Value = Topology> {
    random::machine(3).prop_filter("too large", |machine| {
        let nodes: usize = machine.runs.iter().map(|run| run.count * (machine.kinds[run.kind].nodes.len() + 1)).sum();
        let apart = machine.kinds.iter().all(|unit| {
            let mut links: Vec<usize> = unit.limits.iter().flat_map(|limit| limit.links.clone()).collect();
            links.sort_unstable();
            links.windows(2).all(|pair| pair[0] != pair[1])
        });
        machine.gpus() > 1 && nodes < 16 && apart && Machine::new(machine).exact()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_local_rejects: 1 << 20, ..ProptestConfig::default() })]

    /// Limits with a common end cut what they carry whether or not their links cross: so a limit's own node is tried on both sides.
    #[test]
    fn the_optimum_of_random_machines_is_that_of_all_cuts(machine in small_machine()) {
        let rate = least_rate(&Expanded::new(&machine));
        let (found, cut) = by_cuts(&Machine::new(&machine), Direction::Gather);
        let expected = 1.0 / (rate * machine.gpus() as f64);
        prop_assert!((found / expected - 1.0).abs() < 1e-9, "{found}, {cut}; by all cuts {expected}");
        prop_assert!(bound(&machine, Collective::AllGather).unwrap().s_per_byte >= found * (1.0 - 1e-9));
    }

    #[test]
    fn bounds_of_random_machines_keep_their_order(machine in random::machine(6)) {
        let of = |collective| bound(&machine, collective).unwrap().s_per_byte;
        let gathered = of(Collective::AllGather) + of(Collective::ReduceScatter);
        let sent = [Collective::Broadcast, Collective::Reduce, Collective::Gather, Collective::Scatter].map(of);
        let reduced = of(Collective::AllReduce);
        prop_assert!(reduced <= gathered * (1.0 + 1e-9), "all_reduce is no more than its two halves");
        // From a root, to a root and back: an all-reduce does both.
        prop_assert!(sent[0].max(sent[1]) <= reduced * (1.0 + 1e-9), "{sent:?} {reduced}");
        prop_assert!(sent[2] <= of(Collective::AllGather) * (1.0 + 1e-9));
        prop_assert!(sent[3] <= of(Collective::ReduceScatter) * (1.0 + 1e-9));
        prop_assert!(of(Collective::AllToAll) > 0.0 || machine.gpus() == 1);
    }
}

#[test]
fn half_a_million_gpus_have_every_bound() {
    let machine = Request { units: 6944, ..Request::new("p6e-gb200x72") }.topology().unwrap();
    for collective in Collective::ALL {
        let bound = bound(&machine, collective).unwrap();
        assert!(collective == Collective::Barrier || bound.s_per_byte > 0.0, "{collective}");
    }
}
