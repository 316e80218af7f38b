//! Where GPUs, NICs and switches of a unit stand.

use super::canvas::Rect;
use crate::topology::unit::{NodeKind, Unit};

/// GPUs beyond these are told and not drawn.
pub const MOST_GPUS: usize = 96;
const GPU_HEIGHT: f64 = 30.0;
const NIC: f64 = 8.0;
const GAP: f64 = 6.0;

/// A place for a GPU, which may be missing.
pub struct Slot {
    pub at: Rect,
    /// None where the GPU with this number is missing.
    pub gpu: Option<usize>,
    pub number: usize,
    /// Below the switch instead of above.
    pub below: bool,
}

/// GPUs in rows, by hosts.
pub struct Rows {
    pub slots: Vec<Slot>,
    pub hosts: Vec<Rect>,
    /// Of all of it; the row above the middle ends at `upper`.
    pub width: f64,
    pub height: f64,
    pub upper: f64,
}

/// The number in a GPU's name, where all GPUs are `gpu0`, `gpu1`... with gaps; else its place.
pub fn numbers(unit: &Unit) -> Vec<usize> {
    let of = |gpu: usize| unit.nodes[gpu].name.strip_prefix("gpu")?.parse::<usize>().ok();
    let numbers: Option<Vec<usize>> = (0..unit.gpus()).map(of).collect();
    numbers
        .filter(|numbers| numbers.is_sorted_by(|a, b| a < b))
        .filter(|numbers| numbers.last().is_some_and(|last| *last < 2 * unit.gpus() + 4))
        .unwrap_or_else(|| (0..unit.gpus()).collect())
}

/// Places for all GPUs, and gaps for missing ones; in two rows around a middle of `middle` if `split`.
pub fn rows(unit: &Unit, x: f64, y: f64, split: bool, middle: f64) -> Rows {
    let numbers = numbers(unit);
    let all = numbers.last().map_or(0, |last| last + 1).min(MOST_GPUS);
    let per_host = if unit.gpus_per_host == 0 { all } else { unit.gpus_per_host }.clamp(1, 16);
    let hosts = all.div_ceil(per_host);
    let two = split && hosts > 1 && all > 16;
    let upper_hosts = if two { hosts.div_ceil(2) } else { hosts };
    let width = if all > 16 { 25.0 } else { 62.0 };
    let room_above = NIC + 10.0;
    let host_height = GPU_HEIGHT + room_above + 8.0;
    let host_width = per_host as f64 * (width + 2.0) + 6.0;
    let upper = y + host_height;
    let lower = upper + middle;
    let mut found = Rows {
        slots: Vec::new(),
        hosts: Vec::new(),
        width: upper_hosts as f64 * (host_width + GAP) - GAP,
        height: if two { 2.0 * host_height + middle } else { host_height + middle },
        upper,
    };
    for host in 0..hosts {
        let below = host >= upper_hosts;
        let column = if below { host - upper_hosts } else { host };
        let host_x = x + column as f64 * (host_width + GAP);
        let host_y = if below { lower } else { y };
        if unit.gpus_per_host > 0 {
            found.hosts.push(Rect { x: host_x, y: host_y, width: host_width, height: host_height });
        }
        for number in host * per_host..all.min((host + 1) * per_host) {
            let within = (number - host * per_host) as f64;
            let gpu_y = if below { host_y + 8.0 } else { host_y + room_above };
            let at = Rect { x: host_x + 4.0 + within * (width + 2.0), y: gpu_y, width, height: GPU_HEIGHT };
            let gpu = numbers.binary_search(&number).ok();
            found.slots.push(Slot { at, gpu, number, below });
        }
    }
    found
}

impl Rows {
    pub fn of_gpu(&self, gpu: usize) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.gpu == Some(gpu))
    }

    /// The place of a NIC beside its GPUs: a small square for one GPU's own, a bar over several. `turn` tells those of the same GPU
    /// apart. None where none of them is drawn.
    pub fn of_nic(&self, gpus: &[usize], turn: usize) -> Option<Rect> {
        let slots: Vec<&Slot> = gpus.iter().filter_map(|gpu| self.of_gpu(*gpu)).collect();
        let first = slots.first()?;
        let side = |slot: &Slot| if slot.below { slot.at.bottom() + 4.0 } else { slot.at.y - 4.0 - NIC };
        let shift = (turn % 3) as f64 * (NIC + 2.0);
        if slots.len() == 1 {
            return Some(Rect { x: first.at.x + 2.0 + shift, y: side(first), width: NIC, height: NIC });
        }
        let row: Vec<&&Slot> = slots.iter().filter(|slot| slot.below == first.below).collect();
        let left = row.iter().map(|slot| slot.at.x).fold(f64::INFINITY, f64::min);
        let right = row.iter().map(|slot| slot.at.right()).fold(0.0, f64::max);
        Some(Rect { x: left + 2.0 + shift, y: side(first), width: right - left - 4.0 - shift, height: NIC })
    }
}

/// Switches in levels: those that GPUs are joined to, those that these are joined to, and so on; the rest last.
pub fn levels(unit: &Unit) -> Vec<Vec<usize>> {
    let is_switch = |node: usize| matches!(unit.nodes[node].kind, NodeKind::Switch { .. });
    let joined = |a: usize, b: usize| {
        unit.links.iter().any(|link| (link.from, link.to) == (a, b) || (link.to, link.from) == (a, b))
    };
    let mut rest: Vec<usize> = (0..unit.nodes.len()).filter(|node| is_switch(*node)).collect();
    let mut levels: Vec<Vec<usize>> = Vec::new();
    let mut before: Vec<usize> = (0..unit.gpus()).collect();
    while !rest.is_empty() {
        let (near, far): (Vec<usize>, Vec<usize>) =
            rest.iter().partition(|switch| before.iter().any(|node| joined(*node, **switch)));
        if near.is_empty() {
            levels.push(far);
            break;
        }
        before.clone_from(&near);
        levels.push(near);
        rest = far;
    }
    levels
}
