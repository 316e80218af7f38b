//! All processes that stem from this one, however deep: what the ranks started must end with them.

use crate::os::{self, Pid};
use std::collections::HashMap;
use std::fs;

/// Every living descendant of this process; none where /proc can't be read.
pub fn descendants() -> Vec<Pid> {
    let mut children: HashMap<Pid, Vec<Pid>> = HashMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse::<Pid>().ok()) {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if let Some(parent) = living_parent(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = children.remove(&(std::process::id() as Pid)).unwrap_or_default();
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// Sends `signal` to every descendant.
pub fn signal_descendants(signal: i32) {
    for pid in descendants() {
        os::kill(pid, signal);
    }
}

/// The parent's pid in the text of /proc/PID/stat, unless the process is dead and only waits to be reaped.
fn living_parent(stat: &str) -> Option<Pid> {
    // The name stands in parentheses and may hold spaces and parentheses of its own.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (state != "Z" && state != "X").then_some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_confuse_and_the_dead_do_not_count() {
        assert_eq!(living_parent("12 (a) b) R 7) S 4 12 12 0"), Some(4));
        assert_eq!(living_parent("12 (sh) Z 4 12 12 0"), None);
        assert_eq!(living_parent(""), None);
    }
}
