//! What `plan` answers for one size, whichever engine answers.

use crate::failure::{BAD_ARGUMENTS, FAILED, Failure};
use serde::Serialize;
use std::time::Instant;
use unisono::nccl;
use unisono::select::machine::{Machine, Question};
use unisono::select::rules::Rules;
use unisono::topology::bound::{self, BoundAt};
use unisono::{Collective, DType, ReduceOp};

/// One line of JSON. What it says more than the text is for programs.
#[derive(Debug, Serialize)]
pub struct Row {
    pub machine: String,
    pub ranks: usize,
    pub collective: &'static str,
    pub bytes: u64,
    pub dtype: &'static str,
    pub engine: &'static str,
    pub chosen: String,
    pub time_us: f64,
    pub lower_bound_us: f64,
    pub bound_is_tight: bool,
    pub bound_cut: String,
    pub bottleneck: String,
    pub planning_ms: f64,
    pub runner_up: Option<String>,
    /// How much longer the runner-up takes, as a share of the choice's time.
    pub margin: Option<f64>,
    /// How the chosen plan was proved; null for engine nccl, whose plans are not ours.
    pub proof: Option<String>,
    pub flips: Vec<Flip>,
    pub candidates: Vec<Candidate>,
}

/// From this size on another one is chosen.
#[derive(Debug, Serialize)]
pub struct Flip {
    pub from_bytes: u64,
    pub chosen: String,
}

#[derive(Debug, Serialize)]
pub struct Candidate {
    pub name: String,
    pub tiles: Option<u32>,
    pub time_us: Option<f64>,
    pub latency_us: Option<f64>,
    pub bandwidth_us: Option<f64>,
    pub rejected: Option<String>,
}

/// What is asked, for one size.
pub struct Asked<'a> {
    pub machine: &'a Machine<'a>,
    pub collective: Collective,
    pub bytes: u64,
    pub dtype: DType,
    pub rules: Option<&'a Rules>,
}

impl Asked<'_> {
    fn bound(&self) -> Result<BoundAt, Failure> {
        let bound = bound::bound(self.machine.topology, self.collective);
        let bound = bound.map_err(|error| Failure::new(BAD_ARGUMENTS, error.to_string()))?;
        Ok(bound.at(self.bytes))
    }

    fn row(&self, engine: &'static str, started: Instant, candidates: Vec<Candidate>) -> Result<Row, Failure> {
        let bound = self.bound()?;
        let chosen = &candidates[0];
        let time_us = chosen.time_us.ok_or_else(|| {
            let why = chosen.rejected.as_deref().unwrap_or("it has no price");
            Failure::new(FAILED, format!("nothing serves {} there: {} {why}", self.collective, chosen.name))
        })?;
        let second = candidates[1..].iter().find(|one| one.time_us.is_some() && one.rejected.is_none());
        Ok(Row {
            machine: self.machine.topology.name.clone(),
            ranks: self.machine.ranks,
            collective: self.collective.name(),
            bytes: self.bytes,
            dtype: self.dtype.name(),
            engine,
            chosen: chosen.name.clone(),
            time_us,
            lower_bound_us: bound.seconds() * 1e6,
            bound_is_tight: bound.tight,
            bound_cut: bound.cut,
            bottleneck: String::new(),
            planning_ms: started.elapsed().as_secs_f64() * 1e3,
            runner_up: second.map(|one| one.name.clone()),
            margin: second.and_then(|one| Some(one.time_us? / time_us - 1.0)),
            proof: None,
            flips: Vec::new(),
            candidates,
        })
    }
}

/// Our own plans, priced on the machine, the choice proved.
pub fn ours(asked: &Asked<'_>) -> Result<Row, Failure> {
    let started = Instant::now();
    let question =
        Question { collective: asked.collective, bytes: asked.bytes, layout: asked.machine.topology.layout() };
    let mut answer = asked.machine.explain(question)?;
    let rule = asked.rules.and_then(|rules| {
        let rule = rules.find(asked.collective, asked.bytes, asked.machine.ranks, &asked.machine.topology.name)?;
        Some((rules, rule))
    });
    if let Some((rules, rule)) = rule {
        let told = format!("line {} of {} says {}", rule.line, rules.file, rule.algorithm);
        answer.take(&rule.algorithm, &told).map_err(|why| Failure::new(BAD_ARGUMENTS, format!("{told}: {why}")))?;
    }
    let checked = asked.machine.prove(question, &mut answer)?;
    let facts = checked.facts();
    let proof = format!("{} hops, {} moves of all ranks, contributions and order proved", facts.hops, facts.moves);
    let bottleneck = answer.chosen().bottleneck.map(|one| asked.machine.binding(one)).unwrap_or_default();
    let flips = asked.machine.flips(question)?;
    let candidates = answer.candidates.into_iter().map(|one| Candidate {
        name: one.name,
        tiles: Some(one.tiles),
        time_us: one.time_us,
        latency_us: one.latency_us,
        bandwidth_us: one.bandwidth_us,
        rejected: one.rejected,
    });
    let row = asked.row("unisono", started, candidates.collect())?;
    Ok(Row {
        bottleneck,
        proof: Some(proof),
        flips: flips.into_iter().map(|(from_bytes, chosen)| Flip { from_bytes, chosen }).collect(),
        planning_ms: started.elapsed().as_secs_f64() * 1e3,
        ..row
    })
}

/// What NCCL takes, and what it would pick.
pub fn nccls(asked: &Asked<'_>, settings: &nccl::Settings) -> Result<Row, Failure> {
    let started = Instant::now();
    let refused = |error: nccl::Invalid| Failure::new(BAD_ARGUMENTS, error.to_string());
    let world = nccl::World::of(asked.machine.topology).map_err(refused)?;
    let request = |bytes| nccl::Request { collective: asked.collective, dtype: asked.dtype, op: ReduceOp::Sum, bytes };
    let price = |bytes| nccl::price(&world, settings, &request(bytes)).map_err(refused);
    let name = |pair: &nccl::PairPrice| format!("{}/{}", pair.algorithm, pair.protocol);
    let pairs = price(asked.bytes)?;
    let (latency_us, bandwidth_us) = (pairs[0].latency_us.unwrap_or(0.0), pairs[0].bandwidth_us.unwrap_or(0.0));
    let bottleneck = match (latency_us >= bandwidth_us, world.domains.len() > 1) {
        (true, _) => "latency".to_owned(),
        (false, true) => "bandwidth of NVLink and network as NCCL uses them".to_owned(),
        (false, false) => "bandwidth of NVLink as NCCL uses it".to_owned(),
    };
    let mut flips: Vec<Flip> = Vec::new();
    for shift in 10..=34 {
        let chosen = name(&price(1 << shift)?[0]);
        if flips.last().is_none_or(|last| last.chosen != chosen) {
            flips.push(Flip { from_bytes: 1 << shift, chosen });
        }
    }
    let candidates = pairs.iter().map(|pair| Candidate {
        name: name(pair),
        tiles: None,
        time_us: pair.time_us,
        latency_us: pair.latency_us,
        bandwidth_us: pair.bandwidth_us,
        rejected: pair.rejected.clone(),
    });
    let row = asked.row("nccl", started, candidates.collect())?;
    Ok(Row { bottleneck, flips, planning_ms: started.elapsed().as_secs_f64() * 1e3, ..row })
}
