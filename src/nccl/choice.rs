//! NCCL's pick at every size, and the time of the call as sizes grow.

use super::aws;
use super::belief::{Beliefs, Line};
use super::constants::Constants;
use super::effective::{Effective, Time};
use super::world::World;
use super::{Algorithm, Invalid, PairPrice, Protocol, Request, Settings};
use crate::types::Collective;

/// A pair of NCCL's, and its line in NCCL's own model or the reason why it has none.
struct Pair {
    algorithm: Algorithm,
    protocol: Protocol,
    line: Result<Line, String>,
}

/// Sizes from `from` on at which one pair is picked, up to the next span's.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Span {
    from: f64,
    pair: usize,
}

/// The choice among NCCL's pairs on one world, for one collective, at any size.
pub struct Choice<'a> {
    beliefs: Beliefs<'a>,
    effective: Effective<'a>,
    pairs: Vec<Pair>,
    spans: Vec<Span>,
}

/// Beyond every call, 1 PiB.
const LARGEST_BYTES: f64 = (1u64 << 50) as f64;

impl<'a> Choice<'a> {
    /// `request`'s bytes do not matter here.
    pub fn new(world: &'a World, settings: &'a Settings, request: &Request) -> Result<Choice<'a>, Invalid> {
        world.check()?;
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
        let beliefs = Beliefs::new(world, settings, collective, (request.dtype, request.op));
        let pairs = Algorithm::ALL
            .into_iter()
            .flat_map(|algorithm| Protocol::ALL.map(|protocol| (algorithm, protocol)))
            .map(|(algorithm, protocol)| Pair { algorithm, protocol, line: beliefs.line(algorithm, protocol) })
            .collect();
        let tuner = if settings.aws_tuner { aws::Tuner::of(world, collective) } else { None };
        let effective = Effective::new(world, settings, collective, request.dtype);
        let mut choice = Choice { beliefs, effective, pairs, spans: Vec::new() };
        choice.spans = choice.all_spans(tuner.as_ref());
        Ok(choice)
    }

    /// The pair that NCCL picks.
    pub fn pick(&self, bytes: f64) -> (Algorithm, Protocol) {
        let pair = &self.pairs[self.index(bytes)];
        (pair.algorithm, pair.protocol)
    }

    /// The pair that NCCL picks where NCCL_ALGO leaves it one algorithm; none if it does not offer that here.
    pub fn pick_among(&self, algorithm: Algorithm, bytes: f64) -> Option<(Algorithm, Protocol)> {
        let offered = self.pairs.iter().filter(|pair| pair.algorithm == algorithm);
        let believed =
            offered.filter_map(|pair| Some((pair.protocol, self.believed_us(pair, *pair.line.as_ref().ok()?, bytes))));
        believed.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(protocol, _)| (algorithm, protocol))
    }

    /// What NCCL picks from which size on, in bytes, from the smallest to the largest.
    pub fn picks(&self) -> impl Iterator<Item = (f64, (Algorithm, Protocol))> + '_ {
        self.spans.iter().map(|span| (span.from, (self.pairs[span.pair].algorithm, self.pairs[span.pair].protocol)))
    }

    /// What a pair takes.
    pub fn time(&self, constants: &Constants, (algorithm, protocol): (Algorithm, Protocol), bytes: f64) -> Time {
        self.effective.time(constants, algorithm, protocol, bytes)
    }

    /// What the pick takes, never less than that of a smaller call.
    pub fn picked_us(&self, constants: &Constants, bytes: f64) -> f64 {
        let ends = self.spans.iter().skip(1).map(|span| span.from).chain([f64::INFINITY]);
        let spans = self.spans.iter().zip(ends).take_while(|(span, _)| span.from <= bytes);
        let longest = |(span, end): (&Span, f64)| {
            let pair = &self.pairs[span.pair];
            self.time(constants, (pair.algorithm, pair.protocol), bytes.min(end)).total_us()
        };
        spans.map(longest).fold(0.0, f64::max)
    }

    /// Every pair's price, the pick's first, then the cheapest, those that don't fit last.
    pub fn prices(&self, constants: &Constants, bytes: f64) -> Vec<PairPrice> {
        let mut prices: Vec<PairPrice> = self.pairs.iter().map(|pair| self.price(constants, pair, bytes)).collect();
        let mut chosen = prices.remove(self.index(bytes));
        let picked_us = self.picked_us(constants, bytes);
        chosen.bandwidth_us = chosen.latency_us.map(|latency_us| picked_us - latency_us);
        chosen.time_us = Some(picked_us);
        let key = |price: &PairPrice| price.time_us.unwrap_or(f64::INFINITY);
        prices.sort_by(|a, b| key(a).total_cmp(&key(b)));
        prices.insert(0, chosen);
        prices
    }

    fn price(&self, constants: &Constants, pair: &Pair, bytes: f64) -> PairPrice {
        let Pair { algorithm, protocol, ref line } = *pair;
        let time = line.is_ok().then(|| self.time(constants, (algorithm, protocol), bytes));
        let compared = algorithm != Algorithm::SendReceive;
        PairPrice {
            algorithm,
            protocol,
            believed_us: line.as_ref().ok().filter(|_| compared).map(|line| self.believed_us(pair, *line, bytes)),
            latency_us: time.map(|time| time.latency_us),
            bandwidth_us: time.map(|time| time.bandwidth_us),
            time_us: time.map(|time| time.total_us()),
            rejected: line.as_ref().err().cloned(),
        }
    }

    fn believed_us(&self, pair: &Pair, line: Line, bytes: f64) -> f64 {
        self.beliefs.time_us(pair.algorithm, pair.protocol, line, bytes)
    }

    fn index(&self, bytes: f64) -> usize {
        let after = self.spans.partition_point(|span| span.from <= bytes);
        self.spans[after.saturating_sub(1)].pair
    }

    /// NCCL's corrections step at powers of two, the tuner's picks at sizes of its own; between those steps beliefs are straight
    /// lines.
    fn all_spans(&self, tuner: Option<&aws::Tuner>) -> Vec<Span> {
        let mut steps: Vec<f64> = (6..31).map(|log2: u32| (1u64 << log2) as f64).collect();
        steps.extend([0.0, self.beliefs.plateau_from()]);
        steps.extend(tuner.into_iter().flat_map(|tuner| tuner.changes()));
        steps.sort_by(f64::total_cmp);
        steps.dedup();
        let ends = steps.iter().skip(1).copied().chain([LARGEST_BYTES]);
        let mut spans: Vec<Span> = Vec::new();
        for (from, to) in steps.iter().copied().zip(ends) {
            match tuner.and_then(|tuner| self.tuned(tuner.pick(0.5 * (from + to)))) {
                Some(pair) => spans.push(Span { from, pair }),
                None => self.walk(from, to, &mut spans),
            }
        }
        spans.dedup_by_key(|span| span.pair);
        spans
    }

    /// The tuner's wish, if NCCL offers it.
    fn tuned(&self, wanted: (Algorithm, Protocol)) -> Option<usize> {
        self.pairs.iter().position(|pair| (pair.algorithm, pair.protocol) == wanted && pair.line.is_ok())
    }

    /// The lower envelope of the beliefs between two steps: from each crossing on the line that crosses first.
    fn walk(&self, from: f64, to: f64, spans: &mut Vec<Span>) {
        let middle = 0.5 * (from + to);
        let lines: Vec<(usize, f64, f64)> = (0..self.pairs.len())
            .filter_map(|index| {
                let pair = &self.pairs[index];
                let line = *pair.line.as_ref().ok()?;
                let (low, high) =
                    (self.believed_us(pair, line, 0.5 * (from + middle)), self.believed_us(pair, line, middle));
                let slope = (high - low) / (middle - 0.5 * (from + middle));
                Some((index, high - slope * middle, slope))
            })
            .collect();
        let at = |bytes: f64, line: &(usize, f64, f64)| line.1 + line.2 * bytes;
        // Of equals NCCL takes the first in its order.
        let first = lines.iter().min_by(|a, b| at(from, a).total_cmp(&at(from, b)).then(a.2.total_cmp(&b.2)));
        let mut best = *first.expect("ring and simple always fit");
        let mut start = from;
        loop {
            spans.push(Span { from: start, pair: best.0 });
            let crossing = |line: &(usize, f64, f64)| (line.1 - best.1) / (best.2 - line.2);
            let flatter = lines.iter().filter(|line| line.2 < best.2 && crossing(line) < to);
            let Some(next) = flatter.min_by(|a, b| crossing(a).total_cmp(&crossing(b)).then(a.2.total_cmp(&b.2)))
            else {
                return;
            };
            start = crossing(next).max(start);
            best = *next;
        }
    }
}
