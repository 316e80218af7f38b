//! The proof of a plan that looks alike from every rank: one rank's view stands for all.
//!
//! Renumber ranks and blocks from a rank's own place on, going round. In a ring, a circulant or Bruck's plan every rank then has the
//! same program, but that a run of blocks which goes round the last is two moves. [`by_rotation`]
//! 1. reads every rank's program, joins such pieces, and compares it with rank 0's, move by move, the sources of a fold in whichever
//!    order;
//! 2. compares the messages of every pair, piece by piece, so that sizes match whatever blocks measure;
//! 3. runs rank 0's program, all ranks being taken to be at the same move: what a peer at some distance has sent is what rank 0
//!    sent to that distance the other way, with contributions renumbered.
//!
//! That run asks that a message is taken at a later move than it was sent, and memory overwritten at a later move than the one at which
//! what was posted from it is taken. So there is a schedule, all ranks in step, in which nobody waits, and as the programs are a Kahn
//! network every other schedule ends alike (see `run.rs`). One lane per rank leaves nothing to race.
//!
//! It takes time in proportion to the moves of all ranks, and to the chunks that a single one moves. Where the moves of all ranks are
//! many millions, as when everyone sends to everyone, only a few ranks spread over all are read and the rest are *taken* to do the same:
//! that they do rests on who wrote the plan. What rank 0 sends to each distance is then compared with what it takes from that distance the
//! other way, which is all that matching needs among ranks that are alike; each message must be of one block, so that none is cut where
//! blocks go round the last.

mod view;

use super::Facts;
use crate::plan::{self, Plan, Reduction, Step};
use crate::types::{Collective, Rank};
use std::collections::HashMap;
use std::rc::Rc;
use view::{Cell, Operand, View};

/// Proves the plan of an all-reduce of as many blocks as ranks, an all-gather or a reduce-scatter.
///
/// # Errors
/// Why it can't be proved in this way: perhaps it is right all the same, which [`check`](super::check) will tell.
pub fn by_rotation(plan: &Plan) -> Result<Facts, String> {
    by_rotation_of(plan, &seen(plan))
}

/// The same from the programs of these ranks.
fn by_rotation_of(plan: &Plan, seen: &[Rank]) -> Result<Facts, String> {
    let problem = &plan.problem;
    if !fits(plan) {
        return Err(
            "only all-reduces of a block per rank, all-gathers, reduce-scatters and even all-to-alls look alike \
                    from all ranks"
                .into(),
        );
    }
    let (view, mut facts) = view::common(plan, seen)?;
    let apart = Run::new(&view, problem.collective, problem.ranks as u32, false).finish()?;
    if problem.collective != Collective::AllToAll {
        Run::new(&view, problem.collective, problem.ranks as u32, true)
            .finish()
            .map_err(|why| format!("in place: {why}"))?;
    }
    facts.hops = apart.hops;
    facts.bit_equal = apart.bit_equal;
    Ok(facts)
}

fn fits(plan: &Plan) -> bool {
    let problem = &plan.problem;
    let blocks_go_round = match problem.collective {
        Collective::AllReduce => plan.blocks as usize == problem.ranks,
        Collective::AllGather | Collective::ReduceScatter => true,
        Collective::AllToAll => !problem.uneven,
        _ => false,
    };
    blocks_go_round && problem.tiles == 1 && problem.ranks > 1
}

/// Operands of the moves of all ranks, up to which all are read.
const MOST_OPERANDS: u64 = 1 << 21;
/// Beyond that so many ranks.
const FEW: usize = 8;

