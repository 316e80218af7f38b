//! From a topology to a file.

use super::recognise;
use crate::topology::fabric::{Gaps, Network, Reached, Topology};
use crate::topology::outline::{Joins, Outline, Star, gpu_names};
use crate::topology::unit::LinkClass;
use std::fmt::{Display, Write};

/// A machine as [`parse`](super::parse) reads it.
pub fn print(topology: &Topology) -> String {
    let mut text = format!("name = {}\n\n[gpu]\nmodel = {}\n", quoted(&topology.name), quoted(&topology.gpu.model));
    line(&mut text, rate("memory_", topology.gpu.memory_bytes_per_s));
    network(&mut text, &topology.network);
    let Reached { domain, switch, network } = topology.reached;
    if topology.reached != Reached::default() {
        text.push_str("\n[reached]\n");
        for (key, share) in [("domain", domain), ("switch", switch), ("network", network)] {
            line(&mut text, pair(key, number(share)));
        }
    }
    let Gaps { domain_ns, network_ns } = topology.gaps;
    if topology.gaps != Gaps::default() {
        text.push_str("\n[gap]\n");
        line(&mut text, time("domain", domain_ns));
        line(&mut text, time("network", network_ns));
    }
    let mut known: Vec<usize> = Vec::new();
    for run in &topology.runs {
        text.push_str("\n[[unit]]\n");
        if known.contains(&run.kind) {
            line(&mut text, pair("like", quoted(&topology.kinds[run.kind].name)));
            line(&mut text, pair("count", run.count));
        } else {
            known.push(run.kind);
            unit(&mut text, &recognise::outline(&topology.kinds[run.kind]), run.count);
        }
    }
    for constant in &topology.constants {
        text.push_str("\n[[constant]]\n");
        line(&mut text, pair("name", quoted(&constant.name)));
        line(&mut text, pair("value", number(constant.quantity.value)));
        line(&mut text, pair("unit", quoted(&constant.unit)));
        line(&mut text, pair("origin", quoted(constant.quantity.origin.name())));
        line(&mut text, pair("source", quoted(&constant.quantity.source)));
    }
    text
}

fn network(text: &mut String, network: &Network) {
    let Network { name, latency_ns, unit_bytes_per_s } = network;
    if (name.as_str(), *latency_ns, *unit_bytes_per_s) == ("none", 0.0, None) {
        return;
    }
    text.push_str("\n[network]\n");
    line(text, pair("name", quoted(name)));
    line(text, latency(*latency_ns));
    if let Some(bytes_per_s) = unit_bytes_per_s {
        line(text, rate("unit_", *bytes_per_s));
    }
}

fn unit(text: &mut String, outline: &Outline, count: usize) {
    line(text, pair("name", quoted(&outline.name)));
    line(text, pair("count", count));
    if outline.gpus == gpu_names(outline.gpus.len()) {
        line(text, pair("gpus", outline.gpus.len()));
    } else {
        line(text, pair("gpus", list(outline.gpus.iter().map(|name| quoted(name)))));
    }
    if !outline.missing.is_empty() {
        line(text, pair("missing", list(&outline.missing)));
    }
    if outline.gpus_per_host > 0 {
        line(text, pair("gpus_per_host", outline.gpus_per_host));
    }
    let links = outline.links.iter().map(|wire| {
        let mut keys = vec![pair("from", quoted(&wire.from)), pair("to", quoted(&wire.to))];
        keys.extend(wire.both_ways.then(|| pair("both_ways", true)));
        keys.extend((wire.class != LinkClass::NvLink).then(|| class(wire.class)));
        keys.extend([rate("", wire.bytes_per_s), latency(wire.latency_ns)]);
        keys
    });
    inline_tables(text, "link", links);
    let limits = outline.limits.iter().map(|limit| {
        let links = list(limit.links.iter().map(|link| quoted(link)));
        vec![pair("name", quoted(&limit.name)), rate("", limit.bytes_per_s), pair("links", links)]
    });
    inline_tables(text, "limit", limits);
    for (header, stars, usual) in
        [("switch", &outline.switches, LinkClass::NvLink), ("nic", &outline.nics, LinkClass::Nic)]
    {
        for one in stars {
            let _ = writeln!(text, "\n[[unit.{header}]]");
            star(text, one, usual);
        }
    }
}

fn star(text: &mut String, star: &Star, usual: LinkClass) {
    line(text, pair("name", quoted(&star.name)));
    match &star.joins {
        Joins::AllGpus => {}
        Joins::Every(size) => line(text, pair("every", size)),
        Joins::Named(names) => line(text, pair("joins", list(names.iter().map(|name| quoted(name))))),
    }
    if star.cards > 1 {
        line(text, pair("cards", star.cards));
    }
    if star.joins != Joins::Named(Vec::new()) {
        line(text, rate("", star.bytes_per_s));
        line(text, latency(star.latency_ns));
        if star.class != usual {
            line(text, class(star.class));
        }
    }
    if let Some(bytes_per_s) = star.shared_bytes_per_s {
        line(text, rate("shared_", bytes_per_s));
    }
    if star.reduces {
        line(text, pair("reduces", true));
    }
}

fn inline_tables(text: &mut String, key: &str, tables: impl Iterator<Item = Vec<String>>) {
    let rows: Vec<String> = tables.map(|keys| format!("  {{ {} }},\n", keys.join(", "))).collect();
    if !rows.is_empty() {
        let _ = writeln!(text, "{key} = [\n{}]", rows.concat());
    }
}

fn line(text: &mut String, pair: String) {
    text.push_str(&pair);
    text.push('\n');
}

fn pair(key: &str, value: impl Display) -> String {
    format!("{key} = {value}")
}

fn class(class: LinkClass) -> String {
    pair("class", quoted(&class.name().to_ascii_lowercase()))
}

/// In GB/s where that is exact.
fn rate(prefix: &str, bytes_per_s: f64) -> String {
    let gb_per_s = bytes_per_s / 1e9;
    if gb_per_s * 1e9 == bytes_per_s {
        pair(&format!("{prefix}gb_per_s"), number(gb_per_s))
    } else {
        pair(&format!("{prefix}bytes_per_s"), number(bytes_per_s))
    }
}

/// In microseconds where that is exact.
fn latency(latency_ns: f64) -> String {
    time("latency", latency_ns)
}

fn time(key: &str, ns: f64) -> String {
    let us = ns / 1e3;
    if us * 1e3 == ns { pair(&format!("{key}_us"), number(us)) } else { pair(&format!("{key}_ns"), number(ns)) }
}

/// The shortest digits that mean the same number.
fn number(value: f64) -> String {
    if value != 0.0 && !(1e-5..1e15).contains(&value.abs()) { format!("{value:e}") } else { value.to_string() }
}

fn list(items: impl IntoIterator<Item = impl Display>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("[{}]", items.join(", "))
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", c as u32);
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
