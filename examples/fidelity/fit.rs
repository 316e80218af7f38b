//! The fit: coordinate descent on the logarithm of predicted over measured time, tables weighed alike.

use crate::crossovers::{self, Crossover};
use crate::data::Table;
use crate::guess;
use unisono::nccl::constants::{Constants, Gpu, Net};
use unisono::nccl::{Algorithm, Choice, Generation, Network, Protocol};

/// All constants together: what the fit moves.
#[derive(Clone)]
pub struct All {
    pub gpus: Vec<(Generation, Gpu)>,
    pub nets: Vec<(Network, Net)>,
}

const NETWORKS: [Network; 3] = [Network::EfaV2, Network::EfaV3, Network::InfiniBand];

impl All {
    /// What the library has.
    pub fn library() -> All {
        All {
            gpus: Generation::ALL.map(|one| (one, Constants::of(one, Network::InfiniBand).gpu)).to_vec(),
            nets: NETWORKS.map(|one| (one, Constants::of(Generation::Hopper, one).net)).to_vec(),
        }
    }

    pub fn guess() -> All {
        All {
            gpus: Generation::ALL.map(|one| (one, guess::gpu(one))).to_vec(),
            nets: NETWORKS.map(|one| (one, guess::net(one))).to_vec(),
        }
    }

    pub fn of(&self, generation: Generation, network: Network) -> Constants {
        let network = if network == Network::Roce { Network::InfiniBand } else { network };
        let gpu = &self.gpus.iter().find(|(one, _)| *one == generation).expect("every generation").1;
        let net = &self.nets.iter().find(|(one, _)| *one == network).expect("every network").1;
        Constants { gpu: gpu.clone(), net: net.clone() }
    }

    /// Gives one generation the constants of another, its latencies longer or shorter as NVIDIA has them.
    pub fn adopt(&mut self, generation: Generation, from: Generation) {
        let mut gpu = self.of(from, Network::InfiniBand).gpu;
        let ratio = latency(generation) / latency(from);
        let names = Gpu::NAMES.iter().zip(gpu.values_mut());
        names.filter(|(name, _)| name.ends_with("_us") && !name.ends_with("limit_us")).for_each(|(_, us)| *us *= ratio);
        self.gpus.iter_mut().filter(|(one, _)| *one == generation).for_each(|(_, own)| *own = gpu.clone());
    }

    fn values_mut(&mut self) -> Vec<&mut f64> {
        let gpus = self.gpus.iter_mut().flat_map(|(_, gpu)| gpu.values_mut());
        gpus.chain(self.nets.iter_mut().flat_map(|(_, net)| net.values_mut())).collect()
    }

    /// The largest relative difference of any constant.
    pub fn furthest_from(&mut self, other: &mut All) -> f64 {
        let pairs = self.values_mut().into_iter().zip(other.values_mut());
        pairs.map(|(own, other)| (*own / *other - 1.0).abs()).fold(0.0, f64::max)
    }

    /// What it costs to leave each first guess, in the order of `values_mut`.
    fn prior_weights(&self) -> Vec<f64> {
        let of_net = |name: &&str| if name.ends_with("share") { SHARE_PRIOR_WEIGHT } else { PRIOR_WEIGHT };
        let mut weights = vec![PRIOR_WEIGHT; self.gpus.len() * Gpu::NAMES.len()];
        weights.extend(self.nets.iter().flat_map(|_| Net::NAMES.iter().map(of_net)));
        weights
    }

    /// As the library's source has them; what stayed at the first guess is marked.
    pub fn rust(&mut self) -> String {
        let mut guess = All::guess();
        let mut text = String::new();
        for ((generation, own), (_, first)) in self.gpus.iter_mut().zip(&mut guess.gpus) {
            let name = generation.name().to_uppercase();
            text += &structure(&name, "Gpu", Gpu::NAMES, own.values_mut(), first.values_mut());
        }
        for ((network, own), (_, first)) in self.nets.iter_mut().zip(&mut guess.nets) {
            let name = if *network == Network::InfiniBand { "RDMA".to_owned() } else { network.name().to_uppercase() };
            text += &structure(&name, "Net", Net::NAMES, own.values_mut(), first.values_mut());
        }
        text
    }
}

