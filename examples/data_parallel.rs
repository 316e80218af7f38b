//! Data-parallel training: a two-layer network learns the quality of red wines, every rank on its share of each batch.
//!
//! The gradients are summed over the ranks in two buckets: that of the output layer travels while that of the hidden layer is
//! computed. At the end every rank trains once more alone and compares: the loss curve and the weights are those of one
//! process to rounding, and bit by bit the same on every rank.
//!
//!     cargo run --release --example data_parallel
//!     cargo build --release --examples && target/release/unisono launch -n 4 target/release/examples/data_parallel

use unisono::{Communicator, Progress, ReduceOp, Result};

const FEATURES: usize = 11;
const HIDDEN: usize = 32;
/// A neuron's weights, and its bias behind them.
const HIDDEN_WEIGHTS: usize = HIDDEN * (FEATURES + 1);
const OUTPUT_WEIGHTS: usize = HIDDEN + 1;
const EPOCHS: usize = 30;
/// Rows of all ranks together, so that the result does not depend on the number of ranks.
const BATCH: usize = 64;
const LEARNING_RATE: f64 = 0.05;
/// Sums over other groups of rows round differently: a few units in the last place of 53 bits, carried through all steps.
const ROUNDING: f64 = 1e-10;

fn main() -> Result<()> {
    let wines = Wines::load();
    let mut communicator = Communicator::builder().progress(Progress::Thread).from_env()?;
    let together = train(&mut communicator, &wines)?;
    let alone = train(&mut Communicator::local(1)?[0], &wines)?;

    let loss_difference = largest_difference(&together.losses, &alone.losses);
    let weight_difference = largest_difference(&together.network.weights(), &alone.network.weights());
    assert!(loss_difference <= ROUNDING, "the loss curves differ by {loss_difference:e}");
    assert!(weight_difference <= ROUNDING, "the weights differ by {weight_difference:e}");

    let mut hashes = vec![0u64; communicator.size()];
    communicator.all_gather(&[together.network.hash()], &mut hashes)?;
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "the ranks' weights differ: {hashes:x?}");

    if communicator.rank() == 0 {
        println!("{} wines, {} ranks, batches of {BATCH}", wines.rows.len(), communicator.size());
        println!("epoch  mean squared error  by one process");
        for epoch in (0..EPOCHS).step_by(EPOCHS / 6).chain([EPOCHS - 1]) {
            println!("{:>5}  {:>18.6}  {:>14.6}", epoch + 1, together.losses[epoch], alone.losses[epoch]);
        }
        println!("largest difference from one process: loss {loss_difference:.1e}, weights {weight_difference:.1e}");
        println!("weights on every rank: {:016x}", hashes[0]);
    }
    assert!(together.losses[EPOCHS - 1] < 0.7 * wines.variance, "nothing was learned: {:?}", together.losses);
    Ok(())
}

/// The red wines of the "Wine Quality" data set: 11 measured properties and a grade for each.
struct Wines {
    /// Each property with mean 0 and variance 1.
    rows: Vec<[f64; FEATURES]>,
    /// Grades less their mean.
    grades: Vec<f64>,
    /// The mean squared error of guessing the mean.
    variance: f64,
}

impl Wines {
    fn load() -> Wines {
        let data = linfa_datasets::winequality();
        let mut rows = vec![[0.0; FEATURES]; data.records.nrows()];
        for (feature, column) in data.records.columns().into_iter().enumerate() {
            let mut column: Vec<f64> = column.iter().copied().collect();
            let deviation = center(&mut column).sqrt();
            rows.iter_mut().zip(column).for_each(|(row, value)| row[feature] = value / deviation);
        }
        let mut grades: Vec<f64> = data.targets.iter().map(|grade| *grade as f64).collect();
        let variance = center(&mut grades);
        Wines { rows, grades, variance }
    }
}

