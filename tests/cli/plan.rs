//! `unisono plan` and `unisono simulate`: the contract's JSON, the text, and what can't be asked.

use super::{finish, unisono};

const CONTRACT: [&str; 13] = [
    "machine",
    "ranks",
    "collective",
    "bytes",
    "engine",
    "chosen",
    "time_us",
    "lower_bound_us",
    "bound_is_tight",
    "bottleneck",
    "planning_ms",
    "candidates",
    "dtype",
];

fn json(arguments: &[&str]) -> Vec<serde_json::Value> {
    let mut command = unisono(&[arguments, &["--json"]].concat());
    // Of a table instead of a measurement, so that two commands see the same host.
    command.env("UNISONO_CALIBRATE", "0");
    let done = finish(command);
    done.expect_status(0);
    done.expect(done.stderr.is_empty(), "nothing went wrong");
    done.stdout.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
}

fn number(row: &serde_json::Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_else(|| panic!("{key} is a number in {row}"))
}

#[test]
fn every_answer_keeps_the_contract() {
    for engine in ["unisono", "nccl"] {
        for collective in ["all_reduce", "all_gather", "reduce_scatter", "all_to_all"] {
            let asked = ["plan", collective, "--on", "p5", "--units", "2", "--bytes", "1000,64MiB", "--engine", engine];
            let rows = json(&asked);
            assert_eq!(rows.iter().map(|row| row["bytes"].as_u64()).collect::<Vec<_>>(), [Some(1000), Some(64 << 20)]);
            for row in &rows {
                let missing: Vec<_> = CONTRACT.into_iter().filter(|key| row.get(key).is_none()).collect();
                assert!(missing.is_empty(), "{missing:?} in {row}");
                assert_eq!(
                    (&row["machine"], &row["ranks"], &row["engine"]),
                    (&"p5".into(), &16.into(), &engine.into())
                );
                let candidates = row["candidates"].as_array().expect("a list");
                assert_eq!(candidates[0]["name"], row["chosen"], "the choice stands first");
                assert_eq!(candidates[0]["time_us"], row["time_us"]);
                assert!(number(row, "lower_bound_us") <= number(row, "time_us"), "{row}");
                for one in candidates {
                    assert!(one.get("name").is_some() && one.get("rejected").is_some(), "{one}");
                    if one["time_us"].is_null() {
                        assert!(one["rejected"].is_string(), "what has no price has a reason: {one}");
                    } else {
                        let parts = number(one, "latency_us") + number(one, "bandwidth_us");
                        assert!((parts / number(one, "time_us") - 1.0).abs() < 1e-6, "{one}");
                    }
                }
            }
        }
    }
}

#[test]
fn who_comes_next_takes_no_less_whatever_nccl_thinks_of_it() {
    for (machine, units) in [("p5", "1"), ("p4d", "2"), ("dgx-h100", "4"), ("gb200-nvl72", "2")] {
        let sizes = "1KiB,16KiB,64KiB,256KiB,1MiB,4MiB,16MiB,64MiB,256MiB,1GiB";
        let asked = ["plan", "all_reduce", "--engine", "nccl", "--on", machine, "--units", units, "--bytes", sizes];
        let done = finish(unisono(&[&asked[..], &["--json"]].concat()));
        done.expect_status(0);
        for line in done.stdout.lines() {
            let row: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert!(row["margin"].as_f64().is_none_or(|margin| margin >= 0.0), "{machine}: {row}");
            for one in row["candidates"].as_array().expect("a list") {
                let is_cheaper = one["time_us"].as_f64() < row["time_us"].as_f64() && one["time_us"].is_f64();
                assert!(!is_cheaper || one["rejected"].is_string(), "{machine}: why not {one}");
            }
        }
    }
}

#[test]
fn the_text_says_why() {
    let done = finish(unisono(&["plan", "all_reduce", "--on", "gb200-nvl72", "--bytes", "1GiB"]));
    done.expect_status(0);
    for words in ["takes ", "bound by", "lower bound", "runner-up", "proof", "by size", "# candidate", "published: "] {
        done.expect(done.stdout.contains(words), words);
    }
}

