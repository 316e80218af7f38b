//! What every algorithm offers on one layout, whatever the size: found once, so that a size costs a few multiplications.

use super::proof_time::{Sent, proof_ns};
use crate::algorithm::{self, Algorithm};
use crate::plan::cost::{self, Exchange};
use crate::plan::price::{Ports, Price, price};
use crate::plan::{Problem, Stage};
use crate::topology::host::Constants;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

/// Into how many tiles pipelined algorithms may cut a block.
const TILES: [u32; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

/// What a price rests on.
#[derive(Clone, Debug, PartialEq)]
pub enum Rates {
    /// Of GPUs, whose ports do the copying.
    Ports(Ports),
    /// Of hosts, whose processors do.
    Host(Constants),
}

/// How much a proof may cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Proofs {
    /// One for which all wait longer is not begun while there is another plan.
    pub limit_ns: f64,
    /// How many proofs share a processor: all wait for so many.
    pub at_once: usize,
    /// A plan that can be proved in time goes before cheaper ones that can't if it takes at most so many times as long as the
    /// cheapest.
    pub worth: f64,
}

/// The offers of every algorithm of the registry, in its order.
pub(super) struct Offers {
    pub all: Vec<Offer>,
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
    algorithm: &'static dyn Algorithm,
    pub problem: Problem,
    /// Into how many the buffer is cut.
    chunks: f64,
    stages: Vec<Stage>,
    /// Messages sent and chunks copied by the busiest of two ranks; counted where a price asks for it.
    own_work: OnceLock<(u64, u64)>,
    proof_ns: OnceLock<f64>,
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
    /// Found once per process. `joined`: whether the domains, if there are several, reach each other.
    pub fn of(problem: Problem, joined: bool) -> Arc<Offers> {
        type Known = Mutex<HashMap<(Problem, bool), Arc<Offers>>>;
        static KNOWN: OnceLock<Known> = OnceLock::new();
        let mut known = KNOWN.get_or_init(Mutex::default).lock().expect("no panic under this lock");
        known.entry((problem, joined)).or_insert_with(|| Arc::new(Offers::found(problem, joined))).clone()
    }