/// What NCCL believes an empty all-gather or reduce-scatter takes, us, by kernels that ran for none of the tables (`baseLat` in
/// `src/sym_kernels.cc` of 2.30.7: symmetric memory, without LL). Of Ampere it has none, which is taken to be as fast as Hopper.
fn latency(generation: Generation) -> f64 {
    match generation {
        Generation::Ampere | Generation::Hopper => 7.8,
        Generation::Blackwell => 13.0,
    }
}

fn structure(name: &str, kind: &str, names: &[&str], own: Vec<&mut f64>, first: Vec<&mut f64>) -> String {
    let mut text = format!("const {name}: {kind} = {kind} {{\n");
    for ((field, value), first) in names.iter().zip(own).zip(first) {
        let digits = (2 - value.abs().log10().floor() as i32).clamp(1, 5) as usize;
        let guessed = if (*value / *first - 1.0).abs() < 1e-3 { " // the first guess" } else { "" };
        text += &format!("    {field}: {value:.digits$},{guessed}\n");
    }
    text + "};\n"
}

/// One measured point with the choice that it was measured under: the choice does not depend on the fitted constants.
pub struct Sample {
    pub generation: Generation,
    pub network: Network,
    pub pick: (Algorithm, Protocol),
    pub forced: bool,
    pub bytes: f64,
    pub time_us: f64,
    choice: usize,
}

pub struct Samples<'a> {
    pub choices: Vec<Choice<'a>>,
    /// By table.
    pub tables: Vec<Vec<Sample>>,
    pub crossovers: Vec<(&'a Crossover, Choice<'a>)>,
}

pub type Worlds = Vec<(unisono::nccl::World, unisono::nccl::Settings)>;

/// The world and settings of every point, in order.
pub fn worlds(tables: &[Table]) -> Vec<Worlds> {
    let of = |table: &Table| {
        let mut gpus: Vec<usize> = table.points.iter().map(|point| point.gpus).collect();
        gpus.dedup();
        gpus.into_iter().map(|gpus| (table.world(gpus), table.settings.clone())).collect()
    };
    tables.iter().map(of).collect()
}

pub fn samples<'a>(tables: &[Table], worlds: &'a [Worlds], crossovers: &'a [Crossover]) -> Samples<'a> {
    let crossovers = crossovers.iter().map(|one| (one, crossovers::choice(&one.world, one.collective))).collect();
    let mut all = Samples { choices: Vec::new(), tables: Vec::new(), crossovers };
    for (table, worlds) in tables.iter().zip(worlds) {
        let first = all.choices.len();
        let choices = worlds
            .iter()
            .map(|(world, settings)| Choice::new(world, settings, &table.request()).expect("a valid world"));
        all.choices.extend(choices);
        let ranks: Vec<usize> = worlds.iter().map(|(world, _)| world.ranks()).collect();
        let sample = |point: &crate::data::Point| {
            let choice = first + ranks.iter().position(|own| *own == point.gpus).expect("its world");
            let bytes = point.bytes as f64;
            Sample {
                generation: table.generation,
                network: table.network,
                pick: table.forced.map_or_else(
                    || all.choices[choice].pick(bytes),
                    |algorithm| all.choices[choice].pick_among(algorithm, bytes).expect("NCCL offers it"),
                ),
                forced: table.forced.is_some(),
                bytes,
                time_us: point.time_us,
                choice,
            }
        };
        all.tables.push(table.points.iter().map(sample).collect());
    }
    all
}

