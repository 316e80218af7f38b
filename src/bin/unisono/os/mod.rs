//! The few system calls that the standard library does not offer, each behind a safe function. All `unsafe` code of the
//! command line stands here.

mod host;
mod poll;
mod process;
mod signals;

pub use host::{Address, file_system, interfaces, memory_file};
pub use poll::{Interest, poll};
pub use process::{
    FileLimit, Fork, Pid, Reaped, adopt_orphans, before_exec, die_with_parent, fork, kill, parent_pid, reap,
};
pub use signals::{SignalMask, Signals, describe_signal};

use std::io;

/// The convention of most system calls: a negative result is an error that `errno` names.
fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
