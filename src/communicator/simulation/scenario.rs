//! What a seed stands for, and what every call must give: the naive definition of each collective.

use crate::algorithm;
use crate::communicator::call::Call;
use crate::plan::Problem;
use crate::plan::chunk::Counts;
use crate::topology::Layout;
use crate::topology::host::{Constants, Speeds};
use crate::transport::faulty::{Fault, Random, Weather, What};
use crate::types::{Collective, DType, Rank, ReduceOp, TransportKind};
use std::time::Duration;

/// What output buffers hold before anything is written.
pub const POISON: u8 = 0xa5;

const COLLECTIVES: [Collective; 11] = [
    Collective::AllReduce,
    Collective::AllGather,
    Collective::ReduceScatter,
    Collective::Broadcast,
    Collective::Reduce,
    Collective::Gather,
    Collective::Scatter,
    Collective::AllToAll,
    Collective::Barrier,
    Collective::AllGatherV,
    Collective::ReduceScatterV,
];
const COUNTS: [u64; 8] = [0, 1, 2, 7, 64, 97, 1000, 4099];

#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    pub ranks: usize,
    /// Which ranks are taken to share a host: it makes no difference but to plans.
    pub layout: Layout,
    /// In the order in which all ranks make them.
    pub operations: Vec<Operation>,
    /// Not of any machine: they only make selection cut plans into many tiles or few.
    pub constants: Constants,
    pub weather: Weather,
    pub fault: Option<Fault>,
}

/// One call of all ranks.
#[derive(Clone, Debug)]
pub struct Operation {
    seed: u64,
    pub call: Call,
    pub in_place: bool,
}

/// Of a host where messages or bytes take long.
fn constants(hand_over_ns: f64, copy_ns_per_byte: f64) -> Constants {
    let speeds = Speeds {
        hand_over_ns,
        own_cache_ns_per_byte: copy_ns_per_byte,
        last_cache_ns_per_byte: copy_ns_per_byte,
        memory_ns_per_byte: copy_ns_per_byte,
        ..Speeds::ASSUMED
    };
    Constants::of(TransportKind::Memory, 1, 1).with_speeds(speeds)
}

impl Scenario {
    /// Nothing breaks.
    pub fn sound(seed: u64) -> Scenario {
        let mut random = Random(seed);
        let ranks = 2 + random.below(8) as usize;
        let layouts = [Layout::Flat, Layout::Blocks(2), Layout::Blocks(3), Layout::Interleaved(2)];
        let layout = layouts[random.below(layouts.len() as u64) as usize];
        let calls = 1 + random.below(3);
        let has_latency = random.below(2) == 1;
        let operations: Vec<_> = (0..calls).map(|_| Operation::seeded(&mut random, ranks, layout)).collect();
        let mut weather = Weather::seeded(&mut random);
        // Large buffers in crumbs take long and show nothing new.
        let largest = operations.iter().map(|one| one.buffer_bytes(ranks)).max().unwrap_or(0);
        weather.largest_push = weather.largest_push.max(largest / 64);
        weather.capacity = weather.capacity.max(largest / 32);
        let constants = if has_latency { constants(1e5, 1.0) } else { constants(1.0, 100.0) };
        Scenario { seed, ranks, layout, operations, constants, weather, fault: None }
    }

    /// One thing breaks, at some time during the calls or shortly after.
    pub fn broken(seed: u64) -> Scenario {
        let mut scenario = Scenario::sound(seed);
        let mut random = Random(seed.rotate_left(32));
        let a = random.below(scenario.ranks as u64) as usize;
        let b = (a + 1 + random.below(scenario.ranks as u64 - 1) as usize) % scenario.ranks;
        let what = if random.one_in(2) { What::Rank(a) } else { What::Link(a, b) };
        let span = scenario.weather.longest_delay * 32;
        let at = Duration::from_nanos(random.below(span.as_nanos() as u64));
        // Memory that is read in place has no connection that could break.
        scenario.weather.lends &= matches!(what, What::Rank(_));
        scenario.fault = Some(Fault { what, at, loud: random.one_in(2) });
        scenario
    }
}

impl Operation {
    pub fn all_reduce(seed: u64, count: u64) -> Operation {
        let call = Call {
            collective: Collective::AllReduce,
            dtype: DType::U32,
            op: Some(ReduceOp::Sum),
            counts: Counts::Even(count),
            root: 0,
            in_place: false,
            algorithm: None,
        };
        Operation { seed, call, in_place: false }
    }

