//! What a rank has to do for one group of a stage: the factor's moves, renamed, of the first tile.

use super::stage::{Cut, Finder, Member, Run, Space, Stage, Table};
use crate::plan::chunk::ChunkId;
use crate::plan::{Buffer, Move, Operand, Program, Reduction, Span, Step};
use crate::types::Rank;

/// Moves in their order.
pub(super) struct Unit {
    /// The stage, by its number.
    pub(super) stage: usize,
    pub(super) moves: Vec<UnitMove>,
    /// Moves before this one only send: they wait for nothing.
    pub(super) head: usize,
    /// Moves from this one on only receive.
    pub(super) tail: usize,
    /// Whether it is of the last stage, and those who sent what its tail takes do not wait for that.
    pub(super) may_put_off: bool,
}

/// A move of a factor as moves of the whole, which differ by the places of their chunks alone.
pub(super) struct UnitMove {
    pub(super) reduction: Option<Reduction>,
    /// Sources, then destinations.
    pub(super) operands: Vec<UnitOperand>,
    pub(super) sources: usize,
    /// Where the local operands lie, one after the other.
    pub(super) spaces: Vec<Space>,
    pub(super) rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnitOperand {
    Local,
    Peer { rank: Rank, channel: u16 },
}

/// Moves at even distances.
pub(super) struct Row {
    pub(super) len: u32,
    pub(super) count: u32,
    /// Of every local operand the first chunk, and how many farther on that of the next move is.
    pub(super) columns: Vec<(u32, u32)>,
}

impl UnitMove {
    pub(super) fn peers(&self, sends: bool) -> impl Iterator<Item = (Rank, u16)> {
        let operands = if sends { &self.operands[self.sources..] } else { &self.operands[..self.sources] };
        operands.iter().filter_map(|operand| match *operand {
            UnitOperand::Peer { rank, channel } => Some((rank, channel)),
            UnitOperand::Local => None,
        })
    }

    fn only_sends(&self) -> bool {
        let sends = self.operands[self.sources..].iter().all(|one| *one != UnitOperand::Local);
        self.reduction.is_none() && self.operands[0] == UnitOperand::Local && sends
    }

    fn only_receives(&self) -> bool {
        let stores = self.operands[self.sources..].iter().all(|one| *one == UnitOperand::Local);
        self.reduction.is_none() && self.operands[0] != UnitOperand::Local && stores
    }
}

/// The memory of a factor's rank in the whole.
struct Memory {
    input: Table,
    output: Table,
    scratch: Table,
}

impl Memory {
    fn runs(&self, span: &Span, round: u32) -> Option<&[Run]> {
        let table = match span.buffer {
            Buffer::Input => &self.input,
            Buffer::Output => &self.output,
            Buffer::Scratch => &self.scratch,
        };
        table.runs(span.start + round * span.stride, span.len)
    }
}

/// What `member` has to do in a stage; the cells of its scratch are added to `cells`, each as large as the chunk named. `None` if there is no
/// such factor, or its moves can't be moves of the whole.
pub(super) fn unit(
    finder: &Finder,
    stages: &[Stage],
    number: usize,
    member: Member,
    cells: &mut Vec<ChunkId>,
) -> Option<Unit> {
    let (stage, last) = (&stages[number], stages.len() - 1);
    let (factor, local) = stage.factor(finder.places, member)?;
    let Program { lanes, scratch } = factor.plan.program(local);
    let [input, output] = [Buffer::Input, Buffer::Output].map(|buffer| finder.table(stage, member, buffer));
    let mut memory = Memory { input, output, scratch: Table::default() };
    for id in scratch {
        memory.scratch.add(finder.sizes(stage, member, id).into_iter().map(|run| {
            let start = cells.len() as u32;
            cells.extend(run.id..run.id + run.len);
            Run { start, ..run }
        }));
    }
    if lanes.len() > 1 {
        return None;
    }
    let steps: Vec<Step> = lanes.into_iter().flatten().collect();
    if !is_cut_alike(stage.cut, factor.tells_apart, &memory, &steps) {
        return None;
    }
    let rank = |local| stage.rank(finder.places, member, local);
    let mut moves: Vec<UnitMove> = Vec::new();
    // Nothing but the last stage's tails is put off, and past other tiles alone: with a single tile nothing is.
    let may_put_off = number == last && finder.tiles > 1 && factor.may_put_off(local);
    each_move(&steps, &mut |one, round| {
        moves.extend(renamed(stage, &memory, &rank, one, round)?);
        Some(())
    })?;
    let head = moves.iter().take_while(|one| one.only_sends()).count();
    let tail = moves.len() - moves[head..].iter().rev().take_while(|one| one.only_receives()).count();
    Some(Unit { stage: number, moves, head, tail, may_put_off })
}

/// Calls `visit` with every move and its round; `None` at the first that gives it, and at waits, for which a factor has no other lane.
pub(super) fn each_move(steps: &[Step], visit: &mut dyn FnMut(&Move, u32) -> Option<()>) -> Option<()> {
    for step in steps {
        match step {
            Step::Move(one) => visit(one, 0)?,
            Step::Repeat { count, body } => {
                for round in 0..*count {
                    body.iter().try_for_each(|one| visit(one, round))?;
                }
            }
            Step::Wait { .. } => return None,
        }
    }
    Some(())
}

/// Whether both ends of a message cut it in the same places. They do if it is not cut, or if the proof of the factor tells its chunks
/// apart, for then both take it for the same; else if all chunks are cut alike, and a message is of one.
fn is_cut_alike(cut: Cut, tells_apart: bool, memory: &Memory, steps: &[Step]) -> bool {
    let is_one = |operand: &Operand| !matches!(operand, Operand::Local(span) if span.len > 1);
    let of_one = |one: &Move, _| one.sources.iter().chain(&one.destinations).all(is_one).then_some(());
    cut == Cut::One
        || tells_apart
        || (memory.input.is_uniform() && memory.output.is_uniform() && each_move(steps, &mut { of_one }).is_some())
}

/// One move of a factor in the whole: nothing where its chunks are empty there, or what it copies is in its place.
fn renamed(
    stage: &Stage,
    memory: &Memory,
    rank: &dyn Fn(usize) -> Rank,
    one: &Move,
    round: u32,
) -> Option<Option<UnitMove>> {
    let named = |operand: &Operand| match *operand {
        Operand::Local(_) => UnitOperand::Local,
        Operand::Peer { rank: local, channel } => {
            UnitOperand::Peer { rank: rank(local), channel: channel + stage.channel }
        }
    };
    let mut columns: Vec<&[Run]> = Vec::new();
    for operand in one.sources.iter().chain(&one.destinations) {
        if let Operand::Local(span) = operand {
            columns.push(memory.runs(span, round)?);
        }
    }
    let mut operands: Vec<UnitOperand> = one.sources.iter().chain(&one.destinations).map(named).collect();
    let (from, to) = operands.split_at(one.sources.len());
    if one.reduction.is_none() && from == [UnitOperand::Local] {
        let stored: Vec<usize> = (0..to.len()).filter(|index| to[*index] == UnitOperand::Local).collect();
        let is_there = |column: &&[Run]| same_places(column, columns[0]);
        if let Some(column) = columns[1..].iter().position(is_there) {
            operands.remove(one.sources.len() + stored[column]);
            columns.remove(1 + column);
        }
    }
    let rows = rows(stage.cut, &columns)?;
    if rows.is_empty() || operands.len() == one.sources.len() {
        return Some(None);
    }
    let reduction = match one.reduction {
        Some(Reduction::Final) if !stage.completes => Some(Reduction::Partial),
        reduction => reduction,
    };
    let spaces = columns.iter().map(|runs| runs[0].space).collect();
    Some(Some(UnitMove { reduction, operands, sources: one.sources.len(), spaces, rows }))
}

fn same_places(one: &[Run], other: &[Run]) -> bool {
    let place = |run: &Run| (run.space, run.start, run.len);
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| place(one) == place(other))
}

