//! The proof of a plan, by running it on symbols.
//!
//! [`check`] runs all ranks' programs under exactly the blocking rules of [`crate::plan`], on memory that holds for every chunk whose
//! contributions it is, once with input and output apart and, where the collective has an in-place form and the plan does not
//! demand that they be apart, once with both in one memory. It proves that
//! 1. every output chunk ends with exactly what the collective promises, each contribution once, and nothing is read that was
//!    never written;
//! 2. messages match in order and size on every channel, and none is left over;
//! 3. no schedule deadlocks;
//! 4. no two lanes touch a chunk, one writing, without something that orders them: messages or a [wait](crate::plan::Step::Wait);
//!    a message is read from where it was posted until it is taken.
//!
//! [`check_lowered`] proves, for given counts, what a proved plan is lowered to.
//!
//! [`prove`] takes the proof that suits a plan: whole, by the parts of which it is composed ([`compose`]), or by what it looks like from one
//! rank, for plans that look alike from all (`rotation.rs`).
//!
//! [`keeps_promise`] compares hops, chunks and the order of addition with what the algorithm says of itself.
//!
//! Proofs are over chunks whose sizes are left open, so they hold for every count. They take time linear in the moves
//! (times the number of lanes, where ranks have several).
//!
//! A copy between the same memory, as an in-place plan may contain, counts as a read and a write like any other: plans are
//! right for executors that skip it and for those that don't.

mod code;
pub mod compose;
mod flaw;
mod limits;
pub mod lowered;
mod memory;
mod outcome;
mod place;
mod race;
pub(crate) mod rotation;
mod rules;
mod run;
mod stuck;
mod tally;
#[cfg(test)]
pub(crate) mod tests;
mod value;
mod walk;

pub(crate) use run::Completeness;

pub use compose::prove;
pub use flaw::{Departure, Flaw, Found, Inside, Link, Place, Spot, Wait};
pub use lowered::{check_lowered, check_lowered_at};

use super::chunk::ChunkId;
use super::{Buffer, Order, Plan, Promise};
use crate::types::Rank;
use code::Code;
pub(crate) use limits::Limits;
use std::sync::Arc;
use value::{Value, Values};

/// A plan that passed [`check`]: the only thing that can be run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Checked(Arc<Proof>);

struct Proof {
    plan: Plan,
    facts: Facts,
    /// What each output chunk is, where the collective reduces.
    sums: Option<Sums>,
}

struct Sums {
    values: Values,
    outputs: Vec<Vec<Value>>,
}

/// What a plan costs, and what holds of its results. Chunk counts are of the rank that has most of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Messages on the longest chain from any start to any end; a chain follows messages and the order of each lane.
    pub hops: u32,
    pub chunks_sent: u64,
    pub chunks_received: u64,
    pub messages_sent: u64,
    /// Chunks that are added to another: one less than the sources, for each chunk of a fold.
    pub chunks_reduced: u64,
    /// Chunks stored to local memory beyond the first store of what was received or folded.
    pub chunks_copied: u64,
    /// Scratch slots of the rank that has most.
    pub scratch_chunks: u32,
    /// Lanes of the rank that has most.
    pub lanes: u32,
    /// Moves of all ranks, every round of a repeat counted.
    pub moves: u64,
    /// The highest channel in use.
    pub max_channel: u16,
    /// Whether all ranks that receive a reduced chunk receive one and the same result, bit by bit.
    pub bit_equal: bool,
}

impl Checked {
    pub fn plan(&self) -> &Plan {
        &self.0.plan
    }

    pub fn facts(&self) -> &Facts {
        &self.0.facts
    }

    /// In which order the output chunk `chunk` of `rank` is added up; `None` where the collective reduces nothing, the rank has no
    /// such chunk, or the proof was not of the whole plan.
    pub fn order(&self, rank: Rank, chunk: u32) -> Option<Order> {
        let sums = self.0.sums.as_ref()?;
        let value = sums.outputs.get(rank)?.get(chunk as usize)?;
        Some(sums.values.order(*value))
    }
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proof").field("plan", &self.plan).field("facts", &self.facts).finish_non_exhaustive()
    }
}

/// Proves a plan, or says what is wrong with it.
///
/// # Errors
/// The first [`Flaw`] found; [`Flaw::TooLarge`] for a plan whose proof would not fit in memory.
pub fn check(plan: &Plan) -> Result<Checked, Flaw> {
    check_within(plan, &Limits::FULL)
}

