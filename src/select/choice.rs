//! The one rule by which an algorithm is chosen, on a machine that is data and in a running job alike.

use super::offers::{Offer, Offers, Priced, Proofs, Rates, Taken, Wish};
use super::proof_time::why_unproved;
use super::{Candidate, Selector, called};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Problem;
use crate::plan::check::Checked;
use std::sync::Arc;

/// Prices, and what a proof may cost: all that a choice rests on beside the problem and its size.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chooser {
    pub rates: Rates,
    pub proofs: Proofs,
    /// Whether domains, if there are several, reach each other.
    pub joined: bool,
}

/// What our plans would take, the choice first, those that don't fit last.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub candidates: Vec<Candidate>,
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

/// The first of an answer's candidates as it is to be proved.
pub(super) struct Settled {
    pub algorithm: &'static str,
    pub problem: Problem,
    /// Why its proof takes too long, and about how long, where it does.
    pub unproved: Option<(String, f64)>,
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
        let candidates = &mut self.candidates;
        let place = candidates.iter().position(|one| one.name == name);
        let place = place.ok_or_else(|| format!("there is no algorithm {name}"))?;
        if candidates[place].time_us.is_none() {
            let reason = candidates[place].rejected.clone().unwrap_or_default();
            return Err(format!("{name} {reason}"));
        }
        candidates[..=place].rotate_right(1);
        candidates[0].rejected = None;
        for other in &mut candidates[1..] {
            other.rejected.get_or_insert_with(|| why.to_owned());
        }
        Ok(())
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

impl Chooser {
    /// What the algorithms offer for a problem, found once.
    pub fn offers(&self, problem: Problem) -> Arc<Offers> {
        let joined = self.joined || problem.layout.domains(problem.ranks) <= 1;
        Offers::of(problem, joined)
    }

    /// Prices every algorithm of the registry; the first of the answer is the cheapest.
    ///
    /// # Errors
    /// If no algorithm serves the collective there.
    pub fn price_all(&self, problem: Problem, bytes: u64) -> Result<Answer> {
        let offers = self.offers(problem);
        let fitting = offers.by_price(bytes, &self.rates);
        if fitting.is_empty() {
            let (collective, ranks) = (called(&problem), problem.ranks);
            // The reason of one that serves the collective.
            let misfit = |one: &Offer| Some((one.algorithm.name(), one.misfit.clone()?));
            let why = offers.all.iter().filter_map(misfit).find(|(_, why)| !why.starts_with("answers "));
            let why = why.map_or(String::new(), |(name, why)| format!(": {name} {why}"));
            let told = format!("no algorithm serves {collective} among {ranks} ranks{why}");
            return Err(Error::new(ErrorKind::Plan, told).remedy("take fewer ranks, or another collective"));
        }
        let misfits = offers.all.iter().filter(|one| one.misfit.is_some()).map(|one| candidate(one, None));
        let priced = fitting.into_iter().map(|(offer, priced)| candidate(offer, Some(priced)));
        Ok(Answer { candidates: priced.chain(misfits).collect() })
    }

    /// Makes the cheapest plan whose proof does not take long the choice: a candidate with fewer tiles where that is what makes its
    /// proof short. Those before it are told why they are not taken. Where all that can be proved soon takes much longer than the
    /// cheapest, that is the choice, without a proof. Nothing is proved here.
    ///
    /// # Errors
    /// If no candidate has a price.
    pub fn settle(&self, problem: Problem, bytes: u64, answer: &mut Answer) -> Result<Settled> {
        let offers = self.offers(problem);
        let in_question = |(index, one): &(usize, &Candidate)| *index == 0 || one.rejected.is_none();
        let wish = |(_, one): (usize, &Candidate)| {
            Some(Wish { offer: offers.find(&one.name)?, tiles: one.tiles, time_ns: one.time_us? * 1e3 })
        };
        let wishes = answer.candidates.iter().enumerate().take_while(in_question).map_while(wish);
        let granted = offers.grant(wishes, bytes, &self.rates, &self.proofs);
        let among = match self.proofs.at_once {
            1 => format!("among {} ranks", problem.ranks),
            several => format!("among {} ranks, {several} to a processor,", problem.ranks),
        };
        let told = |one: &Candidate, proof_ns: f64| {
            let with = if one.tiles > 1 { format!(" with {} tiles", one.tiles) } else { String::new() };
            why_unproved(proof_ns, &format!("{among}{with}"))
        };
        let Some(Taken { index, priced, unproved_ns }) = granted.taken else {
            let first = &answer.candidates[0];
            let why = first.rejected.as_deref().unwrap_or("no algorithm fits");
            return Err(Error::new(ErrorKind::Plan, format!("no plan was proved: {}: {why}", first.name)));
        };
        let offer = offers.find(&answer.candidates[index].name).expect("it was wished for");
        let (algorithm, problem) = (offer.algorithm.name(), priced.0.problem);
        if let Some(proof_ns) = unproved_ns {
            let why = told(&answer.candidates[index], proof_ns);
            answer.candidates[index].rejected = None;
            return Ok(Settled { algorithm, problem, unproved: Some((why, proof_ns)) });
        }
        for &(index, proof_ns) in &granted.unproved {
            let why = told(&answer.candidates[index], proof_ns);
            answer.candidates[index].rejected = Some(why);
        }
        answer.candidates[index] = candidate(offer, Some(priced));
        answer.candidates[..=index].rotate_right(1);
        Ok(Settled { algorithm, problem, unproved: None })
    }

    /// Settles the choice and proves it, unless that takes too long. A plan with a flaw is never taken; its flaw is told, and the
    /// choice goes on without it.
    ///
    /// # Errors
    /// If every candidate has a flaw.
    pub fn prove(&self, problem: Problem, bytes: u64, answer: &mut Answer) -> Result<Proof> {
        loop {
            let settled = self.settle(problem, bytes, answer)?;
            if let Some((why, proof_ns)) = settled.unproved {
                let Settled { algorithm, problem, .. } = settled;
                return Ok(Proof::TooLong { why, proof_ns, algorithm, problem });
            }
            match Selector::prove(settled.algorithm, settled.problem) {
                Ok(checked) => return Ok(Proof::Proved(checked)),
                Err(flaw) => {
                    let unfit = &mut answer.candidates[0];
                    (unfit.time_us, unfit.latency_us, unfit.bandwidth_us) = (None, None, None);
                    unfit.rejected = Some(format!("was not proved: {flaw}"));
                    answer.candidates.rotate_left(1);
                }
            }
        }
    }
}
