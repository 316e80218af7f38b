//! What is said of a choice, in the same words wherever it is made: by `unisono plan`, and by a running job that is to explain itself.

use super::{Candidate, Context};
use crate::error::Result;
use crate::plan::Problem;
use crate::plan::check::Checked;
use crate::plan::check::compose::{Way, looked_at};
use crate::plan::check::rotation::seen;
use crate::topology::bound::{self, BoundAt};
use crate::topology::machines::{self, HOST};
use crate::topology::quantity::Constant;
use crate::types::Collective;
use crate::words::counted;
use serde::Serialize;

mod text;

/// A choice with everything that speaks for it. As JSON it is the answer of `unisono plan`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub machine: String,
    pub ranks: usize,
    pub domains: usize,
    pub collective: &'static str,
    /// By the convention of nccl-tests.
    pub bytes: u64,
    /// None of a barrier, which has no elements, and of a job that tells of its choice: it holds for all types of that size.
    pub dtype: Option<&'static str>,
    pub engine: &'static str,
    pub chosen: String,
    pub time_us: f64,
    pub lower_bound_us: Option<f64>,
    pub bound_is_tight: Option<bool>,
    pub bound_cut: Option<String>,
    /// What binds, in words.
    pub bottleneck: String,
    pub planning_ms: Option<f64>,
    pub runner_up: Option<String>,
    /// How much longer the runner-up takes, as a share of the choice's time; None where there is no runner-up, or the choice takes no
    /// time.
    pub margin: Option<f64>,
    /// How the chosen plan was proved; None for plans that are not ours.
    pub proof: Option<String>,
    /// How the ranks lie in the domains; None where there is one.
    pub placement: Option<String>,
    /// Another order of the ranks that is faster, if one is.
    pub advice: Option<Advice>,
    pub flips: Vec<Flip>,
    /// The chosen one first.
    pub candidates: Vec<Offered>,
    #[serde(skip)]
    pub constants: Vec<Constant>,
}

/// From this size on another one is chosen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flip {
    pub from_bytes: u64,
    pub chosen: String,
}

/// A candidate of either engine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Offered {
    pub name: String,
    /// None where the engine has none.
    pub tiles: Option<u32>,
    /// None where it does not fit.
    pub time_us: Option<f64>,
    pub latency_us: Option<f64>,
    pub bandwidth_us: Option<f64>,
    /// Why it was not taken, unless merely its price is higher.
    pub rejected: Option<String>,
}

/// An order of the ranks that makes the same collective faster.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advice {
    /// How the ranks lie then: `blocked` or `interleaved`.
    pub placement: String,
    pub chosen: String,
    pub time_us: f64,
    pub gain_us: f64,
    /// As a share of the time that it takes now.
    pub gain: f64,
    /// The present ranks in their new order, in runs: `0, 2, .. 14; 1, 3, .. 15`.
    pub order: String,
}

impl From<Candidate> for Offered {
    fn from(one: Candidate) -> Offered {
        Offered {
            name: one.name,
            tiles: Some(one.tiles),
            time_us: one.time_us,
            latency_us: one.latency_us,
            bandwidth_us: one.bandwidth_us,
            rejected: one.rejected,
        }
    }
}

impl Report {
    /// A report with the choice and who comes next; the rest is to be filled in. None if the first candidate has no price.
    ///
    /// Where one rank is alone every plan is the same copy, so that none comes next.
    pub fn of_candidates(candidates: Vec<Offered>, engine: &'static str, ranks: usize) -> Option<Report> {
        let chosen = candidates.first()?;
        let time_us = chosen.time_us?;
        let comes_next = |one: &&Offered| ranks > 1 && one.time_us.is_some() && one.rejected.is_none();
        let second = candidates[1..].iter().find(comes_next);
        Some(Report {
            machine: String::new(),
            ranks,
            domains: 1,
            collective: "",
            bytes: 0,
            dtype: None,
            engine,
            chosen: chosen.name.clone(),
            time_us,
            lower_bound_us: None,
            bound_is_tight: None,
            bound_cut: None,
            bottleneck: String::new(),
            planning_ms: None,
            runner_up: second.map(|one| one.name.clone()),
            margin: second.and_then(|one| Some(one.time_us? / time_us - 1.0)).filter(|margin| margin.is_finite()),
            proof: None,
            placement: None,
            advice: None,
            flips: Vec::new(),
            candidates,
            constants: Vec::new(),
        })
    }

