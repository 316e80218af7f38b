//! The choice among our plans on a machine that is data: what `unisono plan` answers.

mod advice;
mod flips;
mod offers;
#[cfg(test)]
mod tests;

use super::proof_time::why_unproved;
use super::{Candidate, Selector};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::price::{Bottleneck, Ports};
use crate::plan::{Problem, check::Checked};
use crate::topology::{Layout, LinkClass, Topology};
use crate::types::Collective;
use offers::{Offer, Offers, Priced, Taken, Wish};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

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
    /// Whether the switches of every domain can add up.
    switch: bool,
    offers: RefCell<HashMap<Problem, Rc<Offers>>>,
}

/// What became of the proof of a choice.
pub enum Proof {
    Proved(Checked),
    /// Not begun.
    TooLong {
        /// In words.
        why: String,
        /// About how long it would take; infinite where it would not fit into memory.
        proof_ns: f64,
        algorithm: &'static str,
        problem: Problem,
    },
}

impl Proof {
    /// The proof, made now if it takes at most so long and is not there yet.
    ///
    /// # Errors
    /// If it would take longer, or shows a flaw.
    pub fn within(self, most_ns: f64) -> Result<Checked> {
        match self {
            Proof::Proved(checked) => Ok(checked),
            Proof::TooLong { proof_ns, algorithm, problem, .. } if proof_ns <= most_ns => {
                Selector::prove(algorithm, problem)
            }
            Proof::TooLong { why, algorithm, .. } => {
                let told = format!("{algorithm} is cheapest and was not proved: {why}");
                Err(Error::new(ErrorKind::Plan, told).remedy("take fewer GPUs, or another algorithm"))
            }
        }
    }
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
        super::take(&mut self.candidates, name, why)
    }
}

fn candidate(offer: &Offer, priced: Option<Priced<'_>>) -> Candidate {
    let price = priced.map(|(_, price)| price);
    Candidate {
        name: offer.algorithm.name().to_owned(),
        tiles: priced.map_or(1, |(tiling, _)| tiling.problem.tiles),
        time_us: price.map(|price| price.total_ns() / 1e3),
        latency_us: price.map(|price| price.latency_ns / 1e3),
        bandwidth_us: price.map(|price| price.bandwidth_ns / 1e3),
        bottleneck: price.map(|price| price.bottleneck),
        rejected: offer.misfit.clone(),
    }
}

impl<'a> Machine<'a> {
    pub fn new(topology: &'a Topology) -> Machine<'a> {
        Machine {
            topology,
            ports: Ports::of(topology),
            ranks: topology.gpus(),
            switch: topology.reduces_in_switch(),
            offers: RefCell::default(),
        }
    }

    /// Prices every algorithm of the registry; the first of the answer is the cheapest.
    ///
    /// # Errors
    /// If no algorithm serves the collective there.
    pub fn explain(&self, question: Question) -> Result<Answer> {
        let offers = self.offers(question);
        let fitting = offers.by_price(question.bytes);
        if fitting.is_empty() {
            let (collective, ranks) = (question.collective, self.ranks);
            // The reason of one that serves the collective.
            let misfit = |one: &Offer| Some((one.algorithm.name(), one.misfit.clone()?));
            let why = offers.all.iter().filter_map(misfit).find(|(_, why)| !why.starts_with("answers "));
            let why = why.map_or(String::new(), |(name, why)| format!(": {name} {why}"));
            let told = format!("no algorithm serves {collective} among {ranks} ranks{why}");
            return Err(Error::new(ErrorKind::Plan, told).remedy("take fewer GPUs, or another collective"));
        }
        let misfits = offers.all.iter().filter(|one| one.misfit.is_some()).map(|one| candidate(one, None));
        let priced = fitting.into_iter().map(|(offer, priced)| candidate(offer, Some(priced)));
        Ok(Answer { candidates: priced.chain(misfits).collect() })
    }

    /// Proves the cheapest plan whose proof does not take long, and makes it the choice: a candidate with fewer tiles where that is
    /// what makes its proof short. Those before it are told why they are not taken. Where all that can be proved soon takes much longer
    /// than the cheapest, that is the choice, without a proof.
    ///
    /// # Errors
    /// If every candidate has a flaw.
    pub fn prove(&self, question: Question, answer: &mut Answer) -> Result<Proof> {
        let offers = self.offers(question);
        let in_question = |(index, one): &(usize, &Candidate)| *index == 0 || one.rejected.is_none();
        let wish = |(_, one): (usize, &Candidate)| {
            Some(Wish { offer: offers.find(&one.name)?, tiles: one.tiles, time_ns: one.time_us? * 1e3 })
        };
        let wishes = answer.candidates.iter().enumerate().take_while(in_question).map_while(wish);
        let granted = offers.grant(wishes, question.bytes);
        let told = |one: &Candidate, proof_ns: f64| {
            let with = if one.tiles > 1 { format!(" with {} tiles", one.tiles) } else { String::new() };
            why_unproved(proof_ns, &format!("among {} ranks{with}", self.ranks))
        };
        let Some(Taken { index, priced, unproved_ns }) = granted.taken else {
            let first = &answer.candidates[0];
            let why = first.rejected.as_deref().unwrap_or("no algorithm fits");
            return Err(Error::new(ErrorKind::Plan, format!("no plan was proved: {}: {why}", first.name)));
        };
        let offer = offers.find(&answer.candidates[index].name).expect("it was wished for");
        let problem = priced.0.problem;
        if let Some(proof_ns) = unproved_ns {
            let why = told(&answer.candidates[index], proof_ns);
            answer.candidates[index].rejected = None;
            return Ok(Proof::TooLong { why, proof_ns, algorithm: offer.algorithm.name(), problem });
        }
        for &(index, proof_ns) in &granted.unproved {
            let why = told(&answer.candidates[index], proof_ns);
            answer.candidates[index].rejected = Some(why);
        }
        match Selector::prove(offer.algorithm.name(), problem) {
            Ok(checked) => {
                answer.candidates[index] = candidate(offer, Some(priced));
                answer.candidates[..=index].rotate_right(1);
                Ok(Proof::Proved(checked))
            }
            // A plan with a flaw is never taken; its flaw is told, and the choice goes on without it.
            Err(flaw) => {
                let unfit = &mut answer.candidates[index];
                (unfit.time_us, unfit.latency_us, unfit.bandwidth_us) = (None, None, None);
                unfit.rejected = Some(format!("was not proved: {flaw}"));
                answer.candidates[index..].rotate_left(1);
                self.prove(question, answer)
            }
        }
    }

    /// What the algorithms offer for this collective and layout, found once.
    fn offers(&self, question: Question) -> Rc<Offers> {
        let problem = Problem {
            layout: question.layout,
            switch: self.switch,
            ..Problem::new(question.collective.even(), self.ranks)
        };
        let mut known = self.offers.borrow_mut();
        known.entry(problem).or_insert_with(|| Rc::new(Offers::of(problem, &self.ports))).clone()
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
