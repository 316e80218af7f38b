//! The whole registry on every machine: what is offered is right, and its prices keep the laws that prices have.

use super::{Question, topology};
use crate::algorithm::{self, fits_somewhere};
use crate::plan::Problem;
use crate::plan::chunk::Counts;
use crate::plan::simulate::simulate;
use crate::select::machine::Machine;
use crate::select::offers::Rates;
use crate::select::{Context, Selector};
use crate::topology::bound;
use crate::topology::host::{Constants, Speeds};
use crate::topology::machines::DESIGNS;
use crate::types::{Collective, TransportKind};
use std::collections::BTreeSet;

const UNITS: [usize; 5] = [1, 2, 3, 7, 16];
/// A proof that is guessed to take longer is left out, and counted.
const SOON_NS: f64 = 1e7;

fn collectives() -> impl Iterator<Item = Collective> {
    Collective::ALL.into_iter().filter(|one| *one == one.even() && *one != Collective::SendRecv)
}

fn question(machine: &Machine<'_>, collective: Collective, bytes: u64) -> Question {
    Question { collective, bytes, layout: machine.topology.layout() }
}

#[test]
fn what_is_offered_on_any_machine_is_proved_where_that_is_soon_done() {
    let (mut proved, mut left_out) = (BTreeSet::new(), 0);
    let mut seen = BTreeSet::new();
    for (design, units) in DESIGNS.iter().flat_map(|design| UNITS.map(|units| (design, units))) {
        let topology = topology(design.name, units);
        let machine = Machine::new(&topology);
        for collective in collectives() {
            let offers = machine.chooser.offers(machine.problem(question(&machine, collective, 0)));
            for offer in &offers.all {
                let name = offer.algorithm.name();
                for tiling in offer.tilings.iter().take_while(|one| one.problem.tiles <= 2) {
                    let key = format!("{name} {:?}", tiling.problem);
                    if !seen.insert(key) {
                        continue;
                    }
                    if tiling.proof_ns(offer.algorithm) > SOON_NS {
                        left_out += 1;
                        continue;
                    }
                    if let Err(flaw) = Selector::prove(name, tiling.problem) {
                        panic!("{name} for {collective} on {units} units of {}: {flaw}", design.name);
                    }
                    proved.insert((name, collective.name(), tiling.problem.ranks));
                }
            }
        }
    }
    println!("{} of {} plans proved, {left_out} proofs are too long for a test", seen.len() - left_out, seen.len());
    assert!(seen.len() - left_out >= 2 * left_out, "most are proved: {left_out} of {} are not", seen.len());
    for (one, collective) in algorithm::registry().iter().flat_map(|one| collectives().map(move |all| (one, all))) {
        let serves = fits_somewhere(*one, &Problem::new(collective, 16)).is_ok();
        let is_proved = proved.iter().any(|(name, of, _)| (*name, *of) == (one.name(), collective.name()));
        assert!(is_proved || !serves, "{} for {collective} was never proved", one.name());
    }
}

#[test]
fn more_bytes_never_take_less_time_and_no_price_beats_the_bound() {
    for (design, units) in DESIGNS.iter().flat_map(|design| UNITS.map(|units| (design, units))) {
        let topology = topology(design.name, units);
        let machine = Machine::new(&topology);
        for collective in collectives() {
            let offers = machine.chooser.offers(machine.problem(question(&machine, collective, 0)));
            let bound = bound::bound(&topology, collective).unwrap();
            let tilings = || offers.all.iter().flat_map(|offer| offer.tilings.iter().map(move |one| (offer, one)));
            let mut before = vec![0.0; tilings().count()];
            for shift in 0..=34 {
                let least_ns = bound.at(1 << shift).seconds() * 1e9;
                for (before, (offer, tiling)) in before.iter_mut().zip(tilings()) {
                    let now = tiling.price(1 << shift, &machine.chooser.rates).total_ns();
                    let of = || {
                        format!("{} for {collective} of 2^{shift} on {units} {}", offer.algorithm.name(), design.name)
                    };
                    assert!(now >= *before, "{}: {now} ns, and {before} ns of half the bytes", of());
                    assert!(now >= least_ns * (1.0 - 1e-9), "{}: {now} ns, less than the bound's {least_ns} ns", of());
                    *before = now;
                }
            }
        }
    }
}

