//! How long the proof of a plan will take, guessed before it is begun.

use crate::algorithm::Algorithm;
use crate::plan::check::{compose, compose::Way, has_room, rotation};
use crate::plan::{Move, Operand, Plan, Problem, Program, Step};

/// What the proof takes for a message and for a chunk in one. Fitted to `unisono check --ranks 250` and `500` of all-gathers and
/// all-reduces on 2 cores of an Intel Xeon (Emerald Rapids class, virtual machine), November 2026: within a factor of 2.
const PROOF_NS_PER_MESSAGE: f64 = 2000.0;
const PROOF_NS_PER_CHUNK: f64 = 450.0;

/// The same of proofs by rotation, guessed from one of 499,968 ranks (1.1 s with opt-level 1, chunks still compared one by one).
const ROTATION_NS_PER_MESSAGE: f64 = 500.0;
const ROTATION_NS_PER_CHUNK_AND_RANK: f64 = 0.1;
/// Running rank 0's program takes as long as reading those of so many ranks.
const ROTATION_RUNS: f64 = 4.0;

/// A proof that takes at least this long by the promise alone is begun nowhere: no program is written to know it better.
const HOPELESS_NS: f64 = 1e10;

/// About how long the proof of a plan takes; infinite where it would not fit into memory. Beyond 10 s perhaps only what it takes at
/// least.
pub fn proof_ns(one: &dyn Algorithm, problem: &Problem) -> f64 {
    let plan = one.plan(problem);
    let chunks = one.promise(problem).chunks_sent as f64;
    let least_ns = chunks * problem.ranks as f64 * ROTATION_NS_PER_CHUNK_AND_RANK;
    if plan.parts().is_empty() && least_ns > HOPELESS_NS {
        return least_ns;
    }
    plan_proof_ns(&plan)
}

/// Why a proof is not begun that would take so long; `of` says of what it would be.
pub fn why_unproved(proof_ns: f64, of: &str) -> String {
    let seconds = proof_ns / 1e9;
    match proof_ns {
        f64::INFINITY => format!("its proof {of} would not fit into memory"),
        HOPELESS_NS.. => format!("its proof {of} would take {seconds:.0} s or more"),
        _ => format!("its proof {of} would take about {seconds:.1} s"),
    }
}

/// From the programs of a few ranks and the way in which the plan will be proved.
fn plan_proof_ns(plan: &Plan) -> f64 {
    const SAMPLES: usize = 8;
    let ranks = plan.problem.ranks;
    let work = |samples: usize| {
        let sampled = (0..samples).map(|part| Sent::by(&plan.program(part * ranks / samples)));
        let all = sampled.reduce(|one, other| one.plus(other)).expect("there are samples");
        (all.messages as f64 / samples as f64, all.chunks as f64 / samples as f64, all.lanes)
    };
    let all_ranks = ranks as f64;
    match Way::of(plan) {
        Way::Whole => {
            let (messages, chunks, lanes) = work(SAMPLES);
            if !has_room(ranks, lanes) {
                return f64::INFINITY;
            }
            all_ranks * (messages * PROOF_NS_PER_MESSAGE + chunks * PROOF_NS_PER_CHUNK)
        }
        Way::ByRotation => {
            let (messages, chunks, _) = work(1);
            let read = rotation::seen(plan).len() as f64 + ROTATION_RUNS;
            read * messages * ROTATION_NS_PER_MESSAGE + chunks * all_ranks * ROTATION_NS_PER_CHUNK_AND_RANK
        }
        Way::ByParts => {
            let factors = plan.parts().iter().flat_map(|part| &part.factors);
            factors.map(plan_proof_ns).sum::<f64>() + compose::looked_at(plan).1
        }
    }
}

/// What one rank sends.
pub struct Sent {
    pub messages: u64,
    /// Chunks written to its own memory that no message brought.
    pub copied: u64,
    chunks: u64,
    lanes: usize,
}

impl Sent {
    fn plus(self, other: Sent) -> Sent {
        Sent {
            messages: self.messages + other.messages,
            copied: self.copied + other.copied,
            chunks: self.chunks + other.chunks,
            lanes: self.lanes.max(other.lanes),
        }
    }

    pub fn by(program: &Program) -> Sent {
        const NOTHING: Sent = Sent { messages: 0, copied: 0, chunks: 0, lanes: 0 };
        let sent = |one: &Move| {
            let peers = one.destinations.iter().filter(|one| matches!(one, Operand::Peer { .. })).count() as u64;
            let len = one.sources.iter().chain(&one.destinations).find_map(|operand| match operand {
                Operand::Local(span) => Some(u64::from(span.len)),
                Operand::Peer { .. } => None,
            });
            let len = len.unwrap_or(0);
            let receives = one.sources.iter().any(|one| matches!(one, Operand::Peer { .. }));
            let written = if receives { 0 } else { one.destinations.len() as u64 - peers };
            Sent { messages: peers, copied: written * len, chunks: peers * len, ..NOTHING }
        };
        let of_step = |step: &Step| match step {
            Step::Move(one) => sent(one),
            Step::Repeat { count, body } => {
                let once = body.iter().map(sent).fold(NOTHING, Sent::plus);
                let times = |each: u64| u64::from(*count) * each;
                let Sent { messages, copied, chunks, .. } = once;
                Sent { messages: times(messages), copied: times(copied), chunks: times(chunks), ..NOTHING }
            }
            Step::Wait { .. } => NOTHING,
        };
        let lanes = Sent { lanes: program.lanes.len(), ..NOTHING };
        program.lanes.iter().flatten().map(of_step).fold(lanes, Sent::plus)
    }
}
