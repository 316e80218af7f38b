//! The smallest program: every rank contributes a vector, every rank gets the sum.
//!
//! Run it alone, or as several processes of this machine:
//!
//!     cargo run --release --example all_reduce
//!     cargo build --release --examples && target/release/unisono launch -n 4 target/release/examples/all_reduce
//!     mpirun -n 4 target/release/examples/all_reduce

use unisono::{Communicator, ReduceOp, Result};

fn main() -> Result<()> {
    let mut communicator = Communicator::from_env()?;
    let mut gradients = vec![communicator.rank() as f32 + 1.0; 1 << 20];
    communicator.all_reduce_in_place(&mut gradients, ReduceOp::Sum)?;
    let ranks = communicator.size() as f32;
    assert!(gradients.iter().all(|gradient| *gradient == ranks * (ranks + 1.0) / 2.0));
    println!("rank {} of {}: every sum is {}", communicator.rank(), communicator.size(), gradients[0]);
    Ok(())
}
