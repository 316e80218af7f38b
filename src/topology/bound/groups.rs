//! Groups of GPUs that share a way out: single GPUs, those of a switch, a host, a domain, a unit.

use super::graph::Classes;
use super::machine::{Machine, Single, Whole};
use super::maxflow::UNLIMITED;
use super::words;
use crate::topology::unit::{NodeKind, Unit};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Groups that are alike, in units of one kind.
#[derive(Clone, Debug)]
pub struct Group {
    /// GPUs in each, and how many such groups the machine has.
    pub gpus: u64,
    pub count: u64,
    /// Bytes per second to and from all GPUs outside.
    pub out: i128,
    pub into: i128,
    pub cut: String,
}

/// How a unit's GPUs can be divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Division {
    Gpus,
    Switches,
    Hosts,
    Domains,
    Units,
}

impl Division {
    pub const ALL: [Division; 5] =
        [Division::Gpus, Division::Switches, Division::Hosts, Division::Domains, Division::Units];

    fn parts(self, unit: &Unit) -> Vec<Vec<usize>> {
        let gpus = unit.gpus();
        match self {
            Division::Gpus => (0..gpus).map(|gpu| vec![gpu]).collect(),
            Division::Switches => by_switch(unit),
            Division::Hosts if unit.gpus_per_host == 0 => Division::Units.parts(unit),
            Division::Hosts => {
                (0..gpus).collect::<Vec<_>>().chunks(unit.gpus_per_host.clamp(1, gpus)).map(<[usize]>::to_vec).collect()
            }
            Division::Domains => {
                let domains = unit.domains();
                let count = domains.iter().max().map_or(0, |last| last + 1);
                (0..count).map(|domain| (0..gpus).filter(|gpu| domains[*gpu] == domain).collect()).collect()
            }
            Division::Units => vec![(0..gpus).collect()],
        }
    }
}

/// The GPUs at each switch, those of no switch by themselves; all of them together where switches share GPUs.
fn by_switch(unit: &Unit) -> Vec<Vec<usize>> {
    let mut parts: Vec<Vec<usize>> = Vec::new();
    let mut taken = vec![false; unit.gpus()];
    let switches = (0..unit.nodes.len()).filter(|node| matches!(unit.nodes[*node].kind, NodeKind::Switch { .. }));
    for switch in switches {
        let joined = unit.links.iter().filter(|link| link.to == switch && link.from < unit.gpus());
        let members: Vec<usize> = joined.map(|link| link.from).collect();
        if members.iter().any(|gpu| taken[*gpu]) {
            return Division::Units.parts(unit);
        }
        members.iter().for_each(|gpu| taken[*gpu] = true);
        if !members.is_empty() {
            parts.push(members);
        }
    }
    parts.extend((0..unit.gpus()).filter(|gpu| !taken[*gpu]).map(|gpu| vec![gpu]));
    parts
}

/// Divides every unit. Domains whose switch adds up are kept whole if `in_switch` is so: within them nothing need be sent twice.
pub fn partition(machine: &Machine, division: Division, in_switch: bool) -> Rc<Vec<Group>> {
    let adds = in_switch && machine.used().any(|(_, kind)| !adding_domains(kind.unit).is_empty());
    let known = machine.divided.borrow().get(&(division, adds)).cloned();
    known.unwrap_or_else(|| {
        let groups = Rc::new(divide(machine, division, adds));
        machine.divided.borrow_mut().insert((division, adds), groups.clone());
        groups
    })
}

fn divide(machine: &Machine, division: Division, in_switch: bool) -> Vec<Group> {
    let mut groups = Vec::new();
    for (index, kind) in machine.used() {
        let adding = if in_switch { adding_domains(kind.unit) } else { Vec::new() };
        if division == Division::Gpus && adding.is_empty() {
            let of = |one: &Single| group(machine, index, &[one.gpu], &one.classes, one.count * kind.count as u64);
            groups.extend(kind.singles().iter().map(of));
            continue;
        }
        let parts = merged(division.parts(kind.unit), &adding);
        // Every part of a class of parts has the same ways.
        let mut alike: BTreeMap<Classes, (Vec<usize>, u64)> = BTreeMap::new();
        for part in parts {
            let classes = kind.graph.classes(&[&part]);
            alike.entry(classes).or_insert((part, 0)).1 += 1;
        }
        for (classes, (part, count)) in alike {
            groups.push(group(machine, index, &part, &classes, count * kind.count as u64));
        }
    }
    groups
}