#[test]
fn among_ranks_of_a_host_too_more_bytes_never_take_less_time_and_no_price_beats_the_bound() {
    let slow = Speeds { hand_over_ns: 100.0, switch_ns: 5000.0, memory_ns_per_byte: 0.5, ..Speeds::ASSUMED };
    let hosts = [(2, 2), (3, 2), (4, 2), (5, 8), (8, 8), (9, 2), (16, 4)];
    let kinds = TransportKind::ALL.into_iter().flat_map(|kind| [(kind, slow), (kind, Speeds::ASSUMED)]);
    for ((ranks, processors), (kind, speeds)) in
        hosts.iter().flat_map(|host| kinds.clone().map(move |kind| (*host, kind)))
    {
        let constants = Constants::of(kind, ranks, processors).with_speeds(speeds);
        let (context, rates) = (Context::of_processes(constants), Rates::Host(constants));
        for collective in collectives() {
            let problem = Problem::new(collective, ranks);
            let offers = context.chooser().offers(problem);
            let tilings = || offers.all.iter().flat_map(|offer| offer.tilings.iter().map(move |one| (offer, one)));
            let mut before = vec![0.0; tilings().count()];
            for shift in 0..=34 {
                let bytes = 1 << shift;
                let least_ns = context.bound(&problem, bytes).unwrap().seconds() * 1e9;
                for (before, (offer, tiling)) in before.iter_mut().zip(tilings()) {
                    let now = tiling.price(bytes, &rates).total_ns();
                    let name = offer.algorithm.name();
                    let of = || format!("{name} for {collective} of 2^{shift} among {ranks} on {processors}, {kind}");
                    assert!(now >= *before, "{}: {now} ns, and {before} ns of half the bytes", of());
                    assert!(now >= least_ns * (1.0 - 1e-9), "{}: {now} ns, less than the bound's {least_ns} ns", of());
                    *before = now;
                }
            }
        }
    }
}

#[test]
fn a_simulated_choice_lies_between_the_bound_and_its_closed_form() {
    use Collective::{AllGather, AllReduce, AllToAll, ReduceScatter};
    for (name, units) in [("dgx-h100", 1), ("p5", 2), ("p5", 3), ("p4d", 7), ("p6e-gb200x36", 1), ("p6e-gb200x36", 2)] {
        let topology = topology(name, units);
        let machine = Machine::new(&topology);
        for (collective, bytes) in [AllReduce, AllGather, ReduceScatter, AllToAll]
            .iter()
            .flat_map(|one| [64 << 10, 8 << 20, 512 << 20].map(|bytes| (*one, bytes)))
        {
            let question = question(&machine, collective, bytes);
            let mut answer = machine.explain(question).unwrap();
            let checked = machine.prove(question, &mut answer).unwrap().within(0.0).unwrap();
            let counts = Counts::of_elements(collective, machine.ranks, bytes / 4);
            let simulated_ns = simulate(&checked, &topology, &counts, 4, None).unwrap().time_ns;
            let least_ns = bound::bound(&topology, collective).unwrap().at(bytes).seconds() * 1e9;
            let closed_ns = answer.chosen().time_us.unwrap() * 1e3;
            let of = format!("{} for {collective} of {bytes} on {units} {name}", answer.chosen().name);
            assert!(simulated_ns >= least_ns * (1.0 - 1e-6), "{of}: {simulated_ns} ns, less than {least_ns} ns");
            // Where one domain hands in to another before the rounds, what that other sends to both shares its way out.
            let most = if units.is_power_of_two() { 1.06 } else { 1.2 };
            let times = simulated_ns / closed_ns;
            assert!((0.99..most).contains(&times), "{of}: simulated takes {times} times the closed form");
        }
    }
}
