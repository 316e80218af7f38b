//! The arithmetic of accumulators, free of branches.

/// What a fold accumulates in: every integer and wide float in itself, narrow floats in `f32`.
pub(super) trait Number: Copy + Default {
    /// A rank count, in the type in which it divides.
    type Divisor: Copy;
    /// A pre-multiplier, in the type in which it multiplies.
    type Factor: Copy;

    fn divisor(ranks: usize) -> Self::Divisor;
    fn factor(factor: f64) -> Self::Factor;

    fn add(self, other: Self) -> Self;
    fn multiply(self, other: Self) -> Self;
    fn lesser(self, other: Self) -> Self;
    fn greater(self, other: Self) -> Self;
    fn divide(self, divisor: Self::Divisor) -> Self;
    fn scale(self, factor: Self::Factor) -> Self;
}

macro_rules! integer {
    ($number:ty, divided as $divisor:ty) => {
        impl Number for $number {
            type Divisor = $divisor;
            type Factor = f64;

            #[inline(always)]
            fn divisor(ranks: usize) -> $divisor {
                ranks as $divisor
            }
            #[inline(always)]
            fn factor(factor: f64) -> f64 {
                factor
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline(always)]
            fn multiply(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            #[inline(always)]
            fn lesser(self, other: Self) -> Self {
                self.min(other)
            }
            #[inline(always)]
            fn greater(self, other: Self) -> Self {
                self.max(other)
            }
            #[inline(always)]
            fn divide(self, divisor: $divisor) -> Self {
                (self as $divisor / divisor) as Self
            }
            #[inline(always)]
            fn scale(self, factor: f64) -> Self {
                (self as f64 * factor) as Self
            }
        }
    };
}

// Vector units divide floats only. A quotient a/d that is no integer is at least 1/d away from one, and a float of p mantissa
// bits errs by at most a/d / 2^p: so truncation is that of integers while |a| < 2^p. (A count above 2^p may be rounded on
// its way into the float; the quotient is then between 0 and 1 either way.)
integer!(i8, divided as f32);
integer!(u8, divided as f32);
integer!(i32, divided as f64);
integer!(u32, divided as f64);
integer!(i64, divided as i64);
integer!(u64, divided as u64);

macro_rules! float {
    ($number:ty) => {
        impl Number for $number {
            type Divisor = $number;
            type Factor = $number;

            #[inline(always)]
            fn divisor(ranks: usize) -> $number {
                ranks as $number
            }
            #[inline(always)]
            fn factor(factor: f64) -> $number {
                factor as $number
            }
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self + other
            }
            #[inline(always)]
            fn multiply(self, other: Self) -> Self {
                self * other
            }
            /// Each comparison yields its second operand if the two are equal or unordered. So the two results differ in just
            /// these cases, and their union is right in both: -0 of two zeros, a NaN of a NaN and anything.
            #[inline(always)]
            fn lesser(self, other: Self) -> Self {
                let one = if self < other { self } else { other };
                let two = if other < self { other } else { self };
                Self::from_bits(one.to_bits() | two.to_bits())
            }
            #[inline(always)]
            fn greater(self, other: Self) -> Self {
                -(-self).lesser(-other)
            }
            #[inline(always)]
            fn divide(self, divisor: Self) -> Self {
                self / divisor
            }
            #[inline(always)]
            fn scale(self, factor: Self) -> Self {
                self * factor
            }
        }
    };
}

float!(f32);
float!(f64);
