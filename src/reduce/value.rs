//! Elements as they lie in memory: how a block of them enters and leaves its accumulators.

use super::instruction_set::Target;
use super::narrow::{self, BINARY16};
use super::number::Number;
use crate::types::{Element, F8E4M3, F8E5M2};
use half::{bf16, f16};

/// An element type and its accumulator.
pub(super) trait Value: Element {
    type Wide: Number;

    fn widen(self) -> Self::Wide;

    /// Rounded to nearest, ties to even; NaN becomes the canonical one.
    fn narrow(wide: Self::Wide) -> Self;

    /// Widens `N` elements from `address`, which need not be aligned.
    ///
    /// # Safety
    /// `N` elements are readable at `address`, and the processor has the instructions of `T`.
    #[inline(always)]
    unsafe fn load<T: Target, const N: usize>(address: *const Self) -> [Self::Wide; N] {
        let mut wide = [Self::Wide::default(); N];
        for (i, wide) in wide.iter_mut().enumerate() {
            // SAFETY: i < N elements are readable, as the caller promises.
            *wide = unsafe { address.add(i).read_unaligned() }.widen();
        }
        wide
    }

    /// Narrows `N` elements to `address`, which need not be aligned.
    ///
    /// # Safety
    /// `N` elements are writable at `address`, and the processor has the instructions of `T`.
    #[inline(always)]
    unsafe fn store<T: Target, const N: usize>(wide: &[Self::Wide; N], address: *mut Self) {
        for (i, &wide) in wide.iter().enumerate() {
            // SAFETY: i < N elements are writable, as the caller promises.
            unsafe { address.add(i).write_unaligned(Self::narrow(wide)) };
        }
    }
}

macro_rules! integer {
    ($($value:ty),*) => {$(
        impl Value for $value {
            type Wide = $value;

            #[inline(always)]
            fn widen(self) -> $value {
                self
            }
            #[inline(always)]
            fn narrow(wide: $value) -> $value {
                wide
            }
        }
    )*};
}

integer!(i8, u8, i32, u32, i64, u64);

macro_rules! wide_float {
    ($($value:ty),*) => {$(
        impl Value for $value {
            type Wide = $value;

            #[inline(always)]
            fn widen(self) -> $value {
                self
            }
            #[inline(always)]
            fn narrow(wide: $value) -> $value {
                if wide.is_nan() { <$value>::NAN } else { wide }
            }
        }
    )*};
}

wide_float!(f32, f64);

impl Value for bf16 {
    type Wide = f32;

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    #[inline(always)]
    fn narrow(wide: f32) -> bf16 {
        bf16::from_bits(narrow::bfloat16(wide))
    }
}

impl Value for F8E4M3 {
    type Wide = f32;

    #[inline(always)]
    fn widen(self) -> f32 {
        narrow::E4M3.widen(self.0.into())
    }
    #[inline(always)]
    fn narrow(wide: f32) -> F8E4M3 {
        F8E4M3(narrow::E4M3.narrow(wide) as u8)
    }
}

impl Value for F8E5M2 {
    type Wide = f32;

    #[inline(always)]
    fn widen(self) -> f32 {
        narrow::E5M2.widen(self.0.into())
    }
    #[inline(always)]
    fn narrow(wide: f32) -> F8E5M2 {
        F8E5M2(narrow::E5M2.narrow(wide) as u8)
    }
}

/// Converted by instructions of its own where the processor has them.
impl Value for f16 {
    type Wide = f32;

    #[inline(always)]
    fn widen(self) -> f32 {
        BINARY16.widen(self.to_bits().into())
    }
    #[inline(always)]
    fn narrow(wide: f32) -> f16 {
        f16::from_bits(BINARY16.narrow(wide) as u16)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn load<T: Target, const N: usize>(address: *const f16) -> [f32; N] {
        let mut wide = [0.0; N];
        // SAFETY: the caller promises `N` readable elements and the instructions of the set that is matched.
        unsafe { x86::load(T::SET, address, &mut wide) };
        wide
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn store<T: Target, const N: usize>(wide: &[f32; N], address: *mut f16) {
        // SAFETY: the caller promises `N` writable elements and the instructions of the set that is matched.
        unsafe { x86::store(T::SET, wide, address) };
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Value, f16};
    use crate::reduce::instruction_set::InstructionSet;
    use std::arch::x86_64::*;

    /// To nearest, ties to even, whatever the control register says.
    const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT;

    /// # Safety
    /// `wide.len()` elements are readable at `address`, and the processor has the instructions of `set`.
    #[inline(always)]
    pub unsafe fn load(set: InstructionSet, address: *const f16, wide: &mut [f32]) {
        let lanes = match set {
            InstructionSet::Baseline => 1,
            InstructionSet::Avx2 => 8,
            InstructionSet::Avx512 => 16,
        };
        assert!(wide.len().is_multiple_of(lanes));
        for at in (0..wide.len()).step_by(lanes) {
            // SAFETY: `lanes` elements from `at` are readable, as the caller promises, and `wide` is as long by the
            // assertion; the caller promises the instructions.
            unsafe {
                let (from, to) = (address.add(at), wide.as_mut_ptr().add(at));
                match set {
                    InstructionSet::Baseline => *to = from.read_unaligned().widen(),
                    InstructionSet::Avx2 => _mm256_storeu_ps(to, _mm256_cvtph_ps(_mm_loadu_si128(from.cast()))),
                    InstructionSet::Avx512 => _mm512_storeu_ps(to, _mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))),
                }
            }
        }
    }

    /// # Safety
    /// `wide.len()` elements are writable at `address`, and the processor has the instructions of `set`.
    #[inline(always)]
    pub unsafe fn store(set: InstructionSet, wide: &[f32], address: *mut f16) {
        let lanes = match set {
            InstructionSet::Baseline => 1,
            InstructionSet::Avx2 => 8,
            InstructionSet::Avx512 => 16,
        };
        assert!(wide.len().is_multiple_of(lanes));
        for at in (0..wide.len()).step_by(lanes) {
            // SAFETY: `lanes` elements from `at` are writable, as the caller promises, and `wide` is as long by the
            // assertion; the caller promises the instructions. The canonical NaN of f32 converts to that of f16.
            unsafe {
                let (from, to) = (wide.as_ptr().add(at), address.add(at));
                match set {
                    InstructionSet::Baseline => to.write_unaligned(f16::narrow(*from)),
                    InstructionSet::Avx2 => {
                        let (nan, value) = (_mm256_set1_ps(f32::NAN), _mm256_loadu_ps(from));
                        let value = _mm256_blendv_ps(value, nan, _mm256_cmp_ps::<_CMP_UNORD_Q>(value, value));
                        _mm_storeu_si128(to.cast(), _mm256_cvtps_ph::<NEAREST>(value));
                    }
                    InstructionSet::Avx512 => {
                        let (nan, value) = (_mm512_set1_ps(f32::NAN), _mm512_loadu_ps(from));
                        let value = _mm512_mask_mov_ps(value, _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(value, value), nan);
                        _mm256_storeu_si256(to.cast(), _mm512_cvtps_ph::<NEAREST>(value));
                    }
                }
            }
        }
    }
}
