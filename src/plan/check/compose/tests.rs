//! A receipt may be put off only if its *sender* does not wait for it: on a hierarchy of two domains of two ranks in whose all-gather
//! rank 1 sends from scratch that it then fills anew, and rank 0 from memory that it leaves alone.

use super::stage::Factor;
use super::{by_parts, check};
use crate::plan::check::Flaw;
use crate::plan::{Part, Plan, text};
use crate::topology::Layout;
use std::cell::RefCell;

const REDUCE_SCATTER: &str = "\
plan inside reduce_scatter ranks=2 root=0 uneven=no tiles=1 blocks=2
rank 0
  lane
    copy input[1] -> peer 1
    finish input[0], peer 1 -> output[0]
rank 1
  lane
    copy input[0] -> peer 0
    finish peer 0, input[1] -> output[0]
";

const ALL_REDUCE: &str = "\
plan between all_reduce ranks=2 root=0 uneven=no tiles=1 blocks=2
rank 0
  lane
    copy input[1] -> peer 1
    finish peer 1, input[0] -> output[0], peer 1
    copy peer 1 -> output[1]
rank 1
  lane
    copy input[0] -> peer 0
    finish peer 0, input[1] -> output[1], peer 0
    copy peer 0 -> output[0]
";

/// Before it fills its scratch again rank 1 waits until rank 0 has taken what lay there; rank 0 waits for nothing.
const ONE_WAITS: &str = "\
plan one_waits all_gather ranks=2 root=0 uneven=no tiles=1 blocks=2
rank 0
  lane
    copy input[0] -> output[0], peer 1
    copy peer 1 -> output[1]
rank 1
  scratch 1
  lane
    copy input[0] -> output[1]
    copy input[0] -> scratch[0]
    copy scratch[0] -> peer 0
    copy input[0] -> scratch[0]
    copy peer 0 -> output[0]
";

const TILES: u32 = 2;
const BLOCKS: u32 = 4;

fn factor(text: &str) -> Plan {
    let plan = text::parse(text).expect("a plan");
    check(&plan).expect("a factor is proved by itself");
    plan
}

fn parts() -> Vec<Part> {
    let part = |text: &str, chunks| Part {
        factors: vec![factor(text)],
        chunks,
        joins: true,
        runs: 1,
        groups: 2,
        overlaps: false,
    };
    vec![part(REDUCE_SCATTER, 2), part(ALL_REDUCE, 1), part(ONE_WAITS, 2)]
}

/// A tile of a rank: all but its last receipt, and that.
fn tile(rank: u32, tile: u32) -> (String, String) {
    let (place, mate, across) = (rank % 2, rank ^ 1, rank ^ 2);
    let first = BLOCKS * tile;
    let [own, other] = [first + 2 * place, first + 2 * (1 - place)];
    let [kept, passed] = if rank < 2 { [own, own + 1] } else { [own + 1, own] };
    let [own, other] = [own, other].map(|start| format!("[{start}..{}]", start + 2));
    let addends = if place == 0 { format!("input{own}, peer {mate}") } else { format!("peer {mate}, input{own}") };
    let mut text = format!("    copy input{other} -> peer {mate}\n    reduce {addends} -> output{own}\n");
    text += &format!("    copy output[{passed}] -> peer {across}\n");
    text += &format!("    finish peer {across}, output[{kept}] -> output[{kept}], peer {across}\n");
    text += &format!("    copy peer {across} -> output[{passed}]\n");
    let scratch = format!("scratch[{}..{}]", 2 * tile, 2 * tile + 2);
    text += &match place {
        0 => format!("    copy output{own} -> peer {mate}:1\n"),
        _ => format!(
            "    copy output{own} -> {scratch}\n    copy {scratch} -> peer {mate}:1\n    copy output{own} -> {scratch}\n"
        ),
    };
    (text, format!("    copy peer {mate}:1 -> output{other}\n"))
}

/// The hierarchy, in which ranks of this place put their receipt of the first tile off by one tile.
fn hierarchy(puts_off: Option<u32>) -> Plan {
    let mut text = format!("plan h all_reduce ranks=4 root=0 uneven=no tiles={TILES} blocks={BLOCKS}\n");
    for rank in 0..4 {
        let [(first, receipt), (second, last)] = [0, 1].map(|number| tile(rank, number));
        let scratch = if rank % 2 == 1 { "  scratch 2 3 6 7\n" } else { "" };
        let order = match puts_off {
            Some(place) if place == rank % 2 => [first, second, receipt, last],
            _ => [first, receipt, second, last],
        };
        text += &format!("rank {rank}\n{scratch}  lane\n{}", order.concat());
    }
    let mut plan = text::parse(&text).expect("a plan");
    plan.problem.layout = Layout::Blocks(2);
    plan.composed_of(parts())
}

#[test]
fn a_receipt_is_put_off_by_the_word_of_its_sender() {
    let plan = factor(ONE_WAITS);
    let factor = Factor {
        plan: &plan,
        tells_apart: true,
        tail_receipts: RefCell::default(),
        waits_for_none: RefCell::default(),
    };
    assert!(!factor.may_put_off(0), "rank 1 waits for rank 0's receipt");
    assert!(factor.may_put_off(1), "rank 0 waits for nobody");
}

/// What the rule is for: rank 0 waits in the second tile for rank 1, and rank 1 in the first for rank 0's receipt.
#[test]
fn what_the_rule_refuses_is_a_deadlock() {
    for (puts_off, ends) in [(None, true), (Some(1), true), (Some(0), false)] {
        let plan = hierarchy(puts_off);
        let (whole, parts) = (check(&plan), by_parts(&plan));
        assert_eq!(whole.is_ok(), ends, "{puts_off:?}: {:?}", whole.err());
        assert_eq!(parts.is_ok(), ends, "{puts_off:?}: {:?}", parts.err());
        if !ends {
            assert!(matches!(whole, Err(Flaw::Deadlock { .. })), "{:?}", whole.err());
        }
    }
}
