//! What every algorithm offers on one layout, whatever the size: found once, so that a size costs a few multiplications.

use crate::algorithm::{self, Algorithm};
use crate::plan::price::{Ports, Price, price};
use crate::plan::{Problem, Stage};
use crate::select::proof_time::proof_ns;
use std::cell::OnceCell;

/// Into how many tiles pipelined algorithms may cut a block on a machine: more than on a host, whose messages are smaller.
const TILES: [u32; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// A proof that would take longer is not begun: the plan is shown with its price and as unproved.
const PROOF_LIMIT_NS: f64 = 5e8;

/// The offers of every algorithm of the registry, in its order.
pub(super) struct Offers {
    pub all: Vec<Offer>,
    ports: Ports,
}

/// One algorithm.
pub(super) struct Offer {
    pub algorithm: &'static dyn Algorithm,
    /// Why it does not fit.
    pub misfit: Option<String>,
    /// With each number of tiles, ascending; none where it does not fit.
    pub tilings: Vec<Tiling>,
}

/// An algorithm with a number of tiles.
pub(super) struct Tiling {
    pub problem: Problem,
    /// Into how many the buffer is cut.
    chunks: f64,
    stages: Vec<Stage>,
    proof_ns: OnceCell<f64>,
}

/// A tiling with its price at one size.
pub(super) type Priced<'a> = (&'a Tiling, Price);

/// A candidate, in the order in which they are wished for.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    pub offer: &'a Offer,
    pub tiles: u32,
    pub time_ns: f64,
}

/// What becomes of wishes: what is taken, and what would have gone before it but for its proof.
pub(super) struct Granted<'a> {
    /// The place of the wish, and with which tiles; None if none can be proved in time.
    pub taken: Option<(usize, Priced<'a>)>,
    /// The places of wishes whose proofs are too long with the tiles that they ask for, and how long these are.
    pub unproved: Vec<(usize, f64)>,
}

impl Offers {
    pub fn of(problem: Problem, ports: &Ports) -> Offers {
        let joined = problem.layout.domains(problem.ranks) <= 1 || ports.crossing.is_some();
        let offer = |one: &&'static dyn Algorithm| match joined {
            false if one.fits(&problem).is_ok() => {
                Offer::misfit(*one, "has to pass between domains, and no network joins them".to_owned())
            }
            _ => Offer::of(*one, problem),
        };
        Offers { all: algorithm::registry().iter().map(offer).collect(), ports: ports.clone() }
    }

    pub fn find(&self, name: &str) -> Option<&Offer> {
        self.all.iter().find(|one| one.algorithm.name() == name)
    }

    /// What fits, cheapest first, each with the tiles that make it cheapest.
    pub fn by_price(&self, bytes: u64) -> Vec<(&Offer, Priced<'_>)> {
        let mut priced: Vec<_> =
            self.all.iter().filter_map(|offer| Some((offer, self.cheapest(offer.tilings.iter(), bytes)?))).collect();
        priced.sort_by(|(_, a), (_, b)| a.1.total_ns().total_cmp(&b.1.total_ns()));
        priced
    }

    fn cheapest<'a>(&self, tilings: impl Iterator<Item = &'a Tiling>, bytes: u64) -> Option<Priced<'a>> {
        let priced = tilings.map(|one| (one, one.price(bytes, &self.ports)));
        priced.min_by(|(_, a), (_, b)| a.total_ns().total_cmp(&b.total_ns()))
    }

    /// The rule by which everything is chosen: the cheapest plan whose proof does not take long; one with fewer tiles than were wished for
    /// where that is what makes its proof short.
    pub fn grant<'a>(&'a self, wishes: impl Iterator<Item = Wish<'a>>, bytes: u64) -> Granted<'a> {
        let mut granted = Granted { taken: None, unproved: Vec::new() };
        for (index, wish) in wishes.enumerate() {
            let best_ns = granted.taken.map_or(f64::INFINITY, |(_, (_, price))| price.total_ns());
            if best_ns <= wish.time_ns {
                break;
            }
            let tilings = wish.offer.tilings.iter().rev().skip_while(|one| one.problem.tiles > wish.tiles);
            let wanted_ns = tilings.clone().next().map_or(f64::INFINITY, |one| one.proof_ns(wish.offer.algorithm));
            if wanted_ns > PROOF_LIMIT_NS {
                granted.unproved.push((index, wanted_ns));
            }
            let mut provable = tilings.filter(|one| one.proof_ns(wish.offer.algorithm) <= PROOF_LIMIT_NS);
            let priced = provable.next().map(|one| (one, one.price(bytes, &self.ports)));
            if let Some((tiling, price)) = priced.filter(|(_, price)| price.total_ns() < best_ns) {
                granted.taken = Some((index, (tiling, price)));
            }
        }
        granted
    }

    /// What is chosen at a size, with its price; None where nothing is.
    pub fn chosen(&self, bytes: u64) -> Option<(&'static str, Price)> {
        let sorted = self.by_price(bytes);
        let wishes = sorted.iter().map(|(offer, (tiling, price))| Wish {
            offer,
            tiles: tiling.problem.tiles,
            time_ns: price.total_ns(),
        });
        let (index, (_, price)) = self.grant(wishes, bytes).taken?;
        Some((sorted[index].0.algorithm.name(), price))
    }
}

impl Offer {
    fn misfit(algorithm: &'static dyn Algorithm, why: String) -> Offer {
        Offer { algorithm, misfit: Some(why), tilings: Vec::new() }
    }

    fn of(algorithm: &'static dyn Algorithm, problem: Problem) -> Offer {
        if let Err(why) = algorithm.fits(&problem) {
            return Offer::misfit(algorithm, why);
        }
        let tiles = if algorithm.pipelines() { &TILES[..] } else { &TILES[..1] };
        let problems = tiles.iter().map(|&tiles| Problem { tiles, ..problem });
        let fitting = problems.filter(|problem| algorithm.fits(problem).is_ok());
        Offer { algorithm, misfit: None, tilings: fitting.map(|problem| Tiling::of(algorithm, problem)).collect() }
    }
}

impl Tiling {
    fn of(algorithm: &'static dyn Algorithm, problem: Problem) -> Tiling {
        let grid = algorithm.plan(&problem).grid();
        let chunks = f64::from(grid.blocks) * f64::from(grid.tiles);
        Tiling { problem, chunks, stages: algorithm.stages(&problem), proof_ns: OnceCell::new() }
    }

    pub fn price(&self, bytes: u64, ports: &Ports) -> Price {
        price(&self.stages, bytes as f64 / self.chunks, self.problem.tiles, ports)
    }

    pub fn proof_ns(&self, algorithm: &dyn Algorithm) -> f64 {
        *self.proof_ns.get_or_init(|| proof_ns(algorithm, &self.problem))
    }
}
