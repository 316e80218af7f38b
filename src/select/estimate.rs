//! What a price is made of, for every algorithm and number of tiles: found once per process and problem, so that a new size costs
//! a few multiplications.

use super::Selector;
use super::proof_time::proof_ns;
use crate::algorithm::{self, Algorithm};
use crate::error::Result;
use crate::plan::Problem;
use crate::plan::chunk::Grid;
use crate::plan::cost::{self, Price, Work};
use crate::topology::host::Constants;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

/// Into how many tiles pipelined algorithms may cut a block.
const TILES: [u32; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Chunks sent by all ranks together, in all proofs that share a processor, beyond which a proof takes longer than a choice may: about 0.1 s.
const AFFORDABLE_CHUNKS: u64 = 100_000;

/// One algorithm's answer to a problem, whatever the size.
pub struct Estimates {
    pub algorithm: &'static dyn Algorithm,
    /// Why it does not fit.
    pub misfit: Option<String>,
    /// One per number of tiles; none where it does not fit.
    by_tiles: Vec<Estimate>,
}

/// An algorithm with a number of tiles.
pub struct Estimate {
    /// With these tiles.
    pub problem: Problem,
    grid: Grid,
    chunks_sent: u64,
    promised: Work,
    counted: OnceLock<Result<Work>>,
    proof_ns: OnceLock<f64>,
}

/// The estimates of every algorithm of the registry, in its order.
pub fn all(problem: Problem) -> Arc<Vec<Estimates>> {
    static ALL: OnceLock<Mutex<HashMap<Problem, Arc<Vec<Estimates>>>>> = OnceLock::new();
    let mut known = ALL.get_or_init(Mutex::default).lock().expect("no panic under this lock");
    let make = || Arc::new(algorithm::registry().iter().map(|one| Estimates::of(*one, problem)).collect());
    known.entry(problem).or_insert_with(make).clone()
}

impl Estimates {
    fn of(algorithm: &'static dyn Algorithm, problem: Problem) -> Estimates {
        if let Err(reason) = algorithm.fits(&problem) {
            return Estimates { algorithm, misfit: Some(reason), by_tiles: Vec::new() };
        }
        let tiles: &[u32] = if algorithm.pipelines() { &TILES } else { &TILES[..1] };
        let by_tiles = tiles.iter().map(|&tiles| Estimate::of(algorithm, Problem { tiles, ..problem })).collect();
        Estimates { algorithm, misfit: None, by_tiles }
    }

    /// The number of tiles that is cheapest by the promise, with that price; None where the algorithm does not fit.
    pub fn cheapest(&self, constants: &Constants, bytes: u64) -> Option<(&Estimate, Price)> {
        let priced = self.by_tiles.iter().map(|one| (one, one.price(&one.promised, constants, bytes)));
        priced.min_by(|(_, a), (_, b)| a.total_ns().total_cmp(&b.total_ns()))
    }
}

impl Estimate {
    fn of(algorithm: &dyn Algorithm, problem: Problem) -> Estimate {
        let promise = algorithm.promise(&problem);
        Estimate {
            problem,
            grid: algorithm.plan(&problem).grid(),
            promised: Work::promised(&promise),
            chunks_sent: promise.chunks_sent,
            counted: OnceLock::new(),
            proof_ns: OnceLock::new(),
        }
    }

    pub fn price(&self, work: &Work, constants: &Constants, bytes: u64) -> Price {
        cost::price(&self.grid, work, constants, bytes)
    }

    /// The work as the proof counts it; None where so many proofs at once take longer than a choice may.
    pub fn counted(&self, algorithm: &'static dyn Algorithm, proofs: usize) -> Result<Option<Work>> {
        let chunks = self.chunks_sent.saturating_mul(self.problem.ranks as u64).saturating_mul(proofs as u64);
        if chunks > AFFORDABLE_CHUNKS || self.proof_ns(algorithm).is_infinite() {
            return Ok(None);
        }
        let count = || Ok(Work::counted(Selector::prove(algorithm.name(), self.problem)?.facts()));
        self.counted.get_or_init(count).clone().map(Some)
    }

    /// About how long the proof takes.
    pub fn proof_ns(&self, algorithm: &dyn Algorithm) -> f64 {
        *self.proof_ns.get_or_init(|| proof_ns(algorithm, &self.problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Collective;

    #[test]
    fn a_new_size_of_a_known_problem_asks_no_algorithm_again() {
        let problem = Problem::new(Collective::AllReduce, 5);
        let first = all(problem);
        assert!(Arc::ptr_eq(&first, &all(problem)));
        assert!(!Arc::ptr_eq(&first, &all(Problem { ranks: 6, ..problem })));
        let names: Vec<_> = first.iter().map(|one| one.algorithm.name()).collect();
        assert_eq!(names, algorithm::registry().iter().map(|one| one.name()).collect::<Vec<_>>());
    }
}
