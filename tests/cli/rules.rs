//! UNISONO_RULES: a running job follows rank 0's rules, says so, and refuses wrong ones on all ranks.

use super::{Finished, finish, unisono};
use std::path::PathBuf;

const HEADER: &str = "collective,min_bytes,max_bytes,min_ranks,max_ranks,machine,algorithm\n";

struct File(PathBuf);

impl File {
    fn with(name: &str, rules: &str) -> File {
        let path = std::env::temp_dir().join(format!("unisono-{name}-{}.csv", std::process::id()));
        std::fs::write(&path, format!("{HEADER}{rules}\n")).expect("it is written");
        File(path)
    }

    fn bench(&self, transport: &str) -> Finished {
        let arguments =
            ["bench", "all_reduce", "--ranks", "2", "--transport", transport, "--min", "64KiB", "--max", "64KiB"];
        let mut command = unisono(&[&arguments[..], &["--json"]].concat());
        command.env("UNISONO_RULES", &self.0).env("UNISONO_EXPLAIN", "1");
        finish(command)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn processes_and_threads_follow_the_rules_and_explain_themselves() {
    let file = File::with("rules-followed", "all_reduce,1KiB,1MiB,*,*,host,recursive_doubling");
    for transport in ["shm", "memory"] {
        let done = file.bench(transport);
        done.expect_status(0);
        let row: serde_json::Value = serde_json::from_str(done.stdout.lines().next().expect("a row")).expect("JSON");
        assert_eq!(row["algorithm"], "recursive_doubling", "{transport}: {row}");
        for words in
            ["2 ranks: recursive_doubling", "line 2 of ", "takes ", "bound by", "proof", "# candidate", "fitted: "]
        {
            done.expect(done.stderr.contains(words), words);
        }
    }
}

#[test]
fn rules_that_cannot_be_followed_are_one_sentence_on_every_rank() {
    let told = |rules: &str, words: &str| {
        for transport in ["shm", "memory"] {
            let done = File::with("rules-refused", rules).bench(transport);
            assert_ne!(done.status, 0, "{}", done.stderr);
            done.expect(done.stderr.contains(words), words);
        }
    };
    told("all_reduce,0,*,*,*,*,rign", "line 2, column 22: unknown algorithm `rign`; did you mean `ring`?");
    told("all_reduce,0,*,9,8,*,ring", "this rule can never match");
    told(
        "all_reduce,0,*,*,*,*,ring\nall_reduce,8,8,*,*,host,ring",
        "this rule and that of line 2 match the same calls",
    );
    told("all_reduce,0,*,*,*,*,hierarchical_ring", "says hierarchical_ring, and of all_reduce among 2 ranks");
    let nowhere = File(PathBuf::from("/nowhere/rules.csv"));
    let done = nowhere.bench("shm");
    done.expect(done.status != 0 && done.stderr.contains("cannot read the rules of /nowhere/rules.csv"), "its name");
}
