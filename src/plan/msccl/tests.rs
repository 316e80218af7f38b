//! Files that are right, files that are wrong in one thing, and files that are no plans at all.

use super::document::{COLLECTIVES, Kind, Step, StepId};
use super::*;
use crate::plan::Buffer;
use crate::plan::check::{Flaw, Found, Wait, check, check_lowered_at};
use proptest::prelude::*;

mod judge;
mod mutate;
mod written;

/// Two GPUs in place; blocks that wait for each other.
const PAIRS: &str = include_str!("../../../tests/corpus/msccl/pairs.xml");

fn document(text: &str) -> Document {
    Document::parse(text).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

/// The flaw of a file as a plan.
fn flaw(text: &str) -> Flaw {
    match check(&read(text).unwrap_or_else(|error| panic!("{error} in\n{text}"))) {
        Ok(checked) => panic!("accepted: {checked:?}\n{}", checked.plan().text()),
        Err(flaw) => flaw,
    }
}

/// The text with one part replaced, which stands there once.
fn with(text: &str, part: &str, replacement: &str) -> String {
    assert_eq!(text.matches(part).count(), 1, "{part} in\n{text}");
    text.replace(part, replacement)
}

/// A line of a file and its number, from 1.
fn line(text: &str, number: usize) -> &str {
    text.lines().nth(number - 1).expect("the file has the line")
}

/// Both plans of a right file are proved, also lowered; the posted one is returned.
fn proved(text: &str) -> crate::plan::check::Checked {
    let document = document(text);
    let mut of = [Connections::Posted, Connections::Buffered].map(|connections| {
        let plan = document.plan(text, connections).unwrap_or_else(|error| panic!("{error}")).plan;
        let checked = check(&plan).unwrap_or_else(|flaw| panic!("{connections:?}: {flaw}\n{}", plan.text()));
        check_lowered_at(&checked, 1).unwrap_or_else(|flaw| panic!("{connections:?}: {flaw}\n{}", plan.text()));
        Some(checked)
    });
    of[0].take().expect("it was just put there")
}

/// A file with these blocks: `(gpu, send, recv, steps)`.
fn file(head: &str, chunks: [u32; 3], blocks: &[(usize, i32, i32, &[&str])]) -> String {
    let [inputs, outputs, scratch] = chunks;
    let gpus = blocks.iter().map(|(gpu, ..)| gpu + 1).max().unwrap_or(0);
    let mut text = format!("<algo name=\"test\" proto=\"Simple\" nchannels=\"1\" ngpus=\"{gpus}\" {head}>\n");
    for gpu in 0..gpus {
        text += &format!("<gpu id=\"{gpu}\" i_chunks=\"{inputs}\" o_chunks=\"{outputs}\" s_chunks=\"{scratch}\">\n");
        for (id, (_, send, recv, steps)) in blocks.iter().filter(|(of, ..)| *of == gpu).enumerate() {
            text += &format!("<tb id=\"{id}\" send=\"{send}\" recv=\"{recv}\" chan=\"0\">\n");
            for (s, step) in steps.iter().enumerate() {
                text += &step_line(s, step);
            }
            text += "</tb>\n";
        }
        text += "</gpu>\n";
    }
    text + "</algo>\n"
}

/// `kind source destination count [block.step] [!]`, such as `rrc i0 o0 1 0.1 !`: waits for step 1 of block 0, is waited for.
fn step_line(s: usize, step: &str) -> String {
    let words: Vec<&str> = step.split(' ').collect();
    let [kind, source, destination, count] = words[..4] else { panic!("{step}") };
    let after = words.iter().skip(4).find_map(|word| word.split_once('.')).unwrap_or(("-1", "-1"));
    let is_awaited = u8::from(words.contains(&"!"));
    format!(
        "<step s=\"{s}\" type=\"{kind}\" srcbuf=\"{}\" srcoff=\"{}\" dstbuf=\"{}\" dstoff=\"{}\" cnt=\"{count}\" \
         depid=\"{}\" deps=\"{}\" hasdep=\"{is_awaited}\"/>\n",
        &source[..1],
        &source[1..],
        &destination[..1],
        &destination[1..],
        after.0,
        after.1
    )
}

/// An all-gather among two, apart: each sends its block and copies it.
fn gather() -> String {
    let blocks: [(usize, i32, i32, &[&str]); 4] = [
        (0, 1, 1, &["s i0 o0 1", "r i0 o1 1"]),
        (0, -1, -1, &["cpy i0 o0 1"]),
        (1, 0, 0, &["s i0 o1 1", "r i0 o0 1"]),
        (1, -1, -1, &["cpy i0 o1 1"]),
    ];
    file("nchunksperloop=\"2\" coll=\"allgather\" inplace=\"0\"", [1, 2, 0], &blocks)
}

#[test]
fn a_file_is_read_as_it_stands() {
    let document = document(PAIRS);
    assert_eq!((document.name.as_str(), document.protocol, document.chunks), ("pairs", Protocol::Simple, 2));
    assert_eq!((document.placement, document.root, document.gpus.len()), (Placement::InPlace, 0, 2));
    let block = &document.gpus[1].blocks[0];
    assert_eq!((block.send, block.receive, block.channel, block.steps.len()), (Some(0), Some(0), 0, 5));
    assert_eq!(block.steps[2].kind, Kind::Nop);
    assert_eq!(block.steps[2].after, Some(StepId { block: 1, step: 0 }));
    assert_eq!(&PAIRS[block.steps[2].at..][..13], "<step s=\"2\" t");
}

#[test]
fn right_files_are_proved() {
    let checked = proved(PAIRS);
    let facts = checked.facts();
    assert_eq!((facts.hops, facts.chunks_sent, facts.chunks_received, facts.chunks_reduced), (2, 2, 2, 1));
    assert_eq!(checked.plan().demands, crate::plan::Demands { equal_chunks: true, apart: false });
    let facts = proved(&gather()).facts().clone();
    assert_eq!((facts.hops, facts.chunks_sent, facts.chunks_copied), (1, 1, 1));
}

/// The plan reads the input until it is written, then the output; what completes a sum is final.
#[test]
fn in_place_chunks_move_from_the_input_to_the_output() {
    let plan = read(PAIRS).unwrap();
    let text = plan.text().to_string();
    let rank_0 = text.split("rank 1").next().unwrap();
    assert_eq!(
        rank_0,
        "plan pairs all_reduce ranks=2 root=0 uneven=no tiles=1 blocks=2 equal\n\
         rank 0\n  scratch 0\n  \
           lane\n    \
             copy input[1] -> peer 1\n    \
             copy peer 1 -> scratch[0]\n    \
             wait 1:1\n    \
             copy output[0] -> peer 1\n    \
             copy peer 1 -> output[1]\n  \
           lane\n    \
             wait 0:1\n    \
             finish input[0], scratch[0] -> output[0]\n"
    );
}

/// Partial sums go round in place, also over chunks that are no output of the GPU.
#[test]
fn a_reduce_scatter_in_place_works_in_scratch() {
    let blocks: [(usize, i32, i32, &[&str]); 2] =
        [(0, 1, 1, &["s i1 i1 1", "rrc i0 i0 1"]), (1, 0, 0, &["s i0 i0 1", "rrc i1 i1 1"])];
    let text = file("nchunksperloop=\"2\" coll=\"reduce_scatter\" inplace=\"1\"", [2, 0, 0], &blocks);
    assert_eq!(proved(&text).facts().chunks_sent, 1);
    let blocks: [(usize, i32, i32, &[&str]); 2] =
        [(0, 1, 1, &["s i1 i1 1", "rrc i0 i1 1", "cpy i1 i0 1"]), (1, 0, 0, &["s i0 i0 1", "rrc i1 o0 1"])];
    proved(&file("nchunksperloop=\"2\" coll=\"reducescatter\" inplace=\"1\"", [2, 1, 0], &blocks));
}

/// The first reads what only messages order after the write: which of the two places it means is sure in neither.
#[test]
fn where_it_is_not_sure_the_input_is_copied_first() {
    let blocks: [(usize, i32, i32, &[&str]); 4] = [
        (0, -1, 1, &["rrc i0 i0 1 !"]),
        (0, 1, -1, &["s i0 i0 1 0.0"]),
        (1, 0, -1, &["s i0 i0 1"]),
        (1, -1, 0, &["r i0 i0 1"]),
    ];
    let text = file("nchunksperloop=\"1\" coll=\"allreduce\" inplace=\"1\"", [1, 0, 0], &blocks);
    assert_eq!(
        proved(&text).facts().chunks_copied,
        1,
        "not again to be sent: what overwrites it comes after it was taken"
    );
    let unordered = text.replace("depid=\"0\"", "depid=\"-1\"");
    assert!(matches!(flaw(&unordered), Flaw::Race { .. }));
}

#[test]
fn a_root_is_told_or_is_the_gpu_with_the_buffer() {
    let blocks: [(usize, i32, i32, &[&str]); 2] =
        [(0, -1, 1, &["r i0 o0 1"]), (1, 0, -1, &["s i0 o0 1", "cpy i0 o0 1"])];
    let told = file("nchunksperloop=\"1\" coll=\"broadcast\" inplace=\"0\" root=\"1\"", [1, 1, 0], &blocks);
    assert_eq!(proved(&told).plan().problem.root, 1);
    let first_has_none = told.replacen("i_chunks=\"1\"", "i_chunks=\"0\"", 1).replace(" root=\"1\"", "");
    assert_eq!(proved(&first_has_none).plan().problem.root, 1);
}

#[test]
fn folds_into_one_place_are_one_move() {
    let blocks: [(usize, i32, i32, &[&str]); 4] = [
        (0, 1, 1, &["s i0 s0 1", "r i0 s0 1 !"]),
        (0, -1, -1, &["cpy i0 o0 1", "re s0 o0 1 0.1"]),
        (1, 0, 0, &["s i0 s0 1", "r i0 s0 1", "cpy i0 s1 1 !"]),
        (1, -1, -1, &["re s0 o0 1 0.2", "re s1 o0 1"]),
    ];
    let text = file("nchunksperloop=\"1\" coll=\"allreduce\" inplace=\"0\"", [1, 1, 2], &blocks);
    // The second GPU adds to what nobody wrote.
    assert!(matches!(flaw(&text), Flaw::Unwritten { .. }));
    let zero = text.replace(
        "type=\"re\" srcbuf=\"s\" srcoff=\"0\" dstbuf=\"o\" dstoff=\"0\" cnt=\"1\" depid=\"0\" deps=\"2\"",
        "type=\"cpy\" srcbuf=\"s\" srcoff=\"0\" dstbuf=\"o\" dstoff=\"0\" cnt=\"1\" depid=\"0\" deps=\"2\"",
    );
    proved(&zero);
    let plan = read(&text).unwrap();
    assert!(
        plan.text().to_string().contains("reduce output[0], scratch[0], scratch[1] -> output[0]"),
        "{}",
        plan.text()
    );
}

/// Of one step of GPU 0, one chunk is complete and the other is not: it can only be said chunk by chunk.
#[test]
fn steps_that_complete_some_of_their_chunks_are_split() {
    let blocks: [(usize, i32, i32, &[&str]); 6] = [
        (0, 1, 1, &["rrc i0 s0 2 !", "cpy s0 o0 1 !", "s o0 o0 2 1.0"]),
        (0, 2, 2, &["rrc s1 o1 1 0.0 !", "s o0 o0 2 0.1"]),
        (1, -1, 2, &["rrc i0 s0 1", "cpy i1 s1 1 !"]),
        (1, 0, 0, &["s s0 i0 2 0.1", "r o0 o0 2"]),
        (2, 1, -1, &["s i0 i0 1"]),
        (2, 0, 0, &["s i1 s1 1", "r o0 o0 2"]),
    ];
    let text = file("nchunksperloop=\"2\" coll=\"allreduce\" inplace=\"0\"", [2, 2, 2], &blocks);
    let checked = proved(&text);
    let program = checked.plan().text().to_string();
    assert!(
        program.contains("finish peer 1, input[0] -> scratch[0]\n    reduce peer 1, input[1] -> scratch[1]"),
        "{program}"
    );
}

/// Every wrong file is rejected, and for what is wrong with it.
#[test]
fn what_is_wrong_is_told() {
    let second_send = line(PAIRS, 8);
    type Case = (&'static str, String, fn(&Flaw) -> bool);
    let cases: [Case; 9] = [
        (
            "wrong count",
            with(
                PAIRS,
                line(PAIRS, 6),
                &line(PAIRS, 6).replace("srcoff=\"1\"", "srcoff=\"0\"").replace("cnt=\"1\"", "cnt=\"2\""),
            ),
            |flaw| matches!(flaw, Flaw::SizesDiffer { .. }),
        ),
        (
            "missing receive",
            with(PAIRS, &format!("{}\n", line(PAIRS, 9)), ""),
            |flaw| matches!(flaw, Flaw::NeverReceived { link, .. } if link.source == 1),
        ),
        (
            "missing send",
            with(PAIRS, second_send, &second_send.replace("type=\"s\"", "type=\"nop\"")),
            |flaw| matches!(flaw, Flaw::NeverSent { link, .. } if link.source == 0),
        ),
        ("another chunk", with(PAIRS, second_send, &second_send.replace("srcoff=\"0\"", "srcoff=\"1\"")), |flaw| {
            matches!(flaw, Flaw::WrongOutput { rank: 1, chunk: 0, .. })
        }),
        (
            "counted twice",
            with(PAIRS, line(PAIRS, 12), &line(PAIRS, 12).replace("srcbuf=\"s\"", "srcbuf=\"i\"")),
            |flaw| matches!(flaw, Flaw::CountedTwice { rank: 0, .. }),
        ),
        ("nothing added", with(PAIRS, line(PAIRS, 12), &line(PAIRS, 12).replace("\"re\"", "\"cpy\"")), |flaw| {
            matches!(flaw, Flaw::WrongOutput { found: Found::Input { .. }, .. })
        }),
        (
            "a dependency too few",
            with(PAIRS, line(PAIRS, 12), &line(PAIRS, 12).replace("depid=\"0\"", "depid=\"-1\"")),
            |flaw| matches!(flaw, Flaw::Race { .. } | Flaw::Unwritten { .. }),
        ),
        (
            "dependencies in a circle",
            with(PAIRS, line(PAIRS, 7), &line(PAIRS, 7).replace("depid=\"-1\" deps=\"-1\"", "depid=\"1\" deps=\"0\"")),
            |flaw| matches!(flaw, Flaw::Deadlock { circle } if circle.iter().all(|(_, wait)| matches!(wait, Wait::Step(_)))),
        ),
        ("receives before sends", swapped(PAIRS, 6, 7), |flaw| {
            matches!(flaw, Flaw::NeverSent { .. } | Flaw::Deadlock { .. })
        }),
    ];
    for (what, text, is_expected) in cases {
        let flaw = flaw(&text);
        assert!(is_expected(&flaw), "{what}: {flaw}");
    }
}

/// Both GPUs with two of their steps in the other order.
fn swapped(text: &str, one: usize, other: usize) -> String {
    let swap = |text: &str, one: usize, other: usize| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let steps = [one, other].map(|number| lines[number - 1].clone());
        let number = |line: &str| line.split("s=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
        let renumbered = |line: &str, as_other: &str| {
            line.replacen(&format!("s=\"{}\"", number(line)), &format!("s=\"{}\"", number(as_other)), 1)
        };
        lines[one - 1] = renumbered(&steps[1], &steps[0]);
        lines[other - 1] = renumbered(&steps[0], &steps[1]);
        lines.join("\n")
    };
    let both = swap(&swap(text, one, other), one + 11, other + 11);
    // The fold waits for the step that receives, wherever it is.
    both.replace("depid=\"0\" deps=\"1\"", "depid=\"0\" deps=\"0\"")
}

/// Each sends three messages before it takes the other's: connections of MSCCL hold two.
#[test]
fn a_connection_holds_only_so_much() {
    let blocks: [(usize, i32, i32, &[&str]); 2] = [
        (0, 1, 1, &["s i0 o0 1", "s i1 o1 1", "s i2 o2 1", "r i0 o3 1", "r i0 o4 1", "r i0 o5 1", "cpy i0 o0 3"]),
        (1, 0, 0, &["s i0 o3 1", "s i1 o4 1", "s i2 o5 1", "r i0 o0 1", "r i0 o1 1", "r i0 o2 1", "cpy i0 o3 3"]),
    ];
    let text = file("nchunksperloop=\"6\" coll=\"allgather\" inplace=\"0\"", [3, 6, 0], &blocks);
    assert!(check(&read(&text).unwrap()).is_ok());
    let of = |text: &str| check(&document(text).plan(text, Connections::Buffered).unwrap().plan);
    let flaw = of(&text).unwrap_err();
    assert!(
        matches!(&flaw, Flaw::Deadlock { circle } if circle.iter().all(|(_, wait)| matches!(wait, Wait::Release(_)))),
        "{flaw}"
    );
    assert!(of(&text.replace("Simple", "LL128")).is_ok(), "there they hold eight");
}

/// What is sent may be overwritten at once: it is copied first.
#[test]
fn an_exchange_in_one_place_is_staged() {
    let blocks: [(usize, i32, i32, &[&str]); 2] =
        [(0, 1, 1, &["s o0 s0 1", "r i0 o0 1"]), (1, 0, 0, &["s o0 s0 1", "r i0 o0 1"])];
    let copies: [(usize, i32, i32, &[&str]); 2] = [
        (0, 1, 1, &["cpy i1 o0 1", "s o0 s0 1", "r i0 o0 1", "cpy o0 o1 1", "cpy i0 o0 1"]),
        (1, 0, 0, &["cpy i0 o0 1", "s o0 s0 1", "r i0 o0 1", "cpy i1 o1 1"]),
    ];
    let head = "nchunksperloop=\"2\" coll=\"alltoall\" inplace=\"0\"";
    assert!(matches!(flaw(&file(head, [2, 2, 0], &blocks)), Flaw::Unwritten { .. }));
    proved(&file(head, [2, 2, 0], &copies));
}

#[test]
fn writing_to_the_input_of_a_call_apart_is_a_flaw() {
    let text = gather().replace(
        "dstbuf=\"o\" dstoff=\"1\" cnt=\"1\" depid=\"-1\" deps=\"-1\" hasdep=\"0\"/>\n</tb>\n<tb id=\"1\"",
        "dstbuf=\"i\" dstoff=\"0\" cnt=\"1\" depid=\"-1\" deps=\"-1\" hasdep=\"0\"/>\n</tb>\n<tb id=\"1\"",
    );
    assert!(matches!(flaw(&text), Flaw::WritesInput { .. }));
}

#[test]
fn a_flaw_names_the_step_of_the_file() {
    let text = with(PAIRS, line(PAIRS, 12), &line(PAIRS, 12).replace("srcbuf=\"s\"", "srcbuf=\"i\""));
    let reading = document(&text).plan(&text, Connections::Posted).unwrap();
    let place = check(&reading.plan).unwrap_err().place().expect("a fold");
    assert_eq!(reading.origin(&place), Some(Origin { gpu: 0, block: 1, step: 0 }));
}

#[test]
fn what_is_no_file_is_told_with_line_and_column() {
    let one = |part: &str, replacement: &str| {
        let text = PAIRS.replacen(part, replacement, 1);
        assert_ne!(text, PAIRS, "{part}");
        read(&text).expect_err(part).to_string()
    };
    let cases = [
        (read("").unwrap_err().to_string(), "line 1, column 1: `algo` is to come"),
        (read("<plan/>").unwrap_err().to_string(), "line 1, column 1: `plan` where `algo` is to come"),
        (one("allreduce", "allredcue"), "line 3, column 84: unknown coll `allredcue`; did you mean `allreduce`?"),
        (
            one("\"pairs\"", &format!("\"{}\"", "p".repeat(201))),
            "line 3, column 13: a name of more than 200 characters",
        ),
        (one("Simple", "simple"), "line 3, column 27: unknown proto `simple`; did you mean `Simple`?"),
        (one("ngpus=\"2\"", "ngpus=\"3\""), "line 3, column 1: `algo` without `gpu` 2"),
        (one("ngpus=\"2\"", "ngpus=\"many\""), "line 3, column 75: `ngpus` is `many`, not a whole number"),
        (
            one("ngpus=\"2\"", "ngpus=\"99999999999\""),
            "line 3, column 75: `ngpus` is 99999999999, and goes from 0 to 1048576",
        ),
        (
            one("id=\"1\" i_chunks", "id=\"0\" i_chunks"),
            "line 15, column 12: a second `gpu` with id 0, which that in line 4 has: give each an id of its own",
        ),
        (
            one("tb id=\"1\"", "tb id=\"0\""),
            "line 11, column 13: a second `tb` with id 0, which that in line 5 has: give each an id of its own",
        ),
        (one("tb id=\"1\"", "tb id=\"7\""), "line 4, column 3: `gpu` without `tb` 1"),
        (one("send=\"1\"", "send=\"2\""), "line 5, column 22: GPU 2 of 2"),
        (one("send=\"1\"", "send=\"0\""), "line 5, column 22: its own GPU as peer"),
        (one("send=\"1\"", "send=\"-1\""), "line 6, column 25: `s` in a `tb` whose `send` is -1"),
        (one("type=\"s\"", "type=\"x\""), "line 6, column 25: unknown type `x`; did you mean `s`?"),
        (one("srcbuf=\"i\"", "srcbuf=\"x\""), "line 6, column 36: unknown srcbuf `x`; did you mean `i`?"),
        (one("cnt=\"1\"", "cnt=\"0\""), "line 6, column 77: a step of no chunks"),
        (one("cnt=\"1\"", "cnt=\"2\""), "line 6, column 7: reaches to chunk 3 of `i`, and that of GPU 0 has 2"),
        (one("s=\"1\" type=\"r\"", "s=\"2\" type=\"r\""), "line 7, column 16: step 2 where step 1 is to come"),
        (
            one("depid=\"1\" deps=\"0\"", "depid=\"1\" deps=\"1\""),
            "line 8, column 7: waits for step 1 of tb 1, which there is not",
        ),
        (
            one("depid=\"0\" deps=\"1\" hasdep=\"1\"", "depid=\"0\" deps=\"1\" hasdep=\"0\""),
            "line 8, column 7: waits for step 0 of tb 1, and neither that nor a later step of it has `hasdep=\"1\"`: it waits for ever",
        ),
        (
            one("<gpu id=\"0\"", "<!DOCTYPE x><gpu id=\"0\""),
            "line 4, column 3: a document type, which a plan does not have",
        ),
        (one("<gpu id=\"0\"", "hello <gpu id=\"0\""), "line 4, column 3: text where only elements stand"),
        (one("<tb id=\"0\"", "<op/><tb id=\"0\""), "line 5, column 5: `op` in `gpu`, where only `tb` stands"),
        (
            one("coll=\"allreduce\"", "coll=\"alltoall\""),
            "line 3, column 103: an all-to-all in place is nothing that can be checked",
        ),
        (
            one(
                "nchunksperloop=\"2\" ngpus=\"2\" coll=\"allreduce\"",
                "nchunksperloop=\"3\" ngpus=\"2\" coll=\"allgather\"",
            ),
            "line 3, column 65: 3 chunks are to be divided among 2 GPUs",
        ),
        (one(" cnt=\"1\"", ""), "line 6, column 7: `step` without `cnt`"),
        (one("</algo>", "</algo><algo/>"), "line 27, column 8: `algo` where the text should end"),
        (one("name=\"pairs\"", "name=\"&bomb;\""), "line 3, column 13: at 1..5: unrecognized entity `bomb`"),
    ];
    let wrong: Vec<_> = cases.iter().filter(|(found, expected)| !found.starts_with(expected)).collect();
    assert!(wrong.is_empty(), "(found, expected): {wrong:#?}");
    // What the XML reader says, in its words.
    for broken in ["</algo>", "<algo", "<algo name=\"x", "<algo><gpu></algo>", "<algo a=\"1\" a=\"2\"/>", "<!-- "] {
        let told = read(broken).unwrap_err().to_string();
        assert!(told.starts_with("line 1, column "), "{told}");
    }
}

/// Depth and size are bounded by the text, and numbers are not believed.
#[test]
fn absurd_files_are_refused_quickly() {
    let deep = "<algo>".repeat(100_000);
    assert!(read(&deep).is_err());
    let head = |chunks: &str, gpus: &str| {
        format!(
            "<algo name=\"\" proto=\"LL\" nchunksperloop=\"{chunks}\" ngpus=\"{gpus}\" coll=\"allreduce\" inplace=\"1\">"
        )
    };
    let refused = |text: &str| {
        let (told, peak) = crate::fuzzing::peak_bytes(|| read(text).expect_err(text).to_string());
        assert!(peak <= 60 * text.len() + (1 << 20), "{peak} bytes for a text of {}", text.len());
        told
    };
    let told = refused(&(head("16777216", "1048576") + "</algo>"));
    assert!(
        told.contains("16777216 chunks are 17592186044416 chunks, and a text of this length has at most"),
        "{told}"
    );
    assert!(refused(&(head("1", "200000") + "</algo>")).ends_with("`algo` without `gpu` 0"));
    let gpu = "<gpu id=\"0\" i_chunks=\"0\" o_chunks=\"0\" s_chunks=\"16777216\"><tb id=\"0\" send=\"-1\" recv=\"-1\" chan=\"0\">";
    let copy = |s: usize, at: u32, count: u32| {
        format!("<step s=\"{s}\" type=\"cpy\" srcbuf=\"s\" srcoff=\"0\" dstbuf=\"s\" dstoff=\"{at}\" cnt=\"{count}\"/>")
    };
    let many: String = (0..300).map(|s| copy(s, 10_000, 10_000)).collect();
    let told = refused(&(head("1", "1") + gpu + &many + "</tb></gpu></algo>"));
    assert!(told.ends_with("more chunks to move than a text of this length may ask for"), "{told}");
    let told = refused(&(head("1", "1") + gpu + &copy(0, 16_000_000, 1) + "</tb></gpu></algo>"));
    assert!(told.contains("takes more than ") && told.ends_with(" chunks of scratch"), "{told}");
    let attributes: String = (0..100).map(|index| format!(" a{index}=\"\"")).collect();
    assert!(read(&format!("<algo{attributes}/>")).unwrap_err().to_string().contains("more than 64 attributes"));
}

/// Bytes of right files changed, dropped or repeated.
fn broken(text: &str, changes: &[(u32, u8, u8)]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for &(at, byte, kind) in changes {
        let at = at as usize % bytes.len();
        match kind % 4 {
            0 => bytes[at] = byte,
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, b"0123456789-\"<>/= isor"[usize::from(byte) % 21]),
            _ => bytes[at] = b"0123456789"[usize::from(byte) % 10],
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn broken_files_never_panic(
        which in any::<bool>(),
        changes in prop::collection::vec(any::<(u32, u8, u8)>(), 1..6),
    ) {
        let text = broken(&if which { PAIRS.to_owned() } else { gather() }, &changes);
        if let Ok(document) = Document::parse(&text) {
            for connections in [Connections::Posted, Connections::Buffered] {
                if let Ok(reading) = document.plan(&text, connections) {
                    let _ = check(&reading.plan).map(|checked| check_lowered_at(&checked, 1).unwrap());
                }
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "(<algo name=\"\" proto=\"LL\" nchunksperloop=\"2\" ngpus=\"1\" coll=\"allreduce\">)?[ -~<>\"=/&;\n]*") {
        let _ = read(&text);
    }
}
