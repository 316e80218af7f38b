//! Cores that ranks can have.

use super::cgroup::Groups;
use super::{Findings, Section, read};
use serde::Serialize;

#[derive(Serialize)]
pub struct Cores {
    /// Of the machine.
    online: usize,
    /// That this process may run on.
    allowed: usize,
    allowed_list: String,
    /// Cores' worth of time that the container may use. None without a limit.
    quota: Option<f64>,
    numa_nodes: usize,
}

impl Cores {
    pub fn look(groups: &Groups) -> Cores {
        let status = read("/proc/self/status").unwrap_or_default();
        let allowed_list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let allowed_list = allowed_list.unwrap_or_default().trim().to_owned();
        let count = |path| read(path).map_or(0, |list| listed(&list));
        Cores {
            online: count("/sys/devices/system/cpu/online"),
            allowed: listed(&allowed_list),
            allowed_list,
            quota: groups.cpu_quota(),
            numa_nodes: count("/sys/devices/system/node/online"),
        }
    }
}

/// How many numbers a list such as `0-3,8` names.
fn listed(list: &str) -> usize {
    list.split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(last.trim().parse::<usize>().ok()?.checked_sub(first.trim().parse().ok()?)? + 1)
        })
        .sum()
}

impl Section for Cores {
    const NAME: &'static str = "cores";

    fn lines(&self) -> Vec<String> {
        let quota = match self.quota {
            Some(cores) => format!("{cores:.1} cores' worth of time"),
            None => "no limit of time".to_owned(),
        };
        let nodes = match self.numa_nodes {
            0 | 1 => String::new(),
            nodes => format!(", {nodes} NUMA nodes"),
        };
        vec![format!("{} of {} (numbers {}), {quota}{nodes}", self.allowed, self.online, self.allowed_list)]
    }

    fn judge(&self, findings: &mut Findings) {
        if self.allowed == 1 {
            findings.advise("only 1 core: ranks take turns, so that times say little; give the job a core per rank");
        }
        if let Some(quota) = self.quota
            && quota < self.allowed as f64
        {
            findings.advise(format!(
                "the container may use {quota:.1} cores' worth of time, though {} are visible: start at most {} ranks, or \
                 raise the quota",
                self.allowed,
                (quota as usize).max(1)
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_counted() {
        assert_eq!(["0", "0-3", "0-3,8", "0-3,8-9,12\n", "", "3-1"].map(listed), [1, 4, 5, 7, 0, 0]);
    }

    #[test]
    fn a_quota_below_the_visible_cores_is_advice() {
        let cores = |quota| Cores { online: 8, allowed: 8, allowed_list: "0-7".to_owned(), quota, numa_nodes: 1 };
        let advice = |quota| {
            let mut findings = Findings::default();
            cores(quota).judge(&mut findings);
            findings.advice.len()
        };
        assert_eq!([None, Some(8.0), Some(2.5)].map(advice), [0, 0, 1]);
    }
}
