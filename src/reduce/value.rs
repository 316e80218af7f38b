//! Elements as they lie in memory: how a block of them enters and leaves its accumulators.

use super::instruction_set::{InstructionSet, Target};
use super::narrow;
use super::number::Number;
use crate::types::{Element, F8E4M3, F8E5M2};
use half::{bf16, f16};

/// An element type and its accumulator.
///
/// The accumulators of a block may stand in another order than its elements do, the same for every block of the type.
pub(super) trait Value: Element {
    type Wide: Number;

    /// Widens `N` elements from `address`, which need not be aligned.
    ///
    /// # Safety
    /// `N` elements are readable at `address`, and the processor has the instructions of `T`.
    unsafe fn load<T: Target, const N: usize>(address: *const Self) -> [Self::Wide; N];

    /// Narrows `N` elements to `address`, which need not be aligned: rounded to nearest, ties to even; NaN becomes the
    /// canonical one.
    ///
    /// # Safety
    /// `N` elements are writable at `address`, and the processor has the instructions of `T`.
    unsafe fn store<T: Target, const N: usize>(wide: &[Self::Wide; N], address: *mut Self);

    /// As `load`, of one element.
    ///
    /// # Safety
    /// The element is readable at `address`.
    unsafe fn load_one(address: *const Self) -> Self::Wide;

    /// As `store`, of one element.
    ///
    /// # Safety
    /// The element is writable at `address`.
    unsafe fn store_one(wide: Self::Wide, address: *mut Self);

    /// What is left of a value that is stored and loaded again.
    fn as_stored(wide: Self::Wide) -> Self::Wide;
}

/// Types that are accumulated in themselves, but for what `as_stored` does to them.
macro_rules! own_accumulator {
    ($($value:ty),*; $as_stored:expr) => {$(
        impl Value for $value {
            type Wide = $value;

            #[inline(always)]
            unsafe fn load<T: Target, const N: usize>(address: *const $value) -> [$value; N] {
                // SAFETY: N elements are readable, as the caller promises.
                unsafe { address.cast::<[$value; N]>().read_unaligned() }
            }

            #[inline(always)]
            unsafe fn store<T: Target, const N: usize>(wide: &[$value; N], address: *mut $value) {
                for (i, &wide) in wide.iter().enumerate() {
                    // SAFETY: i < N elements are writable, as the caller promises.
                    unsafe { address.add(i).write_unaligned(Self::as_stored(wide)) };
                }
            }

            #[inline(always)]
            unsafe fn load_one(address: *const $value) -> $value {
                // SAFETY: the caller promises a readable element.
                unsafe { address.read_unaligned() }
            }

            #[inline(always)]
            unsafe fn store_one(wide: $value, address: *mut $value) {
                // SAFETY: the caller promises a writable element.
                unsafe { address.write_unaligned(Self::as_stored(wide)) };
            }

            #[inline(always)]
            fn as_stored(wide: $value) -> $value {
                $as_stored(wide)
            }
        }
    )*};
}

own_accumulator!(i8, u8, i32, u32, i64, u64; |wide| wide);
own_accumulator!(f32; |wide: f32| if wide.is_nan() { f32::NAN } else { wide });
own_accumulator!(f64; |wide: f64| if wide.is_nan() { f64::NAN } else { wide });

/// Floats of which several fill a 32-bit word.
///
/// Accumulators stand by position in the word: first those of the lowest element of every word, then those of the next. So
/// widening and narrowing are shifts within 32-bit lanes, and no lane changes its place or width, which costs more.
trait Packed: Value<Wide = f32> {
    const BITS: usize = 8 * size_of::<Self>();

    /// The element in the uppermost bits of `word`; what is below them is ignored.
    fn widen_top(word: u32) -> f32;

    /// The element in the lowest bits, zeros above.
    fn narrow_low(wide: f32) -> u32;

    /// # Safety
    /// The element is readable at `address`.
    #[inline(always)]
    unsafe fn widen_one(address: *const Self) -> f32 {
        // SAFETY: the caller's; every pattern of bits is an element.
        let bits = unsafe {
            match Self::BITS {
                8 => u32::from(address.cast::<u8>().read()),
                _ => u32::from(address.cast::<u16>().read_unaligned()),
            }
        };
        Self::widen_top(bits << (32 - Self::BITS))
    }

