//! Every kernel, compiled for every instruction set that this machine has, against the definition.

use super::instruction_set::InstructionSet;
use super::{Kernel, Source, scalar};
use crate::types::{DType, ReduceOp};
use half::{bf16, f16};
use proptest::prelude::*;

/// SplitMix64 (Steele, Lea and Flood 2014): the same numbers for the same seed everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Where types have their edges: zeros, subnormals, one, the largest, infinities and NaNs of both kinds, by their uppermost bits
/// and the bit below all others.
fn edge(dtype: DType, random: &mut Random) -> u64 {
    let bits = 8 * dtype.size() as u32;
    let below_sign = u64::MAX >> (65 - bits);
    let exponent = match dtype {
        DType::F64 => 0x7ff << 52,
        DType::F32 => 0xff << 23,
        DType::Bf16 => 0xff << 7,
        DType::F16 => 0x1f << 10,
        DType::Fp8E4M3 => 0xf << 3,
        DType::Fp8E5M2 => 0x1f << 2,
        DType::I8 | DType::U8 | DType::I32 | DType::U32 | DType::I64 | DType::U64 => below_sign & !1,
    };
    let magnitudes = [0, 1, 2, exponent, exponent - 1, exponent | 1, below_sign, below_sign - 1, exponent / 2, 3];
    let sign = if random.below(2) == 0 { 0 } else { below_sign + 1 };
    magnitudes[random.below(magnitudes.len())] | sign
}

/// One element: an edge, arbitrary bits, or (for floats) a number near one, whose sums must be rounded.
fn element(dtype: DType, random: &mut Random) -> Vec<u8> {
    let near_one = 0.5 + (random.next() >> 11) as f64 / (1u64 << 53) as f64 * 3.0;
    let bits = match (random.below(4), dtype) {
        (0, _) => edge(dtype, random),
        (1 | 2, DType::F64) => near_one.to_bits(),
        (1 | 2, DType::F32) => (near_one as f32).to_bits().into(),
        (1 | 2, DType::F16) => f16::from_f64(near_one).to_bits().into(),
        (1 | 2, DType::Bf16) => bf16::from_f64(near_one).to_bits().into(),
        _ => random.next(),
    };
    bits.to_le_bytes()[..dtype.size()].to_vec()
}

/// Bytes between two margins that must stay as they are, at a chosen misalignment.
struct Memory {
    bytes: Vec<u8>,
    start: usize,
}

const MARGIN: usize = 64;
const MARGIN_BYTE: u8 = 0xa5;

impl Memory {
    fn new(content: &[u8], misalignment: usize) -> Memory {
        let mut bytes = vec![MARGIN_BYTE; content.len() + 3 * MARGIN];
        let start = MARGIN + bytes.as_ptr().align_offset(MARGIN) % MARGIN + misalignment;
        bytes[start..start + content.len()].copy_from_slice(content);
        Memory { bytes, start }
    }

    fn content(&self, len: usize) -> &[u8] {
        &self.bytes[self.start..self.start + len]
    }

    fn margins_are_intact(&self, len: usize) -> bool {
        let (before, after) = (&self.bytes[..self.start], &self.bytes[self.start + len..]);
        before.iter().chain(after).all(|&byte| byte == MARGIN_BYTE)
    }
}

/// One call of a kernel.
#[derive(Clone, Debug)]
struct Call {
    ranks: usize,
    sources: Vec<(Vec<u8>, bool)>,
    last: bool,
    /// The source whose memory is the destination.
    in_place: Option<usize>,
    misalignments: [usize; 10],
}

impl Call {
    fn out_of_place(ranks: usize, sources: Vec<(Vec<u8>, bool)>) -> Call {
        Call { ranks, sources, last: true, in_place: None, misalignments: [0; 10] }
    }

    fn expected(&self, dtype: DType, op: ReduceOp) -> Vec<u8> {
        let sources: Vec<(&[u8], bool)> = self.sources.iter().map(|(bytes, raw)| (&bytes[..], *raw)).collect();
        let mut expected = vec![0; sources[0].0.len()];
        scalar::fold(dtype, op, self.ranks, &sources, self.last, &mut expected);
        expected
    }

