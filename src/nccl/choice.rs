//! NCCL's pick at every size, and the time of the call as sizes grow.

use super::belief::{Beliefs, Line};
use super::constants::Constants;
use super::effective::{Effective, Time};
use super::world::World;
use super::{Algorithm, Invalid, PairPrice, Protocol, Request, Settings};
use crate::types::Collective;

struct Pair {
    algorithm: Algorithm,
    protocol: Protocol,
    line: Result<Line, String>,
}

pub struct Choice<'a> {
    beliefs: Beliefs<'a>,
    effective: Effective<'a>,
    pairs: Vec<Pair>,
}

impl<'a> Choice<'a> {
    pub fn new(
        world: &'a World,
        settings: &'a Settings,
        request: &Request,
        constants: &'a Constants,
    ) -> Result<Choice<'a>, Invalid> {
        let collective = match request.collective.even() {
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
        let effective = Effective::new(world, settings, constants, &Request { collective, ..*request });
        let pairs = Algorithm::ALL
            .into_iter()
            .flat_map(|algorithm| Protocol::ALL.map(|protocol| (algorithm, protocol)))
            .map(|(algorithm, protocol)| Pair { algorithm, protocol, line: beliefs.line(algorithm, protocol) })
            .collect();
        Ok(Choice { beliefs, effective, pairs })
    }

    fn believed_us(&self, pair: &Pair, bytes: f64) -> Option<f64> {
        let line = pair.line.as_ref().ok()?;
        Some(self.beliefs.time_us(pair.algorithm, pair.protocol, *line, bytes))
    }

    /// The pair that NCCL picks: of equals the first in its order.
    fn pick(&self, bytes: f64) -> usize {
        let believed = |index: usize| self.believed_us(&self.pairs[index], bytes).unwrap_or(f64::INFINITY);
        (0..self.pairs.len()).min_by(|a, b| believed(*a).total_cmp(&believed(*b))).expect("there are pairs")
    }

    fn time(&self, pair: &Pair, bytes: f64) -> Time {
        self.effective.time(pair.algorithm, pair.protocol, bytes)
    }

    pub fn prices(&self, bytes: u64) -> Result<Vec<PairPrice>, Invalid> {
        let bytes = bytes as f64;
        let mut prices: Vec<PairPrice> = self.pairs.iter().map(|pair| self.priced(pair, bytes)).collect();
        let chosen = prices.remove(self.pick(bytes));
        prices.sort_by(|a, b| a.time_us.unwrap_or(f64::INFINITY).total_cmp(&b.time_us.unwrap_or(f64::INFINITY)));
        prices.insert(0, chosen);
        Ok(prices)
    }

    fn priced(&self, pair: &Pair, bytes: f64) -> PairPrice {
        let Pair { algorithm, protocol, ref line } = *pair;
        let time = line.is_ok().then(|| self.time(pair, bytes));
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
