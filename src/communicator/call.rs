//! What a call asks for, apart from its buffers: the key under which it is prepared, and what other ranks must agree on.

use crate::plan::chunk::Counts;
use crate::plan::{Plan, Problem};
use crate::topology::Layout;
use crate::types::{Collective, DType, Rank, ReduceOp};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A call as one rank makes it.
#[derive(Clone, Debug)]
pub struct Call {
    pub collective: Collective,
    pub dtype: DType,
    pub op: Option<ReduceOp>,
    pub counts: Counts,
    /// 0 where the collective has none.
    pub root: Rank,
    pub in_place: bool,
    /// An algorithm that the caller insists on, by its name in the registry.
    pub algorithm: Option<&'static str>,
}

impl Call {
    /// A barrier: one byte, in place.
    pub fn barrier() -> Call {
        Call {
            collective: Collective::Barrier,
            dtype: DType::U8,
            op: None,
            counts: Counts::Even(1),
            root: 0,
            in_place: true,
            algorithm: None,
        }
    }

    /// What selection is asked; it sets the tiles itself. Who names an algorithm gets it, by messages where it counts on a switch.
    pub fn problem(&self, ranks: usize, layout: Layout) -> Problem {
        Problem {
            collective: self.collective.even(),
            ranks,
            root: self.root,
            uneven: self.collective.is_uneven(),
            tiles: 1,
            layout,
            switch: self.algorithm.is_some(),
        }
    }

    /// The collective's size by the convention of nccl-tests; of the largest rank's part where ranks differ.
    pub fn bytes(&self, ranks: usize) -> u64 {
        let elements = match &self.counts {
            Counts::Even(count) => match self.collective {
                Collective::AllGather
                | Collective::ReduceScatter
                | Collective::AllToAll
                | Collective::Gather
                | Collective::Scatter => count * ranks as u64,
                _ => *count,
            },
            Counts::PerRank(counts) => counts.iter().sum(),
            Counts::Pairwise { input, output } => input.iter().sum::<u64>().max(output.iter().sum()),
        };
        elements * self.dtype.size() as u64
    }

    /// A number that is equal on all ranks if, and but for chance only if, they mean the same call. What may differ between
    /// ranks is left out: in place or not, and the counts of an uneven all-to-all.
    pub fn digest(&self, plan: &Plan) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.collective, self.dtype, self.root).hash(&mut hasher);
        self.op.map(op_bits).hash(&mut hasher);
        if !matches!(self.counts, Counts::Pairwise { .. }) {
            self.counts.hash(&mut hasher);
        }
        (&plan.algorithm, plan.problem.tiles).hash(&mut hasher);
        hasher.finish()
    }

    /// As the user reads it in errors and records.
    pub fn text(&self, algorithm: &str) -> String {
        format!("{self} by {algorithm}")
    }
}

/// Kind and factor: factors that compare equal may differ in what they make of a zero.
fn op_bits(op: ReduceOp) -> (std::mem::Discriminant<ReduceOp>, u64) {
    let factor = match op {
        ReduceOp::PreMulSum(factor) => factor.to_bits(),
        ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Min | ReduceOp::Max | ReduceOp::Avg => 0,
    };
    (std::mem::discriminant(&op), factor)
}

impl PartialEq for Call {
    fn eq(&self, other: &Call) -> bool {
        let Call { collective, dtype, op, counts, root, in_place, algorithm } = self;
        (*collective, *dtype, *root, *in_place) == (other.collective, other.dtype, other.root, other.in_place)
            && op.map(op_bits) == other.op.map(op_bits)
            && *counts == other.counts
            && *algorithm == other.algorithm
    }
}

impl Eq for Call {}

impl Hash for Call {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Call { collective, dtype, op, counts, root, in_place, algorithm } = self;
        (collective, dtype, op.map(op_bits), counts, root, in_place, algorithm).hash(state);
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.collective)?;
        if self.collective == Collective::Barrier {
            return Ok(());
        }
        match &self.counts {
            Counts::Even(count) => write!(f, " {} x {count}", self.dtype)?,
            Counts::PerRank(counts) => {
                write!(f, " {} x {} in {} parts", self.dtype, counts.iter().sum::<u64>(), counts.len())?
            }
            Counts::Pairwise { .. } => write!(f, " {}", self.dtype)?,
        }
        match self.op {
            Some(ReduceOp::PreMulSum(factor)) => write!(f, " premul_sum({factor})")?,
            Some(op) => write!(f, " {op}")?,
            None => {}
        }
        if self.collective.has_root() {
            write!(f, " root {}", self.root)?;
        }
        Ok(())
    }
}

/// The fingerprint of one call: its digest and its place in the order of calls. It rides in every record.
#[inline]
pub fn fingerprint(digest: u64, sequence: u64) -> u32 {
    let mixed = (digest ^ sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (mixed >> 32) as u32
}