/// The ranks whose programs are read: all, unless they are long and their messages of one block each.
pub(crate) fn seen(plan: &Plan) -> Vec<Rank> {
    let ranks = plan.problem.ranks;
    let program = plan.program(0);
    let (mut operands, mut longest) = (0, 0);
    for step in program.lanes.iter().flatten() {
        let Step::Move(one) = step else { continue };
        operands += (one.sources.len() + one.destinations.len()) as u64;
        let lens = one.sources.iter().chain(&one.destinations).filter_map(|operand| match operand {
            plan::Operand::Local(span) => Some(span.len),
            plan::Operand::Peer { .. } => None,
        });
        longest = lens.fold(longest, u32::max);
    }
    if longest > 1 || operands * ranks as u64 <= MOST_OPERANDS || ranks <= FEW {
        return (0..ranks).collect();
    }
    let last = FEW - 1;
    (0..last).map(|number| number * ranks / last + number % 2).chain([ranks - 1]).collect()
}

/// Whether the first two ranks and the last do the same, each seen from its place: then it is likely that all do.
pub(super) fn seems_to_fit(plan: &Plan) -> bool {
    fits(plan) && view::same(plan, [0, 1, plan.problem.ranks - 1])
}

/// What a chunk of memory holds, as seen from the rank that has it.
#[derive(Clone)]
struct Value {
    /// The block of which it is a part, counted from the rank on; in an all-to-all the one for whom it is.
    block: u32,
    /// The ranks that contributed, counted from the rank on: bits, in a fold; else the one.
    from: From,
    is_final: bool,
    /// The rank that added it up, counted from the block's, and the move in which it did: equal only where the bits are the same.
    structure: u64,
}

#[derive(Clone)]
enum From {
    One(u32),
    Many(Rc<Vec<u64>>),
}

struct Message {
    values: Vec<Value>,
    hops: u32,
    sent_at: usize,
}

struct Outcome {
    hops: u32,
    bit_equal: bool,
}

struct Run<'a> {
    view: &'a View,
    collective: Collective,
    ranks: u32,
    in_place: bool,
    memory: Vec<Option<Value>>,
    /// By distance of the receiver and channel.
    sent: HashMap<(u32, u16), Vec<Message>>,
    taken: HashMap<(u32, u16), usize>,
    /// Of each cell the move at which the last message posted from it is taken.
    posted_until: Vec<usize>,
    hops: u32,
    most_hops: u32,
}

