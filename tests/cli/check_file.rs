//! `unisono check FILE` and `--write`: plans that come from files and go to files.

use super::{Finished, finish, unisono};
use std::fs;
use std::path::{Path, PathBuf};

/// A folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn check(arguments: &[&str]) -> Finished {
    finish(unisono(&[&["check"], arguments].concat()))
}

/// A ring among four, written as `name`.
fn ring(name: &Path) -> Finished {
    let path = name.to_str().expect("UTF-8");
    check(&["--algorithm", "ring", "--ranks", "4", "--collective", "all_reduce", "--write", path])
}

fn row(done: &Finished) -> serde_json::Value {
    let line = done.stdout.lines().next().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {}", done.stdout))
}

#[test]
fn a_written_file_is_proved_and_says_what_it_is() {
    let file = folder("written").join("ring.xml");
    let done = ring(&file);
    done.expect_status(0);
    done.expect(done.stdout.contains("at most 1 thread block a GPU, 7 steps a block"), "what was written");
    let path = file.to_str().expect("UTF-8");
    let told = check(&[path]);
    told.expect_status(0);
    told.expect(
        told.stdout.starts_with("ring: all_reduce of 4 ranks, 4 chunks, in place and apart, Simple\n"),
        "a head",
    );
    let done = check(&[path, "--json"]);
    done.expect_status(0);
    let row = row(&done);
    let expected = serde_json::json!({
        "file": path, "format": "msccl", "algorithm": "ring", "collective": "all_reduce", "ranks": 4, "chunks": 4,
        "placement": "both", "protocol": "Simple", "connection_depth": 2, "hops": 6, "chunks_sent": 6,
        "chunks_received": 6, "messages_sent": 6, "bytes_sent_per_byte": 1.5, "bit_equal": true, "flaw": null,
    });
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(&row[key], value, "{key} in {row}");
    }
}

