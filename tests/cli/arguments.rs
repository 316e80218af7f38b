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
