//! A simulation as a trace that Perfetto and chrome://tracing show: a process for every rank, a row for every lane and channel.

use crate::types::Rank;
use serde::Serialize;
use std::io::{self, Write};

/// A stretch of time on one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    pub rank: Rank,
    /// "lane 0", "to rank 3".
    pub row: String,
    pub name: String,
    pub start_ns: f64,
    pub end_ns: f64,
    pub bytes: u64,
}

/// An event of the Trace Event Format (JSON), complete kind.
#[derive(Serialize)]
struct Event<'a> {
    name: &'a str,
    ph: &'static str,
    pid: usize,
    tid: usize,
    /// Microseconds.
    ts: f64,
    dur: f64,
    args: Bytes,
}

#[derive(Serialize)]
struct Bytes {
    bytes: u64,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'static str,
    ph: &'static str,
    pid: usize,
    tid: usize,
    args: Name<'a>,
}

#[derive(Serialize)]
struct Name<'a> {
    name: &'a str,
}

/// Writes slices as one JSON document.
pub fn write(slices: &[Slice], out: &mut dyn Write) -> io::Result<()> {
    let mut rows: Vec<(Rank, &str)> = slices.iter().map(|slice| (slice.rank, &*slice.row)).collect();
    rows.sort_unstable();
    rows.dedup();
    out.write_all(b"{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n")?;
    let mut separator = "";
    let mut line = |out: &mut dyn Write, text: String| -> io::Result<()> {
        write!(out, "{separator}{text}")?;
        separator = ",\n";
        Ok(())
    };
    let mut previous = None;
    for (tid, (rank, row)) in rows.iter().enumerate() {
        if previous.replace(rank) != Some(rank) {
            let name = format!("rank {rank}");
            let process = Named { name: "process_name", ph: "M", pid: *rank, tid, args: Name { name: &name } };
            line(out, serde_json::to_string(&process)?)?;
        }
        let thread = Named { name: "thread_name", ph: "M", pid: *rank, tid, args: Name { name: row } };
        line(out, serde_json::to_string(&thread)?)?;
    }
    for slice in slices {
        let tid = rows.binary_search(&(slice.rank, &*slice.row)).expect("every slice's row is listed");
        let (ts, dur) = (slice.start_ns / 1e3, (slice.end_ns - slice.start_ns) / 1e3);
        let args = Bytes { bytes: slice.bytes };
        let event = Event { name: &slice.name, ph: "X", pid: slice.rank, tid, ts, dur, args };
        line(out, serde_json::to_string(&event)?)?;
    }
    out.write_all(b"\n]}\n")
}
