//! A unit as an [`Outline`]: in few words if stars make it up, else link by link.

use crate::topology::outline::{Joins, Outline, Shared, Star, Wire, gpu_names, link_name};
use crate::topology::unit::{Link, LinkClass, NodeKind, Unit};

/// The shortest outline known that the same unit comes of.
pub fn outline(unit: &Unit) -> Outline {
    let short = Peel::new(unit).outline();
    if short.unit().is_ok_and(|again| again == *unit) { short } else { literal(unit) }
}

fn name_of(unit: &Unit, node: usize) -> String {
    unit.nodes[node].name.clone()
}

/// Every link by itself.
fn literal(unit: &Unit) -> Outline {
    let star = |node: usize| Star {
        name: name_of(unit, node),
        joins: Joins::Named(Vec::new()),
        cards: 1,
        reduces: unit.nodes[node].kind == NodeKind::Switch { reduces: true },
        class: LinkClass::NvLink,
        bytes_per_s: 1.0,
        latency_ns: 0.0,
        shared_bytes_per_s: None,
        at: 0,
    };
    let (nics, switches): (Vec<usize>, Vec<usize>) =
        (unit.gpus()..unit.nodes.len()).partition(|node| unit.nodes[*node].kind == NodeKind::Nic);
    Outline {
        name: unit.name.clone(),
        gpus: (0..unit.gpus()).map(|gpu| name_of(unit, gpu)).collect(),
        gpus_per_host: unit.gpus_per_host,
        switches: switches.into_iter().map(star).collect(),
        nics: nics.into_iter().map(star).collect(),
        links: wires(unit, &unit.links),
        limits: (0..unit.limits.len()).map(|limit| shared(unit, limit)).collect(),
        ..Outline::default()
    }
}

/// A link and the same back as one.
fn wires(unit: &Unit, links: &[Link]) -> Vec<Wire> {
    let mut wires: Vec<Wire> = Vec::new();
    let mut rest = links;
    while let Some((link, others)) = rest.split_first() {
        let both_ways = others.first().is_some_and(|back| is_back(link, back));
        wires.push(Wire {
            from: name_of(unit, link.from),
            to: name_of(unit, link.to),
            both_ways,
            class: link.class,
            bytes_per_s: link.bytes_per_s,
            latency_ns: link.latency_ns,
            at: 0,
        });
        rest = &others[usize::from(both_ways)..];
    }
    wires
}

fn is_back(link: &Link, back: &Link) -> bool {
    *back == Link { from: link.to, to: link.from, ..link.clone() }
}

fn shared(unit: &Unit, limit: usize) -> Shared {
    let limit = &unit.limits[limit];
    let name = |link: &usize| {
        let Link { from, to, .. } = unit.links[*link];
        link_name(&unit.nodes[from].name, &unit.nodes[to].name)
    };
    Shared {
        name: limit.name.clone(),
        bytes_per_s: limit.bytes_per_s,
        links: limit.links.iter().map(name).collect(),
        at: 0,
    }
}

/// Takes stars off the links and limits of a unit, from the front.
struct Peel<'u> {
    unit: &'u Unit,
    /// How many are taken.
    links: usize,
    limits: usize,
    /// The numbers in the GPUs' names, where they are `gpu0`, `gpu1`... with gaps.
    numbers: Option<Vec<usize>>,
}

/// Cards with the same links.
struct Card {
    base: String,
    members: Vec<usize>,
    star: Star,
}

