//! What a rank writes about itself beside its results: why an algorithm was chosen, and what was done before an error.

use super::call::Call;
use super::record;
use super::settings::refuse;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::types::Rank;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Once;

/// Chosen by UNISONO_EXPLAIN and UNISONO_RECORD; each rank may have its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    /// Rank 0 prints a line to stderr for every new shape of call.
    pub explain: bool,
    /// Where the record of the last operations is written when the communicator fails.
    pub record: Option<PathBuf>,
}

impl Diagnostics {
    pub fn of_environment(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Diagnostics> {
        let explain = match lookup("UNISONO_EXPLAIN").as_deref() {
            None | Some("0") => false,
            Some("1") => true,
            Some(other) => return Err(refuse("UNISONO_EXPLAIN", other, "0 or 1")),
        };
        let record = lookup("UNISONO_RECORD").map(|text| match text.is_empty() {
            true => Err(refuse("UNISONO_RECORD", &text, "a directory")),
            false => Ok(PathBuf::from(text)),
        });
        Ok(Diagnostics { explain, record: record.transpose()? })
    }

    /// One line for a shape that is prepared for the first time.
    pub fn explain(&self, rank: Rank, call: &Call, ranks: usize, plan: &Plan) {
        if self.explain && rank == 0 {
            let tiles = plan.problem.tiles;
            let pipelined = if tiles > 1 { format!(" in {tiles} tiles") } else { String::new() };
            let line = format!("unisono: {call} on {ranks} ranks: {}{pipelined}\n", plan.algorithm);
            // Where stderr can't be written there is nobody to tell.
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }

    /// Writes the record of a communicator that failed, if that is wished. What can't be written is a warning: the error itself
    /// matters more.
    pub fn record(&self, control: &Control, rank: Rank, error: &Error) {
        let Some(directory) = &self.record else { return };
        if let Err(cause) = record::write(directory, control, rank, Some(error)) {
            tracing::warn!("{cause}");
        }
    }
}

/// Says once per process which variables begin with `UNISONO_` and mean nothing.
pub fn warn_of_unknown_variables() {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        for (name, nearest) in crate::bootstrap::unknown_variables(names) {
            match nearest {
                Some(nearest) => tracing::warn!("{name} means nothing; was {nearest} meant?"),
                None => tracing::warn!("{name} means nothing"),
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_yes_nor_no_is_refused() {
        let with = |value: &'static str| {
            Diagnostics::of_environment(&move |name| (name == "UNISONO_EXPLAIN").then(|| value.to_owned()))
        };
        assert!(with("1").unwrap().explain && !with("0").unwrap().explain);
        assert!(with("maybe").unwrap_err().to_string().contains("UNISONO_EXPLAIN=maybe is not 0 or 1"));
        let empty = Diagnostics::of_environment(&|name| (name == "UNISONO_RECORD").then(String::new));
        assert!(empty.is_err());
    }
}