impl<'a> Run<'a> {
    fn new(view: &'a View, collective: Collective, ranks: u32, in_place: bool) -> Run<'a> {
        let cells = 2 * ranks as usize + view.scratch;
        let mut run = Run {
            view,
            collective,
            ranks,
            in_place,
            memory: vec![None; cells],
            sent: HashMap::new(),
            taken: HashMap::new(),
            posted_until: vec![0; cells],
            hops: 0,
            most_hops: 0,
        };
        let inputs = if collective == Collective::AllGather { 1 } else { ranks };
        for block in 0..inputs {
            let structure = mix(1, u64::from((ranks - block) % ranks));
            let value = Value { block, from: From::One(0), is_final: false, structure };
            let cell = run.cell(Cell::Input(block));
            run.memory[cell] = Some(value);
        }
        run
    }

    /// Blocks of both buffers are counted from the rank on, so in place a block's two cells are one.
    fn cell(&self, cell: Cell) -> usize {
        match cell {
            Cell::Input(block) if self.in_place => self.ranks as usize + block as usize,
            Cell::Input(block) => block as usize,
            Cell::Output(block) => (self.ranks + block) as usize,
            Cell::Scratch(slot) => 2 * self.ranks as usize + slot as usize,
        }
    }

    fn cells(&self, operand: &Operand, len: u32) -> Vec<usize> {
        match *operand {
            Operand::Input(start) => (0..len).map(|i| self.cell(Cell::Input((start + i) % self.ranks))).collect(),
            Operand::Output(start) => (0..len).map(|i| self.cell(Cell::Output((start + i) % self.ranks))).collect(),
            Operand::Scratch(start) => (start..start + len).map(|slot| self.cell(Cell::Scratch(slot))).collect(),
            Operand::Peer { .. } => Vec::new(),
        }
    }

    fn finish(mut self) -> Result<Outcome, String> {
        for number in 0..self.view.moves.len() {
            self.one_move(number)?;
        }
        for (link, messages) in &self.sent {
            let back = (self.ranks - link.0, link.1);
            if self.taken.get(&back).copied().unwrap_or(0) != messages.len() {
                return Err(format!("messages to the rank {} ahead are left over", link.0));
            }
        }
        self.outcome()
    }

    fn one_move(&mut self, number: usize) -> Result<(), String> {
        let view = self.view;
        let one = &view.moves[number];
        let wrong = |what: &str| Err(format!("move {number} {what}"));
        let mut columns: Vec<Vec<Value>> = Vec::new();
        for operand in &one.sources {
            columns.push(match *operand {
                Operand::Peer { distance, channel } => self.take(number, distance, channel, one.len)?,
                _ => {
                    let values = self.cells(operand, one.len).into_iter().map(|cell| self.memory[cell].clone());
                    match values.collect() {
                        Some(values) => values,
                        None => return wrong("reads what holds nothing"),
                    }
                }
            });
        }
        let values: Vec<Value> = match one.reduction {
            None => columns.swap_remove(0),
            Some(reduction) => (0..one.len as usize)
                .map(|index| self.fold(number, reduction, columns.iter().map(|column| &column[index])))
                .collect::<Result<_, _>>()
                .map_err(|what| format!("move {number} {what}"))?,
        };
        let read: Vec<Vec<usize>> = one.sources.iter().map(|operand| self.cells(operand, one.len)).collect();
        let mut stored: Vec<usize> = Vec::new();
        for operand in &one.destinations {
            let cells = self.cells(operand, one.len);
            if cells.iter().any(|cell| self.posted_until[*cell] > 0 && self.posted_until[*cell] >= number) {
                return wrong("overwrites what may not have been taken");
            }
            // Pieces of a move must not work on each other's results, nor a move across its own operands.
            let meets = |other: &Vec<usize>| *other != cells && other.iter().any(|cell| cells.contains(cell));
            if read.iter().any(meets) || stored.iter().any(|cell| cells.contains(cell)) {
                return wrong("has operands that overlap");
            }
            for (cell, value) in cells.iter().zip(&values) {
                self.memory[*cell] = Some(value.clone());
            }
            stored.extend(cells);
        }
        if one.reduction.is_none() {
            stored.extend(read.into_iter().flatten());
        }
        for operand in &one.destinations {
            if let Operand::Peer { distance, channel } = *operand {
                if stored.is_empty() {
                    return wrong("sends from no memory");
                }
                let hops = self.hops + 1;
                self.most_hops = self.most_hops.max(hops);
                let sent = self.sent.entry((distance, channel)).or_default();
                // Where it is taken is known before it is sent: it is the same program.
                let taken = view.taken_at.get(&((self.ranks - distance) % self.ranks, channel));
                let taken_at = taken.and_then(|at| at.get(sent.len())).copied().unwrap_or(usize::MAX);
                sent.push(Message { values: values.clone(), hops, sent_at: number });
                for &cell in &stored {
                    self.posted_until[cell] = self.posted_until[cell].max(taken_at);
                }
            }
        }
        Ok(())
    }

    /// The next message of the peer at a distance: what this rank sent as far the other way, as that peer would have.
    fn take(&mut self, number: usize, distance: u32, channel: u16, len: u32) -> Result<Vec<Value>, String> {
        let next = self.taken.entry((distance, channel)).or_default();
        let messages = self.sent.get(&((self.ranks - distance) % self.ranks, channel));
        let message = messages.and_then(|messages| messages.get(*next)).filter(|message| message.sent_at < number);
        let Some(message) = message else {
            return Err(format!("move {number} takes what is not sent at an earlier move"));
        };
        if message.values.len() != len as usize {
            return Err(format!("move {number} takes another number of chunks than is sent"));
        }
        *next += 1;
        self.hops = self.hops.max(message.hops);
        Ok(message.values.iter().map(|value| self.seen_from_here(value, distance)).collect())
    }

    /// A value of the peer at a distance.
    fn seen_from_here(&self, value: &Value, distance: u32) -> Value {
        let from = match &value.from {
            From::One(rank) => From::One((rank + distance) % self.ranks),
            // Everyone, wherever counted from.
            From::Many(_) if value.is_final => value.from.clone(),
            From::Many(set) => From::Many(Rc::new(rotated(set, distance, self.ranks))),
        };
        Value { block: (value.block + distance) % self.ranks, from, ..value.clone() }
    }

    fn fold<'v>(
        &self,
        number: usize,
        reduction: Reduction,
        parts: impl Iterator<Item = &'v Value>,
    ) -> Result<Value, String> {
        let mut set = vec![0u64; (self.ranks as usize).div_ceil(64)];
        let mut block = None;
        for part in parts {
            if *block.get_or_insert(part.block) != part.block {
                return Err("folds two different blocks".to_owned());
            }
            if part.is_final {
                return Err("folds what is final already".to_owned());
            }
            match &part.from {
                From::One(rank) => add(&mut set[*rank as usize / 64], 1 << (rank % 64))?,
                From::Many(more) => {
                    set.iter_mut().zip(more.iter()).try_for_each(|(word, more)| add(word, *more))?;
                }
            }
        }
        let is_final = reduction == Reduction::Final;
        if is_final && !self.is_full(&set) {
            return Err("is marked final without everyone's contribution".to_owned());
        }
        let block = block.expect("a fold has a source");
        let structure = mix(mix(2, u64::from((self.ranks - block) % self.ranks)), number as u64);
        Ok(Value { block, from: From::Many(Rc::new(set)), is_final, structure })
    }

