//! What `bench` is asked for, and whether it can be.

use super::case::{Blocks, buffer_lengths};
use super::measure::Size;
use crate::arguments::{ranks, whole};
use crate::failure::{BAD_ARGUMENTS, FAILED, Failure};
use std::str::FromStr;
use unisono::algorithm::{self, Algorithm};
use unisono::plan::Problem;
use unisono::room;
use unisono::size;
use unisono::{Collective, DType, ReduceOp, UnknownName};

/// Time a collective over a sweep of sizes, and verify every result
///
/// With --ranks it starts that many processes of its own (threads for `--transport memory`). Without, it joins the job whose
/// launcher environment it finds, and rank 0 prints; without a launcher it takes one rank per core.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    /// all_reduce, all_gather, reduce_scatter, broadcast, reduce, gather, scatter, all_to_all, barrier, send_recv,
    /// all_gather_v, reduce_scatter_v or all_to_all_v
    pub collective: Collective,

    /// Processes to start
    #[arg(long, value_name = "N", value_parser = ranks, allow_negative_numbers = true)]
    pub ranks: Option<usize>,

    /// How bytes get from rank to rank: auto, memory, shm, tcp, mpi or fabric; auto takes the best for each pair
    #[arg(long, default_value = "auto", value_name = "NAME")]
    pub transport: Transport,

    /// The libfabric provider; with `--transport fabric` only
    #[arg(long, value_name = "P")]
    pub provider: Option<String>,

    /// The smallest size; as nccl-tests counts bytes
    #[arg(long, default_value = "8", value_name = "SIZE", value_parser = size::parse, allow_negative_numbers = true)]
    pub min: u64,

    /// The largest size
    #[arg(long, default_value = "64MiB", value_name = "SIZE", value_parser = size::parse, allow_negative_numbers = true)]
    pub max: u64,

    /// From one size to the next
    #[arg(long, default_value_t = 4, value_name = "F", value_parser = whole::<u64>, allow_negative_numbers = true)]
    pub factor: u64,

    /// i8, u8, i32, u32, i64, u64, f16, bf16, f32, f64, fp8-e4m3 or fp8-e5m2
    #[arg(long, default_value = "f32", value_name = "TYPE")]
    pub dtype: DType,

    /// sum, prod, min, max, avg or premul_sum; sum if nothing is said
    #[arg(long, value_name = "OP")]
    op: Option<ReduceOp>,

    /// This algorithm at every size, instead of the choice per size, which is auto
    #[arg(long, value_name = "NAME")]
    pub algorithm: Option<String>,

    /// Input and output are the same memory
    #[arg(long)]
    pub in_place: bool,

    /// Buffers that all local ranks map, from Communicator::alloc
    #[arg(long)]
    pub registered: bool,

    /// Every rank rewrites its input before every call, as gradients arrive
    #[arg(long)]
    pub dirty: bool,

    /// Say why the algorithm was chosen, and what the others would have cost
    #[arg(long)]
    pub explain: bool,

    /// One JSON object a line instead of the table
    #[arg(long)]
    pub json: bool,
}

/// How bytes get from rank to rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Auto,
    Memory,
    Shm,
    Tcp,
    Mpi,
    Fabric,
}

impl Transport {
    const ALL: [(&str, Transport); 6] = [
        ("auto", Transport::Auto),
        ("memory", Transport::Memory),
        ("shm", Transport::Shm),
        ("tcp", Transport::Tcp),
        ("mpi", Transport::Mpi),
        ("fabric", Transport::Fabric),
    ];
}

impl FromStr for Transport {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Transport, UnknownName> {
        let found = Transport::ALL.iter().find(|(name, _)| *name == text);
        found
            .map(|(_, transport)| *transport)
            .ok_or_else(|| UnknownName::new("transport", text, Transport::ALL.iter().map(|(name, _)| *name)))
    }
}

impl Arguments {
    /// The reduction; that of collectives which do not reduce has no meaning.
    pub fn op(&self) -> ReduceOp {
        self.op.unwrap_or(ReduceOp::Sum)
    }

