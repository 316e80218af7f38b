//! At which sizes the choice changes.

use super::choice::Chooser;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Problem;

const LEAST: u64 = 1 << 10;
const MOST: u64 = 16 << 30;

impl Chooser {
    /// The sizes at which the choice changes, from 1 KiB to 16 GiB: each with the algorithm that is taken from there on, by the rule
    /// of [`Chooser::settle`]. `ruled` says which is taken at a size whatever the prices.
    ///
    /// # Errors
    /// If no plan can be proved at one of the sizes.
    pub fn flips(&self, problem: Problem, ruled: &dyn Fn(u64) -> Option<String>) -> Result<Vec<(u64, String)>> {
        let offers = self.offers(problem);
        let chosen = |bytes: u64| -> Result<String> {
            let name = ruled(bytes).or_else(|| Some(offers.chosen(bytes, &self.rates, &self.proofs)?.0.to_owned()));
            name.ok_or_else(|| {
                let told = format!("no algorithm serves {} among {} ranks", problem.collective, problem.ranks);
                Error::new(ErrorKind::Plan, told)
            })
        };
        let mut flips = vec![(LEAST, chosen(LEAST)?)];
        let mut low = LEAST;
        while low < MOST {
            let high = low * 2;
            let (before, after) = (flips.last().expect("there is one").1.clone(), chosen(high)?);
            if before != after {
                // Between the two sizes the choice changes once, or more often than is worth telling.
                let (mut left, mut right) = (low, high);
                while right - left > left / 64 {
                    let middle = left.midpoint(right);
                    if chosen(middle)? == before { left = middle } else { right = middle }
                }
                flips.push((right, after));
            }
            low = high;
        }
        Ok(flips)
    }
}
