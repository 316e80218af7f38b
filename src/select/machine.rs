//! The choice among our plans on a machine that is data: what `unisono plan` answers.

use super::proof_time::{proof_ns, why_unproved};
use super::{Candidate, Selector};
use crate::algorithm::{self, Algorithm};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::price::{Bottleneck, Ports, Price, price};
use crate::plan::{Problem, check::Checked};
use crate::topology::{Layout, LinkClass, Topology};
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

    /// Proves the cheapest plan whose proof does not take long, and makes it the choice: a candidate with fewer tiles where that is
    /// what makes its proof short. Those before it are told why they are not taken.
    ///
    /// # Errors
    /// If a plan has a flaw, or no candidate can be proved.
    pub fn prove(&self, question: Question, answer: &mut Answer) -> Result<Checked> {
        let mut best: Option<(usize, Priced)> = None;
        let mut first_told = None;
        for index in 0..answer.candidates.len() {
            let candidate = &mut answer.candidates[index];
            let (Some(time_us), true) = (candidate.time_us, candidate.rejected.is_none() || index == 0) else { break };
            if best.as_ref().is_some_and(|(_, one)| one.total_ns() <= time_us * 1e3) {
                break;
            }
            let one = algorithm::find(&candidate.name)?;
            let needs_ns = |tiles: u32| proof_ns(one, &Problem { tiles, ..self.problem(question) });
            let mut tiles = candidate.tiles;
            let wanted_ns = needs_ns(tiles);
            let mut takes_ns = wanted_ns;
            while takes_ns > PROOF_LIMIT_NS && tiles > 1 {
                tiles /= 2;
                takes_ns = needs_ns(tiles);
            }
            if takes_ns <= PROOF_LIMIT_NS {
                let priced = self.price_with(one, question, &[tiles]);
                if best.as_ref().is_none_or(|(_, best)| priced.total_ns() < best.total_ns()) {
                    best = Some((index, priced));
                }
            }
            if wanted_ns > PROOF_LIMIT_NS {
                let with = if candidate.tiles > 1 { format!(" with {} tiles", candidate.tiles) } else { String::new() };
                let why = why_unproved(wanted_ns, &format!("among {} ranks{with}", self.ranks));
                first_told.get_or_insert_with(|| format!("{}: {why}", candidate.name));
                candidate.rejected = Some(why);
            }
        }
        // A plan with a flaw is never taken; its flaw is told, and the choice goes on without it.
        let Some((index, priced)) = best else {
            let why = first_told.unwrap_or_else(|| "no algorithm fits".to_owned());
            return Err(Error::new(ErrorKind::Plan, format!("no plan was proved: {why}")).remedy("take fewer GPUs"));
        };
        let (name, problem) = (priced.algorithm.name(), priced.problem);
        match Selector::prove(name, problem) {
            Ok(checked) => {
                answer.candidates[index] = priced.candidate();
                answer.candidates[..=index].rotate_right(1);
                Ok(checked)
            }
            Err(flaw) => {
                let unfit = &mut answer.candidates[index];
                (unfit.time_us, unfit.latency_us, unfit.bandwidth_us) = (None, None, None);
                unfit.rejected = Some(format!("was not proved: {flaw}"));
                answer.candidates[index..].rotate_left(1);
                self.prove(question, answer)
            }
        }
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
        let tiles = if algorithm.pipelines() { &TILES[..] } else { &TILES[..1] };
        self.price_with(algorithm, question, tiles)
    }

    /// The price with that of these numbers of tiles that makes it cheapest.
    fn price_with(&self, algorithm: &'static dyn Algorithm, question: Question, tiles: &[u32]) -> Priced {
        let problem = self.problem(question);
        let unfit = |why: String| Priced { algorithm, problem, price: Err(why) };
        if let Err(reason) = algorithm.fits(&problem) {
            return unfit(reason);
        }
        let crosses = problem.layout.domains(self.ranks) > 1;
        if crosses && self.ports.crossing.is_none() {
            return unfit("has to pass between domains, and no network joins them".to_owned());
        }
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
        let port = match bottleneck {
            Bottleneck::Latency => return "latency".to_owned(),
            Bottleneck::Memory => return "memory of a GPU".to_owned(),
            Bottleneck::Inside => &self.ports.inside,
            Bottleneck::Network => &self.ports.crossing,
        };
        let port = port.as_ref().expect("a port that binds is there");
        let what = match port.class {
            LinkClass::NvLink => "NVLink port of a GPU",
            LinkClass::Host => "link of a rank to the others of its host",
            LinkClass::Nic => "NIC of a GPU",
            LinkClass::Network => "a GPU's share of its unit's way into the network",
        };
        format!("{what}, {:.3} GB/s each way as far as kernels reach it", port.bytes_per_s / 1e9)
    }
}
