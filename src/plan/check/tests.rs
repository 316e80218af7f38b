//! Plans that are right, plans that are wrong, and mutants of the former.

pub(crate) mod interpret;
pub(crate) mod mutate;
mod random;
pub(crate) mod samples;
mod wait;

use super::*;
use crate::plan::build::*;
use crate::plan::{Move, Operand, Problem, Program, Reduction, Step};
use crate::types::Collective;
use samples::problem;

/// A plan of one lane per rank.
fn plan_of(problem: Problem, blocks: u32, program: impl Fn(Rank) -> Vec<Move> + Send + Sync + 'static) -> Plan {
    Plan::new("test", problem, blocks, move |rank| Program::of(program(rank).into_iter().map(Step::Move).collect()))
}

fn flaw(plan: &Plan) -> Flaw {
    match check(plan) {
        Ok(checked) => panic!("accepted: {checked:?}"),
        Err(flaw) => flaw,
    }
}

#[test]
fn the_samples_are_proved() {
    for plan in samples::all() {
        if let Err(flaw) = check(&plan) {
            panic!("{plan:?}: {flaw}");
        }
    }
}

#[test]
fn a_ring_has_the_facts_of_the_textbook() {
    let checked = check(&samples::ring_all_reduce(5)).unwrap();
    let facts = checked.facts();
    assert_eq!((facts.hops, facts.chunks_sent, facts.chunks_received, facts.messages_sent), (8, 8, 8, 8));
    assert_eq!((facts.chunks_reduced, facts.chunks_copied, facts.scratch_chunks, facts.lanes), (4, 0, 0, 1));
    assert!(facts.bit_equal);
}

#[test]
fn the_promise_is_compared_part_by_part() {
    let checked = check(&samples::two_shot(3)).unwrap();
    let promise = Promise { hops: 2, chunks_sent: 4, chunks_received: 4 };
    let order = |_| Order::Fold(vec![Order::Rank(0), Order::Rank(1), Order::Rank(2)]);
    assert_eq!(keeps_promise(&checked, &promise, &order), Ok(()));
    assert_eq!(checked.order(1, 2), Some(order(2)));
    let wrong = Promise { hops: 3, ..promise };
    assert_eq!(keeps_promise(&checked, &wrong, &order), Err(Flaw::PromisedHops { promised: 3, found: 2 }));
    let wrong = Promise { chunks_received: 5, ..promise };
    assert_eq!(keeps_promise(&checked, &wrong, &order), Err(Flaw::PromisedChunksReceived { promised: 5, found: 4 }));
    let other = |_| Order::Fold(vec![Order::Rank(0), Order::Rank(2), Order::Rank(1)]);
    let flaw = keeps_promise(&checked, &promise, &other).unwrap_err();
    assert_eq!(flaw.to_string(), "rank 0: output[0] adds up as (0 + 1 + 2), declared is (0 + 2 + 1)");
}

#[test]
fn a_contribution_that_is_counted_twice_is_named() {
    let plan = plan_of(problem(Collective::AllReduce, 2), 1, |rank| {
        let mine = one(Buffer::Input, 0);
        vec![
            copy(mine, [peer(1 - rank)]),
            reduce(Reduction::Final, [mine, peer(1 - rank), mine], [one(Buffer::Output, 0)]),
        ]
    });
    let flaw = flaw(&plan);
    assert!(matches!(flaw, Flaw::CountedTwice { rank: 0, .. }), "{flaw}");
    assert_eq!(flaw.to_string(), "rank 0, lane 0, step 1 counts the contribution of rank 0 twice");
}

#[test]
fn a_circle_of_receives_is_told_as_one() {
    let plan = plan_of(problem(Collective::AllGather, 3), 1, |rank| {
        let (next, previous) = ((rank + 1) % 3, (rank + 2) % 3);
        vec![
            copy(one(Buffer::Input, 0), [one(Buffer::Output, rank as u32)]),
            copy(peer(previous), [one(Buffer::Output, previous as u32)]),
            copy(one(Buffer::Input, 0), [peer(next)]),
        ]
    });
    let flaw = flaw(&plan);
    let Flaw::Deadlock { circle } = &flaw else { panic!("{flaw}") };
    assert_eq!(circle.len(), 3);
    assert!(flaw.to_string().starts_with(
        "deadlock: rank 0, lane 0, step 1 waits for a message from rank 2 to rank 0 on channel 0; rank 2, lane 0, step 1"
    ));
}