    /// # Safety
    /// The element is writable at `address`.
    #[inline(always)]
    unsafe fn narrow_one(wide: f32, address: *mut Self) {
        let bits = Self::narrow_low(wide);
        // SAFETY: the caller's.
        unsafe {
            match Self::BITS {
                8 => address.cast::<u8>().write(bits as u8),
                _ => address.cast::<u16>().write_unaligned(bits as u16),
            }
        }
    }

    /// # Safety
    /// `N` elements are readable at `address`.
    #[inline(always)]
    unsafe fn load_words<const N: usize>(address: *const Self) -> [f32; N] {
        let per_word = 32 / Self::BITS;
        let words = N / per_word;
        let mut wide = [0.0; N];
        for i in 0..words {
            // SAFETY: i is less than the number of words that N elements fill.
            let word = unsafe { address.cast::<u32>().add(i).read_unaligned() };
            for position in 0..per_word {
                wide[position * words + i] = Self::widen_top(word << (32 - Self::BITS * (position + 1)));
            }
        }
        wide
    }

    /// # Safety
    /// `N` elements are writable at `address`.
    #[inline(always)]
    unsafe fn store_words<const N: usize>(wide: &[f32; N], address: *mut Self) {
        let per_word = 32 / Self::BITS;
        let words = N / per_word;
        for i in 0..words {
            let mut word = 0;
            for position in 0..per_word {
                word |= Self::narrow_low(wide[position * words + i]) << (Self::BITS * position);
            }
            // SAFETY: i is less than the number of words that N elements fill.
            unsafe { address.cast::<u32>().add(i).write_unaligned(word) };
        }
    }
}

macro_rules! packed {
    ($($value:ty, $widen_top:expr, $narrow_low:expr;)*) => {$(
        impl Packed for $value {
            #[inline(always)]
            fn widen_top(word: u32) -> f32 {
                $widen_top(word)
            }
            #[inline(always)]
            fn narrow_low(wide: f32) -> u32 {
                $narrow_low(wide)
            }
        }
    )*};
}

packed! {
    bf16, |word| f32::from_bits(word & 0xffff_0000), |wide| narrow::bfloat16(wide).into();
    f16, |word| narrow::BINARY16.widen_top(word), |wide| narrow::BINARY16.narrow(wide);
    F8E4M3, |word| narrow::E4M3.widen_top(word), |wide| narrow::E4M3.narrow(wide);
    F8E5M2, |word| narrow::E5M2.widen_top(word), |wide| narrow::E5M2.narrow(wide);
}

macro_rules! value_by_words {
    ($($value:ty),*) => {$(
        impl Value for $value {
            type Wide = f32;

            #[inline(always)]
            unsafe fn load<T: Target, const N: usize>(address: *const $value) -> [f32; N] {
                // SAFETY: the caller promises N readable elements.
                unsafe { Self::load_words(address) }
            }
            #[inline(always)]
            unsafe fn store<T: Target, const N: usize>(wide: &[f32; N], address: *mut $value) {
                // SAFETY: the caller promises N writable elements.
                unsafe { Self::store_words(wide, address) }
            }
            #[inline(always)]
            unsafe fn load_one(address: *const $value) -> f32 {
                // SAFETY: the caller promises a readable element.
                unsafe { Self::widen_one(address) }
            }
            #[inline(always)]
            unsafe fn store_one(wide: f32, address: *mut $value) {
                // SAFETY: the caller promises a writable element.
                unsafe { Self::narrow_one(wide, address) };
            }
            #[inline(always)]
            fn as_stored(wide: f32) -> f32 {
                Self::widen_top(Self::narrow_low(wide) << (32 - Self::BITS))
            }
        }
    )*};
}

value_by_words!(bf16, F8E4M3, F8E5M2);

/// Converted by instructions of its own where the processor has them.
impl Value for f16 {
    type Wide = f32;

    #[inline(always)]
    unsafe fn load<T: Target, const N: usize>(address: *const f16) -> [f32; N] {
        // SAFETY: the caller promises N readable elements and the instructions of the set that is matched.
        unsafe {
            match T::SET {
                InstructionSet::Baseline => Self::load_words(address),
                #[cfg(target_arch = "x86_64")]
                InstructionSet::Avx2 => x86::load_avx2(address),
                #[cfg(target_arch = "x86_64")]
                InstructionSet::Avx512 => x86::load_avx512(address),
            }
        }
    }

