//! One unit as a graph of whole-number capacities, and its classes of like nodes.
//!
//! Nodes are *like* if they have the same capacity to and from every class of like nodes (an equitable partition, found by colour
//! refinement). A flow in the graph of classes, with capacities added up, spreads evenly over the members into a flow of the
//! whole graph, and a flow of the whole graph adds up to one of the classes; so the largest flow between classes is exact, however
//! many GPUs a class has.

use crate::topology::unit::{LinkClass, NodeKind, Unit};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

/// What an arc stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Port {
    Link(LinkClass),
    /// A unit's way into or out of an oversubscribed spine.
    Spine,
    /// No limit: a NIC at its own network.
    Free,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arc {
    pub from: usize,
    pub to: usize,
    /// Bytes per second; None is no limit.
    pub capacity: Option<i128>,
    pub port: Port,
}

/// The nodes of a unit, then those that stand for limits, then the unit's side of the network.
#[derive(Clone, Debug)]
pub struct UnitGraph {
    pub nodes: usize,
    pub gpus: usize,
    pub arcs: Vec<Arc>,
    /// The unit's side of the network; None where the machine has no use for its NICs.
    pub leaf: Option<usize>,
    /// Whether every limit of the unit is in the graph.
    pub exact: bool,
    /// Colours of like nodes, where no node is told apart, and how many there are.
    unmarked: OnceCell<(Vec<usize>, usize)>,
}

fn whole(bytes_per_s: f64) -> i128 {
    bytes_per_s.round() as i128
}

impl UnitGraph {
    pub fn new(unit: &Unit, networked: bool) -> UnitGraph {
        let mut graph = UnitGraph {
            nodes: unit.nodes.len(),
            gpus: unit.gpus(),
            arcs: Vec::with_capacity(unit.links.len()),
            leaf: None,
            exact: true,
            unmarked: OnceCell::new(),
        };
        // Limits of links with a common end become a node between the links and that end.
        let mut ends: Vec<(usize, usize)> = unit.links.iter().map(|link| (link.from, link.to)).collect();
        let mut limited = vec![(false, false); unit.links.len()];
        for limit in &unit.limits {
            let Some(&first) = limit.links.first() else { continue };
            let (from, to) = (unit.links[first].from, unit.links[first].to);
            let port = Port::Link(unit.links[first].class);
            let capacity = Some(whole(limit.bytes_per_s));
            let of = |link: &&usize| &unit.links[**link];
            if limit.links.iter().all(|link| of(&link).to == to && !limited[*link].1) {
                graph.arcs.push(Arc { from: graph.nodes, to, capacity, port });
                for &link in &limit.links {
                    ends[link].1 = graph.nodes;
                    limited[link].1 = true;
                }
                graph.nodes += 1;
            } else if limit.links.iter().all(|link| of(&link).from == from && !limited[*link].0) {
                graph.arcs.push(Arc { from, to: graph.nodes, capacity, port });
                for &link in &limit.links {
                    ends[link].0 = graph.nodes;
                    limited[link].0 = true;
                }
                graph.nodes += 1;
            } else {
                graph.exact = false;
            }
        }
        graph.arcs.extend(unit.links.iter().zip(ends).map(|(link, (from, to))| Arc {
            from,
            to,
            capacity: Some(whole(link.bytes_per_s)),
            port: Port::Link(link.class),
        }));
        let nics: Vec<usize> = (0..unit.nodes.len()).filter(|node| unit.nodes[*node].kind == NodeKind::Nic).collect();
        if networked && !nics.is_empty() {
            let leaf = graph.nodes;
            graph.leaf = Some(leaf);
            graph.nodes += 1;
            graph.arcs.extend(nics.into_iter().flat_map(|nic| {
                [(nic, leaf), (leaf, nic)].map(|(from, to)| Arc { from, to, capacity: None, port: Port::Free })
            }));
        }
        graph
    }

