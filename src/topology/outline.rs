//! A unit in few words: what presets and files say of it, and the [`Unit`] that comes of that.
//!
//! Most units are stars: a switch that joins all GPUs, a NIC for every GPU or two. An [`Outline`] lists the stars and what does not
//! fit them: single links, limits, links at part of their rate, GPUs that are not there.

use super::unit::{Limit, Link, LinkClass, Node, NodeKind, Unit};
use std::collections::{HashMap, HashSet};

/// The most that one unit may have: routes are computed between all its GPUs.
pub const MOST_GPUS: usize = 1024;
const MOST_NODES: usize = 8192;
const MOST_LINKS: usize = 1 << 16;
/// GPUs and NICs, times links: what the search for routes looks at.
const MOST_WORK: usize = 1 << 23;

/// What a unit is made of, before anything is missing from it.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Outline {
    pub name: String,
    /// Names of the GPUs, in the order of their numbers.
    pub gpus: Vec<String>,
    /// Numbers of GPUs that are not there, nor their links.
    pub missing: Vec<usize>,
    pub gpus_per_host: usize,
    pub switches: Vec<Star>,
    pub nics: Vec<Star>,
    pub links: Vec<Wire>,
    pub limits: Vec<Shared>,
    pub degraded: Vec<Degraded>,
    /// Where it stands in its file.
    pub at: usize,
}

/// Switches or NICs of one make, each with a link to and from everything that it joins.
#[derive(Clone, Debug, PartialEq)]
pub struct Star {
    /// Of the node; followed by a number where there is one for every so many GPUs.
    pub name: String,
    pub joins: Joins,
    /// Nodes with the same links side by side, `.0`, `.1`...
    pub cards: usize,
    pub reduces: bool,
    pub class: LinkClass,
    pub bytes_per_s: f64,
    pub latency_ns: f64,
    /// What all links to the cards may carry together, and all links from them.
    pub shared_bytes_per_s: Option<f64>,
    pub at: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Joins {
    AllGpus,
    /// One star for so many GPUs in a row, another for the next.
    Every(usize),
    /// Names of nodes; a `*` at the end stands for any rest.
    Named(Vec<String>),
}

/// A directed link.
#[derive(Clone, Debug, PartialEq)]
pub struct Wire {
    pub from: String,
    pub to: String,
    pub both_ways: bool,
    pub class: LinkClass,
    pub bytes_per_s: f64,
    pub latency_ns: f64,
    pub at: usize,
}

/// A limit on links that are written `from -> to`; a `*` at the end of either name stands for any rest.
#[derive(Clone, Debug, PartialEq)]
pub struct Shared {
    pub name: String,
    pub bytes_per_s: f64,
    pub links: Vec<String>,
    pub at: usize,
}

/// Links at part of their rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Degraded {
    pub links: Vec<String>,
    pub share: f64,
    pub at: usize,
}

/// Why no unit comes of an outline, and the place in the file of the part that is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    pub at: usize,
    pub message: String,
}

impl Misfit {
    fn new(at: usize, message: impl Into<String>) -> Misfit {
        Misfit { at, message: message.into() }
    }
}

/// The names `gpu0`, `gpu1`...
pub fn gpu_names(count: usize) -> Vec<String> {
    (0..count).map(|gpu| format!("gpu{gpu}")).collect()
}

/// How a link is named: by its ends.
pub fn link_name(from: &str, to: &str) -> String {
    format!("{from} -> {to}")
}

pub fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.:/-".contains(c);
    !text.is_empty() && text.len() <= 100 && text.chars().all(allowed) && !text.contains("->")
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    }
}

impl Outline {
    /// The unit.
    ///
    /// # Errors
    /// Names that are unknown or given twice, two links that go the same way, nothing left, more than a unit may have.
    pub fn unit(&self) -> Result<Unit, Misfit> {
        if self.gpus.len() > MOST_GPUS {
            let told = format!("{} GPUs are more than the {MOST_GPUS} that a unit may have", self.gpus.len());
            return Err(Misfit::new(self.at, told));
        }
        let mut parts = Parts::default();
        for gpu in &self.gpus {
            parts.add_node(gpu.clone(), NodeKind::Gpu, self.at)?;
        }
        for (stars, kind) in [(&self.switches, None), (&self.nics, Some(NodeKind::Nic))] {
            for star in stars {
                let kind = kind.unwrap_or(NodeKind::Switch { reduces: star.reduces });
                parts.add_star(star, kind, self.gpus.len())?;
            }
        }
        for wire in &self.links {
            parts.add_wire(wire)?;
        }
        for shared in &self.limits {
            let links = parts.matching(&shared.links, shared.at)?;
            let (name, bytes_per_s) = (shared.name.clone(), shared.bytes_per_s);
            parts.limits.push(Limit { name, bytes_per_s, links });
        }
        for degraded in &self.degraded {
            for link in parts.matching(&degraded.links, degraded.at)? {
                parts.links[link].bytes_per_s *= degraded.share;
            }
        }
        self.without_missing(parts)
    }

