//! The stages of collectives with a root, and of the barrier.
//!
//! Broadcast: the root scatters slices over the others of its domain, those who have a slice broadcast it to their like in all domains, and
//! every domain, without the root, all-gathers. Reduce: every domain reduce-scatters slices, those who have one reduce it to those of
//! the root's domain, who gather them at the root. Gather: the carriers of each slot gather the blocks of those at home there in the
//! root's domain, whose places gather what they carry at the root. Scatter: the same backwards. Barrier: one in every domain, then one along
//! each rail.

use super::places::Seat;
use super::stage::{Composed, Cut, Finder, Groups, Holds, Member, Run, Space, Stage, Table};
use crate::plan::chunk::ChunkId;
use crate::types::Collective;

/// What the chunks of a factor are in the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rooted {
    /// Of a scatter from the root: each place's slice; the root's own chunk is everything.
    SlicesFromRoot,
    /// Of a gather at the root: each place's slice, from its cell; the root has none.
    SlicesToRoot,
    /// The slice in the output, and in the cell where its sums are.
    Slice,
    SumsOfSlice,
    /// Of an all-gather: each one's slice in the output.
    Slices,
    /// Of a reduce-scatter: each place's slice, from the input into the cell.
    SlicesToCell,
    /// Of a gather or scatter along a slot: the blocks of those at home there; in the root's domain in cells, or where the root has them.
    HomesOfSlot,
    /// Of a gather or scatter at the root: the blocks of those at home in what a place carries; the root's are where they belong.
    Homes,
    /// Of a barrier: what was heard in the domain is in a cell.
    HeardInDomain,
    HeardFromDomains,
}

/// The stages of one of these; `None` if it is none.
pub(super) fn stages(collective: Collective) -> Option<&'static [Composed]> {
    use Collective::{AllGather, Barrier, Broadcast, Gather, Reduce, ReduceScatter, Scatter};
    use Groups::{Domains, Home, Others, Rails, Sliced};
    Some(match collective {
        Broadcast => &[
            (Home, Scatter, Cut::One, Holds::Rooted(Rooted::SlicesFromRoot)),
            (Sliced, Broadcast, Cut::One, Holds::Rooted(Rooted::Slice)),
            (Others, AllGather, Cut::One, Holds::Rooted(Rooted::Slices)),
        ],
        Reduce => &[
            (Domains, ReduceScatter, Cut::One, Holds::Rooted(Rooted::SlicesToCell)),
            (Sliced, Reduce, Cut::One, Holds::Rooted(Rooted::SumsOfSlice)),
            (Home, Gather, Cut::One, Holds::Rooted(Rooted::SlicesToRoot)),
        ],
        Gather => &[
            (Rails, Gather, Cut::Runs, Holds::Rooted(Rooted::HomesOfSlot)),
            (Home, Gather, Cut::Runs, Holds::Rooted(Rooted::Homes)),
        ],
        Scatter => &[
            (Home, Scatter, Cut::Runs, Holds::Rooted(Rooted::Homes)),
            (Rails, Scatter, Cut::Runs, Holds::Rooted(Rooted::HomesOfSlot)),
        ],
        Barrier => &[
            (Domains, Barrier, Cut::One, Holds::Rooted(Rooted::HeardInDomain)),
            (Rails, Barrier, Cut::One, Holds::Rooted(Rooted::HeardFromDomains)),
        ],
        _ => return None,
    })
}

