//! Runs a plan on values that remember where they come from.

use crate::plan::chunk::{ChunkId, Grid};
use crate::plan::{Buffer, Move, Operand, Order, Plan, Program, Promise, Reduction, Span, Step};
use crate::types::{Collective, Rank};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

/// What a chunk holds.
#[derive(PartialEq, Eq, Debug)]
pub enum Value {
    Input { rank: Rank, chunk: ChunkId },
    Fold { parts: Vec<Rc<Value>>, reduction: Reduction },
}

impl Value {
    pub fn ranks(&self, found: &mut Vec<Rank>) {
        match self {
            Value::Input { rank, .. } => found.push(*rank),
            Value::Fold { parts, .. } => parts.iter().for_each(|part| part.ranks(found)),
        }
    }

    /// Whether this is the sum of one chunk in the declared order, with `Final` on top and nowhere else.
    pub fn is_sum(&self, order: &Order, of: ChunkId, top: bool) -> bool {
        match (self, order) {
            (Value::Input { rank, chunk }, Order::Rank(declared)) => rank == declared && *chunk == of && !top,
            (Value::Fold { parts, reduction }, Order::Fold(orders)) => {
                (*reduction == Reduction::Final) == top
                    && parts.len() == orders.len()
                    && parts.iter().zip(orders).all(|(part, order)| part.is_sum(order, of, false))
            }
            _ => false,
        }
    }
}

#[derive(Clone, Default)]
struct Cell {
    value: Option<Rc<Value>>,
    /// Posted messages that have not been taken yet.
    lent: u32,
}

/// The memory of one rank. In place, some chunks of input and output are the same cell.
struct Memory {
    cells: Vec<Cell>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    scratch: Vec<usize>,
}

impl Memory {
    fn new(grid: &Grid, rank: Rank, program: &Program, in_place: bool) -> Memory {
        let mut cells = 0;
        let mut fresh = |count: usize| {
            cells += count;
            (cells - count..cells).collect::<Vec<usize>>()
        };
        let mut inputs = fresh(grid.chunks(rank, Buffer::Input) as usize);
        let mut outputs = fresh(grid.chunks(rank, Buffer::Output) as usize);
        let scratch = fresh(program.scratch.len());
        let own = rank * grid.tiles as usize;
        if in_place && !inputs.is_empty() && !outputs.is_empty() {
            match grid.collective {
                Collective::AllToAll => {}
                Collective::AllGather | Collective::Gather => {
                    let count = inputs.len();
                    inputs.copy_from_slice(&outputs[own..][..count]);
                }
                Collective::ReduceScatter | Collective::Scatter => {
                    let count = outputs.len();
                    outputs.copy_from_slice(&inputs[own..][..count]);
                }
                _ => inputs.copy_from_slice(&outputs),
            }
        }
        let mut memory = Memory { cells: vec![Cell::default(); cells], inputs, outputs, scratch };
        for index in 0..memory.inputs.len() {
            let chunk = grid.chunk_id(rank, Buffer::Input, index as u32, &[]);
            memory.cells[memory.inputs[index]].value = Some(Rc::new(Value::Input { rank, chunk }));
        }
        memory
    }

    fn cells_of(&self, buffer: Buffer) -> &[usize] {
        match buffer {
            Buffer::Input => &self.inputs,
            Buffer::Output => &self.outputs,
            Buffer::Scratch => &self.scratch,
        }
    }
}

struct Message {
    values: Vec<Rc<Value>>,
    classes: Vec<u32>,
    lent: Vec<usize>,
    hops: u32,
}

struct LaneState {
    rank: Rank,
    moves: Vec<(Move, u32)>,
    /// Before which move it waits for so many moves of which lane.
    waits: Vec<(usize, usize, usize)>,
    next: usize,
    /// At the start and after every move.
    hops: Vec<u32>,
}

/// The moves of steps, one by one, with their rounds.
fn moves(steps: &[Step]) -> Vec<(Move, u32)> {
    let of_step = |step: &Step| match step {
        Step::Move(one) => vec![(one.clone(), 0)],
        Step::Repeat { count, body } => {
            (0..*count).flat_map(|round| body.iter().map(move |one| (one.clone(), round))).collect()
        }
        Step::Wait { .. } => Vec::new(),
    };
    steps.iter().flat_map(of_step).collect()
}