/// Makes the mean 0, and returns the variance.
fn center(values: &mut [f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    values.iter_mut().for_each(|value| *value -= mean);
    values.iter().map(|value| value * value).sum::<f64>() / count
}

struct Trained {
    network: Network,
    /// The mean squared error of each epoch, while the weights were changing.
    losses: Vec<f64>,
}

fn train(communicator: &mut Communicator, wines: &Wines) -> Result<Trained> {
    let mut random = Random(2026);
    let mut network = Network::random(&mut random);
    let mut order: Vec<usize> = (0..wines.rows.len()).collect();
    let mut losses = Vec::new();
    for _ in 0..EPOCHS {
        random.shuffle(&mut order);
        let mut squared_error = 0.0;
        for batch in order.chunks(BATCH) {
            squared_error += step(communicator, wines, &mut network, batch)?;
        }
        losses.push(squared_error / wines.rows.len() as f64);
    }
    Ok(Trained { network, losses })
}

/// One step of stochastic gradient descent on a batch, of which this rank computes its share. Returns the batch's squared error.
fn step(communicator: &mut Communicator, wines: &Wines, network: &mut Network, batch: &[usize]) -> Result<f64> {
    let share = batch.iter().skip(communicator.rank()).step_by(communicator.size());
    let passes: Vec<Pass> = share.map(|&wine| network.forward(&wines.rows[wine], wines.grades[wine])).collect();

    let mut hidden = vec![0.0; HIDDEN_WEIGHTS];
    // The squared error travels behind the gradient.
    let mut output = vec![0.0; OUTPUT_WEIGHTS + 1];
    let (hidden_bucket, output_bucket) = (&mut hidden[..], &mut output[..]);
    communicator.scope(|scope| {
        for pass in &passes {
            pass.add_output_gradient(output_bucket);
            output_bucket[OUTPUT_WEIGHTS] += pass.error * pass.error;
        }
        scope.start_all_reduce(output_bucket, ReduceOp::Sum)?;
        passes.iter().for_each(|pass| pass.add_hidden_gradient(&network.output, hidden_bucket));
        scope.start_all_reduce(hidden_bucket, ReduceOp::Sum)?;
        Ok(())
    })?;

    let rate = LEARNING_RATE / batch.len() as f64;
    let descend = |weights: &mut [f64], gradient: &[f64]| {
        weights.iter_mut().zip(gradient).for_each(|(weight, slope)| *weight -= rate * slope);
    };
    descend(&mut network.hidden, &hidden);
    descend(&mut network.output, &output);
    Ok(output[OUTPUT_WEIGHTS])
}

/// 11 properties, 32 neurons with tanh, one linear output.
struct Network {
    hidden: Vec<f64>,
    output: Vec<f64>,
}

/// What the backward pass needs of the forward pass of one wine.
struct Pass<'a> {
    row: &'a [f64; FEATURES],
    activations: [f64; HIDDEN],
    /// The guess less the grade.
    error: f64,
}

impl Network {
    fn random(random: &mut Random) -> Network {
        let mut layer =
            |count, inputs: usize| (0..count).map(|_| (2.0 * random.unit() - 1.0) / (inputs as f64).sqrt()).collect();
        Network { hidden: layer(HIDDEN_WEIGHTS, FEATURES), output: layer(OUTPUT_WEIGHTS, HIDDEN) }
    }

    fn forward<'a>(&self, row: &'a [f64; FEATURES], grade: f64) -> Pass<'a> {
        let mut activations = [0.0; HIDDEN];
        for (activation, neuron) in activations.iter_mut().zip(self.hidden.chunks_exact(FEATURES + 1)) {
            *activation = weigh(neuron, row).tanh();
        }
        Pass { row, activations, error: weigh(&self.output, &activations) - grade }
    }

    fn weights(&self) -> Vec<f64> {
        [&self.hidden[..], &self.output].concat()
    }

    /// FNV-1a of the bits of all weights.
    fn hash(&self) -> u64 {
        let bytes = self.weights().into_iter().flat_map(|weight| weight.to_bits().to_le_bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

/// The weighted sum of a neuron's inputs, and its bias.
fn weigh(weights: &[f64], inputs: &[f64]) -> f64 {
    weights.iter().zip(inputs).map(|(weight, input)| weight * input).sum::<f64>() + weights[inputs.len()]
}

impl Pass<'_> {
    /// Of half the squared error by the weights of the output.
    fn add_output_gradient(&self, gradient: &mut [f64]) {
        for (slope, activation) in gradient.iter_mut().zip(self.activations.iter().chain(&[1.0])) {
            *slope += self.error * activation;
        }
    }

    /// Of half the squared error by the weights of the hidden layer.
    fn add_hidden_gradient(&self, output: &[f64], gradient: &mut [f64]) {
        for ((neuron, activation), weight) in gradient.chunks_exact_mut(FEATURES + 1).zip(&self.activations).zip(output)
        {
            let slope = self.error * weight * (1.0 - activation * activation);
            neuron.iter_mut().zip(self.row.iter().chain(&[1.0])).for_each(|(sum, input)| *sum += slope * input);
        }
    }
}

fn largest_difference(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| (one - other).abs()).fold(0.0, f64::max)
}

/// Splitmix64: the same numbers on every rank.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn shuffle(&mut self, values: &mut [usize]) {
        for last in (1..values.len()).rev() {
            values.swap(last, (self.next() % (last as u64 + 1)) as usize);
        }
    }
}