/// What the chunks of a factor's input or output are.
pub(super) fn table(finder: &Finder, holds: Rooted, member: Member, is_input: bool) -> Table {
    let Member { seat, slot } = member;
    let places = finder.places;
    let is_root = seat == places.root();
    let all = || (0..places.members(seat.domain).len()).map(|place| Seat { place, ..seat });
    let mut table = Table::default();
    let cell = |id: ChunkId| Run { space: Space::Cell, start: 0, len: 1, id };
    match (holds, is_input) {
        (Rooted::SlicesFromRoot, true) => all().for_each(|seat| table.add(slice(finder, seat, Space::Input))),
        (Rooted::SlicesFromRoot, false) => table.add(slice(finder, seat, Space::Output)),
        (Rooted::SlicesToRoot, true) => table.add(slice_of(finder, seat).map(cell)),
        (Rooted::SlicesToRoot, false) => all().for_each(|seat| {
            table.add(slice_of(finder, seat).map(|id| Run { space: Space::Output, start: id, len: 1, id }));
        }),
        (Rooted::Slice, _) => table.add([Run { space: Space::Output, start: slot as u32, len: 1, id: slot as u32 }]),
        (Rooted::SumsOfSlice, _) => table.add([cell(slot as u32)]),
        (Rooted::Slices, true) => table.add(slice(finder, seat, Space::Output)),
        (Rooted::Slices, false) => {
            let others = places.others(seat.domain).into_iter();
            others.for_each(|rank| table.add(slice(finder, places.seat(rank), Space::Output)));
        }
        (Rooted::SlicesToCell, true) => all().for_each(|seat| {
            table.add(slice_of(finder, seat).map(|id| Run { space: Space::Input, start: id, len: 1, id }));
        }),
        (Rooted::SlicesToCell, false) => table.add(slice_of(finder, seat).map(cell)),
        (Rooted::HomesOfSlot, _) => return homes_of_slot(finder, member, is_input),
        // What the root's own place carries it has sent itself, or was sent.
        (Rooted::Homes, is_input) => {
            let is_own = is_input == finder.gathers;
            let blocks = |place: Seat| -> Vec<Run> {
                let space = if finder.gathers { Space::Output } else { Space::Input };
                match place == places.root() {
                    true => Vec::new(),
                    false if is_root => finder.homes(place, space).collect(),
                    false => {
                        (0..).zip(finder.homes(place, Space::Cell)).map(|(start, run)| Run { start, ..run }).collect()
                    }
                }
            };
            match is_own {
                true => table.add(blocks(seat)),
                false => all().for_each(|place| table.add(blocks(place))),
            }
        }
        (Rooted::HeardInDomain, false) | (Rooted::HeardFromDomains, true) => table.add([cell(0)]),
        (Rooted::HeardInDomain, true) => table.add([Run { space: Space::Input, start: 0, len: 1, id: 0 }]),
        (Rooted::HeardFromDomains, false) => table.add([Run { space: Space::Output, start: 0, len: 1, id: 0 }]),
    }
    table
}

/// The blocks along a slot: the own one, or, in the root's domain, those of all at home there.
fn homes_of_slot(finder: &Finder, Member { seat, slot }: Member, is_input: bool) -> Table {
    let places = finder.places;
    let is_own = is_input == finder.gathers;
    let mut table = Table::default();
    if is_own {
        let space = if finder.gathers { Space::Input } else { Space::Output };
        let own = places.at_home(seat.domain, slot).map(|rank| finder.block(rank));
        table.add(own.map(|id| Run { space, start: 0, len: 1, id }));
        return table;
    }
    let mut cells = finder.homes_before(seat, slot)..;
    for domain in 0..places.domains() {
        let block = places.at_home(domain, slot).map(|rank| finder.block(rank));
        table.add(block.and_then(|id| {
            Some(match seat == places.root() {
                true => {
                    let space = if finder.gathers { Space::Output } else { Space::Input };
                    Run { space, start: id, len: 1, id }
                }
                false => Run { space: Space::Cell, start: cells.next()?, len: 1, id },
            })
        }));
    }
    table
}

/// The slice that a rank has.
fn slice_of(finder: &Finder, seat: Seat) -> Option<ChunkId> {
    let own = finder.places.members(seat.domain)[seat.place];
    let sliced = finder.places.sliced(seat.domain);
    Some(sliced.iter().position(|rank| *rank == own)? as ChunkId)
}

/// The same as it lies in a buffer; the root has all.
fn slice(finder: &Finder, seat: Seat, space: Space) -> Option<Run> {
    match seat == finder.places.root() {
        true => Some(Run { space, start: 0, len: finder.places.slices as u32, id: 0 }),
        false => slice_of(finder, seat).map(|id| Run { space, start: id, len: 1, id }),
    }
}

/// Scratch of a factor: a slice of sums, or a byte. Direct exchanges have none.
pub(super) fn sizes(holds: Rooted, member: Member) -> Vec<Run> {
    let one = |id| vec![Run { space: Space::Cell, start: 0, len: 1, id }];
    match holds {
        Rooted::SumsOfSlice => one(member.slot as u32),
        Rooted::HeardInDomain | Rooted::HeardFromDomains => one(0),
        _ => Vec::new(),
    }
}

/// The cells that one stage leaves to the next on a rank.
pub(super) fn cells(finder: &Finder, stages: &[Stage], seat: Seat) -> Vec<ChunkId> {
    let places = finder.places;
    match stages[0].collective {
        Collective::ReduceScatter => slice_of(finder, seat).into_iter().collect(),
        Collective::Barrier => vec![0],
        Collective::Gather | Collective::Scatter
            if stages.len() == 2 && seat.domain == places.root().domain && seat != places.root() =>
        {
            finder.homes(seat, Space::Cell).map(|run| run.id).collect()
        }
        _ => Vec::new(),
    }
}
