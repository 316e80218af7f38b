//! Which accesses of a rank's lanes to one chunk are ordered by more than chance.
//!
//! A vector clock per lane (Lamport, Fidge, Mattern) says, of every other lane, which of its moves are surely before. Two kinds of
//! order are told apart, because moves that messages connect may stream, a piece of a chunk at a time:
//! - *strong*: the path crosses from one move of a lane to the next. The earlier move has ended before the later begins.
//! - *streaming*: messages alone. The earlier move's piece i is before the later one's piece i, and no more is known. That orders two
//!   accesses to a chunk if it is at the same index of both spans.
//!
//! If move k of a lane precedes by messages alone, the moves before k precede strongly, since they cross from k - 1 to k. So one number per
//! lane says it all: twice the last move that is before, plus one if strongly. The greater number is the better knowledge.
//!
//! Clocks are kept for the present of each lane and for messages under way, so memory is the square of the lanes; plans in
//! which every rank has a single lane need none of it.

use super::code::{Code, LaneId, bound};
use super::flaw::Flaw;
use super::limits::Limits;
use crate::types::Rank;

const NONE: u32 = u32::MAX;

/// One access to one cell.
#[derive(Clone, Copy)]
pub(super) struct Access {
    pub(super) lane: LaneId,
    /// The lane's moves so far, this one included.
    pub(super) number: u32,
    /// The lane on whose behalf: that of the poster, where a peer reads what was posted.
    pub(super) owner: LaneId,
    /// The owner's moves when it posted.
    pub(super) owner_number: u32,
    /// The chunk's index in the span.
    index: u32,
    /// A store that its own move's messages don't wait for.
    is_late: bool,
}

const NO_ACCESS: Access = Access { lane: NONE, number: 0, owner: NONE, owner_number: 0, index: 0, is_late: false };

#[derive(Clone, Copy)]
struct Reads {
    access: Access,
    next: u32,
}

pub(super) struct Races {
    limits: Limits,
    lanes: usize,
    /// Cells of clocks that were looked at.
    work: u64,
    /// A row per lane.
    clocks: Vec<u32>,
    numbers: Vec<u32>,
    /// Rows of messages under way, how many messages share each, and which are free.
    snapshots: Vec<u32>,
    users: Vec<u32>,
    free: Vec<u32>,
    last_write: Vec<Access>,
    /// Since that write, a list per cell in `reads`.
    first_read: Vec<u32>,
    reads: Vec<Reads>,
    free_read: u32,
}

impl Races {
    /// `None` if there is nothing to watch: no rank has a second lane.
    pub(super) fn new(code: &Code, cells: usize) -> Result<Option<Races>, Flaw> {
        if !(0..code.lanes_of.len()).any(|rank: Rank| code.has_many_lanes(rank)) {
            return Ok(None);
        }
        let lanes = code.lanes.len();
        bound_clocks(lanes.saturating_mul(lanes), &code.limits)?;
        Ok(Some(Races {
            limits: code.limits,
            work: 0,
            lanes,
            clocks: vec![0; lanes * lanes],
            numbers: vec![0; lanes],
            snapshots: Vec::new(),
            users: Vec::new(),
            free: Vec::new(),
            last_write: vec![NO_ACCESS; cells],
            first_read: vec![NONE; cells],
            reads: Vec::new(),
            free_read: NONE,
        }))
    }

    /// The lane goes on to its next move.
    pub(super) fn begin(&mut self, lane: LaneId) -> Result<(), Flaw> {
        bound("steps of clocks to compare", self.work, self.limits.clock_work)?;
        bound("reads to keep in mind", self.reads.len() as u64, self.limits.reads)?;
        self.work += self.lanes as u64;
        let row = lane as usize * self.lanes;
        for known in &mut self.clocks[row..row + self.lanes] {
            *known |= 1;
        }
        self.numbers[lane as usize] += 1;
        self.clocks[row + lane as usize] = self.numbers[lane as usize] * 2;
        Ok(())
    }

    /// The lane's present move takes a message that was sent at `snapshot`.
    pub(super) fn join(&mut self, lane: LaneId, snapshot: u32) {
        self.work += self.lanes as u64;
        let row = &mut self.clocks[lane as usize * self.lanes..][..self.lanes];
        let sent = &self.snapshots[snapshot as usize * self.lanes..][..self.lanes];
        for (known, &more) in row.iter_mut().zip(sent) {
            *known = more.max(*known);
        }
    }

