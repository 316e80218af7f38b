//! A machine as a picture that people can read: each kind of unit once, with its number.

mod canvas;
mod place;
mod unit;

use super::fabric::Topology;
use super::quantity::Origin;
use super::summary;
use super::unit::LinkClass;
use crate::words::short_figure;
use canvas::{Anchor, Canvas, Rect};

const MARGIN: f64 = 24.0;
/// The network stands to the left of the units.
const NETWORK_WIDTH: f64 = 46.0;
const CABLE: f64 = 150.0;
const LINE: f64 = 18.0;
/// Rows of units that are drawn.
const MOST_RUNS: usize = 6;

/// The picture as SVG.
///
/// ```
/// use unisono::topology::{drawing, machines::Request};
///
/// let machine = Request { units: 6944, ..Request::new("p6e-gb200x72") }.topology()?;
/// let picture = drawing::svg(&machine);
/// assert!(picture.starts_with("<svg") && picture.contains("6,944 x u-p6e-gb200x72"));
/// # Ok::<(), unisono::topology::machines::Refused>(())
/// ```
pub fn svg(topology: &Topology) -> String {
    let mut canvas = Canvas::default();
    let networked = topology.kinds.iter().any(|unit| unit.bytes_per_s_out(LinkClass::Nic) > 0.0)
        || topology.layout().domains(topology.gpus()) > 1;
    let left = if networked { MARGIN + NETWORK_WIDTH + CABLE } else { MARGIN };
    canvas.text("title", MARGIN, MARGIN + 14.0, Anchor::Start, &topology.name);
    canvas.text("note", MARGIN, MARGIN + 36.0, Anchor::Start, &subtitle(topology));
    let top = MARGIN + 56.0;
    let mut y = top;
    let mut right: f64 = left + 560.0;
    for run in topology.runs.iter().take(MOST_RUNS) {
        let unit = &topology.kinds[run.kind];
        let drawn = unit::draw(&mut canvas, unit, run.count, left, y);
        if networked {
            cable(&mut canvas, topology, unit, drawn);
        }
        right = right.max(drawn.right());
        y = drawn.bottom() + 14.0;
        for line in summary::links(unit, &topology.gpu) {
            y += LINE;
            canvas.text("note", left, y, Anchor::Start, &line);
        }
        y += 2.0 * LINE;
    }
    if topology.runs.len() > MOST_RUNS {
        let rest: usize = topology.runs[MOST_RUNS..].iter().map(|run| run.count).sum();
        canvas.text("head", left, y, Anchor::Start, &format!("and {} more units", thousands(rest)));
        y += LINE;
    }
    if networked {
        let bar = Rect { x: MARGIN, y: top, width: NETWORK_WIDTH, height: y - top - LINE };
        canvas.rect("network", bar, &topology.network.name);
        let name: Vec<char> = topology.network.name.chars().take(12).collect();
        let first = bar.across() - 16.0 * (name.len() as f64 - 1.0) / 2.0;
        for (index, letter) in name.iter().enumerate() {
            canvas.text(
                "inverse",
                bar.middle(),
                first + 16.0 * index as f64 + 5.0,
                Anchor::Middle,
                &letter.to_string(),
            );
        }
    }
    y += LINE;
    for (index, (class, what)) in legend(topology).iter().enumerate() {
        let x = MARGIN + 130.0 * index as f64;
        canvas.rect(class, Rect { x, y: y - 11.0, width: 20.0, height: 12.0 }, what);
        canvas.text("note", x + 26.0, y, Anchor::Start, what);
    }
    y += 1.4 * LINE;
    for line in facts(topology) {
        canvas.text("note", MARGIN, y, Anchor::Start, &line);
        y += LINE;
        right = right.max(MARGIN + 6.6 * line.chars().count() as f64);
    }
    canvas.finish(right + MARGIN, y + MARGIN - LINE)
}

fn subtitle(topology: &Topology) -> String {
    let (units, gpus) = (topology.units(), topology.gpus());
    let domains = topology.layout().domains(gpus);
    let model = if topology.gpu.is_core() && gpus != 1 { "cores" } else { &topology.gpu.model };
    format!("{} {model} in {} and {}", thousands(gpus), counted(units, "unit"), counted(domains, "domain"))
}

fn counted(count: usize, what: &str) -> String {
    format!("{} {what}{}", thousands(count), if count == 1 { "" } else { "s" })
}

/// Classes of the style sheet in words.
fn legend(topology: &Topology) -> &'static [(&'static str, &'static str)] {
    if topology.gpu.is_core() {
        return &[("gpu legend", "core"), ("switch", "memory")];
    }
    &[
        ("gpu legend", "GPU"),
        ("switch", "switch"),
        ("nic", "NIC"),
        ("gone legend", "missing GPU"),
        ("slow legend", "slower link"),
    ]
}