/// Everyone posts its partial sum and overwrites it before the peer can have taken it: apart from the input it may, on one
/// memory the two wait for each other.
#[test]
fn waiting_for_release_can_deadlock() {
    let plan = plan_of(problem(Collective::AllReduce, 2), 1, |rank| {
        let (mine, sum) = (one(Buffer::Input, 0), one(Buffer::Output, 0));
        vec![copy(mine, [peer(1 - rank)]), reduce(Reduction::Final, [mine, peer(1 - rank)], [sum])]
    });
    // The order differs between the ranks too, but that is a promise's matter, not a flaw.
    let flaw = flaw(&plan);
    let Flaw::InPlace(inner) = &flaw else { panic!("{flaw}") };
    let Flaw::Deadlock { circle } = &**inner else { panic!("{flaw}") };
    assert!(circle.iter().all(|(_, wait)| matches!(wait, Wait::Release(_))));
}

/// A ring of fused folds without memory: each could only be taken once the next is.
#[test]
fn a_circle_of_rendezvous_deadlocks() {
    let plan = plan_of(problem(Collective::ReduceScatter, 3), 1, |rank| {
        let (next, previous) = (peer((rank + 1) % 3), peer((rank + 2) % 3));
        let mine = |steps_back: usize| one(Buffer::Input, ((rank + 6 - steps_back) % 3) as u32);
        vec![
            copy(mine(1), [next]),
            reduce(Reduction::Partial, [mine(2), previous], [next]),
            reduce(Reduction::Final, [mine(3), previous], [one(Buffer::Output, 0)]),
        ]
    });
    let flaw = flaw(&plan);
    let Flaw::Deadlock { circle } = &flaw else { panic!("{flaw}") };
    assert!(circle.iter().all(|(_, wait)| matches!(wait, Wait::Taken(_))), "{flaw}");
}

/// The sum goes to both peers from no memory. Rank 2 takes its part only after rank 1 has taken its own, so a sender with less room
/// than a message would stand still.
#[test]
fn a_rendezvous_of_three_needs_all_three() {
    let plan = plan_of(problem(Collective::AllReduce, 3), 1, |rank| {
        let (mine, sum) = (one(Buffer::Input, 0), one(Buffer::Output, 0));
        match rank {
            0 => {
                vec![reduce(Reduction::Final, [mine, peer(1), peer(2)], [peer(1), peer(2)]), copy(peer_on(1, 1), [sum])]
            }
            1 => vec![copy(mine, [peer(0)]), copy(peer(0), [sum, peer_on(0, 1), peer_on(2, 1)])],
            _ => vec![copy(mine, [peer(0)]), copy(peer_on(1, 1), [sum]), copy(peer(0), [sum])],
        }
    });
    let flaw = flaw(&plan);
    assert!(matches!(flaw, Flaw::Deadlock { .. }), "{flaw}");
}

fn lanes(lanes: Vec<Vec<Move>>, scratch: Vec<ChunkId>) -> Program {
    Program { lanes: lanes.into_iter().map(|lane| lane.into_iter().map(Step::Move).collect()).collect(), scratch }
}

#[test]
fn lanes_that_touch_a_chunk_without_order_race() {
    let plan = |in_one_lane: bool| {
        Plan::new("test", problem(Collective::AllGather, 2), 1, move |rank| {
            let (own, other) = (one(Buffer::Output, rank as u32), one(Buffer::Output, 1 - rank as u32));
            let send = copy(one(Buffer::Input, 0), [own, peer(1 - rank)]);
            let take = copy(peer(1 - rank), [other, peer_on(1 - rank, 1)]);
            let (bounced, slot) = (copy(peer_on(1 - rank, 1), [one(Buffer::Scratch, 0)]), one(Buffer::Scratch, 0));
            let rewrite = copy(slot, [own]);
            match in_one_lane {
                true => lanes(vec![vec![send, bounced, rewrite], vec![take]], vec![0]),
                false => lanes(
                    vec![vec![send], vec![take], vec![copy(one(Buffer::Input, 0), [own])], vec![bounced]],
                    vec![0],
                ),
            }
        })
    };
    assert!(check(&plan(true)).is_ok());
    let flaw = flaw(&plan(false));
    let Flaw::Race { spot, first, reader, second } = &flaw else { panic!("{flaw}") };
    assert_eq!((spot.buffer, first.rank, second.rank, *reader), (Buffer::Output, 0, 0, None));
    assert_ne!(first.lane, second.lane);
}

