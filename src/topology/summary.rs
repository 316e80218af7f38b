//! A unit's links in words, like ones in one line.

use super::fabric::Gpu;
use super::unit::{LinkClass, NodeKind, Unit};
use std::collections::BTreeMap;

/// Cores of a host meet in its memory.
fn noun(kind: NodeKind, gpu: &Gpu) -> &'static str {
    match kind {
        NodeKind::Gpu => gpu.noun(),
        NodeKind::Switch { .. } if gpu.is_core() => "memory",
        NodeKind::Switch { reduces: true } => "switch that adds up",
        NodeKind::Switch { reduces: false } => "switch",
        NodeKind::Nic => "NIC",
    }
}

/// A rate as people say it.
pub fn gb_per_s(bytes_per_s: f64) -> String {
    let gb_per_s = bytes_per_s / 1e9;
    let digits = if gb_per_s >= 100.0 { 1 } else { 3 };
    format!("{} GB/s", trimmed(gb_per_s, digits))
}

pub fn us(latency_ns: f64) -> String {
    format!("{} us", trimmed(latency_ns / 1e3, 3))
}

fn trimmed(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// What links and limits a unit of such GPUs has: what they join, how many, how fast. Two directions that are alike are one line.
pub fn links(unit: &Unit, gpu: &Gpu) -> Vec<String> {
    type Key = (LinkClass, &'static str, &'static str, u64, u64);
    let mut alike: BTreeMap<Key, usize> = BTreeMap::new();
    for link in &unit.links {
        let [from, to] = [link.from, link.to].map(|node| noun(unit.nodes[node].kind, gpu));
        *alike.entry((link.class, from, to, link.bytes_per_s.to_bits(), link.latency_ns.to_bits())).or_default() += 1;
    }
    let mut lines = Vec::new();
    while let Some(((class, from, to, rate, latency), count)) = alike.pop_first() {
        let back = (class, to, from, rate, latency);
        let both_ways = from != to && alike.get(&back) == Some(&count);
        if both_ways {
            alike.remove(&back);
        }
        let arrow = if both_ways { "<->" } else { "->" };
        let rate = gb_per_s(f64::from_bits(rate));
        let latency = match f64::from_bits(latency) {
            0.0 => String::new(),
            latency_ns => format!(", {}", us(latency_ns)),
        };
        let each = if both_ways { " each way" } else { "" };
        // A NIC at an end says it, and so does the memory of a host.
        let is_said = class == LinkClass::Nic || gpu.is_core();
        let class = if is_said { String::new() } else { format!("{}, ", class.name()) };
        lines.push(format!("{count} x {class}{from} {arrow} {to}: {rate}{each}{latency}"));
    }
    let mut shared: BTreeMap<(u64, usize), usize> = BTreeMap::new();
    for limit in &unit.limits {
        *shared.entry((limit.bytes_per_s.to_bits(), limit.links.len())).or_default() += 1;
    }
    lines.extend(shared.into_iter().map(|((rate, links), count)| {
        let rate = gb_per_s(f64::from_bits(rate));
        if links == 1 {
            format!("{count} x a link with no more than {rate}")
        } else {
            format!("{count} x {links} links that share {rate}")
        }
    }));
    lines
}
