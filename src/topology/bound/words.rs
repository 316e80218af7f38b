//! Cuts in words.

use super::graph::Port;
use super::machine::{Machine, Whole};
use crate::topology::unit::LinkClass;
use std::collections::BTreeSet;

/// What two sides of the machine are joined by, named by the side with fewer GPUs: "the NVLink port of one GPU".
///
/// `gpu` of a unit of `kind` is the one that was told apart, in the first unit told apart.
pub fn cut(machine: &Machine, kind: usize, gpu: usize, whole: &Whole, side: &[bool]) -> String {
    let crossing =
        whole.arcs.iter().filter(|(from, to, _, capacity)| side[*from] && !side[*to] && *capacity != Some(0));
    let ports: BTreeSet<Port> = crossing.map(|(_, _, port, _)| *port).collect();
    let inside = whole.gpus(side);
    let few_are_inside = 2 * inside <= machine.gpus();
    let gpus = if few_are_inside { inside } else { machine.gpus() - inside };
    let of_first = |(node, one): (usize, &super::machine::WholeNode)| {
        (one.special == Some(0) && side[node] == few_are_inside).then_some(one.gpus)
    };
    let here: u64 = whole.nodes.iter().enumerate().filter_map(of_first).sum();
    let unit = machine.kinds[kind].unit;
    let in_unit = unit.gpus() as u64;
    let many_units = machine.topology.units() > 1;
    let unit_word =
        if machine.used().count() > 1 { format!("one unit `{}`", unit.name) } else { "one unit".to_owned() };
    let noun = machine.topology.gpu.noun();
    let (one, group) = if gpus == 1 && here == 1 {
        let name = &unit.nodes[gpu].name;
        let which = match (machine.all_alike(), machine.used().count()) {
            (true, _) => format!("one {noun}"),
            (false, 1) => format!("`{name}` of a unit"),
            (false, _) => format!("`{name}` of a unit `{}`", unit.name),
        };
        (true, which)
    } else if gpus == here && gpus == in_unit && many_units {
        (false, unit_word)
    } else if gpus == here && many_units {
        (false, format!("{gpus} {noun}s of {unit_word}"))
    } else if gpus == 1 {
        (true, format!("one {noun}"))
    } else {
        (false, format!("{gpus} {noun}s"))
    };
    let names: Vec<String> = ports.into_iter().filter_map(|port| name(port, one)).collect();
    match names.split_last() {
        None => format!("nothing joins {group} to the rest"),
        Some((last, [])) => format!("{last} of {group}"),
        Some((last, others)) => format!("{} and {last} of {group}", others.join(", ")),
    }
}

fn name(port: Port, one: bool) -> Option<String> {
    let told = match (port, one) {
        (Port::Free, _) => return None,
        (Port::Spine, _) => "the way into the spine",
        (Port::Link(LinkClass::Nic), true) => "the NIC",
        (Port::Link(LinkClass::Nic), false) => "all NICs",
        (Port::Link(LinkClass::NvLink), true) => "the NVLink port",
        (Port::Link(LinkClass::NvLink), false) => "all NVLink ports",
        (Port::Link(LinkClass::Host), true) => "the host link",
        (Port::Link(LinkClass::Host), false) => "all host links",
        (Port::Link(LinkClass::Network), _) => "the network links",
    };
    Some(told.to_owned())
}
