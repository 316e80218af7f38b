//! How long the first byte takes at least.

use super::machine::Machine;
use crate::topology::unit::{NodeKind, Unit};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The longest of the shortest ways, in ns.
pub struct Latencies {
    /// Between any two GPUs.
    pub any: f64,
    /// From the machine's first GPU to any other, or back.
    pub from_root: f64,
    pub to_root: f64,
    /// The slowest message from a GPU to the next is not faster than this.
    pub neighbour: f64,
}

/// Of one unit.
struct Ways {
    /// From GPU to GPU.
    inside: Vec<Vec<f64>>,
    /// To the best NIC, and from there.
    out: Vec<f64>,
    into: Vec<f64>,
}

impl Latencies {
    pub fn of(machine: &Machine) -> Latencies {
        let network_ns = machine.topology.network.latency_ns;
        let ways: Vec<(usize, usize, Ways)> =
            machine.used().map(|(index, kind)| (index, kind.count, Ways::of(kind.unit, network_ns))).collect();
        let root = machine.topology.runs[0].kind;
        let mut found = Latencies { any: 0.0, from_root: 0.0, to_root: 0.0, neighbour: 0.0 };
        for (index, _, one) in &ways {
            let next = (1..one.inside.len()).map(|gpu| one.inside[gpu - 1][gpu]);
            found.neighbour = next.fold(found.neighbour, f64::max);
            let longest = one.inside.iter().flatten().copied().fold(0.0, f64::max);
            found.any = found.any.max(longest);
            if *index == root {
                found.from_root = one.inside[0].iter().copied().fold(0.0, f64::max);
                found.to_root = one.inside.iter().map(|row| row[0]).fold(0.0, f64::max);
            }
        }
        if machine.topology.units() > 1 {
            let longest = |all: &dyn Fn(&Ways) -> f64, besides_root: bool| {
                let others = ways.iter().filter(|(index, count, _)| !besides_root || *index != root || *count > 1);
                others.map(|(_, _, one)| all(one)).fold(0.0, f64::max)
            };
            let out = |one: &Ways| one.out.iter().copied().fold(0.0, f64::max);
            let into = |one: &Ways| one.into.iter().copied().fold(0.0, f64::max);
            let of_root = &ways.iter().find(|(index, _, _)| *index == root).expect("the first run is used").2;
            let crossing = longest(&out, false) + network_ns + longest(&into, false);
            found.any = found.any.max(crossing);
            found.from_root = found.from_root.max(of_root.out[0] + network_ns + longest(&into, true));
            found.to_root = found.to_root.max(longest(&out, true) + network_ns + of_root.into[0]);
            let ends = ways.iter().map(|(_, _, one)| (one.out[one.out.len() - 1], one.into[0]));
            let shortest = ends.fold((f64::INFINITY, f64::INFINITY), |a, b| (a.0.min(b.0), a.1.min(b.1)));
            found.neighbour = found.neighbour.max(shortest.0 + network_ns + shortest.1);
        }
        found
    }
}

impl Ways {
    fn of(unit: &Unit, network_ns: f64) -> Ways {
        let gpus = unit.gpus();
        let nics: Vec<usize> = (0..unit.nodes.len()).filter(|node| unit.nodes[*node].kind == NodeKind::Nic).collect();
        let forward = arcs(unit, |link| (link.from, link.to));
        let backward = arcs(unit, |link| (link.to, link.from));
        let near = |arcs: &Vec<Vec<(usize, f64)>>| shortest(arcs, &nics)[..gpus].to_vec();
        let (into, out) = (near(&forward), near(&backward));
        let inside = (0..gpus)
            .map(|gpu| {
                let mut row = shortest(&forward, &[gpu]);
                row.truncate(gpus);
                row.iter_mut().zip(&into).for_each(|(way, into)| *way = way.min(out[gpu] + network_ns + into));
                row[gpu] = 0.0;
                row
            })
            .collect();
        Ways { inside, out, into }
    }
}

fn arcs(unit: &Unit, ends: impl Fn(&crate::topology::unit::Link) -> (usize, usize)) -> Vec<Vec<(usize, f64)>> {
    let mut arcs = vec![Vec::new(); unit.nodes.len()];
    for link in &unit.links {
        let (from, to) = ends(link);
        arcs[from].push((to, link.latency_ns));
    }
    arcs
}

/// From any of the starts to every node; infinite where there is no way.
fn shortest(arcs: &[Vec<(usize, f64)>], starts: &[usize]) -> Vec<f64> {
    let mut best = vec![f64::INFINITY; arcs.len()];
    // Latencies are not negative, so that their bits are in order.
    let mut waiting: BinaryHeap<Reverse<(u64, usize)>> = starts.iter().map(|start| Reverse((0, *start))).collect();
    starts.iter().for_each(|start| best[*start] = 0.0);
    while let Some(Reverse((bits, node))) = waiting.pop() {
        let length = f64::from_bits(bits);
        if length > best[node] {
            continue;
        }
        for &(next, latency) in &arcs[node] {
            let longer = length + latency;
            if longer < best[next] {
                best[next] = longer;
                waiting.push(Reverse((longer.to_bits(), next)));
            }
        }
    }
    best
}