    fn is_full(&self, set: &[u64]) -> bool {
        set.iter().map(|word| word.count_ones()).sum::<u32>() == self.ranks
    }

    fn outcome(self) -> Result<Outcome, String> {
        let outputs = if self.collective == Collective::ReduceScatter { 1 } else { self.ranks };
        let mut structure = None;
        let mut bit_equal = true;
        for block in 0..outputs {
            let Some(value) = &self.memory[self.cell(Cell::Output(block))] else {
                return Err(format!("the output {block} ahead ends as nothing"));
            };
            let for_whom = if self.collective == Collective::AllToAll { 0 } else { block };
            let is_right = value.block == for_whom
                && match (&value.from, self.collective) {
                    (From::One(rank), Collective::AllGather | Collective::AllToAll) => *rank == block,
                    (From::Many(set), Collective::AllReduce | Collective::ReduceScatter) => {
                        value.is_final && self.is_full(set)
                    }
                    _ => false,
                };
            if !is_right {
                return Err(format!("the output {block} ahead ends as something else"));
            }
            bit_equal &= self.collective != Collective::AllReduce
                || *structure.get_or_insert(value.structure) == value.structure;
        }
        Ok(Outcome { hops: self.most_hops, bit_equal })
    }
}

fn add(word: &mut u64, more: u64) -> Result<(), String> {
    if *word & more != 0 {
        return Err("counts a contribution twice".to_owned());
    }
    *word |= more;
    Ok(())
}

/// The set with every rank `distance` farther on, going round.
fn rotated(set: &[u64], distance: u32, ranks: u32) -> Vec<u64> {
    let mut result = vec![0; set.len()];
    let (words, bits) = (distance as usize / 64, distance % 64);
    for index in words..set.len() {
        let below = if bits > 0 && index > words { set[index - words - 1] >> (64 - bits) } else { 0 };
        result[index] = set[index - words] << bits | below;
    }
    // What went past the last rank is dropped here and comes in at the first.
    if !ranks.is_multiple_of(64) {
        result[set.len() - 1] &= (1 << (ranks % 64)) - 1;
    }
    let (words, bits) = ((ranks - distance) as usize / 64, (ranks - distance) % 64);
    for index in words..set.len() {
        let above = if bits > 0 && index + 1 < set.len() { set[index + 1] << (64 - bits) } else { 0 };
        result[index - words] |= set[index] >> bits | above;
    }
    result
}

fn mix(hash: u64, more: u64) -> u64 {
    (hash.rotate_left(23) ^ more).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (hash >> 29)
}

#[cfg(test)]
mod tests;