    /// Runs the kernel and panics unless its result is `expected` and nothing else was written.
    fn check(&self, set: InstructionSet, dtype: DType, op: ReduceOp, expected: &[u8]) {
        let len = expected.len();
        let mut memories: Vec<Memory> =
            self.sources.iter().zip(self.misalignments).map(|((bytes, _), at)| Memory::new(bytes, at)).collect();
        memories.push(Memory::new(&vec![0x5a; len], self.misalignments[9]));
        let target = self.in_place.unwrap_or(memories.len() - 1);
        let start = memories[target].start;
        let destination = memories[target].bytes[start..].as_mut_ptr();
        let sources: Vec<Source> = (0..self.sources.len())
            .map(|i| match i == target {
                true => Source { address: destination, raw: self.sources[i].1 },
                false => Source { address: memories[i].content(len).as_ptr(), raw: self.sources[i].1 },
            })
            .collect();
        let kernel = Kernel::with_instruction_set(set, dtype, op, self.ranks);
        // SAFETY: all memories have `len` bytes and are apart but for the source that is the destination; the set is available.
        unsafe { kernel.run(&sources, destination, len / dtype.size(), self.last) };

        let result = memories[target].content(len);
        if let Some(at) = (0..len / dtype.size()).find(|at| {
            let element = at * dtype.size()..(at + 1) * dtype.size();
            result[element.clone()] != expected[element]
        }) {
            let element = at * dtype.size()..(at + 1) * dtype.size();
            let operands: Vec<_> = self.sources.iter().map(|(bytes, raw)| (&bytes[element.clone()], raw)).collect();
            panic!(
                "{set:?} {op:?} of {dtype} among {}, last {}, element {at}: {:x?} of {operands:x?} instead of {:x?}",
                self.ranks,
                self.last,
                &result[element.clone()],
                &expected[element.clone()]
            );
        }
        for (i, memory) in memories.iter().enumerate() {
            assert!(memory.margins_are_intact(len), "{set:?} {op:?} of {dtype} wrote beside {len} bytes");
            let kept = self.sources.get(i).is_none_or(|(bytes, _)| i == target || memory.content(len) == bytes);
            assert!(kept, "{set:?} {op:?} of {dtype} wrote into source {i}");
        }
    }

    fn check_all_sets(&self, dtype: DType, op: ReduceOp) {
        let expected = self.expected(dtype, op);
        for set in InstructionSet::available() {
            self.check(set, dtype, op, &expected);
        }
    }
}

const FACTORS: [f64; 7] = [0.5, 1.0 / 3.0, -3.0, 1e-3, 1e300, f64::NAN, 0.0];
const RANKS: [usize; 10] = [1, 2, 3, 7, 127, 128, 255, 256, 65_537, u32::MAX as usize];
const COUNTS: [usize; 10] = [0, 1, 7, 31, 63, 64, 65, 256, 257, 1000];

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_kernel_computes_the_bits_of_the_definition(
        seed: u64,
        source_count in 1..=9usize,
        count in prop::sample::select(&COUNTS[..]),
        ranks in prop::sample::select(&RANKS[..]),
        factor in prop::sample::select(&FACTORS[..]),
        last: bool,
        in_place in prop::option::of(any::<prop::sample::Index>()),
        misalignments in prop::array::uniform10(0..MARGIN),
    ) {
        for dtype in DType::ALL {
            let mut random = Random(seed);
            let sources: Vec<(Vec<u8>, bool)> = (0..source_count)
                .map(|_| ((0..count).flat_map(|_| element(dtype, &mut random)).collect(), random.below(2) == 0))
                .collect();
            let in_place = in_place.map(|index| index.index(source_count));
            let call = Call { ranks, sources, last, in_place, misalignments };
            for op in ReduceOp::ALL {
                let op = if let ReduceOp::PreMulSum(_) = op { ReduceOp::PreMulSum(factor) } else { op };
                call.check_all_sets(dtype, op);
            }
        }
    }
}

#[test]
fn every_pair_of_8_bit_values_is_reduced_as_defined() {
    let left: Vec<u8> = (0..=u16::MAX).map(|pair| (pair >> 8) as u8).collect();
    let right: Vec<u8> = (0..=u16::MAX).map(|pair| pair as u8).collect();
    let call = Call::out_of_place(2, vec![(left, true), (right, false)]);
    for dtype in [DType::Fp8E4M3, DType::Fp8E5M2, DType::I8, DType::U8] {
        for op in ReduceOp::ALL {
            call.check_all_sets(dtype, op);
        }
    }
}

#[test]
fn every_8_and_16_bit_value_is_averaged_and_scaled_as_defined() {
    for dtype in [DType::F16, DType::Bf16, DType::Fp8E4M3, DType::Fp8E5M2, DType::I8, DType::U8] {
        let all: Vec<u8> = match dtype.size() {
            1 => (0..=u8::MAX).collect(),
            _ => (0..=u16::MAX).flat_map(u16::to_ne_bytes).collect(),
        };
        for ranks in RANKS {
            Call::out_of_place(ranks, vec![(all.clone(), true)]).check_all_sets(dtype, ReduceOp::Avg);
        }
        for factor in FACTORS {
            Call::out_of_place(1, vec![(all.clone(), true)]).check_all_sets(dtype, ReduceOp::PreMulSum(factor));
        }
    }
}

