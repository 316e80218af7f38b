//! Plans that mean nothing: the checker says so and never panics, and what it accepts is right lowered too.

use crate::plan::build::{copy, peer_on, reduce, striding};
use crate::plan::check::tests::{mutate, samples};
use crate::plan::check::{check, check_lowered_at};
use crate::plan::{Buffer, Move, Operand, Plan, Problem, Program, Reduction, Step};
use crate::topology::Layout;
use crate::types::Collective;
use proptest::prelude::*;

/// Small numbers, one after the other, of which a plan is made.
struct Dice<'a>(std::slice::Iter<'a, u8>);

impl Dice<'_> {
    /// Below `bound`; 0 when the numbers are used up.
    fn roll(&mut self, bound: usize) -> usize {
        self.0.next().map_or(0, |&number| usize::from(number) % bound)
    }

    fn operand(&mut self, ranks: usize) -> Operand {
        // One past what exists, now and then.
        let channel = |dice: &mut Self| dice.roll(8) as u16 / 7;
        match self.roll(8) {
            0..=2 => peer_on((self.roll(8) / 2) % (ranks + 1), channel(self)),
            kind => {
                let buffer = [Buffer::Input, Buffer::Output, Buffer::Output, Buffer::Scratch][kind % 4];
                striding(buffer, self.roll(5) as u32, 1 + (self.roll(8) / 6) as u32, (self.roll(8) / 6) as u32)
            }
        }
    }

    fn one_move(&mut self, ranks: usize) -> Move {
        let operands =
            |dice: &mut Self, most| -> Vec<_> { (0..=dice.roll(most)).map(|_| dice.operand(ranks)).collect() };
        match self.roll(3) {
            0 => copy(self.operand(ranks), operands(self, 2)),
            kind => {
                let reduction = if kind == 1 { Reduction::Partial } else { Reduction::Final };
                reduce(reduction, operands(self, 3), operands(self, 2))
            }
        }
    }

    fn program(&mut self, ranks: usize) -> Program {
        let step = |dice: &mut Self| match dice.roll(8) {
            0 => Step::Repeat { count: dice.roll(4) as u32, body: vec![dice.one_move(ranks)] },
            1 => Step::Wait { lane: dice.roll(2) as u32, step: dice.roll(4) as u32 },
            _ => Step::Move(dice.one_move(ranks)),
        };
        let lanes = (0..=self.roll(8) / 6).map(|_| (0..self.roll(4)).map(|_| step(self)).collect()).collect();
        Program { lanes, scratch: (0..self.roll(3)).map(|_| self.roll(5) as u32).collect() }
    }

    fn plan(&mut self) -> Plan {
        let even: Vec<_> = Collective::ALL.into_iter().filter(|collective| !collective.is_uneven()).collect();
        let ranks = 1 + self.roll(3);
        let problem = Problem {
            collective: even[self.roll(even.len())],
            ranks,
            root: self.roll(8) * ranks / 7,
            uneven: self.roll(2) == 1,
            tiles: 1 + (self.roll(8) / 6) as u32,
            layout: Layout::Flat,
            switch: false,
        };
        let blocks = 1 + self.roll(3) as u32;
        let programs: Vec<Program> = (0..ranks).map(|_| self.program(ranks)).collect();
        Plan::new("random", problem, blocks, move |rank| programs[rank].clone())
    }
}

/// Whether the checker accepts a plan; then what it is lowered to must be right for any counts.
fn is_accepted(plan: &Plan) -> bool {
    let Ok(checked) = check(plan) else { return false };
    for count in 0..=5 {
        check_lowered_at(&checked, count)
            .unwrap_or_else(|flaw| panic!("accepted, and with count {count} {flaw}\n{}", plan.text()));
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn no_plan_makes_the_checker_panic(numbers in prop::collection::vec(any::<u8>(), 0..120)) {
        let plan = Dice(numbers.iter()).plan();
        is_accepted(&plan);
        // Its text too, which is refused where the plan names a rank that is none.
        let _ = crate::plan::text::parse(&plan.text().to_string()).map(|plan| is_accepted(&plan));
    }
}

/// Mutants that the checker accepts have other orders, lanes and waits than any algorithm writes.
#[test]
fn accepted_mutants_are_right_lowered() {
    let mut accepted = 0;
    for plan in samples::all() {
        mutate::for_each_mutant(&plan, |_, mutant| accepted += usize::from(is_accepted(&mutant)));
    }
    println!("{accepted} accepted mutants are right lowered");
    assert!(accepted > 50, "{accepted}");
}
