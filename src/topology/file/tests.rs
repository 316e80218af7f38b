use super::*;
use crate::topology::machines::{Request, names};
use crate::topology::{Layout, random};
use proptest::prelude::*;

#[test]
fn presets_come_back_as_they_were() {
    for name in names() {
        for (units, gpus) in [(1, None), (16, None), (3, Some(3))] {
            let units = if name == "host" { 1 } else { units };
            let request = Request { units, gpus_per_unit: gpus, cores: 4, ..Request::new(name) };
            let machine = request.topology().unwrap();
            let text = print(&machine);
            assert_eq!(parse("preset.toml", &text), Ok(machine), "{text}");
            assert!(text.lines().filter(|line| !line.starts_with("source")).count() < 125, "{text}");
        }
    }
}

#[test]
fn stars_are_recognised_and_what_is_odd_is_listed() {
    let text = r#"name = "odd"

[gpu]
model = "X"
memory_gb_per_s = 8000

[network]
name = "net"
latency_us = 5
unit_gb_per_s = 100

[[unit]]
name = "a"
count = 2
gpus = 8
missing = [3, 6]
gpus_per_host = 2
link = [
  { from = "leaf0", to = "spine", both_ways = true, gb_per_s = 100, latency_us = 0.5 },
  { from = "gpu0", to = "gpu5", class = "host", gb_per_s = 7, latency_us = 2 },
]
limit = [
  { name = "all out", gb_per_s = 100, links = ["gpu0 -> leaf0", "gpu1 -> leaf0"] },
]

[[unit.switch]]
name = "leaf"
every = 4
gb_per_s = 900
latency_us = 0.5
reduces = true

[[unit.switch]]
name = "spine"
joins = ["leaf1"]
gb_per_s = 50
latency_us = 1

[[unit.nic]]
name = "nic"
every = 2
cards = 2
gb_per_s = 50
latency_us = 0
shared_gb_per_s = 60

[[unit]]
name = "b"
count = 1
gpus = ["left", "right"]

[[unit.nic]]
name = "only"
gb_per_s = 12.5
latency_us = 0
class = "host"

[[unit]]
like = "a"
count = 1
"#;
    let machine = parse("odd.toml", text).unwrap();
    assert_eq!((machine.units(), machine.gpus()), (4, 20));
    assert_eq!(machine.kinds[0].nodes.iter().filter(|node| node.name.starts_with("nic")).count(), 8);
    assert_eq!(print(&machine), text);
}

#[test]
fn what_is_missing_or_degraded_changes_the_unit() {
    let text = r#"
        [[unit]]
        like = "p6e-gb200x72"
        count = 15
        [[unit]]
        like = "p6e-gb200x72"
        missing = [20, 21, 22, 23]
        degraded = [{ links = ["gpu5 -> nvswitch"], share = 0.5 }]
        [[unit]]
        like = "p6e-gb200x72"
        gpus = 64
        nic_gbps_per_gpu = 200
        name = "half"
    "#;
    let machine = parse("racks.toml", text).unwrap();
    assert_eq!((machine.gpus(), machine.kinds.len()), (15 * 72 + 68 + 64, 3));
    assert_eq!(machine.layout().domain_size(machine.gpus(), 15), 68);
    let tray = &machine.kinds[1];
    assert_eq!(tray.name, "u-p6e-gb200x72.2");
    assert!(tray.nodes.iter().all(|node| !["gpu20", "efa23.1"].contains(&node.name.as_str())));
    assert_eq!(tray.links.iter().filter(|link| link.bytes_per_s == 450e9).count(), 1);
    assert_eq!(machine.kinds[2].links.last().unwrap().bytes_per_s, 25e9);
    assert_eq!(machine.network.name, "EFA");
    assert!(machine.constants.iter().all(|constant| !constant.name.contains("of a unit")));
    assert_eq!(parse("again.toml", &print(&machine)), Ok(machine));
}

#[test]
fn nested_domains_and_meshes_are_one_domain() {
    let ring = r#"
        [[unit]]
        gpus = 4
        [[unit.link]]
        from = "gpu0"
        to = "gpu1"
        gb_per_s = 25
        [[unit.link]]
        from = "gpu1"
        to = "gpu2"
        gb_per_s = 25
        [[unit.link]]
        from = "gpu2"
        to = "gpu3"
        gb_per_s = 25
        [[unit.link]]
        from = "gpu3"
        to = "gpu0"
        gb_per_s = 25
    "#;
    assert_eq!(parse("ring.toml", ring).unwrap().layout(), Layout::Flat);
    let leaves = r#"
        [[unit]]
        gpus = 8
        [[unit.switch]]
        name = "leaf"
        every = 4
        gb_per_s = 900
        [[unit.switch]]
        name = "spine"
        joins = ["leaf*"]
        gb_per_s = 1800
    "#;
    let leaves = parse("leaves.toml", leaves).unwrap();
    assert_eq!(leaves.layout(), Layout::Flat);
    assert_eq!(leaves.route(0, 7).unwrap().resources.len(), 4);
}

