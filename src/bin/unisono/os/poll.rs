//! Waiting for one of many descriptors.

use super::checked;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

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
