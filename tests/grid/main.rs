//! The grid: every collective by every algorithm on every transport, bit by bit against a scalar replay of the declared order
//! of addition; and the rest of the interface on every transport.
//!
//! `UNISONO_GRID=full` runs the full product (hours). `UNISONO_GRID='shm,5,all_reduce,ring'` runs those of the full product whose
//! first fields are these (`*` for any), and a whole case, as failures print it, that case alone.

mod call;
mod case;
mod oracle;
mod product;
mod started;
mod thousand;
mod uses;
mod values;
mod wide;
mod world;

use case::Case;
use product::{RANKS, Selection};
use std::time::Instant;
use unisono::{Communicator, Progress, TransportKind};
use world::{Body, World};

#[test]
fn memory_grid() {
    grid(TransportKind::Memory);
}

#[test]
fn shm_grid() {
    grid(TransportKind::Shm);
}

#[test]
fn tcp_grid() {
    grid(TransportKind::Tcp);
}

fn grid(transport: TransportKind) {
    let selection = Selection::from_environment();
    for ranks in RANKS {
        let cases = selection.cases(transport, ranks).len();
        if cases > 0 {
            let start = Instant::now();
            World { transport, ranks, progress: Progress::Caller }.run(Body::Cases);
            println!("{transport}, {ranks} ranks: {cases} cases in {:.1} s", start.elapsed().as_secs_f64());
        }
    }
}

/// Runs all cases of this rank's world.
fn run_cases(communicator: &mut Communicator, transport: TransportKind) {
    for case in Selection::from_environment().cases(transport, communicator.size()) {
        if let Err(wrong) = call::run(communicator, &case) {
            fail(communicator, &case, &wrong);
        }
    }
}

fn fail(communicator: &Communicator, case: &Case, wrong: &str) -> ! {
    let (rank, seed) = (communicator.rank(), case.seed());
    panic!("rank {rank}: {case} with seed {seed:#x}: {wrong}\nreplay: {}", case.replay());
}

#[test]
fn uses_of_the_interface() {
    for transport in TransportKind::ALL {
        for (ranks, progress) in [(4, Progress::Caller), (3, Progress::Thread)] {
            World { transport, ranks, progress }.run(Body::Uses);
        }
    }
}

#[test]
fn a_process_that_plays_a_rank() {
    world::play_a_rank();
}
