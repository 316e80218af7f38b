//! How fast a collective can be at best on a machine, whatever the algorithm.
//!
//! Bytes must leave and enter every group of GPUs over the links that join it to the rest; how many bytes is known from what the
//! collective promises. The slowest group gives a time below which nothing can be; beside it stands the latency of the farthest
//! pair that must hear of each other. Rates are those of the data sheet.
//!
//! With `S` bytes (as nccl-tests counts), `N` GPUs, and for a group of `n` GPUs a way out of `C` bytes per second:
//!
//! | collective | each group | all groups of a division into `g` |
//! |---|---|---|
//! | all_gather, reduce_scatter | `S/N · n / C`, the most over *all* groups, found by flows | `S (g-1) / ΣC` |
//! | all_reduce | `S / C` | `2 S (g-1) / ΣC` |
//! | all_to_all | `S/N · n (N-n) / C` | |
//! | broadcast, reduce | `S / C`, the narrowest way from or to the root | `S (g-1) / ΣC` |
//! | gather, scatter | `S/N · n / C`, the most over all groups without the root | |
//! | send_recv, everyone to the next | `S / C` | |
//!
//! The divisions: for every element, `g` groups that all learn it are sent `g - 1` messages, and those that all learn a sum
//! exchange at least `2g - 2`. In domains whose switch adds up and multicasts nothing need be sent twice, so these stay whole.
//!
//! Where every node can send as much as it can receive, packed spanning trees reach the first row
//! ([ForestColl](https://arxiv.org/abs/2402.06787)), and the bound is known to be tight.
//!
//! ```
//! use unisono::Collective;
//! use unisono::topology::{bound::bound, machines::Request};
//!
//! let machine = Request { units: 16, ..Request::new("p6e-gb200x72") }.topology()?;
//! let best = bound(&machine, Collective::AllGather)?.at(1 << 30);
//! assert_eq!(best.cut, "the NVLink port and the NIC of one GPU");
//! assert!(best.tight && (best.algorithm_bandwidth_gb_per_s().unwrap() - 950.83).abs() < 0.01);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod direct;
mod gather;
mod graph;
mod groups;
mod latency;
mod machine;
mod maxflow;
#[cfg(test)]
mod tests;
mod trim;
mod words;

use super::fabric::Topology;
use crate::types::Collective;
use gather::Direction;
use groups::{Division, Group};
use latency::Latencies;
use machine::Machine;

/// A lower bound for any number of bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// For every byte, as nccl-tests counts them.
    pub s_per_byte: f64,
    pub latency_s: f64,
    /// What binds the bytes.
    pub cut: String,
    /// What binds the latency.
    pub farthest: String,
    /// Whether something reaches `s_per_byte`, large buffers and many tiles given; and what, or why that is not known.
    pub tight: bool,
    pub why: String,
}

/// A lower bound for a number of bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundAt {
    pub bytes: u64,
    pub bandwidth_s: f64,
    pub latency_s: f64,
    pub tight: bool,
    pub why: String,
    pub cut: String,
}

impl BoundAt {
    /// Nothing is faster than either of the two.
    pub fn seconds(&self) -> f64 {
        self.bandwidth_s.max(self.latency_s)
    }

    /// The algorithm bandwidth that nothing exceeds; None where no bytes are sent.
    pub fn algorithm_bandwidth_gb_per_s(&self) -> Option<f64> {
        (self.bandwidth_s > 0.0).then(|| self.bytes as f64 / self.seconds() / 1e9)
    }
}

impl Bound {
    pub fn at(&self, bytes: u64) -> BoundAt {
        let bandwidth_s = self.s_per_byte * bytes as f64;
        if bandwidth_s >= self.latency_s {
            let (tight, why, cut) = (self.tight, self.why.clone(), self.cut.clone());
            return BoundAt { bytes, bandwidth_s, latency_s: self.latency_s, tight, why, cut };
        }
        BoundAt {
            bytes,
            bandwidth_s,
            latency_s: self.latency_s,
            tight: false,
            why: "it is the latency of one message; bytes, starts and further messages come on top".to_owned(),
            cut: self.farthest.clone(),
        }
    }
}