/// Domains in which a switch adds up what passes it, as sets of GPUs.
fn adding_domains(unit: &Unit) -> Vec<Vec<usize>> {
    let adds = |link: &&crate::topology::unit::Link| unit.nodes[link.to].kind == NodeKind::Switch { reduces: true };
    let adding: Vec<u32> = unit
        .links
        .iter()
        .filter(adds)
        .filter(|link| link.from < unit.gpus())
        .map(|link| unit.domains()[link.from])
        .collect();
    Division::Domains.parts(unit).into_iter().filter(|part| adding.contains(&unit.domains()[part[0]])).collect()
}

/// The parts, those that meet one of the `whole` sets united with it.
fn merged(parts: Vec<Vec<usize>>, whole: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut united = parts;
    for set in whole {
        let (meeting, apart): (Vec<_>, Vec<_>) =
            united.into_iter().partition(|part| part.iter().any(|gpu| set.contains(gpu)));
        let mut all: Vec<usize> = meeting.into_iter().flatten().collect();
        all.sort_unstable();
        united = apart;
        united.push(all);
    }
    united
}

fn group(machine: &Machine, kind: usize, part: &[usize], classes: &Classes, count: u64) -> Group {
    let ways = |whole: &Whole| {
        let inside: Vec<usize> = classes.marked[0].iter().map(|class| whole.first[0] + class).collect();
        between(whole, &inside)
    };
    let whole = machine.whole(&[(kind, classes)]);
    let (out, side) = ways(&whole);
    let cut = words::cut(machine, kind, part[0], &whole, &side);
    let (into, _) = ways(&whole.reversed());
    Group { gpus: part.len() as u64, count, out, into, cut }
}

/// The largest flow from some nodes to all GPUs elsewhere, and the side of the cut on which they are.
fn between(whole: &Whole, inside: &[usize]) -> (i128, Vec<bool>) {
    let (mut flow, source, sink) = whole.flow(1);
    inside.iter().for_each(|node| flow.add(source, *node, UNLIMITED));
    for (node, _) in whole.nodes.iter().enumerate().filter(|(node, one)| one.gpus > 0 && !inside.contains(node)) {
        flow.add(node, sink, UNLIMITED);
    }
    let sent = flow.send(source, sink, UNLIMITED);
    let mut side = flow.reached(source);
    side.truncate(whole.nodes.len());
    (sent, side)
}

/// The smallest flow from the machine's first GPU to any other, and what limits it; from the others to it if `reversed`.
pub fn from_root(machine: &Machine, reversed: bool) -> (i128, String) {
    let root = machine.topology.runs[0].kind;
    let direct = |whole: Whole| if reversed { whole.reversed() } else { whole };
    let mut found: Vec<(i128, String)> = Vec::new();
    let mut ask = |kind: usize, gpu: usize, whole: Whole, source: usize, target: usize| {
        let (mut flow, _, _) = whole.flow(1);
        let sent = flow.send(source, target, UNLIMITED);
        let mut side = flow.reached(source);
        side.truncate(whole.nodes.len());
        found.push((sent, words::cut(machine, kind, gpu, &whole, &side)));
    };
    let graph = &machine.kinds[root].graph;
    for gpu in 1..graph.gpus {
        let classes = graph.classes(&[&[0], &[gpu]]);
        let whole = direct(machine.whole(&[(root, &classes)]));
        let first = whole.first[0];
        ask(root, gpu, whole, first + classes.marked[0][0], first + classes.marked[1][0]);
    }
    let from = graph.classes(&[&[0]]);
    for (index, kind) in machine.used() {
        if index == root && kind.count == 1 {
            continue;
        }
        for one in kind.singles() {
            let whole = direct(machine.whole(&[(index, &one.classes), (root, &from)]));
            let target = whole.first[0] + one.classes.marked[0][0];
            let source = whole.first[1] + from.marked[0][0];
            ask(index, one.gpu, whole, source, target);
        }
    }
    found.into_iter().min_by_key(|(sent, _)| *sent).expect("there is another GPU")
}