#[track_caller]
fn refusal(text: &str, place: (usize, usize), part: &str) {
    let error = parse("m.toml", text).unwrap_err();
    let told = error.to_string();
    assert!(told.contains(part) && !told.contains('\n'), "{told}");
    assert_eq!((error.line, error.column), place, "{told}");
    assert!(told.starts_with(&format!("m.toml:{}:{}: ", place.0, place.1)));
}

/// A sound machine of one unit, with a line replaced or added to the unit.
fn unit(line: &str) -> String {
    format!("[[unit]]\ngpus = 4\n{line}\n[[unit.switch]]\nname = \"s\"\ngb_per_s = 1\n")
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    assert!(parse("m.toml", &unit("")).is_ok());
    refusal(&unit("cuont = 2"), (3, 1), "unknown key `cuont`; did you mean `count`?");
    refusal(&unit("  count = 0"), (3, 11), "`count` is 0, and must be from 1 to");
    refusal(&unit("count = -3"), (3, 9), "`count` is -3");
    refusal(&unit("count = 1_000_000_000_000"), (3, 9), "must be from 1 to 16777216");
    refusal(&unit("count = 99999999999999999999999999999999999999999"), (3, 9), "must be from 1 to 16777216");
    refusal(&unit("count = 1_000_000\nname = \"n\""), (1, 1), "nothing leads from the network to `gpu0`");
    refusal(&unit("count = 2.5"), (3, 9), "`count` is a number, and must be a whole number");
    refusal(&unit("count = \"2\""), (3, 9), "`count` is a string");
    refusal(&unit("missing = [4]"), (1, 1), "GPU 4 can't be missing: the unit has GPUs 0 to 3");
    refusal(&unit("missing = [0, 1, 2, 3]"), (1, 1), "no GPU is left");
    refusal(&unit("gpus = 3"), (3, 1), "duplicate key");
    refusal("name = \"ä\" x", (1, 12), "this is not TOML");
    refusal("", (1, 1), "a machine needs a unit");
    refusal("[[unit]]\ngpus = 1000000000000\n", (2, 8), "`gpus` is 1000000000000, and must be from 1 to 1024");
    refusal("[[unit]]\ngpus = [\"a\", \"a\"]\n", (1, 1), "two nodes of the unit are called `a`");
    refusal("[[unit]]\ngpus = [\"a b\"]\n", (1, 1), "`a b` is not a name");
    refusal("[[unit]]\ngpus = 2\n", (1, 1), "nothing leads from `gpu0` to `gpu1` in unit `unit`: give it a link");
    refusal("unit = 3\n", (1, 8), "`unit` is a whole number, and must be a list of tables: write [[unit]]");
}

#[test]
fn wrong_links_are_told_with_their_place() {
    let link = |line: &str| unit(&format!("link = [\n  {{ {line} }}\n]"));
    refusal(
        &link("from = \"gpu0\", to = \"gpu9\", gb_per_s = 1"),
        (4, 3),
        "unknown GPU, switch or NIC `gpu9`; did you mean `gpu0`?",
    );
    refusal(&link("from = \"gpu0\", to = \"gpu1\", gb_per_s = 0"), (4, 44), "`gb_per_s` is 0, and must be more than 0");
    refusal(&link("from = \"gpu0\", to = \"gpu1\", gb_per_s = nan"), (4, 44), "`gb_per_s` is NaN");
    refusal(&link("from = \"gpu0\", to = \"gpu1\", gb_per_s = -1.5"), (4, 44), "`gb_per_s` is -1.5");
    refusal(&link("from = \"gpu0\", to = \"gpu1\", gbps = inf"), (4, 40), "`gbps` is inf");
    refusal(
        &link("from = \"gpu0\", to = \"gpu1\", gbps = 1e-320"),
        (4, 40),
        "`gbps` is 1e-320, and a link passes 8e-9 or more",
    );
    refusal(&link("from = \"gpu0\", to = \"gpu1\", gbps = 8, gb_per_s = 1"), (4, 33), "say the same");
    refusal(&link("from = \"gpu0\", to = \"gpu1\""), (4, 3), "a rate is missing");
    refusal(&link("from = \"gpu0\", gbps = 1"), (4, 3), "a link needs `to`");
    refusal(&link("from = \"gpu0\", to = \"gpu0\", gbps = 1"), (4, 3), "leads back to itself");
    refusal(&link("from = \"gpu0\", to = \"s\", gbps = 1"), (4, 3), "two links lead from `gpu0` to `s`");
    refusal(&link("from = \"gpu0\", to = \"gpu1\", gbps = 1, latency_us = -1"), (4, 56), "0 or more");
    refusal(&link("from = \"gpu0\", to = \"gpu1\", gbps = 1, class = \"nvlnk\""), (4, 51), "did you mean `NVLink`?");
    let limit = |links: &str| unit(&format!("limit = [{{ name = \"l\", gbps = 1, links = {links} }}]"));
    refusal(&limit("[\"gpu0 -> t\"]"), (3, 10), "unknown link `gpu0 -> t`; did you mean `gpu0 -> s`?");
    refusal(&limit("[\"gpu0\"]"), (3, 10), "`gpu0` is not a link");
    refusal(&limit("[]"), (3, 42), "`links` names none");
    let degraded = "degraded = [{ links = [\"gpu0 -> s\"], share = 1.5 }]";
    refusal(&unit(degraded), (3, 46), "`share` is 1.5, and must be more than 0 and at most 1");
}

