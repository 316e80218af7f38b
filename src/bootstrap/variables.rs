//! Environment variables: reading them with errors that name them, and the list of our own.

use crate::error::{Error, ErrorKind, Result};
use crate::types::edit_distance;

/// Every variable of this library with its meaning, in one line each.
pub const KNOWN_VARIABLES: &[(&str, &str)] = &[
    ("UNISONO_ALGORITHM", "algorithm that is taken wherever it fits, or auto; rank 0's word counts"),
    (
        "UNISONO_CALIBRATE",
        "set to 0, prices rest on a table instead of what rank 0 measures of its host, so that every run chooses alike; rank 0's word counts",
    ),
    (
        "UNISONO_EXPLAIN",
        "set to 1, rank 0 says on stderr which transports a communicator uses, and of every new shape of call what runs and why",
    ),
    ("UNISONO_HOST_ID", "name of this host, equal on the ranks that share it; replaces boot id and network namespace"),
    ("UNISONO_JOB_ID", "name of the job, equal on its ranks, where ranks of one host meet without an address"),
    ("UNISONO_LAUNCHED", "set to 1 by `unisono launch`"),
    ("UNISONO_LOCAL_RANK", "number of this rank among those of its host"),
    ("UNISONO_LOCAL_WORLD_SIZE", "number of ranks on this host"),
    (
        "UNISONO_MOVE_APART",
        "set to 0, a rank that shares a processor with another of its host stays there, though one is free, until the kernel parts them",
    ),
    ("UNISONO_PORT", "port of rank 0's host at which ranks meet; replaces MASTER_PORT"),
    ("UNISONO_RANK", "number of this rank, from 0; goes before every launcher's own"),
    ("UNISONO_RECORD", "directory to which every rank appends its last operations when a communicator fails"),
    ("UNISONO_REQUIRE", "transport that every pair of ranks must use, or the communicator is not made"),
    ("UNISONO_RULES", "CSV file of rules that go before prices: which algorithm for which calls; rank 0 reads it"),
    ("UNISONO_SECRET", "random text by which the ranks of a job know each other; needed across hosts"),
    (
        "UNISONO_SHM_BYTES",
        "bytes that the ranks of a host share for their messages, such as 64MiB; rank 0's word counts",
    ),
    ("UNISONO_STRICT", "set to 1, all ranks agree on every collective before its data moves; rank 0's word counts"),
    ("UNISONO_TIMEOUT", "seconds that meeting, connecting and every call may take; 300 unless set"),
    ("UNISONO_TRANSPORT", "transport between all pairs of ranks that have it: auto, shm or tcp; rank 0's word counts"),
    ("UNISONO_WORLD_SIZE", "number of ranks; goes with UNISONO_RANK"),
];

/// Names that begin with `UNISONO_` and mean nothing, each with the known name that was probably meant.
pub fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<(String, Option<&'static str>)> {
    names
        .filter(|name| name.starts_with("UNISONO_"))
        .filter(|name| KNOWN_VARIABLES.iter().all(|(known, _)| known != name))
        .map(|name| {
            let nearest = nearest(&name);
            (name, nearest)
        })
        .collect()
}

fn nearest(name: &str) -> Option<&'static str> {
    let given = name.strip_prefix("UNISONO_")?;
    KNOWN_VARIABLES
        .iter()
        .map(|(known, _)| (edit_distance(given, known.trim_start_matches("UNISONO_")), *known))
        .min()
        .filter(|(distance, known)| *distance <= 1 + (known.len() - "UNISONO_".len()) / 3)
        .map(|(_, known)| known)
}

/// Settings that can't all be right.
pub(super) fn contradiction(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Configuration, message)
}

/// Variables behind a closure, read with types and with errors that name them.
pub(super) struct Variables<'a>(pub &'a dyn Fn(&str) -> Option<String>);

impl Variables<'_> {
    pub fn has(&self, name: &str) -> bool {
        (self.0)(name).is_some()
    }

    /// A variable that is set must say something.
    pub fn text(&self, name: &str) -> Result<Option<String>> {
        match (self.0)(name) {
            Some(value) if value.trim().is_empty() => {
                Err(contradiction(format!("{name} is set but empty"))
                    .remedy(format!("give {name} a value, or unset it")))
            }
            value => Ok(value),
        }
    }

    pub fn number(&self, name: &str) -> Result<Option<usize>> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match text.trim().parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(contradiction(format!("{name}={text} is not a whole number of 0 or more"))
                .remedy(format!("set {name} to such a number, or unset it"))),
        }
    }

    /// A number that `because` (a variable that goes with it) makes necessary.
    pub fn required(&self, name: &str, because: &str) -> Result<usize> {
        self.number(name)?.ok_or_else(|| {
            let message = match (self.0)(because) {
                Some(value) => format!("{because}={value} is set, but {name} is not"),
                None => format!("neither {name} nor {because} is set, though the launcher is one that sets both"),
            };
            contradiction(message).remedy(format!("set both {name} and {because} on every rank, or neither"))
        })
    }

    pub fn port(&self, name: &str) -> Result<Option<u16>> {
        let Some(number) = self.number(name)? else { return Ok(None) };
        match u16::try_from(number) {
            Ok(port) if port > 0 => Ok(Some(port)),
            _ => Err(contradiction(format!("{name}={number} is not a port"))
                .remedy(format!("set {name} to a number from 1 to 65535"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_variables_are_found_with_what_was_meant() {
        let names = ["UNISONO_SECRT", "UNISONO_RANK", "PATH", "UNISONO_XYZZYX", "UNISONO_WORLDSIZE"];
        assert_eq!(
            unknown_variables(names.iter().map(|name| name.to_string())),
            [
                ("UNISONO_SECRT".to_owned(), Some("UNISONO_SECRET")),
                ("UNISONO_XYZZYX".to_owned(), None),
                ("UNISONO_WORLDSIZE".to_owned(), Some("UNISONO_WORLD_SIZE")),
            ]
        );
    }
}
