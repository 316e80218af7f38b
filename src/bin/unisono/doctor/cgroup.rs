//! Limits of the container: control groups of either version, the smallest over all levels above this process.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the control groups of this process are found, by controller.
pub struct Groups {
    root: PathBuf,
    /// The text of /proc/self/cgroup: lines of `number:controllers:path`.
    membership: String,
}

impl Groups {
    pub fn of_this_process() -> Groups {
        let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Groups { root: PathBuf::from("/sys/fs/cgroup"), membership }
    }

    /// Cores' worth of time that the process may use, if that is limited.
    pub fn cpu_quota(&self) -> Option<f64> {
        let unified = self.levels("").filter_map(|group| {
            let text = fs::read_to_string(group.join("cpu.max")).ok()?;
            let (quota, period) = text.trim().split_once(' ')?;
            Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
        });
        let version_1 = self.levels("cpu").filter_map(|group| {
            let quota = number(&group.join("cpu.cfs_quota_us"))?;
            Some(quota as f64 / number(&group.join("cpu.cfs_period_us"))? as f64)
        });
        unified.chain(version_1).min_by(f64::total_cmp)
    }

    /// Bytes of memory, if limited.
    pub fn memory_limit(&self) -> Option<u64> {
        let unified = self.levels("").filter_map(|group| number(&group.join("memory.max")));
        let version_1 = self.levels("memory").filter_map(|group| number(&group.join("memory.limit_in_bytes")));
        // Version 1 writes "no limit" as the largest multiple of a page.
        unified.chain(version_1).filter(|bytes| *bytes < 1 << 60).min()
    }

    /// Processes and threads, if limited.
    pub fn process_limit(&self) -> Option<u64> {
        let of = |controller| self.levels(controller).filter_map(|group| number(&group.join("pids.max")));
        of("").chain(of("pids")).min()
    }

    /// The directories of the process's group and those above it; `""` is the unified hierarchy.
    fn levels(&self, controller: &str) -> impl Iterator<Item = PathBuf> {
        let mounts: &[&str] = if controller.is_empty() { &["", "unified"] } else { &[controller] };
        let path = self.membership.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let is_it = parts.next()?.split(',').any(|name| name == controller);
            parts.next().filter(|_| is_it).map(|path| path.trim_start_matches('/').to_owned())
        });
        let bases: Vec<PathBuf> = path.iter().flat_map(|_| mounts).map(|mount| self.root.join(mount)).collect();
        bases.into_iter().flat_map(move |base| {
            let own = base.join(path.as_deref().unwrap_or_default());
            let inside = own.ancestors().take_while(|level| level.starts_with(&base)).map(Path::to_owned);
            inside.collect::<Vec<_>>()
        })
    }
}

/// None also where the file says `max` or -1: no limit.
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(name: &str, membership: &str, files: &[(&str, &str)]) -> Groups {
        let root = std::env::temp_dir().join(format!("unisono-cgroup-{name}-{}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a directory")).expect("it can be made");
            fs::write(path, text).expect("it can be written");
        }
        Groups { root, membership: membership.to_owned() }
    }

    fn limits(groups: &Groups) -> (Option<f64>, Option<u64>, Option<u64>) {
        let found = (groups.cpu_quota(), groups.memory_limit(), groups.process_limit());
        let _ = fs::remove_dir_all(&groups.root);
        found
    }

    #[test]
    fn the_smallest_limit_of_all_levels_holds() {
        let groups = groups(
            "v2",
            "0::/job/step\n",
            &[
                ("job/cpu.max", "150000 100000\n"),
                ("job/step/cpu.max", "max 100000\n"),
                ("job/memory.max", "max\n"),
                ("job/step/memory.max", "1073741824\n"),
                ("pids.max", "500\n"),
                ("other/pids.max", "3\n"),
            ],
        );
        assert_eq!(limits(&groups), (Some(1.5), Some(1 << 30), Some(500)));
    }

    #[test]
    fn version_1_has_a_directory_for_each_controller() {
        let groups = groups(
            "v1",
            "8:pids:/a\n4:memory:/a\n2:cpu,cpuacct:/a\n0::/\n",
            &[
                ("cpu/a/cpu.cfs_quota_us", "50000\n"),
                ("cpu/a/cpu.cfs_period_us", "100000\n"),
                ("cpu/cpu.cfs_quota_us", "-1\n"),
                ("cpu/cpu.cfs_period_us", "100000\n"),
                ("memory/a/memory.limit_in_bytes", "9223372036854771712\n"),
                ("pids/a/pids.max", "max\n"),
            ],
        );
        assert_eq!(limits(&groups), (Some(0.5), None, None));
    }

    #[test]
    fn no_groups_no_limits() {
        assert_eq!(limits(&groups("none", "", &[])), (None, None, None));
    }
}