    /// What is said of a choice among the ranks of hosts, by a running job and by `unisono plan --on host` alike. It takes as long as
    /// some hundred choices: those at other sizes are looked at too.
    ///
    /// # Errors
    /// As [`explain`](super::explain).
    pub fn of_job(context: &Context, problem: Problem, bytes: u64) -> Result<Report> {
        let called = super::called(&problem);
        // What a barrier's messages carry is nobody's.
        let bytes = if called == Collective::Barrier { 0 } else { bytes };
        let chooser = context.chooser();
        let (mut answer, _) = context.answer(problem, bytes)?;
        chooser.settle(problem, bytes, &mut answer)?;
        let bottleneck = answer.chosen().bottleneck.map(|one| context.binding(one, bytes)).unwrap_or_default();
        let flips = match called {
            Collective::Barrier => Vec::new(),
            _ => chooser.flips(problem, &|bytes| context.ruled(&problem, bytes))?,
        };
        let candidates = answer.candidates.into_iter().map(Offered::from).collect();
        let report = Report::of_candidates(candidates, "unisono", problem.ranks).expect("what is settled has a price");
        let bound = context.bound(&problem, bytes).or_else(|| alone(context, &problem, bytes));
        Ok(Report {
            machine: HOST.to_owned(),
            domains: problem.layout.domains(problem.ranks),
            collective: called.name(),
            bytes,
            bottleneck,
            lower_bound_us: bound.as_ref().map(|bound| bound.seconds() * 1e6),
            bound_is_tight: bound.as_ref().map(|bound| bound.tight || reached_by(bound, &report.candidates).is_some()),
            bound_cut: bound.map(|bound| bound.cut),
            flips: flips.into_iter().map(|(from_bytes, chosen)| Flip { from_bytes, chosen }).collect(),
            constants: context.constants.with_sources(bytes),
            ..report
        })
    }

    /// With the words for a proof.
    pub fn proved(self, checked: &Checked) -> Report {
        let facts = checked.facts();
        let plan = checked.plan();
        let of_ranks = |count: usize| match plan.problem.ranks {
            1 => "the only rank".to_owned(),
            ranks if count == ranks => "all ranks".to_owned(),
            ranks => format!("{count} of {ranks} ranks"),
        };
        let how = match Way::of(plan) {
            Way::Whole => "contributions and order proved".to_owned(),
            Way::ByParts => {
                format!(
                    "proved by its parts, each at its true size; {} compared with them",
                    of_ranks(looked_at(plan).0)
                )
            }
            Way::ByRotation => format!("proved from one rank; {} compared with it", of_ranks(seen(plan).len())),
        };
        let (hops, moves) = (counted(facts.hops, "hop"), counted(facts.moves, "move"));
        let of = of_ranks(plan.problem.ranks);
        let proof = format!("{hops}, {moves} of {of}, {how}");
        Report { proof: Some(proof), ..self }
    }

    /// Of a choice without a proof, for this reason.
    pub fn unproved(self, why: &str) -> Report {
        Report { proof: Some(format!("none: {why}; whoever runs it proves it first")), ..self }
    }
}

/// The bound of a rank that is alone.
fn alone(context: &Context, problem: &Problem, bytes: u64) -> Option<BoundAt> {
    if problem.ranks != 1 {
        return None;
    }
    let topology = machines::host(&context.constants, 1, None);
    Some(bound::bound(&topology, super::called(problem)).ok()?.at(bytes))
}

/// The cheapest candidate, if it takes no longer than a bound: then the bound can be reached.
pub fn reached_by<'a>(bound: &BoundAt, candidates: &'a [Offered]) -> Option<&'a Offered> {
    let limit_us = bound.seconds() * 1e6 * (1.0 + 1e-6);
    let priced = candidates.iter().filter_map(|one| Some((one, one.time_us?)));
    let (cheapest, time_us) = priced.min_by(|(_, a), (_, b)| a.total_cmp(b))?;
    (time_us <= limit_us).then_some(cheapest)
}
