//! All units of a machine and the network between them: routes and resources.

use super::layout::Layout;
use super::quantity::{Constant, Origin};
use super::unit::{Link, LinkClass, Unit};

/// So many units of one kind in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Index into [`Topology::kinds`].
    pub kind: usize,
    pub count: usize,
}

/// What joins the NICs of all units: every NIC reaches every other.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// "EFA", "InfiniBand", "RoCE", "none".
    pub name: String,
    /// From NIC to NIC.
    pub latency_ns: f64,
    /// What a unit may send, and receive, at once, where the spine is oversubscribed.
    pub unit_bytes_per_s: Option<f64>,
}

/// What the GPUs are.
#[derive(Clone, Debug, PartialEq)]
pub struct Gpu {
    /// "GB200", "H100".
    pub model: String,
    pub memory_bytes_per_s: f64,
}

impl Gpu {
    /// The model of a host's processors, which stand where other machines have GPUs.
    pub const CORE: &str = "core";

    /// What one is called: "GPU", or "core" where the machine is a host.
    pub fn noun(&self) -> &'static str {
        if self.is_core() { "core" } else { "GPU" }
    }

    pub fn is_core(&self) -> bool {
        self.model == Gpu::CORE
    }
}

/// What well-tuned kernels reach of the rates by the data sheet: shares between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reached {
    /// Of a GPU's link in its domain, by loads and stores or copies.
    pub domain: f64,
    /// Of the same link, where a switch adds up and stores to several at once.
    pub switch: f64,
    /// Of a NIC.
    pub network: f64,
}

impl Reached {
    /// Of a link of this class.
    pub fn of(&self, class: LinkClass) -> f64 {
        match class {
            LinkClass::NvLink | LinkClass::Host => self.domain,
            LinkClass::Nic | LinkClass::Network => self.network,
        }
    }

    /// How many times as long a byte takes that a switch folds or copies, compared with one of a message.
    pub fn switch_factor(&self) -> f64 {
        self.domain / self.switch
    }
}

/// What each message takes of the ports that it leaves by and comes in by, besides the time of its bytes: the gap of LogGP (Alexandrov et
/// al., 1995). A lone message waits for its latency, of which this is a part; of many at once each waits for those before.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gaps {
    /// Of a GPU's link in its domain.
    pub domain_ns: f64,
    /// Of a NIC.
    pub network_ns: f64,
}

impl Gaps {
    /// Of a message that leaves its domain or stays.
    pub fn of(&self, crosses: bool) -> f64 {
        if crosses { self.network_ns } else { self.domain_ns }
    }
}

impl Default for Reached {
    fn default() -> Reached {
        Reached { domain: 1.0, switch: 1.0, network: 1.0 }
    }
}

/// A machine of any size. GPUs are numbered unit after unit; rank r is GPU r unless a placement says otherwise.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    pub name: String,
    pub gpu: Gpu,
    pub kinds: Vec<Unit>,
    pub runs: Vec<Run>,
    pub network: Network,
    pub reached: Reached,
    pub gaps: Gaps,
    /// Every number that this was made of.
    pub constants: Vec<Constant>,
}

/// Something that can be busy: a link or limit of one unit, or its way into or out of the spine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceId(pub u64);

/// How a message goes: what its first byte waits for, and what its bytes pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    pub latency_ns: f64,
    pub resources: Vec<ResourceId>,
    /// How many of the resources are on the sender's side: its own port, its unit's way out.
    pub outgoing: usize,
    /// Whether it leaves its domain.
    pub crosses: bool,
}

/// A unit among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Location {
    kind: usize,
    unit: usize,
    /// The GPU's number within the unit.
    gpu: usize,
    /// Number of the unit's first resource.
    resources: u64,
}

/// The ways into and out of the spine stand behind a unit's links and limits.
const SPINE_OUT: usize = 0;
const SPINE_IN: usize = 1;

fn resources_of(unit: &Unit) -> u64 {
    (unit.links.len() + unit.limits.len() + 2) as u64
}

impl Topology {
    pub fn units(&self) -> usize {
        self.runs.iter().map(|run| run.count).sum()
    }

