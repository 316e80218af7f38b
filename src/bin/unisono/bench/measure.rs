//! Measuring: a sample is a barrier, then back-to-back calls, time per call on the slowest rank.

use super::arguments::Arguments;
use super::case::{Blocks, Case};
use super::row::Measured;
use super::statistics::Quantiles;
use super::values::Value;
use crate::failure::Failure;
use half::{bf16, f16};
use std::time::Instant;
use unisono::{Collective, Communicator, DType, F8E4M3, F8E5M2, Options, ReduceOp, Result};

/// Calls of a sample take about this long together, so that the clock and the barrier don't show.
const SAMPLE_US: f64 = 2_000.0;
const MOST_ITERATIONS: f64 = 400.0;
/// Samples of a size take about this long together, but there are never fewer than the least.
const SIZE_US: f64 = 600_000.0;
const LEAST_SAMPLES: f64 = 11.0;
const MOST_SAMPLES: f64 = 41.0;
/// A dirty sample is one call, so there can be more of them.
const MOST_DIRTY_SAMPLES: f64 = 201.0;

/// One rank's part of a sweep.
pub struct Sweep<'a> {
    arguments: &'a Arguments,
    pub communicator: Communicator,
    options: Options,
}

/// One size that is run: as the collective counts it.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// By the convention of nccl-tests, whole elements on every rank.
    pub bytes: u64,
    /// Elements of the buffer, or of one rank's block on average.
    pub count: u64,
}

impl<'a> Sweep<'a> {
    pub fn new(arguments: &'a Arguments, communicator: Communicator) -> std::result::Result<Sweep<'a>, Failure> {
        let options = Options { timeout: None, algorithm: arguments.algorithm()?.map(|one| one.name().into()) };
        Ok(Sweep { arguments, communicator, options })
    }

    /// The sizes of the sweep that give every rank at least one element.
    pub fn sizes(&self) -> Vec<Size> {
        self.arguments.whole_sizes(self.communicator.size())
    }

    /// Times one size and verifies its result. Collective: all ranks come out with the same figures.
    pub fn measure(&mut self, size: Size) -> Result<Measured> {
        match self.arguments.dtype {
            DType::I8 => self.measure_as::<i8>(size),
            DType::U8 => self.measure_as::<u8>(size),
            DType::I32 => self.measure_as::<i32>(size),
            DType::U32 => self.measure_as::<u32>(size),
            DType::I64 => self.measure_as::<i64>(size),
            DType::U64 => self.measure_as::<u64>(size),
            DType::F16 => self.measure_as::<f16>(size),
            DType::Bf16 => self.measure_as::<bf16>(size),
            DType::F32 => self.measure_as::<f32>(size),
            DType::F64 => self.measure_as::<f64>(size),
            DType::Fp8E4M3 => self.measure_as::<F8E4M3>(size),
            DType::Fp8E5M2 => self.measure_as::<F8E5M2>(size),
        }
    }

    fn measure_as<T: Value>(&mut self, size: Size) -> Result<Measured> {
        let Arguments { collective, in_place, registered, dirty, .. } = *self.arguments;
        let ranks = self.communicator.size();
        let blocks = Blocks::new(collective, ranks, size.count);
        let memory = (in_place, registered);
        let mut case: Case<T> = Case::new(
            &mut self.communicator,
            collective,
            self.arguments.op(),
            self.options.clone(),
            memory,
            (size.count, blocks),
        )?;
        let mut errors = self.verify(&mut case, 1)?;

        // What the first calls take decides, alike on all ranks, how many make a sample.
        let warm_us = self.sample(&mut case, 2, None)?;
        let warm_us = self.sample(&mut case, 2, None)?.min(warm_us).max(0.01);
        let iterations = if dirty { 1.0 } else { (SAMPLE_US / warm_us).clamp(1.0, MOST_ITERATIONS).floor() };
        let most = if dirty { MOST_DIRTY_SAMPLES } else { MOST_SAMPLES };
        let samples = (SIZE_US / (warm_us * iterations)).clamp(LEAST_SAMPLES, most) as usize;
        let mut times = Vec::with_capacity(samples);
        self.sample(&mut case, iterations as u64, dirty.then_some(0))?;
        for sample in 0..samples {
            times.push(self.sample(&mut case, iterations as u64, dirty.then_some(sample as u64))?);
        }

        errors += self.verify(&mut case, 2)?;
        let mut all_errors = [errors];
        self.communicator.all_reduce_in_place(&mut all_errors, ReduceOp::Sum)?;
        case.free(&mut self.communicator)?;
        let (algorithm, predicted_us) = self.algorithm(size.bytes)?;
        Ok(Measured {
            algorithm,
            bytes: size.bytes,
            iterations: iterations as u64,
            samples,
            time_us: Quantiles::of(&mut times),
            predicted_us,
            errors: all_errors[0],
        })
    }

    /// Time of one call in microseconds, on the slowest rank.
    fn sample<T: Value>(&mut self, case: &mut Case<T>, iterations: u64, rewrite: Option<u64>) -> Result<f64> {
        if let Some(round) = rewrite {
            case.rewrite(self.communicator.rank(), round);
        }
        self.communicator.barrier()?;
        let start = Instant::now();
        for _ in 0..iterations {
            case.call(&mut self.communicator)?;
        }
        let mut slowest = [start.elapsed().as_secs_f64() * 1e6 / iterations as f64];
        self.communicator.all_reduce_in_place(&mut slowest, ReduceOp::Max)?;
        Ok(slowest[0])
    }

    /// One call on fresh contributions, outside of all timing: how many of this rank's elements are wrong.
    fn verify<T: Value>(&mut self, case: &mut Case<T>, round: u64) -> Result<u64> {
        let (rank, size) = (self.communicator.rank(), self.communicator.size());
        case.fill(rank, round);
        case.call(&mut self.communicator)?;
        Ok(case.errors(rank, size, round))
    }

    /// What runs at this size, and what the model of the host says that it takes.
    fn algorithm(&self, bytes: u64) -> Result<(String, Option<f64>)> {
        if self.arguments.collective == Collective::SendRecv {
            return Ok(("pairwise".to_owned(), None));
        }
        let explanation = self.communicator.explain(self.arguments.collective, bytes)?;
        let name = self.options.algorithm.as_deref().unwrap_or(&explanation.chosen);
        let candidate = explanation.candidates.iter().find(|one| one.name == name);
        Ok((name.to_owned(), candidate.and_then(|one| one.time_us)))
    }
}
