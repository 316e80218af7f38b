//! The stages of which each collective is composed: who runs a factor together, and which chunks of the whole its chunks are.
//!
//! All-reduce: every domain reduce-scatters the slots among its places; the carriers of each slot all-reduce it; every domain
//! all-gathers. All-gather: the carriers of each slot gather the blocks of those at home there; every domain gathers what its places
//! carry. Reduce-scatter: the same backwards. All-to-all: what is meant for those at home in a slot goes to its carrier in the own
//! domain, and along the carriers to them. Those with a root, and the barrier, are in `rooted.rs`.

use super::places::{Places, Seat};
use super::put_off::TailReceipts;
use super::rooted::{self, Rooted};
use crate::plan::chunk::ChunkId;
use crate::plan::{Buffer, Plan, Problem};
use crate::types::Collective;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// A stage of every tile.
pub(super) struct Stage<'a> {
    pub(super) groups: Groups,
    pub(super) collective: Collective,
    factors: Vec<Factor<'a>>,
    /// Added to the channels of the factor: stages of the same groups have channels of their own.
    pub(super) channel: u16,
    /// Whether what is final in the factor is final in the whole.
    pub(super) completes: bool,
    pub(super) cut: Cut,
    holds: Holds,
}

/// A plan for the groups of one size.
pub(super) struct Factor<'a> {
    pub(super) plan: &'a Plan,
    /// Whether its proof holds if no two chunks are as large as each other: then both ends of a message take it for the same chunks.
    pub(super) tells_apart: bool,
    /// By the number of a rank.
    pub(super) tail_receipts: RefCell<HashMap<usize, Rc<TailReceipts>>>,
    /// Of ranks, whether they wait for no receipt that others may put off.
    pub(super) waits_for_none: RefCell<HashMap<usize, bool>>,
}

/// Who runs a factor together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Groups {
    /// The places of each domain.
    Domains,
    /// The carriers of each slot.
    Rails,
    /// The places of the root's domain.
    Home,
    /// The ranks of each domain but the root.
    Others,
    /// The ranks that have a slice.
    Sliced,
}

/// How what is one message of a factor is cut into messages of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Not at all.
    One,
    /// Wherever the next chunk is not the one that follows.
    Gaps,
    /// Between all runs.
    Runs,
}

/// What the chunks of a factor are in the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// A place's chunk is the slots that it carries; its input lies in this buffer, its output in the output.
    Slots(Buffer),
    /// The chunks are those of one slot in the output.
    PiecesOfSlot,
    /// A domain's chunk is the block of who is at home there in the slot.
    HomesOfSlot,
    /// A place's chunk is the blocks of all who are at home in what it carries; all in the output.
    Homes,
    /// The same from the input, into cells.
    HomesToCells,
    /// A domain's chunk is the cell for the block of who is at home there; the output is the own block.
    CellsOfSlot,
    /// A place's chunk is the own blocks for all who are at home in what it carries; into cells, by target and source.
    ExchangeToCells,
    /// A domain's chunk is the cells of what the own domain has for who is at home there; the output is the blocks of a domain's ranks.
    ExchangeOfSlot,
    Rooted(Rooted),
}

/// A piece of memory of the whole, of the first tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) space: Space,
    pub(super) start: u32,
    pub(super) len: u32,
    /// The first chunk of the whole, as messages are cut by it.
    pub(super) id: ChunkId,
}

/// Where memory is. A cell is a chunk in scratch of which it is open where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Space {
    Input,
    Output,
    Cell,
}

/// A rank's part in one group of a stage.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) seat: Seat,
    /// The group, if groups are rails, or the slice.
    pub(super) slot: usize,
}

/// Who runs which collective together, how its messages are cut, and what its chunks are.
pub(super) type Composed = (Groups, Collective, Cut, Holds);

