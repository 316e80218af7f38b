//! A factor inside the whole: its program with ranks, chunks and channels renamed.

use crate::plan::build::striding;
use crate::plan::chunk::ChunkId;
use crate::plan::{Buffer, Move, Operand, Plan, Program, Reduction, Span, Step, Through};
use crate::types::Rank;

/// A run of chunks of a buffer of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub buffer: Buffer,
    pub start: u32,
    pub len: u32,
}

/// Where one factor lies in the whole, for its first tile.
pub(super) struct Embedding<'a> {
    pub factor: &'a Plan,
    /// The rank's number in the factor.
    pub local: usize,
    pub rank: &'a dyn Fn(usize) -> Rank,
    pub channel: u16,
    pub through: Through,
    /// Whether what the factor completes is complete in the whole.
    pub is_last: bool,
    /// What chunk `index` of the factor's input or output is in the whole: adds its runs to those that are there. All places of a
    /// chunk have the same runs.
    pub place: &'a dyn Fn(Buffer, u32, &mut Vec<Run>),
    /// The chunks of the whole, by id, that a chunk of the factor is, run by run: to size scratch.
    pub ids: &'a dyn Fn(ChunkId) -> Vec<(ChunkId, u32)>,
    /// Whether runs that follow each other without a gap are one message.
    pub joins: bool,
}

/// A factor's steps in the whole.
#[derive(Default)]
pub(super) struct Unit {
    /// Moves at its start that only send: they wait for nothing.
    pub before: Vec<Step>,
    pub during: Vec<Step>,
    /// Moves at its end that only receive: nothing here waits for them.
    pub after: Vec<Step>,
}

