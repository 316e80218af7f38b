//! What a command prints on stdout, line by line.

use crate::failure::Failure;
use serde::Serialize;
use std::io::{self, Write};

/// Our stdout. A reader that goes away, as `head -1` does, is a [`Failure::reader_gone`] and no panic.
pub struct Output(io::Stdout);

impl Output {
    pub fn stdout() -> Output {
        Output(io::stdout())
    }

    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        Ok(writeln!(self.0, "{text}")?)
    }

    /// Text that has its own ends of lines.
    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.0.write_all(text.as_bytes())?)
    }

    /// One object on one line.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.0, value).map_err(io::Error::from)?;
        self.line("")
    }
}
