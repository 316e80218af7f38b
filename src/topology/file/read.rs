//! From tables to a topology.

use super::table::{Complaint, Read, Table, Value};
use crate::topology::fabric::{Gaps, Gpu, Network, Reached, Run, Topology};
use crate::topology::machines::{self, Design, MOST_GPUS, Request, Sum};
use crate::topology::outline::{self, Degraded, Joins, Misfit, Outline, Shared, Star, Wire, gpu_names, is_name};
use crate::topology::quantity::{Constant, Quantity};
use crate::topology::unit::{LinkClass, Unit};
use crate::types::UnknownName;
use std::borrow::Cow;

/// Rates and latencies beyond these are slips of a unit.
const MOST_BYTES_PER_S: f64 = 1e15;
const LEAST_BYTES_PER_S: f64 = 1.0;
const MOST_NS: f64 = 1e12;
/// GPUs and NICs of all kinds of units, times their links: what the search for routes looks at.
const MOST_WORK: usize = 1 << 24;

impl From<Misfit> for Complaint {
    fn from(misfit: Misfit) -> Complaint {
        Complaint { at: misfit.at, message: misfit.message }
    }
}

/// The machine that a file describes.
pub fn topology(root: &Table<'_>) -> Read<Topology> {
    let units = root.tables("unit", "a unit")?;
    if units.is_empty() {
        return Err(Complaint::new(root.at, "a machine needs a unit: write [[unit]]"));
    }
    let mut kinds = Kinds::default();
    for unit in units {
        kinds.add(unit)?;
    }
    let whole = kinds.preset.as_ref().map(|request| request.topology().expect("it was asked for before"));
    let name = root.string("name")?.or_else(|| whole.as_ref().map(|whole| whole.name.clone()));
    let gpu = match root.table("gpu", "the GPU")? {
        Some(table) => gpu(table)?,
        None => whole.as_ref().map_or_else(unknown_gpu, |whole| whole.gpu.clone()),
    };
    let network = match root.table("network", "the network")? {
        Some(table) => network(table)?,
        None => whole.as_ref().map_or_else(no_network, |whole| whole.network.clone()),
    };
    let reached = match root.table("reached", "what is reached")? {
        Some(table) => reached(table)?,
        None => whole.as_ref().map_or_else(Reached::default, |whole| whole.reached),
    };
    let gaps = match root.table("gap", "the gap between messages")? {
        Some(table) => gaps(table)?,
        None => whole.as_ref().map_or_else(Gaps::default, |whole| whole.gaps),
    };
    let constants = root.tables("constant", "a constant")?;
    let listed = constants.into_iter().map(constant).collect::<Read<Vec<_>>>()?;
    let constants = match whole {
        Some(whole) if listed.is_empty() => kinds.constants_of(&whole),
        _ => listed,
    };
    let name = name.unwrap_or_else(|| "machine".to_owned());
    let machine = Topology { name, gpu, kinds: kinds.units, runs: kinds.runs, network, reached, gaps, constants };
    kinds.places.iter().zip(&machine.runs).try_for_each(|(at, run)| {
        let unit = &machine.kinds[run.kind];
        connected(unit, machine.units() > 1, *at)
    })?;
    Ok(machine)
}

fn unknown_gpu() -> Gpu {
    Gpu { model: "GPU".to_owned(), memory_bytes_per_s: 8e12 }
}

fn no_network() -> Network {
    Network { name: "none".to_owned(), latency_ns: 0.0, unit_bytes_per_s: None }
}

/// The kinds of units and their rows, as the file names them.
#[derive(Default)]
struct Kinds {
    outlines: Vec<Outline>,
    units: Vec<Unit>,
    runs: Vec<Run>,
    /// Of each run.
    places: Vec<usize>,
    gpus: usize,
    work: usize,
    /// The first preset that a unit is like, and whether anything is missing from it or degraded.
    preset: Option<Request<'static>>,
    altered: bool,
}

impl Kinds {
    fn add(&mut self, mut table: Table<'_>) -> Read<()> {
        let at = table.at;
        let count = table.count("count", 1, MOST_GPUS)?.unwrap_or(1);
        let kind = match table.get("like") {
            None => {
                let outline = outline(&table)?;
                self.add_kind(outline)?
            }
            Some(like) => {
                table.what = "a unit like another";
                self.like(&table, like)?
            }
        };
        table.finish()?;
        self.gpus = self.gpus.saturating_add(count.saturating_mul(self.units[kind].gpus()));
        if self.gpus > MOST_GPUS {
            return Err(Complaint::new(
                at,
                format!(
                    "the units up to here have {} GPUs, more than the {MOST_GPUS} that a machine may have",
                    self.gpus
                ),
            ));
        }
        self.runs.push(Run { kind, count });
        self.places.push(at);
        Ok(())
    }

