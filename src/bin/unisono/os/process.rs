//! Processes: parents, children, orphans, limits.

use super::checked;
use std::io;
use std::process::{Command, ExitStatus};

pub type Pid = libc::pid_t;

/// Sends `signal` to one process; a process that has gone already is no error.
pub fn kill(pid: Pid, signal: i32) {
    assert!(pid > 0, "only single processes are signalled, not {pid}");
    // SAFETY: kill reads no memory of ours.
    unsafe { libc::kill(pid, signal) };
}

/// Makes this process the parent of its orphaned descendants, so that none can slip away from [`reap`].
pub fn adopt_orphans() -> io::Result<()> {
    // SAFETY: this option of prctl takes a number and no pointer.
    checked(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// Asks for `signal` when the parent dies; `parent` is the parent as it was known before. Fails if it is gone already.
///
/// Safe to call between fork and exec: it only makes system calls.
pub fn die_with_parent(parent: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: this option of prctl takes a number and no pointer.
    checked(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal, 0, 0, 0) })?;
    if parent_pid() == parent { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
}

pub fn parent_pid() -> Pid {
    // SAFETY: getppid takes nothing and can't fail.
    unsafe { libc::getppid() }
}

pub enum Reaped {
    /// This child ended so.
    Child(Pid, ExitStatus),
    /// Children are left, and all of them run.
    Running,
    /// No child is left.
    Nobody,
}

/// Takes the status of one ended child, adopted ones among them. Does not block.
pub fn reap() -> Reaped {
    use std::os::unix::process::ExitStatusExt;
    let mut status = 0;
    // SAFETY: `status` outlives the call that writes it.
    match unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) } {
        0 => Reaped::Running,
        pid if pid > 0 => Reaped::Child(pid, ExitStatus::from_raw(status)),
        _ => Reaped::Nobody,
    }
}

/// Which of the two processes this is after [`fork`].
pub enum Fork {
    Parent { child: Pid },
    Child,
}

/// Splits this process in two. The caller must have a single thread, which is checked.
pub fn fork() -> io::Result<Fork> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, |tasks| tasks.count());
    assert_eq!(threads, 1, "a process with threads can't fork safely");
    // SAFETY: with a single thread no lock is held by a thread that the child would lack.
    Ok(match checked(unsafe { libc::fork() })? {
        0 => Fork::Child,
        child => Fork::Parent { child },
    })
}

/// Runs `before` in the child between fork and exec.
pub fn before_exec(command: &mut Command, before: impl Fn() -> io::Result<()> + Send + Sync + Copy + 'static) {
    use std::os::unix::process::CommandExt;
    // SAFETY: the closures given are `Copy`, so they own no memory to allocate or free, and they only make system calls:
    // `die_with_parent`, `SignalMask::set` and `FileLimit::set`.
    unsafe { command.pre_exec(before) };
}

/// The limit on open files: what is allowed now, and how far it may be raised.
#[derive(Clone, Copy)]
pub struct FileLimit(libc::rlimit);

impl FileLimit {
    pub fn get() -> io::Result<FileLimit> {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` outlives the call that writes it.
        checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
        Ok(FileLimit(limit))
    }

    /// As far as it may be raised without privilege.
    pub fn raised(self) -> FileLimit {
        FileLimit(libc::rlimit { rlim_cur: self.0.rlim_max, ..self.0 })
    }

    /// Makes it this process's limit. Safe to call between fork and exec.
    pub fn set(self) -> io::Result<()> {
        // SAFETY: setrlimit only reads the value that it is given.
        checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &self.0) }).map(drop)
    }
}
