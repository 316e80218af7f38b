//! What `plan` says, word for word, of a few machines: a change of a price, a choice or a sentence shows here.
//!
//! Run with `UNISONO_WRITE_GOLDEN=1` the files are written.

use super::{finish, unisono};
use std::path::Path;

const ASKED: [(&str, &[&str]); 5] = [
    ("plan_16_ultraservers", &["all_reduce", "--on", "p6e-gb200x72", "--units", "16", "--bytes", "64MiB,8GiB"]),
    (
        "plan_interleaved_on_two_dgx_h100",
        &["broadcast", "--on", "dgx-h100", "--units", "2", "--bytes", "1MiB", "--placement", "interleaved"],
    ),
    ("plan_one_mib_on_two_dgx_h100", &["all_reduce", "--on", "dgx-h100", "--units", "2", "--bytes", "1MiB"]),
    ("plan_gb300_nvl72", &["reduce_scatter", "--on", "gb300-nvl72", "--bytes", "64KiB"]),
    ("plan_gb200_nvl72_nccl", &["all_reduce", "--on", "gb200-nvl72", "--bytes", "1MiB", "--engine", "nccl"]),
];

/// The answer without what differs from run to run: how long the planning took.
fn answer(asked: &[&str], json: bool) -> String {
    let format: &[&str] = if json { &["--json"] } else { &[] };
    let done = finish(unisono(&[&["plan"], asked, format].concat()));
    done.expect_status(0);
    if !json {
        return done
            .stdout
            .lines()
            .filter(|line| !line.starts_with("planned in "))
            .map(|line| format!("{line}\n"))
            .collect();
    }
    let object = |line: &str| {
        let mut object: serde_json::Value = serde_json::from_str(line).expect("a JSON object a line");
        assert!(object["planning_ms"].is_number(), "{object}");
        object["planning_ms"] = serde_json::Value::Null;
        serde_json::to_string_pretty(&object).expect("plain JSON") + "\n"
    };
    done.stdout.lines().map(object).collect()
}

#[test]
fn explanations_are_those_that_were_written_down() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (name, asked) in ASKED {
        for (json, ending) in [(false, "txt"), (true, "json")] {
            let (file, text) = (folder.join(format!("{name}.{ending}")), answer(asked, json));
            if std::env::var_os("UNISONO_WRITE_GOLDEN").is_some() {
                std::fs::write(&file, &text).expect("the golden file is written");
            }
            let golden = std::fs::read_to_string(&file).expect("UNISONO_WRITE_GOLDEN=1 writes it");
            let differ = text.lines().zip(golden.lines()).find(|(now, then)| now != then);
            let shown = file.display();
            assert!(text == golden, "{shown}: {differ:?} (now, then); UNISONO_WRITE_GOLDEN=1 writes it anew");
        }
    }
}
