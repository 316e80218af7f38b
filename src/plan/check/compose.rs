//! The proof of a plan that is composed of others, from the proofs of its parts.
//!
//! ## The rule
//! A composed plan cuts its buffers into tiles that share no memory, and for every tile runs the same stages in the same order. In a
//! stage the ranks form groups (the domains; the rails), and each group runs a factor: a proved plan of one lane among its ranks, with ranks and
//! chunks renamed one to one. Each rank does all of this in one lane, or in two by rule 4.
//!
//! 1. *In order.* Let every rank run the same factors in the same order, and each of its own whole before the next. Then no rank waits
//!    for ever, messages match, and memory ends as if one factor had run after the other. Take the first factor, in that order, that
//!    some rank has not finished: all before it are finished wherever they run, so its ranks are in it or will be, nothing of
//!    earlier factors is still in a channel or waits to be released, and the factor's own proof says that it ends. So channels may be shared
//!    between factors.
//! 2. *Brought forward.* A move that only sends waits for nothing. It may stand earlier, before factors that don't write what it reads and
//!    have no messages on its channel between its two ranks: nobody's order of messages changes, and what was sent is what it would
//!    have been. Here these are the first sends of a tile's first stage; what they pass belongs to earlier tiles, so to other memory,
//!    and to stages between other ranks or on another channel.
//! 3. *Put off.* A move that only receives into memory makes nobody wait but those who would overwrite the memory it was sent from.
//!    It may stand later, after factors that don't touch what it writes, have no messages on its channel between its two ranks, and in
//!    which its sender does not overwrite what it sent. Here these are the last receipts of a tile's last stage; what they
//!    pass belongs to the next tile, and so is other memory at both ends.
//!
//! 4. *Ahead.* The first stage of every tile may have a lane of its own, if the other lane waits for its end before the tile's second, and
//!    both use different channels or peers. By itself this lane runs one factor after the other on memory that the second stage
//!    and those behind it touch only after the wait, so it ends by rule 1 and leaves what it would have left; it never waits for the other
//!    lane, which finds the first stage done when its turn comes.
//!
//! What remains is that the stages add up to the collective. A reduce-scatter in every domain leaves at the carrier of a slot the sum
//! over its domain, each rank counted once; an all-reduce along the rail of those sums, one from each domain, leaves the sum over
//! all ranks, each once, as the domains are disjoint and together all; an all-gather in every domain brings it to all. The
//! others are its halves; in the all-to-all each block goes to the carrier of its target's slot and from there to the target. In a broadcast
//! every domain has one rank for each slice, which gets it from its like in the root's domain; an all-gather of all slices is
//! everything. A reduce is the same backwards, each rank counted once in its domain and each domain once along a rail. Blocks that are
//! gathered or scattered pass the carrier of the slot at home in which their rank is, and there is one. After a barrier in its domain a rank has
//! heard from all of it, and so after one along its rail from all.
//! Factors work in place where the stage before left its result, which their proofs include.
//!
//! ## An example
//! An all-reduce of two tiles in two domains, `{0, 1}` and `{2, 3}`: four blocks, of which each of the two slots is two. The factors are
//! three plans among two ranks each: a reduce-scatter and an all-gather for the domains, and an all-reduce for the rails `{0, 2}` and
//! `{1, 3}`. Each is proved by itself:
//!
//! ```text
//! reduce-scatter, rank 0               all-reduce, rank 0                       all-gather, rank 0
//!   copy input[1] -> peer 1              copy input[1] -> peer 1                  copy input[0] -> output[0], peer 1
//!   finish input[0], peer 1              finish peer 1, input[0]                  copy peer 1 -> output[1]
//!     -> output[0]                         -> output[0], peer 1
//!                                        copy peer 1 -> output[1]
//! ```
//!
//! Rank 0 carries slot 0 of its domain, so it is the factors' rank 0 in the domain and on its rail, where rank 2 is rank 1. Chunk 1 of the
//! reduce-scatter is slot 1, the blocks 2 and 3; chunk 1 of the all-reduce is the second block of slot 0. A sum over one domain is not yet
//! final, so the reduce-scatter's `finish` becomes `reduce`; the all-gather finds its input in the output, so that there is nothing to
//! copy, and as it is the second stage in the domains it uses channel 1. So what rank 0 is to do for a tile is three units, in order:
//!
//! ```text
//! unit 0   head  copy input[2..4] -> peer 1                        only sends
//!          body  reduce input[0..2], peer 1 -> output[0..2]
//! unit 1   head  copy output[1] -> peer 2
//!          body  finish peer 2, output[0] -> output[0], peer 2
//!          tail  copy peer 2 -> output[1]                          only receives
//! unit 2   head  copy output[0..2] -> peer 1:1
//!          tail  copy peer 1:1 -> output[2..4]                     may be put off
//! ```
//!
//! The second tile is the same with every chunk four farther on. What is compared: each move of rank 0's program must be the next move of
//! one of these six units, and the units that are passed over for it must be such as may be passed. The program that the algorithm
//! `hierarchical_ring` writes is not the six one after the other. The head of the second tile's unit 0 comes before the first tile's unit 1:
//! it is *brought forward* (rule 2). And `copy peer 1:1 -> output[2..4]` of the first tile comes after the second tile's unit 1: the receipt is
//! *put off* (rule 3). That is right as long as rank 1 does not wait for it. Were rank 1 to send its slot from scratch and to fill
//! that scratch anew in the same stage, it could not go on before rank 0 takes the message; and rank 0 would meanwhile wait for rank
//! 1's first message of the second tile (`put_off.rs`, and the test that tells this).
//!
//! ## What is checked, and what is taken for granted
//! Every factor is proved at its true size. The programs of ranks are composed anew: from the layout (`places.rs`), what each stage is for
//! the collective (`stage.rs`) and the factors' programs, renamed (`unit.rs`); in code that shares nothing with the algorithms'. A rank's program
//! must consist of these moves and no others, in an order that rules 1 to 4 allow (`order.rs`, `put_off.rs`, `compare.rs`); only where in scratch a chunk
//! lies is the program's own choice, one place for each. Both ends of a message are then composed of the two ends of one
//! message of a factor, and cut it alike: it is not cut, or the factor's proof tells its chunks apart, or all are cut alike.
//!
//! - *All ranks* are compared in this way where that takes some tenths of a second: then the plan is proved without trust in who wrote it.
//! - In larger worlds some ranks are (`sample.rs`; `unisono plan` says how many): all places of the first domain if they are not too many, and
//!   places that go round in domains spread over all, the last among them. Of the others it is *taken for granted* that the plan, one function
//!   of the rank, does for them what it does for those. The first, one in the middle and the last rank's use of their memory is
//!   besides checked without regard to the parts (`walk.rs`).
//! - That the stages add up to the collective is the argument above, in words. It, and the rules, were tested: every hierarchy of up to 24
//!   ranks is found to be made of its parts and proved whole (`algorithm/tests/`), of one-step changes of small ones none is accepted
//!   here that the whole proof refuses, and no change of a rank of larger ones passes unless it is another right order.