    /// The lane's clock, for `users` messages.
    pub(super) fn snapshot(&mut self, lane: LaneId, users: u32) -> Result<u32, Flaw> {
        self.work += self.lanes as u64;
        let row = lane as usize * self.lanes;
        let clock = &self.clocks[row..row + self.lanes];
        if let Some(snapshot) = self.free.pop() {
            self.snapshots[snapshot as usize * self.lanes..][..self.lanes].copy_from_slice(clock);
            self.users[snapshot as usize] = users;
            return Ok(snapshot);
        }
        bound_clocks(self.snapshots.len() + self.lanes, &self.limits)?;
        self.snapshots.extend_from_slice(clock);
        self.users.push(users);
        Ok(self.users.len() as u32 - 1)
    }

    /// One message less needs the snapshot.
    pub(super) fn drop_snapshot(&mut self, snapshot: u32) {
        self.users[snapshot as usize] -= 1;
        if self.users[snapshot as usize] == 0 {
            self.free.push(snapshot);
        }
    }

    fn access(&self, lane: LaneId, index: u32, is_late: bool) -> Access {
        let number = self.numbers[lane as usize];
        Access { lane, number, owner: lane, owner_number: number, index, is_late }
    }

    /// Whether `earlier` is surely before the present move of `lane` touches the chunk at `index`.
    fn is_before(&self, earlier: &Access, lane: LaneId, index: u32) -> bool {
        if earlier.lane == NONE || earlier.owner == lane {
            return true;
        }
        let known = self.clocks[lane as usize * self.lanes + earlier.lane as usize];
        let (last, strongly) = (known >> 1, known & 1 == 1);
        match last.cmp(&earlier.number) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => !earlier.is_late && (strongly || earlier.index == index),
        }
    }

    /// The lane reads a cell; an unordered write is returned.
    pub(super) fn read(&mut self, lane: LaneId, cell: usize, index: u32) -> Result<(), Access> {
        let write = self.last_write[cell];
        if !self.is_before(&write, lane, index) {
            return Err(write);
        }
        let access = self.access(lane, index, false);
        self.add_read(cell, access);
        Ok(())
    }

    /// The present move of `taker` reads a cell that `owner` posted at its move `owner_number`. The owner's own access was checked
    /// then, and every write since has waited, so there is nothing to check.
    pub(super) fn posted_read(&mut self, taker: LaneId, owner: LaneId, owner_number: u32, cell: usize, index: u32) {
        let access = Access { owner, owner_number, ..self.access(taker, index, false) };
        self.add_read(cell, access);
    }

    /// The lane writes a cell; an unordered read or write is returned.
    pub(super) fn write(&mut self, lane: LaneId, cell: usize, index: u32, is_late: bool) -> Result<(), Access> {
        let write = self.last_write[cell];
        if !self.is_before(&write, lane, index) {
            return Err(write);
        }
        let mut next = std::mem::replace(&mut self.first_read[cell], NONE);
        while next != NONE {
            let Reads { access, next: after } = self.reads[next as usize];
            if !self.is_before(&access, lane, index) {
                return Err(access);
            }
            self.reads[next as usize].next = self.free_read;
            self.free_read = next;
            next = after;
        }
        self.last_write[cell] = self.access(lane, index, is_late);
        Ok(())
    }

    fn add_read(&mut self, cell: usize, access: Access) {
        let first = self.first_read[cell];
        // The last read of a lane by itself stands for those before it.
        if first != NONE {
            let known = &mut self.reads[first as usize].access;
            if known.lane == access.lane && known.owner == access.owner && known.number < access.number {
                *known = access;
                return;
            }
        }
        let read = Reads { access, next: first };
        if self.free_read == NONE {
            self.reads.push(read);
            self.first_read[cell] = self.reads.len() as u32 - 1;
        } else {
            let slot = self.free_read;
            self.free_read = self.reads[slot as usize].next;
            self.reads[slot as usize] = read;
            self.first_read[cell] = slot;
        }
    }
}

fn bound_clocks(cells: usize, limits: &Limits) -> Result<(), Flaw> {
    bound("clocks of lanes and messages side by side", cells as u64, limits.clock_cells)
}
