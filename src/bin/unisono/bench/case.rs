//! One size of one collective: its buffers, its call, and what must come out.

use super::values::{Pattern, Value};
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

/// Elements of the two buffers that a rank has: windows are as large as the larger one on every rank.
pub fn buffer_lengths(
    collective: Collective,
    (in_place, registered): (bool, bool),
    count: u64,
    blocks: &Blocks,
    rank: Rank,
) -> (u64, u64) {
    let (input, output) = lengths(collective, count, blocks, rank);
    let larger = input.max(output);
    match (in_place, registered) {
        (true, _) => (0, larger),
        (false, true) => (larger, larger),
        (false, false) => (input, output),
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
        let rank = communicator.rank();
        let (input, output) = buffer_lengths(collective, (in_place, registered), count, &blocks, rank);
        let input = Memory::new(communicator, registered, input as usize)?;
        let output = Memory::new(communicator, registered, output as usize)?;
        Ok(Case { collective, op, options, in_place, count, blocks, input, output })
    }

    pub fn free(self, communicator: &mut Communicator) -> Result<()> {
        self.input.free(communicator)?;
        self.output.free(communicator)
    }

    /// Elements of the one buffer of an in-place call: the larger of the two, but for ranks that have only one.
    fn in_place_len(&self, rank: Rank) -> u64 {
        let (input, output) = lengths(self.collective, self.count, &self.blocks, rank);
        if self.has_one_buffer(rank) { input.min(output) } else { input.max(output) }
    }

    /// Gather and scatter have two buffers only on the root.
    fn has_one_buffer(&self, rank: Rank) -> bool {
        matches!(self.collective, Collective::Gather | Collective::Scatter) && rank != ROOT
    }

    /// Where the rank's own block lies in the one buffer of an in-place call.
    fn own_start(&self, rank: Rank) -> u64 {
        if self.has_one_buffer(rank) { 0 } else { self.blocks.start(rank) }
    }

    fn own_input(&mut self, rank: Rank) -> &mut [T] {
        let (input, output) = lengths(self.collective, self.count, &self.blocks, rank);
        if !self.in_place {
            return &mut self.input[..input as usize];
        }
        let start = if input < output { self.own_start(rank) } else { 0 };
        let end = (start + input).min(self.in_place_len(rank));
        &mut self.output[start as usize..end as usize]
    }

    /// Writes this rank's contribution of a round.
    pub fn fill(&mut self, rank: Rank, round: u64) {
        let op = self.collective.reduces().then_some(self.op);
        let input = self.own_input(rank);
        Pattern::of_rank(op, rank, round, 0, input.len() as u64).fill(input);
    }

    /// Writes every element of this rank's input, as quickly as memory allows.
    pub fn rewrite(&mut self, rank: Rank, round: u64) {
        self.own_input(rank).fill(T::of(((rank as u64 + round) % 3) as f64));
    }

    /// The call that is timed.
    pub fn call(&mut self, communicator: &mut Communicator) -> Result<()> {
        let rank = communicator.rank();
        let (input_len, output_len) = lengths(self.collective, self.count, &self.blocks, rank);
        let in_place_len = self.in_place_len(rank);
        let Case { collective, op, options, in_place, blocks, input, output, .. } = self;
        let (op, counts) = (*op, &blocks.counts[..]);
        if *in_place {
            let buffer = &mut output[..in_place_len as usize];
            let with = communicator.with(options.clone());
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
        let with = communicator.with(options.clone());
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
        let start = if self.in_place && output_len < input_len { self.own_start(rank) } else { 0 };
        let output = &self.output[start as usize..(start + output_len) as usize];
        if self.collective.reduces() {
            let first = match self.collective {
                Collective::ReduceScatter | Collective::ReduceScatterV => self.blocks.start(rank),
                _ => 0,
            };
            return Pattern::reduced(self.op, size, round, first, output.len() as u64).errors(output);
        }
        let pieces = self.pieces(rank, size);
        let ends = pieces.iter().skip(1).map(|piece| piece.start).chain([output_len]);
        let errors = pieces.iter().zip(ends).map(|(piece, end)| {
            let output = &output[piece.start as usize..end as usize];
            Pattern::of_rank(None, piece.from, round, piece.origin, output.len() as u64).errors(output)
        });
        errors.sum()
    }

    /// Of which rank's input, and where in it, each piece of an output is, for the collectives that only move data.
    fn pieces(&self, rank: Rank, size: usize) -> Vec<Piece> {
        let from_each = |start: &dyn Fn(Rank) -> u64, origin: &dyn Fn(Rank) -> u64| {
            (0..size).map(|from| Piece { start: start(from), from, origin: origin(from) }).collect()
        };
        let from_one = |from, origin| vec![Piece { start: 0, from, origin }];
        let block = |from| self.blocks.start(from);
        match self.collective {
            Collective::AllGather | Collective::AllGatherV | Collective::Gather => from_each(&block, &|_| 0),
            Collective::AllToAll => from_each(&block, &|_| self.blocks.start(rank)),
            Collective::AllToAllV => {
                from_each(&|from| (0..from).map(|other| pair_count(&self.blocks, other, rank)).sum(), &|from| {
                    (0..rank).map(|other| pair_count(&self.blocks, from, other)).sum()
                })
            }
            Collective::Broadcast => from_one(ROOT, 0),
            Collective::Scatter => from_one(ROOT, self.blocks.start(rank)),
            Collective::SendRecv => from_one((rank + size - 1) % size, 0),
            Collective::Barrier => Vec::new(),
            Collective::AllReduce | Collective::Reduce | Collective::ReduceScatter | Collective::ReduceScatterV => {
                unreachable!("these reduce")
            }
        }
    }
}

/// A run of an output that is a run of one rank's input.
struct Piece {
    start: u64,
    from: Rank,
    origin: u64,
}