    fn seeded(random: &mut Random, ranks: usize, layout: Layout) -> Operation {
        let collective = COLLECTIVES[random.below(COLLECTIVES.len() as u64) as usize];
        let count = |random: &mut Random| COUNTS[random.below(COUNTS.len() as u64) as usize];
        let counts = match collective {
            Collective::Barrier => Counts::Even(1),
            uneven if uneven.is_uneven() => Counts::PerRank((0..ranks).map(|_| count(random)).collect()),
            _ => Counts::Even(count(random)),
        };
        let dtype = match collective {
            Collective::Barrier => DType::U8,
            _ => [DType::U8, DType::U32, DType::U64][random.below(3) as usize],
        };
        let mut call = Call {
            collective,
            dtype,
            op: collective.reduces().then_some(ReduceOp::Sum),
            counts,
            root: if collective.has_root() { random.below(ranks as u64) as usize } else { 0 },
            in_place: collective == Collective::Barrier || collective == Collective::AllReduce && random.one_in(2),
            algorithm: None,
        };
        let problem = Problem { switch: true, ..call.problem(ranks, layout) };
        let fitting: Vec<_> = algorithm::registry().iter().filter(|one| one.fits(&problem).is_ok()).collect();
        call.algorithm = Some(fitting[random.below(fitting.len() as u64) as usize].name());
        let in_place = call.in_place;
        Operation { seed: random.next(), call, in_place }
    }

    /// The elements of each rank's block.
    fn blocks(&self, ranks: usize) -> Vec<u64> {
        match &self.call.counts {
            Counts::Even(count) => vec![*count; ranks],
            Counts::PerRank(counts) => counts.clone(),
            Counts::Pairwise { .. } => unreachable!("no scenario has one"),
        }
    }

    /// Enough for the larger buffer of any collective.
    pub fn buffer_bytes(&self, ranks: usize) -> usize {
        (self.blocks(ranks).iter().sum::<u64>() as usize).max(1) * self.call.dtype.size()
    }

    pub fn input(&self, ranks: usize, rank: Rank) -> Vec<u8> {
        let size = self.call.dtype.size();
        let elements = (self.buffer_bytes(ranks) / size) as u64;
        (0..elements).flat_map(|index| self.element(rank, index).to_le_bytes().into_iter().take(size)).collect()
    }

    /// What `rank` contributes at `index` of its input, to be cut to the size of the type, as sums may be too.
    fn element(&self, rank: Rank, index: u64) -> u64 {
        Random(self.seed ^ (rank as u64) << 48 ^ index << 8).next()
    }

    pub fn assert_right(&self, ranks: usize, rank: Rank, output: &[u8]) {
        let size = self.call.dtype.size();
        let expected = self.expected(ranks, rank);
        for (index, (came, wanted)) in output.chunks_exact(size).zip(&expected).enumerate() {
            assert_eq!(came, &wanted.to_le_bytes()[..size], "rank {rank}, element {index} of {}", self.call);
        }
        if !self.in_place {
            let rest = &output[expected.len() * size..];
            assert!(rest.iter().all(|byte| *byte == POISON), "rank {rank} wrote behind its output in {}", self.call);
        }
    }

    /// The naive definition.
    fn expected(&self, ranks: usize, rank: Rank) -> Vec<u64> {
        let blocks = self.blocks(ranks);
        let own_start: u64 = blocks[..rank].iter().sum();
        let sum = |index| (0..ranks).fold(0u64, |sum, from| sum.wrapping_add(self.element(from, index)));
        let Call { collective, root, .. } = self.call;
        let own = 0..blocks[rank];
        let gathered =
            || (0..ranks).flat_map(|from| (0..blocks[from]).map(move |index| self.element(from, index))).collect();
        match collective {
            Collective::AllReduce => own.map(sum).collect(),
            Collective::Reduce if rank == root => own.map(sum).collect(),
            Collective::Broadcast => own.map(|index| self.element(root, index)).collect(),
            Collective::ReduceScatter | Collective::ReduceScatterV => own.map(|index| sum(own_start + index)).collect(),
            Collective::Scatter => own.map(|index| self.element(root, own_start + index)).collect(),
            Collective::AllGather | Collective::AllGatherV => gathered(),
            Collective::Gather if rank == root => gathered(),
            Collective::AllToAll => (0..ranks)
                .flat_map(|from| own.clone().map(move |index| self.element(from, own_start + index)))
                .collect(),
            Collective::Barrier | Collective::Reduce | Collective::Gather => Vec::new(),
            Collective::SendRecv | Collective::AllToAllV => unreachable!("no scenario has one"),
        }
    }
}
