//! What the arguments of a call must be, and what it becomes.

use super::{Ask, Buffers};
use crate::algorithm;
use crate::communicator::Communicator;
use crate::communicator::call::Call;
use crate::communicator::settings::Options;
use crate::error::{Error, Result};
use crate::exec::run::Memory;
use crate::plan::chunk::Counts;
use crate::plan::lower::alias_offset;
use crate::types::{Collective, Element, Rank};

/// A call and where its buffers lie.
pub(in crate::communicator) struct Request {
    pub call: Call,
    pub memory: Memory,
}

impl Default for Request {
    /// A barrier that nobody has asked for, to be [filled in](Communicator::fill).
    fn default() -> Request {
        Request { call: Call::barrier(), memory: Memory::new(std::ptr::null(), std::ptr::null_mut()) }
    }
}

impl Communicator {
    /// Checks the arguments of a call and fills in what is requested, where it lies: a request is many small values, which a
    /// processor moves slowly right after they were written. Nothing has been sent when this fails.
    #[inline]
    pub(in crate::communicator) fn fill<T: Element>(
        &self,
        request: &mut Request,
        ask: Ask,
        buffers: Buffers<'_, T>,
        options: &Options,
    ) -> Result<()> {
        let Ask { collective, op, root, counts } = ask;
        self.shared.check_process()?;
        if root >= self.size {
            return Err(self.invalid(format!("{collective}: root {root} is no rank of {}", self.size)));
        }
        // Only the root of a gather or scatter has two buffers that can share memory.
        let one_buffer = matches!(collective, Collective::Gather | Collective::Scatter) && self.rank != root;
        let in_place = !matches!(buffers, Buffers::Apart(..)) && !one_buffer;
        let (input, output) = match &buffers {
            Buffers::Apart(input, output) => (input.len() as u64, output.len() as u64),
            Buffers::InPlace(buffer) => (buffer.len() as u64, buffer.len() as u64),
            Buffers::Token => (1, 1),
        };
        let call = &mut request.call;
        match counts {
            Some(counts) => call.counts = self.check_counts(collective, counts, in_place, input, output)?,
            None => call.counts = Counts::Even(self.even_count(collective, root, in_place, input, output)?),
        }
        (call.collective, call.dtype, call.op, call.root, call.in_place) = (collective, T::DTYPE, op, root, in_place);
        call.algorithm = None;
        if let Some(name) = &options.algorithm {
            let one = algorithm::find(name).map_err(Error::from)?;
            // What the engine refuses ends the communicator, so a wrong argument must not come so far.
            call.algorithm = Some(one.name());
            one.fits(&call.problem(self.size, self.layout)).map_err(|reason| {
                self.invalid(format!("algorithm {name} does not fit: {reason}"))
                    .remedy("leave the choice to the library, or take another algorithm")
            })?;
        }
        request.memory = match buffers {
            Buffers::Apart(input, output) => Memory::new(input.as_ptr().cast(), output.as_mut_ptr().cast()),
            Buffers::InPlace(buffer) if one_buffer => Memory::new(buffer.as_ptr().cast(), buffer.as_mut_ptr().cast()),
            Buffers::InPlace(buffer) => self.memory_in_place(call, buffer.as_mut_ptr().cast()),
            Buffers::Token => Memory::new(self.shared.token.as_ptr(), self.shared.token.as_ptr()),
        };
        Ok(())
    }

    /// Input and output of an in-place call, of which the larger one starts at `start`.
    fn memory_in_place(&self, call: &Call, start: *mut u8) -> Memory {
        let offset = alias_offset(call.collective, self.rank, &call.counts, call.dtype.size() as u64) as isize;
        if offset >= 0 {
            Memory::new(start.wrapping_offset(offset), start)
        } else {
            Memory::new(start, start.wrapping_offset(-offset))
        }
    }