/// From the network to a unit, with what passes.
fn cable(canvas: &mut Canvas, topology: &Topology, unit: &super::unit::Unit, drawn: Rect) {
    let all = unit.bytes_per_s_out(LinkClass::Nic);
    let (rate, what) = match topology.network.unit_bytes_per_s {
        Some(spine) => (spine, "spine"),
        None => (all, "all NICs"),
    };
    if rate <= 0.0 {
        return;
    }
    let title = format!("{what} of a unit: {} each direction", summary::gb_per_s(rate));
    let start = (MARGIN + NETWORK_WIDTH, drawn.across());
    canvas.line("netlink", start, (drawn.x, drawn.across()), 6.0, &title);
    let middle = MARGIN + NETWORK_WIDTH + CABLE / 2.0;
    let tbps = format!("{} Tbps", trimmed(rate * 8.0 / 1e12));
    canvas.text("head", middle, drawn.across() - 10.0, Anchor::Middle, &tbps);
    canvas.text("small", middle, drawn.across() + 18.0, Anchor::Middle, &format!("{what}, each direction"));
}

/// Two digits, or what is left of them.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What messages take, and what is assumed.
fn facts(topology: &Topology) -> Vec<String> {
    let (gpus, noun) = (topology.gpus(), topology.gpu.noun());
    let layout = topology.layout();
    let inside = (1..gpus.min(2048)).find(|gpu| layout.domain(*gpu) == layout.domain(0));
    let crossing = (1..gpus).find(|gpu| layout.domain(*gpu) != layout.domain(0));
    let told = |what: &str, to: Option<usize>| {
        let route = topology.route(0, to?)?;
        let rates = route.resources.iter().map(|id| topology.resource(*id).bytes_per_s);
        let rate = summary::gb_per_s(rates.fold(f64::INFINITY, f64::min));
        Some(format!("{noun} to {noun} {what}: {rate}, {}", summary::us(route.latency_ns)))
    };
    let mut lines: Vec<String> =
        [told("in a domain", inside), told("between domains", crossing)].into_iter().flatten().collect();
    let assumed: Vec<String> = topology
        .constants
        .iter()
        .filter(|constant| constant.quantity.origin == Origin::Assumed)
        .map(|constant| format!("{} {} {}", constant.name, short_figure(constant.quantity.value), constant.unit))
        .collect();
    lines.extend(assumed.iter().map(|one| format!("assumed: {one}")));
    lines
}

/// 6,944.
pub(super) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).expect("digits")).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::machines::{Request, names};
    use crate::topology::{file, random};
    use proptest::prelude::*;

    /// Every opened element is closed, nothing lies outside, no number is missing.
    fn is_sound(picture: &str) -> bool {
        let count = |part: &str| picture.matches(part).count();
        let paired = ["text", "title", "line", "path", "svg", "style"];
        let closed = paired
            .iter()
            .all(|name| count(&format!("<{name} ")) + count(&format!("<{name}>")) == count(&format!("</{name}>")));
        let size = |name: &str| -> f64 {
            let start = picture.find(&format!("{name}=\"")).expect("a size") + name.len() + 2;
            picture[start..].split('"').next().expect("a number").parse().expect("a number")
        };
        let (width, height) = (size("width"), size("height"));
        let inside = |name: &str, most: f64| {
            let key = format!(" {name}=\"");
            let values = picture.split(&key).skip(1);
            values
                .filter_map(|rest| rest.split('"').next()?.parse::<f64>().ok())
                .all(|value| (0.0..=most).contains(&value))
        };
        closed && inside("x", width) && inside("y", height) && !picture.contains("NaN") && !picture.contains("inf\"")
    }

    #[test]
    fn presets_are_drawn_with_all_their_gpus() {
        for name in names() {
            let topology = Request { cores: 4, ..Request::new(name) }.topology().unwrap();
            let picture = svg(&topology);
            assert!(is_sound(&picture), "{name}");
            assert_eq!(picture.matches("class=\"gpu\"").count(), topology.kinds[0].gpus(), "{name}");
        }
    }

    #[test]
    fn what_is_missing_or_slow_is_seen() {
        let text =
            "[[unit]]\nlike = \"p5\"\nmissing = [2]\ndegraded = [{ links = [\"gpu5 -> nvswitch\"], share = 0.5 }]\n";
        let picture = svg(&file::parse("m.toml", text).unwrap());
        assert_eq!((picture.matches("class=\"gone\"").count(), picture.matches("class=\"slow\"").count()), (1, 1));
        assert_eq!(picture.matches("class=\"gpu\"").count(), 7);
    }

    #[test]
    fn half_a_million_gpus_are_a_small_picture() {
        let topology = Request { units: 6944, ..Request::new("p6e-gb200x72") }.topology().unwrap();
        let picture = svg(&topology);
        assert!(picture.contains("499,968 GB200") && picture.contains("28.8 Tbps") && picture.len() < 100_000);
    }

    proptest! {
        #[test]
        fn random_machines_are_drawn(machine in random::machine(6)) {
            let picture = svg(&machine);
            prop_assert!(is_sound(&picture), "{}", picture);
        }
    }
}
