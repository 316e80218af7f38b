//! One unit, as a box.

use super::canvas::{Anchor, Canvas, Rect};
use super::place::{self, Rows};
use super::thousands;
use crate::topology::summary;
use crate::topology::unit::{Link, LinkClass, NodeKind, Unit};
use std::collections::HashMap;

const PADDING: f64 = 14.0;
const HEAD: f64 = 30.0;
/// Between GPUs and the switch that joins all of them, its height between.
const WIRES: f64 = 16.0;
const BAR: f64 = 26.0;
/// Between levels of switches.
const LEVEL: f64 = 64.0;
/// Single links that are drawn; more would be a blot.
const MOST_LINES: usize = 1500;

/// Draws `count` units as one with others behind it, and returns the box.
pub fn draw(canvas: &mut Canvas, unit: &Unit, count: usize, x: f64, y: f64) -> Rect {
    let star = star_of(unit);
    let levels = place::levels(unit);
    let middle = match star {
        Some(_) => 2.0 * WIRES + BAR,
        None => LEVEL * levels.len().max(usize::from(!unit.links.is_empty())) as f64,
    };
    let rows = place::rows(unit, x + PADDING, y + HEAD + PADDING, star.is_some(), middle);
    let title = format!("{} x {}", thousands(count), unit.name);
    let least = 9.0 * title.chars().count() as f64;
    let stray: Vec<usize> = strays(unit);
    let stray_row = if stray.is_empty() { 0.0 } else { 26.0 };
    let frame = Rect {
        x,
        y,
        width: rows.width.max(least) + 2.0 * PADDING,
        height: HEAD + rows.height + 2.0 * PADDING + stray_row,
    };
    for behind in (1..count.min(4)).rev() {
        let shift = 5.0 * behind as f64;
        canvas.rect("behind", Rect { x: frame.x + shift, y: frame.y + shift, ..frame }, "");
    }
    canvas.rect("unit", frame, &title);
    canvas.text("head", x + PADDING, y + 21.0, Anchor::Start, &title);
    rows.hosts.iter().for_each(|host| canvas.rect("host", *host, "one host"));
    let mut places: HashMap<usize, Rect> = HashMap::new();
    place_nics(unit, &rows, &mut places);
    for (index, node) in stray.iter().enumerate() {
        let at = Rect { x: x + PADDING + 74.0 * index as f64, y: frame.bottom() - 24.0, width: 66.0, height: 14.0 };
        if at.right() <= frame.right() {
            places.insert(*node, at);
        }
    }
    places.extend(rows.slots.iter().filter_map(|slot| Some((slot.gpu?, slot.at))));
    match star {
        Some(switch) => {
            let at = Rect { x: x + PADDING, y: rows.upper + WIRES, width: rows.width, height: BAR };
            places.insert(switch, at);
        }
        None => place_switches(&rows, &levels, &mut places),
    }
    draw_links(canvas, unit, &places, star);
    draw_nodes(canvas, unit, &rows, &places);
    let hidden = unit.gpus().saturating_sub(rows.slots.iter().filter(|slot| slot.gpu.is_some()).count());
    if hidden > 0 {
        let told = format!("and {} more GPUs", thousands(hidden));
        canvas.text("note", frame.x + PADDING + least + 20.0, y + 21.0, Anchor::Start, &told);
    }
    let shift = 5.0 * (count.min(4) - 1) as f64;
    Rect { width: frame.width + shift, height: frame.height + shift, ..frame }
}

/// The only switch, if it joins all GPUs and nothing but NICs stands beside it.
fn star_of(unit: &Unit) -> Option<usize> {
    let gpus = unit.gpus();
    let mut switches =
        (gpus..unit.nodes.len()).filter(|node| matches!(unit.nodes[*node].kind, NodeKind::Switch { .. }));
    let (Some(switch), None) = (switches.next(), switches.next()) else { return None };
    let joined = unit.links.iter().filter(|link| link.from < gpus && link.to == switch).count();
    let others = unit.links.iter().any(|link| link.from < gpus && link.to < gpus);
    (joined == gpus && !others).then_some(switch)
}

