//! NCCL's pick at every size, and the time of the call as sizes grow.

use super::aws;
use super::belief::{Beliefs, Line};
use super::constants::Constants;
use super::effective::{Effective, Time};
use super::world::World;
use super::{Algorithm, Invalid, PairPrice, Protocol, Settings};
use crate::types::Collective;

/// A pair of NCCL's, and its line in NCCL's own model or the reason why it has none.
struct Pair {
    algorithm: Algorithm,
    protocol: Protocol,
    line: Result<Line, String>,
}

/// The choice among the pairs on one world, for one collective, at any size.
pub struct Choice<'a> {
    beliefs: Beliefs<'a>,
    effective: Effective<'a>,
    pairs: Vec<Pair>,
    tuner: Option<aws::Tuner>,
}

impl<'a> Choice<'a> {
    pub fn new(world: &'a World, settings: &'a Settings, collective: Collective) -> Result<Choice<'a>, Invalid> {
        world.check()?;
        let collective = match collective.even() {
            one @ (Collective::AllReduce
            | Collective::AllGather
            | Collective::ReduceScatter
            | Collective::Broadcast
            | Collective::Reduce
            | Collective::AllToAll) => one,
            other => {
                return Err(Invalid(format!(
                    "{other} has no price in the engine nccl; it prices all_reduce, all_gather, reduce_scatter, broadcast, \
                     reduce and all_to_all"
                )));
            }
        };
        let beliefs = Beliefs::new(world, settings, collective);
        let pairs = Algorithm::ALL
            .into_iter()
            .flat_map(|algorithm| Protocol::ALL.map(|protocol| (algorithm, protocol)))
            .map(|(algorithm, protocol)| Pair { algorithm, protocol, line: beliefs.line(algorithm, protocol) })
            .collect();
        let tuner = if settings.aws_tuner { aws::Tuner::of(world, collective) } else { None };
        Ok(Choice { beliefs, effective: Effective::new(world, settings, collective), pairs, tuner })
    }

    /// The pair that NCCL picks, and its time without regard to smaller sizes.
    pub fn pick(&self, bytes: f64) -> (Algorithm, Protocol) {
        let pair = &self.pairs[self.index(bytes)];
        (pair.algorithm, pair.protocol)
    }

    /// What a pair takes.
    pub fn time(&self, constants: &Constants, (algorithm, protocol): (Algorithm, Protocol), bytes: f64) -> Time {
        self.effective.time(constants, algorithm, protocol, bytes)
    }

    fn index(&self, bytes: f64) -> usize {
        let tuned = self.tuner.as_ref().and_then(|tuner| {
            let wanted = tuner.pick(bytes);
            self.pairs.iter().position(|pair| (pair.algorithm, pair.protocol) == wanted && pair.line.is_ok())
        });
        tuned.unwrap_or_else(|| {
            let believed = |index: usize| self.believed_us(&self.pairs[index], bytes).unwrap_or(f64::INFINITY);
            // Of equals NCCL takes the first in its order of trees and rings.
            (0..self.pairs.len()).min_by(|a, b| believed(*a).total_cmp(&believed(*b))).expect("there are pairs")
        })
    }

    fn believed_us(&self, pair: &Pair, bytes: f64) -> Option<f64> {
        let line = pair.line.as_ref().ok()?;
        Some(self.beliefs.time_us(pair.algorithm, pair.protocol, *line, bytes))
    }

    pub fn prices(&self, constants: &Constants, bytes: f64) -> Vec<PairPrice> {
        let mut prices: Vec<PairPrice> = self.pairs.iter().map(|pair| self.price(constants, pair, bytes)).collect();
        let chosen = prices.remove(self.index(bytes));
        prices.sort_by(|a, b| a.time_us.unwrap_or(f64::INFINITY).total_cmp(&b.time_us.unwrap_or(f64::INFINITY)));
        prices.insert(0, chosen);
        prices
    }

    fn price(&self, constants: &Constants, pair: &Pair, bytes: f64) -> PairPrice {
        let Pair { algorithm, protocol, ref line } = *pair;
        let time = line.is_ok().then(|| self.time(constants, (algorithm, protocol), bytes));
        PairPrice {
            algorithm,
            protocol,
            believed_us: self.believed_us(pair, bytes),
            latency_us: time.map(|time| time.latency_us),
            bandwidth_us: time.map(|time| time.bandwidth_us),
            time_us: time.map(|time| time.total_us()),
            rejected: line.as_ref().err().cloned(),
        }
    }
}
