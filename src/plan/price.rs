//! The closed-form price of a plan on a machine: from its [stages](super::Stage) and what the ports of a GPU reach.

use super::{Stage, Through};
use crate::topology::{LinkClass, Topology, Unit};

/// One way out of a GPU, and into it: what a rank can count on when all ranks are busy alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    pub bytes_per_s: f64,
    /// From the start of a message until its first byte is there, if it is alone.
    pub latency_ns: f64,
    /// A part of that: what a message takes of the port, see [`Gaps`](crate::topology::Gaps).
    pub gap_ns: f64,
    /// The same as so many bytes more, which pass at the rate that all who share the port leave each other.
    pub gap_bytes: f64,
    /// What binds the rate.
    pub class: LinkClass,
}

/// What the ranks of a machine can count on: the slowest of each kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Ports {
    /// Within a domain; None where every domain is one GPU.
    pub inside: Option<Port>,
    /// Between domains; None where there is only one, or no way.
    pub crossing: Option<Port>,
    /// The same for one that has to itself what several share.
    pub crossing_alone: Option<Port>,
    pub memory_bytes_per_s: f64,
    /// How many times as long a byte takes inside that a switch folds or copies.
    pub switch_factor: f64,
}

/// Why a plan takes as long as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bottleneck {
    Latency,
    /// How many messages a rank sends, whatever their size.
    Messages,
    /// What a rank's way within its domain passes.
    Inside,
    /// What its way to other domains passes.
    Network,
    Memory,
}

/// A price in its parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// What it takes whatever the size: hops, and messages that wait for those before them.
    pub latency_ns: f64,
    pub bandwidth_ns: f64,
    pub bottleneck: Bottleneck,
}

impl Price {
    pub fn total_ns(&self) -> f64 {
        self.latency_ns + self.bandwidth_ns
    }
}

impl Ports {
    /// The ports of the slowest GPUs of a machine. A limit that several GPUs share is divided among them.
    pub fn of(topology: &Topology) -> Ports {
        let kinds = || topology.runs.iter().map(|run| &topology.kinds[run.kind]);
        let domains = topology.layout().domains(topology.gpus());
        // What a message takes is a time, whatever part of the port's rate is reached.
        let reached = |port: Port| {
            let share = topology.reached.of(port.class);
            Port { bytes_per_s: port.bytes_per_s * share, gap_bytes: port.gap_bytes * share, ..port }
        };
        let crossing = |alone: bool| {
            let ports = kinds().filter_map(|unit| crossing(topology, unit, alone));
            ports.reduce(slower).map(reached).filter(|_| domains > 1)
        };
        Ports {
            inside: kinds().filter_map(|unit| inside(topology, unit)).map(reached).reduce(slower),
            crossing: crossing(false),
            crossing_alone: crossing(true),
            memory_bytes_per_s: topology.gpu.memory_bytes_per_s,
            switch_factor: topology.reached.switch_factor(),
        }
    }

    /// As if messages took nothing but the time of their bytes.
    fn without_gaps(&self) -> Ports {
        let without = |port: &Option<Port>| port.clone().map(|port| Port { gap_ns: 0.0, gap_bytes: 0.0, ..port });
        let [inside, crossing, crossing_alone] = [&self.inside, &self.crossing, &self.crossing_alone].map(without);
        Ports { inside, crossing, crossing_alone, ..*self }
    }
}

fn slower(a: Port, b: Port) -> Port {
    Port {
        latency_ns: a.latency_ns.max(b.latency_ns),
        gap_bytes: a.gap_bytes.max(b.gap_bytes),
        ..if a.bytes_per_s <= b.bytes_per_s { a } else { b }
    }
}

/// `gap_ns`: what a message takes of the slowest link of the way if it has that to itself.
fn way_port(unit: &Unit, way: &[usize], gap_ns: f64, users: impl Fn(usize) -> usize) -> Option<Port> {
    let alone = way.iter().map(|link| unit.links[*link].bytes_per_s).fold(f64::INFINITY, f64::min);
    let gap_bytes = if alone.is_finite() { gap_ns / 1e9 * alone } else { 0.0 };
    let links = way.iter().map(|link| (*link, &unit.links[*link]));
    let limited = |(index, link): (usize, &crate::topology::Link)| {
        let limits = unit.limits.iter().filter(|limit| limit.links.contains(&index));
        let shared = limits
            .map(|limit| limit.bytes_per_s / limit.links.iter().map(|link| users(*link)).sum::<usize>().max(1) as f64);
        (shared.fold(link.bytes_per_s / users(index).max(1) as f64, f64::min), link.class)
    };
    let (bytes_per_s, class) = links.map(limited).min_by(|a, b| a.0.total_cmp(&b.0))?;
    let latency_ns = way.iter().map(|link| unit.links[*link].latency_ns).sum();
    Some(Port { bytes_per_s, latency_ns, gap_ns, gap_bytes, class })
}

