//! Machines drawn at random: small ones, connected, with all that an outline can say.

use super::fabric::{Gaps, Gpu, Network, Reached, Run, Topology};
use super::outline::{Degraded, Joins, Outline, Shared, Star, Wire, gpu_names};
use super::quantity::{Constant, Origin, Quantity};
use super::unit::{LinkClass, Unit};
use proptest::prelude::*;
use proptest::sample::select;

/// Rates that are whole in GB/s and such as are not.
fn bytes_per_s() -> impl Strategy<Value = f64> {
    prop_oneof![
        (1..100u32).prop_map(|gb| f64::from(gb) * 1e9),
        (1_000_000..1_000_000_000u32).prop_map(f64::from),
        1e6..1e12
    ]
}

fn latency_ns() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), (1..100u32).prop_map(|us| f64::from(us) * 1e3), 0.0..1e5]
}

fn class() -> impl Strategy<Value = LinkClass> {
    select(&LinkClass::ALL[..])
}

fn star(name: &'static str, gpus: usize) -> impl Strategy<Value = Star> {
    let named = proptest::collection::btree_set(0..gpus, 0..=gpus)
        .prop_map(|set| Joins::Named(set.into_iter().map(|gpu| format!("gpu{gpu}")).collect()));
    let joins = prop_oneof![Just(Joins::AllGpus), (1..=gpus).prop_map(Joins::Every), named];
    (joins, 1..3usize, any::<bool>(), class(), bytes_per_s(), latency_ns(), proptest::option::of(bytes_per_s()))
        .prop_map(move |(joins, cards, reduces, class, bytes_per_s, latency_ns, shared_bytes_per_s)| Star {
            name: name.to_owned(),
            joins,
            cards,
            reduces,
            class,
            bytes_per_s,
            latency_ns,
            shared_bytes_per_s,
            at: 0,
        })
}

fn wire(gpus: usize) -> impl Strategy<Value = Wire> {
    (0..gpus, 0..gpus, any::<bool>(), class(), bytes_per_s(), latency_ns()).prop_map(
        |(from, to, both_ways, class, bytes_per_s, latency_ns)| Wire {
            from: format!("gpu{from}"),
            to: format!("gpu{to}"),
            both_ways,
            class,
            bytes_per_s,
            latency_ns,
            at: 0,
        },
    )
}

fn outline(name: String, most_gpus: usize) -> impl Strategy<Value = Outline> {
    (1..=most_gpus).prop_flat_map(move |gpus| {
        let name = name.clone();
        let stars = |name, most| proptest::collection::vec(star(name, gpus), 0..=most);
        let links = proptest::collection::vec(wire(gpus), 0..2 * gpus);
        let limit = (0..gpus, bytes_per_s()).prop_map(|(gpu, bytes_per_s)| Shared {
            name: "limit \"1\"\n".to_owned(),
            bytes_per_s,
            links: vec![format!("gpu{gpu} -> *")],
            at: 0,
        });
        let degraded = (0..gpus, 0.01..1.0f64).prop_map(|(gpu, share)| Degraded {
            links: vec![format!("* -> gpu{gpu}")],
            share,
            at: 0,
        });
        let several = |most| 0..=most;
        let limits = proptest::collection::vec(limit, several(1));
        let degraded = proptest::collection::vec(degraded, several(1));
        let missing = proptest::collection::btree_set(0..gpus, 0..gpus);
        let parts = (
            stars("switch", 1),
            stars("nic", 1),
            links,
            limits,
            degraded,
            prop_oneof![Just(Default::default()), missing],
        );
        (parts, 0..=gpus).prop_map(move |((switches, nics, links, limits, degraded, missing), gpus_per_host)| Outline {
            name: name.clone(),
            gpus: gpu_names(gpus),
            missing: missing.into_iter().collect(),
            gpus_per_host,
            switches,
            nics,
            links,
            limits,
            degraded,
            at: 0,
        })
    })
}

/// A unit whose GPUs reach each other, over the network if there is one.
fn unit(name: String, most_gpus: usize, networked: bool) -> impl Strategy<Value = Unit> {
    outline(name, most_gpus).prop_filter_map("not every GPU reaches every other", move |outline| {
        let unit = outline.unit().ok()?;
        let all = |backward| unit.reaches(networked, backward).into_iter().all(|reached| reached);
        (all(false) && all(true)).then_some(unit)
    })
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,8}", any::<String>()]
}

/// A machine of up to three kinds of units, none of them with more than so many GPUs.
pub fn machine(most_gpus: usize) -> impl Strategy<Value = Topology> {
    let kinds = (1..=3usize, 1..=3usize).prop_flat_map(move |(kinds, count)| {
        let networked = kinds > 1 || count > 1;
        let units: Vec<_> = (0..kinds).map(|kind| unit(format!("unit{kind}"), most_gpus, networked)).collect();
        (units, proptest::collection::vec(1..=3usize, kinds), Just(count), any::<bool>())
    });
    let runs = |kinds: usize, counts: &[usize], first: usize, again: bool| {
        let mut runs: Vec<Run> =
            (0..kinds).map(|kind| Run { kind, count: if kind == 0 { first } else { counts[kind] } }).collect();
        runs.extend((again && kinds > 1).then_some(Run { kind: 0, count: 2 }));
        runs
    };
    let network = (text(), latency_ns(), proptest::option::of(bytes_per_s()))
        .prop_map(|(name, latency_ns, unit_bytes_per_s)| Network { name, latency_ns, unit_bytes_per_s });
    let share = || prop_oneof![Just(1.0), 0.01..1.0f64];
    let reached = (share(), share(), share()).prop_map(|(domain, switch, network)| Reached { domain, switch, network });
    let gap_ns = || prop_oneof![Just(0.0), 0.01..1e4f64];
    let gaps = (gap_ns(), gap_ns()).prop_map(|(domain_ns, network_ns)| Gaps { domain_ns, network_ns });
    let constant = (text(), text(), 0.0..1e9f64, select(&Origin::ALL[..]), text()).prop_map(
        |(name, unit, value, origin, source)| Constant {
            name: name.into(),
            unit: unit.into(),
            quantity: Quantity { value, origin, source: source.into() },
        },
    );
    let rest = (text(), text(), bytes_per_s(), network, (reached, gaps), proptest::collection::vec(constant, 0..2));
    (kinds, rest).prop_map(
        move |(
            (kinds, counts, first, again),
            (name, model, memory_bytes_per_s, network, (reached, gaps), constants),
        )| {
            let runs = runs(kinds.len(), &counts, first, again);
            Topology { name, gpu: Gpu { model, memory_bytes_per_s }, kinds, runs, network, reached, gaps, constants }
        },
    )
}
