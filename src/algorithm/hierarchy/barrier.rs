//! The barrier in two stages: everyone of a domain tells everyone there, then everyone tells, along its rail, the other domains.
//!
//! Who has heard from its whole domain speaks for it, so that nobody need be told in the domain again what came from others.
//!
//! | algorithm | between domains | hops | bytes sent = received, by every rank |
//! |---|---|---|---|
//! | `hierarchical_barrier` | `direct` | 2 | m-1 + k-1 |
//! | `hierarchical_dissemination` | `dissemination` | 1 + ceil(log2 k) | m-1 + ceil(log2 k) |
//!
//! Both have the same factor in the domain, `direct`. The first wins wherever it fits, since it crosses once; the second among more
//! domains, where so many messages at once are more than their price says.
//!
//! Source: the hierarchical barriers of MPI libraries, with every rank in the part of the leader.

use super::embed::{Embedding, Run};
use super::slots::Slots;
use crate::algorithm::write::{ceil_log2, serves};
use crate::algorithm::{Algorithm, direct, dissemination};
use crate::plan::{Buffer, Order, Part, Plan, Problem, Program, Promise, Stage, Step, Through};
use crate::types::{Collective, Rank};

/// A barrier with this between domains.
pub(in crate::algorithm) struct Barrier {
    name: &'static str,
    between: Between,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Between {
    Direct,
    Dissemination,
}

pub(in crate::algorithm) const DIRECT: Barrier = Barrier { name: "hierarchical_barrier", between: Between::Direct };
pub(in crate::algorithm) const DISSEMINATION: Barrier =
    Barrier { name: "hierarchical_dissemination", between: Between::Dissemination };

impl Barrier {
    fn factor(&self) -> &'static dyn Algorithm {
        match self.between {
            Between::Direct => &direct::Direct,
            Between::Dissemination => &dissemination::Dissemination,
        }
    }

    /// Messages on a chain between domains, and how many each rank sends.
    fn crossing(&self, domains: usize) -> (usize, usize) {
        match self.between {
            Between::Direct => (1, domains - 1),
            Between::Dissemination => (ceil_log2(domains), ceil_log2(domains)),
        }
    }
}

impl Algorithm for Barrier {
    fn name(&self) -> &'static str {
        self.name
    }
    fn fits(&self, problem: &Problem) -> Result<(), String> {
        serves(problem, &[Collective::Barrier])?;
        let slots = Slots::of(problem);
        if slots.domains < 2 {
            return Err("joins domains, and there is only one".to_owned());
        }
        if slots.width == 1 {
            return Err("divides the work of a domain, and each has a single rank".to_owned());
        }
        if !slots.is_even() {
            return Err("needs domains of one size".to_owned());
        }
        match self.between {
            Between::Direct if slots.domains > super::MOST_AT_ONCE => {
                Err(format!("tells at most {} domains at once", super::MOST_AT_ONCE))
            }
            _ => Ok(()),
        }
    }
    fn plan(&self, problem: &Problem) -> Plan {
        let slots = Slots::of(problem);
        let factor = |one: &dyn Algorithm, ranks: usize| one.plan(&Problem::new(Collective::Barrier, ranks));
        let (inside, between) = (factor(&direct::Direct, slots.width), factor(self.factor(), slots.domains));
        let part = |factor: &Plan, groups: usize| Part {
            factors: vec![factor.clone()],
            chunks: 1,
            joins: true,
            runs: 1,
            groups: groups as u64,
            overlaps: false,
        };
        let parts = vec![part(&inside, slots.domains), part(&between, slots.width)];
        Plan::new(self.name, *problem, 1, move |rank| program(&slots, [&inside, &between], rank)).composed_of(parts)
    }
    fn promise(&self, problem: &Problem) -> Promise {
        let slots = Slots::of(problem);
        let (hops, sent) = self.crossing(slots.domains);
        let sent = (slots.width - 1 + sent) as u64;
        Promise { hops: 1 + hops as u32, chunks_sent: sent, chunks_received: sent }
    }
    fn stages(&self, problem: &Problem) -> Vec<Stage> {
        let slots = Slots::of(problem);
        let (hops, sent) = self.crossing(slots.domains);
        let (others, sent) = (slots.width as u64 - 1, sent as u64);
        let inside = Stage {
            hops: 1,
            chunks_out: others,
            chunks_in: others,
            messages_out: others,
            messages_in: others,
            ..Stage::default()
        };
        let crossing =
            Stage { crossing_hops: hops as u32, crossing_chunks: sent, crossing_messages: sent, ..Stage::default() };
        vec![inside, crossing]
    }
    fn order(&self, _problem: &Problem, _chunk: u32) -> Order {
        unreachable!("a barrier adds nothing up")
    }
}

/// What a rank has heard from its domain lies in the first slot of scratch.
fn program(slots: &Slots, [inside, between]: [&Plan; 2], rank: Rank) -> Program {
    let (domain, local) = slots.place(rank);
    let mut scratch = vec![0];
    let heard = Run { buffer: Buffer::Scratch, start: 0, len: 1 };
    let whole = |buffer| Run { buffer, start: 0, len: 1 };
    let mut steps: Vec<Step> = Vec::new();
    let mut add = |factor: &Plan, local: usize, rank: &dyn Fn(usize) -> Rank, from: Run, to: Run| {
        let place = |buffer: Buffer, _, runs: &mut Vec<Run>| runs.push(if buffer == Buffer::Input { from } else { to });
        let ids = |_| vec![(0, 1)];
        let (channel, through, is_last, joins) = (0, Through::Messages, true, true);
        let embedding = Embedding { factor, local, rank, channel, through, is_last, place: &place, ids: &ids, joins };
        let unit = embedding.unit(&mut scratch);
        steps.extend([unit.before, unit.during, unit.after].into_iter().flatten());
    };
    add(inside, local, &|local| slots.rank(domain, local), whole(Buffer::Input), heard);
    add(between, domain, &|domain| slots.rank(domain, local), heard, whole(Buffer::Output));
    Program { lanes: vec![steps], scratch }
}
