//! The field's words as types: ranks, element types, reductions, collectives, and what `bytes` means.

use std::fmt;
use std::str::FromStr;

/// A process or thread of a world, counted from 0.
pub type Rank = usize;

/// The type of one element of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    I8,
    U8,
    I32,
    U32,
    I64,
    U64,
    F16,
    Bf16,
    F32,
    F64,
    /// 4 exponent bits, 3 mantissa bits, no infinity; conversions saturate at ±448 (OCP "E4M3").
    Fp8E4M3,
    /// 5 exponent bits, 2 mantissa bits, with infinity (OCP "E5M2").
    Fp8E5M2,
}

impl DType {
    pub const ALL: [DType; 12] = [
        DType::I8,
        DType::U8,
        DType::I32,
        DType::U32,
        DType::I64,
        DType::U64,
        DType::F16,
        DType::Bf16,
        DType::F32,
        DType::F64,
        DType::Fp8E4M3,
        DType::Fp8E5M2,
    ];

    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            DType::I8 | DType::U8 | DType::Fp8E4M3 | DType::Fp8E5M2 => 1,
            DType::F16 | DType::Bf16 => 2,
            DType::I32 | DType::U32 | DType::F32 => 4,
            DType::I64 | DType::U64 | DType::F64 => 8,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            DType::I8 => "i8",
            DType::U8 => "u8",
            DType::I32 => "i32",
            DType::U32 => "u32",
            DType::I64 => "i64",
            DType::U64 => "u64",
            DType::F16 => "f16",
            DType::Bf16 => "bf16",
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::Fp8E4M3 => "fp8-e4m3",
            DType::Fp8E5M2 => "fp8-e5m2",
        }
    }
}

/// How elements of different ranks become one.
///
/// Integers wrap. `Avg` of integers truncates towards zero after the (wrapping) sum. Narrow floats are accumulated in
/// `f32` within one reduction step and rounded (to nearest, ties to even) when stored; fp8-e4m3 saturates. `Min` and `Max`
/// return NaN if any operand is NaN, and order -0 below +0. Every NaN that a reduction produces is the canonical one.
/// [`mod@crate::reduce`] has the rules of every type in one table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReduceOp {
    Sum,
    Prod,
    Min,
    Max,
    /// The sum divided by the number of ranks, divided once, by the rank that completes the sum.
    Avg,
    /// Every input is multiplied by this factor, rounded to the element type, then summed. Equal on all ranks.
    PreMulSum(f64),
}

impl ReduceOp {
    /// One of each kind; the pre-multiplier is an example.
    pub const ALL: [ReduceOp; 6] =
        [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Min, ReduceOp::Max, ReduceOp::Avg, ReduceOp::PreMulSum(0.5)];

    pub const fn name(self) -> &'static str {
        match self {
            ReduceOp::Sum => "sum",
            ReduceOp::Prod => "prod",
            ReduceOp::Min => "min",
            ReduceOp::Max => "max",
            ReduceOp::Avg => "avg",
            ReduceOp::PreMulSum(_) => "premul_sum",
        }
    }
}

/// What a call promises: a before and an after over all ranks.
///
/// `count` of a call, in elements: of the whole buffer for all-reduce, broadcast, reduce and send/receive; of one rank's block
/// for all-gather, reduce-scatter, gather, scatter and all-to-all. The `V` collectives take one count per rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Collective {
    AllReduce,
    AllGather,
    ReduceScatter,
    Broadcast,
    Reduce,
    Gather,
    Scatter,
    AllToAll,
    Barrier,
    SendRecv,
    AllGatherV,
    ReduceScatterV,
    AllToAllV,
}

impl Collective {
    pub const ALL: [Collective; 13] = [
        Collective::AllReduce,
        Collective::AllGather,
        Collective::ReduceScatter,
        Collective::Broadcast,
        Collective::Reduce,
        Collective::Gather,
        Collective::Scatter,
        Collective::AllToAll,
        Collective::Barrier,
        Collective::SendRecv,
        Collective::AllGatherV,
        Collective::ReduceScatterV,
        Collective::AllToAllV,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Collective::AllReduce => "all_reduce",
            Collective::AllGather => "all_gather",
            Collective::ReduceScatter => "reduce_scatter",
            Collective::Broadcast => "broadcast",
            Collective::Reduce => "reduce",
            Collective::Gather => "gather",
            Collective::Scatter => "scatter",
            Collective::AllToAll => "all_to_all",
            Collective::Barrier => "barrier",
            Collective::SendRecv => "send_recv",
            Collective::AllGatherV => "all_gather_v",
            Collective::ReduceScatterV => "reduce_scatter_v",
            Collective::AllToAllV => "all_to_all_v",
        }
    }

    /// The collective whose plans this one runs: a `V` collective runs those plans of its even sibling that were proved with
    /// the size of every block left open.
    pub const fn even(self) -> Collective {
        match self {
            Collective::AllGatherV => Collective::AllGather,
            Collective::ReduceScatterV => Collective::ReduceScatter,
            Collective::AllToAllV => Collective::AllToAll,
            other => other,
        }
    }

    /// Whether every rank's block may have a size of its own.
    pub const fn is_uneven(self) -> bool {
        matches!(self, Collective::AllGatherV | Collective::ReduceScatterV | Collective::AllToAllV)
    }

    /// Whether elements of several ranks are combined.
    pub const fn reduces(self) -> bool {
        matches!(
            self,
            Collective::AllReduce | Collective::ReduceScatter | Collective::Reduce | Collective::ReduceScatterV
        )
    }

    /// Whether one rank plays a part of its own.
    pub const fn has_root(self) -> bool {
        matches!(self, Collective::Broadcast | Collective::Reduce | Collective::Gather | Collective::Scatter)
    }

    /// The factor by which nccl-tests turns algorithm bandwidth into bus bandwidth.
    pub fn bus_factor(self, ranks: usize) -> f64 {
        let n = ranks as f64;
        match self {
            Collective::AllReduce => 2.0 * (n - 1.0) / n,
            Collective::AllGather
            | Collective::ReduceScatter
            | Collective::AllToAll
            | Collective::AllGatherV
            | Collective::ReduceScatterV
            | Collective::AllToAllV
            | Collective::Gather
            | Collective::Scatter => (n - 1.0) / n,
            Collective::Broadcast | Collective::Reduce | Collective::SendRecv | Collective::Barrier => 1.0,
        }
    }
}

