//! One size of one collective: its buffers, its call, and what must come out.

use super::values::{Value, contribution, reduced};
use std::ops::{Deref, DerefMut};
use unisono::{Collective, Communicator, Options, Rank, ReduceOp, Result, Window};

/// Ordinary memory, or a window that all local ranks map.
pub enum Memory<T> {
    Ordinary(Vec<T>),
    Registered(Window<T>),
}

impl<T: Value> Memory<T> {
    fn new(communicator: &mut Communicator, registered: bool, len: usize) -> Result<Memory<T>> {
        if registered {
            communicator.alloc(len).map(Memory::Registered)
        } else {
            Ok(Memory::Ordinary(vec![T::zeroed(); len]))
        }
    }

    fn free(self, communicator: &mut Communicator) -> Result<()> {
        match self {
            Memory::Ordinary(_) => Ok(()),
            Memory::Registered(window) => communicator.free(window),
        }
    }
}

impl<T: Value> Deref for Memory<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match self {
            Memory::Ordinary(memory) => memory,
            Memory::Registered(window) => window,
        }
    }
}

impl<T: Value> DerefMut for Memory<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Memory::Ordinary(memory) => memory,
            Memory::Registered(window) => window,
        }
    }
}

/// The root of collectives that have one.
const ROOT: Rank = 0;

/// Elements of each rank's block: equal, or uneven for the collectives that are there for it.
#[derive(Clone, Debug)]
pub struct Blocks {
    pub counts: Vec<u64>,
}

impl Blocks {
    /// Blocks of `block` elements on average. Uneven ones take a quarter of it from each odd rank and give it to the even
    /// one before.
    pub fn new(collective: Collective, ranks: usize, block: u64) -> Blocks {
        let moved = if collective.is_uneven() { block / 4 } else { 0 };
        let count = |rank: usize| match rank % 2 {
            1 => block - moved,
            _ if rank + 1 < ranks => block + moved,
            _ => block,
        };
        Blocks { counts: (0..ranks).map(count).collect() }
    }

    fn start(&self, rank: Rank) -> u64 {
        self.counts[..rank].iter().sum()
    }

    fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// The buffers of one size, and the call on them.
pub struct Case<T> {
    collective: Collective,
    op: ReduceOp,
    options: Options,
    in_place: bool,
    /// Elements of the whole buffer where there are no blocks, of blocks elsewhere.
    count: u64,
    blocks: Blocks,
    input: Memory<T>,
    output: Memory<T>,
}

/// Elements that a rank's input and output have.
fn lengths(collective: Collective, count: u64, blocks: &Blocks, rank: Rank) -> (u64, u64) {
    let (own, all) = (blocks.counts[rank], blocks.total());
    match collective {
        Collective::AllReduce | Collective::Broadcast | Collective::Reduce | Collective::SendRecv => (count, count),
        Collective::AllGather | Collective::AllGatherV | Collective::Gather => (own, all),
        Collective::ReduceScatter | Collective::ReduceScatterV | Collective::Scatter => (all, own),
        Collective::AllToAll => (all, all),
        // Rank r sends block (r + s) of the row to rank s, so that sender and receiver agree.
        Collective::AllToAllV => (all, all),
        Collective::Barrier => (0, 0),
    }
}

/// What rank `from` sends to rank `to` in an uneven all-to-all.
fn pair_count(blocks: &Blocks, from: Rank, to: Rank) -> u64 {
    blocks.counts[(from + to) % blocks.counts.len()]
}

impl<T: Value> Case<T> {
    pub fn new(
        communicator: &mut Communicator,
        collective: Collective,
        op: ReduceOp,
        options: Options,
        (in_place, registered): (bool, bool),
        (count, blocks): (u64, Blocks),
    ) -> Result<Case<T>> {
        let (input, output) = lengths(collective, count, &blocks, communicator.rank());
        let larger = input.max(output) as usize;
        let (input, output) = if in_place { (0, larger) } else { (input as usize, output as usize) };
        let input = Memory::new(communicator, registered, input.max(larger * usize::from(registered && !in_place)))?;
        let output = Memory::new(communicator, registered, output.max(larger * usize::from(registered)))?;
        Ok(Case { collective, op, options, in_place, count, blocks, input, output })
    }

    pub fn free(self, communicator: &mut Communicator) -> Result<()> {
        self.input.free(communicator)?;
        self.output.free(communicator)
    }

    fn own_input(&mut self, rank: Rank) -> &mut [T] {
        let (input, output) = lengths(self.collective, self.count, &self.blocks, rank);
        if !self.in_place {
            return &mut self.input[..input as usize];
        }
        let start = if input < output { self.blocks.start(rank) } else { 0 };
        &mut self.output[start as usize..(start + input) as usize]
    }

    /// Writes this rank's contribution of a round.
    pub fn fill(&mut self, rank: Rank, round: u64) {
        let op = self.collective.reduces().then_some(self.op);
        let input = self.own_input(rank);
        for (index, element) in input.iter_mut().enumerate() {
            *element = T::of(contribution(op, rank, index as u64, round));
        }
    }