/// Why there is no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("some GPUs of the machine can't reach others, so {collective} never ends there: join them by a link or a NIC")]
pub struct Disconnected {
    pub collective: Collective,
}

/// The lower bound of a collective. The root of those that have one is the first GPU; blocks are taken to be of equal size.
///
/// # Errors
/// If GPUs that must exchange data can't.
pub fn bound(topology: &Topology, collective: Collective) -> Result<Bound, Disconnected> {
    let machine = Machine::new(topology);
    let noun = topology.gpu.noun();
    if machine.gpus() <= 1 {
        return Ok(Bound {
            s_per_byte: 0.0,
            latency_s: 0.0,
            cut: format!("nothing: there is one {noun}"),
            farthest: format!("nothing: there is one {noun}"),
            tight: true,
            why: "there is nothing to send".to_owned(),
        });
    }
    let found = match collective.even() {
        Collective::AllGather => gathered(&machine, Direction::Gather),
        Collective::ReduceScatter => gathered(&machine, Direction::Scatter),
        Collective::Gather => at_root(&machine, Direction::Gather),
        Collective::Scatter => at_root(&machine, Direction::Scatter),
        Collective::Broadcast => rooted(&machine, false),
        Collective::Reduce => rooted(&machine, true),
        Collective::AllReduce => all_reduce(&machine),
        Collective::AllToAll => all_to_all(&machine),
        Collective::SendRecv => send_recv(&machine),
        Collective::Barrier => Found { s_per_byte: 0.0, cut: String::new(), reached: Reached::Known("") },
        Collective::AllGatherV | Collective::ReduceScatterV | Collective::AllToAllV => {
            unreachable!("even() names their siblings")
        }
    };
    let latencies = Latencies::of(&machine);
    let latency_ns = match collective.even() {
        Collective::Broadcast | Collective::Scatter => latencies.from_root,
        Collective::Reduce | Collective::Gather => latencies.to_root,
        // Whether the farthest pair are neighbours is not asked: some message takes the shortest way at least.
        Collective::SendRecv => latencies.neighbour,
        _ => latencies.any,
    };
    if !(found.s_per_byte.is_finite() && latency_ns.is_finite()) {
        return Err(Disconnected { collective });
    }
    let place = if topology.units() > 1 { "from unit to unit".to_owned() } else { format!("from {noun} to {noun}") };
    let (tight, why) = found.reached.told();
    Ok(Bound {
        s_per_byte: found.s_per_byte,
        latency_s: latency_ns / 1e9,
        cut: found.cut,
        farthest: format!("the latency of a message {place}, {:.2} us", latency_ns / 1e3),
        tight,
        why,
    })
}

/// What was found of the bytes.
struct Found {
    s_per_byte: f64,
    cut: String,
    reached: Reached,
}