    pub fn found(problem: Problem, joined: bool) -> Offers {
        let offer = |one: &&'static dyn Algorithm| match joined {
            false if one.fits(&problem).is_ok() => {
                Offer::misfit(*one, "has to pass between domains, and no network joins them".to_owned())
            }
            _ => Offer::of(*one, problem),
        };
        Offers { all: algorithm::registry().iter().map(offer).collect() }
    }

    pub fn find(&self, name: &str) -> Option<&Offer> {
        self.all.iter().find(|one| one.algorithm.name() == name)
    }

    /// What fits, cheapest first, each with the tiles that make it cheapest.
    pub fn by_price(&self, bytes: u64, rates: &Rates) -> Vec<(&Offer, Priced<'_>)> {
        let mut priced: Vec<_> =
            self.all.iter().filter_map(|offer| Some((offer, offer.cheapest(bytes, rates)?))).collect();
        priced.sort_by(|(_, a), (_, b)| a.1.total_ns().total_cmp(&b.1.total_ns()));
        priced
    }

    /// The rule by which everything is chosen: the cheapest plan whose proof does not take long, one with fewer tiles than were wished for
    /// where that is what makes its proof short; but the cheapest of all, unproved, where those take much longer.
    pub fn grant<'a>(
        &'a self,
        wishes: impl Iterator<Item = Wish<'a>>,
        bytes: u64,
        rates: &Rates,
        proofs: &Proofs,
    ) -> Granted<'a> {
        let proof_ns = |tiling: &Tiling, of: &Offer| tiling.proof_ns(of.algorithm) * proofs.at_once as f64;
        let mut granted = Granted { taken: None, unproved: Vec::new() };
        let mut first: Option<Taken<'a>> = None;
        for (index, wish) in wishes.enumerate() {
            let best_ns = granted.taken.map_or(f64::INFINITY, |taken| taken.priced.1.total_ns());
            let cheapest_ns = first.map_or(f64::INFINITY, |first| first.priced.1.total_ns());
            if best_ns <= wish.time_ns || wish.time_ns > proofs.worth * cheapest_ns {
                break;
            }
            let tilings = wish.offer.tilings.iter().rev().skip_while(|one| one.problem.tiles > wish.tiles);
            let wanted_ns = tilings.clone().next().map_or(f64::INFINITY, |one| proof_ns(one, wish.offer));
            if wanted_ns > proofs.limit_ns {
                granted.unproved.push((index, wanted_ns));
            }
            if let (None, Some(tiling)) = (first, tilings.clone().next()) {
                let priced = (tiling, tiling.price(bytes, rates));
                first = Some(Taken { index, priced, unproved_ns: Some(wanted_ns) });
            }
            let mut provable = tilings.filter(|one| proof_ns(one, wish.offer) <= proofs.limit_ns);
            let priced = provable.next().map(|one| (one, one.price(bytes, rates)));
            if let Some((tiling, price)) = priced.filter(|(_, price)| price.total_ns() < best_ns) {
                granted.taken = Some(Taken { index, priced: (tiling, price), unproved_ns: None });
            }
        }
        if let Some(first) = first {
            let most_ns = proofs.worth * first.priced.1.total_ns();
            granted.taken = granted.taken.filter(|taken| taken.priced.1.total_ns() <= most_ns).or(Some(first));
        }
        granted
    }

    /// What is chosen at a size, with its price; None where nothing is.
    pub fn chosen(&self, bytes: u64, rates: &Rates, proofs: &Proofs) -> Option<(&'static str, Price)> {
        let sorted = self.by_price(bytes, rates);
        let wishes = sorted.iter().map(|(offer, (tiling, price))| Wish {
            offer,
            tiles: tiling.problem.tiles,
            time_ns: price.total_ns(),
        });
        let Taken { index, priced: (_, price), .. } = self.grant(wishes, bytes, rates, proofs).taken?;
        Some((sorted[index].0.algorithm.name(), price))
    }
}

impl Offer {
    /// With the number of tiles that makes it cheapest; None where it does not fit.
    fn cheapest(&self, bytes: u64, rates: &Rates) -> Option<Priced<'_>> {
        let priced = self.tilings.iter().map(|one| (one, one.price(bytes, rates)));
        priced.min_by(|(_, a), (_, b)| a.total_ns().total_cmp(&b.total_ns()))
    }

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
        let stages = algorithm.stages(&problem);
        Tiling { algorithm, problem, chunks, stages, own_work: OnceLock::new(), proof_ns: OnceLock::new() }
    }

    pub fn price(&self, bytes: u64, rates: &Rates) -> Price {
        let chunk_bytes = bytes as f64 / self.chunks;
        match rates {
            Rates::Ports(ports) => price(&self.stages, chunk_bytes, self.problem.tiles, ports),
            Rates::Host(constants) => {
                let Problem { collective, ranks, .. } = self.problem;
                let (messages, copied_chunks) = self.own_work();
                let exchange =
                    Exchange { collective, ranks, bytes: bytes as f64, chunk_bytes, messages, copied_chunks };
                cost::price(&self.stages, &exchange, constants)
            }
        }
    }

    fn own_work(&self) -> (u64, u64) {
        let Problem { root, ranks, .. } = self.problem;
        *self.own_work.get_or_init(|| {
            let plan = self.algorithm.plan(&self.problem);
            let [one, other] = [root, (root + ranks / 2) % ranks].map(|rank| Sent::by(&plan.program(rank)));
            (one.messages.max(other.messages), one.copied.max(other.copied))
        })
    }

    pub fn proof_ns(&self, algorithm: &dyn Algorithm) -> f64 {
        *self.proof_ns.get_or_init(|| proof_ns(algorithm, &self.problem))
    }
}
