//! The few system calls that the standard library does not offer, each behind a safe function. All `unsafe` code of the
//! command line stands here.

use std::io;
use std::mem::{MaybeUninit, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::process::{Command, ExitStatus};
use std::time::Duration;

pub type Pid = libc::pid_t;

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

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

/// One signal, as it arrived.
pub struct Signal {
    pub number: i32,
    /// Sent by the terminal to the whole foreground group, so that the ranks have it too.
    pub from_terminal: bool,
}

/// Signals that come as values to be read instead of ending the process.
pub struct Signals {
    fd: OwnedFd,
    before: SignalMask,
}

/// Which signals a process holds back; inherited by the programs that it starts.
#[derive(Clone, Copy)]
pub struct SignalMask(libc::sigset_t);

impl SignalMask {
    /// Makes it this process's mask. Safe to call between fork and exec.
    pub fn set(self) -> io::Result<()> {
        // SAFETY: sigprocmask only reads the set that it is given.
        checked(unsafe { libc::sigprocmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) }).map(drop)
    }
}

impl Signals {
    /// Takes SIGCHLD and those of `wanted` that this process does not ignore (`nohup` must go on working).
    pub fn take(wanted: &[i32]) -> io::Result<Signals> {
        // SAFETY: all of these write only into `set`, `before` and `action`, which are plain data and live through the calls.
        unsafe {
            let (mut set, mut before): (libc::sigset_t, libc::sigset_t) = zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGCHLD);
            // An inherited "ignore" would make the kernel throw away the children's statuses.
            libc::signal(libc::SIGCHLD, libc::SIG_DFL);
            for &signal in wanted {
                let mut action: libc::sigaction = zeroed();
                checked(libc::sigaction(signal, std::ptr::null(), &mut action))?;
                if action.sa_sigaction != libc::SIG_IGN {
                    libc::sigaddset(&mut set, signal);
                }
            }
            checked(libc::sigprocmask(libc::SIG_BLOCK, &set, &mut before))?;
            let fd = checked(libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
            Ok(Signals { fd: OwnedFd::from_raw_fd(fd), before: SignalMask(before) })
        }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The mask that was set before: what programs expect to be started with.
    pub fn mask_before(&self) -> SignalMask {
        self.before
    }

    /// The next signal that waits, if any. Does not block.
    pub fn next(&self) -> Option<Signal> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the kernel writes at most `size` bytes into `info`, which is as large; a zeroed one is a valid value.
        let (read, info) = unsafe {
            let read = libc::read(self.fd.as_raw_fd(), info.as_mut_ptr().cast(), size);
            (read, info.assume_init())
        };
        (read == size as isize)
            .then_some(Signal { number: info.ssi_signo as i32, from_terminal: info.ssi_code == libc::SI_KERNEL })
    }
}

/// What to wait for on a descriptor, and whether it has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    Read,
    Write,
}

/// Waits until one of `watched` is ready (an end or error counts as ready) or `timeout` has passed; tells which are.
pub fn poll(watched: &[(BorrowedFd<'_>, Interest)], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    let event = |interest| if interest == Interest::Read { libc::POLLIN } else { libc::POLLOUT };
    let mut fds: Vec<libc::pollfd> = watched
        .iter()
        .map(|(fd, interest)| libc::pollfd { fd: fd.as_raw_fd(), events: event(*interest), revents: 0 })
        .collect();
    // Rounded up: a deadline must have passed when the wait for it ends.
    let timeout_ms = timeout.map_or(-1, |timeout| timeout.as_micros().div_ceil(1000).min(i32::MAX as u128) as i32);
    // SAFETY: `fds` is an array of `fds.len()` entries that lives through the call.
    match checked(unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_ms) }) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(fds.iter().map(|fd| fd.revents != 0).collect()),
    }
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

/// The number and the conventional name: `signal 9 (SIGKILL)`.
pub fn describe_signal(signal: i32) -> String {
    match signal_name(signal) {
        Some(name) => format!("signal {signal} ({name})"),
        None => format!("signal {signal}"),
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGABRT => "SIGABRT",
        libc::SIGALRM => "SIGALRM",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGHUP => "SIGHUP",
        libc::SIGILL => "SIGILL",
        libc::SIGINT => "SIGINT",
        libc::SIGKILL => "SIGKILL",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSYS => "SIGSYS",
        libc::SIGTERM => "SIGTERM",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        _ => return None,
    })
}
