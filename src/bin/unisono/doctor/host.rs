//! Which host this is.

use super::{Findings, Section, read};
use serde::Serialize;
use unisono::bootstrap::HostId;

#[derive(Serialize)]
pub struct Host {
    name: Option<String>,
    kernel: Option<String>,
    architecture: &'static str,
    /// Ranks with equal identities share memory: the kernel's boot id and the network namespace.
    identity: Option<String>,
    #[serde(skip)]
    unknown: Option<unisono::Error>,
}

impl Host {
    pub fn look() -> Host {
        let (identity, unknown) = match HostId::of_this_host() {
            Ok(identity) => (Some(identity.to_string()), None),
            Err(error) => (None, Some(error)),
        };
        Host {
            name: read("/proc/sys/kernel/hostname"),
            kernel: read("/proc/sys/kernel/osrelease"),
            architecture: std::env::consts::ARCH,
            identity,
            unknown,
        }
    }
}

impl Section for Host {
    const NAME: &'static str = "host";

    fn lines(&self) -> Vec<String> {
        let or_unknown = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
        vec![
            format!("{}, Linux {}, {}", or_unknown(&self.name), or_unknown(&self.kernel), self.architecture),
            format!("boot id / network namespace {}", or_unknown(&self.identity)),
        ]
    }

    fn judge(&self, findings: &mut Findings) {
        if let Some(error) = &self.unknown
            && std::env::var_os("UNISONO_HOST_ID").is_none()
        {
            findings.broken(error.to_string());
        }
    }
}
