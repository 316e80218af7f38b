//! What this process may have of what runs out: files, processes, locked memory.

use super::cgroup::Groups;
use super::{Findings, Section, human, read};
use serde::Serialize;

/// A limit that can be raised from `soft` to `hard` without privilege. None is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    soft: Option<u64>,
    hard: Option<u64>,
}

#[derive(Serialize)]
pub struct Limits {
    open_files: Option<Limit>,
    processes: Option<Limit>,
    /// Processes and threads of the container. None without a limit.
    processes_of_container: Option<u64>,
    locked_memory_bytes: Option<Limit>,
    /// Devices that need locked memory.
    rdma_devices: Vec<String>,
}

impl Limits {
    pub fn look(groups: &Groups) -> Limits {
        let limits = read("/proc/self/limits").unwrap_or_default();
        let devices = std::fs::read_dir("/sys/class/infiniband").into_iter().flatten().flatten();
        let mut rdma_devices: Vec<String> =
            devices.map(|device| device.file_name().to_string_lossy().into_owned()).collect();
        rdma_devices.sort();
        Limits {
            open_files: limit(&limits, "Max open files"),
            processes: limit(&limits, "Max processes"),
            processes_of_container: groups.process_limit(),
            locked_memory_bytes: limit(&limits, "Max locked memory"),
            rdma_devices,
        }
    }
}

/// A line of /proc/self/limits: name, soft limit, hard limit, unit.
fn limit(limits: &str, name: &str) -> Option<Limit> {
    let mut values = limits.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace();
    let mut next = || match values.next()? {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    };
    Some(Limit { soft: next()?, hard: next()? })
}

fn shown(limit: Option<Limit>, number: impl Fn(u64) -> String) -> String {
    let one = |limit: Option<u64>| limit.map_or("unlimited".to_owned(), &number);
    match limit {
        None => "unknown".to_owned(),
        Some(Limit { soft, hard }) if soft == hard => one(soft),
        Some(Limit { soft, hard }) => format!("{} (may be raised to {})", one(soft), one(hard)),
    }
}

impl Section for Limits {
    const NAME: &'static str = "limits";

    fn lines(&self) -> Vec<String> {
        let count = |number: u64| number.to_string();
        let container = match self.processes_of_container {
            Some(processes) => format!(", {processes} in this container"),
            None => String::new(),
        };
        vec![
            format!("open files {}", shown(self.open_files, count)),
            format!("processes {}{container}", shown(self.processes, count)),
            format!("locked memory {}", shown(self.locked_memory_bytes, human)),
        ]
    }

    fn judge(&self, findings: &mut Findings) {
        if let Some(Limit { soft: Some(files), .. }) = self.open_files
            && files < 1024
        {
            findings
                .advise(format!("only {files} files may be open: raise the limit (`ulimit -n 4096`) for large worlds"));
        }
        if let Some(processes) = self.processes_of_container
            && processes < 256
        {
            findings.advise(format!("the container allows {processes} processes and threads: raise it (--pids-limit)"));
        }
        if let Some(Limit { soft: Some(bytes), .. }) = self.locked_memory_bytes
            && !self.rdma_devices.is_empty()
        {
            findings.advise(format!(
                "only {} of memory may be locked, and {} needs it for buffers: raise it (`ulimit -l unlimited`, or --ulimit \
                 memlock=-1 for a container)",
                human(bytes),
                self.rdma_devices.join(", ")
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Limit                     Soft Limit           Hard Limit           Units     
Max processes             96365                96365                processes 
Max open files            256                  1048576              files     
Max locked memory         unlimited            unlimited            bytes     ";

    #[test]
    fn limits_are_read_with_and_without_numbers() {
        assert_eq!(limit(TEXT, "Max open files"), Some(Limit { soft: Some(256), hard: Some(1_048_576) }));
        assert_eq!(limit(TEXT, "Max locked memory"), Some(Limit { soft: None, hard: None }));
        assert_eq!(limit(TEXT, "Max stack size"), None);
        assert_eq!(limit("Max open files lots", "Max open files"), None);
    }

    #[test]
    fn locked_memory_matters_where_a_device_needs_it() {
        let judged = |devices: &[&str]| {
            let limits = Limits {
                open_files: limit(TEXT, "Max open files"),
                processes: None,
                processes_of_container: None,
                locked_memory_bytes: Some(Limit { soft: Some(8 << 20), hard: None }),
                rdma_devices: devices.iter().map(|name| (*name).to_owned()).collect(),
            };
            let mut findings = Findings::default();
            limits.judge(&mut findings);
            findings.advice
        };
        assert_eq!(judged(&[]).len(), 1, "few open files");
        assert!(judged(&["mlx5_0"]).iter().any(|told| told.contains("mlx5_0 needs it")));
    }
}
