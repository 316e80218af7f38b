//! The record of a communicator's last operations as a file, for whoever looks into a failure.
//!
//! A file `rank-R.jsonl`, R of the world, has a line of header for each record that was written to it, then a line per operation,
//! oldest first: a [`RecordedOperation`](crate::RecordedOperation). Its times count back from the header's wall clock.

use crate::control::Control;
use crate::control::recorder::SCHEMA;
use crate::error::{Error, ErrorKind, Result};
use crate::types::Rank;
use serde::Serialize;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Appends the record to the rank's file in `directory`, which is made if need be. `error` is what it is written for, if any.
pub fn write(directory: &Path, control: &Control, rank: Rank, error: Option<&Error>) -> Result<()> {
    try_to_write(directory, control, rank, error).map_err(|cause| {
        Error::new(
            ErrorKind::Resource,
            format!("the record of the last operations can't be written to {}: {cause}", directory.display()),
        )
        .on_rank(rank)
        .remedy("name a directory that this process may make and write to")
    })
}

fn try_to_write(directory: &Path, control: &Control, rank: Rank, error: Option<&Error>) -> io::Result<()> {
    let operations = control.recorder.operations();
    let mut text = serde_json::to_string(&Header::of(control, rank, error, operations.len()))?;
    for operation in operations {
        text.push('\n');
        text.push_str(&serde_json::to_string(&operation)?);
    }
    text.push('\n');
    fs::create_dir_all(directory)?;
    // One write, so that records of several communicators of a rank don't mix.
    let path = directory.join(format!("rank-{}.jsonl", control.member(rank)));
    OpenOptions::new().create(true).append(true).open(path)?.write_all(text.as_bytes())
}

/// The first line of a record.
#[derive(Serialize)]
struct Header {
    schema: u32,
    rank: Rank,
    size: usize,
    communicator: String,
    world_rank: Rank,
    host: String,
    pid: u32,
    transport: Option<&'static str>,
    wall_clock_unix_ns: u64,
    /// Lines that follow.
    operations: usize,
    /// Of collectives: the oldest that is remembered, the last that was entered, the last that ended well.
    oldest_sequence: Option<u64>,
    entered_sequence: u64,
    finished_sequence: u64,
    kind: Option<&'static str>,
    error: Option<String>,
}

impl Header {
    fn of(control: &Control, rank: Rank, error: Option<&Error>, operations: usize) -> Header {
        let line = control.recorder.line(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Header {
            schema: SCHEMA,
            rank,
            size: control.size(),
            communicator: format!("{:016x}", control.communicator()),
            world_rank: control.member(rank),
            host: host.trim().to_owned(),
            pid: std::process::id(),
            transport: control.recorder.transport(),
            wall_clock_unix_ns: now.as_nanos() as u64,
            operations,
            oldest_sequence: control.recorder.oldest(),
            entered_sequence: line.entered,
            finished_sequence: line.finished,
            kind: error.map(|error| error.kind().name()),
            error: error.map(Error::to_string),
        }
    }
}
