//! `plan --on host` and a running job are one: the same prices, the same choice, the same words.

use super::{finish, unisono};

/// Of a table instead of a measurement, so that both see the same host.
fn told(arguments: &[&str], explains: bool) -> String {
    let mut command = unisono(arguments);
    command.env("UNISONO_CALIBRATE", "0");
    let done = finish(command);
    done.expect_status(0);
    if explains { done.stderr } else { done.stdout }
}

/// From `takes` to the last constant, but for what only one of the two has.
fn compared(report: &str) -> Vec<String> {
    let lines = report.lines().map(str::trim_end).skip_while(|line| !line.starts_with("takes "));
    let lines =
        lines.filter(|line| !line.is_empty() && !line.starts_with("proof ") && !line.starts_with("planned in "));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_job_says_of_its_choice_what_plan_says_of_it() {
    for (collective, ranks) in
        [("all_reduce", "2"), ("all_reduce", "4"), ("all_reduce", "7"), ("all_gather", "4"), ("broadcast", "3")]
    {
        for size in ["64", "64KiB", "1MiB"] {
            let job = ["bench", collective, "--ranks", ranks, "--transport", "shm", "--min", size, "--max", size];
            // What ran has whole elements on every rank.
            let row = told(&[&job[..], &["--json"]].concat(), false);
            let row: serde_json::Value = serde_json::from_str(row.lines().next().expect("a row")).expect("JSON");
            let (bytes, predicted) = (row["bytes"].to_string(), row["predicted_us"].as_f64());
            let plan = ["plan", collective, "--on", "host", "--gpus-per-unit", ranks, "--bytes", &bytes];
            let planned = compared(&told(&plan, false));
            let explained = compared(&told(&[&job[..], &["--explain"]].concat(), true));
            assert_eq!(explained, planned, "{collective} of {size} among {ranks} ranks");
            assert!(planned.iter().any(|line| line.starts_with("lower bound ")), "{planned:?}");
            assert!(planned.iter().any(|line| line.starts_with("by size ")), "{planned:?}");
            assert!(planned.iter().any(|line| line.contains("assumed: as measured on")), "{planned:?}");
            let json = told(&[&plan[..], &["--json"]].concat(), false);
            let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
            assert_eq!((&row["algorithm"], predicted), (&json["chosen"], json["time_us"].as_f64()));
        }
    }
}

#[test]
fn what_is_measured_is_told_to_be() {
    // A host that is busy with other things is not measured in time now and then.
    const TRIES: usize = 10;
    let told = "measured: on this host by rank 0";
    let plan = ["plan", "all_reduce", "--on", "host", "--gpus-per-unit", "2", "--bytes", "1MiB"];
    assert!((0..TRIES).any(|_| finish(unisono(&plan)).stdout.contains(told)), "a measurement is the default");
    let job = ["bench", "all_reduce", "--ranks", "2", "--min", "8", "--max", "8", "--explain"];
    assert!((0..TRIES).any(|_| finish(unisono(&job)).stderr.contains(told)), "in a job too");
}
