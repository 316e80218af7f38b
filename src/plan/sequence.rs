//! One order in which the moves of all ranks can run, for those who write a plan down as another thing.

use super::{Move, Operand, Plan, Program, Step};
use crate::types::Rank;
use std::collections::HashMap;

/// All programs of a plan, and an order of their moves.
pub(crate) struct Sequence {
    pub(crate) programs: Vec<Program>,
    pub(crate) turns: Vec<Turn>,
}

/// One move: where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) rank: Rank,
    pub(crate) lane: usize,
    pub(crate) step: usize,
    /// In a repeat; else 0 and 0.
    pub(crate) round: u32,
    index: usize,
}

/// How far a lane has come.
struct Progress {
    turn: Turn,
    /// Steps that have ended.
    ended: usize,
}

impl Sequence {
    /// A move comes after those whose messages it takes, those before it in its lane, and those that its lane waits for. Lanes go on
    /// in turn, a move each.
    ///
    /// # Panics
    /// If the plan deadlocks; a checked one does not.
    pub(crate) fn new(plan: &Plan) -> Sequence {
        let programs: Vec<Program> = (0..plan.problem.ranks).map(|rank| plan.program(rank)).collect();
        let mut lanes: Vec<Progress> = Vec::new();
        // Of each rank the first of its lanes.
        let mut first = Vec::new();
        for (rank, program) in programs.iter().enumerate() {
            first.push(lanes.len());
            let start = |lane| Progress { turn: Turn { rank, lane, step: 0, round: 0, index: 0 }, ended: 0 };
            lanes.extend((0..program.lanes.len()).map(start));
        }
        let mut under_way: HashMap<(Rank, Rank, u16), usize> = HashMap::new();
        let mut turns = Vec::new();
        loop {
            let mut moved = false;
            for lane in 0..lanes.len() {
                moved |= pass_waits(&programs, &mut lanes, &first, lane);
                let turn = lanes[lane].turn;
                let Some(one) = find(&programs, &turn) else { continue };
                let peers = |operands: &[Operand]| -> Vec<(Rank, u16)> { operands.iter().filter_map(peer).collect() };
                let taken = peers(&one.sources).into_iter().map(|(from, channel)| (from, turn.rank, channel));
                let taken: Vec<_> = taken.collect();
                if taken.iter().any(|link| under_way.get(link).is_none_or(|&messages| messages == 0)) {
                    continue;
                }
                taken.iter().for_each(|link| *under_way.get_mut(link).expect("it was just seen") -= 1);
                for (to, channel) in peers(&one.destinations) {
                    *under_way.entry((turn.rank, to, channel)).or_default() += 1;
                }
                turns.push(turn);
                lanes[lane].go_on(&programs);
                moved = true;
            }
            if !moved {
                break;
            }
        }
        let is_done = |lane: &Progress| lane.ended == programs[lane.turn.rank].lanes[lane.turn.lane].len();
        assert!(lanes.iter().all(is_done), "the plan {} deadlocks", plan.algorithm);
        Sequence { programs, turns }
    }

    /// The move of a turn.
    pub(crate) fn one(&self, turn: &Turn) -> &Move {
        find(&self.programs, turn).expect("turns are of moves")
    }
}

fn peer(operand: &Operand) -> Option<(Rank, u16)> {
    match *operand {
        Operand::Peer { rank, channel } => Some((rank, channel)),
        Operand::Local(_) => None,
    }
}

/// The move at which a lane is; `None` at its end and at waits.
fn find<'a>(programs: &'a [Program], turn: &Turn) -> Option<&'a Move> {
    match programs[turn.rank].lanes[turn.lane].get(turn.step)? {
        Step::Move(one) => Some(one),
        Step::Repeat { body, .. } => body.get(turn.index),
        Step::Wait { .. } => None,
    }
}

/// Passes what is no move: waits that are over, repeats of nothing.
fn pass_waits(programs: &[Program], lanes: &mut [Progress], first: &[usize], lane: usize) -> bool {
    let mut moved = false;
    loop {
        let Turn { rank, lane: number, step, .. } = lanes[lane].turn;
        let is_over = match programs[rank].lanes[number].get(step) {
            Some(Step::Wait { lane: other, step }) => lanes[first[rank] + *other as usize].ended > *step as usize,
            Some(Step::Repeat { count, body }) => *count == 0 || body.is_empty(),
            Some(Step::Move(_)) | None => false,
        };
        if !is_over {
            return moved;
        }
        lanes[lane].end_step();
        moved = true;
    }
}

impl Progress {
    fn end_step(&mut self) {
        self.ended += 1;
        (self.turn.step, self.turn.round, self.turn.index) = (self.ended, 0, 0);
    }

    fn go_on(&mut self, programs: &[Program]) {
        let turn = &mut self.turn;
        match &programs[turn.rank].lanes[turn.lane][turn.step] {
            Step::Repeat { count, body } => {
                turn.index += 1;
                if turn.index == body.len() {
                    (turn.index, turn.round) = (0, turn.round + 1);
                }
                if turn.round == *count {
                    self.end_step();
                }
            }
            Step::Move(_) | Step::Wait { .. } => self.end_step(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::check::tests::samples;

    /// The samples repeat, wait, and have several lanes.
    #[test]
    fn every_move_has_its_turn_after_what_it_needs() {
        for plan in samples::all() {
            let sequence = Sequence::new(&plan);
            let moves = |program: &Program| -> usize {
                let steps = program.lanes.iter().flatten();
                steps
                    .map(|step| match step {
                        Step::Move(_) => 1,
                        Step::Repeat { count, body } => *count as usize * body.len(),
                        Step::Wait { .. } => 0,
                    })
                    .sum()
            };
            assert_eq!(sequence.turns.len(), sequence.programs.iter().map(moves).sum::<usize>(), "{plan:?}");
            let mut sent: HashMap<(Rank, Rank, u16), i64> = HashMap::new();
            for turn in &sequence.turns {
                let one = sequence.one(turn);
                for (from, channel) in one.sources.iter().filter_map(peer) {
                    let messages = sent.entry((from, turn.rank, channel)).or_default();
                    *messages -= 1;
                    assert!(*messages >= 0, "{plan:?}: {turn:?}");
                }
                for (to, channel) in one.destinations.iter().filter_map(peer) {
                    *sent.entry((turn.rank, to, channel)).or_default() += 1;
                }
                for (index, step) in sequence.programs[turn.rank].lanes[turn.lane][..turn.step].iter().enumerate() {
                    let Step::Wait { lane, step } = *step else { continue };
                    let is_later = |other: &&Turn| {
                        (other.rank, other.lane, other.step) == (turn.rank, lane as usize, step as usize)
                    };
                    let position = |turn: &Turn| sequence.turns.iter().position(|other| other == turn);
                    let awaited = sequence.turns.iter().rfind(is_later).expect("a move is waited for");
                    assert!(position(awaited) < position(turn), "{plan:?}: {turn:?} waits at {index}");
                }
            }
        }
    }
}