    pub fn gpus(&self) -> usize {
        self.runs.iter().map(|run| run.count * self.kinds[run.kind].gpus()).sum()
    }

    /// The constants that nobody published or measured.
    pub fn assumed(&self) -> impl Iterator<Item = &Constant> {
        self.constants.iter().filter(|constant| constant.quantity.origin == Origin::Assumed)
    }

    /// The domain of every GPU.
    pub fn layout(&self) -> Layout {
        // Whole units that are one domain each need no list, however many they are.
        if let [run] = self.runs[..]
            && self.kinds[run.kind].domains().iter().all(|domain| *domain == 0)
        {
            return if run.count == 1 { Layout::Flat } else { Layout::Blocks(self.kinds[run.kind].gpus() as u32) };
        }
        let mut domains: Vec<u32> = Vec::with_capacity(self.gpus());
        let mut next = 0;
        for unit in self.runs.iter().flat_map(|run| std::iter::repeat_n(&self.kinds[run.kind], run.count)) {
            domains.extend(unit.domains().iter().map(|domain| next + domain));
            next += unit.domains().iter().max().map_or(0, |last| last + 1);
        }
        Layout::of(&domains)
    }

    /// Whether the switches of every domain can add up.
    pub fn reduces_in_switch(&self) -> bool {
        self.runs.iter().all(|run| self.kinds[run.kind].reduces_everywhere())
    }

    /// The unit of a GPU and its number there.
    pub fn unit_of(&self, gpu: usize) -> (usize, usize) {
        let location = self.locate(gpu);
        (location.unit, location.gpu)
    }

    fn locate(&self, gpu: usize) -> Location {
        let (mut first_gpu, mut first_unit, mut resources) = (0, 0, 0);
        for run in &self.runs {
            let unit = &self.kinds[run.kind];
            let gpus = run.count * unit.gpus();
            if gpu < first_gpu + gpus {
                let (within, local) = ((gpu - first_gpu) / unit.gpus(), (gpu - first_gpu) % unit.gpus());
                return Location {
                    kind: run.kind,
                    unit: first_unit + within,
                    gpu: local,
                    resources: resources + within as u64 * resources_of(unit),
                };
            }
            first_gpu += gpus;
            first_unit += run.count;
            resources += run.count as u64 * resources_of(unit);
        }
        panic!("GPU {gpu} of {}", self.gpus());
    }

    /// How a message goes from one GPU to another; None if it can't.
    pub fn route(&self, from: usize, to: usize) -> Option<Route> {
        let (a, b) = (self.locate(from), self.locate(to));
        let mut route = Route { latency_ns: 0.0, resources: Vec::new(), outgoing: 0, crosses: false };
        if a.unit == b.unit
            && let Some(path) = self.kinds[a.kind].path(a.gpu, b.gpu)
        {
            let (first, rest) = path.split_at(path.len().min(1));
            self.pass(&mut route, a, first);
            route.outgoing = route.resources.len();
            self.pass(&mut route, a, rest);
            return Some(route);
        }
        route.crosses = true;
        self.pass(&mut route, a, self.kinds[a.kind].way_out(a.gpu)?);
        route.latency_ns += self.network.latency_ns;
        route.outgoing = route.resources.len();
        if self.network.unit_bytes_per_s.is_some() && a.unit != b.unit {
            let spine =
                |at: Location, way| ResourceId(at.resources + resources_of(&self.kinds[at.kind]) - 2 + way as u64);
            route.resources.extend([spine(a, SPINE_OUT), spine(b, SPINE_IN)]);
            route.outgoing += 1;
        }
        self.pass(&mut route, b, self.kinds[b.kind].way_in(b.gpu)?);
        Some(route)
    }

    fn pass(&self, route: &mut Route, at: Location, links: &[usize]) {
        let unit = &self.kinds[at.kind];
        for &link in links {
            route.latency_ns += unit.links[link].latency_ns;
            route.resources.push(ResourceId(at.resources + link as u64));
            let limits = unit.limits.iter().enumerate().filter(|(_, limit)| limit.links.contains(&link));
            for (index, _) in limits {
                let limit = ResourceId(at.resources + (unit.links.len() + index) as u64);
                if !route.resources.contains(&limit) {
                    route.resources.push(limit);
                }
            }
        }
    }

