//! Which moves may stand before others that come first when one factor follows the other.

use super::stage::Space;
use super::unit::{Unit, UnitMove};
use crate::types::Rank;
use std::collections::HashMap;

/// A part of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Section {
    /// Only sends.
    Head,
    Body,
    /// Only receives.
    Tail,
}

impl Section {
    pub(super) const ALL: [Section; 3] = [Section::Head, Section::Body, Section::Tail];
}

impl Unit {
    /// Of a move by its number.
    pub(super) fn section(&self, number: usize) -> Section {
        match number {
            _ if number < self.head => Section::Head,
            _ if number < self.tail => Section::Body,
            _ => Section::Tail,
        }
    }

    pub(super) fn section_moves(&self, section: Section) -> &[UnitMove] {
        match section {
            Section::Head => &self.moves[..self.head],
            Section::Body => &self.moves[self.head..self.tail],
            Section::Tail => &self.moves[self.tail..],
        }
    }
}

/// Whom a section sends to, and whom it receives from.
struct Links {
    sends: Vec<(Rank, u16)>,
    takes: Vec<(Rank, u16)>,
}

impl Links {
    fn of<'a>(moves: impl IntoIterator<Item = &'a UnitMove>) -> Links {
        let mut links = Links { sends: Vec::new(), takes: Vec::new() };
        for one in moves {
            links.sends.extend(one.peers(true));
            links.takes.extend(one.peers(false));
        }
        for list in [&mut links.sends, &mut links.takes] {
            list.sort_unstable();
            list.dedup();
        }
        links
    }
}

/// Whether two ascending lists have something in common.
fn meet<T: Ord>(one: &[T], other: &[T]) -> bool {
    let (few, many) = if one.len() < other.len() { (one, other) } else { (other, one) };
    few.iter().any(|item| many.binary_search(item).is_ok())
}

/// Sections of the units of a tile, and which may pass which.
pub(super) struct Order<'a> {
    units: &'a [Unit],
    links: Vec<[Links; 3]>,
    known: HashMap<(usize, Section, usize, Section, bool), bool>,
}

impl<'a> Order<'a> {
    pub(super) fn of(units: &'a [Unit]) -> Order<'a> {
        let links = units.iter().map(|unit| Section::ALL.map(|section| Links::of(unit.section_moves(section))));
        Order { units, links: links.collect(), known: HashMap::new() }
    }

    /// Whether two units use no channel to the same peer in the same direction.
    pub(super) fn are_apart(&self, one: usize, other: usize) -> bool {
        self.links[one].iter().all(|one| {
            self.links[other].iter().all(|other| !meet(&one.sends, &other.sends) && !meet(&one.takes, &other.takes))
        })
    }

    /// Whether a section of a unit may stand before one of a unit that comes first: brought forward, or because the other is put off.
    pub(super) fn may_pass(
        &mut self,
        (unit, section): (usize, Section),
        (passed, other): (usize, Section),
        same_tile: bool,
    ) -> bool {
        let key = (unit, section, passed, other, same_tile);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let (one, two) = (&self.links[unit][section as usize], &self.links[passed][other as usize]);
        // Tiles share no memory.
        let is_apart = || !same_tile || !self.writes_what_is_read(unit, section, passed, other);
        let forward = section == Section::Head && !meet(&one.sends, &two.sends) && is_apart();
        let put_off =
            other == Section::Tail && !same_tile && self.units[passed].may_put_off && !meet(&one.takes, &two.takes);
        self.known.insert(key, forward || put_off);
        forward || put_off
    }

    fn writes_what_is_read(&self, unit: usize, section: Section, passed: usize, other: Section) -> bool {
        let read = spots(self.units[unit].section_moves(section), false);
        let written = spots(self.units[passed].section_moves(other), true);
        // In place input and output are one memory; who writes either may write the other.
        let lies_in_caller = |spots: &[(Space, u32)]| spots.iter().any(|spot| spot.0 != Space::Cell);
        (lies_in_caller(&read) && lies_in_caller(&written)) || meet(&read, &written)
    }
}

/// The chunks of the first tile that moves read or write, ascending.
fn spots(moves: &[UnitMove], writes: bool) -> Vec<(Space, u32)> {
    let mut spots = Vec::new();
    for one in moves {
        let mut column = 0;
        for (index, operand) in one.operands.iter().enumerate() {
            if *operand != super::unit::UnitOperand::Local {
                continue;
            }
            let is_asked = (index >= one.sources) == writes;
            for row in one.rows.iter().filter(|_| is_asked) {
                let (start, stride) = row.columns[column];
                let starts = (0..row.count).map(|element| start + element * stride);
                spots
                    .extend(starts.flat_map(|start| (start..start + row.len).map(|chunk| (one.spaces[column], chunk))));
            }
            column += 1;
        }
    }
    spots.sort_unstable();
    spots.dedup();
    spots
}
