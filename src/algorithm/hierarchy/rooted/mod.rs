//! Hierarchies with a root: everything leaves it, or comes to it, through all NICs of its domain.
//!
//! A broadcast is a scatter of slots from the root to the other ranks of its domain, a broadcast of each slot along its rail, and an
//! all-gather of the slots in every domain; the root, which has everything, takes no part after the first. A reduce is the same
//! backwards: a reduce-scatter in every domain, a reduce of each slot along its rail, and a gather at the root. Slots are one fewer than
//! the ranks of the root's domain (see [`carriers`]), so that the root's port passes every byte once.
//!
//! A gather brings each block along its rail to the root's domain and from there to the root, a scatter the other way.
//!
//! | algorithm, collectives | in the domain | between domains | hops |
//! |---|---|---|---|
//! | `hierarchical_fan` broadcast, reduce | `direct` | `direct` | 1 between domains |
//! | `hierarchical_binomial` broadcast, reduce | `direct` | `binomial` | floor(log2 k) |
//! | `hierarchical_tree` broadcast, reduce | `direct` | `binary_tree` | floor(log2 k) |
//! | `hierarchical_chain` broadcast, reduce | `direct` | `chain` | k-1 |
//! | `rail_gather` gather, `rail_scatter` scatter | `direct` | `direct` | 1, and 1 in the root's domain |
//!
//! With k domains of m, each of W = m-1 slots is S/W of the buffer. In a broadcast the root sends S, every other rank receives S, and a
//! carrier sends S at most in its domain, and between domains what the factor says of a slot. In t tiles a stage passes one while the
//! next passes the one before, since nobody waits for what it has sent: the tiles of a chain follow each other through it.
//!
//! A domain has one hop at either end of a chain of J between domains: J + 2 hops. In a broadcast of t tiles with two slots or more there
//! are (t-1)/2 besides, since what a carrier sends to another comes after what it got of the tile before last.
//!
//! `hierarchical_fan` wins for small buffers, as it crosses once; `hierarchical_binomial` and `hierarchical_tree` for larger ones among
//! many domains, the latter where a slot can cross twice while its domain is busy with the rest; `hierarchical_chain` for the largest ones where NICs are what binds, as none of them sends a byte twice.
//!
//! ## Order
//! In a tile the stages come one after the other. All that only sends at the start of the first stage is brought forward to before
//! everything, and what only receives at the end of the last is put off until the next tile has set out (rules 2 and 3 of
//! [`crate::plan::check::compose`]): no two ranks are sent anything by two stages, but where ranks add up what they scatter, whose sends
//! all come first.
//!
//! Source: van de Geijn's broadcast by scatter and all-gather (Barnett et al. 1994), with the rails of NCCL's PXN between both.

mod blocks;
mod carriers;
mod costs;
mod whole;

use super::embed::{Embedding, Run, Unit};
use super::replaced;
use crate::algorithm::write::serves;
use crate::algorithm::{Algorithm, binary, binomial, chain, direct};
use crate::plan::{Buffer, Order, Plan, Problem, Promise, Stage, Through};
use crate::types::{Collective, Rank};
use blocks::Blocks;
use carriers::Carriers;
use costs::Costs;
use whole::Whole;

/// What a slot passes along its rail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rail {
    Direct,
    Binomial,
    Tree,
    Chain,
}

/// A broadcast or reduce in slots.
pub(in crate::algorithm) struct Sliced {
    pub name: &'static str,
    rail: Rail,
}

pub(in crate::algorithm) const FAN: Sliced = Sliced { name: "hierarchical_fan", rail: Rail::Direct };
pub(in crate::algorithm) const BINOMIAL: Sliced = Sliced { name: "hierarchical_binomial", rail: Rail::Binomial };
pub(in crate::algorithm) const TREE: Sliced = Sliced { name: "hierarchical_tree", rail: Rail::Tree };
pub(in crate::algorithm) const CHAIN: Sliced = Sliced { name: "hierarchical_chain", rail: Rail::Chain };

/// A gather or scatter of whole blocks.
pub(in crate::algorithm) struct Rails {
    pub name: &'static str,
    collective: Collective,
}

pub(in crate::algorithm) const GATHER: Rails = Rails { name: "rail_gather", collective: Collective::Gather };
pub(in crate::algorithm) const SCATTER: Rails = Rails { name: "rail_scatter", collective: Collective::Scatter };

