//! What is told of many samples. Quantiles are samples that occurred, chosen as other benchmarks of the field do it
//! (`sorted[len / 2]` and the like), so that figures can be laid side by side.

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantiles {
    pub median: f64,
    /// A tenth of the samples lie below.
    pub p10: f64,
    /// A hundredth of the samples lie above.
    pub p99: f64,
}

impl Quantiles {
    /// Sorts the samples; none of them may be NaN, and there is at least one.
    pub fn of(samples: &mut [f64]) -> Quantiles {
        assert!(!samples.is_empty(), "no samples, no quantiles");
        samples.sort_by(f64::total_cmp);
        let at = |percent: usize| samples[samples.len() * percent / 100];
        Quantiles { median: at(50), p10: at(10), p99: at(99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples_whatever_the_order() {
        let mut samples: Vec<f64> = (0..1000).map(|i| f64::from(i * 7 % 1000)).collect();
        assert_eq!(Quantiles::of(&mut samples), Quantiles { median: 500.0, p10: 100.0, p99: 990.0 });
        assert_eq!(Quantiles::of(&mut [3.0, 1.0, 2.0]), Quantiles { median: 2.0, p10: 1.0, p99: 3.0 });
        assert_eq!(Quantiles::of(&mut [4.5]), Quantiles { median: 4.5, p10: 4.5, p99: 4.5 });
    }

    #[test]
    #[should_panic(expected = "no samples")]
    fn no_samples_are_our_own_mistake() {
        Quantiles::of(&mut []);
    }
}
