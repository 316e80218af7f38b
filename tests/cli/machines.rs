//! `unisono machines`, `topology` and `bound`: tables, JSON, files, pictures, and what can't be asked.

use super::{finish, unisono};
use std::fs;
use std::path::PathBuf;

fn json(arguments: &[&str]) -> Vec<serde_json::Value> {
    let done = finish(unisono(&[arguments, &["--json"]].concat()));
    done.expect_status(0);
    done.expect(done.stderr.is_empty(), "nothing went wrong");
    done.stdout.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
}

/// A file of this test's own, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, text: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("unisono-{}-{name}", std::process::id()));
        fs::write(&path, text).expect("a temporary file");
        Scratch(path)
    }
    fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn every_machine_is_listed_with_its_sources() {
    let rows = json(&["machines"]);
    let names: Vec<&str> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
    let wanted = [
        "p6e-gb200x36",
        "p6e-gb200x72",
        "p6e-gb300x72",
        "gb200-nvl72",
        "gb300-nvl72",
        "p4d",
        "p5",
        "p5en",
        "p6-b200",
        "p6-b300",
        "dgx-h100",
        "hgx-h200",
        "hgx-b200",
        "hgx-b300",
        "host",
    ];
    assert_eq!(names, wanted);
    for row in &rows {
        let constants = row["constants"].as_array().expect("a list");
        assert!(!constants.is_empty() && constants.iter().all(|one| one["source"] != "" && one["origin"].is_string()));
    }
    let rack = rows.iter().find(|row| row["name"] == "p6e-gb200x72").expect("it is listed");
    assert_eq!((&rack["gpus"], &rack["network_of_unit_tbps"]), (&72.into(), &28.8.into()));
    let assumed = rows.iter().find(|row| row["name"] == "p6e-gb300x72").expect("it is listed")["assumed"].to_string();
    assert!(assumed.contains("network of a GPU, each direction"), "{assumed}");
    let table = finish(unisono(&["machines"]));
    table.expect_status(0);
    table.expect(table.stdout.lines().count() == names.len() + 2, "a line each, the head and a hint");
}

#[test]
fn one_machine_is_told_with_every_constant() {
    let done = finish(unisono(&["machines", "p6e-gb300x72"]));
    done.expect_status(0);
    done.expect(done.stdout.contains("800 Gbps  assumed    AWS published none"), "the assumed rate and why");
    finish(unisono(&["machines", "p6e-gb300"])).expect_refusal(2, "did you mean `p6e-gb300x72`?");
}

#[test]
fn a_machine_comes_back_through_its_file() {
    let asked = ["--on", "p6e-gb200x72", "--units", "3", "--gpus-per-unit", "64"];
    let printed = finish(unisono(&[&["topology", "--toml"], &asked[..]].concat()));
    printed.expect_status(0);
    let file = Scratch::new("again.toml", &printed.stdout);
    let again = finish(unisono(&["topology", "--toml", "--on", file.path()]));
    again.expect(again.status == 0 && again.stdout == printed.stdout, "the same file");
    let (by_name, by_file) = (json(&[&["topology"], &asked[..]].concat()), json(&["topology", "--on", file.path()]));
    assert_eq!(by_name, by_file);
    assert_eq!((&by_name[0]["gpus"], &by_name[0]["domains"]), (&192.into(), &3.into()));
}

#[test]
fn a_machine_is_drawn() {
    let picture = Scratch::new("picture.svg", "");
    let done = finish(unisono(&["topology", "--on", "p6e-gb200x72", "--units", "6944", "--svg", picture.path()]));
    done.expect_status(0);
    done.expect(done.stdout.contains("6944 units, 499968 GPUs (GB200), 6944 domains"), "the text besides");
    let drawn = fs::read_to_string(picture.path()).expect("a picture");
    assert!(drawn.starts_with("<svg") && drawn.contains("6,944 x u-p6e-gb200x72") && drawn.contains("28.8 Tbps"));
    finish(unisono(&["topology", "--on", "p5", "--svg", "/nowhere/x.svg"]))
        .expect_refusal(2, "--svg: cannot write /nowhere/x.svg: there is no folder /nowhere; make it");
}

/// A host has cores and memory, whatever other machines have.
#[test]
fn a_host_has_no_gpus() {
    let picture = Scratch::new("host.svg", "");
    for arguments in [
        &["topology", "--on", "host", "--gpus-per-unit", "2", "--svg", picture.path()][..],
        &["bound", "barrier", "--on", "host", "--gpus-per-unit", "2"],
        &["bound", "all_reduce", "--on", "host", "--gpus-per-unit", "1", "--bytes", "8"],
        &["simulate", "all_reduce", "--on", "host", "--gpus-per-unit", "2", "--bytes", "8"],
    ] {
        let done = finish(unisono(arguments));
        done.expect_status(0);
        let speaks_of_others =
            ["GPU", "NVLink", "switch,", "TB/s", "0.0 "].iter().any(|word| done.stdout.contains(word));
        done.expect(!speaks_of_others, "a host's own words");
        done.expect(longest_fraction(&done.stdout) <= 3, "rounded figures");
    }
    let drawn = fs::read_to_string(picture.path()).expect("a picture");
    assert!(drawn.contains(">2 cores in 1 unit") && drawn.contains(">memory<") && !drawn.contains("GPU"), "{drawn}");
    let done = finish(unisono(&["topology", "--on", "host", "--gpus-per-unit", "2"]));
    done.expect(done.stdout.contains("\n  2 x core <-> memory: "), "its links");
    let one = finish(unisono(&["topology", "--on", "p5", "--gpus-per-unit", "1"]));
    one.expect(one.stdout.contains("1 GPU in 1 domain, 450 GB/s of NVLink and 400 Gbps of network, each"), "its rates");
}