#[test]
fn every_form_is_written_and_text_is_read_back() {
    let folder = folder("forms");
    let [xml, plan, again] = ["ring.xml", "ring.plan", "again.xml"].map(|name| folder.join(name));
    ring(&xml).expect_status(0);
    check(&[xml.to_str().unwrap(), "--write", plan.to_str().unwrap()]).expect_status(0);
    let done = check(&[plan.to_str().unwrap(), "--json", "--write", again.to_str().unwrap()]);
    done.expect_status(0);
    assert_eq!((&row(&done)["format"], &row(&done)["hops"]), (&"plan".into(), &6.into()));
    let written: serde_json::Value = serde_json::from_str(done.stdout.lines().nth(1).unwrap_or_default()).unwrap();
    assert_eq!((&written["format"], &written["thread_blocks"]), (&"msccl".into(), &1.into()));
    check(&[again.to_str().unwrap()]).expect_status(0);
    for target in ["traces/", "traces/other.et"] {
        let done =
            check(&[plan.to_str().unwrap(), "--bytes", "64KiB", "--write", folder.join(target).to_str().unwrap()]);
        done.expect_status(0);
        done.expect(done.stdout.contains(".0.et to "), "the first and the last");
    }
    let mut names: Vec<String> = fs::read_dir(folder.join("traces"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = ["other", "ring"].into_iter().flat_map(|name| (0..4).map(move |rank| format!("{name}.{rank}.et")));
    assert_eq!(names, expected.collect::<Vec<_>>());
}

#[test]
fn a_wrong_file_is_status_1_and_names_the_line() {
    let file = folder("wrong").join("ring.xml");
    ring(&file).expect_status(0);
    let text = fs::read_to_string(&file).unwrap();
    let path = file.to_str().unwrap();
    // GPU 0 forwards a partial sum without adding its own part.
    fs::write(&file, text.replacen("\"rrcs\"", "\"rcs\"", 1)).unwrap();
    check(&[path]).expect_refusal(1, "ends as a fold without rank 0");
    let done = check(&[path, "--json"]);
    done.expect_status(1);
    assert!(row(&done)["flaw"].is_string() && row(&done).get("hops").is_none(), "{}", done.stdout);
    fs::write(&file, text.replacen("type=\"r\"", "type=\"nop\"", 1)).unwrap();
    check(&[path]).expect_refusal(1, "that nobody takes (line ");
    fs::write(&file, text.replacen("type=\"r\"", "type=\"x\"", 1)).unwrap();
    check(&[path]).expect_refusal(1, "ring.xml: line 10, column 25: unknown type `x`");
    fs::write(&file, "plan x").unwrap();
    check(&[path]).expect_refusal(1, "line 1, column 7: unknown collective");
    fs::write(&file, [0xff, 0xfe]).unwrap();
    check(&[path]).expect_refusal(2, "is no plan: it is not UTF-8 text; give MSCCL XML or a plan as text");
    check(&["no such file.xml"]).expect_refusal(2, "cannot read no such file.xml: ");
    // A file that was not proved is not written as another.
    fs::write(&file, "plan x").unwrap();
    let [other, traces] = ["plan", "traces"].map(|ending| file.with_extension(ending));
    check(&[path, "--write", other.to_str().unwrap()]).expect_status(1);
    check(&[path, "--write", &format!("{}/", traces.display())]).expect_status(1);
    assert!(!other.exists() && !traces.exists());
}

#[test]
fn what_is_no_plan_at_all_is_a_bad_argument() {
    let folder = folder("no_plan");
    for (name, holds, why) in [
        ("empty", &b""[..], "it is empty"),
        ("blank", b" \n\t\n", "it is empty"),
        ("binary", b"\x7fELF\x02\xff\xfe", "it is not UTF-8 text"),
    ] {
        let file = folder.join(name);
        fs::write(&file, holds).unwrap();
        check(&[file.to_str().unwrap(), "--json"]).expect_refusal(2, &format!("{name} is no plan: {why}; give MSCCL"));
    }
    check(&["/dev/null"]).expect_refusal(2, "/dev/null is no plan: it is empty; give");
    check(&[folder.to_str().unwrap()]).expect_refusal(2, "is no plan: it is a folder; give");
    let simulated = ["simulate", "all_reduce", "--on", "p5", "--bytes", "8", "--plan"];
    finish(unisono(&[&simulated[..], &["/dev/null"]].concat())).expect_refusal(2, "it is empty");
}

/// Each of these works for minutes, and is refused before.
#[test]
fn where_nothing_can_be_written_no_work_is_done() {
    let file = folder("unwritable").join("file");
    fs::write(&file, "").unwrap();
    let below = format!("{}/x", file.display());
    let ring = ["check", "--algorithm", "ring", "--collective", "all_reduce", "--ranks", "4096", "--write"];
    let trace = ["simulate", "all_to_all", "--on", "p5", "--units", "64", "--bytes", "1GiB", "--trace"];
    let refuse = |command: &[&str], path: &str, part: &str| {
        let started = std::time::Instant::now();
        let done = finish(unisono(&[command, &[path]].concat()));
        done.expect_refusal(2, part);
        done.expect(done.stdout.is_empty() && started.elapsed().as_secs() < 5, "nothing was done");
    };
    refuse(&ring, "/nowhere/ring.xml", "--write: cannot write /nowhere/ring.xml: there is no folder /nowhere; make it");
    refuse(&ring, &format!("{below}.xml"), "is no folder; name another");
    refuse(&ring, &format!("{below}/"), "--write: cannot make the folder");
    refuse(&trace, "/nowhere/trace.json", "--trace: cannot write /nowhere/trace.json: there is no folder /nowhere");
    refuse(&trace, env!("CARGO_TARGET_TMPDIR"), "it is a folder; name a file in it");
    finish(unisono(&["launch", "-n", "1", "--output", "", "true"])).expect_refusal(2, "--output");
}

/// Right with as many messages under way as there are, wrong with those that connections hold.
#[test]
fn a_file_that_needs_longer_connections_is_told_so() {
    let file = folder("depth").join("gather.plan");
    let xml = file.with_extension("xml");
    let text = "plan deep all_gather ranks=2 root=0 uneven=no tiles=3 blocks=2\n".to_owned()
        + &["0 3", "3 0"].iter().enumerate().map(|(rank, starts)| program(rank, starts)).collect::<String>();
    fs::write(&file, text).unwrap();
    check(&[file.to_str().unwrap()]).expect_status(0);
    check(&[file.to_str().unwrap(), "--write", xml.to_str().unwrap()]).expect_status(0);
    // Blocks of their own let sends and receives go on side by side; in one block they do not.
    let fused = fs::read_to_string(&xml).unwrap();
    assert_eq!(fused.matches("recv=\"-1\"").count(), 4, "{fused}");
    let one_block = one_block_each();
    fs::write(&xml, &one_block).unwrap();
    check(&[xml.to_str().unwrap()]).expect_refusal(1, "with connections that hold 2 messages: deadlock: ");
    fs::write(&xml, one_block.replace("Simple", "LL")).unwrap();
    check(&[xml.to_str().unwrap()]).expect_status(0);
}

/// Sends three tiles, then takes three.
fn program(rank: usize, starts: &str) -> String {
    let (own, other) = starts.split_once(' ').unwrap();
    let [own, other]: [u32; 2] = [own, other].map(|start| start.parse().unwrap());
    let peer = 1 - rank;
    let mut text = format!("rank {rank}\n lane\n copy input[0..3] -> output[{own}..{}]\n", own + 3);
    (0..3).for_each(|tile| text += &format!(" copy input[{tile}] -> peer {peer}\n"));
    (0..3).for_each(|tile| text += &format!(" copy peer {peer} -> output[{}]\n", other + tile));
    text
}

fn one_block_each() -> String {
    let step = |s: usize, kind: &str, buffer: &str, offset: usize| {
        format!(
            "<step s=\"{s}\" type=\"{kind}\" srcbuf=\"{buffer}\" srcoff=\"{offset}\" dstbuf=\"o\" dstoff=\"{offset}\" \
             cnt=\"1\" depid=\"-1\" deps=\"-1\" hasdep=\"0\"/>"
        )
    };
    let gpu = |rank: usize| {
        let peer = 1 - rank;
        let sends: String = (0..3).map(|tile| step(tile, "s", "i", tile)).collect();
        let receives: String = (0..3).map(|tile| step(3 + tile, "r", "o", 3 * peer + tile)).collect();
        let copy =
            step(6, "cpy", "i", 0).replace("dstoff=\"0\" cnt=\"1\"", &format!("dstoff=\"{}\" cnt=\"3\"", 3 * rank));
        format!(
            "<gpu id=\"{rank}\" i_chunks=\"3\" o_chunks=\"6\" s_chunks=\"0\">\
             <tb id=\"0\" send=\"{peer}\" recv=\"{peer}\" chan=\"0\">{sends}{receives}{copy}</tb></gpu>"
        )
    };
    format!(
        "<algo name=\"deep\" proto=\"Simple\" nchannels=\"1\" nchunksperloop=\"6\" ngpus=\"2\" coll=\"allgather\" \
         inplace=\"0\">{}{}</algo>",
        gpu(0),
        gpu(1)
    )
}

/// A plan that went through a file is priced and simulated as it was before.
#[test]
fn a_plan_from_a_file_is_simulated() {
    let file = folder("simulated").join("ring.xml");
    ring(&file).expect_status(0);
    let path = file.to_str().unwrap();
    let machine = ["--on", "hgx-h200", "--gpus-per-unit", "4", "--bytes", "1MiB", "--json"];
    let simulated = |more: &[&str]| {
        let done = finish(unisono(&[&["simulate", "all_reduce"], &machine[..], more].concat()));
        done.expect_status(0);
        row(&done)
    };
    let (read, ours) = (simulated(&["--plan", path]), simulated(&["--algorithm", "ring"]));
    for key in ["algorithm", "ranks", "messages", "time_us", "closed_form_us", "lower_bound_us"] {
        assert_eq!(read[key], ours[key], "{key}");
    }
    let refused = |arguments: &[&str], status, part: &str| {
        let all = [&["simulate"], arguments, &["--on", "hgx-h200", "--bytes", "1MiB", "--plan", path]].concat();
        finish(unisono(&all)).expect_refusal(status, part);
    };
    refused(&["all_reduce"], 2, "is all_reduce of 4 ranks, and what is asked is all_reduce of 8");
    refused(&["all_gather", "--gpus-per-unit", "4"], 2, "and what is asked is all_gather of 4");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("\"rrcs\"", "\"rcs\"", 1)).unwrap();
    refused(&["all_reduce", "--gpus-per-unit", "4"], 1, "ends as a fold without rank 0");
}

#[test]
fn what_cannot_be_written_is_one_sentence() {
    let one = |arguments: &[&str], status, part: &str| check(arguments).expect_refusal(status, part);
    let ring = ["--algorithm", "ring", "--collective", "all_reduce"];
    one(&[&ring[..], &["--write", "x.xml"]].concat(), 2, "give one --ranks");
    one(&["--algorithm", "ring", "--ranks", "4", "--write", "x.xml"], 2, "give one --algorithm and --collective");
    one(&[&ring[..], &["--ranks", "4", "--write", "x.json"]].concat(), 2, "`x.json` names no form: write FILE.xml");
    one(&["--root", "1"], 2, "--write <PATH>");
    one(&["x.xml", "--ranks", "4"], 2, "cannot be used with");
    one(&["--algorithm", "dissemination", "--ranks", "4", "--write", "x.xml"], 2, "MSCCL XML has no barrier");
    let broadcast = ["--algorithm", "binomial", "--collective", "broadcast", "--ranks", "4"];
    one(&[&broadcast[..], &["--root", "4", "--write", "x.xml"]].concat(), 2, "needs a root below 4 ranks");
    one(&[&ring[..], &["--ranks", "4", "--write", "/nowhere/x.xml"]].concat(), 2, "cannot write /nowhere/x.xml");
    one(&[&ring[..], &["--ranks", "4", "--bytes", "3", "--write", "x.et"]].concat(), 2, "3 bytes are less than");
}