#[test]
fn a_rule_goes_before_prices_and_a_wrong_one_is_told() {
    let folder = std::env::temp_dir().join(format!("unisono-rules-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let file = folder.join("rules.csv");
    let path = file.to_str().expect("UTF-8").to_owned();
    let header = "collective,min_bytes,max_bytes,min_ranks,max_ranks,machine,algorithm\n";
    let ask = ["plan", "all_reduce", "--on", "p5", "--bytes", "1MiB", "--rules", &path];
    std::fs::write(&file, format!("{header}all_reduce,0,*,*,*,p5,ring\n")).expect("it is written");
    let rows = json(&ask);
    assert_eq!(rows[0]["chosen"], "ring");
    let others = rows[0]["candidates"].as_array().expect("a list");
    assert!(
        others.iter().any(|one| one["rejected"].as_str().is_some_and(|why| why.contains("line 2 of"))),
        "{others:?}"
    );
    std::fs::write(&file, format!("{header}all_reduce,0,*,*,*,p5,rign\n")).expect("it is written");
    finish(unisono(&ask)).expect_refusal(2, "line 2, column 23: unknown algorithm `rign`; did you mean `ring`?");
    std::fs::remove_dir_all(&folder).expect("it was there");
}

#[test]
fn a_simulation_agrees_with_the_closed_form_and_has_a_trace() {
    let folder = std::env::temp_dir().join(format!("unisono-trace-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let trace = folder.join("trace.json");
    let path = trace.to_str().expect("UTF-8");
    let asked =
        ["simulate", "all_reduce", "--on", "dgx-h100", "--algorithm", "ring", "--bytes", "64MiB", "--trace", path];
    let rows = json(&asked);
    let row = &rows[0];
    assert!((number(row, "time_us") / number(row, "closed_form_us") - 1.0).abs() < 0.01, "{row}");
    assert!(number(row, "lower_bound_us") <= number(row, "time_us"), "{row}");
    assert_eq!((row["messages"].as_u64(), row["ranks"].as_u64()), (Some(8 * 14), Some(8)));
    assert!(row["critical_path"].as_array().is_some_and(|path| !path.is_empty()));
    let text = std::fs::read_to_string(&trace).expect("the trace was written");
    let value: serde_json::Value = serde_json::from_str(&text).expect("a trace is JSON");
    assert!(value["traceEvents"].as_array().is_some_and(|events| events.len() > 8 * 14));
    std::fs::remove_dir_all(&folder).expect("it was there");
}

/// Plans that follow the domains are as fast in any order, so there is no better one to tell.
#[test]
fn ranks_may_alternate_between_domains() {
    let ask = |placement: &str| {
        let asked =
            ["plan", "broadcast", "--on", "dgx-h100", "--units", "2", "--bytes", "1MiB", "--placement", placement];
        json(&asked).remove(0)
    };
    let (blocked, interleaved) = (ask("blocked"), ask("interleaved"));
    assert_eq!((&blocked["time_us"], &blocked["chosen"]), (&interleaved["time_us"], &interleaved["chosen"]));
    assert!(blocked["advice"].is_null() && interleaved["advice"].is_null(), "{interleaved}");
    let listed = ask(&["0,1"; 8].join(","));
    assert_eq!(listed["time_us"], interleaved["time_us"]);
    let chain = |one: &serde_json::Value| {
        let candidates = one["candidates"].as_array().expect("a list").iter();
        let of_chain = candidates.clone().find(|candidate| candidate["name"] == "chain");
        number(of_chain.expect("it fits"), "time_us")
    };
    assert!(chain(&interleaved) > chain(&blocked), "what follows no domains crosses more often");
    let refused = |arguments: &[&str], words| {
        let asked = ["plan", "broadcast", "--on", "dgx-h100", "--units", "2", "--bytes", "8", "--placement"];
        finish(unisono(&[&asked, arguments].concat())).expect_refusal(2, words);
    };
    refused(&["0,1"], "the list has 2 ranks, and the machine 16");
    refused(&["bloked"], "did you mean `blocked`?");
    refused(&["interleaved", "--engine", "nccl"], "orders the ranks itself");
}

#[test]
fn a_barrier_has_no_bytes_and_no_bandwidth() {
    let ask = |command: &str, machine: &str, bytes: &[&str]| {
        json(&[&[command, "barrier", "--on", machine, "--gpus-per-unit", "4"], bytes].concat()).remove(0)
    };
    for machine in ["host", "p5", "gb200-nvl72"] {
        let rows = ["plan", "bound", "simulate"].map(|command| ask(command, machine, &[]));
        let asked = ["plan", "bound", "simulate"].map(|command| ask(command, machine, &["--bytes", "1GiB"]));
        for (row, asked) in rows.iter().zip(&asked) {
            assert_eq!((&row["bytes"], &asked["bytes"]), (&0.into(), &(1u64 << 30).into()), "as asked: {asked}");
            assert!(row["dtype"].is_null() && asked["dtype"].is_null(), "{row}");
        }
        let [plan, bound, simulated] = &rows;
        assert_eq!(plan["bound_is_tight"], bound["tight"], "{plan} {bound}");
        assert_eq!(plan["lower_bound_us"], bound["bound_us"]);
        assert_eq!(plan["candidates"][0]["bandwidth_us"], 0.0);
        for key in ["algorithm_bandwidth_gb_per_s", "bus_bandwidth_gb_per_s"] {
            assert!(bound[key].is_null() && asked[1][key].is_null(), "{key} of {}", asked[1]);
        }
        let (times, of_bytes) = (number(simulated, "time_us"), number(&asked[2], "time_us"));
        assert!(times == of_bytes && number(plan, "time_us") == number(&asked[0], "time_us"), "{machine}");
    }
    let told = finish(unisono(&["plan", "barrier", "--on", "p5"]));
    told.expect(told.stdout.starts_with("# barrier on p5: 8 ranks") && !told.stdout.contains("GB/s\n"), "no size");
    finish(unisono(&["plan", "all_reduce", "--on", "p5"]))
        .expect_refusal(2, "--bytes <B[,B...]>: all_reduce is of a size");
}

/// Whether a bound can be reached does not depend on who is asked.
#[test]
fn a_bound_is_as_tight_for_bound_as_for_plan() {
    for machine in ["host", "p5", "dgx-h100"] {
        for collective in ["all_reduce", "all_gather", "broadcast", "all_to_all"] {
            let asked = |command: &str| json(&[command, collective, "--on", machine, "--bytes", "8,64KiB,256MiB"]);
            for (plan, bound) in asked("plan").iter().zip(asked("bound")) {
                assert_eq!(plan["bound_is_tight"], bound["tight"], "{machine}: {collective} of {}", plan["bytes"]);
            }
        }
    }
}

/// Among one rank there is nothing to choose, and no rate.
#[test]
fn one_rank_has_no_runner_up() {
    for machine in ["host", "p5"] {
        let asked = ["plan", "all_reduce", "--on", machine, "--gpus-per-unit", "1", "--bytes", "8"];
        let row = json(&asked).remove(0);
        assert!(row["margin"].is_null() && row["runner_up"].is_null(), "{row}");
        assert_eq!((&row["lower_bound_us"], &row["bound_is_tight"]), (&0.0.into(), &true.into()), "{row}");
        let told = finish(unisono(&asked));
        told.expect_status(0);
        let is_plain = ["inf", "NaN", "1 ranks", "1 moves", "GPU "].iter().all(|word| !told.stdout.contains(word));
        told.expect(is_plain || machine == "p5" && !told.stdout.contains("NaN"), "words for one rank");
        told.expect(
            told.stdout.contains(": 1 rank in one domain") && told.stdout.contains("1 move of the only rank"),
            "one",
        );
    }
    let tie = finish(unisono(&["plan", "barrier", "--on", "host", "--gpus-per-unit", "2"]));
    tie.expect(tie.stdout.contains("runner-up     dissemination, which takes as long"), "a tie in words");
}

#[test]
fn what_no_plan_serves_has_a_remedy() {
    for command in ["plan", "simulate"] {
        let asked = [command, "send_recv", "--on", "p5", "--bytes", "8"];
        finish(unisono(&asked)).expect_refusal(2, "`unisono bound send_recv` says how long that takes at least");
    }
    finish(unisono(&["bound", "send_recv", "--on", "p5", "--bytes", "8"])).expect_status(0);
}

#[test]
fn a_simulation_takes_the_choice_of_plan_as_auto() {
    let asked = ["all_reduce", "--on", "p5", "--units", "2", "--bytes", "1MiB"];
    let chosen = &json(&[&["plan"], &asked[..]].concat())[0]["chosen"];
    let simulated = json(&[&["simulate"], &asked[..], &["--algorithm", "auto"]].concat());
    assert_eq!(&simulated[0]["algorithm"], chosen);
}

#[test]
fn a_newer_nccl_is_priced_as_the_newest_known_and_that_is_said() {
    let plan = |version: &str| {
        let asked =
            ["plan", "all_reduce", "--on", "p5", "--units", "2", "--bytes", "1MiB", "--engine", "nccl", "--json"];
        finish(unisono(&[&asked[..], &["--nccl-version", version]].concat()))
    };
    let (newer, newest) = (plan("2.31.2"), plan("2.30.7"));
    newer.expect_status(0);
    assert_eq!(
        newer.stderr,
        "unisono: NCCL 2.31.2 is newer than the newest whose tuning is known, and is priced as that: 2.30.7\n"
    );
    assert_eq!(newest.stderr, "");
    // What planning took differs.
    let time = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON")["time_us"].clone();
    assert_eq!(time(&newer.stdout), time(&newest.stdout));
}

#[test]
fn what_cannot_be_asked_is_one_sentence() {
    let plan = |arguments: &[&str]| finish(unisono(&[&["plan", "all_reduce"], arguments].concat()));
    plan(&["--on", "p6e-gb20x72", "--bytes", "8"]).expect_refusal(2, "did you mean `p6e-gb200x72`?");
    plan(&["--on", "p5", "--gpus-per-unit", "9", "--bytes", "8"]).expect_refusal(2, "give from 1 to 8");
    plan(&["--on", "p5", "--units", "0", "--bytes", "8"]).expect_refusal(2, "1 unit or more");
    plan(&["--on", "p5", "--units", "99999999999", "--bytes", "8"]).expect_refusal(2, "give fewer units");
    plan(&["--on", "p5", "--nic-gbps-per-gpu", "0", "--bytes", "8"]).expect_refusal(2, "give more than 0");
    plan(&["--on", "p5", "--bytes", "1MB"]).expect_refusal(2, "is not a size");
    plan(&["--on", "p5", "--bytes", "8", "--engine", "ncl"]).expect_refusal(2, "did you mean `nccl`?");
    plan(&["--on", "p5", "--bytes", "8", "--nccl-version", "2.29"]).expect_refusal(2, "--engine nccl only");
    for (version, why) in
        [("1.0", "older than the oldest"), ("9.9", "far newer than the newest"), ("2.x", "is no NCCL version")]
    {
        plan(&["--on", "p5", "--bytes", "8", "--engine", "nccl", "--nccl-version", version]).expect_refusal(2, why);
    }
    plan(&["--on", "host", "--bytes", "8", "--engine", "nccl"]).expect_refusal(2, "not known");
    plan(&["--on", "p5", "--bytes", "8", "--no-nvls"]).expect_refusal(2, "--no-nvls: goes with --engine nccl only");
    let rules = ["--on", "p5", "--bytes", "8", "--engine", "nccl", "--rules", "/nowhere/rules.csv"];
    plan(&rules).expect_refusal(2, "--rules: NCCL follows rules of its own");
    plan(&["--on", "p5", "--bytes", "-8"]).expect_refusal(2, "`-8` is not a size");
    let nic = |gbps: &str, part: &str| {
        plan(&["--on", "p5", "--units", "2", "--bytes", "8", "--nic-gbps-per-gpu", gbps]).expect_refusal(2, part);
    };
    nic("1e300", "a NIC can't carry 1e300 Gbps: give more than 0");
    nic("1e-300", "a NIC can't carry 1e-300 Gbps: give more than 0");
    let simulated = ["simulate", "all_reduce", "--on", "p5", "--bytes", "18446744073709551615"];
    finish(unisono(&simulated)).expect_refusal(2, "no buffer of a rank is larger than 1024TiB; give at most that");
    let trace = ["simulate", "all_reduce", "--on", "p5", "--bytes", "8,16", "--trace", "x.json"];
    finish(unisono(&trace)).expect_refusal(2, "a trace is of one size");
}