/// The kinds of transport, as users name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransportKind {
    /// Threads of one process.
    Memory,
    /// Processes of one host, through shared memory.
    Shm,
    /// Any hosts, through TCP.
    Tcp,
}

impl TransportKind {
    pub const ALL: [TransportKind; 3] = [TransportKind::Memory, TransportKind::Shm, TransportKind::Tcp];

    pub const fn name(self) -> &'static str {
        match self {
            TransportKind::Memory => "memory",
            TransportKind::Shm => "shm",
            TransportKind::Tcp => "tcp",
        }
    }
}

impl fmt::Display for TransportKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// A peer on a channel: the name of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkName {
    pub peer: Rank,
    pub channel: u16,
}

macro_rules! named {
    ($type:ty, $what:literal, $all:expr) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
        impl FromStr for $type {
            type Err = UnknownName;
            fn from_str(text: &str) -> Result<Self, UnknownName> {
                let all = $all;
                all.iter()
                    .find(|value| value.name() == text)
                    .copied()
                    .ok_or_else(|| UnknownName::new($what, text, all.iter().map(|value| value.name())))
            }
        }
    };
}

named!(DType, "element type", DType::ALL);
named!(ReduceOp, "reduction", ReduceOp::ALL);
named!(Collective, "collective", Collective::ALL);

/// A name that is none of those known, with the nearest that is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} `{given}`; {hint}")]
pub struct UnknownName {
    what: &'static str,
    given: String,
    hint: String,
}

impl UnknownName {
    /// `known` are the names among which the nearest is looked for.
    pub fn new<'a>(what: &'static str, given: &str, known: impl Iterator<Item = &'a str>) -> Self {
        const LISTED: usize = 24;
        let known: Vec<&str> = known.collect();
        let begun: Vec<&str> =
            known.iter().copied().filter(|name| given.len() > 2 && name.starts_with(given)).take(LISTED).collect();
        let nearest = known.iter().min_by_key(|name| edit_distance(given, name));
        let hint = match (&begun[..], nearest) {
            ([name], _) => format!("did you mean `{name}`?"),
            ([_, _, ..], _) => format!("those that begin so are {}", begun.join(", ")),
            ([], Some(name)) if edit_distance(given, name) <= 1 + name.len() / 3 => format!("did you mean `{name}`?"),
            _ if known.len() > LISTED => {
                format!("known are {} and {} more", known[..LISTED].join(", "), known.len() - LISTED)
            }
            _ => format!("known are {}", known.join(", ")),
        };
        UnknownName { what, given: given.to_owned(), hint }
    }
}

/// Levenshtein distance in characters, `-` and `_` alike.
pub(crate) fn edit_distance(a: &str, b: &str) -> usize {
    let plain = |c: char| if c == '-' { '_' } else { c.to_ascii_lowercase() };
    let b: Vec<char> = b.chars().map(plain).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().map(plain).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

/// A type whose values can lie in a buffer.
///
/// Plain old data: every bit pattern is a value, and values are compared and reduced as [`DType`] says.
pub trait Element: bytemuck::Pod + Send + Sync {
    const DTYPE: DType;
}

/// An 8-bit float with 4 exponent and 3 mantissa bits (OCP E4M3), kept as its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub struct F8E4M3(pub u8);

/// An 8-bit float with 5 exponent and 2 mantissa bits (OCP E5M2), kept as its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub struct F8E5M2(pub u8);

macro_rules! element {
    ($($type:ty => $dtype:ident),* $(,)?) => {
        $(impl Element for $type { const DTYPE: DType = DType::$dtype; })*
    };
}

element! {
    i8 => I8, u8 => U8, i32 => I32, u32 => U32, i64 => I64, u64 => U64,
    half::f16 => F16, half::bf16 => Bf16, f32 => F32, f64 => F64,
    F8E4M3 => Fp8E4M3, F8E5M2 => Fp8E5M2,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_typos_name_the_nearest() {
        for dtype in DType::ALL {
            assert_eq!(dtype.name().parse(), Ok(dtype));
        }
        for collective in Collective::ALL {
            assert_eq!(collective.name().parse(), Ok(collective));
        }
        let error = "all_redcue".parse::<Collective>().unwrap_err().to_string();
        assert_eq!(error, "unknown collective `all_redcue`; did you mean `all_reduce`?");
        let error = "xyzzy".parse::<DType>().unwrap_err().to_string();
        assert!(error.starts_with("unknown element type `xyzzy`; known are i8, u8"), "{error}");
        let error = UnknownName::new("machine", "p6e-gb3", ["p6-b3", "p6e-gb300x72"].into_iter()).to_string();
        assert_eq!(error, "unknown machine `p6e-gb3`; did you mean `p6e-gb300x72`?");
        let several = ["p4d", "p6e-gb200x36", "p6e-gb200x72", "p6-b300"];
        let error = UnknownName::new("machine", "p6e", several.into_iter()).to_string();
        assert_eq!(error, "unknown machine `p6e`; those that begin so are p6e-gb200x36, p6e-gb200x72");
    }
}
