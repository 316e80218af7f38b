//! Explains why a run came to a halt: who waits for whom.

use super::code::{ChannelId, LaneId, NO_LANE, Signal, SignalId};
use super::flaw::{Flaw, Place, Wait};
use super::run::{Phase, Run, peers};
use crate::types::Rank;

const LONGEST_CIRCLE: usize = 8;

/// What is wrong with a run in which no lane can move; `None` if all came to their end and every message was taken.
pub(super) fn explain(run: &mut Run) -> Option<Flaw> {
    let stuck = (0..run.lanes.len() as LaneId).find(|&lane| run.lanes[lane as usize].phase != Phase::Done);
    match stuck {
        Some(lane) => Some(follow(run, lane)),
        None => leftover(run),
    }
}

/// Follows a waiting lane to the one it waits for, and so on, until the circle closes or ends at a lane that is done.
fn follow(run: &mut Run, start: LaneId) -> Flaw {
    let mut path: Vec<(LaneId, Place, Wait)> = Vec::new();
    let mut seen = vec![false; run.lanes.len()];
    let mut lane = start;
    loop {
        seen[lane as usize] = true;
        let at = run.place(lane);
        let reason = reason(run, lane);
        path.push((lane, at, reason.wait(run)));
        let next = reason.frees(run);
        if next == NO_LANE || run.lanes[next as usize].phase == Phase::Done {
            let link = |channel: ChannelId| run.code.channels[channel as usize].link;
            return match reason {
                Reason::Message(channel) => Flaw::NeverSent { at, link: link(channel) },
                Reason::Release(channel) | Reason::Taken(channel) => {
                    Flaw::NeverReceived { link: link(channel), sent_at: sent_at(run, channel) }
                }
                Reason::Signal(_) => unreachable!("a lane that is done has given all its signals"),
            };
        }
        if seen[next as usize] {
            let start = path.iter().position(|&(lane, ..)| lane == next).expect("the lane was seen");
            let circle = path[start..].iter().take(LONGEST_CIRCLE).map(|&(_, at, wait)| (at, wait)).collect();
            return Flaw::Deadlock { circle };
        }
        lane = next;
    }
}

/// What holds up a lane, by what would free it.
#[derive(Clone, Copy)]
enum Reason {
    Message(ChannelId),
    Release(ChannelId),
    Taken(ChannelId),
    Signal(SignalId),
}

impl Reason {
    fn wait(self, run: &Run) -> Wait {
        let link = |channel: ChannelId| run.code.channels[channel as usize].link;
        match self {
            Reason::Message(channel) => Wait::Message(link(channel)),
            Reason::Release(channel) => Wait::Release(link(channel)),
            Reason::Taken(channel) => Wait::Taken(link(channel)),
            Reason::Signal(signal) => {
                let Signal { lane, moves, .. } = run.code.signals[signal as usize];
                Wait::Step(run.code.place(lane, moves.saturating_sub(1)))
            }
        }
    }

    /// The lane that would free it.
    fn frees(self, run: &Run) -> LaneId {
        match self {
            Reason::Message(channel) => run.code.channels[channel as usize].sender,
            Reason::Release(channel) | Reason::Taken(channel) => run.code.channels[channel as usize].receiver,
            Reason::Signal(signal) => run.code.signals[signal as usize].lane,
        }
    }
}

/// What holds up a lane that is not done.
fn reason(run: &mut Run, lane: LaneId) -> Reason {
    if run.lanes[lane as usize].phase == Phase::Ready {
        let (_, channel) = run.find_together(lane).expect_err("a lane whose moves can complete has completed them");
        return Reason::Taken(channel);
    }
    let (step, ..) = run.present(lane);
    if let Some(signal) = step.waits_for {
        return Reason::Signal(signal);
    }
    if let Some(channel) = peers(run.code.sources(step)).find(|&channel| run.queued(channel).next().is_none()) {
        return Reason::Message(channel);
    }
    let cell = run.posted_cell(lane).expect("a lane waits for messages, for memory or to complete with others");
    let rank = run.rank(lane);
    Reason::Release(posting_channel(run, rank, cell).expect("a posted cell has its message"))
}

/// A channel with a message posted from this cell.
fn posting_channel(run: &Run, rank: Rank, cell: usize) -> Option<ChannelId> {
    (0..run.code.channels.len() as ChannelId).find(|&channel| {
        let is_own = run.code.channels[channel as usize].link.source == rank;
        is_own && run.queued(channel).any(|message| run.is_posted_from(message, cell))
    })
}

/// The last message on a channel that should have been taken.
fn sent_at(run: &Run, channel: ChannelId) -> Place {
    let message = run.queued(channel).last().expect("the channel has a message that is not taken");
    let message = &run.messages[message as usize];
    run.code.place(message.sender, message.number)
}

fn leftover(run: &Run) -> Option<Flaw> {
    let channel = (0..run.queues.len() as ChannelId).find(|&channel| run.queued(channel).next().is_some())?;
    let link = run.code.channels[channel as usize].link;
    Some(Flaw::NeverReceived { link, sent_at: sent_at(run, channel) })
}
