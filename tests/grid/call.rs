//! Carries a case out on one rank, and holds the outcome against the oracle.

use crate::case::{Case, Form};
use crate::oracle;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use unisono::{Collective, Communicator, DType, Element, F8E4M3, F8E5M2, Options, Rank, Result};

/// What lies around a buffer, and in it before a call writes it.
const FILLER: u8 = 0xa5;

/// Elements inside a larger allocation, neither at its start nor at its end.
struct Carved<T> {
    memory: Vec<T>,
    range: Range<usize>,
}

impl<T: Element> Carved<T> {
    fn new(len: u64, offset: usize) -> Carved<T> {
        let range = offset..offset + len as usize;
        let mut memory = vec![T::zeroed(); range.end + 3];
        bytemuck::cast_slice_mut::<T, u8>(&mut memory).fill(FILLER);
        Carved { memory, range }
    }

    fn holding(bytes: &[u8], offset: usize) -> Carved<T> {
        let mut carved = Carved::new((bytes.len() / size_of::<T>()) as u64, offset);
        carved.bytes_mut().copy_from_slice(bytes);
        carved
    }

    fn elements(&self) -> &[T] {
        &self.memory[self.range.clone()]
    }

    fn elements_mut(&mut self) -> &mut [T] {
        &mut self.memory[self.range.clone()]
    }

    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self.elements())
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(self.elements_mut())
    }

    /// Fails if anything outside the elements was written.
    fn check_surroundings(&self, what: &str) -> Result<(), String> {
        let outside = [&self.memory[..self.range.start], &self.memory[self.range.end..]];
        let intact = outside.iter().all(|part| bytemuck::cast_slice::<T, u8>(part).iter().all(|byte| *byte == FILLER));
        if intact { Ok(()) } else { Err(format!("memory around the {what} was written")) }
    }
}

/// Runs the case, and says what is wrong with its outcome on this rank.
pub fn run(communicator: &mut Communicator, case: &Case) -> Result<(), String> {
    match case.dtype {
        DType::I8 => run_as::<i8>(communicator, case),
        DType::U8 => run_as::<u8>(communicator, case),
        DType::I32 => run_as::<i32>(communicator, case),
        DType::U32 => run_as::<u32>(communicator, case),
        DType::I64 => run_as::<i64>(communicator, case),
        DType::U64 => run_as::<u64>(communicator, case),
        DType::F16 => run_as::<half::f16>(communicator, case),
        DType::Bf16 => run_as::<half::bf16>(communicator, case),
        DType::F32 => run_as::<f32>(communicator, case),
        DType::F64 => run_as::<f64>(communicator, case),
        DType::Fp8E4M3 => run_as::<F8E4M3>(communicator, case),
        DType::Fp8E5M2 => run_as::<F8E5M2>(communicator, case),
    }
}

fn run_as<T: Element>(communicator: &mut Communicator, case: &Case) -> Result<(), String> {
    let output = match case.form {
        Form::Apart => apart::<T>(communicator, case)?,
        Form::InPlace => in_place::<T>(communicator, case)?,
    };
    // All ranks of an all-reduce must have the same bits, so one of them, another in each case, replays for all.
    let alike = case.collective == Collective::AllReduce;
    if alike {
        check_agreement(communicator, &output)?;
    }
    let rank = communicator.rank();
    if !alike || rank as u64 == case.seed() % case.ranks as u64 {
        let expected = oracle::output(case, rank, tiles(communicator, case)?);
        compare(case, &output, &expected)?;
    }
    Ok(())
}

fn compare(case: &Case, output: &[u8], expected: &[u8]) -> Result<(), String> {
    if output == expected {
        return Ok(());
    }
    let size = case.dtype.size();
    let pairs = output.chunks(size).zip(expected.chunks(size));
    let Some((index, (have, want))) = pairs.enumerate().find(|(_, (have, want))| have != want) else {
        return Err(format!("the output has {} bytes, not {}", output.len(), expected.len()));
    };
    Err(format!("element {index} has the bytes {have:02x?}, and should have {want:02x?}"))
}

