//! The choice among our plans on a machine that is data: what `unisono plan` answers.

use super::{Candidate, Selector, proof_ns, why_unproved};
use crate::algorithm::{self, Algorithm};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::price::{Bottleneck, Ports, Price, price};
use crate::plan::{Problem, check::Checked};
use crate::topology::{Layout, Topology};
use crate::types::Collective;

/// Into how many tiles pipelined algorithms may cut a block on a machine: more than on a host, whose messages are smaller.
const TILES: [u32; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// A proof that would take longer is not begun: the plan is shown with its price and as unproved.
const PROOF_LIMIT_NS: f64 = 5e8;

/// What is asked of a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Question {
    pub collective: Collective,
    /// By the convention of nccl-tests.
    pub bytes: u64,
    /// How the ranks lie in the machine's domains: [`Topology::layout`] unless they were placed otherwise.
    pub layout: Layout,
}

/// A machine as prices see it, ready to be asked.
pub struct Machine<'a> {
    pub topology: &'a Topology,
    pub ports: Ports,
    pub ranks: usize,
}

/// What our plans would take, the choice first, those that don't fit last.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub candidates: Vec<Candidate>,
}

impl Answer {
    pub fn chosen(&self) -> &Candidate {
        &self.candidates[0]
    }

    /// Makes the named one the choice; the others are told why they are not.
    ///
    /// # Errors
    /// If it does not fit; the error is its reason.
    pub fn take(&mut self, name: &str, why: &str) -> std::result::Result<(), String> {
        let place = self.candidates.iter().position(|one| one.name == name);
        let place = place.ok_or_else(|| format!("there is no algorithm {name}"))?;
        if self.candidates[place].time_us.is_none() {
            let reason = self.candidates[place].rejected.clone().unwrap_or_default();
            return Err(format!("{name} {reason}"));
        }
        self.candidates[..=place].rotate_right(1);
        for other in &mut self.candidates[1..] {
            other.rejected.get_or_insert_with(|| why.to_owned());
        }
        Ok(())
    }
}

/// One algorithm with the tiles that make it cheapest.
struct Priced {
    algorithm: &'static dyn Algorithm,
    problem: Problem,
    price: std::result::Result<Price, String>,
}

impl Priced {
    fn total_ns(&self) -> f64 {
        self.price.as_ref().map_or(f64::INFINITY, Price::total_ns)
    }

    fn candidate(self) -> Candidate {
        let price = self.price.as_ref().ok();
        Candidate {
            name: self.algorithm.name().to_owned(),
            tiles: self.problem.tiles,
            time_us: price.map(|price| price.total_ns() / 1e3),
            latency_us: price.map(|price| price.latency_ns / 1e3),
            bandwidth_us: price.map(|price| price.bandwidth_ns / 1e3),
            bottleneck: price.map(|price| price.bottleneck),
            rejected: self.price.err(),
        }
    }
}

