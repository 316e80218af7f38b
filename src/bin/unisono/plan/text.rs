//! The answer for people.

use super::row::Row;
use crate::failure::Failure;
use crate::output::Output;
use crate::size;
use unisono::topology::Topology;

/// Everything that `plan` has to say of one size.
pub fn print(out: &mut Output, row: &Row, topology: &Topology) -> Result<(), Failure> {
    let Row { machine, ranks, collective, bytes, engine, .. } = row;
    let domains = topology.layout().domains(*ranks);
    let domains = if domains == 1 { "one domain".to_owned() } else { format!("{domains} domains") };
    let bytes_text = size::format(*bytes);
    out.line(&format!("# {collective} of {bytes_text} on {machine}: {ranks} ranks in {domains}, engine {engine}"))?;
    let chosen = &row.candidates[0];
    let (latency, bandwidth) = (chosen.latency_us.unwrap_or(0.0), chosen.bandwidth_us.unwrap_or(0.0));
    out.line(&format!(
        "takes         {}: {} us ({} latency + {} bandwidth), {:.1} GB/s",
        row.chosen,
        us(row.time_us),
        us(latency),
        us(bandwidth),
        *bytes as f64 / row.time_us / 1e3
    ))?;
    out.line(&format!("bound by      {}", row.bottleneck))?;
    let gap = if row.lower_bound_us > 0.0 { row.time_us / row.lower_bound_us } else { f64::INFINITY };
    let tight = if row.bound_is_tight { "can be reached" } else { "may be out of reach" };
    out.line(&format!(
        "lower bound   {} us, which {tight}: {}; the choice takes {gap:.2} times that",
        us(row.lower_bound_us),
        row.bound_cut
    ))?;
    if let (Some(name), Some(margin)) = (&row.runner_up, row.margin) {
        out.line(&format!("runner-up     {name}, {:.1} % slower", margin * 1e2))?;
    }
    if let Some(proof) = &row.proof {
        out.line(&format!("proof         {proof}"))?;
    }
    let flips: Vec<String> = row
        .flips
        .iter()
        .enumerate()
        .map(|(index, flip)| match index {
            0 => flip.chosen.clone(),
            _ => format!("{} from {}", flip.chosen, rounded(flip.from_bytes)),
        })
        .collect();
    out.line(&format!("by size       {}", flips.join(", ")))?;
    out.line(&format!("planned in    {:.1} ms", row.planning_ms))?;
    out.line(&format!("{:<26} {:>14} {:>14} {:>14}", "# candidate", "time us", "latency us", "bandwidth us"))?;
    for one in &row.candidates {
        let tiles = one.tiles.filter(|tiles| *tiles > 1).map(|tiles| format!(" x{tiles}")).unwrap_or_default();
        let name = format!("{}{tiles}", one.name);
        let why = one.rejected.as_deref().map(|why| format!("  {why}")).unwrap_or_default();
        match (one.time_us, one.latency_us, one.bandwidth_us) {
            (Some(time), Some(latency), Some(bandwidth)) => {
                out.line(&format!("{name:<26} {:>14} {:>14} {:>14}{why}", us(time), us(latency), us(bandwidth)))?
            }
            _ => out.line(&format!("{name:<26} {:>14} {:>14} {:>14}{why}", "-", "-", "-"))?,
        }
    }
    out.line("# constants")?;
    for constant in &topology.constants {
        let quantity = &constant.quantity;
        out.line(&format!(
            "{:<42} {:>10} {:<5} {}: {}",
            constant.name,
            figure(quantity.value),
            constant.unit,
            quantity.origin,
            quantity.source
        ))?;
    }
    out.line("")
}

/// Microseconds with four digits that say something.
fn us(value: f64) -> String {
    figure(value)
}

fn figure(value: f64) -> String {
    match value.abs() {
        magnitude if magnitude >= 1000.0 || magnitude == 0.0 => format!("{value:.0}"),
        magnitude if magnitude >= 100.0 => format!("{value:.1}"),
        magnitude if magnitude >= 10.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
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
