//! The choice among our plans on a machine that is data: what `unisono plan` answers.

mod advice;
#[cfg(test)]
mod tests;

use super::choice::Chooser;
pub use super::choice::{Answer, Proof};
use super::offers::{Offers, Proofs, Rates};
use crate::error::Result;
use crate::plan::Problem;
use crate::plan::price::{Bottleneck, Ports};
use crate::topology::{Gaps, Layout, LinkClass, Topology};
use crate::types::Collective;
use std::sync::Arc;

/// Nothing runs here, and whoever runs a plan proves it first: so an answer comes soon.
const PROOFS: Proofs = Proofs { limit_ns: 5e8, at_once: 1, worth: 1.25 };

/// What is asked of a machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Question {
    pub collective: Collective,
    /// By the convention of nccl-tests.
    pub bytes: u64,
    /// How the ranks lie in the machine's domains: [`Topology::layout`] unless they were placed otherwise.
    pub layout: Layout,
}

/// A machine as prices see it, ready to be asked.
pub struct Machine<'a> {
    pub topology: &'a Topology,
    pub ports: Ports,
    pub ranks: usize,
    /// Whether the switches of every domain can add up.
    switch: bool,
    chooser: Chooser,
}

impl<'a> Machine<'a> {
    pub fn new(topology: &'a Topology) -> Machine<'a> {
        let ports = Ports::of(topology);
        let joined = ports.crossing.is_some();
        Machine {
            topology,
            chooser: Chooser { rates: Rates::Ports(ports.clone()), proofs: PROOFS, joined },
            ports,
            ranks: topology.gpus(),
            switch: topology.reduces_in_switch(),
        }
    }

    fn problem(&self, question: Question) -> Problem {
        Problem { layout: question.layout, switch: self.switch, ..Problem::new(question.collective.even(), self.ranks) }
    }

    fn offers(&self, question: Question) -> Arc<Offers> {
        self.chooser.offers(self.problem(question))
    }

    /// Prices every algorithm of the registry; the first of the answer is the cheapest.
    ///
    /// # Errors
    /// If no algorithm serves the collective there.
    pub fn explain(&self, question: Question) -> Result<Answer> {
        self.chooser.price_all(self.problem(question), question.bytes)
    }

    /// Proves the cheapest plan whose proof does not take long, and makes it the choice: a candidate with fewer tiles where that is
    /// what makes its proof short. Those before it are told why they are not taken. Where all that can be proved soon takes much longer
    /// than the cheapest, that is the choice, without a proof.
    ///
    /// # Errors
    /// If every candidate has a flaw.
    pub fn prove(&self, question: Question, answer: &mut Answer) -> Result<Proof> {
        self.chooser.prove(self.problem(question), question.bytes, answer)
    }

    /// The sizes at which the choice changes, from 1 KiB to 16 GiB: each with the algorithm that is taken from there on, by the rule
    /// of [`Machine::prove`]. `ruled` says which is taken at a size whatever the prices.
    ///
    /// # Errors
    /// If no plan can be proved at one of the sizes.
    pub fn flips(&self, question: Question, ruled: &dyn Fn(u64) -> Option<String>) -> Result<Vec<(u64, String)>> {
        self.chooser.flips(self.problem(question), ruled)
    }

    /// What a bottleneck is on this machine, in words.
    pub fn binding(&self, bottleneck: Bottleneck) -> String {
        let port = match bottleneck {
            Bottleneck::Latency => return "latency".to_owned(),
            Bottleneck::Messages => {
                let Gaps { domain_ns, network_ns } = self.topology.gaps;
                let (near, far) = (domain_ns / 1e3, network_ns / 1e3);
                return format!(
                    "how many messages a GPU sends: one takes {near} us of its link in the domain, or {far} us of its NIC"
                );
            }
            Bottleneck::Memory => return "memory of a GPU".to_owned(),
            Bottleneck::Inside => &self.ports.inside,
            Bottleneck::Network => &self.ports.crossing,
        };
        let port = port.as_ref().expect("a port that binds is there");
        let what = match port.class {
            LinkClass::NvLink => "NVLink port of a GPU",
            LinkClass::Host => "link of a rank to the others of its host",
            LinkClass::Nic => "NIC of a GPU",
            LinkClass::Network => "a GPU's share of its unit's way into the network",
        };
        format!("{what}, {:.3} GB/s each way as far as kernels reach it", port.bytes_per_s / 1e9)
    }
}
