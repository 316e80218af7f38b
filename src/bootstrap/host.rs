//! Which host a rank runs on, and which parent started it.

use crate::error::{Error, ErrorKind, Result};
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::parent_id;

/// Tells hosts apart: two ranks with equal identities can share memory and abstract sockets.
///
/// It is the kernel's boot id with the inode of the network namespace, since containers of one machine share the first and
/// not the second, and host names lie. `UNISONO_HOST_ID` replaces it, for machines where neither can be read and for tests
/// that play several hosts on one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HostId(String);

impl HostId {
    /// Longest identity, in bytes.
    pub const MAX_BYTES: usize = 255;

    /// Reads the identity of this host from `/proc`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] where `/proc` does not tell.
    pub fn of_this_host() -> Result<HostId> {
        let unreadable = |path: &str, error| {
            Error::new(ErrorKind::Configuration, format!("this host can't be told from others: {path}: {error}"))
                .remedy("set UNISONO_HOST_ID to a name that is equal on the ranks of one host and on no other")
        };
        let boot_path = "/proc/sys/kernel/random/boot_id";
        let boot = fs::read_to_string(boot_path).map_err(|error| unreadable(boot_path, error))?;
        let network_path = "/proc/self/ns/net";
        let network = fs::metadata(network_path).map_err(|error| unreadable(network_path, error))?.ino();
        Ok(HostId(format!("{}/{network}", boot.trim())))
    }

    /// An identity given by hand.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if the name is longer than [`HostId::MAX_BYTES`].
    pub fn named(name: &str) -> Result<HostId> {
        if name.len() > HostId::MAX_BYTES {
            return Err(Error::new(
                ErrorKind::Configuration,
                format!("UNISONO_HOST_ID has {} bytes, at most {} fit", name.len(), HostId::MAX_BYTES),
            )
            .remedy("give a shorter name"));
        }
        Ok(HostId(name.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Names the process that started this one: its pid and its start time in clock ticks since boot, so that a reused pid is
/// another parent. The local ranks of a launcher without a job id of its own have this in common.
pub(super) fn parent_key() -> Result<String> {
    let parent = parent_id();
    let start = fs::read_to_string(format!("/proc/{parent}/stat")).ok().and_then(|stat| start_ticks(&stat));
    match start {
        Some(ticks) => Ok(format!("parent {parent} of {ticks}")),
        None => Err(Error::new(
            ErrorKind::Configuration,
            format!("nothing names this job: its parent process {parent} can't be seen in /proc"),
        )
        .remedy("set UNISONO_JOB_ID to one value for all ranks of the job")),
    }
}

/// The 22nd field of `/proc/PID/stat`. The second is the command in parentheses and may itself hold spaces and parentheses,
/// so counting starts after the last one.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, after_command) = stat.rsplit_once(')')?;
    after_command.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_itself_and_not_another() {
        let here = HostId::of_this_host().unwrap();
        assert_eq!(here, HostId::of_this_host().unwrap());
        assert_ne!(here, HostId::named("elsewhere").unwrap());
        assert_eq!(HostId::named(&"x".repeat(256)).unwrap_err().kind(), ErrorKind::Configuration);
    }

    #[test]
    fn start_time_is_found_behind_any_command_name() {
        let rest: String = (3..=52).map(|field| format!(" {field}")).collect();
        assert_eq!(start_ticks(&format!("17 (a) b) (c){rest}")), Some(22));
        assert_eq!(start_ticks("17 (short) S 1"), None);
        assert_eq!(parent_key().unwrap(), parent_key().unwrap());
    }
}
