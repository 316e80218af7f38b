//! Every registered plan run on values that remember where they come from, by an interpreter that shares no code with the
//! checker: a judge of both.

use super::{Algorithm, registry};
use crate::plan::check::{check, keeps_promise};
use crate::plan::chunk::{ChunkId, Grid};
use crate::plan::text::tests::assert_golden;
use crate::plan::{Buffer, Move, Operand, Order, Plan, Problem, Program, Promise, Reduction, Span, Step};
use crate::types::{Collective, Rank};
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// What a chunk holds.
#[derive(PartialEq, Eq, Debug)]
enum Value {
    Input { rank: Rank, chunk: ChunkId },
    Fold { parts: Vec<Rc<Value>>, reduction: Reduction },
}

impl Value {
    fn ranks(&self, found: &mut Vec<Rank>) {
        match self {
            Value::Input { rank, .. } => found.push(*rank),
            Value::Fold { parts, .. } => parts.iter().for_each(|part| part.ranks(found)),
        }
    }

    /// Whether this is the sum of one chunk in the declared order, with `Final` on top and nowhere else.
    fn is_sum(&self, order: &Order, of: ChunkId, top: bool) -> bool {
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
    next: usize,
    hops: u32,
}

/// Runs a plan step by step; a panic is a flaw of the plan.
struct Machine {
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
    fn new(plan: &Plan, in_place: bool) -> Machine {
        let (grid, ranks) = (plan.grid(), plan.problem.ranks);
        let programs: Vec<Program> = (0..ranks).map(|rank| plan.program(rank)).collect();
        let memories =
            programs.iter().enumerate().map(|(rank, program)| Memory::new(&grid, rank, program, in_place)).collect();
        let lanes = programs.iter().enumerate().flat_map(|(rank, program)| {
            program.lanes.iter().map(move |lane| {
                let moves = lane.iter().flat_map(|step| match step {
                    Step::Move(one) => vec![(one.clone(), 0)],
                    Step::Repeat { count, body } => {
                        (0..*count).flat_map(|round| body.iter().map(move |one| (one.clone(), round))).collect()
                    }
                });
                LaneState { rank, moves: moves.collect(), next: 0, hops: 0 }
            })
        });
        Machine {
            lanes: lanes.collect(),
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
    fn run(&mut self, backwards: bool, burst: usize) {
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
        let LaneState { rank, ref moves, next, hops } = self.lanes[lane];
        let Some((one, round)) = moves.get(next).cloned() else { return false };
        let locals = |operands: &[Operand]| -> Vec<Span> {
            operands
                .iter()
                .filter_map(|operand| if let Operand::Local(span) = operand { Some(*span) } else { None })
                .collect()
        };
        let (read, written) = (locals(&one.sources), locals(&one.destinations));
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
        let mut hops = hops;
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
        state.hops = hops;
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

    fn outputs(&self, rank: Rank) -> impl Iterator<Item = (ChunkId, &Value)> {
        let memory = &self.memories[rank];
        memory.outputs.iter().enumerate().map(move |(index, &cell)| {
            let chunk = self.grid.chunk_id(rank, Buffer::Output, index as u32, &[]);
            (chunk, memory.cells[cell].value.as_deref().unwrap_or_else(|| panic!("rank {rank} lacks chunk {chunk}")))
        })
    }

    fn cost(&self) -> Promise {
        Promise {
            hops: self.lanes.iter().map(|lane| lane.hops).max().unwrap_or(0),
            chunks_sent: self.sent.iter().copied().max().unwrap_or(0),
            chunks_received: self.received.iter().copied().max().unwrap_or(0),
        }
    }
}

/// The naive definition of every collective: who contributes to this chunk of the output.
fn assert_right(algorithm: &dyn Algorithm, problem: &Problem, chunk: ChunkId, value: &Value) {
    let block = (chunk / problem.tiles) as usize;
    let from = |rank| Value::Input { rank, chunk };
    match problem.collective {
        Collective::AllReduce | Collective::ReduceScatter | Collective::Reduce => {
            let order = algorithm.order(problem, chunk);
            assert!(value.is_sum(&order, chunk, true), "chunk {chunk} is {value:?}, declared {order:?}");
        }
        Collective::Barrier => {}
        Collective::AllGather | Collective::Gather => assert_eq!(*value, from(block)),
        Collective::Broadcast | Collective::Scatter => assert_eq!(*value, from(problem.root)),
        Collective::AllToAll => assert_eq!(*value, from(block / problem.ranks)),
        _ => unreachable!("not an even collective with algorithms"),
    }
    let mut ranks = Vec::new();
    value.ranks(&mut ranks);
    ranks.sort_unstable();
    match problem.collective {
        Collective::Barrier => ranks.dedup(),
        collective if collective.reduces() => {}
        _ => return,
    }
    assert_eq!(ranks, (0..problem.ranks).collect::<Vec<_>>(), "contributions to chunk {chunk}");
}

fn judge(algorithm: &dyn Algorithm, problem: &Problem) {
    let plan = algorithm.plan(problem);
    for (in_place, backwards, burst) in
        [(false, false, usize::MAX), (true, true, usize::MAX), (true, false, 1), (false, true, 1)]
    {
        let mut machine = Machine::new(&plan, in_place);
        machine.run(backwards, burst);
        for rank in 0..problem.ranks {
            machine.outputs(rank).for_each(|(chunk, value)| assert_right(algorithm, problem, chunk, value));
        }
        assert_eq!(machine.cost(), algorithm.promise(problem));
    }
}

/// Every problem that `algorithm` answers, among these ranks and tiles.
fn problems(
    algorithm: &dyn Algorithm,
    ranks: impl Iterator<Item = usize> + Clone,
    tiles: &'static [u32],
) -> impl Iterator<Item = Problem> {
    Collective::ALL
        .into_iter()
        .filter(|collective| !collective.is_uneven())
        .flat_map(move |collective| {
            let uneven = [false, true];
            ranks.clone().flat_map(move |ranks| {
                (0..if collective.has_root() { ranks } else { 1 }).flat_map(move |root| {
                    tiles
                        .iter()
                        .flat_map(move |&tiles| uneven.map(|uneven| Problem { collective, ranks, root, uneven, tiles }))
                })
            })
        })
        .filter(|problem| algorithm.fits(problem).is_ok())
}

#[test]
fn every_plan_keeps_the_promise_of_its_collective_and_of_its_file() {
    for algorithm in registry() {
        for problem in problems(*algorithm, 1..=17, &[1, 3]) {
            let judged = catch_unwind(AssertUnwindSafe(|| judge(*algorithm, &problem)));
            assert!(judged.is_ok(), "{} on {problem:?}", algorithm.name());
        }
    }
}

/// Two tiles are enough to tell a tile from a block; the interpreter tries three.
#[test]
fn every_plan_is_proved() {
    for algorithm in registry() {
        for problem in problems(*algorithm, 1..=33, &[1, 2]) {
            let proved = check(&algorithm.plan(&problem)).and_then(|checked| {
                assert!(checked.facts().bit_equal);
                keeps_promise(&checked, &algorithm.promise(&problem), &|chunk| algorithm.order(&problem, chunk))
            });
            proved.unwrap_or_else(|flaw| panic!("{} on {problem:?}: {flaw}", algorithm.name()));
        }
    }
}

#[test]
fn small_plans_read_as_in_their_golden_files() {
    let golden = |algorithm: &str, collective, ranks, tiles| {
        let problem = Problem { collective, ranks, root: 0, uneven: false, tiles };
        let plan = super::find(algorithm).unwrap().plan(&problem);
        assert_golden(&plan, &format!("{algorithm}_{collective}_{ranks}"));
    };
    golden("ring", Collective::AllReduce, 3, 1);
    golden("two_shot", Collective::AllReduce, 3, 1);
    golden("recursive_doubling", Collective::AllReduce, 3, 1);
    golden("halving_doubling", Collective::AllReduce, 4, 1);
    golden("double_tree", Collective::AllReduce, 4, 2);
    golden("bruck", Collective::AllGather, 3, 1);
    golden("bruck", Collective::AllToAll, 4, 1);
    golden("binomial", Collective::Gather, 4, 1);
}

#[test]
fn every_collective_has_an_algorithm_for_any_number_of_ranks() {
    for collective in Collective::ALL {
        for ranks in 1..=9 {
            let problem =
                Problem { collective: collective.even(), ranks, root: 0, uneven: collective.is_uneven(), tiles: 1 };
            let served = registry().iter().any(|algorithm| algorithm.fits(&problem).is_ok());
            assert_eq!(served, collective != Collective::SendRecv, "{problem:?}");
        }
    }
}

#[test]
fn names_are_found_and_typos_name_the_nearest() {
    for algorithm in registry() {
        assert!(std::ptr::addr_eq(super::find(algorithm.name()).unwrap(), *algorithm as *const dyn Algorithm));
    }
    let error = super::find("two-shott").err().unwrap().to_string();
    assert_eq!(error, "unknown algorithm `two-shott`; did you mean `two_shot`?");
}

#[test]
fn problems_that_make_no_sense_are_refused_with_a_reason() {
    let problem = Problem { collective: Collective::AllToAll, ranks: 4, root: 0, uneven: false, tiles: 1 };
    let reason = |algorithm: &str, problem: Problem| super::find(algorithm).unwrap().fits(&problem).unwrap_err();
    assert_eq!(reason("ring", problem), "answers all_reduce, all_gather, reduce_scatter, not all_to_all");
    assert_eq!(reason("direct", Problem { ranks: 0, ..problem }), "needs at least 1 rank and 1 tile");
    assert_eq!(reason("direct", Problem { root: 4, ..problem }), "needs a root below 4 ranks, not 4");
    assert!(reason("direct", Problem { ranks: 70_000, ..problem }).contains("more chunks than can be numbered"));
    assert!(reason("bruck", Problem { uneven: true, ..problem }).contains("don't know their sizes"));
}