/// Digits after a decimal point.
fn longest_fraction(text: &str) -> usize {
    let fractions = text.split('.').skip(1).map(|rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    fractions.max().unwrap_or(0)
}

#[test]
fn bounds_are_told_with_their_cut() {
    let asked = ["bound", "all_gather", "--on", "p6e-gb200x72", "--units", "16", "--bytes", "8,64MiB,8GiB"];
    let rows = json(&asked);
    let field = |name: &str| rows.iter().map(|row| row[name].clone()).collect::<Vec<_>>();
    assert_eq!(field("bytes"), [8.into(), (64u64 << 20).into(), serde_json::Value::from(8u64 << 30)]);
    assert_eq!(field("tight"), [false, true, true]);
    assert_eq!(rows[0]["bound_us"], 18.0);
    assert_eq!(rows[2]["cut"], "the NVLink port and the NIC of one GPU");
    let best = rows[2]["algorithm_bandwidth_gb_per_s"].as_f64().expect("a number");
    assert!((best - 950.83).abs() < 0.01, "{best}");
    let table = finish(unisono(&asked));
    table.expect(table.status == 0 && table.stdout.lines().count() == 4, "a head and a line each");
    let half_a_million = json(&["bound", "all_to_all", "--on", "p6e-gb200x72", "--units", "6944", "--bytes", "1GiB"]);
    assert_eq!(
        (&half_a_million[0]["ranks"], &half_a_million[0]["cut"]),
        (&499_968.into(), &"all NICs of one unit".into())
    );
    assert_eq!(
        json(&["bound", "barrier", "--on", "p5", "--bytes", "0"])[0]["algorithm_bandwidth_gb_per_s"],
        serde_json::Value::Null
    );
}

#[test]
fn what_cannot_be_asked_is_one_sentence() {
    let refuse = |arguments: &[&str], part: &str| finish(unisono(arguments)).expect_refusal(2, part);
    refuse(&["topology", "--on", "p6e-gb200-x72"], "did you mean `p6e-gb200x72`?");
    refuse(&["topology"], "--on <MACHINE|FILE.toml>");
    refuse(&["bound", "all_redcue", "--on", "p5", "--bytes", "8"], "did you mean `all_reduce`?");
    refuse(&["bound", "all_reduce", "--on", "p5"], "--bytes <B[,B...]>");
    refuse(&["bound", "all_reduce", "--on", "p5", "--bytes", "1MB"], "`1MB` is not a size");
    refuse(&["bound", "all_reduce", "--on", "p5", "--bytes", "8", "--units", "0"], "1 unit or more");
    refuse(&["topology", "--on", "p5", "--units", "1000000000000"], "more than the 16777216 GPUs");
    refuse(&["topology", "--on", "p5", "--gpus-per-unit", "9"], "a unit of p5 has 8 GPUs, and 9 were asked for");
    refuse(&["topology", "--on", "p5", "--nic-gbps-per-gpu", "0"], "a NIC can't carry 0 Gbps");
    refuse(&["topology", "--on", "p5", "--nic-gbps-per-gpu", "nan"], "a NIC can't carry NaN Gbps");
    refuse(&["topology", "--on", "host", "--units", "2"], "give 1 unit");
    refuse(&["topology", "--on", "nowhere.toml"], "can't read the machine in nowhere.toml");
}

#[test]
fn what_is_wrong_in_a_file_has_its_place() {
    let refuse = |text: &str, part: &str| {
        let file = Scratch::new("wrong.toml", text);
        let done = finish(unisono(&["bound", "all_reduce", "--bytes", "8", "--on", file.path()]));
        done.expect_refusal(2, &format!("{}{part}", file.path()));
    };
    refuse(
        "[[unit]]\ngpus = 2\ncuont = 1\n[[unit.switch]]\nname = \"s\"\ngbps = 1\n",
        ":3:1: unknown key `cuont`; did you mean `count`?",
    );
    refuse(
        "[[unit]]\ngpus = 2\n[[unit.switch]]\nname = \"s\"\ngbps = 0\n",
        ":5:8: `gbps` is 0, and must be more than 0",
    );
    refuse("[[unit]]\ngpus = 2\n", ":1:1: nothing leads from `gpu0` to `gpu1`");
    refuse("[[unit]]\ngpus = 2\n[[unit.switch]\n", ":3:");
    let sound = Scratch::new("sound.toml", "[[unit]]\nlike = \"p5\"\n");
    finish(unisono(&["topology", "--on", sound.path(), "--units", "2"])).expect_refusal(2, "--units changes a machine");
}