    fn without_missing(&self, parts: Parts) -> Result<Unit, Misfit> {
        let gpus = self.gpus.len();
        if let Some(number) = self.missing.iter().find(|number| **number >= gpus) {
            let told = format!("GPU {number} can't be missing: the unit has GPUs 0 to {}", gpus.max(1) - 1);
            return Err(Misfit::new(self.at, told));
        }
        let missing: HashSet<usize> = self.missing.iter().copied().collect();
        if missing.len() == gpus {
            return Err(Misfit::new(self.at, format!("no GPU is left of unit `{}`", self.name)));
        }
        let parts = if missing.is_empty() { parts } else { parts.without(&missing) };
        let searched = parts.nodes.iter().filter(|node| !matches!(node.kind, NodeKind::Switch { .. })).count();
        if searched * parts.links.len() > MOST_WORK {
            let told = format!(
                "{searched} GPUs and NICs with {} links are more than a unit may have: describe parallel switches or NICs as one",
                parts.links.len()
            );
            return Err(Misfit::new(self.at, told));
        }
        Ok(Unit::new(&self.name, parts.nodes, parts.links, parts.limits, self.gpus_per_host))
    }
}

#[derive(Default)]
struct Parts {
    nodes: Vec<Node>,
    numbers: HashMap<String, usize>,
    links: Vec<Link>,
    /// The link from node to node.
    ends: HashMap<(usize, usize), usize>,
    looked_at: usize,
    limits: Vec<Limit>,
}

impl Parts {
    fn add_node(&mut self, name: String, kind: NodeKind, at: usize) -> Result<usize, Misfit> {
        let number = self.nodes.len();
        if number == MOST_NODES {
            return Err(Misfit::new(at, format!("a unit may have {MOST_NODES} GPUs, switches and NICs, not more")));
        }
        if self.numbers.insert(name.clone(), number).is_some() {
            return Err(Misfit::new(at, format!("two nodes of the unit are called `{name}`: give each its own name")));
        }
        self.nodes.push(Node { name, kind });
        Ok(number)
    }

    fn add_link(&mut self, link: Link, at: usize) -> Result<usize, Misfit> {
        if self.links.len() == MOST_LINKS {
            return Err(Misfit::new(at, format!("a unit may have {MOST_LINKS} links, not more")));
        }
        if self.ends.insert((link.from, link.to), self.links.len()).is_some() {
            let [from, to] = [link.from, link.to].map(|node| &self.nodes[node].name);
            let told = format!("two links lead from `{from}` to `{to}`: give them as one with the sum of their rates");
            return Err(Misfit::new(at, told));
        }
        self.links.push(link);
        Ok(self.links.len() - 1)
    }

    fn add_star(&mut self, star: &Star, kind: NodeKind, gpus: usize) -> Result<(), Misfit> {
        match &star.joins {
            Joins::AllGpus => self.add_cards(star, &star.name, kind, &(0..gpus).collect::<Vec<_>>()),
            Joins::Every(size) => {
                for (group, first) in (0..gpus).step_by((*size).max(1)).enumerate() {
                    let members: Vec<usize> = (first..gpus.min(first.saturating_add(*size))).collect();
                    self.add_cards(star, &format!("{}{group}", star.name), kind, &members)?;
                }
                Ok(())
            }
            Joins::Named(patterns) => {
                let mut members = Vec::new();
                for pattern in patterns {
                    members.extend(self.named(pattern, star.at)?);
                }
                self.add_cards(star, &star.name, kind, &members)
            }
        }
    }

    fn add_cards(&mut self, star: &Star, base: &str, kind: NodeKind, members: &[usize]) -> Result<(), Misfit> {
        let (mut towards, mut away) = (Vec::new(), Vec::new());
        for card in 0..star.cards {
            let name = if star.cards == 1 { base.to_owned() } else { format!("{base}.{card}") };
            let node = self.add_node(name, kind, star.at)?;
            for &member in members {
                let (class, bytes_per_s, latency_ns) = (star.class, star.bytes_per_s, star.latency_ns);
                let link = |from, to| Link { from, to, class, bytes_per_s, latency_ns };
                towards.push(self.add_link(link(member, node), star.at)?);
                away.push(self.add_link(link(node, member), star.at)?);
            }
        }
        if let Some(bytes_per_s) = star.shared_bytes_per_s.filter(|_| !towards.is_empty()) {
            for (way, links) in [("out", towards), ("in", away)] {
                self.limits.push(Limit { name: format!("{base} {way}"), bytes_per_s, links });
            }
        }
        Ok(())
    }

    fn add_wire(&mut self, wire: &Wire) -> Result<(), Misfit> {
        let [from, to] = [&wire.from, &wire.to].map(|name| self.named_one(name, wire.at));
        let (from, to) = (from?, to?);
        if from == to {
            return Err(Misfit::new(wire.at, format!("the link of `{}` leads back to itself", wire.from)));
        }
        let link =
            |from, to| Link { from, to, class: wire.class, bytes_per_s: wire.bytes_per_s, latency_ns: wire.latency_ns };
        self.add_link(link(from, to), wire.at)?;
        if wire.both_ways {
            self.add_link(link(to, from), wire.at)?;
        }
        Ok(())
    }

