//! A second judge, made without a look at the first: runs programs on numbers, in an order that a seed chooses.

use crate::plan::chunk::Grid;
use crate::plan::{Buffer, Move, Operand, Plan, Program, Reduction, Span, Step};
use crate::types::{Collective, Rank};
use std::collections::{HashMap, VecDeque};

/// When the bytes of a posted message are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// When it is sent: any number of messages are buffered.
    Early,
    /// When it is taken, from where it was posted; the lane that posted it waits before it writes there.
    Late,
}

/// Runs every variant of a plan under several schedules and compares all outputs with the definition of the collective.
pub(crate) fn run_all(plan: &Plan, seeds: std::ops::Range<u64>) -> Result<(), String> {
    let forms: &[bool] = if plan.demands.apart { &[false] } else { &[false, true] };
    for &in_place in forms {
        for delivery in [Delivery::Early, Delivery::Late] {
            for seed in seeds.clone() {
                let about = |what| format!("{what} (in place {in_place}, {delivery:?}, seed {seed})");
                World::new(plan, in_place, delivery).run(seed).map_err(about)?;
            }
        }
    }
    Ok(())
}

type Cell = (Buffer, u32);

struct Message {
    lane: usize,
    /// What was sent, or where to find it.
    values: Vec<u64>,
    cells: Vec<Cell>,
    /// Cells that must not be written by the sender's lane.
    held: Vec<Cell>,
}

#[derive(Clone)]
enum Act {
    Move(Move),
    /// Until a lane has done so many acts.
    Wait {
        lane: usize,
        acts: usize,
    },
}

struct Lane {
    rank: Rank,
    acts: Vec<Act>,
    next: usize,
    /// Messages of a result without memory that are not taken yet.
    untaken: usize,
}

struct World {
    grid: Grid,
    in_place: bool,
    delivery: Delivery,
    memory: Vec<HashMap<Cell, u64>>,
    lanes: Vec<Lane>,
    queues: HashMap<(Rank, Rank, u16), VecDeque<Message>>,
}

/// SplitMix64.
pub(crate) fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The number in an input chunk; in a barrier a bit of the rank's own.
fn input(grid: &Grid, rank: Rank, index: u32) -> u64 {
    match grid.collective {
        Collective::Barrier => 1 << rank,
        _ => random(&mut ((rank as u64) << 32 | u64::from(index))),
    }
}

/// The definition: what output chunk `index` of `rank` must be. A finished sum is tripled, so that one not finished, or finished
/// twice, shows.
fn expected(grid: &Grid, rank: Rank, index: u32) -> u64 {
    let all = 0..grid.ranks as usize;
    let own = rank as u32 * grid.tiles;
    let sum = |index| all.clone().map(|rank| input(grid, rank, index)).fold(0, u64::wrapping_add).wrapping_mul(3);
    let (block, tile) = (index / grid.tiles, index % grid.tiles);
    match grid.collective {
        Collective::AllReduce | Collective::Reduce => sum(index),
        Collective::ReduceScatter => sum(own + index),
        Collective::AllGather | Collective::Gather => input(grid, block as Rank, tile),
        Collective::Broadcast => input(grid, grid.root, index),
        Collective::Scatter => input(grid, grid.root, own + index),
        Collective::AllToAll => input(grid, block as Rank, own + tile),
        Collective::Barrier => all.map(|rank| 1 << rank).sum(),
        other => unreachable!("{other} has no plans"),
    }
}

/// The acts of a lane, and how many there are up to the end of each step. Waits still name a lane of the rank, and a step.
fn unroll(steps: &[Step]) -> (Vec<Act>, Vec<usize>) {
    let shift = |operand: &Operand, round: u32| match *operand {
        Operand::Local(span) => Operand::Local(Span { start: span.start + round * span.stride, ..span }),
        peer => peer,
    };
    let (mut acts, mut ends) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Move(one) => acts.push(Act::Move(one.clone())),
            Step::Repeat { count, body } => {
                for round in 0..*count {
                    acts.extend(body.iter().map(|one| {
                        Act::Move(Move {
                            reduction: one.reduction,
                            sources: one.sources.iter().map(|operand| shift(operand, round)).collect(),
                            destinations: one.destinations.iter().map(|operand| shift(operand, round)).collect(),
                            through: one.through,
                        })
                    }));
                }
            }
            Step::Wait { lane, step } => acts.push(Act::Wait { lane: *lane as usize, acts: *step as usize }),
        }
        ends.push(acts.len());
    }
    (acts, ends)
}