/// Against `half`, not the definition: what a fold of one operand does to every value.
#[test]
fn a_fold_of_one_16_bit_operand_copies_it_and_makes_nan_canonical() {
    let codes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_ne_bytes).collect();
    for (dtype, is_nan, nan) in [
        (DType::F16, (|code| f16::from_bits(code).is_nan()) as fn(u16) -> bool, 0x7e00_u16),
        (DType::Bf16, |code| bf16::from_bits(code).is_nan(), 0x7fc0),
    ] {
        let expected: Vec<u8> =
            (0..=u16::MAX).flat_map(|code| if is_nan(code) { nan } else { code }.to_ne_bytes()).collect();
        for set in InstructionSet::available() {
            for op in [ReduceOp::Sum, ReduceOp::Max] {
                Call::out_of_place(1, vec![(codes.clone(), false)]).check(set, dtype, op, &expected);
            }
        }
    }
}

/// Some results of the rules as the module states them, worked out by hand.
#[test]
fn the_stated_rules_hold() {
    fn reduce<T: bytemuck::Pod>(dtype: DType, op: ReduceOp, operands: &[T]) -> T {
        let sources: Vec<(&[u8], bool)> = operands.iter().map(|value| (bytemuck::bytes_of(value), true)).collect();
        let mut defined = [T::zeroed()];
        scalar::fold(dtype, op, operands.len(), &sources, true, bytemuck::cast_slice_mut(&mut defined));
        let owned = sources.iter().map(|(bytes, raw)| (bytes.to_vec(), *raw)).collect();
        Call::out_of_place(operands.len(), owned).check_all_sets(dtype, op);
        defined[0]
    }
    use DType::{Bf16, F16, F32, F64, Fp8E4M3, Fp8E5M2, I8, I32, U8};
    use ReduceOp::{Avg, Max, Min, PreMulSum, Prod, Sum};

    assert_eq!(reduce(I8, Sum, &[127_i8, 1]), -128);
    assert_eq!(reduce(I8, Avg, &[-7_i8, 0]), -3, "truncated towards zero");
    assert_eq!(reduce(I8, Avg, &[127_i8, 1]), -64, "divided after the wrapping sum");
    assert_eq!(reduce(U8, PreMulSum(-1.0), &[200_u8, 3]), 0, "saturated");
    assert_eq!(reduce(I32, PreMulSum(0.5), &[-3_i32, 5]), 1, "each truncated, then summed");
    assert_eq!(reduce(I32, PreMulSum(f64::NAN), &[5_i32]), 0);

    assert_eq!(reduce(F32, Min, &[0.0_f32, -0.0]).to_bits(), 1 << 31);
    assert_eq!(reduce(F32, Max, &[-0.0_f32, 0.0]).to_bits(), 0);
    assert_eq!(reduce(F32, Sum, &[-0.0_f32]).to_bits(), 1 << 31, "no zero is added");
    assert_eq!(reduce(F32, Min, &[f32::from_bits(0xff80_0001), 1.0]).to_bits(), 0x7fc0_0000);
    assert_eq!(reduce(F64, Max, &[1.0, -f64::NAN]).to_bits(), 0x7ff8 << 48);
    assert_eq!(reduce(F32, Sum, &[1e8_f32, 1.0, -1e8]), 0.0, "rounded after every addition");
    assert_eq!(reduce(F32, Avg, &[10.0_f32, 0.0, 0.0]), 10.0 / 3.0, "no reciprocal");

    let sum = [2048.0, 1.0, 1.0].map(f16::from_f32);
    assert_eq!(reduce(F16, Sum, &sum).to_f32(), 2050.0, "rounded once");
    assert_eq!(reduce(F16, Sum, &[f16::MAX, f16::MAX]), f16::INFINITY);
    assert_eq!(reduce(F16, Avg, &[f16::MAX, f16::MAX]), f16::MAX, "divided before the rounding");
    assert_eq!(reduce(Bf16, Sum, &[bf16::MAX, bf16::MAX]), bf16::INFINITY);
    assert_eq!(reduce(Bf16, Sum, &[256.0, 1.0].map(bf16::from_f32)).to_f32(), 256.0, "the tie goes to even");

    let (e4m3, e5m2) = (crate::F8E4M3::from_f32, crate::F8E5M2::from_f32);
    assert_eq!(reduce(Fp8E4M3, Sum, &[e4m3(448.0), e4m3(448.0)]).to_f32(), 448.0);
    assert_eq!(reduce(Fp8E4M3, Prod, &[e4m3(-448.0), e4m3(448.0)]).to_f32(), -448.0);
    assert_eq!(reduce(Fp8E4M3, Min, &[e4m3(1.0), crate::F8E4M3(0xff)]).0, 0x7f);
    assert_eq!(reduce(Fp8E5M2, Sum, &[e5m2(57344.0), e5m2(4096.0)]).to_f32(), f32::INFINITY);
    assert_eq!(reduce(Fp8E5M2, Sum, &[e5m2(57344.0), e5m2(3584.0)]).to_f32(), 57344.0);
    assert_eq!(reduce(Fp8E5M2, Sum, &[e5m2(f32::INFINITY), e5m2(f32::NEG_INFINITY)]).0, 0x7e);
}
