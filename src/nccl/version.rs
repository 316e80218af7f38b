//! NCCL's versions, as far as prices depend on them.

use super::Invalid;
use std::fmt;
use std::str::FromStr;

/// A release of NCCL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    pub major: u16,
    pub minor: u16,
    pub patch: u16,
}

impl Version {
    pub const fn new(major: u16, minor: u16, patch: u16) -> Version {
        Version { major, minor, patch }
    }

    /// The newest whose tuning is known here.
    pub const NEWEST: Version = Version::new(2, 30, 7);
    /// The oldest whose tuning is known here.
    pub const OLDEST: Version = Version::new(2, 18, 1);
    /// The first with a tuning for Blackwell.
    pub const BLACKWELL: Version = Version::new(2, 26, 2);

    /// Minor releases beyond the newest known one that are taken as that; later ones may be anything.
    const TAKEN_AS_NEWEST: u16 = 10;

    /// The release that prices are of: itself, or the newest known one if it is newer.
    pub fn modelled(self) -> Version {
        self.min(Version::NEWEST)
    }

    pub(super) fn at_least(self, minor: u16) -> bool {
        self >= Version::new(2, minor, 0)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// `2.29`, `2.29.2`, `v2.29.2-1`: a missing patch level is 0, and what follows a `-` or `+` is skipped. Releases that are a little
/// newer than the newest known one are read too: see [`modelled`](Version::modelled).
impl FromStr for Version {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Version, Invalid> {
        let unreadable = || Invalid(format!("`{text}` is no NCCL version; write it as 2.29.2"));
        let plain = text.strip_prefix('v').unwrap_or(text).split(['-', '+']).next().unwrap_or_default();
        let parts: Vec<u16> = plain.split('.').map(str::parse).collect::<Result<_, _>>().map_err(|_| unreadable())?;
        let version = match *parts.as_slice() {
            [major, minor] => Version::new(major, minor, 0),
            [major, minor, patch] => Version::new(major, minor, patch),
            _ => return Err(unreadable()),
        };
        let (oldest, newest) = (Version::OLDEST, Version::NEWEST);
        let known = format!("known are those from {oldest} to {newest}");
        if version < Version::new(oldest.major, oldest.minor, 0) {
            return Err(Invalid(format!("NCCL {version} is older than the oldest whose tuning is known: {known}")));
        }
        if version.major > newest.major || version.minor > newest.minor + Version::TAKEN_AS_NEWEST {
            return Err(Invalid(format!("NCCL {version} is far newer than the newest whose tuning is known: {known}")));
        }
        Ok(version)
    }
}
