//! The whole machine as one graph of classes: units that are told apart, and all other units of a kind as one.

use super::graph::{Classes, Port, UnitGraph};
use super::groups::{Division, Group};
use super::maxflow::{Flow, UNLIMITED};
use crate::topology::fabric::Topology;
use crate::topology::unit::Unit;
use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// A machine, ready to be asked for flows.
pub struct Machine<'a> {
    pub topology: &'a Topology,
    pub kinds: Vec<Kind<'a>>,
    spine: Option<i128>,
    /// Divisions that were asked for, with and without domains that add up kept whole.
    pub divided: RefCell<Divided>,
}

/// The groups of a division.
type Divided = HashMap<(Division, bool), Rc<Vec<Group>>>;

/// Units of one kind.
pub struct Kind<'a> {
    pub unit: &'a Unit,
    pub graph: UnitGraph,
    /// With no GPU told apart.
    pub classes: Classes,
    /// In the machine.
    pub count: usize,
    singles: OnceCell<Vec<Single>>,
}

/// GPUs that are alike: what the unit is to each of them.
pub struct Single {
    /// With one of them told apart.
    pub classes: Classes,
    /// That one, and how many there are.
    pub gpu: usize,
    pub count: u64,
}

impl Kind<'_> {
    /// The GPUs of a unit, those that are alike as one.
    pub fn singles(&self) -> &[Single] {
        self.singles.get_or_init(|| {
            let mut alike: BTreeMap<Classes, (usize, u64)> = BTreeMap::new();
            for gpu in 0..self.graph.gpus {
                alike.entry(self.graph.classes(&[&[gpu]])).or_insert((gpu, 0)).1 += 1;
            }
            let single = |(classes, (gpu, count))| Single { classes, gpu, count };
            alike.into_iter().map(single).collect()
        })
    }
}

/// All units; those told apart come first, in the order in which they were given.
pub struct Whole {
    pub nodes: Vec<WholeNode>,
    pub arcs: Vec<(usize, usize, Port, Option<i128>)>,
    /// Of the unit told apart: the first of its nodes.
    pub first: Vec<usize>,
}

#[derive(Clone, Copy, Debug)]
pub struct WholeNode {
    pub gpus: u64,
    /// Number of the unit told apart; None for the others, and for the network.
    pub special: Option<usize>,
}

/// The node of the network.
const CORE: usize = 0;

impl<'a> Machine<'a> {
    pub fn new(topology: &'a Topology) -> Machine<'a> {
        // NICs are of no use between GPUs of one domain that has no other beside it.
        let networked = topology.layout().domains(topology.gpus()) > 1;
        let kind = |(index, unit): (usize, &'a Unit)| {
            let graph = UnitGraph::new(unit, networked);
            let classes = graph.classes(&[]);
            let count = topology.runs.iter().filter(|run| run.kind == index).map(|run| run.count).sum();
            Kind { unit, graph, classes, count, singles: OnceCell::new() }
        };
        Machine {
            topology,
            kinds: topology.kinds.iter().enumerate().map(kind).collect(),
            spine: topology.network.unit_bytes_per_s.map(|rate| rate.round() as i128),
            divided: RefCell::default(),
        }
    }

    /// The kinds that the machine has units of.
    pub fn used(&self) -> impl Iterator<Item = (usize, &Kind<'a>)> {
        self.kinds.iter().enumerate().filter(|(_, kind)| kind.count > 0)
    }

    pub fn gpus(&self) -> u64 {
        self.topology.gpus() as u64
    }

    /// Whether every GPU of the machine is like every other.
    pub fn all_alike(&self) -> bool {
        self.used().count() == 1 && self.used().all(|(_, kind)| kind.classes.gpus.contains(&(kind.graph.gpus as u64)))
    }

    /// Whether every shared limit is in the graph.
    pub fn exact(&self) -> bool {
        self.used().all(|(_, kind)| kind.graph.exact)
    }

    /// The machine with some units told apart, each given by its kind and classes.
    pub fn whole(&self, specials: &[(usize, &Classes)]) -> Whole {
        let mut whole =
            Whole { nodes: vec![WholeNode { gpus: 0, special: None }], arcs: Vec::new(), first: Vec::new() };
        for (number, (_, classes)) in specials.iter().enumerate() {
            let first = self.add(&mut whole, classes, 1, Some(number));
            whole.first.push(first);
        }
        for (index, kind) in self.used() {
            let others = kind.count - specials.iter().filter(|(special, _)| *special == index).count();
            if others > 0 {
                self.add(&mut whole, &kind.classes, others, None);
            }
        }
        whole
    }

    fn add(&self, whole: &mut Whole, classes: &Classes, units: usize, special: Option<usize>) -> usize {
        let first = whole.nodes.len();
        whole.nodes.extend(classes.gpus.iter().map(|gpus| WholeNode { gpus: gpus * units as u64, special }));
        let times = |capacity: Option<i128>| capacity.map(|capacity| capacity * units as i128);
        let arcs =
            classes.arcs.iter().map(|(from, to, port, capacity)| (first + from, first + to, *port, times(*capacity)));
        whole.arcs.extend(arcs);
        if let Some(leaf) = classes.leaf {
            let port = if self.spine.is_some() { Port::Spine } else { Port::Free };
            whole.arcs.push((first + leaf, CORE, port, times(self.spine)));
            whole.arcs.push((CORE, first + leaf, port, times(self.spine)));
        }
        first
    }
}

impl Whole {
    /// The same with every arc the other way round.
    pub fn reversed(mut self) -> Whole {
        self.arcs.iter_mut().for_each(|(from, to, _, _)| std::mem::swap(from, to));
        self
    }

    /// A flow problem with two more nodes, a source and a sink, and every capacity times `factor`.
    pub fn flow(&self, factor: i128) -> (Flow, usize, usize) {
        let (source, sink) = (self.nodes.len(), self.nodes.len() + 1);
        let mut flow = Flow::new(sink + 1);
        for &(from, to, _, capacity) in self.arcs.iter().filter(|(from, to, _, _)| from != to) {
            flow.add(from, to, capacity.map_or(UNLIMITED, |capacity| capacity * factor));
        }
        (flow, source, sink)
    }

    /// What leaves a side, in bytes per second.
    pub fn capacity_out(&self, side: &[bool]) -> i128 {
        let leaving = self.arcs.iter().filter(|(from, to, _, _)| side[*from] && !side[*to]);
        leaving.map(|(_, _, _, capacity)| capacity.unwrap_or(UNLIMITED)).fold(0, i128::saturating_add)
    }

    pub fn gpus(&self, side: &[bool]) -> u64 {
        self.nodes.iter().zip(side).filter(|(_, inside)| **inside).map(|(node, _)| node.gpus).sum()
    }
}
