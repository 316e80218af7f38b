//! How much memory this host has left: asked before much is taken, so that too much is an error and not a signal later.

use std::fs;
use std::path::{Path, PathBuf};

/// What sets an end to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// What Linux says can be had without swapping.
    Available,
    /// The least that the control groups of this process leave, file cache not counted.
    Group,
    /// Of this process: `ulimit -v`, without what it has mapped.
    AddressSpace,
    /// Of this process: `ulimit -f`, which holds for files in memory too.
    FileSize,
}

impl Limit {
    pub const ALL: [Limit; 4] = [Limit::Available, Limit::Group, Limit::AddressSpace, Limit::FileSize];

    /// The bytes that it leaves at this moment; None where there is no such limit, or none that can be read.
    ///
    /// ```
    /// use unisono::room::Limit;
    /// assert!(Limit::Available.left().is_none_or(|bytes| bytes > 1 << 20));
    /// ```
    pub fn left(self) -> Option<u64> {
        match self {
            Limit::Available => field(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:"),
            Limit::Group => Groups::of_this_process().left(),
            Limit::AddressSpace => {
                let mapped = field(&fs::read_to_string("/proc/self/status").ok()?, "VmSize:")?;
                Some(
                    limit_of(|limit| {
                        // SAFETY: the call only writes `limit`.
                        unsafe { libc::getrlimit(libc::RLIMIT_AS, limit) }
                    })?
                    .saturating_sub(mapped),
                )
            }
            Limit::FileSize => limit_of(|limit| {
                // SAFETY: the call only writes `limit`.
                unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, limit) }
            }),
        }
    }

    /// As part of a sentence, behind the number of bytes that are left.
    pub fn describe(self) -> &'static str {
        match self {
            Limit::Available => "are available (MemAvailable in /proc/meminfo)",
            Limit::Group => "are left by the memory limit of the control group",
            Limit::AddressSpace => "are left by the limit of the address space (ulimit -v)",
            Limit::FileSize => "is the largest size of a file (ulimit -f)",
        }
    }
}

/// The limit that leaves least of those that all processes of this host share, and what it leaves.
///
/// ```
/// if let Some((bytes, limit)) = unisono::room::of_host() {
///     println!("{bytes} bytes {}", limit.describe());
/// }
/// ```
pub fn of_host() -> Option<(u64, Limit)> {
    let both = [Limit::Available, Limit::Group];
    both.into_iter().filter_map(|limit| Some((limit.left()?, limit))).min_by_key(|(bytes, _)| *bytes)
}

/// Bytes as a reader takes them in.
pub(crate) fn shown(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{bytes} bytes"),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// A field of /proc/meminfo or /proc/self/status, which count in KiB.
fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What `get` reads; None if it fails, or there is no limit.
fn limit_of(get: impl FnOnce(&mut libc::rlimit) -> libc::c_int) -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    (get(&mut limit) == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// The control groups of this process, of either version.
struct Groups {
    root: PathBuf,
    /// The text of /proc/self/cgroup: lines of `number:controllers:path`.
    membership: String,
}

/// The files of a version: limit, use, and in `memory.stat` the file cache, which makes room when it is wanted.
const VERSIONS: [(&str, &str, &str, [&str; 2]); 3] = [
    ("", "memory.max", "memory.current", ["inactive_file ", "active_file "]),
    ("unified", "memory.max", "memory.current", ["inactive_file ", "active_file "]),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", ["total_inactive_file ", "total_active_file "]),
];

impl Groups {
    fn of_this_process() -> Groups {
        let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Groups { root: PathBuf::from("/sys/fs/cgroup"), membership }
    }

    /// The least over all levels from the process's group up.
    fn left(&self) -> Option<u64> {
        let left = |(mount, limit, used, cache): &(&str, &str, &str, [&str; 2])| {
            let base = self.root.join(mount);
            let own = base.join(self.path(if *mount == "memory" { "memory" } else { "" })?);
            let levels = own.ancestors().take_while(|level| level.starts_with(&base));
            levels.filter_map(|level| left_in(level, limit, used, cache)).min()
        };
        VERSIONS.iter().filter_map(left).min()
    }

    fn path(&self, controller: &str) -> Option<&str> {
        self.membership.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let is_it = parts.next()?.split(',').any(|name| name == controller);
            parts.next().filter(|_| is_it).map(|path| path.trim_start_matches('/'))
        })
    }
}

fn left_in(level: &Path, limit: &str, used: &str, cache: &[&str]) -> Option<u64> {
    let number = |name: &str| fs::read_to_string(level.join(name)).ok()?.trim().parse::<u64>().ok();
    // Version 1 writes "no limit" as the largest multiple of a page, version 2 as a word.
    let (limit, used) = (number(limit).filter(|bytes| *bytes < 1 << 60)?, number(used)?);
    let stat = fs::read_to_string(level.join("memory.stat")).unwrap_or_default();
    let of = |name: &&str| stat.lines().find_map(|line| line.strip_prefix(*name)?.trim().parse::<u64>().ok());
    let cached: u64 = cache.iter().filter_map(of).sum();
    Some(limit.saturating_sub(used.saturating_sub(cached)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(name: &str, membership: &str, files: &[(&str, &str)]) -> Option<u64> {
        let root = std::env::temp_dir().join(format!("unisono-room-{name}-{}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("a directory")).expect("it can be made");
            fs::write(path, text).expect("it can be written");
        }
        let groups = Groups { root, membership: membership.to_owned() };
        let found = groups.left();
        let _ = fs::remove_dir_all(&groups.root);
        found
    }

    #[test]
    fn the_level_that_leaves_least_counts_and_file_cache_does_not() {
        let files = [
            ("job/memory.max", "1000\n"),
            ("job/memory.current", "900\n"),
            ("job/memory.stat", "anon 500\ninactive_file 150\nactive_file 50\n"),
            ("job/step/memory.max", "max\n"),
            ("job/step/memory.current", "100\n"),
            ("memory.max", "5000\n"),
            ("memory.current", "4900\n"),
        ];
        assert_eq!(left("v2", "0::/job/step\n", &files), Some(100));
        assert_eq!(left("v2-above", "0::/job/step\n", &files[..5]), Some(300));
        let files = [
            ("memory/a/memory.limit_in_bytes", "2000\n"),
            ("memory/a/memory.usage_in_bytes", "1500\n"),
            ("memory/a/memory.stat", "total_inactive_file 100\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/memory.usage_in_bytes", "1500\n"),
        ];
        assert_eq!(left("v1", "8:pids:/a\n4:memory:/a\n0::/\n", &files), Some(600));
        assert_eq!(left("none", "0::/\n", &[]), None);
    }

    #[test]
    fn fields_count_in_kib() {
        let info = "MemTotal:       24684096 kB\nMemAvailable:   19506408 kB\nHugePages_Total:       0\n";
        assert_eq!(field(info, "MemAvailable:"), Some(19_506_408 * 1024));
        assert_eq!(field(info, "HugePages_Total:"), None);
    }
}
