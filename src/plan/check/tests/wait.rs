//! Lanes of one rank that wait for each other.

use super::*;

fn parsed(text: &str) -> Plan {
    crate::plan::text::parse(text).expect("a plan")
}

/// One rank gathers its own block: the second lane copies on what the first has copied.
fn passed_on(first: &str, second: &str) -> Plan {
    parsed(&format!(
        "plan x all_gather ranks=1 root=0 uneven=no tiles=1 blocks=1\n\
         rank 0\n scratch 0 0\n lane\n {first}\n lane\n {second}"
    ))
}

#[test]
fn a_wait_orders_what_nothing_else_does() {
    let steps = "copy input[0] -> scratch[0]";
    assert!(check(&passed_on(steps, "wait 0:0\n copy scratch[0] -> output[0]")).is_ok());
    let flaw = flaw(&passed_on(steps, "copy scratch[0] -> output[0]"));
    assert!(matches!(flaw, Flaw::Race { .. } | Flaw::Unwritten { .. }), "{flaw}");
}

/// The store of a copy may be late, when its message has long been taken; the end of its step is after it.
#[test]
fn the_end_of_a_step_is_the_end_of_its_stores() {
    let plan = |wait: &str| {
        parsed(&format!(
            "plan x all_gather ranks=2 root=0 uneven=no tiles=1 blocks=1 apart\n\
             rank 0\n scratch 0\n lane\n copy input[0] -> scratch[0], peer 1\n lane\n {wait}\n copy scratch[0] -> output[0]\n \
             lane\n copy peer 1 -> output[1]\n\
             rank 1\n lane\n copy input[0] -> output[1], peer 0\n copy peer 0 -> output[0]"
        ))
    };
    assert!(check(&plan("wait 0:0")).is_ok());
    assert!(matches!(flaw(&plan("")), Flaw::Race { .. } | Flaw::Unwritten { .. }));
}

/// The end of a step says nothing of what was posted from it: another lane must not overwrite that.
#[test]
fn the_end_of_a_step_is_no_release() {
    let plan = parsed(
        "plan x all_gather ranks=2 root=0 uneven=no tiles=1 blocks=1\n\
         rank 0\n scratch 0\n lane\n copy input[0] -> output[0], scratch[0]\n copy scratch[0] -> peer 1\n \
         lane\n wait 0:1\n copy peer 1 -> scratch[0]\n copy scratch[0] -> output[1]\n\
         rank 1\n lane\n copy input[0] -> output[1], peer 0\n copy peer 0 -> output[0]",
    );
    let flaw = flaw(&plan);
    assert!(matches!(flaw, Flaw::Race { reader: Some(_), .. }), "{flaw}");
}

#[test]
fn a_circle_of_waits_is_told_step_by_step() {
    let flaw = flaw(&passed_on("wait 1:0\n copy input[0] -> scratch[0]", "wait 0:1\n copy scratch[0] -> output[0]"));
    assert_eq!(
        flaw.to_string(),
        "deadlock: rank 0, lane 0, step 0 waits for the end of rank 0, lane 1, step 0; \
         rank 0, lane 1, step 0 waits for the end of rank 0, lane 0, step 1"
    );
}

#[test]
fn a_wait_is_for_a_step_that_exists() {
    for wait in ["wait 2:0", "wait 0:1"] {
        let flaw = flaw(&passed_on("copy input[0] -> output[0]", wait));
        assert!(matches!(flaw, Flaw::NoSuchStep { .. }), "{flaw}");
    }
    let own = "copy input[0] -> output[0]\n wait 0:0\n repeat 0\n end\n wait 0:2";
    assert!(check(&passed_on(own, "")).is_ok());
}

/// A chain of messages passes through waits.
#[test]
fn hops_are_counted_through_waits() {
    let plan = parsed(
        "plan x broadcast ranks=3 root=0 uneven=no tiles=1 blocks=1\n\
         rank 0\n lane\n copy input[0] -> output[0], peer 1\n\
         rank 1\n lane\n copy peer 0 -> output[0]\n lane\n wait 0:0\n copy output[0] -> peer 2\n\
         rank 2\n lane\n copy peer 1 -> output[0]",
    );
    assert_eq!(check(&plan).expect("a plan").facts().hops, 2);
}

/// Of equal chunks one may lie where another lay; of others not.
#[test]
fn equal_chunks_share_scratch() {
    let text = |equal: &str| {
        format!(
            "plan x all_reduce ranks=1 root=0 uneven=no tiles=1 blocks=2{equal}\n\
             rank 0\n scratch 0\n lane\n finish input[0] -> scratch[0]\n copy scratch[0] -> output[0]\n \
             finish input[1] -> scratch[0]\n copy scratch[0] -> output[1]"
        )
    };
    let checked = check(&parsed(&text(" equal"))).expect("a plan");
    check_lowered_at(&checked, 3).expect("counts are rounded up to whole chunks");
    assert!(matches!(flaw(&parsed(&text(""))), Flaw::ShapesDiffer { .. }));
    let contradiction = text(" equal").replace("uneven=no", "uneven=yes");
    assert!(matches!(flaw(&parsed(&contradiction)), Flaw::Problem { .. }));
}

/// What is overwritten before it is read, if input and output are one.
#[test]
fn a_plan_for_memory_apart_is_not_tried_in_place() {
    let text = |apart: &str| {
        format!(
            "plan x all_reduce ranks=1 root=0 uneven=no tiles=1 blocks=2 equal{apart}\n\
             rank 0\n lane\n finish input[1] -> output[0]\n finish input[0] -> output[0]\n finish input[1] -> output[1]"
        )
    };
    let checked = check(&parsed(&text(" apart"))).expect("a plan");
    check_lowered_at(&checked, 2).expect("apart");
    let flaw = flaw(&parsed(&text("")));
    assert!(matches!(flaw, Flaw::InPlace(_)), "{flaw}");
}

#[test]
#[should_panic(expected = "is for input and output apart")]
fn a_plan_for_memory_apart_is_not_lowered_in_place() {
    let text =
        "plan x all_gather ranks=1 root=0 uneven=no tiles=1 blocks=1 apart\nrank 0\n lane\n copy input[0] -> output[0]";
    let checked = check(&parsed(text)).expect("a plan");
    crate::plan::lower::lower(&checked, 0, &crate::plan::chunk::Counts::Even(1), 4, true);
}