    /// Numbers above all resources.
    pub fn resources(&self) -> u64 {
        self.runs.iter().map(|run| run.count as u64 * resources_of(&self.kinds[run.kind])).sum()
    }

    /// The number of a resource among those of its unit's kind, the same in all units of a run.
    pub fn number_in_unit(&self, id: ResourceId) -> u64 {
        let mut first = 0;
        for run in &self.runs {
            let each = resources_of(&self.kinds[run.kind]);
            if id.0 < first + run.count as u64 * each {
                return (id.0 - first) % each;
            }
            first += run.count as u64 * each;
        }
        panic!("resource {} of {}", id.0, self.resources());
    }

    /// Rate, class and name of a resource.
    pub fn resource(&self, id: ResourceId) -> Resource<'_> {
        let (mut first, mut first_unit) = (0, 0);
        for run in &self.runs {
            let kind = &self.kinds[run.kind];
            let each = resources_of(kind);
            let all = run.count as u64 * each;
            if id.0 < first + all {
                let (unit, index) = ((id.0 - first) / each, ((id.0 - first) % each) as usize);
                return self.resource_of(kind, first_unit + unit as usize, index);
            }
            first += all;
            first_unit += run.count;
        }
        panic!("resource {} of {}", id.0, self.resources());
    }

    fn resource_of<'a>(&'a self, kind: &'a Unit, unit: usize, index: usize) -> Resource<'a> {
        let links = kind.links.len();
        if index < links {
            let link = &kind.links[index];
            return Resource { unit, part: Part::Link(kind, link), class: link.class, bytes_per_s: link.bytes_per_s };
        }
        if let Some(limit) = kind.limits.get(index - links) {
            let class = limit.links.first().map_or(LinkClass::Host, |link| kind.links[*link].class);
            return Resource { unit, part: Part::Limit(&limit.name), class, bytes_per_s: limit.bytes_per_s };
        }
        let part = if index - links - kind.limits.len() == SPINE_OUT { Part::SpineOut } else { Part::SpineIn };
        let bytes_per_s = self.network.unit_bytes_per_s.unwrap_or(f64::INFINITY);
        Resource { unit, part, class: LinkClass::Network, bytes_per_s }
    }
}

/// What stands behind a [`ResourceId`].
#[derive(Clone, Copy, Debug)]
pub struct Resource<'a> {
    pub unit: usize,
    part: Part<'a>,
    pub class: LinkClass,
    pub bytes_per_s: f64,
}

#[derive(Clone, Copy, Debug)]
enum Part<'a> {
    Link(&'a Unit, &'a Link),
    Limit(&'a str),
    SpineOut,
    SpineIn,
}

impl Resource<'_> {
    /// Whether it is a link, and not something that several links or GPUs share.
    pub fn is_link(&self) -> bool {
        matches!(self.part, Part::Link(..))
    }

    /// Whether it is a limit on links that are resources of their own.
    pub fn is_limit(&self) -> bool {
        matches!(self.part, Part::Limit(..))
    }
}