/// Runs a plan step by step; a panic is a flaw of the plan.
pub struct Machine {
    grid: Grid,
    uneven: bool,
    programs: Vec<Program>,
    memories: Vec<Memory>,
    lanes: Vec<LaneState>,
    queues: HashMap<(Rank, Rank, u16), VecDeque<Message>>,
    sent: Vec<u64>,
    received: Vec<u64>,
}

impl Machine {
    pub fn new(plan: &Plan, in_place: bool) -> Machine {
        let (grid, ranks) = (plan.grid(), plan.problem.ranks);
        let programs: Vec<Program> = (0..ranks).map(|rank| plan.program(rank)).collect();
        let memories =
            programs.iter().enumerate().map(|(rank, program)| Memory::new(&grid, rank, program, in_place)).collect();
        let mut lanes: Vec<LaneState> = Vec::new();
        for (rank, program) in programs.iter().enumerate() {
            let first = lanes.len();
            lanes.extend(program.lanes.iter().map(|steps| {
                let wait = |(index, step): (usize, &Step)| match *step {
                    Step::Wait { lane, step } => {
                        let ended = moves(&program.lanes[lane as usize][..=step as usize]).len();
                        Some((moves(&steps[..index]).len(), first + lane as usize, ended))
                    }
                    _ => None,
                };
                let waits = steps.iter().enumerate().filter_map(wait).collect();
                LaneState { rank, moves: moves(steps), waits, next: 0, hops: vec![0] }
            }));
        }
        Machine {
            lanes,
            grid,
            uneven: plan.problem.uneven,
            programs,
            memories,
            queues: HashMap::new(),
            sent: vec![0; ranks],
            received: vec![0; ranks],
        }
    }

    /// Runs lanes in turn, up to `burst` steps each, until all are done.
    pub fn run(&mut self, backwards: bool, burst: usize) {
        let mut turns: Vec<usize> = (0..self.lanes.len()).collect();
        if backwards {
            turns.reverse();
        }
        loop {
            let mut progress = false;
            for &lane in &turns {
                progress |= (0..burst).take_while(|_| self.step(lane)).count() > 0;
            }
            if !progress {
                break;
            }
        }
        let stuck = self.lanes.iter().find(|lane| lane.next < lane.moves.len());
        assert!(stuck.is_none(), "rank {} is stuck at step {}", stuck.unwrap().rank, stuck.unwrap().next);
        assert!(self.queues.values().all(VecDeque::is_empty), "messages are left over");
    }

    fn cells(&self, rank: Rank, span: &Span, round: u32) -> Vec<usize> {
        let start = (span.start + round * span.stride) as usize;
        assert!(span.len > 0, "empty span");
        self.memories[rank].cells_of(span.buffer)[start..][..span.len as usize].to_vec()
    }

    fn classes(&self, rank: Rank, span: &Span, round: u32) -> Vec<u32> {
        let start = span.start + round * span.stride;
        let scratch = &self.programs[rank].scratch;
        let class = |index| self.grid.size_class(self.grid.chunk_id(rank, span.buffer, index, scratch), self.uneven);
        (start..start + span.len).map(class).collect()
    }

