//! What a rank writes about itself beside its results: why an algorithm was chosen, and what was done before an error.

use super::Communicator;
use super::call::Call;
use super::record;
use super::settings::{flag, refuse};
use crate::control::Control;
use crate::error::{Error, Result};
use crate::plan::check::Checked;
use crate::select::report::Report;
use crate::types::Rank;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Once;

/// Chosen by UNISONO_EXPLAIN and UNISONO_RECORD; each rank may have its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    /// Rank 0 says on stderr which transports were chosen, and of every new shape of call what runs and why.
    pub explain: bool,
    /// Where the record of the last operations is written when the communicator fails.
    pub record: Option<PathBuf>,
}

impl Diagnostics {
    pub fn of_environment(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Diagnostics> {
        let explain = flag("UNISONO_EXPLAIN", lookup)?.unwrap_or(false);
        let record = lookup("UNISONO_RECORD").map(|text| match text.is_empty() {
            true => Err(refuse("UNISONO_RECORD", &text, "a directory")),
            false => Ok(PathBuf::from(text)),
        });
        Ok(Diagnostics { explain, record: record.transpose()? })
    }

    /// One line for a shape that is prepared for the first time, and under it what `unisono plan` would say.
    pub fn explain(&self, rank: Rank, call: &Call, checked: &Checked, report: impl FnOnce() -> Result<Report>) {
        if self.explain && rank == 0 {
            let plan = checked.plan();
            let (ranks, tiles) = (plan.problem.ranks, plan.problem.tiles);
            let pipelined = if tiles > 1 { format!(" in {tiles} tiles") } else { String::new() };
            let insisted = if call.algorithm.is_some() { ", which the call insists on" } else { "" };
            let line = format!("{call} on {ranks} ranks: {}{pipelined}{insisted}", plan.algorithm);
            let report = match call.algorithm {
                Some(_) => String::new(),
                None => report().map_or_else(|error| format!("\n{error}"), |one| format!("\n{}", one.proved(checked))),
            };
            say(format!("{line}{report}").trim_end());
        }
    }

    /// Which transports were chosen, in one line when a communicator is made.
    pub fn tell(&self, rank: Rank, communicator: &Communicator) {
        if rank == 0 {
            tracing::info!("{communicator}");
            if self.explain {
                say(&communicator.to_string());
            }
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

fn say(text: &str) {
    // Where stderr can't be written there is nobody to tell.
    let _ = io::stderr().write_all(format!("unisono: {text}\n").as_bytes());
}

/// Says once per process which variables begin with `UNISONO_` and mean nothing: as a warning of `tracing`, or, where nobody
/// listens to that, on stderr. There rank 0 speaks for the job, unless `unisono launch` has said it before.
pub fn warn_of_unknown_variables(rank: Option<Rank>) {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        let names: Vec<String> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
        let on_stderr = tells_stderr(rank, &names, tracing::dispatcher::has_been_set());
        for warning in warnings(names) {
            tracing::warn!("{warning}");
            if on_stderr {
                say(&format!("warning: {warning}"));
            }
        }
    });
}

/// `rank` is None where it can't be told, perhaps for the very variable that is misspelt.
fn tells_stderr(rank: Option<Rank>, names: &[String], has_subscriber: bool) -> bool {
    let was_said = names.iter().any(|name| name == "UNISONO_LAUNCHED");
    !has_subscriber && !was_said && rank.is_none_or(|rank| rank == 0)
}

fn warnings(names: Vec<String>) -> Vec<String> {
    let unknown = crate::bootstrap::unknown_variables(names.into_iter());
    let warning = |(name, nearest): (String, Option<&str>)| match nearest {
        Some(nearest) => format!("{name} means nothing; was {nearest} meant?"),
        None => format!("{name} means nothing"),
    };
    unknown.into_iter().map(warning).collect()
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

    #[test]
    fn the_first_rank_tells_of_misspelt_variables_where_nobody_else_does() {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let told = warnings(names(&["UNISONO_ALGORITM", "UNISONO_RANK", "UNISONO_XYZZYX", "PATH"]));
        assert_eq!(
            told,
            ["UNISONO_ALGORITM means nothing; was UNISONO_ALGORITHM meant?", "UNISONO_XYZZYX means nothing"]
        );
        let own = names(&["UNISONO_RANK"]);
        assert!(tells_stderr(Some(0), &own, false) && tells_stderr(None, &own, false));
        assert!(!tells_stderr(Some(1), &own, false), "another rank speaks");
        assert!(!tells_stderr(Some(0), &own, true), "the program listens to tracing");
        assert!(!tells_stderr(Some(0), &names(&["UNISONO_LAUNCHED"]), false), "the launcher has said it");
    }
}