    fn add_kind(&mut self, outline: Outline) -> Read<usize> {
        if let Some(same) = self.outlines.iter().find(|one| one.name == outline.name) {
            let told = format!(
                "two units are called `{}`: give each its own name, or write `like` for more of the same",
                same.name
            );
            return Err(Complaint::new(outline.at, told));
        }
        let unit = outline.unit()?;
        self.work = self.work.saturating_add(unit.nodes.len() * unit.links.len());
        if self.work > MOST_WORK {
            return Err(Complaint::new(
                outline.at,
                "the units of this machine are too many and too large to find the routes of all: describe parallel switches or NICs as one",
            ));
        }
        self.outlines.push(outline);
        self.units.push(unit);
        Ok(self.units.len() - 1)
    }

    /// A unit like an earlier one or a preset, with what is missing or degraded; the same kind if nothing is.
    fn like(&mut self, table: &Table<'_>, like: Value<'_>) -> Read<usize> {
        let name = like.string()?;
        let known = self.outlines.iter().position(|one| one.name == name);
        let preset = machines::DESIGNS.iter().find(|design| design.name == name || design.unit == name);
        let base = match (known, preset) {
            (Some(known), _) => self.outlines[known].clone(),
            (None, Some(design)) => self.preset(table, design)?,
            (None, None) => {
                let names = self.outlines.iter().map(|one| one.name.as_str());
                let names = names.chain(machines::DESIGNS.iter().map(|design| design.name));
                let told = UnknownName::new("unit", outline::start_of(&name), names);
                return Err(Complaint::new(
                    like.at,
                    format!("{told}: `like` names an earlier unit of the file or a machine"),
                ));
            }
        };
        let mut outline = base.clone();
        outline.at = table.at;
        let missing = missing(table)?;
        let degraded = degraded(table)?;
        outline.missing.extend(missing);
        outline.degraded.extend(degraded);
        let own_name = unit_name(table)?;
        let same = (&outline.missing, &outline.degraded) == (&base.missing, &base.degraded);
        self.altered |= !same;
        if let (Some(known), true, None) = (known, same, &own_name) {
            return Ok(known);
        }
        outline.name = own_name.unwrap_or_else(|| self.free_name(&outline.name));
        self.add_kind(outline)
    }

    /// A unit of a preset, or part of one.
    fn preset(&mut self, table: &Table<'_>, design: &'static Design) -> Read<Outline> {
        let gpus = table.count("gpus", 1, design.gpus)?;
        let nic_gbps_per_gpu = table.number("nic_gbps_per_gpu", false, 1e6)?;
        let request = Request { gpus_per_unit: gpus, nic_gbps_per_gpu, ..Request::new(design.name) };
        self.preset.get_or_insert(request);
        Ok(design.outline(gpus.unwrap_or(design.gpus), nic_gbps_per_gpu.unwrap_or(design.nics.gbps_per_gpu.value)))
    }

    /// A preset's own name for its first unit; with a number behind for what is like it and differs.
    fn free_name(&self, name: &str) -> String {
        let taken = |name: &str| self.outlines.iter().any(|one| one.name == name);
        let numbered = (1..).map(|number| if number == 1 { name.to_owned() } else { format!("{name}.{number}") });
        numbered.into_iter().find(|name| !taken(name)).expect("numbers don't end")
    }

    /// The preset's constants; where units lack something, those of whole units don't hold.
    fn constants_of(&self, whole: &Topology) -> Vec<Constant> {
        let is_total = |constant: &Constant| Sum::ALL.iter().any(|sum| sum.name() == constant.name);
        whole.constants.iter().filter(|constant| !(self.altered && is_total(constant))).cloned().collect()
    }
}

fn gpu(table: Table<'_>) -> Read<Gpu> {
    let unknown = unknown_gpu();
    let model = table.string("model")?.unwrap_or(unknown.model);
    let memory_bytes_per_s = rate(&table, &MEMORY)?.unwrap_or(unknown.memory_bytes_per_s);
    table.finish()?;
    Ok(Gpu { model, memory_bytes_per_s })
}

fn network(table: Table<'_>) -> Read<Network> {
    let name = table.string("name")?.unwrap_or_else(|| "network".to_owned());
    let latency_ns = latency(&table)?.unwrap_or(0.0);
    let unit_bytes_per_s = rate(&table, &OF_UNIT)?;
    table.finish()?;
    Ok(Network { name, latency_ns, unit_bytes_per_s })
}

fn reached(table: Table<'_>) -> Read<Reached> {
    let share = |key| -> Read<f64> { Ok(table.number(key, false, 1.0)?.unwrap_or(1.0)) };
    let found = Reached { domain: share("domain")?, switch: share("switch")?, network: share("network")? };
    table.finish()?;
    Ok(found)
}

