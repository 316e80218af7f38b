//! A machine that trees can fill: every limit shared out among its links, once and for all.
//!
//! Packed trees reach the rate that cuts allow if every GPU, switch and NIC can send as much as it receives (a switch that does not
//! multicast can then be replaced by links between what it joins). Shares of a limit make such a machine of most real ones, and what
//! the trees reach on it, they reach on the real one.

use crate::topology::fabric::Topology;
use crate::topology::unit::{NodeKind, Unit};

/// The machine without limits and spine, its links at their share of these; None if somewhere more comes in than can go out, or less.
pub fn trimmed(topology: &Topology) -> Option<Topology> {
    let mut trimmed = topology.clone();
    for unit in &mut trimmed.kinds {
        share_limits(unit);
        if let Some(spine) = topology.network.unit_bytes_per_s {
            share_spine(unit, spine);
        }
        if !is_balanced(unit) {
            return None;
        }
    }
    trimmed.network.unit_bytes_per_s = None;
    Some(trimmed)
}

fn share_limits(unit: &mut Unit) {
    let shares: Vec<f64> = unit
        .limits
        .iter()
        .map(|limit| {
            let all: f64 = limit.links.iter().map(|link| unit.links[*link].bytes_per_s).sum();
            (limit.bytes_per_s / all).min(1.0)
        })
        .collect();
    let mut least = vec![1.0; unit.links.len()];
    for (limit, share) in unit.limits.iter().zip(shares) {
        limit.links.iter().for_each(|link| least[*link] = f64::min(least[*link], share));
    }
    unit.links.iter_mut().zip(least).for_each(|(link, share)| link.bytes_per_s *= share);
    unit.limits.clear();
}

fn share_spine(unit: &mut Unit, spine: f64) {
    let is_nic: Vec<bool> = unit.nodes.iter().map(|node| node.kind == NodeKind::Nic).collect();
    let all: f64 = unit.links.iter().filter(|link| is_nic[link.to]).map(|link| link.bytes_per_s).sum();
    let share = if all > spine { spine / all } else { 1.0 };
    let of_nics = unit.links.iter_mut().filter(|link| is_nic[link.to] || is_nic[link.from]);
    of_nics.for_each(|link| link.bytes_per_s *= share);
}

/// Whether every node can send as much as it can receive.
fn is_balanced(unit: &Unit) -> bool {
    let mut excess = vec![0.0; unit.nodes.len()];
    let mut all = vec![0.0; unit.nodes.len()];
    for link in &unit.links {
        excess[link.to] += link.bytes_per_s;
        excess[link.from] -= link.bytes_per_s;
        all[link.to] += link.bytes_per_s;
    }
    excess.iter().zip(all).all(|(excess, all)| f64::abs(*excess) <= 1e-9 * all)
}