mod compare;
mod order;
mod places;
mod put_off;
mod rooted;
mod sample;
mod stage;
#[cfg(test)]
mod tests;
mod unit;

use super::walk::walk;
use super::{Checked, Facts, Flaw, Proof, check, rotation, rules};
use crate::plan::chunk::Grid;
use crate::plan::{Operand, Part, Plan, Problem, Program, Step};
use crate::types::{Collective, Rank};
use compare::Script;
use places::Places;
pub(crate) use sample::looked_at;
use stage::{Factor, Finder, Groups, Member, Stage};
use std::cell::RefCell;
use std::sync::Arc;

/// Up to here every plan is proved whole.
const MOST_RANKS_WHOLE: usize = 64;

/// How a plan is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Whole,
    ByParts,
    /// Unless it turns out not to look alike from all ranks: then whole.
    ByRotation,
}

impl Way {
    /// How [`prove`] would prove a plan, found out quickly.
    pub fn of(plan: &Plan) -> Way {
        match plan.problem.ranks {
            0..=MOST_RANKS_WHOLE => Way::Whole,
            _ if !plan.parts().is_empty() => Way::ByParts,
            _ if rotation::seems_to_fit(plan) => Way::ByRotation,
            _ => Way::Whole,
        }
    }
}

/// Proves a plan in the way that suits it: whole, by its parts, or by what it looks like from one rank.
///
/// A proof that is not of the whole plan knows no [order](Checked::order) of addition, and its [`Facts`] of uneven hierarchies are what
/// the busiest rank does at most.
///
/// # Errors
/// As [`check`].
pub fn prove(plan: &Plan) -> Result<Checked, Flaw> {
    match Way::of(plan) {
        Way::ByParts => by_parts(plan),
        Way::ByRotation if let Ok(facts) = rotation::by_rotation(plan) => {
            Ok(Checked(Arc::new(Proof { plan: plan.clone(), facts, sums: None })))
        }
        Way::Whole | Way::ByRotation => check(plan),
    }
}