fn gaps(table: Table<'_>) -> Read<Gaps> {
    let domain_ns = time_ns(&table, ["domain_us", "domain_ns"])?.unwrap_or(0.0);
    let network_ns = time_ns(&table, ["network_us", "network_ns"])?.unwrap_or(0.0);
    table.finish()?;
    Ok(Gaps { domain_ns, network_ns })
}

fn constant(table: Table<'_>) -> Read<Constant> {
    let text = |key| table.require(key)?.string();
    let name = text("name")?;
    let unit = text("unit")?;
    let value = table.require("value")?.number(true, f64::MAX)?;
    let origin = table.require("origin")?;
    let parsed =
        origin.string()?.parse().map_err(|unknown: UnknownName| Complaint::new(origin.at, unknown.to_string()))?;
    let source = text("source")?;
    let quantity = Quantity { value, origin: parsed, source: Cow::Owned(source) };
    table.finish()?;
    Ok(Constant { name: Cow::Owned(name), unit: Cow::Owned(unit), quantity })
}

fn unit_name(table: &Table<'_>) -> Read<Option<String>> {
    table.get("name").map(|value| name(value)).transpose()
}

fn name(value: Value<'_>) -> Read<String> {
    let text = value.string()?;
    if is_name(&text) {
        return Ok(text);
    }
    let told = format!("`{}` is not a name: write letters, digits and any of _ . : / -", outline::start_of(&text));
    Err(Complaint::new(value.at, told))
}

fn missing(table: &Table<'_>) -> Read<Vec<usize>> {
    Ok(table.get("missing").map(|value| value.counts(outline::MOST_GPUS - 1)).transpose()?.unwrap_or_default())
}

fn outline(table: &Table<'_>) -> Read<Outline> {
    let gpus = table.require("gpus")?;
    let gpus = if gpus.is_list() { gpus.strings()? } else { gpu_names(gpus.count(1, outline::MOST_GPUS)?) };
    if gpus.is_empty() {
        return Err(Complaint::new(table.at, "a unit has at least 1 GPU"));
    }
    if let Some(wrong) = gpus.iter().find(|gpu| !is_name(gpu)) {
        let told = format!("`{}` is not a name: write letters, digits and any of _ . : / -", outline::start_of(wrong));
        return Err(Complaint::new(table.at, told));
    }
    let most = gpus.len();
    Ok(Outline {
        name: unit_name(table)?.unwrap_or_else(|| "unit".to_owned()),
        missing: missing(table)?,
        gpus_per_host: table.count("gpus_per_host", 1, outline::MOST_GPUS)?.unwrap_or(0),
        switches: table
            .tables("switch", "a switch")?
            .into_iter()
            .map(|one| star(one, most, false))
            .collect::<Read<_>>()?,
        nics: table.tables("nic", "a NIC")?.into_iter().map(|one| star(one, most, true)).collect::<Read<_>>()?,
        links: table.tables("link", "a link")?.into_iter().map(wire).collect::<Read<_>>()?,
        limits: table.tables("limit", "a limit")?.into_iter().map(limit).collect::<Read<_>>()?,
        degraded: degraded(table)?,
        gpus,
        at: table.at,
    })
}

fn star(table: Table<'_>, gpus: usize, is_nic: bool) -> Read<Star> {
    table.not_both("joins", "every")?;
    let joins = match (table.get("joins"), table.count("every", 1, gpus)?) {
        (Some(joins), _) => Joins::Named(joins.strings()?),
        (None, Some(size)) => Joins::Every(size),
        (None, None) => Joins::AllGpus,
    };
    let joins_nothing = joins == Joins::Named(Vec::new());
    let rate = match rate(&table, &PLAIN)? {
        Some(rate) => rate,
        // Links that are not there have no rate.
        None if joins_nothing => 1.0,
        None => return Err(no_rate(&table)),
    };
    let star = Star {
        name: name(table.require("name")?)?,
        joins,
        cards: table.count("cards", 1, outline::MOST_GPUS)?.unwrap_or(1),
        reduces: if is_nic { false } else { table.boolean("reduces")?.unwrap_or(false) },
        class: class(&table)?.unwrap_or(if is_nic { LinkClass::Nic } else { LinkClass::NvLink }),
        bytes_per_s: rate,
        latency_ns: latency(&table)?.unwrap_or(0.0),
        shared_bytes_per_s: self::rate(&table, &SHARED)?,
        at: table.at,
    };
    table.finish()?;
    Ok(star)
}

fn wire(table: Table<'_>) -> Read<Wire> {
    let end = |key| table.require(key)?.string();
    let wire = Wire {
        from: end("from")?,
        to: end("to")?,
        both_ways: table.boolean("both_ways")?.unwrap_or(false),
        class: class(&table)?.unwrap_or(LinkClass::NvLink),
        bytes_per_s: rate(&table, &PLAIN)?.ok_or_else(|| no_rate(&table))?,
        latency_ns: latency(&table)?.unwrap_or(0.0),
        at: table.at,
    };
    table.finish()?;
    Ok(wire)
}