impl World {
    fn new(plan: &Plan, in_place: bool, delivery: Delivery) -> World {
        let grid = plan.grid();
        let mut world = World {
            grid,
            in_place,
            delivery,
            memory: vec![HashMap::new(); plan.problem.ranks],
            lanes: Vec::new(),
            queues: HashMap::new(),
        };
        for rank in 0..plan.problem.ranks {
            let Program { lanes, .. } = plan.program(rank);
            let (first, unrolled) = (world.lanes.len(), lanes.iter().map(|steps| unroll(steps)).collect::<Vec<_>>());
            for (acts, _) in &unrolled {
                let resolved = acts.iter().cloned().map(|act| match act {
                    Act::Wait { lane, acts: step } => Act::Wait { lane: first + lane, acts: unrolled[lane].1[step] },
                    one => one,
                });
                world.lanes.push(Lane { rank, acts: resolved.collect(), next: 0, untaken: 0 });
            }
            for index in 0..grid.chunks(rank, Buffer::Input) {
                let cell = world.cell(rank, Buffer::Input, index);
                world.memory[rank].insert(cell, input(&grid, rank, index));
            }
        }
        world
    }

    /// In place a chunk has two names; this is the one that memory goes by.
    fn cell(&self, rank: Rank, buffer: Buffer, index: u32) -> Cell {
        let own = rank as u32 * self.grid.tiles;
        let has = |buffer| self.grid.chunks(rank, buffer) > 0;
        if !self.in_place || buffer == Buffer::Scratch || !has(Buffer::Input) || !has(Buffer::Output) {
            return (buffer, index);
        }
        match (self.grid.collective, buffer) {
            (Collective::AllReduce | Collective::Reduce | Collective::Broadcast, _) => (Buffer::Output, index),
            (Collective::AllGather | Collective::Gather, Buffer::Input) => (Buffer::Output, own + index),
            (Collective::ReduceScatter | Collective::Scatter, Buffer::Output) => (Buffer::Input, own + index),
            _ => (buffer, index),
        }
    }

    fn cells(&self, rank: Rank, span: &Span) -> Vec<Cell> {
        (span.start..span.start + span.len).map(|index| self.cell(rank, span.buffer, index)).collect()
    }

    fn local_cells<'a>(&'a self, rank: Rank, operands: &'a [Operand]) -> impl Iterator<Item = Vec<Cell>> + 'a {
        operands.iter().filter_map(move |operand| match operand {
            Operand::Local(span) => Some(self.cells(rank, span)),
            Operand::Peer { .. } => None,
        })
    }

    fn run(mut self, seed: u64) -> Result<(), String> {
        let mut state = seed;
        while self.lanes.iter().any(|lane| lane.next < lane.acts.len()) {
            let able: Vec<usize> = (0..self.lanes.len()).filter(|&lane| self.can_move(lane)).collect();
            if able.is_empty() {
                return Err("nothing moves any more".to_owned());
            }
            self.step(able[random(&mut state) as usize % able.len()], &mut state)?;
        }
        if self.queues.values().any(|queue| !queue.is_empty()) {
            return Err("a message is left over".to_owned());
        }
        self.compare()
    }

    fn compare(&self) -> Result<(), String> {
        for rank in 0..self.memory.len() {
            for index in 0..self.grid.chunks(rank, Buffer::Output) {
                let found = self.memory[rank].get(&self.cell(rank, Buffer::Output, index));
                if found != Some(&expected(&self.grid, rank, index)) {
                    return Err(format!("rank {rank}: output[{index}] is wrong"));
                }
            }
        }
        Ok(())
    }