fn gpus_of(unit: &Unit, node: usize) -> Vec<usize> {
    let ends = unit.links.iter().filter_map(|link| match () {
        () if link.to == node => Some(link.from),
        () if link.from == node => Some(link.to),
        () => None,
    });
    let mut gpus: Vec<usize> = ends.filter(|end| *end < unit.gpus()).collect();
    gpus.sort_unstable();
    gpus.dedup();
    gpus
}

/// NICs that no GPU is joined to.
fn strays(unit: &Unit) -> Vec<usize> {
    let is_nic = |node: &usize| unit.nodes[*node].kind == NodeKind::Nic;
    (0..unit.nodes.len()).filter(is_nic).filter(|node| gpus_of(unit, *node).is_empty()).collect()
}

fn place_nics(unit: &Unit, rows: &Rows, places: &mut HashMap<usize, Rect>) {
    let mut turns: HashMap<Vec<usize>, usize> = HashMap::new();
    for node in (0..unit.nodes.len()).filter(|node| unit.nodes[*node].kind == NodeKind::Nic) {
        let gpus = gpus_of(unit, node);
        let turn = turns.entry(gpus.clone()).or_insert(0);
        if let Some(at) = rows.of_nic(&gpus, *turn) {
            places.insert(node, at);
        }
        *turn += 1;
    }
}

/// Each level in a row below the one before, every switch under what it joins.
fn place_switches(rows: &Rows, levels: &[Vec<usize>], places: &mut HashMap<usize, Rect>) {
    let left = rows.slots.first().map_or(0.0, |slot| slot.at.x);
    for (level, switches) in levels.iter().enumerate() {
        let y = rows.upper + LEVEL * level as f64 + LEVEL - BAR - 8.0;
        let share = rows.width / switches.len() as f64;
        for (turn, switch) in switches.iter().enumerate() {
            let at = Rect { x: left + share * turn as f64, y, width: (share - 8.0).max(4.0), height: BAR };
            places.insert(*switch, at);
        }
    }
}

fn style(class: LinkClass) -> &'static str {
    match class {
        LinkClass::NvLink => "nvlink",
        LinkClass::Host => "hostlink",
        LinkClass::Nic => "niclink",
        LinkClass::Network => "netlink",
    }
}

/// A link each way is one line. Links at less than the rate of their like are drawn in another colour.
fn draw_links(canvas: &mut Canvas, unit: &Unit, places: &HashMap<usize, Rect>, star: Option<usize>) {
    let full = full_rates(unit);
    let mut drawn: HashMap<(usize, usize), ()> = HashMap::new();
    for link in &unit.links {
        let is_slow = link.bytes_per_s < full[&key(unit, link)] * 0.999;
        let back = drawn.insert((link.from, link.to), ()).is_some() || drawn.contains_key(&(link.to, link.from));
        let (Some(from), Some(to)) = (places.get(&link.from), places.get(&link.to)) else { continue };
        if (back && !is_slow) || drawn.len() > MOST_LINES {
            continue;
        }
        let class = if is_slow { "slow" } else { style(link.class) };
        let [start, end] = [link.from, link.to].map(|node| &unit.nodes[node].name);
        let title =
            format!("{start} -> {end}: {}, {}", summary::gb_per_s(link.bytes_per_s), summary::us(link.latency_ns));
        let width = if is_slow { 2.5 } else { 1.2 };
        if link.from < unit.gpus() && link.to < unit.gpus() {
            let depth = 14.0 + 0.16 * (from.middle() - to.middle()).abs();
            canvas.bow(
                class,
                (from.middle(), from.bottom()),
                (to.middle(), to.bottom()),
                depth.min(LEVEL - 12.0),
                &title,
            );
            continue;
        }
        let (a, b) = ends(*from, *to, star.is_some_and(|switch| link.from == switch || link.to == switch));
        canvas.line(class, a, b, width, &title);
    }
}

/// What a link joins: links of the same key are alike unless something is wrong with one.
fn key(unit: &Unit, link: &Link) -> (LinkClass, u8, u8) {
    let place = |node: usize| match unit.nodes[node].kind {
        NodeKind::Gpu => 0,
        NodeKind::Switch { .. } => 1,
        NodeKind::Nic => 2,
    };
    let (a, b) = (place(link.from), place(link.to));
    (link.class, a.min(b), a.max(b))
}