/// Rank 0's second lane overwrites what its first has posted: in order only if it hears from the step that took it.
#[test]
fn a_posted_chunk_may_be_overwritten_after_it_was_taken() {
    let plan = |hears_from_taker: bool| {
        Plan::new("test", problem(Collective::Broadcast, 2), 1, move |rank| {
            let (input, output, slot) = (one(Buffer::Input, 0), one(Buffer::Output, 0), one(Buffer::Scratch, 0));
            let taken = copy(peer(0), [output]);
            let programs = match (rank, hears_from_taker) {
                (0, _) => vec![
                    vec![copy(input, [slot, output]), copy(slot, [peer(1)]), copy(input, [peer_on(1, 1)])],
                    vec![copy(peer_on(1, 2), [slot])],
                ],
                (_, true) => vec![vec![copy(peer_on(0, 1), [slot]), taken, copy(slot, [peer_on(0, 2)])]],
                (_, false) => vec![vec![copy(peer_on(0, 1), [slot, peer_on(0, 2)])], vec![taken]],
            };
            lanes(programs, vec![0])
        })
    };
    assert!(check(&plan(true)).is_ok());
    let flaw = flaw(&plan(false));
    let Flaw::Race { first, reader, second, .. } = &flaw else { panic!("{flaw}") };
    assert_eq!((first.step, reader.unwrap().rank, second.lane), (1, 1, 1), "{flaw}");
}

/// An all-to-all of two in a lane and on a channel of its own, so that the ranks can do besides what a test asks.
fn all_to_all_beside(program: impl Fn(Rank) -> Vec<Vec<Move>> + Send + Sync + 'static) -> Plan {
    Plan::new("test", problem(Collective::AllToAll, 2), 1, move |rank| {
        let (own, other) = (rank as u32, 1 - rank as u32);
        let exchange = vec![
            copy(one(Buffer::Input, own), [one(Buffer::Output, own)]),
            copy(one(Buffer::Input, other), [peer_on(1 - rank, 9)]),
            copy(peer_on(1 - rank, 9), [one(Buffer::Output, other)]),
        ];
        let mut all = program(rank);
        all.push(exchange);
        lanes(all, vec![0; 3])
    })
}

/// Moves that only messages connect may stream: the answer to a span's first chunk may arrive before the second was sent.
#[test]
fn streaming_orders_a_chunk_only_at_the_same_place_of_its_span() {
    let plan = |shift: u32| {
        all_to_all_beside(move |rank| {
            let (input, slots) = (one(Buffer::Input, 0), span(Buffer::Scratch, 0, 2));
            match rank {
                0 => vec![
                    vec![
                        copy(input, [one(Buffer::Scratch, 0)]),
                        copy(input, [one(Buffer::Scratch, 1)]),
                        copy(slots, [peer(1)]),
                    ],
                    vec![copy(peer(1), [span(Buffer::Scratch, shift, 2)])],
                ],
                _ => vec![vec![copy(peer(0), [slots, peer(0)])]],
            }
        })
    };
    assert!(check(&plan(0)).is_ok());
    let flaw = flaw(&plan(1));
    assert!(matches!(flaw, Flaw::Race { spot: Spot { index: 1, .. }, .. }), "{flaw}");
}

/// A copy may send from its source before it has stored at its destination.
#[test]
fn a_copy_is_not_stored_because_its_message_was_taken() {
    let plan = |stores_first: bool| {
        all_to_all_beside(move |rank| {
            let (input, slot) = (one(Buffer::Input, 0), one(Buffer::Scratch, 0));
            match rank {
                0 if stores_first => {
                    vec![vec![copy(input, [slot]), copy(slot, [peer(1)])], vec![copy(peer(1), [slot])]]
                }
                0 => vec![vec![copy(input, [slot, peer(1)])], vec![copy(peer(1), [slot])]],
                _ => vec![vec![copy(peer(0), [slot, peer(0)])]],
            }
        })
    };
    assert!(check(&plan(true)).is_ok());
    let flaw = flaw(&plan(false));
    assert!(matches!(flaw, Flaw::Race { first: Place { lane: 0, .. }, second: Place { lane: 1, .. }, .. }), "{flaw}");
}