/// The stages of a composed plan; `None` if its collective is composed in no way that is known here, or its parts are not as many.
pub(super) fn stages(collective: Collective, parts: Vec<Vec<Factor<'_>>>) -> Option<Vec<Stage<'_>>> {
    use Collective::{AllGather, AllReduce, AllToAll, Reduce, ReduceScatter};
    use Groups::{Domains, Rails};
    let rows: &[Composed] = match collective {
        AllReduce => &[
            (Domains, ReduceScatter, Cut::One, Holds::Slots(Buffer::Input)),
            (Rails, AllReduce, Cut::One, Holds::PiecesOfSlot),
            (Domains, AllGather, Cut::One, Holds::Slots(Buffer::Output)),
        ],
        AllGather => {
            &[(Rails, AllGather, Cut::Gaps, Holds::HomesOfSlot), (Domains, AllGather, Cut::Gaps, Holds::Homes)]
        }
        ReduceScatter => &[
            (Domains, ReduceScatter, Cut::Gaps, Holds::HomesToCells),
            (Rails, ReduceScatter, Cut::One, Holds::CellsOfSlot),
        ],
        AllToAll => &[
            (Domains, AllToAll, Cut::Runs, Holds::ExchangeToCells),
            (Rails, AllToAll, Cut::Runs, Holds::ExchangeOfSlot),
        ],
        _ => rooted::stages(collective)?,
    };
    let reduces = |collective: Collective| matches!(collective, AllReduce | ReduceScatter | Reduce);
    let last_fold = rows.iter().rposition(|row| reduces(row.1));
    if rows.len() != parts.len() {
        return None;
    }
    let stage = |(index, factors): (usize, Vec<_>)| {
        let (groups, collective, cut, holds) = rows[index];
        let completes = last_fold == Some(index) || collective == Collective::Barrier;
        let channel = rows[..index].iter().filter(|before| before.0 == groups).count() as u16;
        Stage { groups, collective, factors, channel, completes, cut, holds }
    };
    Some(parts.into_iter().enumerate().map(stage).collect())
}

impl Stage<'_> {
    /// The factor that a member runs, and its number there.
    pub(super) fn factor(&self, places: &Places, member: Member) -> Option<(&Factor<'_>, usize)> {
        let (size, local) = match self.groups {
            Groups::Domains => (places.members(member.seat.domain).len(), member.seat.place),
            Groups::Rails | Groups::Sliced => (places.domains(), member.seat.domain),
            Groups::Home => (places.members(member.seat.domain).len(), member.seat.place),
            Groups::Others => {
                let others = places.others(member.seat.domain);
                let own = places.members(member.seat.domain)[member.seat.place];
                (others.len(), others.iter().position(|rank| *rank == own)?)
            }
        };
        let root = match self.groups {
            _ if !self.collective.has_root() => 0,
            Groups::Rails | Groups::Sliced => places.root().domain,
            Groups::Domains | Groups::Home | Groups::Others => places.root().place,
        };
        let asks =
            |problem: &Problem| (problem.ranks, problem.collective, problem.root) == (size, self.collective, root);
        let fits = |one: &&Factor| asks(&one.plan.problem);
        self.factors.iter().find(fits).map(|factor| (factor, local))
    }

    /// The rank that has a number in the member's group.
    pub(super) fn rank(&self, places: &Places, member: Member, local: usize) -> usize {
        match self.groups {
            Groups::Domains | Groups::Home => places.members(member.seat.domain)[local],
            Groups::Rails => places.carrier(local, member.slot),
            Groups::Others => places.others(member.seat.domain)[local],
            Groups::Sliced => places.sliced(local)[member.slot],
        }
    }
}

/// Of each chunk of a factor's buffer the runs that it is.
#[derive(Default)]
pub(super) struct Table {
    runs: Vec<Run>,
    /// Where the runs of each chunk end.
    ends: Vec<usize>,
}

impl Table {
    pub(super) fn add(&mut self, runs: impl IntoIterator<Item = Run>) {
        self.runs.extend(runs);
        self.ends.push(self.runs.len());
    }

    /// The runs of `len` chunks from `start`; `None` if there are not as many.
    pub(super) fn runs(&self, start: u32, len: u32) -> Option<&[Run]> {
        let end = |chunks: u32| if chunks == 0 { Some(0) } else { self.ends.get(chunks as usize - 1).copied() };
        Some(&self.runs[end(start)?..end(start + len)?])
    }

    /// Whether all chunks are cut alike.
    pub(super) fn is_uniform(&self) -> bool {
        let shape = |chunk: u32| {
            let runs = self.runs(chunk, 1).expect("there is that chunk");
            let gaps = runs.windows(2).map(|pair| pair[0].id + pair[0].len == pair[1].id);
            runs.iter().map(|run| run.len).zip(gaps.chain([false])).collect::<Vec<_>>()
        };
        (1..self.ends.len() as u32).all(|chunk| shape(chunk) == shape(0))
    }
}