impl Embedding<'_> {
    /// The program of this rank; scratch that it needs is added to `scratch`.
    pub fn unit(&self, scratch: &mut Vec<ChunkId>) -> Unit {
        let Program { lanes, scratch: slots } = self.factor.program(self.local);
        assert!(lanes.len() <= 1, "a factor has one lane");
        let slots = self.add_scratch(&slots, scratch);
        let moves: Vec<(Move, u32)> = lanes.into_iter().flatten().flat_map(rounds).collect();
        let only_sends = |(one, _): &(Move, u32)| {
            one.reduction.is_none() && is_local(&one.sources[0]) && !one.destinations.iter().any(is_local)
        };
        let only_receives = |(one, _): &(Move, u32)| {
            one.reduction.is_none() && !is_local(&one.sources[0]) && one.destinations.iter().all(is_local)
        };
        let before = moves.iter().take_while(|one| only_sends(one)).count();
        let after = moves[before..].iter().rev().take_while(|one| only_receives(one)).count();
        let middle = moves.len() - after;
        let steps =
            |part: &[(Move, u32)]| part.iter().flat_map(|(one, round)| self.steps(one, *round, &slots)).collect();
        Unit { before: steps(&moves[..before]), during: steps(&moves[before..middle]), after: steps(&moves[middle..]) }
    }

    /// Room for the factor's scratch; the runs of each of its slots.
    fn add_scratch(&self, slots: &[ChunkId], scratch: &mut Vec<ChunkId>) -> Vec<Vec<Run>> {
        let room = |&slot: &ChunkId| {
            let runs = (self.ids)(slot).into_iter().map(|(first, len)| {
                let start = scratch.len() as u32;
                scratch.extend(first..first + len);
                Run { buffer: Buffer::Scratch, start, len }
            });
            runs.collect()
        };
        slots.iter().map(room).collect()
    }

    fn runs(&self, span: &Span, round: u32, slots: &[Vec<Run>]) -> Vec<Run> {
        let first = span.start + round * span.stride;
        let chunks = first..first + span.len;
        let mut runs = Vec::with_capacity(span.len as usize);
        match span.buffer {
            Buffer::Scratch => chunks.for_each(|index| runs.extend_from_slice(&slots[index as usize])),
            buffer => chunks.for_each(|index| (self.place)(buffer, index, &mut runs)),
        }
        runs
    }

    /// A move of the factor as moves of the whole: one for each run, those without gaps joined, those at equal distances
    /// repeated.
    fn steps(&self, one: &Move, round: u32, slots: &[Vec<Run>]) -> Vec<Step> {
        let locals = |operands: &[Operand]| -> Vec<Vec<Run>> {
            let spans = operands.iter().filter_map(|operand| match operand {
                Operand::Local(span) => Some(self.runs(span, round, slots)),
                Operand::Peer { .. } => None,
            });
            spans.collect()
        };
        let (mut read, mut written) = (locals(&one.sources), locals(&one.destinations));
        let mut destinations = one.destinations.clone();
        if one.reduction.is_none() && read.first().is_some_and(|from| written.contains(from)) {
            // In the whole the factor works in place: what is there need not be copied there.
            let place = written.iter().position(|to| *to == read[0]).expect("just seen");
            written.remove(place);
            let copied =
                destinations.iter().enumerate().filter(|(_, one)| is_local(one)).nth(place).expect("as many").0;
            destinations.remove(copied);
            if destinations.is_empty() {
                return Vec::new();
            }
        }
        let mut columns: Vec<Vec<Run>> = Vec::with_capacity(read.len() + written.len());
        columns.append(&mut read);
        columns.append(&mut written);
        let rows = self.rows(&columns);
        let one = Move { destinations, ..one.clone() };
        rows.iter().map(|row| self.step(&one, row)).collect()
    }

    /// Runs without gaps joined, whatever comes before them: the other end of a message cuts it by its own places.
    fn rows(&self, columns: &[Vec<Run>]) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        // There are as many runs as chunks, and most go on what is there: one list serves them all.
        let mut starts: Vec<u32> = Vec::with_capacity(columns.len());
        let runs = columns[0].len();
        let mut index = 0;
        while index < runs {
            starts.clear();
            starts.extend(columns.iter().map(|runs| runs[index].start));
            let first = index;
            let mut len = columns[0][index].len;
            index += 1;
            while self.joins
                && index < runs
                && columns.iter().zip(&starts).all(|(runs, start)| runs[index].start == start + len)
            {
                len += columns[0][index].len;
                index += 1;
            }
            let buffers: Vec<Buffer> = columns.iter().map(|runs| runs[first].buffer).collect();
            if rows.last_mut().is_some_and(|last| last.buffers == buffers && last.repeats(&starts, len)) {
                continue;
            }
            rows.push(Row { buffers, strides: vec![0; starts.len()], starts: starts.clone(), len, count: 1 });
        }
        rows
    }

    /// The move on one row of runs.
    fn step(&self, one: &Move, row: &Row) -> Step {
        let mut local = 0;
        let mut operand = |operand: &Operand| match *operand {
            Operand::Local(_) => {
                let index = local;
                local += 1;
                striding(row.buffers[index], row.starts[index], row.len, row.strides[index])
            }
            Operand::Peer { rank, channel } => {
                Operand::Peer { rank: (self.rank)(rank), channel: self.channel + channel }
            }
        };
        let sources = one.sources.iter().map(&mut operand).collect();
        let destinations = one.destinations.iter().map(&mut operand).collect();
        let reduction = match one.reduction {
            Some(Reduction::Final) if !self.is_last => Some(Reduction::Partial),
            reduction => reduction,
        };
        let one = Move { reduction, sources, destinations, through: self.through };
        if row.count == 1 { Step::Move(one) } else { Step::Repeat { count: row.count, body: vec![one] } }
    }
}

/// One run of every local operand of a move, repeated at a distance.
struct Row {
    buffers: Vec<Buffer>,
    starts: Vec<u32>,
    strides: Vec<u32>,
    len: u32,
    count: u32,
}

impl Row {
    /// Whether runs at these starts go on what is here, which then has them too.
    fn repeats(&mut self, starts: &[u32], len: u32) -> bool {
        if len != self.len {
            return false;
        }
        if self.count == 1 {
            if starts.iter().zip(&self.starts).any(|(next, start)| next < start) {
                return false;
            }
            self.strides = starts.iter().zip(&self.starts).map(|(next, start)| next - start).collect();
        } else {
            let at = |(start, stride): (&u32, &u32)| start + self.count * stride;
            if starts.iter().zip(self.starts.iter().zip(&self.strides)).any(|(next, row)| *next != at(row)) {
                return false;
            }
        }
        self.count += 1;
        true
    }
}

fn is_local(operand: &Operand) -> bool {
    matches!(operand, Operand::Local(_))
}

fn rounds(step: Step) -> Vec<(Move, u32)> {
    match step {
        Step::Move(one) => vec![(one, 0)],
        Step::Repeat { count, body } => {
            (0..count).flat_map(|round| body.iter().map(move |one| (one.clone(), round))).collect()
        }
        Step::Wait { .. } => unreachable!("no algorithm makes one lane wait for another"),
    }
}
