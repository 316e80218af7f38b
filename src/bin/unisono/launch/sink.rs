//! Our own stdout and stderr, written without ever blocking the supervision: a reader that pauses must not keep a failed
//! job alive.

use super::fold::Fold;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;

/// A pipe that is ready takes as much without blocking (PIPE_BUF). The descriptors are shared with other processes, so
/// that making them non-blocking would be bad manners.
const WRITE_BYTES: usize = 4096;

/// With so much waiting no more is read from the ranks, whose writes then block as on any full pipe.
const FULL_BYTES: usize = 256 << 10;

/// Bytes that wait for one of our streams.
pub struct Sink {
    file: File,
    queue: VecDeque<u8>,
}

impl Sink {
    pub fn new(file: File) -> Sink {
        Sink { file, queue: VecDeque::new() }
    }

    pub fn line(&mut self, prefix: &[u8], line: &[u8]) {
        for part in [prefix, line, b"\n"] {
            self.queue.extend(part);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.queue.len() >= FULL_BYTES
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Writes a piece of what waits. Does not block if the stream is ready.
    pub fn write(&mut self) -> io::Result<()> {
        let (front, _) = self.queue.as_slices();
        let piece = &front[..front.len().min(WRITE_BYTES)];
        match self.file.write(piece) {
            Ok(written) => drop(self.queue.drain(..written)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Throws away what waits: there is nobody to read it.
    pub fn discard(&mut self) {
        self.queue.clear();
    }
}

/// Which of a process's two outputs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Stdout,
    Stderr,
}

/// Both of our streams; one queue if they are the same file, so that a line on one can't tear a line on the other.
pub struct Sinks {
    stdout: Sink,
    stderr: Option<Sink>,
    /// Lines have the rank that wrote them in front.
    prefixed: bool,
    fold: Option<Fold>,
}

impl Sinks {
    pub fn open(prefixed: bool) -> io::Result<Sinks> {
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let identity = |file: &File| file.metadata().map(|meta| (meta.dev(), meta.ino()));
        let same = identity(&stdout)? == identity(&stderr)?;
        Ok(Sinks { stdout: Sink::new(stdout), stderr: (!same).then(|| Sink::new(stderr)), prefixed, fold: None })
    }

    pub fn of(&mut self, output: Output) -> &mut Sink {
        match (output, &mut self.stderr) {
            (Output::Stderr, Some(stderr)) => stderr,
            _ => &mut self.stdout,
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &Sink> {
        std::iter::once(&self.stdout).chain(&self.stderr)
    }

    pub fn all_mut(&mut self) -> impl Iterator<Item = &mut Sink> {
        std::iter::once(&mut self.stdout).chain(&mut self.stderr)
    }

    pub fn is_full(&self, output: Output) -> bool {
        match (output, &self.stderr) {
            (Output::Stderr, Some(stderr)) => stderr.is_full(),
            _ => self.stdout.is_full(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.all().all(Sink::is_empty)
    }

    /// A line of a rank.
    pub fn line(&mut self, output: Output, rank: usize, line: &[u8]) {
        if self.fold.as_mut().is_none_or(|fold| fold.passes(rank, line)) {
            let prefix = if self.prefixed { format!("[{rank}] ") } else { String::new() };
            self.of(output).line(prefix.as_bytes(), line);
        }
    }

    /// From now on only so many ranks may say the same, if that is not so already.
    pub fn fold(&mut self, shown: usize) {
        self.fold.get_or_insert_with(|| Fold::new(shown));
    }

    /// Tells what was not passed on; false if that is nothing.
    pub fn unfold(&mut self) -> bool {
        let summary = self.fold.take().map_or_else(Vec::new, Fold::summary);
        summary.iter().for_each(|sentence| self.message(sentence));
        !summary.is_empty()
    }

    /// One of our own messages.
    pub fn message(&mut self, text: &str) {
        self.of(Output::Stderr).line(b"unisono: ", text.as_bytes());
    }
}