/// Every rank learns a hash of every rank's output.
fn check_agreement(communicator: &mut Communicator, output: &[u8]) -> Result<(), String> {
    let mut hasher = DefaultHasher::new();
    output.hash(&mut hasher);
    let mut hashes = vec![0; communicator.size()];
    communicator.all_gather(&[hasher.finish()], &mut hashes).map_err(|error| error.to_string())?;
    match hashes.iter().position(|hash| *hash != hashes[0]) {
        None => Ok(()),
        Some(rank) => Err(format!("ranks 0 and {rank} have different results")),
    }
}

/// Into how many tiles the algorithm cuts a block of this call, as the communicator explains it.
fn tiles(communicator: &Communicator, case: &Case) -> Result<u32, String> {
    let Some(algorithm) = case.algorithm.filter(|_| case.collective.reduces()) else { return Ok(1) };
    let elements = match case.collective {
        Collective::AllReduce | Collective::Reduce => case.count,
        _ => case.block_start(case.ranks),
    };
    let bytes = elements * case.dtype.size() as u64;
    let explanation = communicator.explain(case.collective, bytes).map_err(|error| error.to_string())?;
    let candidate = explanation.candidates.into_iter().find(|one| one.name == algorithm);
    Ok(candidate.ok_or_else(|| format!("{algorithm} is no candidate"))?.tiles)
}

/// The offset of buffers in their allocations: whatever alignment the elements allow.
fn offsets(case: &Case, rank: Rank) -> (usize, usize) {
    let seed = case.seed() as usize >> 8;
    ((seed + rank) % 5, (seed / 5 + rank) % 3)
}

/// Returns the output, after looking at everything else.
fn apart<T: Element>(communicator: &mut Communicator, case: &Case) -> Result<Vec<u8>, String> {
    let rank = communicator.rank();
    let (before, after) = offsets(case, rank);
    let given = oracle::input(case, rank);
    let input = Carved::<T>::holding(&given, before);
    let mut output = Carved::<T>::new(case.output_len(rank), after);
    call_apart(communicator, case, input.elements(), output.elements_mut()).map_err(|error| error.to_string())?;
    if input.bytes() != given {
        return Err("the input was written".to_owned());
    }
    input.check_surroundings("input")?;
    output.check_surroundings("output")?;
    Ok(output.bytes().to_vec())
}

fn call_apart<T: Element>(
    communicator: &mut Communicator,
    case: &Case,
    input: &[T],
    output: &mut [T],
) -> unisono::Result<()> {
    if case.collective == Collective::SendRecv {
        return pass_on(communicator, input, output);
    }
    let rank = communicator.rank();
    let with = communicator.with(Options { algorithm: case.algorithm.map(Into::into), ..Options::default() });
    let (root, op) = (case.root, || case.op.expect("a reduction has an operation"));
    let pairs = |pair: &dyn Fn(Rank) -> (Rank, Rank)| -> Vec<u64> {
        (0..case.ranks).map(pair).map(|(source, target)| case.pair_count(source, target)).collect()
    };
    match case.collective {
        Collective::AllReduce => with.all_reduce(input, output, op()),
        Collective::AllGather => with.all_gather(input, output),
        Collective::AllGatherV => with.all_gather_v(input, output, &case.counts()),
        Collective::ReduceScatter => with.reduce_scatter(input, output, op()),
        Collective::ReduceScatterV => with.reduce_scatter_v(input, output, &case.counts(), op()),
        Collective::Broadcast => with.broadcast_from(input, output, root),
        Collective::Reduce => with.reduce(input, output, op(), root),
        Collective::Gather => with.gather(input, output, root),
        Collective::Scatter => with.scatter(input, output, root),
        Collective::AllToAll => with.all_to_all(input, output),
        Collective::AllToAllV => {
            let (to, from) = (pairs(&|target| (rank, target)), pairs(&|source| (source, rank)));
            with.all_to_all_v(input, &to, output, &from)
        }
        Collective::Barrier => with.barrier(),
        Collective::SendRecv => unreachable!("it has no algorithm"),
    }
}

