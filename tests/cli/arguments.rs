//! Help, unknown names, wrong values: status 2 and one sentence that offers the nearest.

use super::{finish, unisono};
use std::process::Stdio;

#[test]
fn help_and_version_are_no_errors() {
    for arguments in [&["--help"][..], &["help"], &["--version"], &["launch", "--help"], &["help", "launch"]] {
        let done = finish(unisono(arguments));
        done.expect_status(0);
        done.expect(!done.stdout.is_empty() && done.stderr.is_empty(), "help goes to stdout");
    }
    let done = finish(unisono(&[]));
    done.expect_status(2);
    done.expect(done.stderr.contains("Usage:"), "without arguments the usage is shown");
}

#[test]
fn unknown_names_offer_the_nearest() {
    finish(unisono(&["lanch"])).expect_refusal(2, "'launch'");
    finish(unisono(&["launch", "--rank", "2", "true"])).expect_refusal(2, "'--ranks'");
    let of_another = finish(unisono(&["plan", "all_reduce", "--on", "p5", "--bytes", "8", "--trace", "x"]));
    of_another.expect_refusal(2, "unexpected argument '--trace' found\n");
}

#[test]
fn what_is_missing_is_named() {
    finish(unisono(&["launch", "true"])).expect_refusal(2, "--ranks <N>");
    finish(unisono(&["launch", "-n", "2"])).expect_refusal(2, "<PROGRAM>");
}

#[test]
fn numbers_of_ranks_are_checked() {
    finish(unisono(&["launch", "-n", "0", "true"])).expect_refusal(2, "at least 1 rank");
    for wrong in ["two", "", "99999999999999999999", "1.5"] {
        finish(unisono(&["launch", "-n", wrong, "true"])).expect_refusal(2, "is not a number of ranks");
    }
}

#[test]
fn a_closed_stderr_is_no_panic() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = unisono(&["lanch"]);
    let status = command.stdout(Stdio::null()).stderr(writer).status().expect("the binary starts");
    assert_eq!(status.code(), Some(2));
}

#[test]
fn a_bad_setting_is_told_once_however_many_ranks_would_have_it() {
    for (variable, value, part) in [
        ("UNISONO_TIMEOUT", "0", "UNISONO_TIMEOUT=0 is not a number of seconds, more than 0 and less than 1000000000"),
        ("UNISONO_TRANSPORT", "pigeon", "UNISONO_TRANSPORT=pigeon is not one of auto, shm, tcp"),
        ("UNISONO_CALIBRATE", "perhaps", "UNISONO_CALIBRATE=perhaps is not 0 or 1"),
    ] {
        let mut command = unisono(&["bench", "all_reduce", "--ranks", "3", "--max", "8"]);
        command.env(variable, value);
        finish(command).expect_refusal(1, part);
    }
}

#[test]
fn a_file_that_is_not_there_is_a_bad_argument_of_every_command() {
    let plan = ["plan", "all_reduce", "--bytes", "8", "--on"];
    for arguments in [
        &["check", "/nowhere/plan.xml"][..],
        &[&plan[..], &["/nowhere/machine.toml"]].concat(),
        &[&plan[..], &["p5", "--rules", "/nowhere/rules.csv"]].concat(),
        &["simulate", "all_reduce", "--bytes", "8", "--on", "p5", "--plan", "/nowhere/plan.xml"],
    ] {
        finish(unisono(arguments)).expect_refusal(2, "/nowhere/");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_argument() {
    let on = |command: &'static str, rest: &[&'static str]| {
        let asked = [command, "all_reduce", "--bytes", "8", "--on", "p5"];
        finish(unisono(&[&asked[..], rest].concat()))
    };
    finish(unisono(&["check", "--algorithm", "rnig"])).expect_refusal(2, "--algorithm: unknown algorithm `rnig`");
    on("simulate", &["--algorithm", "rnig"]).expect_refusal(2, "--algorithm: unknown algorithm `rnig`");
    on("plan", &["--nic-gbps-per-gpu", "-1"]).expect_refusal(2, "a NIC can't carry -1 Gbps");
    on("plan", &["--units", "-1"]).expect_refusal(2, "--units <K>: `-1` is not a number of them");
    on("bound", &["--placement", "interleaved"]).expect_refusal(2, "--placement: a bound holds for every algorithm");
    on("simulate", &["--engine", "nccl"]).expect_refusal(2, "--engine: what is simulated is one of our plans");
    on("bound", &["--engine", "unisono"]).expect_status(0);
    finish(unisono(&["plan", "all_reduce", "--bytes", "8", "--on", "p6e"]))
        .expect_refusal(2, "those that begin so are p6e-gb200x36, p6e-gb200x72, p6e-gb300x72");
}