    /// The sizes to be run, before they are rounded to whole elements.
    pub fn sizes(&self) -> impl Iterator<Item = u64> + use<> {
        let (max, factor) = (self.max, self.factor);
        std::iter::successors(Some(self.min), move |size| size.checked_mul(factor)).take_while(move |size| *size <= max)
    }

    /// The algorithm that is insisted on.
    pub fn algorithm(&self) -> Result<Option<&'static dyn Algorithm>, Failure> {
        let name = self.algorithm.as_deref().filter(|name| *name != "auto");
        let found = name.map(algorithm::find).transpose();
        found.map_err(|unknown| Failure::new(BAD_ARGUMENTS, format!("--algorithm: {unknown}")))
    }

    /// The sizes of the sweep among so many ranks that give every rank at least one element.
    pub fn whole_sizes(&self, ranks: usize) -> Vec<Size> {
        if self.collective == Collective::Barrier {
            return vec![Size { bytes: 0, count: 0 }];
        }
        let (element, blocks) = (self.dtype.size() as u64, self.blocks(ranks));
        let counts = self.sizes().map(|bytes| bytes / element / blocks).filter(|count| *count > 0);
        let mut sizes: Vec<Size> = counts.map(|count| Size { bytes: count * blocks * element, count }).collect();
        sizes.dedup_by_key(|size| size.bytes);
        sizes
    }

    /// Into how many parts the collective divides its bytes.
    fn blocks(&self, ranks: usize) -> u64 {
        match self.collective {
            Collective::AllReduce | Collective::Broadcast | Collective::Reduce | Collective::SendRecv => 1,
            _ => ranks as u64,
        }
    }

    /// Refuses what can't be among so many ranks.
    pub fn check_among(&self, ranks: usize) -> Result<(), Failure> {
        if let Some(one) = self.algorithm()? {
            let collective = self.collective;
            let problem = Problem { uneven: collective.is_uneven(), ..Problem::new(collective.even(), ranks) };
            let fits = match collective {
                Collective::SendRecv => Err("messages between two ranks take no algorithm".to_owned()),
                // Which ranks share a host is not known yet; the call itself is refused where that is why it does not fit.
                _ => algorithm::fits_somewhere(one, &problem),
            };
            fits.map_err(|reason| {
                let told = format!("--algorithm {} does not fit: {reason}: take another, or leave it out", one.name());
                Failure::new(BAD_ARGUMENTS, told)
            })?;
        }
        if self.whole_sizes(ranks).is_empty() {
            let least = size::format(self.dtype.size() as u64 * self.blocks(ranks));
            let (max, dtype, collective) = (size::format(self.max), self.dtype, self.collective);
            let told = format!(
                "no size up to --max {max} gives {collective} among {ranks} ranks an element of {dtype} each: \
                 give --max {least} or more"
            );
            return Err(Failure::new(BAD_ARGUMENTS, told));
        }
        Ok(())
    }

    /// Refuses what this host, with `local` of the ranks, has too little memory for: it would be the end of a rank by a signal, after
    /// all the smaller sizes. Counted are the buffers, and `process_bytes` for each rank that is yet to be started.
    pub fn check_memory(&self, ranks: usize, local: usize, process_bytes: u64) -> Result<(), Failure> {
        let (Some(largest), Some((left, limit))) = (self.whole_sizes(ranks).pop(), room::of_host()) else {
            return Ok(());
        };
        let buffers = self.buffer_bytes(largest, ranks).saturating_mul(local as u64);
        let processes = process_bytes.saturating_mul(local as u64);
        if buffers.saturating_add(processes) <= left {
            return Ok(());
        }
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let (collective, bytes) = (self.collective, size::format(largest.bytes));
        let told = format!(
            "{collective} of {bytes} takes buffers of {} MiB on the {local} ranks of this host, their processes {} MiB, and {} MiB \
             {}: give a smaller --max, or take fewer ranks",
            mib(buffers),
            mib(processes),
            left >> 20,
            limit.describe()
        );
        Err(Failure::new(FAILED, told))
    }

    /// Bytes of both buffers of the rank that has most.
    fn buffer_bytes(&self, size: Size, ranks: usize) -> u64 {
        let blocks = Blocks::new(self.collective, ranks, size.count);
        let memory = (self.in_place, self.registered);
        let elements = |rank| {
            let (input, output) = buffer_lengths(self.collective, memory, size.count, &blocks, rank);
            input.saturating_add(output)
        };
        // Uneven blocks are those of two ranks, again and again.
        (0..ranks.min(2)).map(elements).max().unwrap_or(0).saturating_mul(self.dtype.size() as u64)
    }

    /// Refuses what contradicts itself.
    pub fn check(&self) -> Result<(), Failure> {
        match self.contradiction() {
            Some(told) => Err(Failure::new(BAD_ARGUMENTS, told)),
            None => Ok(()),
        }
    }

    fn contradiction(&self) -> Option<String> {
        let collective = self.collective;
        if self.min == 0 {
            return Some("--min 0 is no size to grow from: start with 1 byte or more".to_owned());
        }
        if self.min > self.max {
            let (min, max) = (size::format(self.min), size::format(self.max));
            return Some(format!("--min {min} is more than --max {max}: exchange them, or leave one of them out"));
        }
        if self.factor < 2 {
            return Some(format!("--factor {} does not grow: give 2 or more", self.factor));
        }
        if self.op.is_some() && !collective.reduces() {
            return Some(format!("--op has no meaning for {collective}, which does not reduce: leave it out"));
        }
        if self.in_place && !can_be_in_place(collective) {
            return Some(format!("{collective} can't be in place: leave --in-place out"));
        }
        match (self.transport, &self.provider) {
            (Transport::Mpi, _) => {
                Some("transport `mpi` is not in this build: take auto, memory, shm or tcp".to_owned())
            }
            (Transport::Fabric, _) => {
                Some("transport `fabric` is not in this build: take auto, memory, shm or tcp".to_owned())
            }
            (_, Some(_)) => {
                Some("--provider names a libfabric provider: use it with `--transport fabric` only".to_owned())
            }
            (_, None) => None,
        }
    }
}