    #[inline(always)]
    unsafe fn store<T: Target, const N: usize>(wide: &[f32; N], address: *mut f16) {
        // SAFETY: the caller promises N writable elements and the instructions of the set that is matched.
        unsafe {
            match T::SET {
                InstructionSet::Baseline => Self::store_words(wide, address),
                #[cfg(target_arch = "x86_64")]
                InstructionSet::Avx2 => x86::store_avx2(wide, address),
                #[cfg(target_arch = "x86_64")]
                InstructionSet::Avx512 => x86::store_avx512(wide, address),
            }
        }
    }

    #[inline(always)]
    unsafe fn load_one(address: *const f16) -> f32 {
        // SAFETY: the caller promises a readable element.
        unsafe { Self::widen_one(address) }
    }

    #[inline(always)]
    unsafe fn store_one(wide: f32, address: *mut f16) {
        // SAFETY: the caller promises a writable element.
        unsafe { Self::narrow_one(wide, address) };
    }

    #[inline(always)]
    fn as_stored(wide: f32) -> f32 {
        Self::widen_top(Self::narrow_low(wide) << (32 - Self::BITS))
    }
}

/// The conversions of F16C and AVX-512.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use half::f16;
    use std::arch::x86_64::*;

    /// To nearest, ties to even, whatever the control register says.
    const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT;

    /// # Safety
    /// `N` elements are readable at `address`, and the processor has AVX and F16C.
    #[inline(always)]
    pub unsafe fn load_avx2<const N: usize>(address: *const f16) -> [f32; N] {
        const { assert!(N.is_multiple_of(8)) };
        let mut wide = [0.0; N];
        for at in (0..N).step_by(8) {
            // SAFETY: 8 elements from `at` are below N, on either side; the caller promises the rest.
            unsafe {
                let narrow = _mm_loadu_si128(address.add(at).cast());
                _mm256_storeu_ps(wide.as_mut_ptr().add(at), _mm256_cvtph_ps(narrow));
            }
        }
        wide
    }

    /// # Safety
    /// `N` elements are writable at `address`, and the processor has AVX and F16C.
    #[inline(always)]
    pub unsafe fn store_avx2<const N: usize>(wide: &[f32; N], address: *mut f16) {
        const { assert!(N.is_multiple_of(8)) };
        for at in (0..N).step_by(8) {
            // SAFETY: 8 elements from `at` are below N, on either side; the caller promises the rest.
            unsafe {
                let value = _mm256_loadu_ps(wide.as_ptr().add(at));
                // The canonical NaN of f32 converts to that of f16.
                let is_nan = _mm256_cmp_ps::<_CMP_UNORD_Q>(value, value);
                let value = _mm256_blendv_ps(value, _mm256_set1_ps(f32::NAN), is_nan);
                _mm_storeu_si128(address.add(at).cast(), _mm256_cvtps_ph::<NEAREST>(value));
            }
        }
    }

    /// # Safety
    /// `N` elements are readable at `address`, and the processor has AVX-512 F.
    #[inline(always)]
    pub unsafe fn load_avx512<const N: usize>(address: *const f16) -> [f32; N] {
        const { assert!(N.is_multiple_of(16)) };
        let mut wide = [0.0; N];
        for at in (0..N).step_by(16) {
            // SAFETY: 16 elements from `at` are below N, on either side; the caller promises the rest.
            unsafe {
                let narrow = _mm256_loadu_si256(address.add(at).cast());
                _mm512_storeu_ps(wide.as_mut_ptr().add(at), _mm512_cvtph_ps(narrow));
            }
        }
        wide
    }

    /// # Safety
    /// `N` elements are writable at `address`, and the processor has AVX-512 F.
    #[inline(always)]
    pub unsafe fn store_avx512<const N: usize>(wide: &[f32; N], address: *mut f16) {
        const { assert!(N.is_multiple_of(16)) };
        for at in (0..N).step_by(16) {
            // SAFETY: 16 elements from `at` are below N, on either side; the caller promises the rest.
            unsafe {
                let value = _mm512_loadu_ps(wide.as_ptr().add(at));
                // The canonical NaN of f32 converts to that of f16.
                let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(value, value);
                let value = _mm512_mask_mov_ps(value, is_nan, _mm512_set1_ps(f32::NAN));
                _mm256_storeu_si256(address.add(at).cast(), _mm512_cvtps_ph::<NEAREST>(value));
            }
        }
    }
}
