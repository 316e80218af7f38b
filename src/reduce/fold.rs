//! The fast paths: one loop over blocks of elements, compiled for every type, operation and instruction set.
//!
//! A block's accumulators fill 256 bytes, which is 4 registers of AVX-512 or 8 of AVX2: few enough to stay in registers while
//! the sources pass by, enough to hide the latency of an addition. A block is read from all sources before it is written, so
//! the destination may be one of them; the rest of less than a block goes through a padded copy.

#[cfg(target_arch = "x86_64")]
use super::instruction_set::{Avx2, Avx512};
use super::instruction_set::{Baseline, InstructionSet, Target};
use super::number::Number;
use super::value::Value;
use super::{Kernel, Source};
use crate::types::{DType, F8E4M3, F8E5M2, ReduceOp};
use half::{bf16, f16};

/// One compiled loop, with the arguments of [`Kernel::run`] and its conditions.
pub(super) type Fold = unsafe fn(&Kernel, &[Source], *mut u8, usize, bool);

/// The loop for a type and an operation. To call it, the processor must have the instructions of `set`.
pub(super) fn select(set: InstructionSet, dtype: DType, op: ReduceOp) -> Fold {
    match dtype {
        DType::I8 => by_operation::<i8, 256>(set, op),
        DType::U8 => by_operation::<u8, 256>(set, op),
        DType::I32 => by_operation::<i32, 64>(set, op),
        DType::U32 => by_operation::<u32, 64>(set, op),
        DType::I64 => by_operation::<i64, 32>(set, op),
        DType::U64 => by_operation::<u64, 32>(set, op),
        DType::F16 => by_operation::<f16, 64>(set, op),
        DType::Bf16 => by_operation::<bf16, 64>(set, op),
        DType::F32 => by_operation::<f32, 64>(set, op),
        DType::F64 => by_operation::<f64, 32>(set, op),
        DType::Fp8E4M3 => by_operation::<F8E4M3, 64>(set, op),
        DType::Fp8E5M2 => by_operation::<F8E5M2, 64>(set, op),
    }
}

fn by_operation<V: Value, const N: usize>(set: InstructionSet, op: ReduceOp) -> Fold {
    match op {
        ReduceOp::Sum => by_set::<V, Sum, N>(set),
        ReduceOp::Prod => by_set::<V, Product, N>(set),
        ReduceOp::Min => by_set::<V, Minimum, N>(set),
        ReduceOp::Max => by_set::<V, Maximum, N>(set),
        ReduceOp::Avg => by_set::<V, Average, N>(set),
        ReduceOp::PreMulSum(_) => by_set::<V, PremultipliedSum, N>(set),
    }
}

fn by_set<V: Value, O: Operation, const N: usize>(set: InstructionSet) -> Fold {
    match set {
        InstructionSet::Baseline => fold::<Baseline, V, O, N>,
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => fold_avx2::<V, O, N>,
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => fold_avx512::<V, O, N>,
    }
}

// FMA, which AVX-512 brings along, changes nothing: the compiler never fuses a product and a sum that are written apart.

/// # Safety
/// As [`fold`]; the target features are the instructions.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c")]
unsafe fn fold_avx2<V: Value, O: Operation, const N: usize>(
    kernel: &Kernel,
    sources: &[Source],
    destination: *mut u8,
    count: usize,
    last: bool,
) {
    // SAFETY: the caller keeps the conditions.
    unsafe { fold::<Avx2, V, O, N>(kernel, sources, destination, count, last) }
}

/// # Safety
/// As [`fold`]; the target features are the instructions.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
unsafe fn fold_avx512<V: Value, O: Operation, const N: usize>(
    kernel: &Kernel,
    sources: &[Source],
    destination: *mut u8,
    count: usize,
    last: bool,
) {
    // SAFETY: the caller keeps the conditions.
    unsafe { fold::<Avx512, V, O, N>(kernel, sources, destination, count, last) }
}

/// An operation as a type.
trait Operation {
    const PREMULTIPLIES: bool = false;
    const DIVIDES: bool = false;

    fn combine<A: Number>(left: A, right: A) -> A;
}

struct Sum;
impl Operation for Sum {
    #[inline(always)]
    fn combine<A: Number>(left: A, right: A) -> A {
        left.add(right)
    }
}

struct Product;
impl Operation for Product {
    #[inline(always)]
    fn combine<A: Number>(left: A, right: A) -> A {
        left.multiply(right)
    }
}

struct Minimum;
impl Operation for Minimum {
    #[inline(always)]
    fn combine<A: Number>(left: A, right: A) -> A {
        left.lesser(right)
    }
}

struct Maximum;
impl Operation for Maximum {
    #[inline(always)]
    fn combine<A: Number>(left: A, right: A) -> A {
        left.greater(right)
    }
}

struct Average;
impl Operation for Average {
    const DIVIDES: bool = true;

    #[inline(always)]
    fn combine<A: Number>(left: A, right: A) -> A {
        left.add(right)
    }
}

struct PremultipliedSum;
impl Operation for PremultipliedSum {
    const PREMULTIPLIES: bool = true;

    #[inline(always)]
    fn combine<A: Number>(left: A, right: A) -> A {
        left.add(right)
    }
}