    fn named_one(&self, name: &str, at: usize) -> Result<usize, Misfit> {
        self.numbers.get(name).copied().ok_or_else(|| self.unknown(name, at))
    }

    fn named(&self, pattern: &str, at: usize) -> Result<Vec<usize>, Misfit> {
        if !pattern.ends_with('*') {
            return Ok(vec![self.named_one(pattern, at)?]);
        }
        let found: Vec<usize> =
            (0..self.nodes.len()).filter(|node| matches(pattern, &self.nodes[*node].name)).collect();
        if found.is_empty() { Err(self.unknown(pattern, at)) } else { Ok(found) }
    }

    fn unknown(&self, name: &str, at: usize) -> Misfit {
        let names = self.nodes.iter().map(|node| node.name.as_str());
        Misfit::new(at, nearest("GPU, switch or NIC", name, names))
    }

    /// The links that `from -> to` patterns name, each once.
    fn matching(&mut self, patterns: &[String], at: usize) -> Result<Vec<usize>, Misfit> {
        let mut found = Vec::new();
        let mut taken = HashSet::new();
        for pattern in patterns {
            let Some((from, to)) = pattern.split_once("->") else {
                return Err(Misfit::new(at, format!("`{}` is not a link: write `gpu0 -> nic0`", start_of(pattern))));
            };
            let links = self.between(from.trim(), to.trim(), at)?;
            if links.is_empty() {
                let names: Vec<String> = self.links.iter().map(|link| self.link_name(link)).collect();
                let given = link_name(from.trim(), to.trim());
                return Err(Misfit::new(at, nearest("link", &given, names.iter().map(String::as_str))));
            }
            found.extend(links.into_iter().filter(|link| taken.insert(*link)));
        }
        Ok(found)
    }

    fn between(&mut self, from: &str, to: &str, at: usize) -> Result<Vec<usize>, Misfit> {
        if !from.ends_with('*') && !to.ends_with('*') {
            let ends = self.numbers.get(from).copied().zip(self.numbers.get(to).copied());
            return Ok(ends.and_then(|ends| self.ends.get(&ends).copied()).into_iter().collect());
        }
        self.looked_at += self.links.len();
        if self.looked_at > MOST_WORK {
            return Err(Misfit::new(at, "so many links are named with `*` that it takes too long to find them"));
        }
        let name = |node: usize| self.nodes[node].name.as_str();
        let fits = |link: &Link| matches(from, name(link.from)) && matches(to, name(link.to));
        Ok((0..self.links.len()).filter(|link| fits(&self.links[*link])).collect())
    }

    fn link_name(&self, link: &Link) -> String {
        link_name(&self.nodes[link.from].name, &self.nodes[link.to].name)
    }

    /// What is left without some GPUs: neither their links, nor switches and NICs that have no link any more.
    fn without(self, missing: &HashSet<usize>) -> Parts {
        let had_link = self.joined();
        let mut number = 0;
        let links: Vec<Option<usize>> = self
            .links
            .iter()
            .map(|link| {
                let stays = !missing.contains(&link.from) && !missing.contains(&link.to);
                number += usize::from(stays);
                stays.then(|| number - 1)
            })
            .collect();
        let renumber = |old: Vec<usize>| old.into_iter().filter_map(|link| links[link]).collect::<Vec<_>>();
        let limits = self.limits.into_iter().map(|limit| Limit { links: renumber(limit.links), ..limit });
        let limits = limits.filter(|limit| !limit.links.is_empty()).collect();
        let kept = self.links.into_iter().zip(&links).filter(|(_, number)| number.is_some());
        let left = Parts { links: kept.map(|(link, _)| link).collect(), ..Parts::default() };
        let has_link = left.joined();
        let mut places = vec![None; self.nodes.len()];
        let mut nodes = Vec::new();
        for (old, node) in self.nodes.into_iter().enumerate() {
            let stays = node.kind == NodeKind::Gpu || has_link.contains(&old) || !had_link.contains(&old);
            if stays && !missing.contains(&old) {
                places[old] = Some(nodes.len());
                nodes.push(node);
            }
        }
        let place = |node: usize| places[node].expect("nodes with links stay");
        let links = left.links.into_iter().map(|link| Link { from: place(link.from), to: place(link.to), ..link });
        Parts { nodes, links: links.collect(), limits, ..Parts::default() }
    }

    fn joined(&self) -> HashSet<usize> {
        self.links.iter().flat_map(|link| [link.from, link.to]).collect()
    }
}

/// `unknown X`, with the nearest of the names that are known, of which there may be many.
fn nearest<'a>(what: &'static str, given: &str, known: impl Iterator<Item = &'a str>) -> String {
    const COMPARED: usize = 1000;
    crate::types::UnknownName::new(what, start_of(given), known.take(COMPARED)).to_string()
}

/// As much of a text as belongs in a sentence.
pub fn start_of(text: &str) -> &str {
    const SHOWN: usize = 60;
    text.char_indices().nth(SHOWN).map_or(text, |(end, _)| &text[..end])
}
