//! The arithmetic of reductions on host memory.
//!
//! [`scalar`] is the definition; a [`Kernel`] computes the same bits with vector instructions, chosen once per process from what
//! the processor has. So the result of a reduction depends on the order of its operands only, never on the machine, on alignment
//! or on how a buffer is cut.
//!
//! ## The rules
//! One fold takes its operands from first to last, combines them two at a time, and rounds once, when it stores the result.
//!
//! | types | accumulated in | sum, prod | avg (the last fold divides) | pre-multiplied input | stored |
//! |---|---|---|---|---|---|
//! | i8 u8 i32 u32 i64 u64 | themselves | wrap | the wrapped sum ÷ ranks, truncated towards zero | `(x as f64 * factor)`, truncated, saturated; NaN is 0 | as they are |
//! | f64 | f64 | IEEE 754 | sum ÷ ranks in f64 | `x * factor` | as it is |
//! | f32 | f32 | IEEE 754 | sum ÷ ranks in f32 | `x * factor` in f32 | as it is |
//! | f16, bf16 | f32 | IEEE 754 | sum ÷ ranks in f32, before the rounding | `x * factor` in f32, rounded to the type | nearest, ties to even; overflow is infinity |
//! | fp8-e5m2 | f32 | IEEE 754 | as f16 | as f16 | as f16; above 57344 is infinity once it rounds there |
//! | fp8-e4m3 | f32 | IEEE 754 | as f16 | as f16 | nearest, ties to even; overflow and infinity saturate to ±448 |
//!
//! - The factor of [`ReduceOp::PreMulSum`] is itself first rounded to f32 for all floats but f64. Only operands marked `raw` are
//!   multiplied, so that each contribution is multiplied once, however many folds it passes.
//! - An average divides; it does not multiply by a reciprocal. Between its folds it is a sum, so integers may wrap and narrow floats
//!   may overflow before the division, as they do in a sum.
//! - Min and max are NaN if any operand is NaN, and order -0 below +0.
//! - A NaN is stored as the canonical quiet one, positive with only the top bit of its mantissa set (fp8-e4m3: 0x7f), by every fold,
//!   that of a single operand included.
//! - Subnormals are kept, as long as the thread has the floating-point environment that Rust starts it with.

mod float8;
mod fold;
mod instruction_set;
mod narrow;
mod number;
pub mod scalar;
mod value;

#[cfg(test)]
mod tests;

use crate::types::{DType, ReduceOp};
use instruction_set::InstructionSet;

/// A prepared reduction: type and operation are resolved once, then it runs on spans with one indirect call each.
///
/// ```
/// use unisono::reduce::{Kernel, Source};
/// use unisono::{DType, ReduceOp};
///
/// let (a, mut b) = ([1.0f32, 2.0, 3.0], [10.0f32, 20.0, 30.0]);
/// let sources = [a.as_ptr(), b.as_ptr()].map(|p| Source { address: p.cast(), raw: true });
/// // SAFETY: all three addresses have 3 elements, and the destination is exactly one of the sources.
/// unsafe { Kernel::new(DType::F32, ReduceOp::Avg, 2).run(&sources, b.as_mut_ptr().cast(), 3, true) };
/// assert_eq!(b, [5.5, 11.0, 16.5]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    op: ReduceOp,
    ranks: usize,
    fold: fold::Fold,
}

/// One operand of a fold.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Where the elements lie; any alignment.
    pub address: *const u8,
    /// A caller's own input, to which the pre-multiplier of [`ReduceOp::PreMulSum`] is still to be applied.
    pub raw: bool,
}

impl Kernel {
    /// A reduction among `ranks` ranks, by whose count an average is divided.
    ///
    /// # Panics
    /// If `ranks` is 0 or beyond `u32`.
    pub fn new(dtype: DType, op: ReduceOp, ranks: usize) -> Kernel {
        Kernel::with_instruction_set(InstructionSet::best(), dtype, op, ranks)
    }

    /// The processor must have `set`, as those of [`InstructionSet::available`] are.
    fn with_instruction_set(set: InstructionSet, dtype: DType, op: ReduceOp, ranks: usize) -> Kernel {
        debug_assert!(InstructionSet::available().contains(&set), "{set:?} on a processor without it");
        assert!(ranks > 0 && u32::try_from(ranks).is_ok(), "a reduction among {ranks} ranks");
        Kernel { op, ranks, fold: fold::select(set, dtype, op) }
    }

    /// Folds `sources` elementwise from first to last and stores `count` elements at `destination`.
    ///
    /// `last` says that the result holds all contributions: now an average is divided. A single source is copied, with its
    /// pre-multiplication, its division and its NaNs made canonical. Does not block, allocate or call the system.
    ///
    /// # Safety
    /// - Every source is readable and `destination` writable for `count` elements; no alignment is asked of them.
    /// - `destination` overlaps no source, unless it is exactly the address of that source.
    /// - Nobody else writes the sources or touches the destination during the call.
    ///
    /// # Panics
    /// If there is no source.
    pub unsafe fn run(&self, sources: &[Source], destination: *mut u8, count: usize, last: bool) {
        assert!(!sources.is_empty(), "a fold of nothing");
        // SAFETY: the caller keeps the conditions on memory; the instructions were found on this processor before the kernel was
        // made for them.
        unsafe { (self.fold)(self, sources, destination, count, last) }
    }
}