/// The runs of all local operands, cut into moves, those at even distances in rows. `None` if the operands are cut differently.
fn rows(cut: Cut, columns: &[&[Run]]) -> Option<Vec<Row>> {
    let runs = columns.first()?.len();
    let alike = |runs: &&[Run]| runs.windows(2).all(|pair| pair[0].space == pair[1].space);
    if columns.iter().any(|column| column.len() != runs) || !columns.iter().all(alike) {
        return None;
    }
    let mut rows: Vec<Row> = Vec::new();
    let mut starts: Vec<u32> = Vec::with_capacity(columns.len());
    let mut index = 0;
    while index < runs {
        starts.clear();
        starts.extend(columns.iter().map(|column| column[index].start));
        let mut len = 0;
        loop {
            let run = columns[0][index];
            let goes_on =
                |(column, start): (&&[Run], &u32)| column[index].len == run.len && column[index].start == start + len;
            if !columns.iter().zip(&starts).all(goes_on) {
                return None;
            }
            len += run.len;
            index += 1;
            let is_next = |next: &Run| match cut {
                Cut::One => true,
                Cut::Gaps => next.id == run.id + run.len,
                Cut::Runs => false,
            };
            if !columns[0].get(index).is_some_and(is_next) {
                break;
            }
        }
        if !rows.last_mut().is_some_and(|last| last.takes(len, &starts)) {
            rows.push(Row { len, count: 1, columns: starts.iter().map(|start| (*start, 0)).collect() });
        }
    }
    Some(rows)
}

impl Row {
    /// Takes a move at these starts if it is the next; a row of one has its distances from it.
    fn takes(&mut self, len: u32, starts: &[u32]) -> bool {
        let count = self.count;
        let is_ahead = || self.columns.iter().zip(starts).all(|((first, _), next)| next >= first);
        let follows = || self.columns.iter().zip(starts).all(|((first, stride), next)| *next == first + count * stride);
        if self.len != len || !(if count == 1 { is_ahead() } else { follows() }) {
            return false;
        }
        if count == 1 {
            self.columns.iter_mut().zip(starts).for_each(|(column, next)| column.1 = next - column.0);
        }
        self.count += 1;
        true
    }
}
