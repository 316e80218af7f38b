//! In the switch: a domain's switch folds what is read through it and copies what is written through it (NVLS).
//!
//! | collective | hops | blocks sent = received, by every rank, as messages | block | scratch |
//! |---|---|---|---|---|
//! | all-reduce | 2 | 2(N-1) | an N-th | none |
//! | all-gather, reduce-scatter | 1 | N-1 | one rank's | none |
//!
//! The moves are those of `two_shot` and `direct`, and so are their orders and counts; what differs is who carries them out: each
//! rank folds its block of all inputs with one read through the switch, and spreads a block with one write. So a rank's
//! port passes a fold or a spread block once instead of N-1 times, and the rank adds nothing up itself. Where there is no such
//! switch the same moves run by messages.
//!
//! In an all-reduce what is folded leaves by the ports and what is spread comes in by them: with blocks cut into tiles both go on at
//! once, so that a port passes little more than the input each way, half of what `two_shot` sends.
//!
//! Source: Klenk et al., "An in-network architecture for accelerating shared-memory multiprocessor collectives", 2020; NCCL
//! calls it NVLS.

use super::Algorithm;
use super::direct::{Direct, TwoShot};
use super::write::{ahead, behind, serves};
use crate::plan::build::{copy, one, reduce};
use crate::plan::{Buffer, Move, Operand, Order, Plan, Problem, Program, Promise, Reduction, Stage, Step, Through};
use crate::types::{Collective, Rank};

pub(super) struct Nvls;

impl Nvls {
    /// Of the same counts and order.
    fn by_messages(problem: &Problem) -> &'static dyn Algorithm {
        match problem.collective {
            Collective::AllReduce => &TwoShot,
            _ => &Direct,
        }
    }
}

impl Algorithm for Nvls {
    fn name(&self) -> &'static str {
        "nvls"
    }
    fn fits(&self, problem: &Problem) -> Result<(), String> {
        serves(problem, &[Collective::AllReduce, Collective::AllGather, Collective::ReduceScatter])?;
        if !problem.switch {
            return Err("needs switches that fold and copy, which these domains have not".to_owned());
        }
        match problem.layout.domains(problem.ranks) {
            1 => Ok(()),
            domains => Err(format!("works in one domain, and there are {domains}")),
        }
    }
    fn pipelines(&self) -> bool {
        true
    }
    fn plan(&self, problem: &Problem) -> Plan {
        if problem.collective == Collective::AllReduce && problem.ranks > 1 && problem.tiles > 1 {
            let problem = *problem;
            return Plan::new(self.name(), problem, problem.ranks as u32, move |rank| {
                through_switch(all_reduce(&problem, rank))
            });
        }
        let plan = Nvls::by_messages(problem).plan(problem);
        Plan::new(self.name(), *problem, plan.blocks, move |rank| through_switch(plan.program(rank)))
    }
    fn promise(&self, problem: &Problem) -> Promise {
        Nvls::by_messages(problem).promise(problem)
    }
    fn order(&self, problem: &Problem, chunk: u32) -> Order {
        Nvls::by_messages(problem).order(problem, chunk)
    }
    fn stages(&self, problem: &Problem) -> Vec<Stage> {
        let (others, tiles) = (problem.ranks as u64 - 1, u64::from(problem.tiles));
        let stage = Stage { hops: 1, local_chunks: tiles, through: Through::Switch, ..Stage::default() };
        let asked = if problem.collective == Collective::AllReduce { FOLDERS.min(problem.tiles) } else { 1 };
        let fold = Stage { chunks_out: others * tiles, chunks_in: tiles, asked, ..stage };
        let spread = Stage { chunks_out: tiles, chunks_in: others * tiles, ..stage };
        match problem.collective {
            _ if others == 0 => Vec::new(),
            Collective::AllReduce => vec![fold, spread],
            Collective::AllGather => vec![spread],
            _ => vec![fold],
        }
    }
}

/// Lanes that fold, each every other tile: the first byte comes a latency after it was asked for, for both at once.
const FOLDERS: u32 = 2;

/// In tiles: one lane offers what others fold, [`FOLDERS`] fold tile after tile and spread it, and one takes what others spread: tiles are folded
/// while those before are spread.
fn all_reduce(problem: &Problem, rank: Rank) -> Program {
    let folded = |tile: u32| (tile % FOLDERS) as u16;
    let spread = |tile: u32| (FOLDERS + tile % FOLDERS) as u16;
    let peer = |rank: Rank, channel: u16| Operand::Peer { rank, channel };
    let piece = |buffer, block: Rank, tile: u32| one(buffer, block as u32 * problem.tiles + tile);
    let targets = || (1..problem.ranks).map(|distance| ahead(problem, rank, distance));
    let sources = || (1..problem.ranks).map(|distance| behind(problem, rank, distance));
    let offer =
        |tile| targets().map(move |target| copy(piece(Buffer::Input, target, tile), [peer(target, folded(tile))]));
    let fold = |tile| {
        let own = piece(Buffer::Input, rank, tile);
        let contribution = |other: Rank| if other == rank { own } else { peer(other, folded(tile)) };
        let inputs: Vec<Operand> = (0..problem.ranks).map(contribution).collect();
        let output = [piece(Buffer::Output, rank, tile)];
        let outputs: Vec<Operand> =
            output.into_iter().chain(targets().map(|target| peer(target, spread(tile)))).collect();
        reduce(Reduction::Final, inputs, outputs)
    };
    let take =
        |tile| sources().map(move |source| copy(peer(source, spread(tile)), [piece(Buffer::Output, source, tile)]));
    let tiles = || 0..problem.tiles;
    let folders = (0..FOLDERS).map(|first| tiles().skip(first as usize).step_by(FOLDERS as usize));
    let mut lanes: Vec<Vec<Move>> = vec![tiles().flat_map(offer).collect()];
    lanes.extend(folders.map(|tiles| tiles.map(fold).collect::<Vec<_>>()));
    lanes.push(tiles().flat_map(take).collect());
    let lanes = lanes.into_iter().map(|lane| lane.into_iter().map(Step::Move).collect()).collect();
    Program { lanes, ..Program::default() }
}

fn through_switch(mut program: Program) -> Program {
    for step in program.lanes.iter_mut().flatten() {
        match step {
            Step::Move(one) => one.through = Through::Switch,
            Step::Repeat { body, .. } => body.iter_mut().for_each(|one| one.through = Through::Switch),
            Step::Wait { .. } => {}
        }
    }
    program
}
