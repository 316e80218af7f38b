//! Where a run stands and whom it waits for: for error messages, and to sleep on. Not for the fast path.

use super::Runner;
use crate::exec::links::Links;
use crate::plan::lower::Source;
use crate::types::Rank;

/// Where an unfinished run stands, for error messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub step: u32,
    pub bytes: u64,
    /// Ranks whose messages, or whose taking of ours, are waited for.
    pub waits_for: Vec<Rank>,
    /// Those of them whose link has an end that shows, behind the data, when they leave.
    pub ends_show: Vec<Rank>,
    /// The link to the one that is waited for is still to be made.
    pub is_connecting: bool,
}

impl Standing {
    /// Before the run, of a rank that waits for a connection.
    pub fn connecting(peer: Rank) -> Standing {
        Standing { waits_for: vec![peer], is_connecting: true, ..Standing::default() }
    }

    fn wait_for(&mut self, peer: Rank, descriptor: Option<std::os::fd::RawFd>) {
        self.waits_for.push(peer);
        if descriptor.is_some() {
            self.ends_show.push(peer);
        }
    }
}

impl Runner {
    /// Where the run stands and whom it waits for. Not for the fast path.
    pub fn standing(&self, links: &mut Links) -> Standing {
        let mut standing = Standing::default();
        for (lane, steps) in self.lanes.iter().zip(&self.lowered.lanes) {
            let Some(instruction) = steps.get(lane.next) else { continue };
            standing.step = standing.step.max(lane.next as u32);
            standing.bytes += lane.done;
            for source in &instruction.sources {
                if let Source::Inbox(index) = *source
                    && matches!(links.inbox(self.inboxes[index]).peek(), Ok(None))
                {
                    let descriptor = links.inbox(self.inboxes[index]).waits_on();
                    standing.wait_for(links.peer_of_inbox(self.inboxes[index]), descriptor);
                }
            }
        }
        for (outgoing, (name, posts)) in self.outboxes.iter().zip(&self.lowered.outboxes) {
            let stuck = posts.get(outgoing.next).filter(|post| self.ready_bytes(post) > outgoing.sent);
            if let Some(post) = stuck.filter(|_| self.lanes_are_done()) {
                // All that is left is to send.
                (standing.step, standing.bytes) = (post.instruction as u32, outgoing.sent);
            }
            if stuck.is_some() || !outgoing.last_loan_is_back(links) {
                standing.wait_for(name.peer, links.outbox(outgoing.link).waits_on());
            }
        }
        standing.waits_for.sort_unstable();
        standing.waits_for.dedup();
        standing
    }

    /// Adds the descriptors on which bytes or room for bytes are waited for now; none that could be ready without helping.
    pub fn add_descriptors(&self, links: &mut Links, into: &mut Vec<libc::pollfd>) {
        for (lane, steps) in self.lanes.iter().zip(&self.lowered.lanes) {
            for source in steps.get(lane.next).map_or(&[][..], |instruction| &instruction.sources) {
                if let Source::Inbox(index) = *source
                    && matches!(links.inbox(self.inboxes[index]).peek(), Ok(None))
                    && let Some(fd) = links.inbox(self.inboxes[index]).waits_on()
                {
                    into.push(libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
                }
            }
        }
        for (outgoing, (_, posts)) in self.outboxes.iter().zip(&self.lowered.outboxes) {
            if posts.get(outgoing.next).is_some_and(|post| self.ready_bytes(post) > outgoing.sent)
                && let Some(fd) = links.outbox(outgoing.link).waits_on()
            {
                into.push(libc::pollfd { fd, events: libc::POLLOUT, revents: 0 });
            }
        }
    }
}