/// Every rank sends to the next: an even number of elements in groups, an odd one by blocking calls in an order that can't
/// deadlock.
fn pass_on<T: Element>(communicator: &mut Communicator, input: &[T], output: &mut [T]) -> unisono::Result<()> {
    let (rank, size) = (communicator.rank(), communicator.size());
    let (next, previous) = ((rank + 1) % size, (rank + size - 1) % size);
    if input.len().is_multiple_of(2) || size == 1 {
        return communicator.group(|group| {
            group.recv(output, previous);
            group.send(input, next);
        });
    }
    if rank == 0 {
        communicator.send(input, next)?;
        communicator.recv(output, previous)
    } else {
        communicator.recv(output, previous)?;
        communicator.send(input, next)
    }
}

/// Returns the part of the buffer that is the output, after looking at what must not change.
fn in_place<T: Element>(communicator: &mut Communicator, case: &Case) -> Result<Vec<u8>, String> {
    let rank = communicator.rank();
    let own = byte_range::<T>(case.block_start(rank), case.block(rank));
    let given = oracle::input(case, rank);
    let gathers = matches!(case.collective, Collective::AllGather | Collective::AllGatherV | Collective::Gather);
    let len = case.input_len(rank).max(case.output_len(rank));
    let mut buffer = Carved::<T>::new(len, offsets(case, rank).0);
    match case.output_len(rank) {
        larger if gathers && larger > 0 => buffer.bytes_mut()[own.clone()].copy_from_slice(&given),
        _ => buffer.bytes_mut()[..given.len()].copy_from_slice(&given),
    }
    call_in_place(communicator, case, buffer.elements_mut()).map_err(|error| error.to_string())?;
    buffer.check_surroundings("buffer")?;
    let bytes = buffer.bytes();
    match case.collective {
        Collective::Reduce | Collective::Gather if rank != case.root => {
            if bytes != given {
                return Err("a buffer that is only an input was written".to_owned());
            }
            Ok(Vec::new())
        }
        Collective::Scatter if rank == case.root => {
            if bytes != given {
                return Err("the root's buffer of a scatter was written".to_owned());
            }
            Ok(bytes[own].to_vec())
        }
        Collective::ReduceScatter | Collective::ReduceScatterV => Ok(bytes[own].to_vec()),
        _ => Ok(bytes.to_vec()),
    }
}

fn byte_range<T>(start: u64, len: u64) -> Range<usize> {
    let bytes = |elements: u64| elements as usize * size_of::<T>();
    bytes(start)..bytes(start + len)
}

fn call_in_place<T: Element>(communicator: &mut Communicator, case: &Case, buffer: &mut [T]) -> unisono::Result<()> {
    let with = communicator.with(Options { algorithm: case.algorithm.map(Into::into), ..Options::default() });
    let (root, op) = (case.root, || case.op.expect("a reduction has an operation"));
    match case.collective {
        Collective::AllReduce => with.all_reduce_in_place(buffer, op()),
        Collective::AllGather => with.all_gather_in_place(buffer),
        Collective::AllGatherV => with.all_gather_v_in_place(buffer, &case.counts()),
        Collective::ReduceScatter => with.reduce_scatter_in_place(buffer, op()),
        Collective::ReduceScatterV => with.reduce_scatter_v_in_place(buffer, &case.counts(), op()),
        Collective::Broadcast => with.broadcast(buffer, root),
        Collective::Reduce => with.reduce_in_place(buffer, op(), root),
        Collective::Gather => with.gather_in_place(buffer, root),
        Collective::Scatter => with.scatter_in_place(buffer, root),
        Collective::AllToAll | Collective::AllToAllV | Collective::Barrier | Collective::SendRecv => {
            unreachable!("{} has no form in place", case.collective)
        }
    }
}