/// Finds what the chunks of factors are in the whole.
pub(super) struct Finder<'a> {
    pub(super) places: &'a Places,
    /// Of a slot, where the collective leaves it open, how many chunks it is.
    pub(super) pieces: u32,
    pub(super) tiles: u32,
    pub(super) ranks: usize,
    /// Whether blocks go to a root, and not from it.
    pub(super) gathers: bool,
}

impl Finder<'_> {
    /// What the chunks of a factor's input or output are, of which there are as many as the factor's grid says.
    pub(super) fn table(&self, stage: &Stage, member: Member, buffer: Buffer) -> Table {
        let Member { seat, slot } = member;
        let places = self.places;
        let domain_places = 0..places.members(seat.domain).len();
        let is_input = buffer == Buffer::Input;
        let mut table = Table::default();
        match (stage.holds, stage.collective) {
            // A reduce-scatter's output and an all-gather's input are the own chunk.
            (Holds::Slots(input), collective) => {
                let space = if is_input && input == Buffer::Input { Space::Input } else { Space::Output };
                let of_place = |place| self.slots(Seat { place, ..seat }, space);
                match (collective == Collective::AllGather) == is_input {
                    true => table.add([of_place(seat.place)]),
                    false => domain_places.for_each(|place| table.add([of_place(place)])),
                }
            }
            (Holds::PiecesOfSlot, _) => {
                let first = slot as u32 * self.pieces;
                (first..first + self.pieces)
                    .for_each(|chunk| table.add([Run { space: Space::Output, start: chunk, len: 1, id: chunk }]));
            }
            (Holds::HomesOfSlot, _) if is_input => {
                let own = places.at_home(seat.domain, slot).map(|rank| self.block(rank));
                table.add(own.map(|id| Run { space: Space::Input, start: 0, len: 1, id }));
            }
            (Holds::HomesOfSlot, _) => (0..places.domains()).for_each(|domain| {
                let block = places.at_home(domain, slot).map(|rank| self.block(rank));
                table.add(block.map(|id| Run { space: Space::Output, start: id, len: 1, id }));
            }),
            (Holds::Homes, _) if is_input => table.add(self.homes(seat, Space::Output)),
            (Holds::Homes, _) => {
                domain_places.for_each(|place| table.add(self.homes(Seat { place, ..seat }, Space::Output)));
            }
            (Holds::HomesToCells, _) if is_input => {
                domain_places.for_each(|place| table.add(self.homes(Seat { place, ..seat }, Space::Input)));
            }
            (Holds::HomesToCells, _) => {
                table.add((0..).zip(self.homes(seat, Space::Cell)).map(|(start, run)| Run { start, ..run }));
            }
            (Holds::CellsOfSlot, _) if is_input => {
                let mut cells = self.homes_before(seat, slot)..;
                for domain in 0..places.domains() {
                    let block = places.at_home(domain, slot).map(|rank| self.block(rank));
                    table.add(block.and_then(|id| Some(Run { space: Space::Cell, start: cells.next()?, len: 1, id })));
                }
            }
            (Holds::CellsOfSlot, _) => {
                let own = places.at_home(seat.domain, slot).map(|rank| self.block(rank));
                table.add(own.map(|id| Run { space: Space::Output, start: 0, len: 1, id }));
            }
            (Holds::Rooted(holds), _) => return rooted::table(self, holds, member, is_input),
            (Holds::ExchangeToCells, _) => return self.exchange_inside(seat, is_input),
            (Holds::ExchangeOfSlot, _) => return self.exchange_between(seat, slot, is_input),
        }
        table
    }

    fn exchange_inside(&self, seat: Seat, is_input: bool) -> Table {
        let size = self.places.members(seat.domain).len();
        let mut table = Table::default();
        for place in 0..size {
            match is_input {
                true => table.add(self.homes(Seat { place, ..seat }, Space::Input)),
                false => table.add((0..).zip(self.homes(seat, Space::Cell)).map(|(target, run)| {
                    let start = target * size as u32 + place as u32;
                    Run { start, id: start, ..run }
                })),
            }
        }
        table
    }

    /// What a domain's ranks have for one of another travels whole if it lies in a row where it arrives.
    fn exchange_between(&self, seat: Seat, slot: usize, is_input: bool) -> Table {
        let places = self.places;
        let in_a_row = |sources: &[usize]| self.tiles == 1 && sources.windows(2).all(|pair| pair[0] + 1 == pair[1]);
        let one = |space, start, len| Run { space, start, len, id: start };
        let size = places.members(seat.domain).len() as u32;
        let mut first = self.homes_before(seat, slot) * size;
        let is_target = places.at_home(seat.domain, slot).is_some();
        let mut table = Table::default();
        for domain in 0..places.domains() {
            let sources = places.members(domain);
            match is_input {
                true if places.at_home(domain, slot).is_none() => table.add([]),
                true if in_a_row(places.members(seat.domain)) => table.add([one(Space::Cell, first, size)]),
                true => table.add((first..first + size).map(|cell| one(Space::Cell, cell, 1))),
                false if !is_target => table.add([]),
                false if in_a_row(sources) => {
                    table.add([one(Space::Output, self.block(sources[0]), sources.len() as u32)]);
                }
                false => table.add(sources.iter().map(|source| one(Space::Output, self.block(*source), 1))),
            }
            first += if places.at_home(domain, slot).is_some() { size } else { 0 };
        }
        table
    }

    /// The runs of a chunk of the factor by its id, to size scratch.
    pub(super) fn sizes(&self, stage: &Stage, member: Member, id: ChunkId) -> Vec<Run> {
        let place = |seat: Seat| Seat { place: id as usize, ..seat };
        match stage.holds {
            Holds::Slots(_) => vec![self.slots(place(member.seat), Space::Cell)],
            Holds::Homes | Holds::HomesToCells => self.homes(place(member.seat), Space::Cell).collect(),
            Holds::PiecesOfSlot => {
                let id = member.slot as u32 * self.pieces + id;
                vec![Run { space: Space::Cell, start: 0, len: 1, id }]
            }
            Holds::HomesOfSlot | Holds::CellsOfSlot => {
                let rank = self.places.at_home(id as usize, member.slot);
                rank.map(|rank| Run { space: Space::Cell, start: 0, len: 1, id: self.block(rank) })
                    .into_iter()
                    .collect()
            }
            Holds::Rooted(holds) => rooted::sizes(holds, member),
            // An exchange by way of others would have to say whose blocks it keeps: a direct one has no scratch.
            Holds::ExchangeToCells | Holds::ExchangeOfSlot => Vec::new(),
        }
    }

    /// The cells, each as large as the chunk named, that one stage leaves to the next on a rank.
    pub(super) fn cells(&self, stages: &[Stage], seat: Seat) -> Vec<ChunkId> {
        let homes = |seat| self.places.carried(seat).flat_map(|slot| self.places.all_at_home(slot));
        match stages[0].holds {
            Holds::HomesToCells => homes(seat).map(|rank| self.block(rank)).collect(),
            Holds::ExchangeToCells => {
                let sources = || self.places.members(seat.domain).iter();
                homes(seat)
                    .flat_map(|target| sources().map(move |source| self.block(source * self.ranks + target)))
                    .collect()
            }
            Holds::Rooted(_) => rooted::cells(self, stages, seat),
            _ => Vec::new(),
        }
    }

    fn slots(&self, seat: Seat, space: Space) -> Run {
        let carried = self.places.carried(seat);
        let (start, len) = (carried.start as u32 * self.pieces, carried.len() as u32 * self.pieces);
        Run { space, start, len, id: start }
    }

    /// The blocks of all who are at home in what a place carries.
    pub(super) fn homes(&self, seat: Seat, space: Space) -> impl Iterator<Item = Run> {
        let ranks = self.places.carried(seat).flat_map(|slot| self.places.all_at_home(slot));
        ranks.map(move |rank| {
            let id = self.block(rank);
            Run { space, start: id, len: 1, id }
        })
    }

    /// How many are at home in the slots that a place carries before this one.
    pub(super) fn homes_before(&self, seat: Seat, slot: usize) -> u32 {
        let before = self.places.carried(seat).start..slot;
        before.map(|slot| self.places.all_at_home(slot).count() as u32).sum()
    }

    /// The first chunk of a block.
    pub(super) fn block(&self, block: usize) -> ChunkId {
        block as u32 * self.tiles
    }
}