impl std::fmt::Display for Resource<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = self.unit;
        match self.part {
            Part::Link(kind, link) => {
                let [from, to] = [link.from, link.to].map(|node| &kind.nodes[node].name);
                write!(f, "{} {from} -> {to} of unit {unit}", self.class.name())
            }
            Part::Limit(name) => write!(f, "{name} of unit {unit}"),
            Part::SpineOut => write!(f, "unit {unit}'s way into the spine"),
            Part::SpineIn => write!(f, "unit {unit}'s way out of the spine"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Limit, Node, NodeKind};

    /// GPUs around one switch, a NIC each, the NICs of each pair sharing a limit.
    fn rack(gpus: usize) -> Unit {
        let mut nodes: Vec<Node> =
            (0..gpus).map(|gpu| Node { name: format!("gpu{gpu}"), kind: NodeKind::Gpu }).collect();
        nodes.push(Node { name: "switch".to_owned(), kind: NodeKind::Switch { reduces: true } });
        nodes.extend((0..gpus).map(|gpu| Node { name: format!("nic{gpu}"), kind: NodeKind::Nic }));
        let mut links = Vec::new();
        for gpu in 0..gpus {
            for (other, class, bytes_per_s, latency_ns) in
                [(gpus, LinkClass::NvLink, 900e9, 500.0), (gpus + 1 + gpu, LinkClass::Nic, 50e9, 1000.0)]
            {
                links.push(Link { from: gpu, to: other, class, bytes_per_s, latency_ns });
                links.push(Link { from: other, to: gpu, class, bytes_per_s, latency_ns });
            }
        }
        let pair = |pair: usize| Limit {
            name: format!("nic pair {pair}"),
            bytes_per_s: 60e9,
            links: vec![8 * pair + 2, 8 * pair + 6],
        };
        Unit::new("rack", nodes, links, (0..gpus / 2).map(pair).collect(), 4)
    }

    fn machine(runs: &[(usize, usize)]) -> Topology {
        Topology {
            name: "test".to_owned(),
            gpu: Gpu { model: "GB200".to_owned(), memory_bytes_per_s: 8e12 },
            kinds: vec![rack(4), rack(2)],
            runs: runs.iter().map(|&(kind, count)| Run { kind, count }).collect(),
            network: Network { name: "EFA".to_owned(), latency_ns: 10_000.0, unit_bytes_per_s: Some(150e9) },
            reached: Reached::default(),
            gaps: Gaps::default(),
            constants: Vec::new(),
        }
    }

    #[test]
    fn routes_stay_in_the_domain_or_pass_two_nics() {
        let machine = machine(&[(0, 2), (1, 1)]);
        assert_eq!((machine.units(), machine.gpus()), (3, 10));
        assert_eq!(machine.layout(), Layout::of(&[0, 0, 0, 0, 1, 1, 1, 1, 2, 2]));
        assert!(machine.reduces_in_switch());
        let near = machine.route(4, 7).unwrap();
        assert_eq!((near.latency_ns, near.resources.len(), near.crosses), (1000.0, 2, false));
        let far = machine.route(1, 9).unwrap();
        assert!(far.crosses && far.latency_ns == 12_000.0);
        let names: Vec<String> = far.resources.iter().map(|id| machine.resource(*id).to_string()).collect();
        assert_eq!(
            names,
            [
                "NIC gpu1 -> nic1 of unit 0",
                "nic pair 0 of unit 0",
                "unit 0's way into the spine",
                "unit 2's way out of the spine",
                "NIC nic1 -> gpu1 of unit 2"
            ]
        );
        let rates: Vec<f64> = far.resources.iter().map(|id| machine.resource(*id).bytes_per_s / 1e9).collect();
        assert_eq!(rates, [50.0, 60.0, 150.0, 150.0, 50.0]);
    }

    #[test]
    fn no_resource_is_shared_by_two_units_and_all_are_numbered() {
        let machine = machine(&[(1, 1), (0, 1), (1, 2)]);
        let mut owners = std::collections::HashMap::new();
        for from in 0..machine.gpus() {
            for to in (0..machine.gpus()).filter(|to| *to != from) {
                for id in machine.route(from, to).unwrap().resources {
                    assert!(id.0 < machine.resources());
                    let unit = machine.resource(id).unit;
                    assert!([machine.unit_of(from).0, machine.unit_of(to).0].contains(&unit));
                    assert_eq!(*owners.entry(id).or_insert(unit), unit);
                }
            }
        }
    }

    #[test]
    fn half_a_million_gpus_take_no_list() {
        let machine = machine(&[(0, 125_000)]);
        assert_eq!((machine.gpus(), machine.layout()), (500_000, Layout::Blocks(4)));
        assert_eq!(machine.unit_of(499_999), (124_999, 3));
        assert!(machine.route(0, 499_999).unwrap().crosses);
    }
}