impl Rail {
    fn factor(self) -> &'static dyn Algorithm {
        match self {
            Rail::Direct => &direct::Direct,
            Rail::Binomial => &binomial::Binomial,
            Rail::Tree => &binary::BinaryTree,
            Rail::Chain => &chain::Chain,
        }
    }

    /// How many domains get a slot from the one at this place of the rail, counted from the root's.
    fn children(self, domains: usize, place: usize) -> usize {
        match self {
            Rail::Direct => (domains - 1) * usize::from(place == 0),
            Rail::Binomial => {
                let reach = if place == 0 { domains.next_power_of_two() } else { place & place.wrapping_neg() };
                (0..reach.ilog2()).take_while(|bit| place + (1 << bit) < domains).count()
            }
            Rail::Tree => binary::children_of(domains, place),
            Rail::Chain => usize::from(place + 1 < domains),
        }
    }

    /// Messages along a rail from the root's domain to the one at this place.
    fn depth(self, place: usize) -> u32 {
        match self {
            Rail::Direct => u32::from(place > 0),
            Rail::Binomial => place.count_ones(),
            Rail::Tree => binary::depth(place) as u32,
            Rail::Chain => place as u32,
        }
    }
}

/// The question that a rail is for its factor.
fn rail_problem(problem: &Problem, domains: usize, home: usize) -> Problem {
    Problem { root: home, uneven: problem.uneven, ..Problem::new(problem.collective, domains) }
}

/// A rank's part in a direct exchange, which has no scratch; `joins` as in [`Embedding`].
fn direct_unit(
    joins: bool,
    factor: &Plan,
    local: usize,
    rank: &dyn Fn(usize) -> Rank,
    place: &dyn Fn(Buffer, u32, &mut Vec<Run>),
) -> Unit {
    let ids = |_| unreachable!("a direct exchange has no scratch");
    let (channel, through, is_last) = (0, Through::Messages, false);
    Embedding { factor, local, rank, channel, through, is_last, place, ids: &ids, joins }.unit(&mut Vec::new())
}

/// `Ok` if there are several domains, and chunks can be numbered.
fn joins(problem: &Problem, collectives: &[Collective]) -> Result<(), String> {
    serves(problem, collectives)?;
    match problem.layout.domains(problem.ranks) {
        0 | 1 => Err("joins domains, and there is only one".to_owned()),
        domains if domains == problem.ranks => {
            Err("divides the work of a domain, and each has a single rank".to_owned())
        }
        _ => Ok(()),
    }
}

impl Algorithm for Sliced {
    fn name(&self) -> &'static str {
        self.name
    }
    fn fits(&self, problem: &Problem) -> Result<(), String> {
        joins(problem, &[Collective::Broadcast, Collective::Reduce])?;
        match Carriers::of(problem).width {
            0 => Err("divides the work of the root's domain, where the root is alone".to_owned()),
            width if width as u64 * u64::from(problem.tiles) > u64::from(u32::MAX) / 2 => {
                Err(format!("has more chunks than can be numbered ({} tiles)", problem.tiles))
            }
            _ => Ok(()),
        }
    }
    fn pipelines(&self) -> bool {
        true
    }
    fn plan(&self, problem: &Problem) -> Plan {
        let whole = Whole::new(problem, self.rail);
        let (blocks, parts) = (whole.carriers.width as u32, whole.parts());
        Plan::new(self.name, *problem, blocks, move |rank| whole.program(rank)).composed_of(parts)
    }
    fn promise(&self, problem: &Problem) -> Promise {
        Costs::of(problem, self.rail).promise()
    }
    fn stages(&self, problem: &Problem) -> Vec<Stage> {
        Costs::of(problem, self.rail).stages()
    }
    fn order(&self, problem: &Problem, _chunk: u32) -> Order {
        let Carriers { slots, home, .. } = Carriers::of(problem);
        let of_domain = |domain: usize| {
            let inner = Problem::new(Collective::ReduceScatter, slots.size(domain));
            let order = direct::Direct.order(&inner, 0);
            replaced(&order, &|place| Order::Rank(slots.rank(domain, place)))
        };
        replaced(&self.rail.factor().order(&rail_problem(problem, slots.domains, home), 0), &of_domain)
    }
}

impl Algorithm for Rails {
    fn name(&self) -> &'static str {
        self.name
    }
    fn fits(&self, problem: &Problem) -> Result<(), String> {
        joins(problem, &[self.collective])
    }
    fn pipelines(&self) -> bool {
        true
    }
    fn plan(&self, problem: &Problem) -> Plan {
        let blocks = Blocks::new(problem);
        let parts = blocks.parts();
        Plan::new(self.name, *problem, 1, move |rank: Rank| blocks.program(rank)).composed_of(parts)
    }
    fn promise(&self, problem: &Problem) -> Promise {
        costs::promise_of_blocks(problem)
    }
    fn stages(&self, problem: &Problem) -> Vec<Stage> {
        costs::stages_of_blocks(problem)
    }
    fn order(&self, _problem: &Problem, _chunk: u32) -> Order {
        unreachable!("rails bring blocks from place to place")
    }
}