#[test]
fn partial_sums_that_share_a_contribution_are_not_folded() {
    let plan = Plan::new("test", problem(Collective::Reduce, 3), 1, |rank| {
        let (mine, slot) = (one(Buffer::Input, 0), |slot| one(Buffer::Scratch, slot));
        let moves = match rank {
            0 => vec![
                reduce(Reduction::Partial, [mine, peer(1)], [slot(0)]),
                reduce(Reduction::Partial, [peer_on(1, 1), peer(2)], [slot(1)]),
                reduce(Reduction::Final, [slot(0), slot(1)], [one(Buffer::Output, 0)]),
            ],
            1 => vec![copy(mine, [peer(0), peer_on(0, 1)])],
            _ => vec![copy(mine, [peer(0)])],
        };
        lanes(vec![moves], vec![0, 0])
    });
    let flaw = flaw(&plan);
    assert!(matches!(flaw, Flaw::CountedTwice { rank: 1, at: Place { rank: 0, step: 2, .. } }), "{flaw}");
}

#[test]
fn absurd_plans_are_refused_before_they_cost_anything() {
    let nothing = |problem, blocks| Plan::new("test", problem, blocks, |_| Program::default());
    let even = problem(Collective::AllToAll, 1 << 19);
    assert!(matches!(flaw(&nothing(even, 1)), Flaw::TooLarge { .. }));
    assert!(matches!(flaw(&nothing(problem(Collective::AllReduce, 0), 1)), Flaw::Problem { .. }));
    assert!(matches!(flaw(&nothing(problem(Collective::SendRecv, 2), 1)), Flaw::Problem { .. }));
    assert!(matches!(flaw(&nothing(Problem { root: 2, ..problem(Collective::Reduce, 2) }, 1)), Flaw::Problem { .. }));
    assert!(matches!(flaw(&nothing(problem(Collective::AllReduce, 2), 0)), Flaw::Problem { .. }));
    let endless = Plan::new("test", problem(Collective::AllReduce, 1), 1, |_| {
        let body = vec![reduce(Reduction::Final, [one(Buffer::Input, 0)], [one(Buffer::Output, 0)])];
        Program::of(vec![Step::Repeat { count: u32::MAX, body }])
    });
    assert!(matches!(flaw(&endless), Flaw::TooLarge { .. }));
}

/// One wrong move on rank 0 of a plan for two, and the flaw that it must be.
#[test]
fn every_rule_of_a_single_step_is_enforced() {
    type Is = fn(&Flaw) -> bool;
    let (input, output) = (one(Buffer::Input, 0), one(Buffer::Output, 0));
    let cases: Vec<(Move, Is)> = vec![
        (Move { sources: vec![], ..copy(input, [output]) }, |flaw| matches!(flaw, Flaw::NoSource { .. })),
        (copy(input, []), |flaw| matches!(flaw, Flaw::NoDestination { .. })),
        (Move { sources: vec![input, peer(1)], ..copy(input, [output]) }, |flaw| {
            matches!(flaw, Flaw::ManySources { sources: 2, .. })
        }),
        (copy(peer(1), [peer_on(1, 1)]), |flaw| matches!(flaw, Flaw::NoLocalOperand { .. })),
        (copy(span(Buffer::Input, 0, 0), [peer(1)]), |flaw| matches!(flaw, Flaw::EmptySpan { .. })),
        (copy(one(Buffer::Scratch, 0), [output]), |flaw| matches!(flaw, Flaw::NoBuffer { .. })),
        (copy(span(Buffer::Input, 1, 2), [peer(1)]), |flaw| matches!(flaw, Flaw::OutOfRange { end: 3, .. })),
        (copy(span(Buffer::Input, u32::MAX, 1), [peer(1)]), |flaw| matches!(flaw, Flaw::OutOfRange { .. })),
        (copy(output, [input]), |flaw| matches!(flaw, Flaw::WritesInput { .. })),
        (copy(input, [peer(2)]), |flaw| matches!(flaw, Flaw::PeerOutOfRange { peer: 2, .. })),
        (copy(input, [peer(0)]), |flaw| matches!(flaw, Flaw::PeerIsSelf { .. })),
        (copy(input, [peer(1), peer(1)]), |flaw| matches!(flaw, Flaw::PeerTwice { .. })),
        (copy(input, [one(Buffer::Output, 1)]), |flaw| matches!(flaw, Flaw::ShapesDiffer { .. })),
        (copy(span(Buffer::Input, 0, 2), [output]), |flaw| matches!(flaw, Flaw::ShapesDiffer { .. })),
        (copy(input, [output, output]), |flaw| matches!(flaw, Flaw::Overlap { .. })),
        (copy(output, [output]), |flaw| matches!(flaw, Flaw::Unwritten { .. })),
        (reduce(Reduction::Final, [input], [output]), |flaw| matches!(flaw, Flaw::FinalTooEarly { missing: 1, .. })),
        (copy(peer(1), [output]), |flaw| matches!(flaw, Flaw::NeverSent { .. })),
    ];
    for (wrong, is_expected) in cases {
        let text = format!("{wrong:?}");
        let plan = plan_of(problem(Collective::AllReduce, 2), 2, move |rank| match rank {
            0 => vec![wrong.clone()],
            _ => vec![],
        });
        let flaw = flaw(&plan);
        assert!(is_expected(&flaw), "{text} is found to be: {flaw}");
    }
}