/// Whether anything reaches a bound, and what; or why that is not known.
enum Reached {
    Known(&'static str),
    Unknown(&'static str),
}

impl Reached {
    fn told(self) -> (bool, String) {
        match self {
            Reached::Known(how) => (true, how.to_owned()),
            Reached::Unknown(why) => (false, why.to_owned()),
        }
    }

    fn if_so(known: bool, how: &'static str, why_not: &'static str) -> Reached {
        if known { Reached::Known(how) } else { Reached::Unknown(why_not) }
    }
}

/// Whether a time that something takes is as short as a lower bound.
fn meets(upper: Option<f64>, lower: f64) -> bool {
    upper.is_some_and(|upper| upper <= lower * (1.0 + 1e-9))
}

const TREES: &str = "spanning trees packed side by side reach it";
const NO_TREES: &str =
    "a limit that links share, or a way in that is wider than the way out, may keep trees from reaching it";

/// The least over all cuts.
fn by_cuts(machine: &Machine, direction: Direction) -> (f64, String) {
    let found = gather::all(machine, direction);
    (1.0 / (found.rate.bytes_per_s() * machine.gpus() as f64), found.cut)
}

/// What packed trees take for an all-gather and for a reduce-scatter; None if that is not known.
fn by_trees(machine: &Machine) -> Option<[f64; 2]> {
    let trimmed = trim::trimmed(machine.topology)?;
    let trimmed = Machine::new(&trimmed);
    Some([Direction::Gather, Direction::Scatter].map(|direction| by_cuts(&trimmed, direction).0))
}

fn gathered(machine: &Machine, direction: Direction) -> Found {
    // Without multicast every block leaves its group once for each other group; sums enter it as often.
    let way = |group: &Group| if direction == Direction::Gather { group.out } else { group.into };
    let (s_per_byte, cut) = largest(over_divisions(machine, 1.0, way).chain([by_cuts(machine, direction)]));
    let of_trees = by_trees(machine).map(|trees| trees[usize::from(direction == Direction::Scatter)]);
    Found { s_per_byte, cut, reached: Reached::if_so(meets(of_trees, s_per_byte), TREES, NO_TREES) }
}

/// A gather or scatter is a flow, so that a cut is always reached.
fn at_root(machine: &Machine, direction: Direction) -> Found {
    let found = gather::to_root(machine, direction);
    let s_per_byte = 1.0 / (found.rate.bytes_per_s() * machine.gpus() as f64);
    let left_out = "a limit that is shared by links without a common end was left out";
    let reached = Reached::if_so(machine.exact(), "a flow to or from the root reaches it", left_out);
    Found { s_per_byte, cut: found.cut, reached }
}

fn rooted(machine: &Machine, to_root: bool) -> Found {
    let by_cut = |machine: &Machine| {
        let (bytes_per_s, cut) = groups::from_root(machine, to_root);
        (1.0 / bytes_per_s as f64, cut)
    };
    let way = |group: &Group| if to_root { group.into } else { group.out };
    let (s_per_byte, cut) = largest(over_divisions(machine, 1.0, way).chain([by_cut(machine)]));
    let of_trees = trim::trimmed(machine.topology).map(|trimmed| by_cut(&Machine::new(&trimmed)).0);
    Found { s_per_byte, cut, reached: Reached::if_so(meets(of_trees, s_per_byte), TREES, NO_TREES) }
}

/// The largest of some lower bounds, in seconds per byte.
fn largest(bounds: impl IntoIterator<Item = (f64, String)>) -> (f64, String) {
    let first = (0.0, String::new());
    bounds.into_iter().fold(first, |best, next| if next.0 > best.0 * (1.0 + 1e-12) { next } else { best })
}

fn narrower(group: &Group) -> f64 {
    group.out.min(group.into) as f64
}

/// The groups of all divisions that have others outside.
fn all_groups(machine: &Machine) -> Vec<Group> {
    let of = |division| groups::partition(machine, division, false).to_vec();
    Division::ALL.into_iter().flat_map(of).filter(|group| group.gpus < machine.gpus()).collect()
}

fn all_reduce(machine: &Machine) -> Found {
    let adds = machine.topology.kinds.iter().any(|unit| (0..unit.gpus()).any(|gpu| unit.reduces(gpu)));
    let each = all_groups(machine).into_iter();
    let mut bounds: Vec<(f64, String)> = each.map(|group| (1.0 / narrower(&group), group.cut)).collect();
    bounds.extend(over_divisions(machine, 2.0, |group| group.out));
    bounds.extend(over_divisions(machine, 2.0, |group| group.into));
    // Every GPU's data reaches all others: where GPUs differ, the narrowest way may be that of no group above.
    if !machine.all_alike() {
        bounds.extend([false, true].map(|to_root| {
            let found = rooted(machine, to_root);
            (found.s_per_byte, found.cut)
        }));
    }
    let (s_per_byte, cut) = largest(bounds);
    let of_trees = by_trees(machine).map(|[gather, scatter]| gather + scatter);
    let reached = if meets(of_trees, s_per_byte) {
        Reached::Known("a reduce-scatter and an all-gather over spanning trees reach it")
    } else if !adds {
        Reached::Unknown("a reduce-scatter and an all-gather over spanning trees take longer")
    } else {
        Reached::if_so(
            meets(through_switches(machine), s_per_byte),
            "sums in the switches of the domains, exchanged between them, reach it",
            "through a switch that adds up each GPU also sends and receives its own share; nothing known avoids that",
        )
    };
    Found { s_per_byte, cut, reached }
}

/// `times (g-1) / ΣC` of the groups of every division: so often must what all groups have together pass a way between them, where no
/// switch between them adds up or multicasts.
fn over_divisions(machine: &Machine, times: f64, way: impl Fn(&Group) -> i128) -> impl Iterator<Item = (f64, String)> {
    Division::ALL.into_iter().filter_map(move |division| {
        let groups = groups::partition(machine, division, true);
        let count: u64 = groups.iter().map(|group| group.count).sum();
        let ways: f64 = groups.iter().map(|group| way(group) as f64 * group.count as f64).sum();
        let cut = groups.iter().min_by_key(|group| way(group))?.cut.clone();
        (count > 1).then(|| (times * (count - 1) as f64 / ways, cut))
    })
}

/// Seconds per byte of an all-reduce that adds up in the switch of every domain and exchanges between units, both at once; None
/// unless all units are alike, one such domain each, and their GPUs as well.
fn through_switches(machine: &Machine) -> Option<f64> {
    let mut used = machine.used();
    let (Some((_, kind)), None) = (used.next(), used.next()) else { return None };
    let (unit, gpus) = (kind.unit, kind.unit.gpus() as f64);
    let one_domain = unit.domains().iter().all(|domain| *domain == 0);
    if !one_domain || !unit.reduces(0) || !kind.classes.gpus.contains(&(unit.gpus() as u64)) || unit.gpus() < 2 {
        return None;
    }
    let rate = |way: &[usize]| way.iter().map(|link| unit.links[*link].bytes_per_s).fold(f64::INFINITY, f64::min);
    let inside = (gpus + 1.0) / (gpus * rate(unit.path(0, 1)?));
    let units = kind.count as f64;
    if units == 1.0 {
        return Some(inside);
    }
    let way = groups::partition(machine, Division::Units, false).first().map(narrower)?;
    Some(inside.max(2.0 * (units - 1.0) / (units * way)))
}

fn all_to_all(machine: &Machine) -> Found {
    let all = machine.gpus() as f64;
    let bounds = all_groups(machine).into_iter().map(|group| {
        let gpus = group.gpus as f64;
        (gpus * (all - gpus) / (all * narrower(&group)), group.cut)
    });
    // The cut that binds an all-gather may be that of no group.
    let gathered = gather::all(machine, Direction::Gather);
    let inside = gathered.rate.gpus as f64;
    let of_gathered = (inside * (all - inside) / (all * gathered.rate.capacity as f64), gathered.cut);
    let (s_per_byte, cut) = largest(bounds.chain([of_gathered]));
    let direct = direct::all_to_all(machine).map(|slowest| slowest / all);
    let reached = Reached::if_so(
        meets(direct, s_per_byte),
        "everyone sending straight to everyone reaches it",
        "not every cut was looked at, and everyone sending straight to everyone takes longer",
    );
    Found { s_per_byte, cut, reached }
}

fn send_recv(machine: &Machine) -> Found {
    let groups = all_groups(machine).into_iter();
    let (s_per_byte, cut) = largest(groups.map(|group| (1.0 / narrower(&group), group.cut)));
    let reached = Reached::if_so(
        meets(direct::to_the_next(machine), s_per_byte),
        "everyone sending straight to the next reaches it",
        "it takes all ways out of a GPU to be used at once, and a message takes one",
    );
    Found { s_per_byte, cut, reached }
}