    /// One step of a lane, if it need not wait.
    fn step(&mut self, lane: usize) -> bool {
        let LaneState { rank, ref moves, ref waits, next, hops: ref known } = self.lanes[lane];
        let Some((one, round)) = moves.get(next).cloned() else { return false };
        let mut hops = *known.last().expect("there is the start");
        for &(_, other, ended) in waits.iter().filter(|(before, ..)| *before == next) {
            let Some(there) = self.lanes[other].hops.get(ended) else { return false };
            hops = hops.max(*there);
        }
        let locals = |operands: &[Operand]| -> Vec<Span> {
            operands
                .iter()
                .filter_map(|operand| if let Operand::Local(span) = operand { Some(*span) } else { None })
                .collect()
        };
        let (read, written) = (locals(&one.sources), locals(&one.destinations));
        assert!(written.iter().all(|span| span.buffer != Buffer::Input), "rank {rank} writes to its input: {one:?}");
        let classes =
            self.classes(rank, read.iter().chain(&written).next().expect("a move has a local operand"), round);
        for span in read.iter().chain(&written) {
            assert_eq!(self.classes(rank, span, round), classes, "sizes differ within a move of rank {rank}: {one:?}");
        }
        let targets: Vec<usize> = written.iter().flat_map(|span| self.cells(rank, span, round)).collect();
        let waits_for_message = |operand: &Operand| match operand {
            Operand::Local(_) => false,
            Operand::Peer { rank: source, channel } => {
                self.queues.get(&(*source, rank, *channel)).is_none_or(VecDeque::is_empty)
            }
        };
        if one.sources.iter().any(waits_for_message)
            || targets.iter().any(|&cell| self.memories[rank].cells[cell].lent > 0)
        {
            return false;
        }
        let mut sources: Vec<Vec<Rc<Value>>> = Vec::new();
        for operand in &one.sources {
            sources.push(match operand {
                Operand::Local(span) => {
                    let cells = self.cells(rank, span, round);
                    let value = |cell: &usize| self.memories[rank].cells[*cell].value.clone();
                    cells
                        .iter()
                        .map(|cell| value(cell).unwrap_or_else(|| panic!("rank {rank} reads garbage: {one:?}")))
                        .collect()
                }
                Operand::Peer { rank: source, channel } => {
                    let message =
                        self.queues.get_mut(&(*source, rank, *channel)).and_then(VecDeque::pop_front).unwrap();
                    assert_eq!(message.classes, classes, "rank {rank} expects other sizes from {source}: {one:?}");
                    message.lent.iter().for_each(|&cell| self.memories[*source].cells[cell].lent -= 1);
                    self.received[rank] += classes.len() as u64;
                    hops = hops.max(message.hops);
                    message.values
                }
            });
        }
        let values: Vec<Rc<Value>> = match one.reduction {
            None => {
                assert_eq!(sources.len(), 1, "a copy has one source");
                sources.pop().unwrap()
            }
            Some(reduction) => (0..classes.len())
                .map(|i| {
                    Rc::new(Value::Fold { parts: sources.iter().map(|source| source[i].clone()).collect(), reduction })
                })
                .collect(),
        };
        for (target, value) in targets.iter().zip(values.iter().cycle()) {
            self.memories[rank].cells[*target].value = Some(value.clone());
        }
        self.send(rank, &one, round, hops, (values, classes));
        let state = &mut self.lanes[lane];
        state.hops.push(hops);
        state.next += 1;
        true
    }

    /// Posts from every place that holds what is sent: whichever of them an executor takes, no plan may deadlock.
    fn send(&mut self, rank: Rank, one: &Move, round: u32, hops: u32, (values, classes): (Vec<Rc<Value>>, Vec<u32>)) {
        let holders = one.sources.iter().filter(|_| one.reduction.is_none()).chain(&one.destinations);
        let mut lent: Vec<usize> = Vec::new();
        for operand in holders {
            if let Operand::Local(span) = operand {
                lent.extend(self.cells(rank, span, round));
            }
        }
        for operand in &one.destinations {
            let Operand::Peer { rank: target, channel } = *operand else { continue };
            assert!(target != rank && target < self.programs.len(), "rank {rank} sends to {target}");
            assert!(!lent.is_empty(), "no algorithm here sends from nowhere: {one:?}");
            lent.iter().for_each(|&cell| self.memories[rank].cells[cell].lent += 1);
            let message =
                Message { values: values.clone(), classes: classes.clone(), lent: lent.clone(), hops: hops + 1 };
            self.queues.entry((rank, target, channel)).or_default().push_back(message);
            self.sent[rank] += classes.len() as u64;
        }
    }

    pub fn outputs(&self, rank: Rank) -> impl Iterator<Item = (ChunkId, &Value)> {
        let memory = &self.memories[rank];
        memory.outputs.iter().enumerate().map(move |(index, &cell)| {
            let chunk = self.grid.chunk_id(rank, Buffer::Output, index as u32, &[]);
            (chunk, memory.cells[cell].value.as_deref().unwrap_or_else(|| panic!("rank {rank} lacks chunk {chunk}")))
        })
    }

    pub fn cost(&self) -> Promise {
        Promise {
            hops: self.lanes.iter().map(|lane| lane.hops.last().copied().unwrap_or(0)).max().unwrap_or(0),
            chunks_sent: self.sent.iter().copied().max().unwrap_or(0),
            chunks_received: self.received.iter().copied().max().unwrap_or(0),
        }
    }
}
