//! The choice of an algorithm: every one that fits is priced, the cheapest is built, proved and kept.
//!
//! **All ranks must choose alike**, or they hang. So a choice depends on nothing but the problem, its size, and the
//! [`Context`] that the ranks agree on when the communicator is made.

use crate::algorithm::{self, Algorithm};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Problem;
use crate::plan::check::{Checked, check};
use crate::plan::cost;
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
pub fn explain(context: &Context, problem: Problem, bytes: u64) -> Result<Explanation> {
    let mut candidates: Vec<Candidate> =
        algorithm::registry().iter().map(|one| price(*one, &context.constants, problem, bytes)).collect();
    candidates.sort_by(|a, b| {
        let key = |one: &Candidate| one.time_us.unwrap_or(f64::INFINITY);
        key(a).total_cmp(&key(b))
    });
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

/// The cheapest number of tiles of one algorithm.
fn price(one: &dyn Algorithm, constants: &Constants, problem: Problem, bytes: u64) -> Candidate {
    let name = one.name().to_owned();
    if let Err(reason) = one.fits(&problem) {
        return Candidate {
            name,
            tiles: 1,
            time_us: None,
            latency_us: None,
            bandwidth_us: None,
            rejected: Some(reason),
        };
    }
    let tiles: &[u32] = if one.pipelines() { &TILES } else { &TILES[..1] };
    let priced = tiles.iter().map(|&tiles| {
        let problem = Problem { tiles, ..problem };
        (tiles, cost::price(&one.plan(&problem), &one.promise(&problem), constants, bytes))
    });
    let (tiles, price) =
        priced.min_by(|a, b| a.1.total_ns().total_cmp(&b.1.total_ns())).expect("there is a number of tiles");
    Candidate {
        name,
        tiles,
        time_us: Some(price.total_ns() / 1e3),
        latency_us: Some(price.latency_ns / 1e3),
        bandwidth_us: Some(price.bandwidth_ns / 1e3),
        rejected: None,
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
                (name, price(one, &context.constants, problem, bytes).tiles)
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