#[test]
fn wrong_references_are_told_with_their_place() {
    refusal("[[unit]]\nlike = \"p6e-gb200-x72\"\n", (2, 8), "did you mean `p6e-gb200x72`?");
    refusal("[[unit]]\nlike = \"p5\"\ngpus = 9\n", (3, 8), "`gpus` is 9, and must be from 1 to 8");
    let again = format!("{}[[unit]]\nlike = \"unit\"\ngpus = 2\n", unit(""));
    refusal(&again, (9, 1), "unknown key `gpus`");
    refusal(&format!("{}{}", unit(""), unit("")), (7, 1), "two units are called `unit`");
    let unconnected = "[[unit]]\nlike = \"p5\"\n[[unit]]\nname = \"lonely\"\ngpus = 1\n";
    refusal(unconnected, (3, 1), "nothing leads from the network to `gpu0` in unit `lonely`: give it a link or a NIC");
    refusal(
        &unit("").replace("gpus = 4", "gpus = 4\n[[unit.nic]]\nname = \"s\"\nevery = 9\ngbps = 1"),
        (5, 9),
        "`every` is 9, and must be from 1 to 4",
    );
    refusal(
        "[[constant]]\nname = \"n\"\nunit = \"us\"\nvalue = 1\norigin = \"guesed\"\nsource = \"\"\n[[unit]]\nlike = \"p5\"",
        (5, 10),
        "unknown origin `guesed`",
    );
}

#[test]
fn what_is_too_large_is_refused_at_once() {
    let wide = "[[unit]]\ngpus = 1024\n[[unit.switch]]\nname = \"s\"\ncards = 1024\ngbps = 1\n";
    refusal(wide, (3, 1), "a unit may have 65536 links, not more");
    let many = "[[unit]]\ngpus = 1024\n[[unit.switch]]\nname = \"s\"\ncards = 20\ngbps = 1\n";
    refusal(many, (1, 1), "more than a unit may have: describe parallel switches or NICs as one");
    let mut kinds = String::new();
    for kind in 0..100 {
        kinds.push_str(&format!("[[unit]]\nname = \"u{kind}\"\ngpus = 512\n[[unit.switch]]\nname = \"s\"\ngbps = 1\n"));
    }
    refusal(&kinds, (187, 1), "too many and too large");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, max_local_rejects: 1 << 20, ..ProptestConfig::default() })]

    #[test]
    fn random_machines_come_back_as_they_were(machine in random::machine(6)) {
        let text = print(&machine);
        let again = parse("random.toml", &text);
        prop_assert_eq!(again.as_ref(), Ok(&machine), "{}", text);
    }

    #[test]
    fn no_text_is_a_panic(text in any::<String>()) {
        let _ = parse("random.toml", &text);
    }

    /// A sound file with some bytes struck out, doubled, or replaced by parts of others.
    #[test]
    fn no_mutation_is_a_panic(
        name in proptest::sample::select(names().collect::<Vec<_>>()),
        edits in proptest::collection::vec((any::<proptest::sample::Index>(), any::<proptest::sample::Index>(), 0..12usize), 1..6),
    ) {
        const PARTS: [&str; 9] =
            ["99999999999999999999", "-1", "nan", "\"", "[[unit]]\n", "gpus = 7\n", "missing = [1]\n", "every = 3\n", "*"];
        let mut text = print(&Request { gpus_per_unit: Some(5), ..Request::new(name) }.topology().unwrap());
        for (at, other, edit) in edits {
            let places: Vec<usize> = text.char_indices().map(|(place, _)| place).collect();
            if places.is_empty() {
                break;
            }
            let (mut start, mut end) = (places[at.index(places.len())], places[other.index(places.len())]);
            if start > end {
                std::mem::swap(&mut start, &mut end);
            }
            end = end.min(places[(places.binary_search(&start).unwrap() + 12).min(places.len() - 1)]);
            match edit {
                0 => text.replace_range(start..end, ""),
                1 => {
                    let doubled = text[start..end].to_owned();
                    text.insert_str(start, &doubled);
                }
                2 => text.truncate(end),
                _ => text.replace_range(start..end, PARTS[edit % PARTS.len()]),
            }
        }
        if let Ok(machine) = parse("mutated.toml", &text) {
            prop_assert_eq!(parse("again.toml", &print(&machine)), Ok(machine));
        }
    }
}
