//! The choice of an algorithm: every one that fits is priced, the cheapest is built, proved and kept.
//!
//! **All ranks must choose alike**, or they hang. So a choice depends on nothing but the problem, its size, and the
//! [`Context`] that the ranks agree on when the communicator is made.

pub mod machine;
pub mod rules;

use crate::algorithm::{self, Algorithm};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::check::{self, Checked, check};
use crate::plan::cost::{self, Price, Work};
use crate::plan::price::Bottleneck;
use crate::plan::{Move, Operand, Problem, Program, Step};
use crate::topology::host::Constants;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

/// Into how many tiles pipelined algorithms may cut a block.
const TILES: [u32; 7] = [1, 2, 4, 8, 16, 32, 64];

/// A plan whose proof would take longer than this is not chosen while there is another: every process proves what it runs.
const PROOF_LIMIT_NS: f64 = 2e9;
/// What the proof takes for a message and for a chunk in one. Fitted to `unisono check --ranks 250` and `500` of all-gathers and
/// all-reduces on 2 cores of an Intel Xeon (Emerald Rapids class, virtual machine), November 2026: within a factor of 2.
const PROOF_NS_PER_MESSAGE: f64 = 2000.0;
const PROOF_NS_PER_CHUNK: f64 = 450.0;

/// What the ranks of a communicator agree on before they choose anything: rank 0's view, adopted by all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// Of the library: plans of different versions need not match.
    pub version: String,
    /// An algorithm that is taken wherever it fits, by name.
    pub algorithm: Option<String>,
    pub constants: Constants,
}

impl Context {
    pub fn new(algorithm: Option<String>, constants: Constants) -> Context {
        Context { version: env!("CARGO_PKG_VERSION").to_owned(), algorithm, constants }
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
    let constants = &context.constants;
    let mut priced: Vec<Priced> =
        algorithm::registry().iter().map(|one| promise(*one, constants, problem, bytes)).collect();
    let best_ns = priced.iter().filter_map(|one| Some(one.price?.total_ns())).fold(f64::INFINITY, f64::min);
    for one in &mut priced {
        one.refine(constants, bytes, best_ns)?;
    }
    priced.sort_by(|a, b| a.total_ns().total_cmp(&b.total_ns()));
    let mut candidates: Vec<Candidate> = priced.into_iter().map(Priced::candidate).collect();
    prefer_what_is_proved_soon(&mut candidates, problem)?;
    if let Some(forced) = &context.algorithm
        && let Some(index) = candidates.iter().position(|one| one.name == *forced && one.time_us.is_some())
    {
        let chosen = Candidate { rejected: None, ..candidates.remove(index) };
        for other in &mut candidates {
            other.rejected.get_or_insert_with(|| format!("{forced} is set for this communicator"));
        }
        candidates.insert(0, chosen);
    }
    let Some((chosen, time_us)) = candidates.first().and_then(|one| Some((one.name.clone(), one.time_us?))) else {
        return Err(Error::new(
            ErrorKind::Plan,
            format!("no algorithm serves {} among {} ranks", problem.collective, problem.ranks),
        ));
    };
    Ok(Explanation { chosen, time_us, candidates })
}

/// Moves the first candidate whose proof is short to the front, and says of those before it why they are not taken.
fn prefer_what_is_proved_soon(candidates: &mut [Candidate], problem: Problem) -> Result<()> {
    for index in 0..candidates.len() {
        let Candidate { ref name, tiles, time_us: Some(_), .. } = candidates[index] else { break };
        let proof_ns = proof_ns(algorithm::find(name)?, &Problem { tiles, ..problem });
        if proof_ns <= PROOF_LIMIT_NS {
            candidates[..=index].rotate_right(1);
            return Ok(());
        }
        candidates[index].rejected = Some(why_unproved(proof_ns, problem.ranks));
    }
    // None is short: the cheapest stays the choice.
    if let Some(chosen) = candidates.first_mut().filter(|one| one.time_us.is_some()) {
        chosen.rejected = None;
    }
    Ok(())
}

/// Why a proof is not begun that would take so long.
fn why_unproved(proof_ns: f64, ranks: usize) -> String {
    match proof_ns.is_finite() {
        true => format!("its proof among {ranks} ranks would take about {:.0} s", proof_ns / 1e9),
        false => format!("its proof among {ranks} ranks would not fit into memory"),
    }
}

/// About how long the proof of a plan takes, from its promise and the programs of a few ranks; infinite where it would not fit into
/// memory.
fn proof_ns(one: &dyn Algorithm, problem: &Problem) -> f64 {
    const SAMPLES: usize = 8;
    let (plan, promise, ranks) = (one.plan(problem), one.promise(problem), problem.ranks as f64);
    let sampled = (0..SAMPLES).map(|part| plan.program(part * problem.ranks / SAMPLES));
    let (messages, lanes) = sampled.fold((0, 0), |(messages, lanes), program| {
        (messages + messages_sent(&program), program.lanes.len().max(lanes))
    });
    if !check::has_room(problem.ranks, lanes) {
        return f64::INFINITY;
    }
    let messages = messages as f64 / SAMPLES as f64;
    let chunks = promise.chunks_sent.max(promise.chunks_received) as f64;
    ranks * (messages * PROOF_NS_PER_MESSAGE + chunks * PROOF_NS_PER_CHUNK)
}

fn messages_sent(program: &Program) -> u64 {
    let sent = |one: &Move| {
        one.destinations.iter().filter(|destination| matches!(destination, Operand::Peer { .. })).count() as u64
    };
    let steps = program.lanes.iter().flatten();
    steps
        .map(|step| match step {
            Step::Move(one) => sent(one),
            Step::Repeat { count, body } => u64::from(*count) * body.iter().map(sent).sum::<u64>(),
        })
        .sum()
}

/// A promise so far from the best is not worth a proof: what the proof counts besides changes a price by less.
const WORTH_A_PROOF: f64 = 4.0;
/// Chunks sent by all ranks together, beyond which a proof takes longer than a choice may: about 0.1 s.
const AFFORDABLE_CHUNKS: u64 = 100_000;

/// An algorithm on its way to becoming a candidate.
struct Priced {
    algorithm: &'static dyn Algorithm,
    problem: Problem,
    /// None where it does not fit.
    price: Option<Price>,
    chunks_sent: u64,
    rejected: Option<String>,
}

/// The price of one algorithm by its promise, with the number of tiles that makes it cheapest.
fn promise(algorithm: &'static dyn Algorithm, constants: &Constants, problem: Problem, bytes: u64) -> Priced {
    if let Err(reason) = algorithm.fits(&problem) {
        return Priced { algorithm, problem, price: None, chunks_sent: 0, rejected: Some(reason) };
    }
    let tiles: &[u32] = if algorithm.pipelines() { &TILES } else { &TILES[..1] };
    let by_tiles = tiles.iter().map(|&tiles| {
        let problem = Problem { tiles, ..problem };
        let promise = algorithm.promise(&problem);
        let price = cost::price(&algorithm.plan(&problem), &Work::promised(&promise), constants, bytes);
        Priced { algorithm, problem, price: Some(price), chunks_sent: promise.chunks_sent, rejected: None }
    });
    by_tiles.min_by(|a, b| a.total_ns().total_cmp(&b.total_ns())).expect("there is a number of tiles")
}

impl Priced {
    fn total_ns(&self) -> f64 {
        self.price.map_or(f64::INFINITY, |price| price.total_ns())
    }

