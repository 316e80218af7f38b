//! The choice of an algorithm: every one that fits is priced, the cheapest is built, proved and kept.
//!
//! **All ranks must choose alike**, or they hang. So a choice depends on nothing but the problem, its size, and the
//! [`Context`] that the ranks agree on when the communicator is made.

mod estimate;
pub mod machine;
mod proof_time;
pub mod report;
pub mod rules;

use crate::algorithm;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Problem;
use crate::plan::check::{Checked, prove};
use crate::plan::cost::Price;
use crate::plan::price::Bottleneck;
use crate::topology::host::Constants;
use crate::topology::machines::HOST;
use crate::types::Collective;
use estimate::{Estimate, Estimates};
use proof_time::why_unproved;
use rules::{Rule, Rules};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

/// A plan whose proof would make all wait for longer than this is not chosen while there is another: every process proves what it
/// runs.
const PROOF_LIMIT_NS: f64 = 2e9;

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

/// Prices every algorithm of the registry; the first of the candidates is the choice: the cheapest whose proof is short, or the
/// cheapest if none is.
///
/// A first price comes from the promises alone. The candidates whose promise is near the best are then built and proved, if that
/// is affordable among so many ranks, and priced again by what the proof counted.
pub fn explain(context: &Context, problem: Problem, bytes: u64) -> Result<Explanation> {
    let all = estimate::all(problem);
    let priced = by_price(&all, context, bytes)?;
    let mut candidates: Vec<Candidate> = priced.iter().map(Priced::candidate).collect();
    let proof_ns = |index: usize| {
        let Priced { estimates, best } = &priced[index];
        best.map(|(estimate, _)| estimate.proof_ns(estimates.algorithm) * context.proofs_per_processor as f64)
    };
    let among = match context.proofs_per_processor {
        1 => format!("among {} ranks", problem.ranks),
        several => format!("among {} ranks, {several} to a processor,", problem.ranks),
    };
    prefer_what_is_proved_soon(&mut candidates, proof_ns, &among);
    let fits = |name: &&String| candidates.iter().any(|one| one.name == **name && one.time_us.is_some());
    if let Some(forced) = context.algorithm.as_ref().filter(fits) {
        take(&mut candidates, forced, &format!("{forced} is set for this communicator")).expect("it fits");
    } else if let Some(rule) = context.rule(&problem, bytes) {
        let told = rule.told(&context.rules.file);
        take(&mut candidates, &rule.algorithm, &told).map_err(|why| {
            let what = format!("{told}, and of {} among {} ranks {why}", called(&problem), problem.ranks);
            Error::new(ErrorKind::Configuration, what).remedy("narrow the rule, or take it out")
        })?;
    }
    let Some((chosen, time_us)) = candidates.first().and_then(|one| Some((one.name.clone(), one.time_us?))) else {
        return Err(Error::new(
            ErrorKind::Plan,
            format!("no algorithm serves {} among {} ranks", problem.collective, problem.ranks),
        ));
    };
    Ok(Explanation { chosen, time_us, candidates })
}

/// Makes the named candidate the choice; the others are told why they are not.
///
/// # Errors
/// If it does not fit; the error is its reason.
fn take(candidates: &mut [Candidate], name: &str, why: &str) -> std::result::Result<(), String> {
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

/// Moves the first candidate whose proof is short to the front, and says of those before it why they are not taken.
/// `proof_ns` tells how long all wait for the proof of the candidate at an index, None where it does not fit; `among` says whose proof.
fn prefer_what_is_proved_soon(candidates: &mut [Candidate], proof_ns: impl Fn(usize) -> Option<f64>, among: &str) {
    for index in 0..candidates.len() {
        let Some(proof_ns) = proof_ns(index) else { break };
        if proof_ns <= PROOF_LIMIT_NS {
            candidates[..=index].rotate_right(1);
            return;
        }
        candidates[index].rejected = Some(why_unproved(proof_ns, among));
    }
    // None is short: the cheapest stays the choice.
    if let Some(chosen) = candidates.first_mut().filter(|one| one.time_us.is_some()) {
        chosen.rejected = None;
    }
}

/// A promise so far from the best is not worth a proof: what the proof counts besides changes a price by less.
const WORTH_A_PROOF: f64 = 4.0;

/// An algorithm with its price at one size.
struct Priced<'a> {
    estimates: &'a Estimates,
    /// With the number of tiles that makes it cheapest; None where it does not fit.
    best: Option<(&'a Estimate, Price)>,
}

/// All algorithms, cheapest first, those that don't fit last.
fn by_price<'a>(all: &'a [Estimates], context: &Context, bytes: u64) -> Result<Vec<Priced<'a>>> {
    let constants = &context.constants;
    let promised = |estimates: &'a Estimates| Priced { estimates, best: estimates.cheapest(constants, bytes) };
    let mut priced: Vec<Priced> = all.iter().map(promised).collect();
    let best_ns = priced.iter().map(Priced::total_ns).fold(f64::INFINITY, f64::min);
    for one in &mut priced {
        if let Some((estimate, price)) = &mut one.best
            && price.total_ns() <= WORTH_A_PROOF * best_ns
            && let Some(counted) = estimate.counted(one.estimates.algorithm, context.proofs_per_processor)?
        {
            *price = estimate.price(&counted, constants, bytes);
        }
    }
    priced.sort_by(|a, b| a.total_ns().total_cmp(&b.total_ns()));
    Ok(priced)
}

