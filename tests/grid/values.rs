//! Random values: a pure function of seed, rank and index, so that every rank knows every rank's input.

use std::ops::Range;
use unisono::{DType, Rank};

/// How a float type lays out its bits.
struct Format {
    exponent_bits: u32,
    mantissa_bits: u32,
}

fn format(dtype: DType) -> Option<Format> {
    let (exponent_bits, mantissa_bits) = match dtype {
        DType::F16 => (5, 10),
        DType::Bf16 => (8, 7),
        DType::F32 => (8, 23),
        DType::F64 => (11, 52),
        DType::Fp8E4M3 => (4, 3),
        DType::Fp8E5M2 => (5, 2),
        DType::I8 | DType::U8 | DType::I32 | DType::U32 | DType::I64 | DType::U64 => return None,
    };
    Some(Format { exponent_bits, mantissa_bits })
}

/// The elements `range` of `rank`'s input, as bytes. Integers use their full range. Floats lie between 1/2 and 4, or, in
/// one seed of four, are of every kind: any bits at all, zeros of both signs, infinities, NaNs, subnormals.
pub fn fill(dtype: DType, seed: u64, rank: Rank, range: Range<u64>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity((range.end - range.start) as usize * dtype.size());
    let format = format(dtype);
    let of_every_kind = seed.is_multiple_of(4);
    let stream = mix(seed ^ mix(rank as u64 + 1));
    for index in range {
        let random = mix(stream ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let bits = match &format {
            None => random,
            Some(format) if of_every_kind => format.any(random),
            Some(format) => format.moderate(random),
        };
        let size = dtype.size();
        let native = bits.to_ne_bytes();
        bytes.extend_from_slice(if cfg!(target_endian = "little") { &native[..size] } else { &native[8 - size..] });
    }
    bytes
}

/// The finalizer of splitmix64.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Format {
    fn mantissa(&self, random: u64) -> u64 {
        random & ((1 << self.mantissa_bits) - 1)
    }

    fn sign(&self, random: u64) -> u64 {
        (random >> 63) << (self.exponent_bits + self.mantissa_bits)
    }

    fn moderate(&self, random: u64) -> u64 {
        let bias = (1 << (self.exponent_bits - 1)) - 1;
        let exponent = bias - 1 + (random >> 60) % 3;
        self.sign(random) | exponent << self.mantissa_bits | self.mantissa(random)
    }

    /// Half of the elements are moderate, so that not every result is a NaN.
    fn any(&self, random: u64) -> u64 {
        let top = ((1 << self.exponent_bits) - 1) << self.mantissa_bits;
        match (random >> 56) % 16 {
            0 => self.sign(random),
            1 if random.is_multiple_of(4) => self.sign(random) | top,
            2 if random.is_multiple_of(4) => self.sign(random) | top | self.mantissa(random),
            3 => self.sign(random) | self.mantissa(random),
            4 => self.sign(random) | 1,
            5 | 6 => random,
            _ => self.moderate(random),
        }
    }
}

#[test]
fn wild_floats_have_every_kind_and_tame_ones_are_moderate() {
    let floats = |seed| -> Vec<f32> {
        let bytes = fill(DType::F32, seed, 1, 0..4000);
        bytes.chunks_exact(4).map(bytemuck::pod_read_unaligned).collect()
    };
    let wild = floats(4);
    let has = |holds: fn(&f32) -> bool| wild.iter().any(holds);
    assert!(has(|x| x.is_nan()) && has(|x| x.is_infinite()) && has(|x| x.is_subnormal()));
    assert!(has(|x| x.to_bits() == 0) && has(|x| x.to_bits() == 1 << 31));
    assert!(floats(5).iter().all(|x| (0.5..4.0).contains(&x.abs())));
    assert_eq!(fill(DType::I64, 9, 2, 0..9)[24..], fill(DType::I64, 9, 2, 3..9));
}