    fn refine(&mut self, constants: &Constants, bytes: u64, best_ns: f64) -> Result<()> {
        let affordable = self.chunks_sent.saturating_mul(self.problem.ranks as u64) <= AFFORDABLE_CHUNKS;
        let fits = || proof_ns(self.algorithm, &self.problem).is_finite();
        if affordable && self.total_ns() <= WORTH_A_PROOF * best_ns && fits() {
            let checked = Selector::prove(self.algorithm.name(), self.problem)?;
            self.price = Some(cost::price(checked.plan(), &Work::counted(checked.facts()), constants, bytes));
        }
        Ok(())
    }

    fn candidate(self) -> Candidate {
        Candidate {
            name: self.algorithm.name().to_owned(),
            tiles: self.problem.tiles,
            time_us: self.price.map(|price| price.total_ns() / 1e3),
            latency_us: self.price.map(|price| price.latency_ns / 1e3),
            bandwidth_us: self.price.map(|price| price.bandwidth_ns / 1e3),
            bottleneck: None,
            rejected: self.rejected,
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
                let one = algorithm::find(name)?;
                one.fits(&problem).map_err(|reason| {
                    Error::new(ErrorKind::InvalidArgument, format!("algorithm {name} does not fit: {reason}"))
                        .remedy("leave the choice to the library, or take another algorithm")
                })?;
                (name, promise(one, &context.constants, problem, bytes).problem.tiles)
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
            Ok(check(&one.plan(&problem))?)
        };
        cell.get_or_init(prove).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Collective;
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
            let messages = messages_sent(&plan.program(1)).max(messages_sent(&plan.program(500)));
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
        let mut candidates = ["ring", "recursive_doubling", "one_shot"].map(named);
        let problem = Problem::new(Collective::AllReduce, 1000);
        prefer_what_is_proved_soon(&mut candidates, problem).unwrap();
        assert_eq!(candidates.each_ref().map(|one| &*one.name), ["recursive_doubling", "ring", "one_shot"]);
        let told = candidates[1].rejected.as_ref().unwrap();
        assert!(told.starts_with("its proof among 1000 ranks would take about "), "{told}");
        let forced = explained(Collective::AllReduce, 1000, 1 << 30, Some("ring"));
        assert_eq!((forced.chosen.as_str(), &forced.candidates[0].rejected), ("ring", &None));
        let few = explained(Collective::AllReduce, 64, 1 << 30, None);
        assert!(few.candidates.iter().all(|one| one.rejected.is_none() || one.time_us.is_none()), "{few:?}");
    }
}
