//! Memory, and the file system that others put shared memory into.

use super::cgroup::Groups;
use super::{Findings, Section, human, read};
use crate::os;
use serde::Serialize;

/// What Docker gives a container if nobody asks.
const DOCKER_SHM_BYTES: u64 = 64 << 20;

#[derive(Serialize)]
pub struct Memory {
    total_bytes: Option<u64>,
    available_bytes: Option<u64>,
    /// Of the container. None without a limit.
    limit_bytes: Option<u64>,
    dev_shm_bytes: Option<u64>,
    dev_shm_free_bytes: Option<u64>,
}

impl Memory {
    pub fn look(groups: &Groups) -> Memory {
        let info = read("/proc/meminfo").unwrap_or_default();
        let shm = os::file_system(c"/dev/shm").ok();
        Memory {
            total_bytes: field(&info, "MemTotal:"),
            available_bytes: field(&info, "MemAvailable:"),
            limit_bytes: groups.memory_limit(),
            dev_shm_bytes: shm.map(|shm| shm.bytes),
            dev_shm_free_bytes: shm.map(|shm| shm.free_bytes),
        }
    }
}

/// A field of /proc/meminfo, which counts in KiB.
fn field(info: &str, name: &str) -> Option<u64> {
    let value = info.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

impl Section for Memory {
    const NAME: &'static str = "memory";

    fn lines(&self) -> Vec<String> {
        let shown = |bytes: Option<u64>| bytes.map_or("unknown".to_owned(), human);
        let limit = self
            .limit_bytes
            .map_or("no limit of the container".to_owned(), |bytes| format!("the container may use {}", human(bytes)));
        vec![
            format!("{}, {} available, {limit}", shown(self.total_bytes), shown(self.available_bytes)),
            format!("/dev/shm {}, {} free", shown(self.dev_shm_bytes), shown(self.dev_shm_free_bytes)),
        ]
    }

    fn judge(&self, findings: &mut Findings) {
        if let Some(free) = self.dev_shm_free_bytes
            && free <= DOCKER_SHM_BYTES
        {
            findings.advise(format!(
                "/dev/shm has {} free: Unisono does not use it, but NCCL and others in the same job do; give the container \
                 more (--shm-size=1g)",
                human(free)
            ));
        }
        if let Some(available) = self.available_bytes.map(|bytes| bytes.min(self.limit_bytes.unwrap_or(u64::MAX)))
            && available < 256 << 20
        {
            findings.advise(format!(
                "only {} of memory are left: end other work, or ask for small sizes",
                human(available)
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_counts_in_kib() {
        let info = "MemTotal:       24684096 kB\nMemFree:        19506408 kB\nHugePages_Total:       0\n";
        assert_eq!(field(info, "MemTotal:"), Some(24_684_096 * 1024));
        assert_eq!(field(info, "HugePages_Total:"), None);
        assert_eq!(field(info, "MemAvailable:"), None);
    }

    #[test]
    fn the_default_of_containers_is_advice() {
        let judged = |free| {
            let memory = Memory {
                total_bytes: Some(1 << 34),
                available_bytes: Some(1 << 33),
                limit_bytes: None,
                dev_shm_bytes: free,
                dev_shm_free_bytes: free,
            };
            let mut findings = Findings::default();
            memory.judge(&mut findings);
            findings.advice.len()
        };
        assert_eq!([None, Some(1 << 30), Some(64 << 20), Some(0)].map(judged), [0, 0, 1, 1]);
    }
}
