//! One unit as a directed graph: GPUs, switches, NICs, the links between them, and limits that several links share.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

/// What stands at an end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    Gpu,
    /// Forwards between its links. `reduces`: it can also add up what several GPUs hold, and store to several at once (NVLS).
    Switch {
        reduces: bool,
    },
    /// A way out to the [network](super::Network). It stands for all the cards over which its GPUs spread their bytes.
    Nic,
}

impl NodeKind {
    /// In the order of a unit's nodes.
    const fn place(self) -> u8 {
        match self {
            NodeKind::Gpu => 0,
            NodeKind::Switch { .. } => 1,
            NodeKind::Nic => 2,
        }
    }
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
    /// They are the first nodes.
    gpus: usize,
    domains: Vec<u32>,
    paths: Vec<Option<Vec<usize>>>,
    ways_out: Vec<Option<Vec<usize>>>,
    ways_in: Vec<Option<Vec<usize>>>,
}

impl Unit {
    /// A unit of these parts, with every way computed. GPUs come first among the nodes, then switches, then NICs.
    ///
    /// # Panics
    /// If a link or limit names a node or link that is not there, nodes are in another order, two of them have the same name, or
    /// two links go the same way.
    pub fn new(name: &str, nodes: Vec<Node>, links: Vec<Link>, limits: Vec<Limit>, gpus_per_host: usize) -> Unit {
        assert!(links.iter().all(|link| link.from < nodes.len() && link.to < nodes.len()), "links join nodes");
        assert!(limits.iter().flat_map(|limit| &limit.links).all(|link| *link < links.len()), "limits are of links");
        assert!(nodes.is_sorted_by_key(|node| node.kind.place()), "GPUs, switches, NICs");
        let names: HashSet<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        assert!(names.len() == nodes.len(), "names of nodes differ");
        let ends: HashSet<(usize, usize)> = links.iter().map(|link| (link.from, link.to)).collect();
        assert!(ends.len() == links.len(), "one link from node to node");
        let gpus = nodes.iter().filter(|node| node.kind == NodeKind::Gpu).count();
        let nics = (0..nodes.len()).filter(|node| nodes[*node].kind == NodeKind::Nic).collect::<Vec<_>>();
        let mut unit = Unit {
            name: name.to_owned(),
            gpus_per_host,
            domains: Vec::new(),
            paths: Vec::new(),
            ways_out: Vec::new(),
            ways_in: Vec::new(),
            gpus,
            nodes,
            links,
            limits,
        };
        for gpu in 0..gpus {
            let mut reached = unit.search(gpu);
            let ways = nics.iter().filter_map(|nic| reached[*nic].take()).collect();
            unit.ways_out.push(unit.best(ways, gpu));
            unit.paths.extend(reached.into_iter().take(gpus));
        }
        let mut ways_in: Vec<Vec<Vec<usize>>> = vec![Vec::new(); gpus];
        for nic in nics {
            for (ways, way) in ways_in.iter_mut().zip(unit.search(nic)) {
                ways.extend(way);
            }
        }
        unit.ways_in = ways_in.into_iter().enumerate().map(|(gpu, ways)| unit.best(ways, gpu)).collect();
        unit.domains = unit.number_domains();
        unit
    }

    pub fn gpus(&self) -> usize {
        self.gpus
    }

    /// For every GPU the number of its domain: GPUs that reach each other, both ways, without a NIC; over other GPUs if need be.
    pub fn domains(&self) -> &[u32] {
        &self.domains
    }

    /// The links from one GPU to another of the unit that pass neither a NIC nor another GPU; None if there is no such way.
    pub fn path(&self, from: usize, to: usize) -> Option<&[usize]> {
        self.paths[from * self.gpus + to].as_deref()
    }

    /// The links from a GPU to its best NIC, or from there to it.
    pub fn way_out(&self, gpu: usize) -> Option<&[usize]> {
        self.ways_out[gpu].as_deref()
    }

    pub fn way_in(&self, gpu: usize) -> Option<&[usize]> {
        self.ways_in[gpu].as_deref()
    }

    /// What all GPUs together may send over links of a class, or all NICs to the network, shared limits counted.
    pub fn bytes_per_s_out(&self, class: LinkClass) -> f64 {
        let of_class = |link: &usize| {
            let link = &self.links[*link];
            match class {
                LinkClass::Nic => self.nodes[link.to].kind == NodeKind::Nic,
                LinkClass::NvLink | LinkClass::Host | LinkClass::Network => {
                    link.from < self.gpus && link.class == class
                }
            }
        };
        let limited = |link: usize| {
            let shares = self.limits.iter().filter(|limit| limit.links.contains(&link)).map(|limit| {
                let all: f64 = limit.links.iter().map(|link| self.links[*link].bytes_per_s).sum();
                (limit.bytes_per_s / all).min(1.0)
            });
            self.links[link].bytes_per_s * shares.fold(1.0, f64::min)
        };
        (0..self.links.len()).filter(of_class).map(limited).fold(0.0, |sum, rate| sum + rate)
    }

    /// Whether a switch that can add up joins all GPUs of a GPU's domain.
    pub fn reduces(&self, gpu: usize) -> bool {
        let members = || (0..self.gpus).filter(|one| self.domains[*one] == self.domains[gpu]);
        self.joined_by_switches().any(|joined| members().all(|member| joined[member]))
    }

    /// [`Unit::reduces`] of all GPUs.
    pub fn reduces_everywhere(&self) -> bool {
        let switches: Vec<Vec<bool>> = self.joined_by_switches().collect();
        let domains = self.domains[..self.gpus].iter().max().map_or(0, |last| *last as usize + 1);
        // Of each switch, whether it joins all of each domain.
        let whole: Vec<Vec<bool>> = switches
            .iter()
            .map(|joined| {
                let mut whole = vec![true; domains];
                (0..self.gpus).for_each(|gpu| whole[self.domains[gpu] as usize] &= joined[gpu]);
                whole
            })
            .collect();
        (0..domains).all(|domain| whole.iter().any(|whole| whole[domain]))
    }

