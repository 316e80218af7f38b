//! What a running job chooses.

use super::proof_time::{Sent, proof_ns};
use super::*;
use crate::types::TransportKind;

fn explained(collective: Collective, ranks: usize, bytes: u64, forced: Option<&str>) -> Explanation {
    let context = Context::new(forced.map(str::to_owned), Constants::of(TransportKind::Memory, 2, 2));
    explain(&context, Problem::new(collective, ranks), bytes).unwrap()
}

#[test]
fn no_choice_among_a_thousand_ranks_has_as_many_messages_as_pairs() {
    let all_reduce = [8, 64 << 10, 1 << 30].map(|bytes| (Collective::AllReduce, bytes));
    for (collective, bytes) in all_reduce.into_iter().chain([(Collective::Barrier, 1)]) {
        let explanation = explained(collective, 1000, bytes, None);
        let chosen = &explanation.candidates[0];
        assert_eq!((&chosen.name, &chosen.rejected), (&explanation.chosen, &None), "{collective} of {bytes} bytes");
        let problem = Problem { tiles: chosen.tiles, ..Problem::new(collective, 1000) };
        let plan = algorithm::find(&chosen.name).unwrap().plan(&problem);
        let messages = [1, 500].map(|rank| Sent::by(&plan.program(rank)).messages).into_iter().max().unwrap();
        assert!(messages < 500, "{collective} of {bytes} bytes: {} sends {messages} messages", chosen.name);
    }
}

#[test]
fn a_long_proof_is_the_reason_that_is_told_unless_it_is_insisted_on() {
    let many = explained(Collective::AllReduce, 1000, 64 << 10, None);
    let two_shot = many.candidates.iter().find(|one| one.name == "two_shot").unwrap();
    assert_ne!(many.chosen, "two_shot");
    if two_shot.time_us < many.candidates[0].time_us {
        let told = two_shot.rejected.as_ref().unwrap();
        assert!(told.starts_with("its proof among 1000 ranks would take about "), "{told}");
    }
    let forced = explained(Collective::AllReduce, 1000, 1 << 30, Some("ring"));
    assert_eq!((forced.chosen.as_str(), &forced.candidates[0].rejected), ("ring", &None));
    let few = explained(Collective::AllReduce, 64, 1 << 30, None);
    assert!(few.candidates.iter().all(|one| one.rejected.is_none() || one.time_us.is_none()), "{few:?}");
}

#[test]
fn a_pipeline_whose_proof_is_long_is_tried_with_fewer_tiles() {
    let constants = Constants::of(TransportKind::Shm, 2, 2);
    let problem = Problem { root: 0, ..Problem::new(Collective::Broadcast, 300) };
    let alone = Context::new(Some("chain".to_owned()), constants);
    let tiles = |context: &Context| explain(context, problem, 1 << 30).unwrap().candidates[0].tiles;
    let most = tiles(&alone);
    let fewer = tiles(&alone.clone().with_proofs_per_processor(20));
    assert!(fewer < most && fewer > 1, "{fewer} tiles where 20 proofs share a processor, {most} where one has it");
}

#[test]
fn processes_that_share_a_processor_choose_what_all_of_them_prove_soon() {
    const PROOFS: usize = 500;
    let context = Context::new(None, Constants::of(TransportKind::Shm, 300, 300));
    let crowded = context.clone().with_proofs_per_processor(PROOFS);
    let mut others = 0;
    for (collective, bytes) in [8, 64 << 10, 64 << 20]
        .into_iter()
        .flat_map(|bytes| [(Collective::AllReduce, bytes), (Collective::AllGather, bytes)])
    {
        let problem = Problem::new(collective, 300);
        let (alone, together) =
            (explain(&context, problem, bytes).unwrap(), explain(&crowded, problem, bytes).unwrap());
        let chosen = &together.candidates[0];
        let proof_ns = proof_ns(algorithm::find(&chosen.name).unwrap(), &Problem { tiles: chosen.tiles, ..problem });
        assert!(proof_ns * PROOFS as f64 <= 2e9, "{collective} of {bytes}: {}", chosen.name);
        if together.chosen != alone.chosen {
            others += 1;
            let left = together.candidates.iter().find(|one| one.name == alone.chosen).unwrap();
            let told = left.rejected.as_deref().unwrap();
            assert!(told.starts_with("its proof among 300 ranks, 500 to a processor, would take "), "{told}");
        }
    }
    assert!(others > 0, "some plan whose proof takes long would be the fastest");
}

#[test]
fn a_rule_goes_before_prices_and_behind_what_is_set() {
    let header = "collective,min_bytes,max_bytes,min_ranks,max_ranks,machine,algorithm";
    let lines = "all_reduce,0,1KiB,*,*,host,ring\nall_reduce,2KiB,*,*,*,p5,ring\nbroadcast,*,*,*,*,*,chain\nall_gather,*,*,*,*,*,hierarchical_ring";
    let rules = Rules::parse("r.csv", &format!("{header}\n{lines}\n")).unwrap();
    let context = |forced: Option<&str>| {
        let constants = Constants::of(TransportKind::Memory, 2, 2);
        Context::new(forced.map(str::to_owned), constants).with_rules(rules.clone())
    };
    let explained = |forced, collective, bytes| explain(&context(forced), Problem::new(collective, 4), bytes);
    let ruled = explained(None, Collective::AllReduce, 1024).unwrap();
    assert_eq!((ruled.chosen.as_str(), &ruled.candidates[0].rejected), ("ring", &None));
    assert_eq!(ruled.candidates[1].rejected.as_deref(), Some("line 2 of r.csv says ring"));
    let free = explained(None, Collective::AllReduce, 4096).unwrap();
    assert_ne!(free.chosen, "ring", "the second rule is of another machine: {free:?}");
    let forced = explained(Some("two_shot"), Collective::AllReduce, 1024).unwrap();
    assert_eq!(forced.chosen, "two_shot");
    let wrong = explained(None, Collective::AllGather, 1024).unwrap_err();
    assert!(
        wrong.to_string().contains("line 5 of r.csv says hierarchical_ring, and of all_gather among 4 ranks"),
        "{wrong}"
    );
}
