//! What every algorithm offers on one layout, whatever the size: found once, so that a size costs a few multiplications.

use crate::algorithm::{self, Algorithm};
use crate::plan::price::{Ports, Price, price};
use crate::plan::{Problem, Stage};
use crate::select::proof_time::proof_ns;
use std::cell::OnceCell;

/// Into how many tiles pipelined algorithms may cut a block on a machine: more than on a host, whose messages are smaller.
const TILES: [u32; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// A proof that would take longer is not begun.
const PROOF_LIMIT_NS: f64 = 5e8;

/// A plan that can be proved in time goes before cheaper ones that can't if it takes at most so much longer than the cheapest. Where none
/// does, the cheapest is the answer, and told to be unproved: nothing runs here, and whoever runs it proves it first.
const WORTH_A_PROOF: f64 = 1.25;

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
    /// None if there was no wish.
    pub taken: Option<Taken<'a>>,
    /// The places of wishes whose proofs are too long with the tiles that they ask for, and how long these are.
    pub unproved: Vec<(usize, f64)>,
}

/// The wish that is taken.
#[derive(Clone, Copy)]
pub(super) struct Taken<'a> {
    /// Its place.
    pub index: usize,
    /// With the tiles that it is taken with.
    pub priced: Priced<'a>,
    /// How long its proof would take, where that is too long.
    pub unproved_ns: Option<f64>,
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

    /// The rule by which everything is chosen: the cheapest plan whose proof does not take long, one with fewer tiles than were wished for
    /// where that is what makes its proof short; but the cheapest of all, unproved, where those take much longer.
    pub fn grant<'a>(&'a self, wishes: impl Iterator<Item = Wish<'a>>, bytes: u64) -> Granted<'a> {
        let mut granted = Granted { taken: None, unproved: Vec::new() };
        let mut first: Option<Taken<'a>> = None;
        for (index, wish) in wishes.enumerate() {
            let best_ns = granted.taken.map_or(f64::INFINITY, |taken| taken.priced.1.total_ns());
            let cheapest_ns = first.map_or(f64::INFINITY, |first| first.priced.1.total_ns());
            if best_ns <= wish.time_ns || wish.time_ns > WORTH_A_PROOF * cheapest_ns {
                break;
            }
            let tilings = wish.offer.tilings.iter().rev().skip_while(|one| one.problem.tiles > wish.tiles);
            let wanted_ns = tilings.clone().next().map_or(f64::INFINITY, |one| one.proof_ns(wish.offer.algorithm));
            if wanted_ns > PROOF_LIMIT_NS {
                granted.unproved.push((index, wanted_ns));
            }
            if let (None, Some(tiling)) = (first, tilings.clone().next()) {
                let priced = (tiling, tiling.price(bytes, &self.ports));
                first = Some(Taken { index, priced, unproved_ns: Some(wanted_ns) });
            }
            let mut provable = tilings.filter(|one| one.proof_ns(wish.offer.algorithm) <= PROOF_LIMIT_NS);
            let priced = provable.next().map(|one| (one, one.price(bytes, &self.ports)));
            if let Some((tiling, price)) = priced.filter(|(_, price)| price.total_ns() < best_ns) {
                granted.taken = Some(Taken { index, priced: (tiling, price), unproved_ns: None });
            }
        }
        if let Some(first) = first {
            let most_ns = WORTH_A_PROOF * first.priced.1.total_ns();
            granted.taken = granted.taken.filter(|taken| taken.priced.1.total_ns() <= most_ns).or(Some(first));
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
        let Taken { index, priced: (_, price), .. } = self.grant(wishes, bytes).taken?;
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
