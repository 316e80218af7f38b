//! One case of the grid: a call in full, so that its text replays it.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;
use unisono::algorithm;
use unisono::plan::Problem;
use unisono::{Collective, DType, Rank, ReduceOp, TransportKind};

/// The variable that selects cases: `full`, or the first fields of a case's text, `*` for any.
pub const SELECTION: &str = "UNISONO_GRID";
/// The variable that replaces the base of all seeds.
pub const BASE_SEED: &str = "UNISONO_GRID_SEED";

/// Stands for the algorithm or operation of a call that has none.
const NONE: &str = "-";

/// Whether input and output share memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Apart,
    InPlace,
}

impl Form {
    pub const ALL: [Form; 2] = [Form::Apart, Form::InPlace];

    fn name(self) -> &'static str {
        match self {
            Form::Apart => "apart",
            Form::InPlace => "in_place",
        }
    }

    pub fn exists_for(self, collective: Collective) -> bool {
        use Collective::{AllToAll, AllToAllV, Barrier, SendRecv};
        self == Form::Apart || !matches!(collective, AllToAll | AllToAllV | Barrier | SendRecv)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub transport: TransportKind,
    pub ranks: usize,
    pub collective: Collective,
    /// None for send and receive.
    pub algorithm: Option<&'static str>,
    /// By the convention of [`Collective`]; blocks of an uneven collective are about as large.
    pub count: u64,
    pub dtype: DType,
    /// None where the collective does not reduce.
    pub op: Option<ReduceOp>,
    pub root: Rank,
    pub form: Form,
}

impl Case {
    /// Of all random values of the case.
    pub fn seed(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (base_seed(), self.to_string()).hash(&mut hasher);
        hasher.finish()
    }

    /// The command that runs this case alone.
    pub fn replay(&self) -> String {
        let seed = base_seed();
        format!("{BASE_SEED}={seed} {SELECTION}='{self}' cargo test --release --test grid {}_grid", self.transport)
    }

    pub fn problem(&self, tiles: u32) -> Problem {
        problem(self.collective, self.ranks, self.root, tiles)
    }

    /// The elements of rank `r`'s block in an uneven collective: none, few, or as many as the count, differently in each case.
    pub fn counts(&self) -> Vec<u64> {
        (0..self.ranks).map(|rank| self.uneven(rank)).collect()
    }

    /// The elements that `source` sends to `target` in an all-to-all.
    pub fn pair_count(&self, source: Rank, target: Rank) -> u64 {
        match self.collective {
            Collective::AllToAllV => self.uneven(3 * source + target),
            _ => self.count,
        }
    }

    fn uneven(&self, index: usize) -> u64 {
        match (index + self.root) % 4 {
            0 => self.count,
            1 => 0,
            2 => self.count / 3,
            _ => self.count + 1,
        }
    }

    /// The elements of block `rank` where every rank has one.
    pub fn block(&self, rank: Rank) -> u64 {
        if self.collective.is_uneven() { self.uneven(rank) } else { self.count }
    }

    /// Where block `rank` starts in the buffer of all blocks.
    pub fn block_start(&self, rank: Rank) -> u64 {
        (0..rank).map(|before| self.block(before)).sum()
    }

    pub fn input_len(&self, rank: Rank) -> u64 {
        let all_blocks = self.block_start(self.ranks);
        match self.collective {
            Collective::AllReduce | Collective::Reduce | Collective::SendRecv => self.count,
            Collective::AllGather | Collective::AllGatherV | Collective::Gather => self.block(rank),
            Collective::ReduceScatter | Collective::ReduceScatterV => all_blocks,
            Collective::Broadcast if rank == self.root => self.count,
            Collective::Scatter if rank == self.root => all_blocks,
            Collective::Broadcast | Collective::Scatter | Collective::Barrier => 0,
            Collective::AllToAll | Collective::AllToAllV => {
                (0..self.ranks).map(|target| self.pair_count(rank, target)).sum()
            }
        }
    }

    pub fn output_len(&self, rank: Rank) -> u64 {
        let all_blocks = self.block_start(self.ranks);
        match self.collective {
            Collective::AllReduce | Collective::Broadcast | Collective::SendRecv => self.count,
            Collective::AllGather | Collective::AllGatherV => all_blocks,
            Collective::ReduceScatter | Collective::ReduceScatterV | Collective::Scatter => self.block(rank),
            Collective::Reduce if rank == self.root => self.count,
            Collective::Gather if rank == self.root => all_blocks,
            Collective::Reduce | Collective::Gather | Collective::Barrier => 0,
            Collective::AllToAll | Collective::AllToAllV => {
                (0..self.ranks).map(|source| self.pair_count(source, rank)).sum()
            }
        }
    }
}

pub fn problem(collective: Collective, ranks: usize, root: Rank, tiles: u32) -> Problem {
    let root = if collective.has_root() { root } else { 0 };
    Problem { root, uneven: collective.is_uneven(), tiles, ..Problem::new(collective.even(), ranks) }
}

fn base_seed() -> u64 {
    let text = std::env::var(BASE_SEED).ok();
    text.map_or(0x0005_eed0, |text| text.parse().unwrap_or_else(|_| panic!("{BASE_SEED}={text} is not a number")))
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { transport, ranks, collective, algorithm, count, dtype, op, root, form } = self;
        let (algorithm, op) = (algorithm.unwrap_or(NONE), op.map_or(NONE, |op| op.name()));
        write!(f, "{transport},{ranks},{collective},{algorithm},{count},{dtype},{op},{root},{}", form.name())
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Case, String> {
        let fields: Vec<&str> = text.split(',').collect();
        let [transport, ranks, collective, algorithm, count, dtype, op, root, form] = fields[..] else {
            return Err(format!("{text} has {} fields, not 9", fields.len()));
        };
        let number = |text: &str| text.parse::<u64>().map_err(|cause| format!("{text}: {cause}"));
        let transport = TransportKind::ALL.into_iter().find(|kind| kind.name() == transport);
        let name = |name: &str| algorithm::find(name).map(|one| one.name()).map_err(|error| error.to_string());
        Ok(Case {
            transport: transport.ok_or("the transport is one of memory, shm, tcp")?,
            ranks: number(ranks)? as usize,
            collective: collective.parse().map_err(|error| format!("{error}"))?,
            algorithm: if algorithm == NONE { None } else { Some(name(algorithm)?) },
            count: number(count)?,
            dtype: dtype.parse().map_err(|error| format!("{error}"))?,
            op: if op == NONE { None } else { Some(op.parse().map_err(|error| format!("{error}"))?) },
            root: number(root)? as usize,
            form: Form::ALL.into_iter().find(|one| one.name() == form).ok_or("the form is apart or in_place")?,
        })
    }
}
