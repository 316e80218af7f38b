//! The choice of an algorithm: every one that fits is priced, the cheapest is built, proved and kept.
//!
//! **All ranks must choose alike**, or they hang. So a choice depends on nothing but the problem, its size, and the
//! [`Context`] that the ranks agree on when the communicator is made.

mod choice;
mod flips;
mod host;
pub mod machine;
mod offers;
mod proof_time;
pub mod report;
pub mod rules;

use crate::algorithm;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Problem;
use crate::plan::check::{Checked, prove};
use crate::plan::price::Bottleneck;
use crate::topology::host::Constants;
use crate::topology::machines::HOST;
use crate::types::Collective;
use choice::Proof;
use rules::{Rule, Rules};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

/// What the ranks of a communicator agree on before they choose anything: rank 0's view, adopted by all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// Of the library: plans of different versions need not match.
    pub version: String,
    /// An algorithm that is taken wherever it fits, by name.
    pub algorithm: Option<String>,
    /// What goes before prices where no algorithm is set.
    pub rules: Rules,
    pub constants: Constants,
    /// How many processes share a processor where they are most crowded: each proves for itself, so that all wait for so many proofs.
    pub proofs_per_processor: usize,
    /// All agree on every collective before any of its data moves.
    pub strict: bool,
}

impl Context {
    pub fn new(algorithm: Option<String>, constants: Constants) -> Context {
        let (version, rules) = (env!("CARGO_PKG_VERSION").to_owned(), Rules::default());
        Context { version, algorithm, rules, constants, proofs_per_processor: 1, strict: false }
    }

    /// Of processes, each of which proves for itself, as many on a host as the constants say.
    pub fn of_processes(constants: Constants) -> Context {
        let proofs = constants.ranks_per_host.div_ceil(constants.processors).max(1);
        Context::new(None, constants).with_proofs_per_processor(proofs)
    }

    /// With so many processes to a processor, each of which proves for itself; one process that holds all ranks is 1.
    pub fn with_proofs_per_processor(self, proofs_per_processor: usize) -> Context {
        Context { proofs_per_processor, ..self }
    }

    /// With rules that go before prices. Those of machine `host` or any hold here.
    pub fn with_rules(self, rules: Rules) -> Context {
        Context { rules, ..self }
    }

    fn rule(&self, problem: &Problem, bytes: u64) -> Option<&Rule> {
        self.rules.find(called(problem), bytes, problem.ranks, HOST)
    }
}

/// The collective under the name by which it is called.
fn called(problem: &Problem) -> Collective {
    match (problem.uneven, problem.collective) {
        (true, Collective::AllGather) => Collective::AllGatherV,
        (true, Collective::ReduceScatter) => Collective::ReduceScatterV,
        (true, Collective::AllToAll) => Collective::AllToAllV,
        (_, other) => other,
    }
}

/// One algorithm's answer to a problem.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    pub name: String,
    pub tiles: u32,
    /// None where it does not fit.
    pub time_us: Option<f64>,
    pub latency_us: Option<f64>,
    pub bandwidth_us: Option<f64>,
    /// What takes most of its time; None where it does not fit, and on hosts, where ports are not told apart.
    pub bottleneck: Option<Bottleneck>,
    /// Why it was not taken: its reason, or None for a price that is merely higher and for the chosen one.
    pub rejected: Option<String>,
}

/// Why an algorithm was taken.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    pub chosen: String,
    pub time_us: f64,
    /// The choice, then the others, cheapest first, those that don't fit last.
    pub candidates: Vec<Candidate>,
}

/// Prices every algorithm of the registry; the first of the candidates is the choice, by the rule that `unisono plan` follows too: the
/// cheapest whose proof is short, or the cheapest if none is. Proves nothing.
///
/// # Errors
/// If no algorithm serves the collective, or a rule names one that does not.
pub fn explain(context: &Context, problem: Problem, bytes: u64) -> Result<Explanation> {
    let (mut answer, _) = context.answer(problem, bytes)?;
    context.chooser().settle(problem, bytes, &mut answer)?;
    let chosen = answer.chosen();
    let (chosen, time_us) = (chosen.name.clone(), chosen.time_us.expect("what is settled has a price"));
    Ok(Explanation { chosen, time_us, candidates: answer.candidates })
}

/// Chooses, proves and remembers.
pub struct Selector;

/// Plans that were proved in this process. Ranks that are threads share them, and the first that asks does the proof.
type Proved = Mutex<HashMap<(&'static str, Problem), Arc<OnceLock<Result<Checked>>>>>;

impl Selector {
    /// The proved plan for a problem of `bytes`: by the algorithm that the call insists on, or else by the choice.
    pub fn choose(context: &Context, problem: Problem, bytes: u64, insisted: Option<&'static str>) -> Result<Checked> {
        let chooser = context.chooser();
        let mut answer = match insisted {
            Some(name) => {
                let name = algorithm::find(name)?.name();
                let mut answer = chooser.price_all(problem, bytes)?;
                answer.take(name, "the call insists on another").map_err(|reason| {
                    let reason = reason.strip_prefix(name).unwrap_or(&reason).trim_start();
                    Error::new(ErrorKind::InvalidArgument, format!("algorithm {name} does not fit: {reason}"))
                        .remedy("leave the choice to the library, or take another algorithm")
                })?;
                answer.candidates.truncate(1);
                answer
            }
            None => context.answer(problem, bytes)?.0,
        };
        match chooser.prove(problem, bytes, &mut answer)? {
            Proof::Proved(checked) => Ok(checked),
            // There is nothing else to run.
            Proof::TooLong { algorithm, problem, .. } => Selector::prove(algorithm, problem),
        }
    }

    /// The proof of a registered algorithm's plan, done once per process.
    pub fn prove(name: &'static str, problem: Problem) -> Result<Checked> {
        static PROVED: OnceLock<Proved> = OnceLock::new();
        let proved = PROVED.get_or_init(Mutex::default);
        let cell = proved.lock().expect("no panic under this lock").entry((name, problem)).or_default().clone();
        let prove = || {
            let one = algorithm::find(name)?;
            Ok(prove(&one.plan(&problem))?)
        };
        cell.get_or_init(prove).clone()
    }
}

#[cfg(test)]
mod tests;
