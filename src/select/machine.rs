//! The choice among our plans on a machine that is data: what `unisono plan` answers.

use super::{Candidate, Selector, proof_ns};
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
    pub bottleneck: Bottleneck,
    /// What binds, in words.
    pub binding: String,
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
        let Some(Ok(chosen)) = priced.first().map(|one| one.price.clone()) else {
            let (collective, ranks) = (question.collective, self.ranks);
            return Err(Error::new(ErrorKind::Plan, format!("no algorithm serves {collective} among {ranks} ranks")));
        };
        let binding = self.binding(chosen.bottleneck);
        Ok(Answer {
            candidates: priced.into_iter().map(Priced::candidate).collect(),
            bottleneck: chosen.bottleneck,
            binding,
        })
    }

    /// Proves a candidate's plan, as the library would before it runs it.
    ///
    /// # Errors
    /// If its proof would take long, or finds a flaw.
    pub fn prove(&self, question: Question, candidate: &Candidate) -> Result<Checked> {
        let one = algorithm::find(&candidate.name)?;
        let problem = Problem { tiles: candidate.tiles, ..self.problem(question) };
        let needs_ns = proof_ns(one, &problem);
        if needs_ns > PROOF_LIMIT_NS {
            let (name, seconds) = (one.name(), needs_ns / 1e9);
            let what = format!("{name} among {} ranks was not proved: it would take about {seconds:.0} s", self.ranks);
            return Err(Error::new(ErrorKind::Plan, what).remedy("take fewer ranks"));
        }
        Selector::prove(one.name(), problem)
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
        Problem {
            layout: question.layout,
            switch: self.topology.reduces_in_switch(),
            ..Problem::new(question.collective.even(), self.ranks)
        }
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

    fn binding(&self, bottleneck: Bottleneck) -> String {
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
