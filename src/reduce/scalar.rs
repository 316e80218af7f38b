//! The definition of every reduction, one element at a time. Tests hold the kernels against it bit by bit, and replay with it
//! the order of addition that an algorithm declares.

use crate::types::{DType, F8E4M3, F8E5M2, ReduceOp};
use half::{bf16, f16};

/// Folds `sources` elementwise from first to last into `out`, as [`Kernel::run`](super::Kernel::run) does; all are the bytes of
/// elements of `dtype` in native order, and the flag beside a source says that it is raw.
///
/// # Panics
/// If there is no source or `ranks` is 0, or if the lengths differ or are no multiple of the element's size.
pub fn fold(dtype: DType, op: ReduceOp, ranks: usize, sources: &[(&[u8], bool)], last: bool, out: &mut [u8]) {
    assert!(!sources.is_empty() && ranks > 0, "a fold of {} sources among {ranks} ranks", sources.len());
    assert!(out.len().is_multiple_of(dtype.size()), "{} bytes of {dtype}", out.len());
    assert!(sources.iter().all(|(bytes, _)| bytes.len() == out.len()), "sources and result differ in length");
    for (index, result) in out.chunks_exact_mut(dtype.size()).enumerate() {
        let start = index * dtype.size();
        let operands: Vec<(&[u8], bool)> =
            sources.iter().map(|&(bytes, raw)| (&bytes[start..start + dtype.size()], raw)).collect();
        match dtype {
            DType::I8 => i8::fold(op, ranks, &operands, last, result),
            DType::U8 => u8::fold(op, ranks, &operands, last, result),
            DType::I32 => i32::fold(op, ranks, &operands, last, result),
            DType::U32 => u32::fold(op, ranks, &operands, last, result),
            DType::I64 => i64::fold(op, ranks, &operands, last, result),
            DType::U64 => u64::fold(op, ranks, &operands, last, result),
            DType::F16 => f16::fold(op, ranks, &operands, last, result),
            DType::Bf16 => bf16::fold(op, ranks, &operands, last, result),
            DType::F32 => f32::fold(op, ranks, &operands, last, result),
            DType::F64 => f64::fold(op, ranks, &operands, last, result),
            DType::Fp8E4M3 => F8E4M3::fold(op, ranks, &operands, last, result),
            DType::Fp8E5M2 => F8E5M2::fold(op, ranks, &operands, last, result),
        }
    }
}

/// One element of a fold.
trait Scalar {
    fn fold(op: ReduceOp, ranks: usize, operands: &[(&[u8], bool)], last: bool, result: &mut [u8]);
}

/// Applies `combine` to the operands' values from first to last.
fn left_to_right<T>(values: impl Iterator<Item = T>, combine: impl Fn(T, T) -> T) -> T {
    values.reduce(combine).expect("a fold has a source")
}

macro_rules! integer {
    ($($type:ty),*) => {$(
        impl Scalar for $type {
            fn fold(op: ReduceOp, ranks: usize, operands: &[(&[u8], bool)], last: bool, result: &mut [u8]) {
                let values = operands.iter().map(|&(bytes, raw)| {
                    let value = bytemuck::pod_read_unaligned::<$type>(bytes);
                    match op {
                        ReduceOp::PreMulSum(factor) if raw => (value as f64 * factor) as $type,
                        _ => value,
                    }
                });
                let folded = match op {
                    ReduceOp::Sum | ReduceOp::Avg | ReduceOp::PreMulSum(_) => {
                        left_to_right(values, <$type>::wrapping_add)
                    }
                    ReduceOp::Prod => left_to_right(values, <$type>::wrapping_mul),
                    ReduceOp::Min => left_to_right(values, <$type>::min),
                    ReduceOp::Max => left_to_right(values, <$type>::max),
                };
                let divided = match op {
                    ReduceOp::Avg if last => (i128::from(folded) / ranks as i128) as $type,
                    _ => folded,
                };
                result.copy_from_slice(&divided.to_ne_bytes());
            }
        }
    )*};
}

integer!(i8, u8, i32, u32, i64, u64);

macro_rules! float {
    ($($type:ty, in $wide:ty, from $widen:expr, to $narrow:expr, nan $nan:expr;)*) => {$(
        impl Scalar for $type {
            fn fold(op: ReduceOp, ranks: usize, operands: &[(&[u8], bool)], last: bool, result: &mut [u8]) {
                let widen: fn($type) -> $wide = $widen;
                let round = |value: $wide| -> $type { if value.is_nan() { $nan } else { $narrow(value) } };
                let values = operands.iter().map(|&(bytes, raw)| {
                    let value = widen(bytemuck::pod_read_unaligned(bytes));
                    match op {
                        ReduceOp::PreMulSum(factor) if raw => widen(round(value * factor as $wide)),
                        _ => value,
                    }
                });
                let nan_first = |a: $wide, b: $wide, ordered: $wide| match (a.is_nan(), b.is_nan()) {
                    (true, _) => a,
                    (_, true) => b,
                    (false, false) => ordered,
                };
                // The total order has -0 below +0, and is that of the numbers otherwise.
                let less = |a: $wide, b: $wide| a.total_cmp(&b).is_lt();
                let folded = match op {
                    ReduceOp::Sum | ReduceOp::Avg | ReduceOp::PreMulSum(_) => left_to_right(values, |a, b| a + b),
                    ReduceOp::Prod => left_to_right(values, |a, b| a * b),
                    ReduceOp::Min => left_to_right(values, |a, b| nan_first(a, b, if less(a, b) { a } else { b })),
                    ReduceOp::Max => left_to_right(values, |a, b| nan_first(a, b, if less(a, b) { b } else { a })),
                };
                let divided = match op {
                    ReduceOp::Avg if last => folded / ranks as $wide,
                    _ => folded,
                };
                result.copy_from_slice(bytemuck::bytes_of(&round(divided)));
            }
        }
    )*};
}

float! {
    f32, in f32, from |x| x, to |x| x, nan f32::from_bits(0x7fc0_0000);
    f64, in f64, from |x| x, to |x| x, nan f64::from_bits(0x7ff8_0000_0000_0000);
    f16, in f32, from f16::to_f32, to f16::from_f32, nan f16::from_bits(0x7e00);
    bf16, in f32, from bf16::to_f32, to bf16::from_f32, nan bf16::from_bits(0x7fc0);
    F8E4M3, in f32, from F8E4M3::to_f32, to F8E4M3::from_f32, nan F8E4M3(0x7f);
    F8E5M2, in f32, from F8E5M2::to_f32, to F8E5M2::from_f32, nan F8E5M2(0x7e);
}