    /// Of each switch that can add up, which GPUs have a link to it and one from it.
    fn joined_by_switches(&self) -> impl Iterator<Item = Vec<bool>> {
        let reducing = |node: &usize| self.nodes[*node].kind == NodeKind::Switch { reduces: true };
        (0..self.nodes.len()).filter(reducing).map(|node| {
            let (mut to, mut from) = (vec![false; self.gpus], vec![false; self.gpus]);
            for link in &self.links {
                match (link.from, link.to) {
                    (gpu, switch) if switch == node && gpu < self.gpus => to[gpu] = true,
                    (switch, gpu) if switch == node && gpu < self.gpus => from[gpu] = true,
                    _ => {}
                }
            }
            to.into_iter().zip(from).map(|(to, from)| to && from).collect()
        })
    }

    /// The best of the ways between a GPU and the NICs; where several are as good, GPUs take turns.
    fn best(&self, mut ways: Vec<Vec<usize>>, gpu: usize) -> Option<Vec<usize>> {
        ways.sort_by(|a, b| self.compare(a, b));
        let as_good = ways.iter().take_while(|way| self.compare(way, &ways[0]).is_eq()).count();
        (as_good > 0).then(|| ways.swap_remove(gpu % as_good))
    }

    /// Which GPUs can be reached over any nodes, other GPUs and the network among them: from the first GPU, or from the network;
    /// which reach it, if `backward`.
    pub fn reaches(&self, from_network: bool, backward: bool) -> Vec<bool> {
        let is_nic = |node: usize| self.nodes[node].kind == NodeKind::Nic;
        let mut next: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        for link in &self.links {
            let (from, to) = if backward { (link.to, link.from) } else { (link.from, link.to) };
            next[from].push(to);
        }
        let nics = || (0..self.nodes.len()).filter(|node| is_nic(*node));
        let mut waiting: Vec<usize> = if from_network { nics().collect() } else { vec![0] };
        let mut reached = vec![false; self.nodes.len()];
        waiting.iter().for_each(|node| reached[*node] = true);
        let mut network_reached = false;
        while let Some(node) = waiting.pop() {
            let behind_network = (is_nic(node) && !std::mem::replace(&mut network_reached, true)).then(nics);
            for other in next[node].iter().copied().chain(behind_network.into_iter().flatten()) {
                if !reached[other] {
                    reached[other] = true;
                    waiting.push(other);
                }
            }
        }
        reached.truncate(self.gpus);
        reached
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

    /// The strongly connected parts of the graph of [paths](Unit::path), numbered by their first GPUs: a GPU's domain is what it
    /// reaches of those that reach it.
    fn number_domains(&self) -> Vec<u32> {
        let leads = |from: usize, to: usize| self.path(from, to).is_some();
        let mut domains: Vec<Option<u32>> = vec![None; self.gpus];
        let mut count = 0;
        for first in 0..self.gpus {
            if domains[first].is_some() {
                continue;
            }
            let ahead = self.flood(first, leads);
            let behind = self.flood(first, |from, to| leads(to, from));
            for gpu in (0..self.gpus).filter(|gpu| ahead[*gpu] && behind[*gpu]) {
                domains[gpu] = Some(count);
            }
            count += 1;
        }
        domains.into_iter().map(|domain| domain.expect("every GPU was visited")).collect()
    }

    fn flood(&self, first: usize, leads: impl Fn(usize, usize) -> bool) -> Vec<bool> {
        let mut reached = vec![false; self.gpus];
        reached[first] = true;
        let mut waiting = vec![first];
        while let Some(gpu) = waiting.pop() {
            for (next, seen) in reached.iter_mut().enumerate() {
                if !*seen && leads(gpu, next) {
                    *seen = true;
                    waiting.push(next);
                }
            }
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(gpus: usize, nics: usize, links: &[(usize, usize)]) -> Unit {
        let node = |name: &str, number: usize, kind| Node { name: format!("{name}{number}"), kind };
        let mut nodes: Vec<Node> = (0..gpus).map(|number| node("gpu", number, NodeKind::Gpu)).collect();
        nodes.push(node("switch", 0, NodeKind::Switch { reduces: false }));
        nodes.extend((0..nics).map(|number| node("nic", number, NodeKind::Nic)));
        let link = |&(from, to)| Link { from, to, class: LinkClass::Host, bytes_per_s: 1e9, latency_ns: 1.0 };
        Unit::new("test", nodes, links.iter().map(link).collect(), Vec::new(), 0)
    }

    #[test]
    fn gpus_that_reach_each_other_over_others_share_a_domain() {
        let one_way_ring = unit(4, 0, &[(0, 1), (1, 2), (2, 0), (2, 3)]);
        assert_eq!(one_way_ring.domains(), [0, 0, 0, 1]);
        assert_eq!((one_way_ring.path(0, 1), one_way_ring.path(1, 0)), (Some(&[0][..]), None));
    }

    #[test]
    fn equal_nics_behind_a_switch_are_taken_in_turn() {
        let all = [(0, 2), (2, 0), (1, 2), (2, 1), (2, 3), (3, 2), (2, 4), (4, 2)];
        let pair = unit(2, 2, &all);
        assert_eq!([0, 1].map(|gpu| pair.way_out(gpu).unwrap()), [[0, 4], [2, 6]]);
        assert_eq!([0, 1].map(|gpu| pair.way_in(gpu).unwrap()), [[5, 1], [7, 3]]);
    }
}