impl<'a> Machine<'a> {
    pub fn new(topology: &'a Topology) -> Machine<'a> {
        Machine { topology, ports: Ports::of(topology), ranks: topology.gpus() }
    }

    /// Prices every algorithm of the registry; the first of the answer is the choice.
    ///
    /// # Errors
    /// If no algorithm serves the collective there.
    pub fn explain(&self, question: Question) -> Result<Answer> {
        let mut priced = self.priced(question);
        priced.sort_by(|a, b| a.total_ns().total_cmp(&b.total_ns()));
        if priced.first().is_none_or(|one| one.price.is_err()) {
            let (collective, ranks) = (question.collective, self.ranks);
            return Err(Error::new(ErrorKind::Plan, format!("no algorithm serves {collective} among {ranks} ranks")));
        }
        Ok(Answer { candidates: priced.into_iter().map(Priced::candidate).collect() })
    }

    /// Proves the first candidate whose proof does not take long, and makes it the choice; those before it are told why they are not.
    ///
    /// # Errors
    /// If a plan has a flaw, or no candidate can be proved.
    pub fn prove(&self, question: Question, answer: &mut Answer) -> Result<Checked> {
        let mut passed_over = None;
        for index in 0..answer.candidates.len() {
            let candidate = &answer.candidates[index];
            if candidate.time_us.is_none() {
                break;
            }
            let one = algorithm::find(&candidate.name)?;
            let problem = Problem { tiles: candidate.tiles, ..self.problem(question) };
            let needs_ns = proof_ns(one, &problem);
            if needs_ns <= PROOF_LIMIT_NS {
                answer.candidates[..=index].rotate_right(1);
                return Selector::prove(one.name(), problem);
            }
            let why = why_unproved(needs_ns, self.ranks);
            passed_over.get_or_insert_with(|| format!("{}: {why}", candidate.name));
            answer.candidates[index].rejected = Some(why);
        }
        let why = passed_over.unwrap_or_else(|| "no algorithm fits".to_owned());
        Err(Error::new(ErrorKind::Plan, format!("no plan was proved: {why}")).remedy("take fewer GPUs"))
    }

    /// The sizes at which the choice changes, from 1 KiB to 16 GiB: each with the algorithm that is taken from there on.
    ///
    /// # Errors
    /// As [`Machine::explain`].
    pub fn flips(&self, question: Question) -> Result<Vec<(u64, String)>> {
        const LEAST: u64 = 1 << 10;
        const MOST: u64 = 16 << 30;
        let chosen = |bytes: u64| -> Result<String> {
            let best = self.priced(Question { bytes, ..question });
            let best = best.into_iter().min_by(|a, b| a.total_ns().total_cmp(&b.total_ns()));
            Ok(best.map(|one| one.algorithm.name().to_owned()).unwrap_or_default())
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

    fn problem(&self, question: Question) -> Problem {
        Problem { layout: question.layout, ..Problem::new(question.collective.even(), self.ranks) }
    }

    fn priced(&self, question: Question) -> Vec<Priced> {
        algorithm::registry().iter().map(|one| self.price(*one, question)).collect()
    }

    fn price(&self, algorithm: &'static dyn Algorithm, question: Question) -> Priced {
        let problem = self.problem(question);
        let unfit = |why: String| Priced { algorithm, problem, price: Err(why) };
        if let Err(reason) = algorithm.fits(&problem) {
            return unfit(reason);
        }
        let crosses = problem.layout.domains(self.ranks) > 1;
        if crosses && self.ports.crossing.is_none() {
            return unfit("has to pass between domains, and no network joins them".to_owned());
        }
        let tiles: &[u32] = if algorithm.pipelines() { &TILES } else { &TILES[..1] };
        let by_tiles = tiles.iter().filter_map(|&tiles| {
            let problem = Problem { tiles, ..problem };
            algorithm.fits(&problem).ok()?;
            let grid = algorithm.plan(&problem).grid();
            let chunk_bytes = question.bytes as f64 / (f64::from(grid.blocks) * f64::from(grid.tiles));
            let price = price(&algorithm.stages(&problem), chunk_bytes, tiles, &self.ports);
            Some(Priced { algorithm, problem, price: Ok(price) })
        });
        by_tiles.min_by(|a, b| a.total_ns().total_cmp(&b.total_ns())).expect("one tile fits")
    }

    /// What a bottleneck is on this machine, in words.
    pub fn binding(&self, bottleneck: Bottleneck) -> String {
        let rate = |port: &Option<crate::plan::price::Port>| {
            port.as_ref().map_or(String::new(), |port| format!(" ({:.0} GB/s each way)", port.bytes_per_s / 1e9))
        };
        match bottleneck {
            Bottleneck::Latency | Bottleneck::Memory => bottleneck.name().to_owned(),
            Bottleneck::NvLink => format!("{}{}", bottleneck.name(), rate(&self.ports.inside)),
            Bottleneck::Network => format!("{}{}", bottleneck.name(), rate(&self.ports.crossing)),
        }
    }
}