/// Whether [`check`] has room for what orders the lanes of so many ranks if each lane has four messages under way, which few plans
/// of several lanes exceed; one that does is refused by the proof itself.
pub(crate) fn has_room(ranks: usize, lanes_of_each: usize) -> bool {
    let lanes = (ranks as u64).saturating_mul(lanes_of_each as u64);
    lanes_of_each < 2 || lanes.saturating_mul(lanes).saturating_mul(1 + 4) <= Limits::FULL.clock_cells
}

/// [`check`] of plans up to some size.
pub(crate) fn check_within(plan: &Plan, limits: &Limits) -> Result<Checked, Flaw> {
    let code = Code::new(plan, limits)?;
    let mut values = Values::new(&code.grid, limits);
    let (memory, tally) = run::run(&code, &mut values, false)?;
    outcome::check(&code, &values, &memory)?;
    let outputs = outcome::outputs(&code, &memory);
    if memory::has_in_place_form(&code) {
        let in_place = |flaw| Flaw::InPlace(Box::new(flaw));
        let (memory, _) = run::run(&code, &mut values, true).map_err(in_place)?;
        outcome::check(&code, &values, &memory).map_err(in_place)?;
    }
    let reduces = code.grid.collective.reduces();
    let counts = tally.busiest();
    let facts = Facts {
        hops: tally.hops,
        chunks_sent: counts.chunks_sent,
        chunks_received: counts.chunks_received,
        messages_sent: counts.messages_sent,
        chunks_reduced: counts.chunks_reduced,
        chunks_copied: counts.chunks_copied,
        scratch_chunks: code.scratch.iter().map(|slots| slots.len() as u32).max().unwrap_or(0),
        lanes: code.lanes_of.iter().map(|lanes| lanes.len() as u32).max().unwrap_or(0),
        moves: tally.moves,
        max_channel: code.channels.iter().map(|channel| channel.link.channel).max().unwrap_or(0),
        bit_equal: !reduces || outcome::is_bit_equal(&code, &outputs),
    };
    values.freeze();
    let sums = reduces.then_some(Sums { values, outputs });
    Ok(Checked(Arc::new(Proof { plan: plan.clone(), facts, sums })))
}

/// Of every step, lane by lane and rank by rank, whether its results hold all contributions. For plans without repeats, all of
/// whose folds are marked partial: it says which are final. `None` if the plan goes wrong before its end.
pub(crate) fn completeness(plan: &Plan) -> Option<Vec<Completeness>> {
    let code = Code::new(plan, &Limits::FULL).ok()?;
    run::completeness(&code, &mut Values::new(&code.grid, &Limits::FULL)).ok()
}

/// Compares a proved plan with what its algorithm says of it: hops, chunks sent and received, and for every chunk the order of
/// addition, which is asked by chunk id.
///
/// # Errors
/// The first difference.
pub fn keeps_promise(checked: &Checked, promise: &Promise, order: &dyn Fn(ChunkId) -> Order) -> Result<(), Flaw> {
    let facts = checked.facts();
    if facts.hops != promise.hops {
        return Err(Flaw::PromisedHops { promised: promise.hops, found: facts.hops });
    }
    if facts.chunks_sent != promise.chunks_sent {
        return Err(Flaw::PromisedChunksSent { promised: promise.chunks_sent, found: facts.chunks_sent });
    }
    if facts.chunks_received != promise.chunks_received {
        let found = facts.chunks_received;
        return Err(Flaw::PromisedChunksReceived { promised: promise.chunks_received, found });
    }
    match &checked.0.sums {
        Some(sums) => sums.keep_order(checked.plan(), order),
        None => Ok(()),
    }
}

impl Sums {
    /// Ranks that hold one node for a chunk are compared once.
    fn keep_order(&self, plan: &Plan, order: &dyn Fn(ChunkId) -> Order) -> Result<(), Flaw> {
        let grid = plan.grid();
        let mut known: Vec<Option<(Value, Order)>> = vec![None; (grid.blocks * grid.tiles) as usize];
        for (rank, outputs) in self.outputs.iter().enumerate() {
            for (index, &value) in (0..).zip(outputs) {
                let chunk = grid.chunk_id(rank, Buffer::Output, index, &[]);
                let (kept, declared) = known[chunk as usize].get_or_insert_with(|| (value::NOTHING, order(chunk)));
                if *kept == value {
                    continue;
                }
                if !self.values.has_order(value, declared) {
                    let (declared, found) = (Box::new(declared.clone()), Box::new(self.values.order(value)));
                    return Err(Flaw::PromisedOrder { rank, chunk: index, declared, found });
                }
                *kept = value;
            }
        }
        Ok(())
    }
}