    /// The call that is timed.
    pub fn call(&mut self, communicator: &mut Communicator) -> Result<()> {
        let rank = communicator.rank();
        let (input_len, output_len) = lengths(self.collective, self.count, &self.blocks, rank);
        let Case { collective, op, options, in_place, blocks, input, output, .. } = self;
        let (op, counts) = (*op, &blocks.counts[..]);
        if *in_place {
            let buffer = &mut output[..input_len.max(output_len) as usize];
            let with = communicator.with(*options);
            return match collective {
                Collective::AllReduce => with.all_reduce_in_place(buffer, op),
                Collective::AllGather => with.all_gather_in_place(buffer),
                Collective::ReduceScatter => with.reduce_scatter_in_place(buffer, op),
                Collective::Broadcast => with.broadcast(buffer, ROOT),
                Collective::Reduce => with.reduce_in_place(buffer, op, ROOT),
                Collective::Gather => with.gather_in_place(buffer, ROOT),
                Collective::Scatter => with.scatter_in_place(buffer, ROOT),
                Collective::AllGatherV => with.all_gather_v_in_place(buffer, counts),
                Collective::ReduceScatterV => with.reduce_scatter_v_in_place(buffer, counts, op),
                Collective::AllToAll | Collective::AllToAllV | Collective::Barrier | Collective::SendRecv => {
                    unreachable!("refused when the arguments were checked")
                }
            };
        }
        let (input, output) = (&input[..input_len as usize], &mut output[..output_len as usize]);
        let size = communicator.size();
        let with = communicator.with(*options);
        match collective {
            Collective::AllReduce => with.all_reduce(input, output, op),
            Collective::AllGather => with.all_gather(input, output),
            Collective::ReduceScatter => with.reduce_scatter(input, output, op),
            Collective::Broadcast => with.broadcast_from(input, output, ROOT),
            Collective::Reduce => with.reduce(input, output, op, ROOT),
            Collective::Gather => with.gather(input, output, ROOT),
            Collective::Scatter => with.scatter(input, output, ROOT),
            Collective::AllToAll => with.all_to_all(input, output),
            Collective::Barrier => with.barrier(),
            Collective::AllGatherV => with.all_gather_v(input, output, counts),
            Collective::ReduceScatterV => with.reduce_scatter_v(input, output, counts, op),
            Collective::AllToAllV => {
                let to: Vec<u64> = (0..size).map(|peer| pair_count(blocks, rank, peer)).collect();
                let from: Vec<u64> = (0..size).map(|peer| pair_count(blocks, peer, rank)).collect();
                with.all_to_all_v(input, &to, output, &from)
            }
            Collective::SendRecv => communicator.group(|group| {
                group.send(input, (rank + 1) % size);
                group.recv(output, (rank + size - 1) % size);
            }),
        }
    }

    /// Elements of this rank's output that are not what the round must give.
    pub fn errors(&self, rank: Rank, size: usize, round: u64) -> u64 {
        let (input_len, output_len) = lengths(self.collective, self.count, &self.blocks, rank);
        if self.collective.has_root()
            && rank != ROOT
            && matches!(self.collective, Collective::Reduce | Collective::Gather)
        {
            return 0;
        }
        let start = if self.in_place && output_len < input_len { self.blocks.start(rank) } else { 0 };
        let output = &self.output[start as usize..(start + output_len) as usize];
        let expected = self.expected(rank, size, round);
        output.iter().enumerate().filter(|(index, element)| **element != expected(*index as u64)).count() as u64
    }

    /// The right value of each output element of a rank.
    fn expected(&self, rank: Rank, size: usize, round: u64) -> impl Fn(u64) -> T + '_ {
        // For the collectives that only move data: of whom, and where in its input, an element is.
        let origins: Vec<(u64, Rank, u64)> = match self.collective {
            Collective::AllGather | Collective::AllGatherV | Collective::Gather => {
                (0..size).map(|from| (self.blocks.start(from), from, 0)).collect()
            }
            Collective::AllToAll => {
                (0..size).map(|from| (self.blocks.start(from), from, self.blocks.start(rank))).collect()
            }
            Collective::AllToAllV => {
                let output_start = |from| (0..from).map(|other| pair_count(&self.blocks, other, rank)).sum();
                let input_start = |from| (0..rank).map(|other| pair_count(&self.blocks, from, other)).sum();
                (0..size).map(|from| (output_start(from), from, input_start(from))).collect()
            }
            Collective::Broadcast => vec![(0, ROOT, 0)],
            Collective::Scatter => vec![(0, ROOT, self.blocks.start(rank))],
            Collective::SendRecv => vec![(0, (rank + size - 1) % size, 0)],
            _ => vec![(0, rank, 0)],
        };
        let first = match self.collective {
            Collective::ReduceScatter | Collective::ReduceScatterV => self.blocks.start(rank),
            _ => 0,
        };
        move |index| {
            if self.collective.reduces() {
                return reduced(self.op, size, first + index, round);
            }
            let (start, from, origin) =
                origins.iter().rev().find(|(start, ..)| *start <= index).expect("the first starts at 0");
            T::of(contribution(None, *from, origin + index - start, round))
        }
    }
}
