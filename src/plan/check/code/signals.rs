//! The waits of a rank's lanes, and the signals for which they wait.

use super::{Builder, LaneId, Move, Signal, SignalId, Step, bound};
use crate::plan::check::flaw::{Flaw, Place};
use std::ops::Range;

impl Builder {
    /// A wait is a move without operands. For what it waits is known once all lanes of the rank are read.
    pub(super) fn wait(&mut self, at: Place, lane: u32, step: u32) -> Result<(), Flaw> {
        self.move_count += 1;
        bound("moves", self.move_count, self.code.limits.moves)?;
        self.waits.push((at, lane, step));
        let moves = self.code.moves.len() as u32;
        self.code.steps.push(Step { moves, len: 1, rounds: 1, is_repeat: false });
        self.code.moves.push(Move {
            operands: self.code.operands.len() as u32,
            sources: 0,
            destinations: 0,
            spans: self.code.spans.len() as u32,
            posted: 0,
            len: 0,
            reduction: None,
            is_rendezvous: false,
            copies_local: false,
            waits_for: Some(self.waits.len() as SignalId - 1),
        });
        Ok(())
    }

    /// Numbers the signals of a rank, one for all that wait for the same, and says of each wait which is its own.
    pub(super) fn signals(&mut self, lanes: Range<LaneId>) -> Result<(), Flaw> {
        let waits = std::mem::take(&mut self.waits);
        if waits.is_empty() {
            return Ok(());
        }
        let ends: Vec<Vec<u64>> = lanes.clone().map(|lane| self.moves_by_step(lane)).collect();
        let mut awaited = Vec::with_capacity(waits.len());
        for (at, lane, step) in waits {
            let moves = ends.get(lane as usize).and_then(|ends| ends.get(step as usize));
            awaited.push((lanes.start + lane, *moves.ok_or(Flaw::NoSuchStep { at, lane, step })?));
        }
        let first = self.code.signals.len();
        let mut sorted = awaited.clone();
        sorted.sort_unstable();
        for same in sorted.chunk_by(|one, other| one == other) {
            let (lane, moves) = same[0];
            self.code.signals.push(Signal { lane, moves, waiters: same.len() as u32 });
        }
        let signals = &self.code.signals[first..];
        for lane in lanes.clone() {
            let [start, end] = [lane, lane + 1].map(|lane| signals.partition_point(|signal| signal.lane < lane));
            self.code.lanes[lane as usize].signals = (first + start) as SignalId..(first + end) as SignalId;
        }
        for index in self.moves_of(lanes) {
            if let Some(wait) = &mut self.code.moves[index].waits_for {
                let own = awaited[*wait as usize];
                *wait = (first + signals.partition_point(|signal| (signal.lane, signal.moves) < own)) as SignalId;
            }
        }
        Ok(())
    }

    /// After each step of a lane, how many moves it has completed.
    fn moves_by_step(&self, lane: LaneId) -> Vec<u64> {
        let steps = &self.code.lanes[lane as usize].steps;
        let moves = self.code.steps[steps.start as usize..steps.end as usize]
            .iter()
            .map(|step| u64::from(step.rounds) * u64::from(step.len));
        moves
            .scan(0, |sum, moves| {
                *sum += moves;
                Some(*sum)
            })
            .collect()
    }

    /// Moves in the table of the last rank's lanes.
    fn moves_of(&self, lanes: Range<LaneId>) -> Range<usize> {
        let first = self.code.lanes.get(lanes.start as usize);
        let step = first.and_then(|lane| self.code.steps.get(lane.steps.start as usize));
        step.map_or(self.code.moves.len(), |step| step.moves as usize)..self.code.moves.len()
    }
}