impl Samples<'_> {
    fn ratio(&self, constants: &Constants, sample: &Sample) -> f64 {
        self.choices[sample.choice].time(constants, sample.pick, sample.bytes).total_us() / sample.time_us
    }

    /// As the library prices the pick: never less than a smaller call.
    pub fn picked_ratio(&self, constants: &Constants, sample: &Sample) -> f64 {
        match sample.forced {
            true => self.ratio(constants, sample),
            false => self.choices[sample.choice].picked_us(constants, sample.bytes) / sample.time_us,
        }
    }

    /// The pick's time over that of the best pair.
    pub fn regret(&self, constants: &Constants, sample: &Sample) -> f64 {
        let choice = &self.choices[sample.choice];
        let prices = choice.prices(constants, sample.bytes);
        let best = prices.iter().filter_map(|price| price.time_us).fold(f64::INFINITY, f64::min);
        choice.time(constants, sample.pick, sample.bytes).total_us() / best
    }

    /// The loss of one table: a mean of the absolute logarithm, rounded at the bottom so that it is smooth.
    fn loss(&self, all: &All, table: usize) -> f64 {
        let samples = &self.tables[table];
        let Some(first) = samples.first() else { return 0.0 };
        let constants = all.of(first.generation, first.network);
        let sum: f64 = samples.iter().map(|sample| rounded(self.ratio(&constants, sample).ln())).sum();
        let weight = (samples.len() as f64 / 5.0).min(1.0);
        weight * sum / samples.len() as f64
    }

    /// Of every group of crossovers its mean, as part of a table's.
    fn crossover_loss(&self, all: &All) -> f64 {
        let mut sums: Vec<(f64, f64)> = Vec::new();
        for (crossover, choice) in &self.crossovers {
            let constants = all.of(crossover.world.generation, crossover.world.network);
            sums.resize(sums.len().max(crossover.group + 1), (0.0, 0.0));
            let (sum, count) = &mut sums[crossover.group];
            *sum += rounded(crossover.ratio(choice, &constants).ln());
            *count += 1.0;
        }
        sums.iter().map(|(sum, count)| CROSSOVER_WEIGHT * sum / count).sum()
    }

    /// The tables' losses, and what it costs to leave the first guess: little, but it decides where no table says anything.
    fn losses(&self, all: &All, prior: &[f64], tables: &[usize]) -> f64 {
        let mut all = all.clone();
        let weights = all.prior_weights();
        let squares = all.values_mut().into_iter().zip(prior).map(|(value, first)| (*value / first).ln().powi(2));
        let left: f64 = squares.zip(weights).map(|(square, weight)| square * weight).sum();
        tables.iter().map(|table| self.loss(&all, *table)).sum::<f64>() + self.crossover_loss(&all) + left
    }
}

const PRIOR_WEIGHT: f64 = 0.003;
/// Of what networks reach of their line rate: that is known well, and crossovers alone, being ratios, can't tell it.
const SHARE_PRIOR_WEIGHT: f64 = 0.3;
const ROUNDS: usize = 400;
/// A crossover says less than a time.
const CROSSOVER_WEIGHT: f64 = 0.3;

/// The absolute value, rounded at the bottom so that it is smooth, and steeper far away.
fn rounded(error: f64) -> f64 {
    (error * error + 0.03 * 0.03).sqrt() - 0.03 + 0.5 * error * error
}

/// Moves one constant at a time, up or down by a factor that shrinks, until none improves. Constants that no table of the fit
/// depends on stay where they are.
pub fn fit(samples: &Samples, tables: &[usize], start: &All) -> All {
    let mut all = start.clone();
    let prior: Vec<f64> = all.values_mut().iter().map(|value| **value).collect();
    let mut steps = vec![0.2; prior.len()];
    let mut best = samples.losses(&all, &prior, tables);
    for _ in 0..ROUNDS {
        let before = best;
        for (index, step) in steps.iter_mut().enumerate().filter(|(_, step)| **step >= 1e-3) {
            let old = *all.values_mut()[index];
            let mut loss_with = |value: f64| {
                *all.values_mut()[index] = value;
                samples.losses(&all, &prior, tables)
            };
            let moved = [old * (1.0 + *step), old / (1.0 + *step)];
            let better = moved.into_iter().map(|value| (value, loss_with(value))).find(|(_, loss)| *loss < best - 1e-9);
            match better {
                Some((_, loss)) => best = loss,
                None => *all.values_mut()[index] = old,
            }
            *step *= if better.is_some() { 1.3 } else { 0.5 };
        }
        if before - best < 1e-6 && steps.iter().all(|step| *step < 2e-3) {
            break;
        }
    }
    all
}
