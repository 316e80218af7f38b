use super::*;
use crate::plan::Problem;
use crate::plan::check::check;
use crate::plan::check::tests::samples;
use crate::types::Collective;
use proptest::prelude::*;

fn programs(plan: &Plan) -> Vec<Program> {
    (0..plan.problem.ranks).map(|rank| plan.program(rank)).collect()
}

fn assert_round_trip(plan: &Plan) {
    let text = plan.text().to_string();
    let read = parse(&text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
    assert_eq!((&read.algorithm, read.problem, read.blocks), (&plan.algorithm, plan.problem, plan.blocks));
    assert_eq!(read.demands, plan.demands);
    assert_eq!(programs(&read), programs(plan));
    assert_eq!(read.text().to_string(), text);
}

#[test]
fn every_sample_comes_back_as_it_was() {
    samples::all().iter().for_each(assert_round_trip);
}

/// Compares a plan with `tests/golden/NAME.plan`, and proves what stands there. Run with `UNISONO_WRITE_GOLDEN=1` the file is written.
pub(crate) fn assert_golden(plan: &Plan, name: &str) {
    let path = format!("{}/tests/golden/{name}.plan", env!("CARGO_MANIFEST_DIR"));
    let text = plan.text().to_string();
    if std::env::var_os("UNISONO_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(text, golden, "{path} is not what the plan says; UNISONO_WRITE_GOLDEN=1 writes it anew");
    check(&parse(&golden).unwrap()).unwrap_or_else(|flaw| panic!("{path}: {flaw}"));
}

#[test]
fn golden_files_are_what_the_plans_write_and_are_proved() {
    assert_golden(&samples::ring_all_reduce(3), "sample_ring_3");
    assert_golden(&samples::two_shot(3), "sample_two_shot_3");
    assert_golden(&samples::direct_all_gather(3, true), "sample_direct_3");
    assert_golden(&samples::chain_broadcast(3, 2), "sample_chain_3");
    assert_golden(&samples::tree_reduce(4, 2), "sample_tree_4");
}

fn error(text: &str) -> String {
    parse(text).expect_err("is accepted").to_string()
}

const HEADER: &str = "plan x all_gather ranks=1 root=0 uneven=no tiles=1 blocks=1\n";

#[test]
fn errors_name_line_column_and_the_nearest_word() {
    let body = |body: &str| error(&format!("{HEADER}{body}"));
    let cases = [
        (error(""), "line 1, column 1: a word is to come"),
        (error("plam x"), "line 1, column 1: unknown word `plam`; did you mean `plan`?"),
        (error("plan x all_gatherr"), "line 1, column 8: unknown collective `all_gatherr`; did you mean `all_gather`?"),
        (
            error(&HEADER.replace("=1 r", "=9999999 r")),
            "line 1, column 19: a plan as text is for at most 1048576 ranks",
        ),
        (error(&HEADER.replace("no", "nos")), "line 1, column 41: unknown answer `nos`; did you mean `no`?"),
        (error(HEADER), "line 1, column 1: the text ends before rank 0"),
        (body("rank 1"), "line 2, column 6: rank 1 where rank 0 is to come"),
        (body("rank 0\nrank 1"), "line 3, column 6: rank 1 of a plan for 1"),
        (body("lane"), "line 2, column 1: `rank 0` is to come first"),
        (body("rank 0\n copy ->"), "line 3, column 2: `lane` is to come first"),
        (body("rank 0\nlane\nend"), "line 4, column 1: `end` without a `repeat`"),
        (body("rank 0\nlane\nrepeat 2\nlane"), "line 5, column 1: `lane` inside a repeat; `end` it first"),
        (body("rank 0\nlane\nrepeat 2"), "line 4, column 9: the text ends inside a repeat; `end` is to come"),
        (
            body("rank 0\nlane\ncopy inptu[0] -> output[0]"),
            "line 4, column 6: unknown operand `inptu`; did you mean `input`?",
        ),
        (body("rank 0\nlane\ncopy input[x] ->"), "line 4, column 12: `x]` where a number should be"),
        (
            body("rank 0\nlane\ncopy input[5000000000] ->"),
            "line 4, column 12: `5000000000]` is too large a number here",
        ),
        (body("rank 0\nlane\ncopy input[3..2] ->"), "line 4, column 15: a span from 3 to 2"),
        (body("rank 0\nlane\ncopy peer 0:70000 ->"), "line 4, column 13: `70000` is too large a number here"),
        (body("rank 0\nlane\ncopy input[0] output[0]"), "line 4, column 15: `output[0]` where `->` should be"),
        (
            error(&HEADER.replace("blocks=1", "blocks=1 apart equal")),
            "line 1, column 67: `equal` where the line should end",
        ),
        (body("rank 0\nlane\nwait 1"), "line 4, column 7: the line ends where `:` should be"),
        (body("rank 0\nlane\nlane lane"), "line 4, column 6: `lane` where the line should end"),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
}

#[test]
fn comments_space_and_odd_names_are_read() {
    let text = "# a plan\n\n  plan \"a \\\"b\\\" # \\u{a}é\" barrier ranks=1 root=0 uneven=yes tiles=1 blocks=1 # problem\n rank 0";
    let plan = parse(text).unwrap();
    assert_eq!(plan.algorithm, "a \"b\" # \né");
    assert!(plan.problem.uneven && plan.problem.collective == Collective::Barrier);
    assert_round_trip(&plan);
}

fn operand() -> impl Strategy<Value = Operand> {
    let buffer = prop_oneof![Just(Buffer::Input), Just(Buffer::Output), Just(Buffer::Scratch)];
    prop_oneof![
        (buffer, any::<u32>(), any::<u32>(), any::<u32>())
            .prop_map(|(buffer, start, len, stride)| Operand::Local(Span { buffer, start, len, stride })),
        (any::<usize>(), any::<u16>()).prop_map(|(rank, channel)| Operand::Peer { rank, channel }),
    ]
}

fn one_move() -> impl Strategy<Value = Move> {
    let reduction = prop_oneof![Just(None), Just(Some(Reduction::Partial)), Just(Some(Reduction::Final))];
    let operands = || prop::collection::vec(operand(), 0..4);
    let through = prop_oneof![Just(Through::Messages), Just(Through::Switch)];
    (reduction, operands(), operands(), through).prop_map(|(reduction, sources, destinations, through)| Move {
        reduction,
        sources,
        destinations,
        through,
    })
}

fn program() -> impl Strategy<Value = Program> {
    let step = prop_oneof![
        one_move().prop_map(Step::Move),
        any::<(u32, u32)>().prop_map(|(lane, step)| Step::Wait { lane, step }),
        (any::<u32>(), prop::collection::vec(one_move(), 0..3)).prop_map(|(count, body)| Step::Repeat { count, body }),
    ];
    let lanes = prop::collection::vec(prop::collection::vec(step, 0..4), 0..3);
    (lanes, prop::collection::vec(any::<u32>(), 0..4)).prop_map(|(lanes, scratch)| Program { lanes, scratch })
}

proptest! {
    #[test]
    fn any_plan_comes_back_as_it_was(
        name in any::<String>(),
        programs in prop::collection::vec(program(), 0..4),
        collective in prop::sample::select(Collective::ALL.to_vec()),
        (root, uneven, tiles, blocks) in any::<(usize, bool, u32, u32)>(),
        (equal_chunks, apart) in any::<(bool, bool)>(),
    ) {
        let problem = Problem { root, uneven, tiles, ..Problem::new(collective, programs.len()) };
        let plan = Plan::new(&name, problem, blocks, move |rank| programs[rank].clone());
        assert_round_trip(&plan.demanding(Demands { equal_chunks, apart }));
    }

    #[test]
    fn no_text_makes_it_panic(text in "(plan x all_reduce ranks=[0-9]+ root=0 uneven=no tiles=1 blocks=1)?[ -~\n\"\\\\#é]*") {
        if let Ok(plan) = parse(&text) {
            let _ = check(&plan);
        }
    }
}

/// Golden files with a few bytes changed, dropped or repeated: read or refused, and what is read is checked without a panic.
fn broken(text: &str, changes: &[(u32, u8, u8)]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for &(at, byte, kind) in changes {
        let at = at as usize % bytes.len();
        match kind % 4 {
            0 => bytes[at] = byte,
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, b"0123456789[]=.,> \n"[usize::from(byte) % 18]),
            _ => {
                let end = (at + usize::from(byte)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
        }
        if bytes.is_empty() {
            bytes.push(b'p');
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn broken_golden_files_never_panic(
        file in any::<prop::sample::Index>(),
        changes in prop::collection::vec(any::<(u32, u8, u8)>(), 1..6),
    ) {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
        let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "plan"));
        files.sort();
        let text = std::fs::read_to_string(&files[file.index(files.len())]).unwrap();
        // Of a plan for a million ranks only the text is of interest.
        if let Ok(plan) = parse(&broken(&text, &changes)) && plan.problem.ranks < 100 {
            let _ = check(&plan);
        }
    }
}