#[test]
fn a_message_of_another_chunk_has_another_size() {
    let plan = plan_of(problem(Collective::Broadcast, 2), 2, |rank| match rank {
        0 => vec![
            copy(span(Buffer::Input, 0, 2), [span(Buffer::Output, 0, 2)]),
            copy(one(Buffer::Input, 0), [peer(1)]),
            copy(one(Buffer::Input, 1), [peer(1)]),
        ],
        _ => vec![copy(peer(0), [one(Buffer::Output, 1)]), copy(peer(0), [one(Buffer::Output, 0)])],
    });
    let flaw = flaw(&plan);
    assert!(matches!(flaw, Flaw::SizesDiffer { .. }), "{flaw}");
}

#[test]
fn an_uneven_all_to_all_stays_on_its_two_ranks() {
    let uneven = Problem { uneven: true, ..problem(Collective::AllToAll, 3) };
    let plan = Plan::new("test", uneven, 1, |_| Program { lanes: Vec::new(), scratch: vec![5] });
    assert_eq!(flaw(&plan), Flaw::ScratchSize { rank: 0, slot: 0, chunk: 5 });
}

#[test]
fn lanes_that_share_a_channel_are_refused() {
    let plan = Plan::new("test", problem(Collective::AllGather, 2), 1, |rank| {
        let send: Operand = peer(1 - rank);
        let lane = vec![Step::Move(copy(one(Buffer::Input, 0), [send]))];
        Program { lanes: vec![lane.clone(), lane], scratch: Vec::new() }
    });
    let flaw = flaw(&plan);
    assert!(matches!(flaw, Flaw::SharedChannel { rank: 0, lanes: [0, 1], .. }), "{flaw}");
}

#[test]
fn the_interpreter_agrees_with_the_definition_on_all_samples() {
    for plan in samples::all() {
        interpret::run_all(&plan, 0..20).unwrap_or_else(|wrong| panic!("{plan:?}: {wrong}"));
    }
}

#[test]
fn every_mutant_is_rejected_or_equivalent() {
    let report = mutate::try_all(&samples::all(), 0..6);
    println!("{report}");
    for change in mutate::Change::ALL {
        assert!(report.of(change).rejected > 0, "no mutant by {change:?} was rejected:\n{report}");
        assert!(report.of(change).rejected_by_both > 0, "the interpreter saw nothing of {change:?}:\n{report}");
    }
}

/// Three changes at once reach states that one does not: rendezvous that meet, circles of several kinds of waiting.
#[test]
fn mutants_of_mutants_are_rejected_or_equivalent() {
    for seed in 0..4 {
        println!("seed {seed}\n{}", mutate::try_far(&samples::all(), 25, seed));
    }
}
