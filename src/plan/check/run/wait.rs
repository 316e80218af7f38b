//! Waits of a lane for a step of another.

use super::{Ended, NONE, Progress, Run};
use crate::plan::check::code::{LaneId, SignalId};
use crate::plan::check::flaw::Flaw;

impl Run<'_> {
    /// Goes past a wait if the signal is given.
    pub(super) fn wait_for(&mut self, lane: LaneId, signal: SignalId) -> Result<(), Flaw> {
        let ended = self.ended[signal as usize];
        self.lanes[lane as usize].waits_for_signal = ended.is_none();
        let Some(Ended { hops, snapshot }) = ended else { return Ok(()) };
        let progress = &mut self.lanes[lane as usize];
        progress.hops = progress.hops.max(hops);
        if let Some(races) = &mut self.races {
            races.begin(lane)?;
            races.join(lane, snapshot);
            races.drop_snapshot(snapshot);
        }
        self.go_on(lane)
    }

    /// Wakes those that wait for what the lane has completed.
    pub(super) fn give_signals(&mut self, lane: LaneId) -> Result<(), Flaw> {
        let code = self.code;
        let signals = &code.lanes[lane as usize].signals;
        loop {
            let Progress { next_signal, completed, hops, .. } = self.lanes[lane as usize];
            let is_given = |signal: SignalId| code.signals[signal as usize].moves <= completed;
            if next_signal == signals.end || !is_given(next_signal) {
                return Ok(());
            }
            let waiters = code.signals[next_signal as usize].waiters;
            let snapshot = match &mut self.races {
                Some(races) => races.snapshot_of_end(lane, waiters)?,
                None => NONE,
            };
            self.ended[next_signal as usize] = Some(Ended { hops, snapshot });
            self.lanes[lane as usize].next_signal += 1;
            for other in code.lanes_of[self.rank(lane)].clone() {
                if self.lanes[other as usize].waits_for_signal {
                    self.wake(other);
                }
            }
        }
    }
}