/// The proof of a composed plan by its parts, however small it is.
///
/// # Errors
/// The first flaw of a factor, or departure of a rank.
pub(crate) fn by_parts(plan: &Plan) -> Result<Checked, Flaw> {
    let problem = &plan.problem;
    let tiles = u64::from(problem.tiles);
    let mut facts = Facts { lanes: 1, bit_equal: true, ..Facts::none() };
    let mut parts = Vec::new();
    for part in plan.parts() {
        let mut factors = Vec::new();
        let mut of_part = Facts::none();
        for one in &part.factors {
            let (proved, tells_apart) = prove_factor(one)?;
            of_part = of_part.most(proved.facts().clone());
            factors.push(Factor {
                plan: one,
                tells_apart,
                tail_receipts: RefCell::default(),
                waits_for_none: RefCell::default(),
            });
        }
        parts.push(factors);
        facts.add(&of_part, part, tiles);
    }
    let whole = Whole::of(plan, parts)?;
    for rank in sample::ranks(&whole.places, sample::looked_at(plan).0) {
        let program = plan.program(rank);
        whole.rank(rank, &program)?;
        facts.scratch_chunks = facts.scratch_chunks.max(program.scratch.len() as u32);
        facts.lanes = facts.lanes.max(program.lanes.len() as u32);
        facts.max_channel = facts.max_channel.max(max_channel(&program));
    }
    for rank in [0, problem.ranks / 2, problem.ranks - 1] {
        walk(&whole.grid, rank, &plan.program(rank))?;
    }
    Ok(Checked(Arc::new(Proof { plan: plan.clone(), facts, sums: None })))
}

/// The proof of a factor, if possible one that tells its chunks apart; whether it does.
fn prove_factor(plan: &Plan) -> Result<(Checked, bool), Flaw> {
    let uneven = Problem { uneven: true, ..plan.problem };
    match prove(&Plan { problem: uneven, ..plan.clone() }) {
        Ok(proved) => Ok((proved, true)),
        Err(_) => Ok((prove(plan)?, false)),
    }
}

/// What each rank of a composed plan is to do.
struct Whole<'a> {
    plan: &'a Plan,
    grid: Grid,
    places: Places,
    stages: Vec<Stage<'a>>,
    pieces: u32,
}

