//! What `plan` answers for one size, whichever engine answers.

use crate::failure::{BAD_ARGUMENTS, FAILED, Failure};
use std::time::Instant;
use unisono::nccl;
use unisono::select::machine::{Machine, Proof, Question};
use unisono::select::report::{Flip, Offered, Report, reached_by};
use unisono::select::rules::{Rule, Rules};
use unisono::select::{Context, Selector};
use unisono::topology::bound;
use unisono::topology::placement::Placement;
use unisono::{Collective, DType, ReduceOp};

/// What is asked, for one size.
pub struct Asked<'a> {
    pub machine: &'a Machine<'a>,
    pub collective: Collective,
    pub bytes: u64,
    pub dtype: DType,
    /// None where the collective has no elements.
    pub dtype_name: Option<&'static str>,
    pub placement: &'a Placement,
    pub rules: Option<&'a Rules>,
}

impl Asked<'_> {
    /// What a barrier's messages carry is nobody's.
    fn bytes_exchanged(&self) -> u64 {
        if self.collective == Collective::Barrier { 0 } else { self.bytes }
    }

    fn rule(&self, bytes: u64) -> Option<(&Rules, &Rule)> {
        let rules = self.rules?;
        let rule = rules.find(self.collective, bytes, self.machine.ranks, &self.machine.topology.name)?;
        Some((rules, rule))
    }

    fn report(&self, engine: &'static str, candidates: Vec<Offered>) -> Result<Report, Failure> {
        let topology = self.machine.topology;
        let bound = bound::bound(topology, self.collective);
        let bound = bound.map_err(|error| Failure::new(BAD_ARGUMENTS, error.to_string()))?.at(self.bytes_exchanged());
        let unfit = candidates.first().map(|one| {
            let why = one.rejected.as_deref().unwrap_or("it has no price");
            format!("nothing serves {} there: {} {why}", self.collective, one.name)
        });
        let report = Report::of_candidates(candidates, engine, self.machine.ranks);
        let report = report.ok_or_else(|| Failure::new(FAILED, unfit.unwrap_or_default()))?;
        let domains = topology.layout().domains(self.machine.ranks);
        Ok(Report {
            machine: topology.name.clone(),
            domains,
            collective: self.collective.name(),
            bytes: self.bytes,
            dtype: self.dtype_name,
            lower_bound_us: Some(bound.seconds() * 1e6),
            bound_is_tight: Some(bound.tight || reached_by(&bound, &report.candidates).is_some()),
            bound_cut: Some(bound.cut),
            placement: (domains > 1).then(|| self.placement.name().to_owned()),
            constants: topology.constants.clone(),
            ..report
        })
    }
}

/// Our own plans, priced on the machine, the choice proved.
pub fn ours(asked: &Asked<'_>) -> Result<Report, Failure> {
    let (started, machine) = (Instant::now(), asked.machine);
    let layout = asked.placement.layout(machine.topology);
    let layout = layout.map_err(|why| Failure::new(BAD_ARGUMENTS, format!("--placement: {why}")))?;
    let question = Question { collective: asked.collective, bytes: asked.bytes_exchanged(), layout };
    let mut answer = machine.explain(question)?;
    let rule = asked.rule(asked.bytes);
    if let Some((rules, rule)) = rule {
        let told = rule.told(&rules.file);
        answer.take(&rule.algorithm, &told).map_err(|why| Failure::new(BAD_ARGUMENTS, format!("{told}: {why}")))?;
    }
    let proof = machine.prove(question, &mut answer)?;
    let bottleneck = answer.chosen().bottleneck.map(|one| machine.binding(one)).unwrap_or_default();
    let flips = match asked.collective {
        Collective::Barrier => Vec::new(),
        _ => machine.flips(question, &|bytes| Some(asked.rule(bytes)?.1.algorithm.clone()))?,
    };
    let report = asked.report("unisono", answer.candidates.into_iter().map(Offered::from).collect())?;
    // Who follows a rule has other reasons than prices.
    let advice = if rule.is_none() { machine.advise(question, report.time_us) } else { None };
    let report = match &proof {
        Proof::Proved(checked) => report.proved(checked),
        Proof::TooLong { why, .. } => report.unproved(why),
    };
    let report = Report {
        bottleneck,
        advice,
        flips: flips.into_iter().map(|(from_bytes, chosen)| Flip { from_bytes, chosen }).collect(),
        ..report
    };
    Ok(Report { planning_ms: Some(started.elapsed().as_secs_f64() * 1e3), ..report })
}

/// What a job of processes on this host chooses, priced and explained as it does itself.
pub fn hosts(context: &Context, asked: &Asked<'_>) -> Result<Report, Failure> {
    let started = Instant::now();
    let layout = asked.placement.layout(asked.machine.topology);
    layout.map_err(|why| Failure::new(BAD_ARGUMENTS, format!("--placement: {why}")))?;
    let problem = Context::problem(asked.collective, asked.machine.ranks);
    let report = Report::of_job(context, problem, asked.bytes)?;
    let report = report.proved(&Selector::choose(context, problem, asked.bytes_exchanged(), None)?);
    let planning_ms = Some(started.elapsed().as_secs_f64() * 1e3);
    Ok(Report { bytes: asked.bytes, dtype: asked.dtype_name, planning_ms, ..report })
}

/// Why NCCL does not pick what would take less time than its pick: it picks by a model of its own.
fn misjudged(pair: &nccl::PairPrice, pick: &nccl::PairPrice) -> Option<String> {
    let cheaper = pair.time_us? < pick.time_us?;
    let told = match (pair.believed_us, pick.believed_us) {
        (Some(believed), Some(picks)) if believed >= picks => {
            format!("would take less, but NCCL's own model says {believed:.1} us of it and {picks:.1} us of its pick")
        }
        _ => "would take less, but NCCL does not pick it".to_owned(),
    };
    cheaper.then_some(told)
}

/// What NCCL takes, and what it would pick.
pub fn nccls(asked: &Asked<'_>, settings: &nccl::Settings) -> Result<Report, Failure> {
    let started = Instant::now();
    if *asked.placement != Placement::Blocked {
        let told = "--placement: engine nccl orders the ranks itself; leave it out, or ask engine unisono";
        return Err(Failure::new(BAD_ARGUMENTS, told));
    }
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
    let candidates = pairs.iter().map(|pair| Offered {
        name: name(pair),
        tiles: None,
        time_us: pair.time_us,
        latency_us: pair.latency_us,
        bandwidth_us: pair.bandwidth_us,
        rejected: pair.rejected.clone().or_else(|| misjudged(pair, &pairs[0])),
    });
    let report = asked.report("nccl", candidates.collect())?;
    Ok(Report { bottleneck, flips, planning_ms: Some(started.elapsed().as_secs_f64() * 1e3), ..report })
}
