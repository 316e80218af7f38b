//! Proves the plan in a file: MSCCL XML, or our own text form.

use crate::failure::{Failure, tell};
use crate::output::Output;
use crate::plan_file::{PlanFile, Unproved};
use serde::Serialize;
use std::path::Path;
use std::time::Instant;
use unisono::plan::Plan;
use unisono::plan::check::{Checked, Facts};
use unisono::plan::msccl::Placement;
use unisono::words::counted;

/// The line of `--json`. A chunk count is of the rank that has most.
#[derive(Serialize)]
struct Row<'a> {
    file: &'a str,
    format: &'static str,
    algorithm: &'a str,
    collective: &'static str,
    ranks: usize,
    root: usize,
    /// Into how many chunks the bytes of the collective are cut.
    chunks: u64,
    placement: &'static str,
    protocol: Option<&'static str>,
    /// Messages that a connection holds, for which it was proved as well.
    connection_depth: Option<u32>,
    #[serde(flatten)]
    costs: Option<Costs>,
    elapsed_ms: f64,
    flaw: Option<String>,
    /// Why it is not proved, where it is too large.
    why_unproved: Option<String>,
}

#[derive(Serialize)]
struct Costs {
    hops: u32,
    chunks_sent: u64,
    chunks_received: u64,
    messages_sent: u64,
    /// Sent by the busiest rank for each byte of the collective.
    bytes_sent_per_byte: f64,
    bytes_received_per_byte: f64,
    chunks_reduced: u64,
    chunks_copied: u64,
    scratch_chunks: u32,
    lanes: u32,
    moves: u64,
    bit_equal: bool,
}

/// Reads and proves the plan, and says what it is; the plan is returned unless it has a flaw, which is told.
pub fn prove(path: &Path, json: bool, out: &mut Output) -> Result<Option<Checked>, Failure> {
    let started = Instant::now();
    let file = PlanFile::read(path)?;
    let proved = file.prove();
    let row = row(&file, &proved, started);
    if json {
        out.json(&row)?;
    } else if let Some(costs) = &row.costs {
        print(out, &row, costs)?;
    }
    if let Some(flaw) = &row.flaw {
        tell(&format!("{}: {flaw}", file.name));
    }
    if let Some(why) = &row.why_unproved {
        tell(&format!("{}: not proved: {why}", file.name));
    }
    Ok(proved.ok())
}

fn row<'a>(file: &'a PlanFile, proved: &Result<Checked, Unproved>, started: Instant) -> Row<'a> {
    let Plan { algorithm, problem, demands, .. } = &file.plan;
    let grid = file.plan.grid();
    let chunks = u64::from(grid.blocks) * u64::from(grid.tiles);
    let protocol = file.document().map(|document| document.protocol());
    let placement = match file.document().map(|document| document.placement()) {
        Some(Placement::InPlace) => "in place",
        Some(Placement::Apart) => "apart",
        None if demands.apart => "apart",
        Some(Placement::Both) | None => "both",
    };
    Row {
        file: &file.name,
        format: if file.document().is_some() { "msccl" } else { "plan" },
        algorithm,
        collective: problem.collective.name(),
        ranks: problem.ranks,
        root: problem.root,
        chunks,
        placement,
        protocol: protocol.map(|protocol| protocol.name()),
        connection_depth: protocol.map(|protocol| protocol.connection_depth()),
        costs: proved.as_ref().ok().map(|checked| Costs::new(checked.facts(), chunks)),
        elapsed_ms: started.elapsed().as_secs_f64() * 1e3,
        flaw: proved.as_ref().err().filter(|one| one.has_flaw).map(|one| one.why.clone()),
        why_unproved: proved.as_ref().err().filter(|one| !one.has_flaw).map(|one| one.why.clone()),
    }
}

impl Costs {
    fn new(facts: &Facts, chunks: u64) -> Costs {
        let per_byte = |moved: u64| moved as f64 / chunks as f64;
        Costs {
            hops: facts.hops,
            chunks_sent: facts.chunks_sent,
            chunks_received: facts.chunks_received,
            messages_sent: facts.messages_sent,
            bytes_sent_per_byte: per_byte(facts.chunks_sent),
            bytes_received_per_byte: per_byte(facts.chunks_received),
            chunks_reduced: facts.chunks_reduced,
            chunks_copied: facts.chunks_copied,
            scratch_chunks: facts.scratch_chunks,
            lanes: facts.lanes,
            moves: facts.moves,
            bit_equal: facts.bit_equal,
        }
    }
}

fn print(out: &mut Output, row: &Row, costs: &Costs) -> Result<(), Failure> {
    let Row { algorithm, collective, ranks, chunks, elapsed_ms, .. } = row;
    let protocol = row.protocol.map(|protocol| format!(", {protocol}")).unwrap_or_default();
    let placement = if row.placement == "both" { "in place and apart" } else { row.placement };
    let (ranks, chunks) = (counted(ranks, "rank"), counted(chunks, "chunk"));
    out.line(&format!("{algorithm}: {collective} of {ranks}, {chunks}, {placement}{protocol}"))?;
    let mut fact = |name: &str, value: String| out.line(&format!("  {name:<14} {value}"));
    fact("proved", format!("in {elapsed_ms:.1} ms{}", depth(row)))?;
    fact("hops", costs.hops.to_string())?;
    let moved = |moved: u64, per_byte: f64| {
        format!("{} by the busiest rank, {per_byte:.3} of the collective's bytes", counted(moved, "chunk"))
    };
    fact(
        "sent",
        format!(
            "{}, in {}",
            moved(costs.chunks_sent, costs.bytes_sent_per_byte),
            counted(costs.messages_sent, "message")
        ),
    )?;
    fact("received", moved(costs.chunks_received, costs.bytes_received_per_byte))?;
    fact("in memory", format!("{} reduced, {} copied", counted(costs.chunks_reduced, "chunk"), costs.chunks_copied))?;
    fact("lanes", format!("{}, and {} of scratch", costs.lanes, counted(costs.scratch_chunks, "chunk")))?;
    fact("bit-equal", if costs.bit_equal { "yes" } else { "no" }.to_owned())
}

fn depth(row: &Row) -> String {
    let depth =
        row.connection_depth.map(|depth| format!(", also with connections that hold {}", counted(depth, "message")));
    depth.unwrap_or_default()
}
