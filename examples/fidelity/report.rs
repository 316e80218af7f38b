//! Errors of the tables, weighed alike.

use crate::data::Table;
use crate::fit::{All, Samples};

/// Sizes below this are not judged.
pub const SMALLEST_BYTES: f64 = 1024.0;

/// Errors of one table's points.
pub struct Errors(Vec<f64>);

impl Errors {
    pub fn of(samples: &Samples, all: &All, table: &Table, index: usize) -> Errors {
        let constants = all.of(table.generation, table.network);
        let judged = samples.tables[index].iter().filter(|sample| sample.bytes >= SMALLEST_BYTES);
        let mut errors: Vec<f64> =
            judged.map(|sample| (samples.picked_ratio(&constants, sample) - 1.0).abs()).collect();
        errors.sort_by(f64::total_cmp);
        Errors(errors)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    pub fn p90(&self) -> f64 {
        self.0[(self.0.len() * 9 / 10).min(self.0.len() - 1)]
    }
}

/// The median and 90th percentile over all points, those of a table together weighing one.
pub fn overall(tables: &[Errors]) -> (f64, f64) {
    let mut points: Vec<(f64, f64)> = Vec::new();
    for Errors(errors) in tables {
        points.extend(errors.iter().map(|error| (*error, 1.0 / errors.len() as f64)));
    }
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total: f64 = points.iter().map(|(_, weight)| weight).sum();
    let quantile = |part: f64| {
        let mut sum = 0.0;
        let past = points.iter().find(|(_, weight)| {
            sum += weight;
            sum >= part * total
        });
        past.expect("there are points").0
    };
    (quantile(0.5), quantile(0.9))
}