/// Between GPUs of one domain; each GPU is taken to send to one other at a time, so that its links are its own.
fn inside(topology: &Topology, unit: &Unit) -> Option<Port> {
    let pairs = (0..unit.gpus()).flat_map(|from| (0..unit.gpus()).map(move |to| (from, to)));
    let ways = pairs.filter(|(from, to)| from != to).filter_map(|(from, to)| unit.path(from, to));
    ways.filter_map(|way| way_port(unit, way, topology.gaps.domain_ns, |_| 1)).reduce(slower)
}

/// From a GPU over its NIC and the network to another's, while all others are as busy, or none is.
fn crossing(topology: &Topology, unit: &Unit, alone: bool) -> Option<Port> {
    let gpus = 0..unit.gpus();
    let gap_ns = topology.gaps.network_ns;
    let users_out =
        |link: usize| gpus.clone().filter(|gpu| unit.way_out(*gpu).is_some_and(|way| way.contains(&link))).count();
    let users_in =
        |link: usize| gpus.clone().filter(|gpu| unit.way_in(*gpu).is_some_and(|way| way.contains(&link))).count();
    let mut slowest: Option<Port> = None;
    for gpu in 0..unit.gpus() {
        let (out, into) = (unit.way_out(gpu)?, unit.way_in(gpu)?);
        let (out, into) = match alone {
            true => (
                way_port(unit, out, gap_ns, |link| usize::from(out.contains(&link)))?,
                way_port(unit, into, gap_ns, |link| usize::from(into.contains(&link)))?,
            ),
            false => (way_port(unit, out, gap_ns, users_out)?, way_port(unit, into, gap_ns, users_in)?),
        };
        let latency_ns = out.latency_ns + topology.network.latency_ns + into.latency_ns;
        let port = Port { latency_ns, ..slower(out, into) };
        slowest = Some(slowest.map_or(port.clone(), |one| slower(one, port)));
    }
    let users = if alone { 1 } else { unit.gpus() };
    let spine = topology.network.unit_bytes_per_s.map(|rate| rate / users as f64);
    slowest.map(|port| match spine {
        Some(bytes_per_s) if bytes_per_s < port.bytes_per_s => Port { bytes_per_s, class: LinkClass::Network, ..port },
        _ => port,
    })
}

/// The time of stages with chunks of so many bytes, of which every block has `tiles`.
///
/// Every hop of every stage takes its latency once. Of the bytes, and of what each message takes besides them, each stage's first tile has the way to itself; the other tiles
/// overlap with those of other stages, until the port that has most to pass over all stages is busy all the time. A tile goes through a
/// stage in its turn: the next begins when it is through, but for one hop in a domain, which passes while others are at work.
///
/// Of several chains of stages the longest is what it takes.
pub fn price(stages: &[Stage], chunk_bytes: f64, tiles: u32, ports: &Ports) -> Price {
    let chains = stages.chunk_by(|one, next| one.chain == next.chain);
    let without_gaps = ports.without_gaps();
    let priced = chains.map(|chain| {
        let of_bytes = price_of_chain(chain, chunk_bytes, tiles, &without_gaps);
        let latency_ns = price_of_chain(chain, chunk_bytes, tiles, ports).total_ns() - of_bytes.bandwidth_ns;
        let of_messages_ns = latency_ns - of_bytes.latency_ns;
        let most_ns = of_bytes.latency_ns.max(of_bytes.bandwidth_ns);
        let bottleneck = if of_messages_ns > most_ns { Bottleneck::Messages } else { of_bytes.bottleneck };
        Price { latency_ns, bandwidth_ns: of_bytes.bandwidth_ns, bottleneck }
    });
    let nothing = Price { latency_ns: 0.0, bandwidth_ns: 0.0, bottleneck: Bottleneck::Latency };
    priced.max_by(|a, b| a.total_ns().total_cmp(&b.total_ns())).unwrap_or(nothing)
}