/// Whether one memory can hold input and output.
fn can_be_in_place(collective: Collective) -> bool {
    match collective {
        Collective::AllReduce
        | Collective::AllGather
        | Collective::ReduceScatter
        | Collective::Broadcast
        | Collective::Reduce
        | Collective::Gather
        | Collective::Scatter
        | Collective::AllGatherV
        | Collective::ReduceScatterV => true,
        Collective::AllToAll | Collective::AllToAllV | Collective::Barrier | Collective::SendRecv => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parsed(line: &str) -> Result<Arguments, Failure> {
        let line = Line::try_parse_from(std::iter::once("bench").chain(line.split_whitespace()))
            .map_err(|error| crate::arguments::explain(&error))?;
        line.arguments.check()?;
        Ok(line.arguments)
    }

    fn refusal(line: &str) -> String {
        let failure = parsed(line).expect_err(line);
        assert_eq!(failure.status, BAD_ARGUMENTS, "{line}");
        failure.message.expect("a sentence")
    }

    #[test]
    fn what_is_not_said_is_as_the_contract_says() {
        let arguments = parsed("all_reduce").expect("a collective is enough");
        assert_eq!(arguments.sizes().collect::<Vec<_>>(), (0..12).map(|i| 8 << (2 * i)).collect::<Vec<u64>>());
        assert_eq!(
            (arguments.dtype, arguments.op(), arguments.transport),
            (DType::F32, ReduceOp::Sum, Transport::Auto)
        );
        assert_eq!((arguments.ranks, arguments.algorithm, arguments.provider), (None, None, None));
        let flags = [arguments.in_place, arguments.registered, arguments.dirty, arguments.explain, arguments.json];
        assert_eq!(flags, [false; 5]);
    }

    #[test]
    fn everything_can_be_said() {
        let arguments = parsed(
            "reduce_scatter --ranks 3 --transport tcp --min 1KiB --max 5KiB --factor 2 --dtype fp8-e4m3 --op avg \
             --algorithm ring --in-place --registered --dirty --explain --json",
        )
        .expect("nothing contradicts");
        assert_eq!(arguments.sizes().collect::<Vec<_>>(), [1024, 2048, 4096]);
        assert_eq!((arguments.ranks, arguments.transport), (Some(3), Transport::Tcp));
        assert_eq!((arguments.dtype, arguments.op()), (DType::Fp8E4M3, ReduceOp::Avg));
        assert_eq!(arguments.algorithm.as_deref(), Some("ring"));
        let flags = [arguments.in_place, arguments.registered, arguments.dirty, arguments.explain, arguments.json];
        assert_eq!(flags, [true; 5]);
    }

    #[test]
    fn a_sweep_ends_at_the_last_size_there_is() {
        let arguments = parsed("all_reduce --min 1 --max 18446744073709551615 --factor 1099511627776").expect("fine");
        assert_eq!(arguments.sizes().collect::<Vec<_>>(), [1, 1 << 40]);
    }

    #[test]
    fn contradictions_are_one_sentence() {
        for (line, part) in [
            ("all_reduce --min 8KiB --max 4KiB", "--min 8KiB is more than --max 4KiB"),
            ("all_reduce --min 0", "--min 0"),
            ("all_reduce --factor 1", "--factor 1 does not grow"),
            ("all_reduce --factor 0", "--factor 0 does not grow"),
            ("all_reduce --factor -3", "`-3` is not a whole number of 0 or more"),
            ("all_reduce --factor nan", "`nan` is not a whole number"),
            ("all_reduce --min -8", "`-8` is not a size"),
            ("all_reduce --ranks 0", "at least 1 rank"),
            ("all_reduce --ranks -1", "--ranks <N>: `-1` is not a number of ranks: write one such as 4"),
            ("broadcast --op sum", "--op has no meaning for broadcast"),
            ("all_to_all --in-place", "all_to_all can't be in place"),
            ("barrier --in-place", "barrier can't be in place"),
            ("all_reduce --provider tcp", "--transport fabric"),
            ("all_reduce --transport mpi", "not in this build"),
            ("all_reduce --transport fabric --provider efa", "not in this build"),
        ] {
            let told = refusal(line);
            assert!(told.contains(part) && !told.contains('\n'), "{line}: {told}");
        }
    }

    #[test]
    fn what_cannot_be_among_the_ranks_is_one_sentence() {
        for (line, ranks, part) in [
            ("all_reduce --min 1 --max 3", 2, "no size up to --max 3 gives all_reduce among 2 ranks an element of f32"),
            ("all_gather --min 1 --max 15", 4, "give --max 16 or more"),
            ("all_reduce --algorithm bruck", 2, "--algorithm bruck does not fit: "),
            ("send_recv --algorithm ring", 2, "messages between two ranks take no algorithm"),
            ("all_reduce --algorithm rnig", 2, "did you mean `ring`?"),
        ] {
            let failure = parsed(line).unwrap().check_among(ranks).expect_err(line);
            let told = failure.message.expect("a sentence");
            assert_eq!(failure.status, BAD_ARGUMENTS, "{line}");
            assert!(told.contains(part) && !told.contains('\n'), "{line}: {told}");
        }
        for line in
            ["all_reduce --algorithm auto", "all_reduce --algorithm ring", "barrier", "all_gather --min 1 --max 16"]
        {
            parsed(line).unwrap().check_among(4).expect(line);
        }
    }

    #[test]
    fn unknown_names_offer_the_nearest() {
        for (line, part) in [
            ("all_redcue", "did you mean `all_reduce`?"),
            ("all_reduce --dtype f33", "did you mean `f32`?"),
            ("all_reduce --op summ", "did you mean `sum`?"),
            ("all_reduce --transport shn", "did you mean `shm`?"),
            ("all_reduce --jsn", "'--json'"),
            ("all_reduce --max 64MB", "`64MB` is not a size"),
        ] {
            let told = refusal(line);
            assert!(told.contains(part) && !told.contains('\n'), "{line}: {told}");
        }
    }
}
