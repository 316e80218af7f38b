//! In the switch: a domain's switch folds what is read through it and copies what is written through it (NVLS).
//!
//! | collective | hops | blocks sent = received, by every rank, as messages | block | scratch |
//! |---|---|---|---|---|
//! | all-reduce | 2 | 2(N-1) | an N-th | none |
//! | all-gather, reduce-scatter | 1 | N-1 | one rank's | none |
//!
//! The moves are those of `two_shot` and `direct`, and so are their proofs, orders and counts; what differs is who carries them
//! out: each rank folds its block of all inputs with one read through the switch, and spreads a block with one write. So a rank's
//! port passes a fold or a spread block once instead of N-1 times, and the rank adds nothing up itself. Where there is no such
//! switch the same moves run by messages.
//!
//! Source: Klenk et al., "An in-network architecture for accelerating shared-memory multiprocessor collectives", 2020; NCCL
//! calls it NVLS.

use super::Algorithm;
use super::direct::{Direct, TwoShot};
use super::write::serves;
use crate::plan::{Order, Plan, Problem, Program, Promise, Stage, Step, Through};
use crate::types::Collective;

pub(super) struct Nvls;

impl Nvls {
    /// Whose moves these are.
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
    fn plan(&self, problem: &Problem) -> Plan {
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
        let through = Through::Switch;
        let (chunks, local_chunks) = (others * tiles, tiles);
        let stage = Stage { hops: 1, chunks, local_chunks, messages: tiles, through, ..Stage::default() };
        match problem.collective {
            _ if others == 0 => Vec::new(),
            Collective::AllReduce => vec![stage; 2],
            _ => vec![stage],
        }
    }
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
