//! Floats of 8 and 16 bits as bits: to `f32` exactly, from `f32` rounded once, without a branch, so that the compiler can turn
//! a loop over either function into vector code.

/// How a narrow float lays out its bits. All have a sign on top, then exponent, then mantissa, and subnormals.
#[derive(Clone, Copy)]
pub(super) struct Format {
    /// Bits below the sign.
    magnitude_bits: u32,
    mantissa_bits: u32,
    exponent_bias: u32,
    /// The smallest magnitude that is not a finite number; it and all above it are infinity or NaN.
    first_special: u32,
    /// The magnitude that results from a conversion of anything larger than the largest finite number.
    overflow: u32,
    /// The canonical NaN.
    nan: u32,
}

/// IEEE 754 binary16.
pub(super) const BINARY16: Format = Format {
    magnitude_bits: 15,
    mantissa_bits: 10,
    exponent_bias: 15,
    first_special: 0x7c00,
    overflow: 0x7c00,
    nan: 0x7e00,
};

/// "OCP 8-bit Floating Point Specification (OFP8)" revision 1.0: no infinity, one NaN per sign. Overflow saturates, as the
/// specification's saturating conversion mode does.
pub(super) const E4M3: Format =
    Format { magnitude_bits: 7, mantissa_bits: 3, exponent_bias: 7, first_special: 0x7f, overflow: 0x7e, nan: 0x7f };

/// "OCP 8-bit Floating Point Specification (OFP8)" revision 1.0: binary16 with its lower byte cut off. Overflow gives infinity,
/// as the specification's non-saturating conversion mode does.
pub(super) const E5M2: Format =
    Format { magnitude_bits: 7, mantissa_bits: 2, exponent_bias: 15, first_special: 0x7c, overflow: 0x7c, nan: 0x7e };

const F32_MANTISSA_BITS: u32 = 23;
const F32_BIAS: u32 = 127;
const F32_INFINITY: u32 = 0x7f80_0000;

impl Format {
    /// The bits of 2^`exponent` - `exponent_bias` as an `f32`: powers of two on this format's exponent scale.
    const fn power(self, exponent: u32) -> u32 {
        (exponent + F32_BIAS - self.exponent_bias) << F32_MANTISSA_BITS
    }

    /// How much further left the mantissa stands in an `f32`.
    const fn shift(self) -> u32 {
        F32_MANTISSA_BITS - self.mantissa_bits
    }

    /// The value of `code`, exactly; a NaN for every NaN.
    pub const fn widen(self, code: u32) -> f32 {
        self.widen_top(code << (31 - self.magnitude_bits))
    }

    /// The value of the code in the uppermost bits of `word`, whatever is below them.
    ///
    /// A subnormal becomes the mantissa of a number between the smallest normal and twice that, from which the smallest normal is
    /// subtracted. (Multiplying by a power of two would be shorter, but x86 multiplies subnormal `f32` in microcode.)
    #[inline(always)]
    pub const fn widen_top(self, word: u32) -> f32 {
        let below_sign = 31 - self.magnitude_bits;
        let magnitude_mask = (u32::MAX >> 1) & (u32::MAX << below_sign);
        let aligned = (word & magnitude_mask) >> (below_sign - self.shift());
        let normal = aligned + self.power(0);
        let smallest_normal = self.power(1);
        let subnormal = f32::from_bits(aligned + smallest_normal) - f32::from_bits(smallest_normal);
        let finite = if aligned < 1 << F32_MANTISSA_BITS { subnormal.to_bits() } else { normal };
        let special = self.first_special << self.shift();
        let bits = if aligned >= special { normal | F32_INFINITY } else { finite };
        f32::from_bits(bits | (word & (1 << 31)))
    }

    /// The code nearest to `value`, ties to the even code; overflow and NaN as the format says.
    ///
    /// The adder rounds: beside a number whose last mantissa bit weighs as much as that of the result, `value` becomes a count of
    /// such bits. The count and the exponents below the result's make the code, which is a running number of magnitudes.
    #[inline(always)]
    pub const fn narrow(self, value: f32) -> u32 {
        let bits = value.to_bits();
        let magnitude = bits & (u32::MAX >> 1);
        let sign = (bits & (1 << 31)) >> (31 - self.magnitude_bits);

        let limit = (self.overflow << self.shift()) + self.power(0);
        let bounded = if magnitude < limit { magnitude } else { limit };
        let exponent = bounded & F32_INFINITY;
        let exponent = if exponent > self.power(1) { exponent } else { self.power(1) };
        let weight = exponent + (self.shift() << F32_MANTISSA_BITS);
        let count = (f32::from_bits(bounded) + f32::from_bits(weight)).to_bits() - weight;
        let code = count + ((exponent - self.power(1)) >> self.shift());

        if magnitude > F32_INFINITY { self.nan } else { sign | code }
    }
}

/// The upper half of an `f32`, rounded to nearest, ties to even; NaN is the canonical one.
#[inline(always)]
pub(super) const fn bfloat16(value: f32) -> u16 {
    let bits = value.to_bits();
    let odd = (bits >> 16) & 1;
    // Overflows only for NaN, which the last line replaces.
    let rounded = (bits.wrapping_add(0x7fff + odd) >> 16) as u16;
    if value.is_nan() { 0x7fc0 } else { rounded }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    /// `value` and its two neighbours in `f32`, both signs.
    fn around(value: f32) -> [f32; 6] {
        let near = [value.next_down(), value, value.next_up()];
        [near[0], near[1], near[2], -near[0], -near[1], -near[2]]
    }

    #[test]
    fn every_binary16_widens_as_half_does() {
        for code in 0..=u16::MAX {
            let expected = f16::from_bits(code).to_f32();
            let widened = BINARY16.widen(code.into());
            assert!(widened.to_bits() == expected.to_bits() || (widened.is_nan() && expected.is_nan()), "{code:#06x}");
        }
    }

    #[test]
    fn binary16_rounds_as_half_does_at_every_value_and_midpoint() {
        for code in 0..=0x7c00_u16 {
            let value = f16::from_bits(code).to_f32();
            let next = f16::from_bits(code + 1).to_f32();
            for x in around(value).into_iter().chain(around(value + (next - value) / 2.0)) {
                let expected = f16::from_f32(x);
                let expected = if x.is_nan() { 0x7e00 } else { expected.to_bits() };
                assert_eq!(BINARY16.narrow(x), u32::from(expected), "{x:e}");
            }
        }
        for x in
            around(65520.0).into_iter().chain([f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY, 1e-45, -1e-45])
        {
            assert_eq!(BINARY16.narrow(x), u32::from(f16::from_f32(x).to_bits()), "{x:e}");
        }
    }

    #[test]
    fn bfloat16_rounds_as_half_does_at_every_value_and_midpoint() {
        for code in 0..=u16::MAX {
            for low in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let x = f32::from_bits(u32::from(code) << 16 | low);
                let expected = if x.is_nan() { 0x7fc0 } else { bf16::from_f32(x).to_bits() };
                assert_eq!(bfloat16(x), expected, "{x:e}");
            }
        }
    }
}