    /// The classes of like nodes if the nodes of each of `marks` are told apart from all others.
    pub fn classes(&self, marks: &[&[usize]]) -> Classes {
        // What is alike with marks is alike without: a start from there needs fewer rounds.
        let (unmarked, count) = self.unmarked.get_or_init(|| {
            let start = |node: usize| usize::from(node < self.gpus) + 2 * usize::from(Some(node) == self.leaf);
            self.settle((0..self.nodes).map(start).collect())
        });
        if marks.is_empty() {
            return Classes::new(self, unmarked, *count, Vec::new());
        }
        let mut colours = unmarked.clone();
        for (mark, nodes) in marks.iter().enumerate() {
            nodes.iter().for_each(|node| colours[*node] = count * (mark + 1) + unmarked[*node]);
        }
        let (colours, count) = self.settle(colours);
        let classes_of = |nodes: &&[usize]| nodes.iter().map(|node| colours[*node]).collect::<BTreeSet<_>>();
        let marked = marks.iter().map(|nodes| classes_of(nodes).into_iter().collect()).collect();
        Classes::new(self, &colours, count, marked)
    }

    /// Refines until nothing is split any more; with the number of colours.
    fn settle(&self, mut colours: Vec<usize>) -> (Vec<usize>, usize) {
        let mut count = 0;
        loop {
            colours = self.refine(&colours);
            let found = colours.iter().max().map_or(0, |last| last + 1);
            if found == count {
                return (colours, count);
            }
            count = found;
        }
    }

    /// Splits colours by what their nodes have to and from every colour. The new numbers do not depend on the order of nodes.
    fn refine(&self, colours: &[usize]) -> Vec<usize> {
        // An unlimited arc counts as a capacity that no sum of rates can be.
        const FREE: i128 = 1 << 100;
        let ends = |arc: &Arc| {
            let capacity = arc.capacity.unwrap_or(FREE);
            [(arc.from, (true, colours[arc.to]), capacity), (arc.to, (false, colours[arc.from]), capacity)]
        };
        let mut around: Vec<(usize, (bool, usize), i128)> = self.arcs.iter().flat_map(ends).collect();
        around.sort_unstable_by_key(|(node, what, _)| (*node, *what));
        around.dedup_by(|next, sum| {
            let same = (next.0, next.1) == (sum.0, sum.1);
            sum.2 += if same { next.2 } else { 0 };
            same
        });
        let mut first = vec![0; self.nodes + 1];
        around.iter().for_each(|(node, _, _)| first[node + 1] += 1);
        (0..self.nodes).for_each(|node| first[node + 1] += first[node]);
        let key = |node: usize| {
            (colours[node], around[first[node]..first[node + 1]].iter().map(|(_, what, capacity)| (*what, *capacity)))
        };
        let compare = |a: &usize, b: &usize| {
            let ((a, around_a), (b, around_b)) = (key(*a), key(*b));
            a.cmp(&b).then_with(|| around_a.cmp(around_b))
        };
        let mut order: Vec<usize> = (0..self.nodes).collect();
        order.sort_by(compare);
        let mut numbers = vec![0; self.nodes];
        for pair in order.windows(2) {
            numbers[pair[1]] = numbers[pair[0]] + usize::from(compare(&pair[0], &pair[1]).is_ne());
        }
        numbers
    }
}

/// A unit with like nodes as one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Classes {
    /// GPUs of each class; 0 for other nodes.
    pub gpus: Vec<u64>,
    pub leaf: Option<usize>,
    /// The classes of each mark's nodes.
    pub marked: Vec<Vec<usize>>,
    /// From class to class, all members together.
    pub arcs: Vec<(usize, usize, Port, Option<i128>)>,
}

impl Classes {
    fn new(graph: &UnitGraph, colours: &[usize], count: usize, marked: Vec<Vec<usize>>) -> Classes {
        let mut gpus = vec![0; count];
        colours[..graph.gpus].iter().for_each(|colour| gpus[*colour] += 1);
        let mut sums: BTreeMap<(usize, usize, Port), Option<i128>> = BTreeMap::new();
        for arc in &graph.arcs {
            let sum = sums.entry((colours[arc.from], colours[arc.to], arc.port)).or_insert(Some(0));
            *sum = sum.zip(arc.capacity).map(|(sum, more)| sum + more);
        }
        Classes {
            gpus,
            leaf: graph.leaf.map(|leaf| colours[leaf]),
            marked,
            arcs: sums.into_iter().map(|((from, to, port), capacity)| (from, to, port, capacity)).collect(),
        }
    }
}
