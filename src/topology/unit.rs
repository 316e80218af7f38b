//! One unit as a directed graph: GPUs, switches, NICs, the links between them, and limits that several links share.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What stands at an end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    Gpu,
    /// Forwards between its links. `reduces`: it can also add up what several GPUs hold, and store to several at once (NVLS).
    Switch {
        reduces: bool,
    },
    /// A way out to the [network](super::Network).
    Nic,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub name: String,
    pub kind: NodeKind,
}

/// What a link is made of: for explanations, and to add up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkClass {
    NvLink,
    /// PCIe or another link through the host.
    Host,
    /// Between a GPU and the network.
    Nic,
    /// Beyond the NICs.
    Network,
}

impl LinkClass {
    pub const ALL: [LinkClass; 4] = [LinkClass::NvLink, LinkClass::Host, LinkClass::Nic, LinkClass::Network];

    pub const fn name(self) -> &'static str {
        match self {
            LinkClass::NvLink => "NVLink",
            LinkClass::Host => "host",
            LinkClass::Nic => "NIC",
            LinkClass::Network => "network",
        }
    }
}

/// One direction of a connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Indices into [`Unit::nodes`].
    pub from: usize,
    pub to: usize,
    pub class: LinkClass,
    pub bytes_per_s: f64,
    pub latency_ns: f64,
}

/// A rate that several links share: a NIC of two GPUs, a switch that can't feed all its ports.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    pub name: String,
    pub bytes_per_s: f64,
    /// Indices into [`Unit::links`].
    pub links: Vec<usize>,
}

/// A unit of a machine, and the ways between its GPUs.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    pub name: String,
    pub nodes: Vec<Node>,
    pub links: Vec<Link>,
    pub limits: Vec<Limit>,
    /// GPUs in one host: 4 in the compute tray of an NVL72. 0 where hosts don't matter.
    pub gpus_per_host: usize,
    /// Nodes of the GPUs, in the order of their numbers.
    gpus: Vec<usize>,
    domains: Vec<u32>,
    paths: Vec<Option<Vec<usize>>>,
    ways_out: Vec<Option<Vec<usize>>>,
    ways_in: Vec<Option<Vec<usize>>>,
}

impl Unit {
    /// A unit of these parts, with every way computed.
    ///
    /// # Panics
    /// If a link or limit names a node or link that is not there.
    pub fn new(name: &str, nodes: Vec<Node>, links: Vec<Link>, limits: Vec<Limit>, gpus_per_host: usize) -> Unit {
        assert!(links.iter().all(|link| link.from < nodes.len() && link.to < nodes.len()), "links join nodes");
        assert!(limits.iter().flat_map(|limit| &limit.links).all(|link| *link < links.len()), "limits are of links");
        let of_kind = |kind: NodeKind| (0..nodes.len()).filter(|node| nodes[*node].kind == kind).collect::<Vec<_>>();
        let (gpus, nics) = (of_kind(NodeKind::Gpu), of_kind(NodeKind::Nic));
        let mut unit = Unit {
            name: name.to_owned(),
            gpus_per_host,
            domains: Vec::new(),
            paths: Vec::new(),
            ways_out: Vec::new(),
            ways_in: vec![None; gpus.len()],
            gpus,
            nodes,
            links,
            limits,
        };
        let to_gpus: Vec<Vec<Option<Vec<usize>>>> = unit.gpus.iter().map(|gpu| unit.search(*gpu)).collect();
        for reached in &to_gpus {
            unit.paths.extend(unit.gpus.iter().map(|gpu| reached[*gpu].clone()));
            let nearest = nics.iter().filter_map(|nic| reached[*nic].clone()).min_by(|a, b| unit.compare(a, b));
            unit.ways_out.push(nearest);
        }
        for nic in nics {
            let reached = unit.search(nic);
            for (number, gpu) in unit.gpus.iter().enumerate() {
                let way = &reached[*gpu];
                let known = &unit.ways_in[number];
                let better = match (way, known) {
                    (Some(way), Some(known)) => unit.compare(way, known).is_lt(),
                    (Some(_), None) => true,
                    (None, _) => false,
                };
                if better {
                    unit.ways_in[number] = way.clone();
                }
            }
        }
        unit.domains = unit.number_domains();
        unit
    }

