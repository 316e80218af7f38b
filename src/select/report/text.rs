//! The report for people.

use super::{Offered, Report};
use crate::size;
use crate::topology::quantity::Constant;
use crate::types::Collective;
use crate::words::{counted, figure};
use std::fmt;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.choice(f)?;
        self.sizes_and_orders(f)?;
        writeln!(f, "{:<26} {:>14} {:>14} {:>14}", "# candidate", "time us", "latency us", "bandwidth us")?;
        let (fitting, unfit): (Vec<_>, Vec<_>) = self.candidates.iter().partition(|one| one.time_us.is_some());
        fitting.into_iter().try_for_each(|one| candidate(f, one))?;
        misfits(f, &unfit)?;
        writeln!(f, "# constants")?;
        self.constants.iter().try_for_each(|one| constant(f, one))
    }
}

impl Report {
    fn choice(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { machine, ranks, collective, bytes, engine, .. } = self;
        let domains = if self.domains == 1 { "one domain".to_owned() } else { counted(self.domains, "domain") };
        let ranks = counted(ranks, "rank");
        let placed = self.placement.as_deref().filter(|one| *one != "blocked");
        let placed = placed.map(|one| format!(", placed {one}")).unwrap_or_default();
        let size = match *collective == Collective::Barrier.name() {
            true => String::new(),
            false => format!(" of {}", size::format(*bytes)),
        };
        writeln!(f, "# {collective}{size} on {machine}: {ranks} in {domains}{placed}, engine {engine}")?;
        let chosen = &self.candidates[0];
        let (latency, bandwidth) = (chosen.latency_us.unwrap_or(0.0), chosen.bandwidth_us.unwrap_or(0.0));
        let (time, latency, bandwidth) = (figure(self.time_us), figure(latency), figure(bandwidth));
        let rate = *bytes as f64 / self.time_us / 1e3;
        let rate = if rate.is_finite() && rate > 0.0 { format!(", {rate:.1} GB/s") } else { String::new() };
        let name = &self.chosen;
        writeln!(f, "takes         {name}: {time} us ({latency} latency + {bandwidth} bandwidth){rate}")?;
        writeln!(f, "bound by      {}", self.bottleneck)?;
        if let (Some(bound), Some(is_tight), Some(cut)) = (self.lower_bound_us, self.bound_is_tight, &self.bound_cut) {
            let times = if bound > 0.0 { self.time_us / bound } else { f64::INFINITY };
            let gap =
                if times.is_finite() { format!("; the choice takes {times:.2} times that") } else { String::new() };
            let tight = if is_tight { "can be reached" } else { "may be out of reach" };
            let bound = figure(bound);
            writeln!(f, "lower bound   {bound} us, which {tight}: {cut}{gap}")?;
        }
        if let (Some(name), Some(margin)) = (&self.runner_up, self.margin) {
            match margin * 1e2 {
                percent if percent < 0.05 => writeln!(f, "runner-up     {name}, which takes as long")?,
                percent => writeln!(f, "runner-up     {name}, {percent:.1} % slower")?,
            }
        }
        match &self.proof {
            Some(proof) => writeln!(f, "proof         {proof}"),
            None => Ok(()),
        }
    }

    fn sizes_and_orders(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(advice) = &self.advice {
            let (gain, placement, chosen) = (advice.gain * 1e2, &advice.placement, &advice.chosen);
            let time = figure(advice.time_us);
            writeln!(f, "other order   {gain:.1} % faster {placement}: {chosen} takes {time} us;")?;
            writeln!(f, "              the ranks in that order: {}", advice.order)?;
        }
        if !self.flips.is_empty() {
            let flips = self.flips.iter().enumerate().map(|(index, flip)| match index {
                0 => flip.chosen.clone(),
                _ => format!("{} from {}", flip.chosen, rounded(flip.from_bytes)),
            });
            writeln!(f, "by size       {}", flips.collect::<Vec<_>>().join(", "))?;
        }
        match self.planning_ms {
            Some(ms) => writeln!(f, "planned in    {ms:.1} ms"),
            None => Ok(()),
        }
    }
}

fn candidate(f: &mut fmt::Formatter<'_>, one: &Offered) -> fmt::Result {
    let tiles = one.tiles.filter(|tiles| *tiles > 1).map(|tiles| format!(" x{tiles}")).unwrap_or_default();
    let name = format!("{}{tiles}", one.name);
    let why = one.rejected.as_deref().map(|why| format!("  {why}")).unwrap_or_default();
    let column = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), figure);
    let [time, latency, bandwidth] = [one.time_us, one.latency_us, one.bandwidth_us].map(column);
    writeln!(f, "{name:<26} {time:>14} {latency:>14} {bandwidth:>14}{why}")
}

/// What can't be taken, by the reason.
fn misfits(f: &mut fmt::Formatter<'_>, unfit: &[&Offered]) -> fmt::Result {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for one in unfit {
        let why = one.rejected.as_deref().unwrap_or_default();
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, names)) => names.push(&one.name),
            None => reasons.push((why, vec![&one.name])),
        }
    }
    reasons.iter().try_for_each(|(why, names)| match names[..] {
        [name] => writeln!(f, "{name:<26} {:>14} {:>14} {:>14}  {why}", "-", "-", "-"),
        _ => writeln!(f, "{}: {why}", names.join(", ")),
    })
}

fn constant(f: &mut fmt::Formatter<'_>, one: &Constant) -> fmt::Result {
    let Constant { name, unit, quantity } = one;
    let value = figure(quantity.value);
    writeln!(f, "{name:<42} {value:>10} {unit:<5} {}: {}", quantity.origin, quantity.source)
}

/// A size to three digits.
fn rounded(bytes: u64) -> String {
    let units = [("GiB", 30u32), ("MiB", 20), ("KiB", 10)];
    let fitting = units.into_iter().find(|(_, shift)| bytes >= 1 << shift);
    fitting.map_or_else(
        || bytes.to_string(),
        |(unit, shift)| format!("{:.3}{unit}", bytes as f64 / f64::from(1u32 << shift)),
    )
}