/// # Safety
/// As [`Kernel::run`]; the processor has the instructions of `T`.
#[inline(always)]
unsafe fn fold<T: Target, V: Value, O: Operation, const N: usize>(
    kernel: &Kernel,
    sources: &[Source],
    destination: *mut u8,
    count: usize,
    last: bool,
) {
    let destination = destination.cast::<V>();
    let whole = count - count % N;
    let most = count - count % FEW;
    // SAFETY: the caller promises `count` elements behind every address, and `whole <= most <= count`.
    unsafe {
        Block::<T, V, O, N>::new(kernel, last).reduce_blocks(sources, 0..whole, destination);
        let block = Block::<T, V, O, FEW>::new(kernel, last);
        block.reduce_blocks(sources, whole..most, destination);
        if count - most > ONE_BY_ONE {
            block.reduce_rest(sources, most, count - most, destination.add(most));
        } else {
            (most..count).for_each(|at| block.reduce_one(sources, at, destination.add(at)));
        }
    }
}

/// Elements of the blocks for what is less than a whole block: as few as every instruction set can load.
const FEW: usize = 16;
/// Up to so many elements go one by one: a padded copy is written in small parts and read in large ones, for which a processor
/// waits until the parts have left its store buffer.
const ONE_BY_ONE: usize = 4;

/// What is the same for every block of one run.
struct Block<T, V: Value, O, const N: usize> {
    factor: <V::Wide as Number>::Factor,
    divisor: <V::Wide as Number>::Divisor,
    divide: bool,
    kind: std::marker::PhantomData<(T, O)>,
}

impl<T: Target, V: Value, O: Operation, const N: usize> Block<T, V, O, N> {
    #[inline(always)]
    fn new(kernel: &Kernel, last: bool) -> Self {
        let factor = match kernel.op {
            ReduceOp::PreMulSum(factor) => factor,
            _ => 1.0,
        };
        Block {
            factor: V::Wide::factor(factor),
            divisor: V::Wide::divisor(kernel.ranks),
            divide: O::DIVIDES && last,
            kind: std::marker::PhantomData,
        }
    }

    /// Folds the `N` elements that lie at `locate(source)` of every source.
    ///
    /// # Safety
    /// `N` elements are readable at every `locate(source)`, and the processor has the instructions of `T`.
    #[inline(always)]
    unsafe fn reduce(&self, sources: &[Source], mut locate: impl FnMut(&Source) -> *const V) -> [V::Wide; N] {
        // SAFETY: the caller promises the elements and the instructions.
        let mut load = |source: &Source| unsafe { self.load(locate(source), source.raw) };
        let mut result = load(&sources[0]);
        for source in &sources[1..] {
            let right = load(source);
            for i in 0..N {
                result[i] = O::combine(result[i], right[i]);
            }
        }
        if self.divide {
            for value in &mut result {
                *value = value.divide(self.divisor);
            }
        }
        result
    }

    /// # Safety
    /// `N` elements are readable at `address`, and the processor has the instructions of `T`.
    #[inline(always)]
    unsafe fn load(&self, address: *const V, raw: bool) -> [V::Wide; N] {
        // SAFETY: the caller promises the elements and the instructions.
        let mut wide = unsafe { V::load::<T, N>(address) };
        if O::PREMULTIPLIES && raw {
            for value in &mut wide {
                *value = V::as_stored(value.scale(self.factor));
            }
        }
        wide
    }

    /// Folds the elements of `range`, whole blocks.
    ///
    /// # Safety
    /// These elements are readable at every source and writable behind `destination`, and the processor has the instructions of `T`.
    #[inline(always)]
    unsafe fn reduce_blocks(&self, sources: &[Source], range: std::ops::Range<usize>, destination: *mut V) {
        for at in range.step_by(N) {
            // SAFETY: the caller's, since blocks are whole.
            unsafe {
                let result = match sources {
                    // The usual number of sources, apart so that its loop is unrolled.
                    [first, second] => self.reduce(&[*first, *second], |source| source.address.cast::<V>().add(at)),
                    _ => self.reduce(sources, |source| source.address.cast::<V>().add(at)),
                };
                V::store::<T, N>(&result, destination.add(at));
            }
        }
    }

    /// Folds the elements `at` of every source.
    ///
    /// # Safety
    /// They are readable, and `destination` is writable for one element.
    #[inline(always)]
    unsafe fn reduce_one(&self, sources: &[Source], at: usize, destination: *mut V) {
        let load = |source: &Source| {
            // SAFETY: the caller's.
            let wide = unsafe { V::load_one(source.address.cast::<V>().add(at)) };
            if O::PREMULTIPLIES && source.raw { V::as_stored(wide.scale(self.factor)) } else { wide }
        };
        let first = load(&sources[0]);
        let all = sources[1..].iter().fold(first, |left, source| O::combine(left, load(source)));
        let result = if self.divide { all.divide(self.divisor) } else { all };
        // SAFETY: the caller's.
        unsafe { V::store_one(result, destination) };
    }

    /// The last `count < N` elements, from `at` of every source, by way of a padded copy.
    ///
    /// # Safety
    /// `count` elements are readable from `at` of every source and writable at `destination`, and the processor has the
    /// instructions of `T`.
    #[inline(always)]
    unsafe fn reduce_rest(&self, sources: &[Source], at: usize, count: usize, destination: *mut V) {
        let mut padded = [V::zeroed(); N];
        let bytes = count * size_of::<V>();
        // SAFETY: `padded` has `N > count` elements and is read before the next source is copied into it; the caller promises
        // `count` elements at every source and at the destination.
        unsafe {
            let result = self.reduce(sources, |source| {
                let from = source.address.cast::<V>().add(at);
                std::ptr::copy_nonoverlapping(from.cast::<u8>(), padded.as_mut_ptr().cast(), bytes);
                padded.as_ptr()
            });
            V::store::<T, N>(&result, padded.as_mut_ptr());
            std::ptr::copy_nonoverlapping(padded.as_ptr().cast::<u8>(), destination.cast(), bytes);
        }
    }
}
