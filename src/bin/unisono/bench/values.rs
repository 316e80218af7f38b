//! What the ranks contribute: small numbers whose results are exact in every type, so that every element can be compared.

use half::{bf16, f16};
use unisono::{Element, F8E4M3, F8E5M2, Rank, ReduceOp};

/// A type that the bench can fill and compare.
pub trait Value: Element + PartialEq {
    /// The value nearest to a number.
    fn of(number: f64) -> Self;
    /// The average of `ranks` contributions whose sum is `sum`, as the library promises it: divided in the accumulator's type.
    fn average(sum: f64, ranks: f64) -> Self;
}

macro_rules! values {
    ($($type:ty: $number:ident => $of:expr, $average:expr;)*) => {
        $(impl Value for $type {
            fn of($number: f64) -> Self {
                $of
            }
            fn average(sum: f64, ranks: f64) -> Self {
                let average: fn(f64, f64) -> f64 = $average;
                Self::of(average(sum, ranks))
            }
        })*
    };
}

/// Narrow floats divide in f32.
fn divide_as_f32(sum: f64, ranks: f64) -> f64 {
    f64::from(sum as f32 / ranks as f32)
}

fn truncate(sum: f64, ranks: f64) -> f64 {
    (sum / ranks).trunc()
}

values! {
    i8: number => number as i8, truncate;
    u8: number => number as u8, truncate;
    i32: number => number as i32, truncate;
    u32: number => number as u32, truncate;
    i64: number => number as i64, truncate;
    u64: number => number as u64, truncate;
    f16: number => f16::from_f32(number as f32), divide_as_f32;
    bf16: number => bf16::from_f32(number as f32), divide_as_f32;
    f32: number => number as f32, divide_as_f32;
    f64: number => number, |sum, ranks| sum / ranks;
    F8E4M3: number => F8E4M3::from_f32(number as f32), divide_as_f32;
    F8E5M2: number => F8E5M2::from_f32(number as f32), divide_as_f32;
}

/// Contributions repeat after this many elements: the product of the periods below, so that a table holds them all.
pub const PERIOD: u64 = 7 * 11 * 17;

/// What a rank contributes at an index, in the calls of one round. Sums of 0 or 2 from at most a third of the ranks, and products of
/// mostly 1, stay exact even in 8 bits for the numbers of ranks that one host runs.
fn contribution(op: Option<ReduceOp>, rank: Rank, index: u64, round: u64) -> f64 {
    let at = rank as u64 * 5 + index + round;
    let number = match op {
        Some(ReduceOp::Sum | ReduceOp::Avg | ReduceOp::PreMulSum(_)) => 2 * u64::from(at.is_multiple_of(11)),
        Some(ReduceOp::Prod) => 1 + u64::from(at.is_multiple_of(17)),
        Some(ReduceOp::Min | ReduceOp::Max) | None => at % 7,
    };
    number as f64
}

/// What all ranks' contributions at an index become.
fn reduced<T: Value>(op: ReduceOp, ranks: usize, index: u64, round: u64) -> T {
    let all = (0..ranks).map(|rank| contribution(Some(op), rank, index, round));
    match op {
        ReduceOp::Sum => T::of(all.sum()),
        ReduceOp::Prod => T::of(all.product()),
        ReduceOp::Min => T::of(all.fold(f64::INFINITY, f64::min)),
        ReduceOp::Max => T::of(all.fold(0.0, f64::max)),
        ReduceOp::Avg => T::average(all.sum(), ranks as f64),
        ReduceOp::PreMulSum(factor) => T::of(all.map(|number| number * factor).sum()),
    }
}

/// The values of a piece of a buffer: as many as it has, or one period.
pub struct Pattern<T>(Vec<T>);

impl<T: Value> Pattern<T> {
    /// The contributions of one rank at `count` indices from `start` on.
    pub fn of_rank(op: Option<ReduceOp>, rank: Rank, round: u64, start: u64, count: u64) -> Pattern<T> {
        Pattern(indices(start, count).map(|index| T::of(contribution(op, rank, index, round))).collect())
    }

    /// The results of all ranks' contributions there.
    pub fn reduced(op: ReduceOp, ranks: usize, round: u64, start: u64, count: u64) -> Pattern<T> {
        Pattern(indices(start, count).map(|index| reduced(op, ranks, index, round)).collect())
    }

    fn repeated(&self) -> impl Iterator<Item = T> + '_ {
        self.0.iter().copied().cycle()
    }

    pub fn fill(&self, buffer: &mut [T]) {
        buffer.iter_mut().zip(self.repeated()).for_each(|(element, value)| *element = value);
    }

    /// Elements of `buffer` that are not those of the pattern.
    pub fn errors(&self, buffer: &[T]) -> u64 {
        buffer.iter().zip(self.repeated()).filter(|(element, value)| **element != *value).count() as u64
    }
}

/// Those whose values are not yet repeated.
fn indices(start: u64, count: u64) -> std::ops::Range<u64> {
    start..start + count.min(PERIOD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_repeats_and_finds_every_wrong_element() {
        let mut buffer = vec![0; 3 * PERIOD as usize + 5];
        let pattern = Pattern::<i32>::of_rank(None, 3, 1, 0, buffer.len() as u64);
        pattern.fill(&mut buffer);
        for (index, element) in buffer.iter().enumerate() {
            assert_eq!(*element, ((3 * 5 + index + 1) % 7) as i32);
        }
        buffer[17] += 1;
        *buffer.last_mut().unwrap() -= 1;
        assert_eq!(pattern.errors(&buffer), 2);
        for start in [20, PERIOD - 10, PERIOD + 3] {
            let piece = &buffer[start as usize..][..20];
            assert_eq!(Pattern::of_rank(None, 3, 1, start, 20).errors(piece), 0);
            assert_eq!(Pattern::of_rank(None, 3, 1, start + 1, 20).errors(piece), 20);
        }
    }

    #[test]
    fn results_are_those_of_a_fold_by_hand() {
        let by_hand =
            |index: u64| (0..4).map(|rank| if (rank * 5 + index).is_multiple_of(11) { 2.0 } else { 0.0 }).sum::<f32>();
        let expected: Vec<f32> = (0..100).map(by_hand).collect();
        assert_eq!(Pattern::reduced(ReduceOp::Sum, 4, 0, 0, 100).errors(&expected), 0);
        assert_eq!(Pattern::reduced(ReduceOp::Sum, 4, 0, 30, 70).errors(&expected[30..]), 0);
    }
}
