//! The optimum of all-gather and reduce-scatter in any graph (ForestColl's formula), and of gather and scatter.
//!
//! A set of GPUs that does not hold all of them must send what it holds through its way out: with x bytes per second of every GPU,
//! `x · |A| ≤ capacity out of A`. The largest x that no set forbids is reached by spanning trees from every GPU, packed side
//! by side ([ForestColl](https://arxiv.org/abs/2402.06787)). It is found by flows to each GPU: a flow that falls short names a set A
//! that forbids x, and `capacity / |A|` is the next x, exact as a fraction; few steps are needed.

use super::graph::Classes;
use super::machine::{Machine, Whole};
use super::words;

/// A rate as a fraction, in bytes per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub capacity: i128,
    pub gpus: i128,
}

impl Rate {
    pub fn bytes_per_s(self) -> f64 {
        self.capacity as f64 / self.gpus as f64
    }
}

/// What every GPU can send to all others at once, and what limits it.
#[derive(Clone, Debug, PartialEq)]
pub struct Gathered {
    pub rate: Rate,
    pub cut: String,
}

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From every GPU to all others, or to one.
    Gather,
    /// The other way round.
    Scatter,
}

/// All GPUs to all GPUs.
pub fn all(machine: &Machine, direction: Direction) -> Gathered {
    let mut best: Option<Gathered> = None;
    for (index, kind) in machine.used() {
        for one in kind.singles() {
            best = Some(toward(machine, index, one.gpu, &one.classes, direction, best));
        }
    }
    best.expect("a machine has a GPU")
}

/// All GPUs to the first of the machine.
pub fn to_root(machine: &Machine, direction: Direction) -> Gathered {
    let root = machine.topology.runs[0].kind;
    let classes = machine.kinds[root].graph.classes(&[&[0]]);
    toward(machine, root, 0, &classes, direction, None)
}

/// Lowers the best rate so far to what can reach one GPU.
fn toward(
    machine: &Machine,
    kind: usize,
    gpu: usize,
    classes: &Classes,
    direction: Direction,
    best: Option<Gathered>,
) -> Gathered {
    let whole = machine.whole(&[(kind, classes)]);
    let whole = if direction == Direction::Scatter { whole.reversed() } else { whole };
    let target = whole.first[0] + classes.marked[0][0];
    let all = machine.gpus() as i128;
    let name = |side: &[bool]| words::cut(machine, kind, gpu, &whole, side);
    // The GPU's own way in is the first set to be asked: most often it decides.
    let mut found = best.unwrap_or_else(|| {
        let side: Vec<bool> = (0..whole.nodes.len()).map(|node| node != target).collect();
        Gathered { rate: Rate { capacity: whole.capacity_out(&side), gpus: all - 1 }, cut: name(&side) }
    });
    while let Some(side) = forbidden(&whole, target, found.rate, all) {
        let rate = Rate { capacity: whole.capacity_out(&side), gpus: whole.gpus(&side).into() };
        found = Gathered { rate, cut: name(&side) };
    }
    found
}

/// A set of nodes without the target that forbids a rate.
fn forbidden(whole: &Whole, target: usize, rate: Rate, all: i128) -> Option<Vec<bool>> {
    let (mut flow, source, _) = whole.flow(rate.gpus);
    for (node, gpus) in whole.nodes.iter().map(|node| i128::from(node.gpus)).enumerate().filter(|(_, gpus)| *gpus > 0) {
        flow.add(source, node, rate.capacity * gpus);
    }
    let wanted = all * rate.capacity;
    if flow.send(source, target, wanted) >= wanted {
        return None;
    }
    let mut side = flow.reached(source);
    side.truncate(whole.nodes.len());
    Some(side)
}