fn price_of_chain(stages: &[Stage], chunk_bytes: f64, tiles: u32, ports: &Ports) -> Price {
    let ns_per_byte = |port: &Option<Port>| port.as_ref().map_or(0.0, |port| 1e9 / port.bytes_per_s);
    let gap_ns = |port: &Option<Port>| port.as_ref().map_or(0.0, |port| 1e9 * port.gap_bytes / port.bytes_per_s);
    // What a message takes of its port counts with the bytes, for each of them.
    let latency = |port: &Option<Port>| port.as_ref().map_or(0.0, |port| (port.latency_ns - port.gap_ns).max(0.0));
    let inside_gap_ns = gap_ns(&ports.inside);
    let inside_ns = ns_per_byte(&ports.inside) * chunk_bytes;
    // A chunk that is folded or copied in memory is read twice or once, and written.
    let local_ns = 2.0 * chunk_bytes / ports.memory_bytes_per_s * 1e9;
    let mut total = Sums::default();
    let (mut serial_ns, mut fill_ns) = (0.0, 0.0);
    let (mut turn_inside_ns, mut turn_crossing_ns) = (0.0, 0.0);
    let mut paced_ns = 0.0_f64;
    for stage in stages {
        let crossing_port = if stage.alone { &ports.crossing_alone } else { &ports.crossing };
        let crossing_ns = ns_per_byte(crossing_port) * chunk_bytes;
        let crossing_gap_ns = gap_ns(crossing_port);
        let (factor, hop_ns) = match stage.through {
            Through::Switch => (ports.switch_factor, ports.inside.as_ref().map_or(0.0, |port| port.latency_ns)),
            Through::Messages => (1.0, latency(&ports.inside)),
        };
        let one = Sums {
            latency_ns: f64::from(stage.hops) * hop_ns + f64::from(stage.crossing_hops) * latency(&ports.crossing),
            out_ns: stage.chunks_out as f64 * inside_ns * factor + stage.messages_out as f64 * inside_gap_ns,
            in_ns: stage.chunks_in as f64 * inside_ns * factor + stage.messages_in as f64 * inside_gap_ns,
            crossing_ns: (stage.crossing_chunks + stage.idle_chunks) as f64 * crossing_ns
                + stage.crossing_messages as f64 * crossing_gap_ns,
            local_ns: stage.local_chunks as f64 * local_ns,
        };
        serial_ns += one.bytes_ns();
        if stage.pipelined {
            fill_ns += stage.fill_chunks as f64 * (inside_ns + inside_gap_ns)
                + stage.crossing_fill_chunks as f64 * (crossing_ns + crossing_gap_ns);
        }
        if stage.in_flight > 0 {
            let all_ns = one.latency_ns * f64::from(tiles) + one.bytes_ns();
            paced_ns = paced_ns.max(all_ns / f64::from(stage.in_flight));
        }
        if stage.asked > 0 {
            // Those that are asked for at a time come at the same time, and so does the wait for the first byte of the next.
            turn_inside_ns += one.latency_ns / f64::from(stage.asked);
        }
        if !stage.pipelined && stage.crossing_hops == 0 {
            turn_inside_ns += f64::from(stage.hops.saturating_sub(1)) * hop_ns;
        } else if !stage.pipelined {
            turn_crossing_ns += one.latency_ns;
        }
        total.latency_ns += one.latency_ns;
        total.out_ns += one.out_ns;
        total.in_ns += one.in_ns;
        total.crossing_ns += one.crossing_ns;
        total.local_ns += one.local_ns;
    }
    let at_a_time = stages.iter().map(|stage| stage.asked).max().unwrap_or(0).max(1);
    let overlap = if stages.len() > 1 { 1.0 - f64::from(at_a_time.min(tiles)) / f64::from(tiles) } else { 0.0 };
    let in_turn = Sums {
        out_ns: total.out_ns + turn_inside_ns * f64::from(tiles),
        in_ns: total.in_ns + turn_inside_ns * f64::from(tiles),
        crossing_ns: total.crossing_ns + turn_crossing_ns * f64::from(tiles),
        ..total
    };
    total.latency_ns += (in_turn.bytes_ns().max(paced_ns) - total.bytes_ns()) * overlap;
    let bandwidth_ns = serial_ns * (1.0 - overlap) + total.bytes_ns() * overlap + fill_ns;
    let terms = [
        (total.latency_ns, Bottleneck::Latency),
        (total.out_ns.max(total.in_ns), Bottleneck::Inside),
        (total.crossing_ns, Bottleneck::Network),
        (total.local_ns, Bottleneck::Memory),
    ];
    let bottleneck = terms.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).expect("there are four").1;
    Price { latency_ns: total.latency_ns, bandwidth_ns, bottleneck }
}

#[derive(Clone, Copy, Default)]
struct Sums {
    latency_ns: f64,
    /// A port passes both directions at once.
    out_ns: f64,
    in_ns: f64,
    crossing_ns: f64,
    local_ns: f64,
}

impl Sums {
    /// Ports and memory work side by side.
    fn bytes_ns(&self) -> f64 {
        self.out_ns.max(self.in_ns).max(self.crossing_ns).max(self.local_ns)
    }
}