    /// The count of an even call from the lengths of its buffers, in elements.
    fn even_count(&self, collective: Collective, root: Rank, in_place: bool, input: u64, output: u64) -> Result<u64> {
        let size = self.size as u64;
        let at_root = self.rank == root;
        let equal = |a: u64, b: u64, what: &str| {
            if a == b {
                Ok(a)
            } else {
                Err(self.invalid(format!("{collective}: input has {input} elements and output {output}, but {what}")))
            }
        };
        let blocks = |whole: u64| {
            if whole.is_multiple_of(size) {
                Ok(whole / size)
            } else {
                Err(self.invalid(format!("{collective}: {whole} elements can't be cut into {size} equal blocks")))
            }
        };
        match collective.even() {
            Collective::Barrier => Ok(1),
            Collective::AllReduce => equal(input, output, "both must have the same"),
            Collective::Broadcast if at_root => equal(input, output, "both must have the same on the root"),
            Collective::Broadcast => Ok(output),
            Collective::Reduce if at_root => equal(input, output, "both must have the same on the root"),
            Collective::Reduce => Ok(input),
            Collective::AllGather | Collective::ReduceScatter if in_place => blocks(input),
            Collective::AllGather => {
                equal(output, input * size, "output must have `size` blocks of input").map(|_| input)
            }
            Collective::ReduceScatter => {
                equal(input, output * size, "input must have `size` blocks of output").map(|_| output)
            }
            Collective::Gather | Collective::Scatter if in_place => blocks(input),
            Collective::Gather if at_root => {
                equal(output, input * size, "output must have `size` blocks of input on the root").map(|_| input)
            }
            Collective::Gather => Ok(input),
            Collective::Scatter if at_root => {
                equal(input, output * size, "input must have `size` blocks of output on the root").map(|_| output)
            }
            Collective::Scatter => Ok(output),
            Collective::AllToAll => equal(input, output, "both must have the same").and_then(blocks),
            Collective::SendRecv | Collective::AllGatherV | Collective::ReduceScatterV | Collective::AllToAllV => {
                unreachable!("these have counts of their own")
            }
        }
    }

    fn check_counts(
        &self,
        collective: Collective,
        counts: Counts,
        in_place: bool,
        input: u64,
        output: u64,
    ) -> Result<Counts> {
        let one_per_rank = |counts: &[u64], what: &str| {
            if counts.len() == self.size {
                return Ok(());
            }
            Err(self.invalid(format!("{collective}: {} {what} for {} ranks", counts.len(), self.size)))
        };
        let sum = |counts: &[u64]| {
            counts
                .iter()
                .try_fold(0u64, |sum, count| sum.checked_add(*count))
                .ok_or_else(|| self.invalid(format!("{collective}: the counts overflow")))
        };
        let fits = |have: u64, need: u64, what: &str| {
            if have == need {
                return Ok(());
            }
            Err(self.invalid(format!("{collective}: {what} has {have} elements, but the counts say {need}")))
        };
        match &counts {
            Counts::PerRank(counts) => {
                one_per_rank(counts, "counts")?;
                let (own, all) = (counts[self.rank], sum(counts)?);
                let (input_need, output_need) = match collective {
                    _ if in_place => (all, all),
                    Collective::AllGatherV => (own, all),
                    _ => (all, own),
                };
                fits(input, input_need, "input")?;
                fits(output, output_need, "output")?;
            }
            Counts::Pairwise { input: to, output: from } => {
                one_per_rank(to, "input counts")?;
                one_per_rank(from, "output counts")?;
                fits(input, sum(to)?, "input")?;
                fits(output, sum(from)?, "output")?;
                if to[self.rank] != from[self.rank] {
                    return Err(self.invalid(format!(
                        "{collective}: this rank sends itself {} elements and expects {}",
                        to[self.rank], from[self.rank]
                    )));
                }
            }
            Counts::Even(_) => {}
        }
        Ok(counts)
    }
}