impl<'u> Peel<'u> {
    fn new(unit: &'u Unit) -> Peel<'u> {
        let number =
            |gpu: usize| numbered(&unit.nodes[gpu].name).filter(|(base, _)| *base == "gpu").map(|(_, number)| number);
        let numbers: Option<Vec<usize>> = (0..unit.gpus()).map(number).collect();
        let numbers = numbers.filter(|numbers| numbers.is_sorted_by(|a, b| a < b));
        // A unit with more gaps than GPUs is not one with GPUs missing.
        let numbers = numbers.filter(|numbers| numbers.last().is_some_and(|last| *last < 2 * unit.gpus()));
        Peel { unit, links: 0, limits: 0, numbers }
    }

    fn outline(mut self) -> Outline {
        let unit = self.unit;
        let mut cards: [Vec<Card>; 2] = [Vec::new(), Vec::new()];
        let mut node = unit.gpus();
        while node < unit.nodes.len() {
            let is_nic = unit.nodes[node].kind == NodeKind::Nic;
            let (card, nodes) = self.card(node);
            cards[usize::from(is_nic)].push(card);
            node += nodes;
        }
        let [switches, nics] = cards.map(|cards| self.stars(cards));
        let (gpus, missing) = match &self.numbers {
            Some(numbers) => {
                let all = numbers.last().map_or(0, |last| last + 1);
                (gpu_names(all), (0..all).filter(|number| numbers.binary_search(number).is_err()).collect())
            }
            None => ((0..unit.gpus()).map(|gpu| name_of(unit, gpu)).collect(), Vec::new()),
        };
        Outline {
            name: unit.name.clone(),
            gpus,
            missing,
            gpus_per_host: unit.gpus_per_host,
            switches,
            nics,
            links: wires(unit, &unit.links[self.links..]),
            limits: (self.limits..unit.limits.len()).map(|limit| shared(unit, limit)).collect(),
            ..Outline::default()
        }
    }

    /// The node and those after it that are cards of the same, with how many these are.
    fn card(&mut self, node: usize) -> (Card, usize) {
        let unit = self.unit;
        let before = self.links;
        let first = self.members(node);
        let link = unit.links.get(before).filter(|_| !first.is_empty());
        let name = &unit.nodes[node].name;
        let mut cards = 1;
        let base = name.strip_suffix(".0");
        if let (Some(base), Some(link)) = (base, link) {
            let is_next = |node: usize, card: usize| {
                unit.nodes
                    .get(node)
                    .is_some_and(|one| one.name == format!("{base}.{card}") && one.kind == unit.nodes[node - 1].kind)
            };
            while is_next(node + cards, cards) {
                let here = self.links;
                let alike = self.members(node + cards) == first
                    && unit.links.get(here).is_some_and(|one| {
                        Link { from: 0, to: 0, ..one.clone() } == Link { from: 0, to: 0, ..link.clone() }
                    });
                if !alike {
                    self.links = here;
                    break;
                }
                cards += 1;
            }
        }
        let base = if cards > 1 { base.unwrap_or(name) } else { name }.to_owned();
        let shared_bytes_per_s = self.shared(&base, before);
        let star = Star {
            name: base.clone(),
            joins: Joins::AllGpus,
            cards,
            reduces: unit.nodes[node].kind == NodeKind::Switch { reduces: true },
            class: link.map_or(LinkClass::NvLink, |link| link.class),
            bytes_per_s: link.map_or(1.0, |link| link.bytes_per_s),
            latency_ns: link.map_or(0.0, |link| link.latency_ns),
            shared_bytes_per_s,
            at: 0,
        };
        (Card { base, members: first, star }, cards)
    }

    /// Takes the links between a node and others, each to the node and back, all alike.
    fn members(&mut self, node: usize) -> Vec<usize> {
        let mut members = Vec::new();
        let first = self.links;
        while let [link, back, ..] = &self.unit.links[self.links..] {
            let start = &self.unit.links[first];
            let alike = Link { from: start.from, ..link.clone() } == *start;
            if link.to != node || link.from >= node || !is_back(link, back) || !alike {
                break;
            }
            members.push(link.from);
            self.links += 2;
        }
        members
    }

    /// Takes the limits of all links that were taken from `first` on, out and in.
    fn shared(&mut self, base: &str, first: usize) -> Option<f64> {
        let towards: Vec<usize> = (first..self.links).step_by(2).collect();
        let away: Vec<usize> = (first + 1..self.links).step_by(2).collect();
        let [out, into, ..] = &self.unit.limits[self.limits..] else { return None };
        let fits = out.name == format!("{base} out")
            && into.name == format!("{base} in")
            && out.bytes_per_s == into.bytes_per_s
            && !towards.is_empty()
            && (&out.links, &into.links) == (&towards, &away);
        fits.then(|| {
            self.limits += 2;
            out.bytes_per_s
        })
    }

    /// Cards as stars: those for every so many GPUs as one.
    fn stars(&self, cards: Vec<Card>) -> Vec<Star> {
        let mut stars = Vec::new();
        let mut rest = &cards[..];
        while let Some(first) = rest.first() {
            let (joins, name, taken) = match self.every(rest) {
                Some((size, name, taken)) => (Joins::Every(size), name, taken),
                None => (self.joins(&first.members), first.base.clone(), 1),
            };
            stars.push(Star { joins, name, ..first.star.clone() });
            rest = &rest[taken..];
        }
        stars
    }

    fn joins(&self, members: &[usize]) -> Joins {
        if members.len() == self.unit.gpus() && members.iter().enumerate().all(|(gpu, member)| gpu == *member) {
            return Joins::AllGpus;
        }
        Joins::Named(members.iter().map(|node| name_of(self.unit, *node)).collect())
    }

    /// Whether the first cards are one for every so many GPUs: how many GPUs, their common name, how many cards.
    fn every(&self, cards: &[Card]) -> Option<(usize, String, usize)> {
        let (base, first) = numbered(&cards[0].base)?;
        let numbers: Vec<usize> = self.numbers.clone().unwrap_or_else(|| (0..self.unit.gpus()).collect());
        let alike = |card: &&Card| {
            numbered(&card.base).is_some_and(|(name, _)| name == base)
                && Star { name: cards[0].star.name.clone(), ..card.star.clone() } == cards[0].star
        };
        let run: Vec<&Card> = cards.iter().take_while(alike).collect();
        let group = |card: &Card| numbered(&card.base).map_or(0, |(_, number)| number);
        let covers = |size: usize| {
            run.iter().all(|card| {
                let of_group = (0..numbers.len()).filter(|gpu| numbers[*gpu] / size == group(card));
                card.members.iter().copied().eq(of_group)
            })
        };
        let last = numbers.last()? + 1;
        let sizes =
            (1..=last).filter(|size| first == numbers[0] / size && (last - 1) / size == group(run[run.len() - 1]));
        let size = sizes.into_iter().find(|size| covers(*size))?;
        Some((size, base.to_owned(), run.len()))
    }
}

/// A name and the number behind it.
fn numbered(name: &str) -> Option<(&str, usize)> {
    let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
    let (base, number) = name.split_at(name.len() - digits);
    if number.is_empty() || (number.len() > 1 && number.starts_with('0')) {
        return None;
    }
    Some((base, number.parse().ok()?))
}
