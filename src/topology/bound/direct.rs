//! What everyone sending straight to its peers takes: where that is as little as a lower bound, the bound is tight.

use super::machine::Machine;
use crate::topology::unit::Unit;

/// Seconds per byte of a message, if all pairs that have one exchange them at once, each over its own [route], the messages of
/// one resource one after the other; None if a pair has no route.
///
/// [route]: crate::topology::Topology::route
pub fn all_to_all(machine: &Machine) -> Option<f64> {
    let gpus = machine.gpus() as f64;
    let mut slowest: f64 = 0.0;
    for (_, kind) in machine.used() {
        let unit = kind.unit;
        let others = |gpu: usize| gpus - (0..unit.gpus()).filter(|one| unit.path(gpu, *one).is_some()).count() as f64;
        let mut loads = vec![0.0; unit.links.len()];
        let mut add = |way: Option<&[usize]>, messages: f64| -> Option<()> {
            if messages > 0.0 {
                way?.iter().for_each(|link| loads[*link] += messages);
            }
            Some(())
        };
        for from in 0..unit.gpus() {
            for to in (0..unit.gpus()).filter(|to| *to != from) {
                add(unit.path(from, to).or(Some(&[])), 1.0)?;
            }
            let crossing = others(from);
            add(unit.way_out(from), crossing)?;
            add(unit.way_in(from), crossing)?;
        }
        slowest = slowest.max(busiest(unit, &loads));
        if let Some(spine) = machine.topology.network.unit_bytes_per_s {
            let in_unit = unit.gpus() as f64;
            slowest = slowest.max(in_unit * (gpus - in_unit) / spine);
        }
    }
    Some(slowest)
}

/// The same for every GPU sending to the next, the last to the first.
pub fn to_the_next(machine: &Machine) -> Option<f64> {
    let mut slowest: f64 = 0.0;
    for (_, kind) in machine.used() {
        let unit = kind.unit;
        let last = unit.gpus() - 1;
        let mut loads = vec![0.0; unit.links.len()];
        let mut add = |way: Option<&[usize]>| -> Option<()> {
            way?.iter().for_each(|link| loads[*link] += 1.0);
            Some(())
        };
        for gpu in 0..last {
            if unit.path(gpu, gpu + 1).is_some() {
                add(unit.path(gpu, gpu + 1))?;
            } else {
                add(unit.way_out(gpu))?;
                add(unit.way_in(gpu + 1))?;
            }
        }
        if machine.topology.units() == 1 && last > 0 && unit.path(last, 0).is_some() {
            add(unit.path(last, 0))?;
        } else if machine.topology.gpus() > 1 {
            add(unit.way_out(last))?;
            add(unit.way_in(0))?;
        }
        slowest = slowest.max(busiest(unit, &loads));
    }
    if let Some(spine) = machine.topology.network.unit_bytes_per_s.filter(|_| machine.topology.units() > 1) {
        slowest = slowest.max(1.0 / spine);
    }
    Some(slowest)
}

fn busiest(unit: &Unit, loads: &[f64]) -> f64 {
    let links = unit.links.iter().zip(loads).map(|(link, load)| load / link.bytes_per_s);
    let limits =
        unit.limits.iter().map(|limit| limit.links.iter().map(|link| loads[*link]).sum::<f64>() / limit.bytes_per_s);
    links.chain(limits).fold(0.0, f64::max)
}