impl Priced<'_> {
    fn total_ns(&self) -> f64 {
        self.best.map_or(f64::INFINITY, |(_, price)| price.total_ns())
    }

    fn candidate(&self) -> Candidate {
        let price = self.best.map(|(_, price)| price);
        Candidate {
            name: self.estimates.algorithm.name().to_owned(),
            tiles: self.best.map_or(1, |(estimate, _)| estimate.problem.tiles),
            time_us: price.map(|price| price.total_ns() / 1e3),
            latency_us: price.map(|price| price.latency_ns / 1e3),
            bandwidth_us: price.map(|price| price.bandwidth_ns / 1e3),
            bottleneck: None,
            rejected: self.estimates.misfit.clone(),
        }
    }
}

/// Chooses, proves and remembers.
pub struct Selector;

/// Plans that were proved in this process. Ranks that are threads share them, and the first that asks does the proof.
type Proved = Mutex<HashMap<(&'static str, Problem), Arc<OnceLock<Result<Checked>>>>>;

impl Selector {
    /// The proved plan for a problem of `bytes`: by the algorithm that the call insists on, or else by the choice.
    pub fn choose(context: &Context, problem: Problem, bytes: u64, insisted: Option<&'static str>) -> Result<Checked> {
        let (name, tiles) = match insisted {
            Some(name) => {
                let name = algorithm::find(name)?.name();
                let all = estimate::all(problem);
                let one = all.iter().find(|one| one.algorithm.name() == name).expect("every algorithm has its entry");
                let (best, _) = one.cheapest(&context.constants, bytes).ok_or_else(|| {
                    let reason = one.misfit.as_deref().unwrap_or_default();
                    Error::new(ErrorKind::InvalidArgument, format!("algorithm {name} does not fit: {reason}"))
                        .remedy("leave the choice to the library, or take another algorithm")
                })?;
                (name, best.problem.tiles)
            }
            None => {
                let chosen = explain(context, problem, bytes)?.candidates.swap_remove(0);
                (algorithm::find(&chosen.name)?.name(), chosen.tiles)
            }
        };
        Selector::prove(name, Problem { tiles, ..problem })
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
mod tests {
    use super::proof_time::{Sent, proof_ns};
    use super::*;
    use crate::types::TransportKind;

    fn explained(collective: Collective, ranks: usize, bytes: u64, forced: Option<&str>) -> Explanation {
        let context = Context::new(forced.map(str::to_owned), Constants::of(TransportKind::Memory, 2, 2));
        explain(&context, Problem::new(collective, ranks), bytes).unwrap()
    }

    #[test]
    fn no_choice_among_a_thousand_ranks_has_as_many_messages_as_pairs() {
        let all_reduce = [8, 64 << 10, 1 << 30].map(|bytes| (Collective::AllReduce, bytes));
        for (collective, bytes) in all_reduce.into_iter().chain([(Collective::Barrier, 1)]) {
            let explanation = explained(collective, 1000, bytes, None);
            let chosen = &explanation.candidates[0];
            assert_eq!((&chosen.name, &chosen.rejected), (&explanation.chosen, &None), "{collective} of {bytes} bytes");
            let problem = Problem { tiles: chosen.tiles, ..Problem::new(collective, 1000) };
            let plan = algorithm::find(&chosen.name).unwrap().plan(&problem);
            let messages = [1, 500].map(|rank| Sent::by(&plan.program(rank)).messages).into_iter().max().unwrap();
            assert!(messages < 500, "{collective} of {bytes} bytes: {} sends {messages} messages", chosen.name);
        }
    }

    #[test]
    fn a_long_proof_is_the_reason_that_is_told_unless_it_is_insisted_on() {
        let named = |name: &str| Candidate {
            name: name.to_owned(),
            tiles: 1,
            time_us: Some(1.0),
            latency_us: None,
            bandwidth_us: None,
            bottleneck: None,
            rejected: None,
        };
        let mut candidates = ["two_shot", "recursive_doubling", "one_shot"].map(named);
        let problem = Problem::new(Collective::AllReduce, 1000);
        let times_ns = candidates.each_ref().map(|one| proof_ns(algorithm::find(&one.name).unwrap(), &problem));
        prefer_what_is_proved_soon(&mut candidates, |index| Some(times_ns[index]), "among 1000 ranks");
        assert_eq!(candidates.each_ref().map(|one| &*one.name), ["recursive_doubling", "two_shot", "one_shot"]);
        let told = candidates[1].rejected.as_ref().unwrap();
        assert!(told.starts_with("its proof among 1000 ranks would take about "), "{told}");
        let forced = explained(Collective::AllReduce, 1000, 1 << 30, Some("ring"));
        assert_eq!((forced.chosen.as_str(), &forced.candidates[0].rejected), ("ring", &None));
        let few = explained(Collective::AllReduce, 64, 1 << 30, None);
        assert!(few.candidates.iter().all(|one| one.rejected.is_none() || one.time_us.is_none()), "{few:?}");
    }

    #[test]
    fn processes_that_share_a_processor_choose_what_all_of_them_prove_soon() {
        let context = Context::new(None, Constants::of(TransportKind::Shm, 300, 2));
        let crowded = context.clone().with_proofs_per_processor(150);
        let problem = Problem::new(Collective::AllReduce, 300);
        assert_eq!(explain(&context, problem, 8).unwrap().chosen, "one_shot");
        let explanation = explain(&crowded, problem, 8).unwrap();
        assert_eq!(explanation.chosen, "recursive_doubling");
        let one_shot = explanation.candidates.iter().find(|one| one.name == "one_shot").unwrap();
        let told = one_shot.rejected.as_deref().unwrap();
        assert!(told.starts_with("its proof among 300 ranks, 150 to a processor, would take "), "{told}");
        let large = explain(&crowded, problem, 64 << 20).unwrap();
        assert_eq!(large.chosen, "circulant", "one proof by rotation: {large:?}");
    }

    #[test]
    fn a_rule_goes_before_prices_and_behind_what_is_set() {
        let header = "collective,min_bytes,max_bytes,min_ranks,max_ranks,machine,algorithm";
        let lines = "all_reduce,0,1KiB,*,*,host,ring\nall_reduce,2KiB,*,*,*,p5,ring\nbroadcast,*,*,*,*,*,chain\nall_gather,*,*,*,*,*,hierarchical_ring";
        let rules = Rules::parse("r.csv", &format!("{header}\n{lines}\n")).unwrap();
        let context = |forced: Option<&str>| {
            let constants = Constants::of(TransportKind::Memory, 2, 2);
            Context::new(forced.map(str::to_owned), constants).with_rules(rules.clone())
        };
        let explained = |forced, collective, bytes| explain(&context(forced), Problem::new(collective, 4), bytes);
        let ruled = explained(None, Collective::AllReduce, 1024).unwrap();
        assert_eq!((ruled.chosen.as_str(), &ruled.candidates[0].rejected), ("ring", &None));
        assert_eq!(ruled.candidates[1].rejected.as_deref(), Some("line 2 of r.csv says ring"));
        let free = explained(None, Collective::AllReduce, 4096).unwrap();
        assert_ne!(free.chosen, "ring", "the second rule is of another machine: {free:?}");
        let forced = explained(Some("two_shot"), Collective::AllReduce, 1024).unwrap();
        assert_eq!(forced.chosen, "two_shot");
        let wrong = explained(None, Collective::AllGather, 1024).unwrap_err();
        assert!(
            wrong.to_string().contains("line 5 of r.csv says hierarchical_ring, and of all_gather among 4 ranks"),
            "{wrong}"
        );
    }
}