    pub fn gpus(&self) -> usize {
        self.gpus.len()
    }

    /// The node of a GPU.
    pub fn gpu_node(&self, gpu: usize) -> usize {
        self.gpus[gpu]
    }

    /// For every GPU the number of its domain: GPUs that reach each other, both ways, without a NIC.
    pub fn domains(&self) -> &[u32] {
        &self.domains
    }

    /// The links from one GPU to another of the unit that pass neither a NIC nor another GPU; None if there is no such way.
    pub fn path(&self, from: usize, to: usize) -> Option<&[usize]> {
        self.paths[from * self.gpus.len() + to].as_deref()
    }

    /// The links from a GPU to its best NIC, or from there to it.
    pub fn way_out(&self, gpu: usize) -> Option<&[usize]> {
        self.ways_out[gpu].as_deref()
    }

    pub fn way_in(&self, gpu: usize) -> Option<&[usize]> {
        self.ways_in[gpu].as_deref()
    }

    /// Whether a switch that can add up joins all GPUs of a GPU's domain.
    pub fn reduces(&self, gpu: usize) -> bool {
        let members =
            || (0..self.gpus()).filter(|one| self.domains[*one] == self.domains[gpu]).map(|one| self.gpus[one]);
        let joined = |a: usize, b: usize| self.links.iter().any(|link| link.from == a && link.to == b);
        (0..self.nodes.len()).any(|node| {
            self.nodes[node].kind == NodeKind::Switch { reduces: true }
                && members().all(|gpu| joined(gpu, node) && joined(node, gpu))
        })
    }

    /// Fewer links first, then the wider, then the nearer.
    fn compare(&self, a: &[usize], b: &[usize]) -> std::cmp::Ordering {
        let width = |way: &[usize]| way.iter().map(|link| self.links[*link].bytes_per_s).fold(f64::INFINITY, f64::min);
        let latency = |way: &[usize]| way.iter().map(|link| self.links[*link].latency_ns).sum::<f64>();
        let narrower = width(b).total_cmp(&width(a));
        a.len().cmp(&b.len()).then(narrower).then(latency(a).total_cmp(&latency(b)))
    }

    /// The best way from a node to every other, through switches alone.
    fn search(&self, start: usize) -> Vec<Option<Vec<usize>>> {
        let mut best: Vec<Option<Vec<usize>>> = vec![None; self.nodes.len()];
        let mut outgoing: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        for (index, link) in self.links.iter().enumerate() {
            outgoing[link.from].push(index);
        }
        best[start] = Some(Vec::new());
        let mut waiting = BinaryHeap::from([(Reverse(0), start)]);
        while let Some((Reverse(length), node)) = waiting.pop() {
            let way = best[node].clone().expect("only reached nodes wait");
            let forwards = node == start || matches!(self.nodes[node].kind, NodeKind::Switch { .. });
            if length != way.len() || !forwards {
                continue;
            }
            for &link in &outgoing[node] {
                let next = self.links[link].to;
                let longer = [&way[..], &[link]].concat();
                if next != start && best[next].as_ref().is_none_or(|known| self.compare(&longer, known).is_lt()) {
                    waiting.push((Reverse(longer.len()), next));
                    best[next] = Some(longer);
                }
            }
        }
        best
    }

    fn number_domains(&self) -> Vec<u32> {
        let joined = |a: usize, b: usize| self.path(a, b).is_some() && self.path(b, a).is_some();
        let mut domains: Vec<Option<u32>> = vec![None; self.gpus()];
        let mut count = 0;
        for first in 0..self.gpus() {
            if domains[first].is_some() {
                continue;
            }
            let mut waiting = vec![first];
            while let Some(gpu) = waiting.pop() {
                if domains[gpu].replace(count).is_none() {
                    waiting.extend((0..self.gpus()).filter(|other| domains[*other].is_none() && joined(gpu, *other)));
                }
            }
            count += 1;
        }
        domains.into_iter().map(|domain| domain.expect("every GPU was visited")).collect()
    }
}
