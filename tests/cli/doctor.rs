//! `unisono doctor`: the table, the JSON object, and what it finds in the environment.

use super::{Finished, finish, program, unisono};
use std::process::Stdio;

/// Without whatever launcher variables the tests themselves run under.
fn doctor(arguments: &[&str], variables: &[(&str, &str)]) -> Finished {
    let mut command = unisono(&[&["doctor"], arguments].concat());
    command.env_clear().envs(variables.iter().copied());
    finish(command)
}

fn json(done: &Finished) -> serde_json::Value {
    done.expect(done.stdout.lines().count() == 1, "one object on one line");
    serde_json::from_str(&done.stdout).expect("JSON")
}

#[test]
fn this_host_can_run_jobs() {
    let done = doctor(&[], &[]);
    done.expect_status(0);
    for name in ["host", "cores", "memory", "limits", "network", "works", "environment"] {
        done.expect(done.stdout.lines().any(|line| line.starts_with(name)), name);
    }
    done.expect(done.stdout.contains("lo up: 127.0.0.1"), "loopback has its address");
    let report = json(&doctor(&["--json"], &[]));
    assert_eq!(report["broken"].as_array().map(Vec::len), Some(0), "{report}");
    assert!(report["cores"]["allowed"].as_u64().is_some_and(|cores| cores >= 1), "{report}");
    assert!(report["memory"]["total_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20), "{report}");
    assert!(report["essentials"].as_array().is_some_and(|all| all.iter().all(|one| one["works"] == true)), "{report}");
}

#[test]
fn limits_are_those_of_the_process() {
    let mut shell = program("/bin/sh");
    shell.args(["-c", "ulimit -n 123; exec \"$@\"", "-", env!("CARGO_BIN_EXE_unisono"), "doctor", "--json"]);
    shell.stdin(Stdio::null());
    let report = json(&finish(shell));
    assert_eq!(report["limits"]["open_files"]["soft"], 123);
    let advice = report["advice"].as_array().expect("a list");
    assert!(advice.iter().any(|one| one.as_str().is_some_and(|one| one.starts_with("only 123 files"))), "{report}");
}

#[test]
fn a_job_is_recognised_and_its_secret_kept() {
    let place = [("RANK", "2"), ("WORLD_SIZE", "3"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "20000")];
    let done =
        doctor(&["--json"], &[&place[..], &[("UNISONO_SECRET", "hush-hush"), ("UNISONO_LAUNCHED", "1")]].concat());
    done.expect_status(0);
    let report = json(&done);
    assert_eq!((&report["environment"]["rank"], &report["environment"]["ranks"]), (&2.into(), &3.into()));
    done.expect(done.stdout.contains("UNISONO_SECRET") && !done.stdout.contains("hush"), "the secret is not shown");
}

#[test]
fn an_environment_that_contradicts_itself_is_broken() {
    let done = doctor(&[], &[("RANK", "3"), ("UNISONO_SECRIT", "x")]);
    done.expect_status(1);
    done.expect(done.stdout.contains("broken: RANK=3 is set, but WORLD_SIZE is not"), "the contradiction is named");
    done.expect(done.stdout.contains("advice: UNISONO_SECRIT means nothing: did you mean UNISONO_SECRET?"), "the typo");
}
