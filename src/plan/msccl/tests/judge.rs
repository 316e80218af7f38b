//! A second judge of files: runs them on numbers as MSCCL's interpreter does, in an order that a seed chooses. It makes no plan, and shares
//! no code with what does.

use crate::plan::Buffer;
use crate::plan::check::tests::interpret::random;
use crate::plan::msccl::document::{Block, Document, Kind, Place, Placement, Step};
use crate::types::{Collective, Rank};
use std::collections::{HashMap, VecDeque};

/// Runs a file in every placement that it is for, with connections of a few messages, and compares all outputs with the definition of the
/// collective.
pub(super) fn run_all(document: &Document, seeds: std::ops::Range<u64>) -> Result<(), String> {
    let placements: &[bool] = match document.placement {
        Placement::Apart => &[false],
        Placement::InPlace => &[true],
        Placement::Both => &[false, true],
    };
    for &in_place in placements {
        for seed in seeds.clone() {
            let world = World::new(document, in_place);
            world.run(seed).map_err(|what| format!("{what} (in place {in_place}, seed {seed})"))?;
        }
    }
    Ok(())
}

/// Where a block stands.
#[derive(Clone, Copy, Default)]
struct State {
    step: usize,
    /// Chunks of the step that are done.
    chunk: u32,
    /// How far others know it to be.
    told: usize,
}

struct World<'a> {
    document: &'a Document,
    in_place: bool,
    blocks: Vec<(Rank, usize, State)>,
    memory: Vec<HashMap<(Buffer, u32), u64>>,
    /// Chunks under way; a message is as long as its sender's step.
    links: HashMap<(Rank, Rank, u16), VecDeque<Vec<u64>>>,
}

