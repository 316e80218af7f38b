//! What is chosen, and what is said of it at other sizes.

mod laws;
mod registry;

use super::*;
use crate::topology::machines::Request;

fn topology(machine: &str, units: usize) -> Topology {
    let request = Request { units, cores: 4, ..Request::new(machine) };
    request.topology().unwrap()
}

fn chosen(machine: &Machine<'_>, question: Question) -> String {
    let mut answer = machine.explain(question).unwrap();
    machine.prove(question, &mut answer).unwrap();
    answer.chosen().name.clone()
}

#[test]
fn flips_name_what_is_chosen_at_their_sizes() {
    for (name, units) in [("p6e-gb200x72", 1), ("p6e-gb200x72", 100), ("dgx-h100", 2), ("p5", 64)] {
        let topology = topology(name, units);
        let machine = Machine::new(&topology);
        for collective in [Collective::AllReduce, Collective::AllGather] {
            let question = Question { collective, bytes: 0, layout: topology.layout() };
            let flips = machine.flips(question, &|_| None).unwrap();
            for (index, (bytes, name)) in flips.iter().enumerate() {
                assert_eq!(&chosen(&machine, Question { bytes: *bytes, ..question }), name, "{bytes} on {units} units");
                if index > 0 {
                    let before = chosen(&machine, Question { bytes: bytes - bytes / 60, ..question });
                    assert_eq!(before, flips[index - 1].1, "just under {bytes} on {units} units");
                }
            }
            for shift in 10..=34 {
                let told = flips.iter().rev().find(|flip| flip.0 <= 1 << shift).unwrap();
                let chosen = chosen(&machine, Question { bytes: 1 << shift, ..question });
                assert_eq!(chosen, told.1, "{collective} of 2^{shift} bytes on {units} units of {name}");
            }
        }
    }
}

#[test]
fn ranks_that_alternate_between_domains_are_told_what_a_better_order_gains() {
    let topology = topology("dgx-h100", 2);
    let machine = Machine::new(&topology);
    let question = |layout| Question { collective: Collective::AllReduce, bytes: 1 << 20, layout };
    // Plans that follow the domains are as fast in any order: a ring that knows nothing of them crosses at every hop, or seldom.
    let flat = |question| {
        let mut offers = Offers::found(machine.problem(question), true);
        offers.all.retain(|offer| offer.algorithm.name() == "ring");
        Arc::new(offers)
    };
    let chosen = |layout| {
        let (offers, Chooser { rates, proofs, .. }) = (flat(question(layout)), &machine.chooser);
        let (name, price) = offers.chosen(1 << 20, rates, proofs).unwrap();
        (name.to_owned(), price.total_ns() / 1e3)
    };
    let (blocked, interleaved) = (chosen(Layout::Blocks(8)), chosen(Layout::Interleaved(2)));
    let told = machine.advise_among(question(Layout::Interleaved(2)), interleaved.1, flat);
    let told = told.expect("another order is faster");
    assert_eq!((told.placement.as_str(), &told.chosen, told.time_us), ("blocked", &blocked.0, blocked.1));
    assert!(told.gain_us > 0.0 && told.gain_us == interleaved.1 - blocked.1, "{told:?}");
    assert!((told.gain * interleaved.1 - told.gain_us).abs() < 1e-9 * told.gain_us);
    assert_eq!(told.order, "0, 2, .. 14; 1, 3, .. 15");
    assert_eq!(machine.advise_among(question(Layout::Blocks(8)), blocked.1, flat), None);
    assert_eq!(
        machine.advise(question(Layout::Interleaved(2)), interleaved.1),
        None,
        "with them no order gains anything"
    );
}

#[test]
fn a_rule_goes_before_prices_in_flips_too() {
    let topology = topology("dgx-h100", 1);
    let machine = Machine::new(&topology);
    let question = Question { collective: Collective::AllReduce, bytes: 0, layout: topology.layout() };
    let flips = machine.flips(question, &|bytes| (bytes < 4096).then(|| "ring".to_owned())).unwrap();
    assert_eq!(flips[0], (1024, "ring".to_owned()));
    assert!(flips[1].0.abs_diff(4096) <= 64 && flips[1].1 != "ring", "{flips:?}");
}
