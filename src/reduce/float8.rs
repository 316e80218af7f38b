//! The two 8-bit floats of the "OCP 8-bit Floating Point Specification (OFP8)", revision 1.0, as numbers.

use super::narrow::{E4M3, E5M2};
use crate::types::{F8E4M3, F8E5M2};
use std::fmt;

impl F8E4M3 {
    /// The nearest value, ties to even. Saturates: everything beyond ±448, infinity too, becomes ±448. NaN becomes 0x7f.
    pub const fn from_f32(value: f32) -> F8E4M3 {
        F8E4M3(E4M3.narrow(value) as u8)
    }

    /// The same number; exact.
    pub const fn to_f32(self) -> f32 {
        E4M3.widen(self.0 as u32)
    }
}

impl F8E5M2 {
    /// The nearest value, ties to even. As in IEEE 754, what rounds beyond ±57344 becomes infinity. NaN becomes 0x7e.
    pub const fn from_f32(value: f32) -> F8E5M2 {
        F8E5M2(E5M2.narrow(value) as u8)
    }

    /// The same number; exact.
    pub const fn to_f32(self) -> f32 {
        E5M2.widen(self.0 as u32)
    }
}

macro_rules! as_a_number {
    ($($type:ty),*) => {$(
        impl From<$type> for f32 {
            fn from(value: $type) -> f32 {
                value.to_f32()
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.to_f32(), f)
            }
        }
    )*};
}

as_a_number!(F8E4M3, F8E5M2);

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's formula, for finite codes.
    fn value(code: u8, mantissa_bits: i32, bias: i32) -> f64 {
        let sign = if code & 0x80 == 0 { 1.0 } else { -1.0 };
        let exponent = i32::from(code & 0x7f) >> mantissa_bits;
        let fraction = f64::from(code & ((1 << mantissa_bits) - 1)) / f64::from(1 << mantissa_bits);
        match exponent {
            0 => sign * fraction * 2f64.powi(1 - bias),
            _ => sign * (1.0 + fraction) * 2f64.powi(exponent - bias),
        }
    }

    #[test]
    fn every_code_has_the_value_of_the_formula() {
        for code in 0..=u8::MAX {
            let (e4m3, e5m2) = (F8E4M3(code).to_f32(), F8E5M2(code).to_f32());
            match code & 0x7f {
                0x7f => assert!(e4m3.is_nan()),
                _ => assert_eq!(f64::from(e4m3).to_bits(), value(code, 3, 7).to_bits(), "{code:#04x}"),
            }
            match code & 0x7f {
                0x7d.. => assert!(e5m2.is_nan()),
                0x7c => assert!(e5m2.is_infinite() && (e5m2 < 0.0) == (code & 0x80 != 0)),
                _ => assert_eq!(f64::from(e5m2).to_bits(), value(code, 2, 15).to_bits(), "{code:#04x}"),
            }
        }
    }

    /// At every value, at every midpoint of two neighbours and one `f32` to either side of both, the result is the code that a
    /// search over `finite` codes finds, and `beyond` where the largest one's upper midpoint is reached or passed.
    fn rounds_to_nearest(from: fn(f32) -> u8, to: fn(u8) -> f32, largest: u8, beyond: u8) {
        let value = |code: u8| f64::from(to(code));
        let spacing = value(largest) - value(largest - 1);
        let limit = value(largest) + spacing / 2.0;
        let nearest = |x: f64| -> u8 {
            // The tie at the limit goes to the even neighbour, which is `largest` only if that is even.
            if x > limit || (x == limit && largest & 1 == 1) {
                return beyond;
            }
            let distance = |code: u8| (value(code) - x).abs();
            (0..=largest).min_by(|&a, &b| distance(a).total_cmp(&distance(b)).then((a & 1).cmp(&(b & 1)))).unwrap_or(0)
        };
        for code in 0..=largest {
            let next = if code == largest { value(code) + spacing } else { value(code + 1) };
            for x in [value(code), (value(code) + next) / 2.0] {
                let x = x as f32;
                for x in [x.next_down().max(0.0), x, x.next_up()] {
                    assert_eq!(from(x), nearest(x.into()), "{x:e}");
                    assert_eq!(from(-x), nearest(x.into()) | 0x80, "-{x:e}");
                }
            }
        }
        for x in [f32::MAX, f32::INFINITY] {
            assert_eq!((from(x), from(-x)), (beyond, beyond | 0x80));
        }
    }

    #[test]
    fn conversion_rounds_to_nearest_even_at_every_midpoint() {
        rounds_to_nearest(|x| F8E4M3::from_f32(x).0, |code| F8E4M3(code).to_f32(), 0x7e, 0x7e);
        rounds_to_nearest(|x| F8E5M2::from_f32(x).0, |code| F8E5M2(code).to_f32(), 0x7b, 0x7c);
    }

    #[test]
    fn nan_is_canonical_and_display_is_the_number() {
        for nan in [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001)] {
            assert_eq!((F8E4M3::from_f32(nan).0, F8E5M2::from_f32(nan).0), (0x7f, 0x7e));
        }
        assert_eq!(format!("{} {:.2}", F8E4M3::from_f32(-448.0), F8E5M2::from_f32(1.3)), "-448 1.25");
        assert_eq!(f32::from(F8E5M2(1)), 2f32.powi(-16));
    }
}
