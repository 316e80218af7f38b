//! Runs a proved plan on a machine that is only data: event by event, bytes sharing links max-min-fairly.
//!
//! What runs are the lowered programs of all ranks, the very instructions that the executor would run. A message sets out once
//! its instruction is done and the message before it on its channel has passed; its bytes flow over the resources of its
//! [route](crate::topology::Route) and arrive the route's latency after the last of them has set out. Memory it was sent
//! from is free again when it has arrived. A step that receives folds and stores as the bytes come in; a step that only works
//! in its own memory takes its bytes at the memory's rate. What a move sends or receives [through a
//! switch](crate::plan::Through) that can do so flows once for all.
//!
//! Not in it: the start of a kernel or of a call, the instructions of a rank that packs messages, congestion that real fabrics
//! have beyond the rates of their links.

mod flows;
mod fold;
mod path;
mod programs;
mod run;
#[cfg(test)]
mod tests;
pub mod trace;
mod ways;

pub use path::{Leg, Work};

use super::check::Checked;
use super::chunk::Counts;
use super::{Move, Operand, Plan, Program, Step};
use crate::topology::{LinkClass, Topology};
use crate::types::Rank;
use fold::Fold;
use programs::Programs;
use run::Run;
use trace::Slice;

/// More ranks than this are simulated by one of each domain.
const ALL_RANKS: usize = 2048;

/// The same of messages, where it can be.
const ALL_MESSAGES: u64 = 1 << 24;

/// Messages that a simulation may have: each takes some hundreds of bytes and a microsecond, more where many share a port at once.
const MOST_MESSAGES: u64 = 1 << 25;

/// What came of a simulation.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulated {
    /// Until the last rank is done.
    pub time_ns: f64,
    pub messages: usize,
    /// Whether one rank of each domain stood for all of it, which did alike; `messages`, paths and slices are of those.
    pub is_folded: bool,
    /// One for every class of links that bytes passed.
    pub uses: Vec<ClassUse>,
    /// From the start to the end, without gaps: each leg began because the one before it was over.
    pub critical_path: Vec<Leg>,
}

/// How the links of one class were used.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassUse {
    pub class: LinkClass,
    /// Over all its links.
    pub bytes: f64,
    /// What the busiest passed, as a share of what it could have passed in the time; and the mean of those that passed anything.
    pub busiest_share: f64,
    pub mean_share: f64,
    /// The name of the busiest.
    pub busiest: String,
}

/// Why a plan can't be simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    #[error("{ranks} ranks do not fit on {gpus} GPUs")]
    TooFewGpus { ranks: usize, gpus: usize },
    #[error("no link leads from rank {from} to rank {to}")]
    NoRoute { from: Rank, to: Rank },
    #[error(
        "the plan has more than the {most} messages that can be simulated one by one: take fewer ranks, a smaller size, or another \
         algorithm"
    )]
    TooManyMessages { most: u64 },
    #[error(
        "{ranks} ranks are too many to simulate one by one, and the plan's ranks do not do alike in each domain: take at most 2048 \
         ranks, or a plan that follows the domains and has no root"
    )]
    TooLarge { ranks: usize },
}

/// Simulates a plan for buffers of these counts; rank r is GPU r. `slices` gets a slice for every message and step, if it is
/// wanted.
///
/// # Errors
/// See [`Failed`].
pub fn simulate(
    checked: &Checked,
    topology: &Topology,
    counts: &Counts,
    element_bytes: u64,
    slices: Option<&mut Vec<Slice>>,
) -> Result<Simulated, Failed> {
    let (fold, _) = extent(checked.plan(), topology)?;
    run(checked, topology, counts, element_bytes, fold.as_ref(), slices)
}

/// How many messages [`simulate`] would follow, which says how long it takes: found in a small part of that time.
///
/// # Errors
/// See [`Failed`].
pub fn messages(plan: &Plan, topology: &Topology) -> Result<u64, Failed> {
    extent(plan, topology).map(|(_, messages)| messages)
}

/// Which ranks stand for all, if not each for itself, and how many messages they send.
fn extent(plan: &Plan, topology: &Topology) -> Result<(Option<Fold>, u64), Failed> {
    let (ranks, gpus) = (plan.problem.ranks, topology.gpus());
    if ranks > gpus {
        return Err(Failed::TooFewGpus { ranks, gpus });
    }
    // No further than is known to be too many.
    let sent = |ranks: &mut dyn Iterator<Item = Rank>, most: u64| {
        let mut messages = 0;
        for rank in ranks {
            messages += messages_of(&plan.program(rank));
            if messages > most {
                break;
            }
        }
        messages
    };
    let folded = |fold: Fold| {
        let messages = sent(&mut fold.representatives(), MOST_MESSAGES);
        (Some(fold), messages)
    };
    let (fold, messages) = if ranks > ALL_RANKS {
        folded(Fold::of(plan, topology).ok_or(Failed::TooLarge { ranks })?)
    } else {
        match sent(&mut (0..ranks), ALL_MESSAGES) {
            messages if messages <= ALL_MESSAGES => (None, messages),
            _ => match Fold::of(plan, topology) {
                Some(fold) => folded(fold),
                None => (None, sent(&mut (0..ranks), MOST_MESSAGES)),
            },
        }
    };
    if messages > MOST_MESSAGES {
        return Err(Failed::TooManyMessages { most: MOST_MESSAGES });
    }
    Ok((fold, messages))
}

/// Messages that a program sends.
fn messages_of(program: &Program) -> u64 {
    let of_move = |one: &Move| one.destinations.iter().filter(|to| matches!(to, Operand::Peer { .. })).count() as u64;
    let of_step = |step: &Step| match step {
        Step::Move(one) => of_move(one),
        Step::Repeat { count, body } => u64::from(*count) * body.iter().map(of_move).sum::<u64>(),
        Step::Wait { .. } => 0,
    };
    program.lanes.iter().flatten().map(of_step).sum()
}

fn run(
    checked: &Checked,
    topology: &Topology,
    counts: &Counts,
    element_bytes: u64,
    fold: Option<&Fold>,
    slices: Option<&mut Vec<Slice>>,
) -> Result<Simulated, Failed> {
    let programs = Programs::new(checked, counts, element_bytes, fold);
    Ok(Run::new(&programs, topology, fold)?.finish(slices))
}
