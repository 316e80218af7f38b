//! `unisono check`: the table, the JSON lines, and what can't be asked.

use super::{finish, unisono};
use std::io::Read;
use std::process::Stdio;

fn json(arguments: &[&str]) -> Vec<serde_json::Value> {
    let done = finish(unisono(&[&["check", "--json"], arguments].concat()));
    done.expect_status(0);
    let is_progress = |line: &str| line.starts_with("unisono: proving ");
    done.expect(done.stderr.lines().all(is_progress), "nothing went wrong");
    done.stdout.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
}

#[test]
fn every_registered_plan_is_proved() {
    let rows = json(&["--ranks", "1..=9"]);
    let names = unisono::algorithm::registry().iter().map(|algorithm| algorithm.name());
    for name in names {
        assert!(rows.iter().any(|row| row["algorithm"] == name && row["plans"] != 0), "{name} was proved");
    }
    for row in &rows {
        assert!(row["flaw"].is_null() && row["flaws"] == 0, "{row}");
    }
    // With a root there is a plan for each rank, and chain is cut into 1 and into 4 tiles.
    let chain = rows.iter().find(|row| row["algorithm"] == "chain" && row["ranks"] == 7).expect("chain fits 7 ranks");
    assert_eq!(chain["plans"], 14);
}

#[test]
fn what_is_asked_for_is_what_is_proved() {
    let rows = json(&["--ranks", "3", "--collective", "all_reduce", "--algorithm", "two_shot"]);
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (&rows[0]["algorithm"], &rows[0]["ranks"], &rows[0]["hops"]),
        (&"two_shot".into(), &3.into(), &2.into())
    );
    let uneven = json(&["--ranks", "2..=4", "--collective", "all_gather_v"]);
    assert!(!uneven.is_empty() && uneven.iter().all(|row| row["collective"] == "all_gather_v"));
}

#[test]
fn the_table_has_a_line_for_each_algorithm_and_collective() {
    let done = finish(unisono(&["check", "--ranks", "2..=5", "--algorithm", "ring"]));
    done.expect_status(0);
    let lines: Vec<&str> = done.stdout.lines().collect();
    let words = |line: &str| line.split_whitespace().take(4).map(str::to_owned).collect::<Vec<_>>();
    done.expect(lines[0].starts_with("# algorithm"), "names of the columns");
    assert_eq!(words(lines[1]), ["ring", "all_reduce", "2..=5", "4"]);
    done.expect(lines.last().is_some_and(|line| line.contains(" plans proved, 0 with a flaw")), "the sum");
}

#[test]
fn what_cannot_be_asked_is_one_sentence() {
    finish(unisono(&["check", "--algorithm", "rign"])).expect_refusal(2, "did you mean `ring`?");
    finish(unisono(&["check", "--collective", "all_redcue"])).expect_refusal(2, "did you mean `all_reduce`?");
    finish(unisono(&["check", "--ranks", "5..=3"])).expect_refusal(2, "the smaller number first");
    finish(unisono(&["check", "--ranks", "many"])).expect_refusal(2, "1..=17");
    finish(unisono(&["check", "--ranks", "-1"])).expect_refusal(2, "`-1` is not a number of ranks");
    for (option, value, part) in [
        ("--root", "-1", "--root <RANK>: `-1` is not a whole number"),
        ("--tiles", "0", "--tiles <N>: a plan has at least 1 tile"),
        ("--tiles", "4294967296", "--tiles <N>: `4294967296` is not a whole number of 0 or more that fits"),
        ("--bytes", "-1", "--bytes <SIZE>: `-1` is not a size"),
    ] {
        finish(unisono(&["check", "--write", "x.xml", option, value])).expect_refusal(2, part);
    }
    let unfit = &["check", "--algorithm", "two_shot", "--collective", "broadcast"];
    finish(unisono(unfit)).expect_refusal(2, "two_shot does not fit broadcast: it ");
}

#[test]
fn a_plan_that_cannot_be_proved_is_status_1() {
    let done =
        finish(unisono(&["check", "--json", "--ranks", "20000", "--algorithm", "ring", "--collective", "all_gather"]));
    done.expect_refusal(1, "not proved: the plan has more than");
    let row: serde_json::Value = serde_json::from_str(&done.stdout).expect("one object");
    let untold = row["flaws"] == 0 && row["flaw"].is_null();
    done.expect(untold && row["unproved"] == 1 && row["why_unproved"].is_string(), "nothing is known of it");
    let done = finish(unisono(&["check", "--ranks", "131072", "--algorithm", "ring", "--collective", "all_gather"]));
    done.expect_status(1);
    done.expect(!done.stdout.contains("FLAWED") && done.stdout.contains("0, 1 not proved"), "it is not flawed");
    done.expect(done.stdout.contains("0 with a flaw, 1 too large to be proved"), "the sum");
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    for arguments in [&["check"][..], &["bench", "all_reduce", "--ranks", "2", "--max", "64"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut child = unisono(arguments).stdout(writer).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let mut stderr = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("UTF-8");
        assert_eq!((child.wait().expect("it ends").code(), stderr.as_str()), (Some(128 + 13), ""), "{arguments:?}");
    }
}
