//! One line of results: what `--json` prints, and what the table shows.

use super::statistics::Quantiles;
use serde::Serialize;
use unisono::{Collective, DType};

/// The fields of the contract; scripts read them by name, so names and units stay. None becomes null.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub collective: &'static str,
    pub ranks: usize,
    /// `memory`, `shm`, `tcp`, or `mixed` where pairs of ranks differ.
    pub transport: String,
    pub algorithm: String,
    /// None for a barrier.
    pub dtype: Option<&'static str>,
    /// None where nothing is reduced.
    pub op: Option<&'static str>,
    pub in_place: bool,
    pub registered: bool,
    pub dirty: bool,
    /// As nccl-tests counts them: the buffer of an all-reduce, the whole output of an all-gather, and so on.
    pub bytes: u64,
    /// Calls in one sample.
    pub iterations: u64,
    pub samples: usize,
    /// Time of one call on the slowest rank.
    pub median_us: f64,
    pub p10_us: f64,
    pub p99_us: f64,
    /// Bytes / median time, in 10^9 bytes per second. None for a barrier.
    pub algorithm_bandwidth_gb_per_s: Option<f64>,
    /// That times the collective's factor in nccl-tests. None for a barrier.
    pub bus_bandwidth_gb_per_s: Option<f64>,
    /// What the model of this host says. None if there is none for the case.
    pub predicted_us: Option<f64>,
    /// Elements that came out wrong, over all ranks.
    pub errors: u64,
}

/// What was run, the same in all rows of a sweep.
#[derive(Clone, Debug)]
pub struct Case {
    pub collective: Collective,
    pub ranks: usize,
    pub transport: String,
    pub dtype: DType,
    pub op: &'static str,
    pub in_place: bool,
    pub registered: bool,
    pub dirty: bool,
}

/// What came out at one size.
#[derive(Clone, Debug)]
pub struct Measured {
    pub algorithm: String,
    pub bytes: u64,
    pub iterations: u64,
    pub samples: usize,
    pub time_us: Quantiles,
    pub predicted_us: Option<f64>,
    pub errors: u64,
}

impl Row {
    pub fn new(case: &Case, measured: Measured) -> Row {
        let carries_data = case.collective != Collective::Barrier;
        // 1 byte per microsecond is 10^6 bytes per second.
        let bandwidth = carries_data.then(|| measured.bytes as f64 / measured.time_us.median / 1e3);
        Row {
            collective: case.collective.name(),
            ranks: case.ranks,
            transport: case.transport.clone(),
            algorithm: measured.algorithm,
            dtype: carries_data.then(|| case.dtype.name()),
            op: case.collective.reduces().then_some(case.op),
            in_place: case.in_place,
            registered: case.registered,
            dirty: case.dirty,
            bytes: measured.bytes,
            iterations: measured.iterations,
            samples: measured.samples,
            median_us: measured.time_us.median,
            p10_us: measured.time_us.p10,
            p99_us: measured.time_us.p99,
            algorithm_bandwidth_gb_per_s: bandwidth,
            bus_bandwidth_gb_per_s: bandwidth.map(|bandwidth| bandwidth * case.collective.bus_factor(case.ranks)),
            predicted_us: measured.predicted_us,
            errors: measured.errors,
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn example(collective: Collective) -> Row {
        let case = Case {
            collective,
            ranks: 4,
            transport: "shm".to_owned(),
            dtype: DType::F32,
            op: "sum",
            in_place: false,
            registered: false,
            dirty: true,
        };
        let time_us = Quantiles { median: 250.0, p10: 240.0, p99: 300.5 };
        let measured = Measured {
            algorithm: "ring".to_owned(),
            bytes: 1_000_000,
            iterations: 20,
            samples: 41,
            time_us,
            predicted_us: Some(222.25),
            errors: 0,
        };
        Row::new(&case, measured)
    }

    #[test]
    fn a_row_has_exactly_the_fields_of_the_contract() {
        let json = serde_json::to_string(&example(Collective::AllReduce)).expect("a row is plain data");
        assert_eq!(
            json,
            "{\"collective\":\"all_reduce\",\"ranks\":4,\"transport\":\"shm\",\"algorithm\":\"ring\",\"dtype\":\"f32\",\
             \"op\":\"sum\",\"in_place\":false,\"registered\":false,\"dirty\":true,\"bytes\":1000000,\"iterations\":20,\
             \"samples\":41,\"median_us\":250.0,\"p10_us\":240.0,\"p99_us\":300.5,\
             \"algorithm_bandwidth_gb_per_s\":4.0,\"bus_bandwidth_gb_per_s\":6.0,\"predicted_us\":222.25,\"errors\":0}"
        );
    }

    #[test]
    fn what_makes_no_sense_is_null() {
        let barrier = serde_json::to_value(example(Collective::Barrier)).expect("a row is plain data");
        for field in ["dtype", "op", "algorithm_bandwidth_gb_per_s", "bus_bandwidth_gb_per_s"] {
            assert!(barrier[field].is_null(), "{field}");
        }
        let gather = serde_json::to_value(example(Collective::AllGather)).expect("a row is plain data");
        assert!(gather["op"].is_null() && gather["dtype"] == "f32");
    }
}