impl<'a> Whole<'a> {
    fn of(plan: &'a Plan, parts: Vec<Vec<Factor<'a>>>) -> Result<Whole<'a>, Flaw> {
        let (places, grid) = (Places::of(&plan.problem), plan.grid());
        let wrong = Flaw::Parts { collective: grid.collective };
        // An all-reduce leaves open how its buffer is cut: evenly into slots.
        let pieces = match grid.collective {
            Collective::AllReduce if grid.blocks.is_multiple_of(places.width as u32) => {
                grid.blocks / places.width as u32
            }
            Collective::AllReduce => return Err(wrong),
            Collective::Broadcast | Collective::Reduce if grid.blocks as usize != places.slices => return Err(wrong),
            _ => 1,
        };
        let stages = stage::stages(grid.collective, parts).ok_or(wrong)?;
        Ok(Whole { plan, grid, places, stages, pieces })
    }

    /// Compares a rank's program with what it is composed of.
    fn rank(&self, rank: Rank, program: &Program) -> Result<(), Flaw> {
        let problem = &self.plan.problem;
        let Whole { places, pieces, .. } = self;
        let gathers = problem.collective == Collective::Gather;
        let finder = Finder { places, pieces: *pieces, tiles: problem.tiles, ranks: problem.ranks, gathers };
        let seat = places.seat(rank);
        let mut cells = finder.cells(&self.stages, seat);
        let mut units = Vec::new();
        for (number, stage) in self.stages.iter().enumerate() {
            let slots = match stage.groups {
                Groups::Domains => 0..1,
                Groups::Home => 0..usize::from(seat.domain == places.root().domain),
                Groups::Others => 0..usize::from(seat != places.root()),
                Groups::Rails => places.carried(seat),
                Groups::Sliced => {
                    let sliced = places.sliced(seat.domain);
                    let own = sliced.iter().position(|one| *one == rank);
                    own.map_or(0..0, |slot| slot..slot + 1)
                }
            };
            for slot in slots {
                let unit = unit::unit(&finder, &self.stages, number, Member { seat, slot }, &mut cells);
                units.push(unit.ok_or(Flaw::Parts { collective: self.grid.collective })?);
            }
        }
        rules::check_scratch(&self.grid, problem.uneven, rank, &program.scratch)?;
        let tile_stride = match self.grid.collective {
            Collective::AllReduce | Collective::Broadcast | Collective::Reduce => self.grid.blocks,
            _ => 1,
        };
        let script = Script { rank, units, cells, tiles: problem.tiles, tile_stride };
        compare::compare(&script, &self.grid, problem.uneven, program)
    }
}

/// The highest channel on which a program sends.
fn max_channel(program: &Program) -> u16 {
    let moves = program.lanes.iter().flatten().flat_map(|step| match step {
        Step::Move(one) => std::slice::from_ref(one),
        Step::Repeat { body, .. } => body.as_slice(),
        Step::Wait { .. } => &[],
    });
    let channel = |operand: &Operand| match operand {
        Operand::Peer { channel, .. } => Some(*channel),
        Operand::Local(_) => None,
    };
    moves.flat_map(|one| &one.destinations).filter_map(channel).max().unwrap_or(0)
}

impl Facts {
    pub(super) fn none() -> Facts {
        Facts {
            hops: 0,
            chunks_sent: 0,
            chunks_received: 0,
            messages_sent: 0,
            chunks_reduced: 0,
            chunks_copied: 0,
            scratch_chunks: 0,
            lanes: 0,
            moves: 0,
            max_channel: 0,
            bit_equal: true,
        }
    }

    /// Of two kinds of group what the busier does.
    fn most(self, other: Facts) -> Facts {
        Facts {
            hops: self.hops.max(other.hops),
            chunks_sent: self.chunks_sent.max(other.chunks_sent),
            chunks_received: self.chunks_received.max(other.chunks_received),
            messages_sent: self.messages_sent.max(other.messages_sent),
            chunks_reduced: self.chunks_reduced.max(other.chunks_reduced),
            chunks_copied: self.chunks_copied.max(other.chunks_copied),
            scratch_chunks: self.scratch_chunks.max(other.scratch_chunks),
            lanes: self.lanes.max(other.lanes),
            moves: self.moves.max(other.moves),
            max_channel: self.max_channel.max(other.max_channel),
            bit_equal: self.bit_equal && other.bit_equal,
        }
    }

    /// One more stage of every tile.
    fn add(&mut self, factor: &Facts, part: &Part, tiles: u64) {
        let beside = u32::from(part.overlaps).min(factor.hops);
        self.hops += tiles as u32 * (factor.hops - beside) * part.runs as u32 + beside;
        let times = part.chunks * part.runs * tiles;
        self.chunks_sent += factor.chunks_sent * times;
        self.chunks_received += factor.chunks_received * times;
        self.chunks_reduced += factor.chunks_reduced * times;
        self.chunks_copied += factor.chunks_copied * times;
        self.messages_sent +=
            if part.joins { factor.messages_sent * part.runs * tiles } else { factor.chunks_sent * times };
        self.moves += factor.moves * if part.joins { 1 } else { part.chunks } * part.groups * tiles;
        self.bit_equal &= factor.bit_equal;
    }
}
