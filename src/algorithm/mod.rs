//! Algorithms: one file per family, each writing plans. A new one is a file and a line of [`registry`].
//!
//! Everything here is a pure function of the [`Problem`]. Three rules keep the plans right in place, where the input is
//! the very memory of the output, and free of deadlock where a write waits for a posted send:
//! - no input chunk is read after the output chunk that may be the same memory was written;
//! - memory from which a message was posted is not written in the step that takes the peer's message of the same round,
//!   or two ranks would each wait for the other to let go: rounds alternate between two places;
//! - the one fold that completes all contributions is `Final`, all others are `Partial`.

mod binary;
mod binomial;
mod bruck;
mod chain;
mod chains;
mod circulant;
mod direct;
mod dissemination;
mod doubling;
mod halving;
mod hierarchy;
mod pat;
mod power;
mod ring;
mod switch;
mod tree;
mod write;

#[cfg(test)]
mod tests;

use crate::plan::{Order, Plan, Problem, Promise, Stage};
use crate::topology::Layout;
use crate::types::UnknownName;

/// A way to carry out collectives, as a writer of plans.
pub trait Algorithm: Sync {
    /// The name users type: `ring`, `two_shot`, ...
    fn name(&self) -> &'static str;

    /// Whether the algorithm answers this problem; the error is the reason in a short clause, shown to users.
    fn fits(&self, problem: &Problem) -> Result<(), String>;

    /// Whether cutting blocks into tiles makes it faster, so that several [`Problem::tiles`] are worth a try.
    fn pipelines(&self) -> bool {
        false
    }

    /// The plan; to be called only where [`fits`](Algorithm::fits) is `Ok`.
    fn plan(&self, problem: &Problem) -> Plan;

    /// What the plan costs, from the formula in the opening of the algorithm's file, never from the plan.
    fn promise(&self, problem: &Problem) -> Promise;

    /// What a price is made of, by the layout of the problem; a formula like the promise.
    ///
    /// Unless the algorithm says otherwise: one stage, of which as much crosses as there can, where there are several domains.
    fn stages(&self, problem: &Problem) -> Vec<Stage> {
        one_stage(self.promise(problem), problem)
    }

    /// The declared order of addition of a chunk of a reducing collective, written apart from the plan.
    ///
    /// # Panics
    /// If the algorithm serves no collective that reduces.
    fn order(&self, problem: &Problem, chunk: u32) -> Order;
}

/// All in one stage, of which as much crosses as there can; each hop is a message of every rank.
fn one_stage(promise: Promise, problem: &Problem) -> Vec<Stage> {
    let Promise { hops, chunks_sent, chunks_received } = promise;
    let stage = Stage { local_chunks: chunks_received, ..Stage::default() };
    let messages = u64::from(hops);
    vec![match problem.layout.domains(problem.ranks) > 1 {
        true => Stage {
            crossing_hops: hops,
            crossing_chunks: chunks_sent.max(chunks_received),
            crossing_messages: messages,
            ..stage
        },
        false => Stage {
            hops,
            chunks_out: chunks_sent,
            chunks_in: chunks_received,
            messages_out: messages,
            messages_in: messages,
            ..stage
        },
    }]
}

/// Every algorithm.
pub fn registry() -> &'static [&'static dyn Algorithm] {
    &[
        &direct::Direct,
        &direct::OneShot,
        &direct::TwoShot,
        &ring::Ring,
        &doubling::RecursiveDoubling,
        &halving::HalvingDoubling,
        &halving::RecursiveHalving,
        &tree::DoubleTree,
        &binary::BinaryTree,
        &binomial::Binomial,
        &bruck::Bruck,
        &circulant::Circulant,
        &chain::Chain,
        &dissemination::Dissemination,
        &pat::Pat,
        &switch::Nvls,
        &hierarchy::RING,
        &hierarchy::CIRCULANT,
        &hierarchy::HALVING,
        &hierarchy::DOUBLING,
        &hierarchy::ONE_SHOT,
        &hierarchy::RING_2D,
        &hierarchy::NVLS_RING,
        &hierarchy::NVLS_CIRCULANT,
        &hierarchy::NVLS_DOUBLING,
        &hierarchy::NVLS_ONE_SHOT,
        &hierarchy::RAILS,
        &hierarchy::rooted::FAN,
        &hierarchy::rooted::BINOMIAL,
        &hierarchy::rooted::TREE,
        &hierarchy::rooted::CHAIN,
        &hierarchy::rooted::GATHER,
        &hierarchy::rooted::SCATTER,
        &hierarchy::barrier::DIRECT,
        &hierarchy::barrier::DISSEMINATION,
    ]
}

/// Whether an algorithm serves a problem on some machine, wherever its ranks lie: without domains, in two of them, with switches that
/// fold.
///
/// # Errors
/// Its reason where there are no domains.
pub fn fits_somewhere(one: &dyn Algorithm, problem: &Problem) -> Result<(), String> {
    let half = problem.ranks.div_ceil(2).try_into().unwrap_or(u32::MAX);
    let on = |layout| one.fits(&Problem { layout, switch: true, ..*problem });
    one.fits(problem).or_else(|why| on(Layout::Flat).or_else(|_| on(Layout::Blocks(half))).map_err(|_| why))
}

/// The algorithm of that name.
///
/// # Errors
/// A name that none has; the error offers the nearest.
pub fn find(name: &str) -> Result<&'static dyn Algorithm, UnknownName> {
    let algorithms = registry();
    algorithms
        .iter()
        .find(|algorithm| algorithm.name() == name)
        .copied()
        .ok_or_else(|| UnknownName::new("algorithm", name, algorithms.iter().map(|algorithm| algorithm.name())))
}
