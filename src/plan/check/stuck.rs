//! Explains why a run came to a halt: who waits for whom.

use super::code::{ChannelId, LaneId, NO_LANE};
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
        let (wait, channel) = reason(run, lane);
        path.push((lane, at, wait));
        let ends = &run.code.channels[channel as usize];
        let link = ends.link;
        let next = if matches!(wait, Wait::Message(_)) { ends.sender } else { ends.receiver };
        if next == NO_LANE || run.lanes[next as usize].phase == Phase::Done {
            return match wait {
                Wait::Message(_) => Flaw::NeverSent { at, link },
                Wait::Release(_) | Wait::Taken(_) => Flaw::NeverReceived { link, sent_at: sent_at(run, channel) },
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

/// What holds up a lane that is not done, and the channel on which it would be freed.
fn reason(run: &mut Run, lane: LaneId) -> (Wait, ChannelId) {
    let link = |run: &Run, channel: ChannelId| run.code.channels[channel as usize].link;
    if run.lanes[lane as usize].phase == Phase::Ready {
        let (_, channel) = run.find_together(lane).expect_err("a lane whose moves can complete has completed them");
        return (Wait::Taken(link(run, channel)), channel);
    }
    let (step, ..) = run.present(lane);
    if let Some(channel) = peers(run.code.sources(step)).find(|&channel| run.queued(channel).next().is_none()) {
        return (Wait::Message(link(run, channel)), channel);
    }
    let cell = run.posted_cell(lane).expect("a lane waits for messages, for memory or to complete with others");
    let rank = run.rank(lane);
    let channel = posting_channel(run, rank, cell).expect("a posted cell has its message");
    (Wait::Release(link(run, channel)), channel)
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
