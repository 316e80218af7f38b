//! The choice of an algorithm: every one that fits is priced, the cheapest is built, proved and kept.
//!
//! **All ranks must choose alike**, or they hang. So a choice depends on nothing but the problem, its size, and the
//! [`Context`] that the ranks agree on when the communicator is made.

use crate::algorithm::{self, Algorithm};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Problem;
use crate::plan::check::{Checked, check};
use crate::plan::cost::{self, Price, Work};
use crate::topology::host::Constants;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

/// Into how many tiles pipelined algorithms may cut a block.
const TILES: [u32; 7] = [1, 2, 4, 8, 16, 32, 64];

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
    /// Why it was not taken: its reason, or None for a price that is merely higher and for the chosen one.
    pub rejected: Option<String>,
}

/// Why an algorithm was taken.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    pub chosen: String,
    pub time_us: f64,
    /// Cheapest first, those that don't fit last.
    pub candidates: Vec<Candidate>,
}

/// Prices every algorithm of the registry; the first of the candidates is the choice.
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
    if let Some(forced) = &context.algorithm
        && let Some(index) = candidates.iter().position(|one| one.name == *forced && one.time_us.is_some())
    {
        let chosen = candidates.remove(index);
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
        if affordable && self.total_ns() <= WORTH_A_PROOF * best_ns {
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