/// The names of links, at least one.
fn links(table: &Table<'_>) -> Read<Vec<String>> {
    let value = table.require("links")?;
    let links = value.strings()?;
    if links.is_empty() {
        return Err(Complaint::new(value.at, "`links` names none: write [\"gpu0 -> nic0\"]"));
    }
    Ok(links)
}

fn limit(table: Table<'_>) -> Read<Shared> {
    let shared = Shared {
        name: table.require("name")?.string()?,
        bytes_per_s: rate(&table, &PLAIN)?.ok_or_else(|| no_rate(&table))?,
        links: links(&table)?,
        at: table.at,
    };
    table.finish()?;
    Ok(shared)
}

fn degraded(table: &Table<'_>) -> Read<Vec<Degraded>> {
    let one = |table: Table<'_>| {
        let share = table.require("share")?.number(false, 1.0)?;
        let degraded = Degraded { links: links(&table)?, share, at: table.at };
        table.finish()?;
        Ok(degraded)
    };
    table.tables("degraded", "what is degraded")?.into_iter().map(one).collect()
}

fn class(table: &Table<'_>) -> Read<Option<LinkClass>> {
    let Some(value) = table.get("class") else { return Ok(None) };
    let text = value.string()?;
    let found = LinkClass::ALL.into_iter().find(|class| class.name().eq_ignore_ascii_case(&text));
    let known = || {
        UnknownName::new("class of links", outline::start_of(&text), LinkClass::ALL.iter().map(|class| class.name()))
    };
    found.map(Some).ok_or_else(|| Complaint::new(value.at, known().to_string()))
}

/// The three ways to write a rate: in GB/s, in Gbps, in bytes/s.
type RateKeys = [(&'static str, f64); 3];

macro_rules! rate_keys {
    ($prefix:literal) => {
        [
            (concat!($prefix, "gb_per_s"), 1e9),
            (concat!($prefix, "gbps"), 1e9 / 8.0),
            (concat!($prefix, "bytes_per_s"), 1.0),
        ]
    };
}
const PLAIN: RateKeys = rate_keys!("");
const SHARED: RateKeys = rate_keys!("shared_");
const MEMORY: RateKeys = rate_keys!("memory_");
const OF_UNIT: RateKeys = rate_keys!("unit_");

fn rate(table: &Table<'_>, keys: &RateKeys) -> Read<Option<f64>> {
    let mut found = None;
    for (index, &(key, scale)) in keys.iter().enumerate() {
        keys[..index].iter().try_for_each(|(earlier, _)| table.not_both(earlier, key))?;
        let value = table.number(key, false, MOST_BYTES_PER_S / scale)?;
        if let (Some(given), Some(place)) = (value.filter(|value| value * scale < LEAST_BYTES_PER_S), table.get(key)) {
            let least = LEAST_BYTES_PER_S / scale;
            let told =
                format!("`{key}` is {given:e}, and a link passes {least:e} or more: leave out one that passes nothing");
            return Err(Complaint::new(place.at, told));
        }
        found = found.or(value.map(|value| value * scale));
    }
    Ok(found)
}

fn no_rate(table: &Table<'_>) -> Complaint {
    Complaint::new(table.at, "a rate is missing: write `gb_per_s`, `gbps` or `bytes_per_s`")
}

fn latency(table: &Table<'_>) -> Read<Option<f64>> {
    time_ns(table, ["latency_us", "latency_ns"])
}

/// A time by one of two keys.
fn time_ns(table: &Table<'_>, [in_us, in_ns]: [&'static str; 2]) -> Read<Option<f64>> {
    table.not_both(in_us, in_ns)?;
    let found = table.number(in_us, true, MOST_NS / 1e3)?.map(|us| us * 1e3);
    Ok(found.or(table.number(in_ns, true, MOST_NS)?))
}

/// Every GPU reaches every other, over the network if there is one.
fn connected(unit: &Unit, has_others: bool, at: usize) -> Read<()> {
    let start = if has_others { "the network".to_owned() } else { format!("`{}`", unit.nodes[0].name) };
    let advice = if has_others { "a link or a NIC" } else { "a link" };
    for backward in [false, true] {
        if let Some(gpu) = unit.reaches(has_others, backward).iter().position(|reached| !reached) {
            let lonely = format!("`{}`", unit.nodes[gpu].name);
            let (from, to) = if backward { (&lonely, &start) } else { (&start, &lonely) };
            let told = format!("nothing leads from {from} to {to} in unit `{}`: give it {advice}", unit.name);
            return Err(Complaint::new(at, told));
        }
    }
    Ok(())
}
