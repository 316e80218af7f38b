//! The choice among the ranks of hosts: the context of a job, and of `unisono plan --on host`, asked.

use super::choice::{Answer, Chooser};
use super::offers::{Proofs, Rates};
use super::rules::Rule;
use super::{Context, called};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Problem;
use crate::plan::price::Bottleneck;
use crate::topology::bound::{self, BoundAt};
use crate::topology::machines;
use crate::types::{Collective, TransportKind};

/// Every process proves what it runs, and all wait for it; so a plan whose proof takes longer is not chosen while there is another.
const PROOF_LIMIT_NS: f64 = 2e9;

impl Context {
    pub(super) fn chooser(&self) -> Chooser {
        let at_once = self.proofs_per_processor.max(1);
        // Everything that is chosen is run, and so proved: no price makes up for what can't be.
        let proofs = Proofs { limit_ns: PROOF_LIMIT_NS, at_once, worth: f64::INFINITY };
        Chooser { rates: Rates::Host(self.constants), proofs, joined: true }
    }

    /// The candidates, with what is set or ruled in front; and the rule, if one holds.
    pub(super) fn answer(&self, problem: Problem, bytes: u64) -> Result<(Answer, Option<&Rule>)> {
        let mut answer = self.chooser().price_all(problem, bytes)?;
        if let Some(forced) = &self.algorithm
            && answer.take(forced, &format!("{forced} is set for this communicator")).is_ok()
        {
            return Ok((answer, None));
        }
        let rule = self.rule(&problem, bytes);
        if let Some(rule) = rule {
            let told = rule.told(&self.rules.file);
            answer.take(&rule.algorithm, &told).map_err(|why| {
                let what = format!("{told}, and of {} among {} ranks {why}", called(&problem), problem.ranks);
                Error::new(ErrorKind::Configuration, what).remedy("narrow the rule, or take it out")
            })?;
        }
        Ok((answer, rule))
    }

    /// Which is taken whatever the prices.
    pub(super) fn ruled(&self, problem: &Problem, bytes: u64) -> Option<String> {
        let fits = |name: &String| {
            let offers = self.chooser().offers(*problem);
            offers.find(name).is_some_and(|offer| offer.misfit.is_none())
        };
        let forced = self.algorithm.clone().filter(fits);
        forced.or_else(|| Some(self.rule(problem, bytes)?.algorithm.clone()))
    }

    /// What no algorithm beats among these ranks; None where they lie on several hosts, whose network is not known.
    pub fn bound(&self, problem: &Problem, bytes: u64) -> Option<BoundAt> {
        if problem.layout.domains(problem.ranks) != 1 || problem.ranks < 2 {
            return None;
        }
        let called = called(problem);
        let topology = machines::host(&self.constants, problem.ranks, Some((called, bytes)));
        let bound = bound::bound(&topology, called).ok()?.at(bytes);
        // What is known to reach it does so on links, where processors need no time for messages and copies of their own.
        let why = "on links between ranks that do nothing else".to_owned();
        Some(BoundAt { tight: false, why, ..bound })
    }

    /// What a bottleneck is among these ranks, in words.
    pub(super) fn binding(&self, bottleneck: Bottleneck, bytes: u64) -> String {
        let way = |name: &str, send: f64, receive: f64| {
            let rate = 1.0 / (send + receive);
            format!("{name}, {rate:.3} GB/s of what a rank sends and receives")
        };
        let copies = match self.constants.inside {
            TransportKind::Memory => "copies among the threads of a process",
            TransportKind::Shm => "copies through shared memory",
            TransportKind::Tcp => "copies through sockets of the host",
        };
        let (inside, crossing) = (self.constants.inside(bytes as f64), self.constants.crossing(bytes as f64));
        match bottleneck {
            Bottleneck::Latency | Bottleneck::Messages => "latency".to_owned(),
            Bottleneck::Inside | Bottleneck::Memory => way(copies, inside.send_ns_per_byte, inside.receive_ns_per_byte),
            Bottleneck::Network => way("TCP between hosts", crossing.send_ns_per_byte, crossing.receive_ns_per_byte),
        }
    }

    /// The problem that `collective` poses to so many ranks of one host.
    pub fn problem(collective: Collective, ranks: usize) -> Problem {
        let uneven = collective != collective.even();
        Problem { uneven, ..Problem::new(collective.even(), ranks) }
    }
}
