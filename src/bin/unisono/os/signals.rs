//! Signals as values to be read.

use super::checked;
use std::io;
use std::mem::{MaybeUninit, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One signal, as it arrived.
pub struct Signal {
    pub number: i32,
    /// Sent by the terminal to the whole foreground group, so that the ranks have it too. A hangup is not: the kernel sends
    /// that to the first process of the session only.
    pub from_keyboard: bool,
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
    /// Takes SIGCHLD and those of `wanted` that this process does not ignore.
    ///
    /// What it was started to ignore stays so, for the ranks as well, as with every program that starts others (`nohup`, `env`,
    /// `time`): ranks with the default again would die of the hangup or the Ctrl-C that the launcher above them outlives.
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
        let number = info.ssi_signo as i32;
        let from_keyboard = info.ssi_code == libc::SI_KERNEL && matches!(number, libc::SIGINT | libc::SIGQUIT);
        (read == size as isize).then_some(Signal { number, from_keyboard })
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