impl<'a> World<'a> {
    fn new(document: &'a Document, in_place: bool) -> World<'a> {
        let blocks = document
            .gpus
            .iter()
            .enumerate()
            .flat_map(|(rank, gpu)| (0..gpu.blocks.len()).map(move |block| (rank, block, State::default())));
        let memory = vec![HashMap::new(); document.gpus.len()];
        let mut world = World { document, in_place, blocks: blocks.collect(), memory, links: HashMap::new() };
        for rank in 0..document.gpus.len() {
            for index in 0..world.inputs(rank) {
                let cell = world.cell(rank, Buffer::Input, index);
                world.memory[rank].insert(cell, input(rank, index));
            }
        }
        world
    }

    fn share(&self) -> u32 {
        self.document.chunks / self.document.gpus.len() as u32
    }

    fn inputs(&self, rank: Rank) -> u32 {
        let Document { collective, chunks, root, .. } = *self.document;
        match collective {
            Collective::AllGather | Collective::Gather => self.share(),
            Collective::Broadcast | Collective::Scatter if rank != root => 0,
            _ => chunks,
        }
    }

    /// In place both buffers go by the name of the larger.
    fn cell(&self, rank: Rank, buffer: Buffer, index: u32) -> (Buffer, u32) {
        let own = rank as u32 * self.share();
        match (self.document.collective, buffer) {
            _ if !self.in_place || buffer == Buffer::Scratch => (buffer, index),
            (Collective::AllReduce | Collective::Reduce | Collective::Broadcast, _) => (Buffer::Output, index),
            (Collective::AllGather, Buffer::Input) => (Buffer::Output, own + index),
            (Collective::ReduceScatter, Buffer::Output) => (Buffer::Input, own + index),
            _ => (buffer, index),
        }
    }

    fn run(mut self, seed: u64) -> Result<(), String> {
        let mut state = seed;
        loop {
            let first = random(&mut state) as usize;
            let count = self.blocks.len().max(1);
            let mut moved = false;
            for block in (0..self.blocks.len()).map(|block| (block + first) % count) {
                moved = self.advance(block)?;
                if moved {
                    break;
                }
            }
            if !moved {
                break;
            }
        }
        let is_done = |(rank, block, state): &(Rank, usize, State)| {
            state.step == self.document.gpus[*rank].blocks[*block].steps.len()
        };
        if !self.blocks.iter().all(is_done) {
            return Err("nothing moves any more".to_owned());
        }
        if self.links.values().any(|link| !link.is_empty()) {
            return Err("a message is left over".to_owned());
        }
        self.compare()
    }

    /// One chunk of the present step of a block; false if it must wait.
    fn advance(&mut self, block: usize) -> Result<bool, String> {
        let (rank, number, State { step: at, chunk, .. }) = self.blocks[block];
        let of: &Block = &self.document.gpus[rank].blocks[number];
        let Some(step) = of.steps.get(at) else { return Ok(false) };
        if step.kind == Kind::Nop && of.steps[at..].iter().all(|step| step.kind == Kind::Nop) {
            // Waits with nothing behind them are left out.
            self.blocks[block].2.step = of.steps.len();
            return Ok(true);
        }
        if chunk == 0 && !self.may_begin(rank, of, step)? {
            return Ok(false);
        }
        if step.kind != Kind::Nop {
            self.one_chunk(rank, of, step, chunk)?;
        }
        let state = &mut self.blocks[block].2;
        state.chunk += 1;
        if state.chunk >= step.count {
            (state.step, state.chunk) = (at + 1, 0);
            if step.is_awaited && step.kind != Kind::Nop {
                state.told = at + 1;
            }
        }
        Ok(true)
    }

    fn may_begin(&self, rank: Rank, of: &Block, step: &Step) -> Result<bool, String> {
        if let Some(after) = step.after {
            let told = |(other, number, state): &(Rank, usize, State)| {
                (*other == rank && *number == after.block as usize).then_some(state.told)
            };
            if self.blocks.iter().find_map(told).is_none_or(|told| told <= after.step as usize) {
                return Ok(false);
            }
        }
        let link = |from, to| self.links.get(&(from, to, of.channel));
        if step.kind.receives() {
            let from = of.receive.expect("it receives");
            let Some(message) = link(from, rank).and_then(|link| link.front()) else { return Ok(false) };
            if message.len() != step.count as usize {
                // It may be sent still, chunk by chunk.
                let is_sending = self.blocks.iter().any(|(sender, number, state)| {
                    let block = &self.document.gpus[*sender].blocks[*number];
                    *sender == from && block.send == Some(rank) && block.channel == of.channel && state.chunk > 0
                });
                return if is_sending { Ok(false) } else { Err("a message has another size".to_owned()) };
            }
        }
        let depth = self.document.protocol.connection_depth() as usize;
        let has_room = |to| link(rank, to).is_none_or(|link| link.len() < depth);
        Ok(!step.kind.sends() || has_room(of.send.expect("it sends")))
    }

    fn one_chunk(&mut self, rank: Rank, of: &Block, step: &Step, chunk: u32) -> Result<(), String> {
        let read = |world: &World, place: Place| {
            let cell = world.cell(rank, place.buffer, place.offset + chunk);
            world.memory[rank].get(&cell).copied().ok_or_else(|| format!("GPU {rank} reads what was never written"))
        };
        let mut parts = Vec::new();
        if step.kind.receives() {
            let link = self.links.get_mut(&(of.receive.expect("it receives"), rank, of.channel));
            let link = link.expect("the step was found able to begin");
            let message = link.front_mut().expect("the step was found able to begin");
            parts.push(message.remove(0));
            if message.is_empty() {
                link.pop_front();
            }
        }
        if step.kind.reads() {
            parts.push(read(self, step.source)?);
        }
        if step.kind == Kind::Reduce {
            parts.push(read(self, step.destination)?);
        }
        let value = parts.into_iter().fold(0, u64::wrapping_add);
        if step.kind.writes() {
            let cell = self.cell(rank, step.destination.buffer, step.destination.offset + chunk);
            if !self.in_place && cell.0 == Buffer::Input {
                return Err(format!("GPU {rank} writes to its input"));
            }
            self.memory[rank].insert(cell, value);
        }
        if step.kind.sends() {
            let link = self.links.entry((rank, of.send.expect("it sends"), of.channel)).or_default();
            match (chunk, link.back_mut()) {
                (1.., Some(message)) => message.push(value),
                _ => link.push_back(vec![value]),
            }
        }
        Ok(())
    }

    fn compare(&self) -> Result<(), String> {
        let Document { collective, chunks, root, .. } = *self.document;
        let share = self.share();
        for rank in 0..self.memory.len() {
            let sum = |index| (0..self.memory.len()).map(|rank| input(rank, index)).fold(0, u64::wrapping_add);
            let own = rank as u32 * share;
            let outputs: Vec<u64> = match collective {
                Collective::AllReduce => (0..chunks).map(sum).collect(),
                Collective::Reduce if rank == root => (0..chunks).map(sum).collect(),
                Collective::ReduceScatter => (own..own + share).map(sum).collect(),
                Collective::Broadcast => (0..chunks).map(|index| input(root, index)).collect(),
                Collective::Scatter => (own..own + share).map(|index| input(root, index)).collect(),
                Collective::AllGather => {
                    (0..chunks).map(|index| input((index / share) as Rank, index % share)).collect()
                }
                Collective::Gather if rank == root => {
                    (0..chunks).map(|index| input((index / share) as Rank, index % share)).collect()
                }
                Collective::AllToAll => {
                    (0..chunks).map(|index| input((index / share) as Rank, own + index % share)).collect()
                }
                _ => Vec::new(),
            };
            for (index, expected) in (0..).zip(outputs) {
                if self.memory[rank].get(&self.cell(rank, Buffer::Output, index)) != Some(&expected) {
                    return Err(format!("GPU {rank}: chunk {index} of the output is wrong"));
                }
            }
        }
        Ok(())
    }
}

fn input(rank: Rank, index: u32) -> u64 {
    random(&mut ((rank as u64) << 32 | u64::from(index)))
}