/// The rate that most links of a key have.
fn full_rates(unit: &Unit) -> HashMap<(LinkClass, u8, u8), f64> {
    let mut counts: HashMap<(LinkClass, u8, u8), HashMap<u64, usize>> = HashMap::new();
    for link in &unit.links {
        *counts.entry(key(unit, link)).or_default().entry(link.bytes_per_s.to_bits()).or_default() += 1;
    }
    let most = |rates: HashMap<u64, usize>| {
        let rates = rates.into_iter().max_by(|a, b| {
            (a.1, f64::from_bits(a.0)).partial_cmp(&(b.1, f64::from_bits(b.0))).expect("rates are numbers")
        });
        f64::from_bits(rates.expect("a key has a link").0)
    };
    counts.into_iter().map(|(key, rates)| (key, most(rates))).collect()
}

/// Where a line between two boxes starts and ends: straight up and down where one is wide enough.
fn ends(from: Rect, to: Rect, straight: bool) -> ((f64, f64), (f64, f64)) {
    let (narrow, wide) = if from.width <= to.width { (from, to) } else { (to, from) };
    let x = narrow.middle();
    let wide_x = if straight || (wide.x..wide.right()).contains(&x) { x } else { wide.middle() };
    let down = narrow.across() < wide.across();
    let edge = |rect: Rect, bottom: bool| if bottom { rect.bottom() } else { rect.y };
    ((x, edge(narrow, down)), (wide_x, edge(wide, !down)))
}

fn draw_nodes(canvas: &mut Canvas, unit: &Unit, rows: &Rows, places: &HashMap<usize, Rect>) {
    for slot in &rows.slots {
        let label = match slot.gpu {
            Some(gpu) if slot.at.width > 40.0 => unit.nodes[gpu].name.chars().take(8).collect(),
            _ => slot.number.to_string(),
        };
        let (class, text, title) = match slot.gpu {
            Some(gpu) => ("gpu", "small inverse", unit.nodes[gpu].name.clone()),
            None => ("gone", "small note", format!("GPU {} is missing", slot.number)),
        };
        canvas.rect(class, slot.at, &title);
        canvas.text(text, slot.at.middle(), slot.at.across() + 4.0, Anchor::Middle, &label);
    }
    let mut others: Vec<(&usize, &Rect)> = places.iter().filter(|(node, _)| **node >= unit.gpus()).collect();
    others.sort_by_key(|(node, _)| **node);
    for (&node, &at) in others {
        let name = &unit.nodes[node].name;
        let label = match unit.nodes[node].kind {
            NodeKind::Nic => {
                canvas.rect("nic", at, name);
                if at.width > 60.0 && at.height > 10.0 { name.clone() } else { continue }
            }
            NodeKind::Switch { reduces } => {
                canvas.rect("switch", at, name);
                let (short, long) = switch_label(unit, node, reduces);
                if letters(at) >= long.chars().count() { long } else { short }
            }
            NodeKind::Gpu => continue,
        };
        let fits: String = label.chars().take(letters(at)).collect();
        canvas.text("small inverse", at.middle(), at.across() + 4.0, Anchor::Middle, &fits);
    }
}

/// How many small letters have room.
fn letters(at: Rect) -> usize {
    (at.width / 6.0) as usize
}

/// With and without what it can do.
fn switch_label(unit: &Unit, node: usize, reduces: bool) -> (String, String) {
    let into = || unit.links.iter().filter(|link| link.to == node);
    let from_gpus = into().filter(|link| link.from < unit.gpus()).count();
    let (count, of_gpus) = if from_gpus > 0 { (from_gpus, true) } else { (into().count(), false) };
    let counted = into().filter(|link| !of_gpus || link.from < unit.gpus());
    let most = counted.map(|link| link.bytes_per_s).fold(0.0, f64::max);
    let short = format!("{}: {count} x {}", unit.nodes[node].name, summary::gb_per_s(most));
    let adds = if reduces { ", adds up and multicasts" } else { "" };
    (short.clone(), format!("{short}{adds}"))
}