    fn can_move(&self, lane: usize) -> bool {
        let Lane { rank, ref acts, next, untaken } = self.lanes[lane];
        let one = match acts.get(next) {
            None => return false,
            Some(Act::Wait { lane: other, acts }) => {
                let Lane { next, untaken: others, .. } = self.lanes[*other];
                return untaken == 0 && (next > *acts || next == *acts && others == 0);
            }
            Some(Act::Move(one)) => one,
        };
        let has_messages = one.sources.iter().all(|operand| match *operand {
            Operand::Peer { rank: peer, channel } => {
                self.queues.get(&(peer, rank, channel)).is_some_and(|queue| !queue.is_empty())
            }
            Operand::Local(_) => true,
        });
        let written: Vec<Cell> = self.local_cells(rank, &one.destinations).flatten().collect();
        let mut posted = self.queues.values().flatten().filter(|message| message.lane == lane);
        let must_wait = posted.any(|message| message.held.iter().any(|cell| written.contains(cell)));
        untaken == 0 && has_messages && !(self.delivery == Delivery::Late && must_wait)
    }

    fn read(&self, rank: Rank, cells: &[Cell]) -> Result<Vec<u64>, String> {
        let read = |cell| self.memory[rank].get(cell).copied();
        cells.iter().map(read).collect::<Option<_>>().ok_or_else(|| format!("rank {rank} reads what was never written"))
    }

    fn step(&mut self, lane: usize, state: &mut u64) -> Result<(), String> {
        let Lane { rank, ref acts, next, .. } = self.lanes[lane];
        let act = acts[next].clone();
        self.lanes[lane].next += 1;
        let Act::Move(one) = act else { return Ok(()) };
        let mut sources = Vec::new();
        for operand in &one.sources {
            sources.push(match operand {
                Operand::Local(span) => self.read(rank, &self.cells(rank, span))?,
                Operand::Peer { rank: peer, channel } => self.take(*peer, rank, *channel)?,
            });
        }
        let result = fold(&self.grid, one.reduction, &sources)?;
        for cells in self.local_cells(rank, &one.destinations).collect::<Vec<_>>() {
            if cells.len() != result.len() {
                return Err("sizes differ".to_owned());
            }
            self.memory[rank].extend(cells.into_iter().zip(result.iter().copied()));
        }
        self.send(lane, &one, &result, state);
        Ok(())
    }

    fn take(&mut self, source: Rank, target: Rank, channel: u16) -> Result<Vec<u64>, String> {
        let queue = self.queues.get_mut(&(source, target, channel)).expect("the lane was found able to move");
        let message = queue.pop_front().ok_or("a move takes two messages where there is one")?;
        if message.held.is_empty() && self.delivery == Delivery::Late {
            self.lanes[message.lane].untaken -= 1;
        }
        if message.cells.is_empty() { Ok(message.values) } else { self.read(source, &message.cells) }
    }

    fn send(&mut self, lane: usize, one: &Move, result: &[u64], state: &mut u64) {
        let rank = self.lanes[lane].rank;
        let mut places: Vec<Vec<Cell>> = self.local_cells(rank, &one.destinations).collect();
        if one.reduction.is_none() {
            places.extend(self.local_cells(rank, &one.sources));
        }
        for operand in &one.destinations {
            let Operand::Peer { rank: peer, channel } = *operand else { continue };
            let mut message = Message { lane, values: result.to_vec(), cells: Vec::new(), held: Vec::new() };
            if self.delivery == Delivery::Late {
                message.held = places.concat();
                match places.is_empty() {
                    true => self.lanes[lane].untaken += 1,
                    // A copy may be sent from its source or from its destination.
                    false => message.cells = places[random(state) as usize % places.len()].clone(),
                }
            }
            self.queues.entry((rank, peer, channel)).or_default().push_back(message);
        }
    }
}

fn fold(grid: &Grid, reduction: Option<Reduction>, sources: &[Vec<u64>]) -> Result<Vec<u64>, String> {
    let mut result = sources[0].clone();
    for source in &sources[1..] {
        if source.len() != result.len() {
            return Err("sizes differ".to_owned());
        }
        for (sum, more) in result.iter_mut().zip(source) {
            *sum = if grid.collective == Collective::Barrier { *sum | more } else { sum.wrapping_add(*more) };
        }
    }
    if reduction == Some(Reduction::Final) && grid.collective != Collective::Barrier {
        result.iter_mut().for_each(|sum| *sum = sum.wrapping_mul(3));
    }
    Ok(result)
}
