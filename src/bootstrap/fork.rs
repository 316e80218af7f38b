//! A forked child lets go of its parent's control connections.
//!
//! With a copy in the child a connection stays open when the parent is killed, and nobody would notice the death: data
//! loaders of training jobs are forked, and outlive their parent by seconds. So the descriptors are written down where a
//! handler that runs in the child right after the fork can close them.

use super::socket::Stream;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};

/// Control connections of this process that can be written down; in a world of a million ranks one has 40.
const SLOTS: usize = 4096;
const FREE: i32 = -1;
static DESCRIPTORS: [AtomicI32; SLOTS] = [const { AtomicI32::new(FREE) }; SLOTS];

/// While it lives, a forked child does not keep the connection it was made for.
pub(super) struct ParentOnly {
    /// None if all slots were taken: then a child keeps its copy, and that is all.
    slot: Option<usize>,
}

impl ParentOnly {
    /// It must be dropped before the stream: a number that is closed may be another's by the time of a fork.
    pub fn new(stream: &Stream) -> ParentOnly {
        watch_forks();
        let fd = stream.as_fd().as_raw_fd();
        let takes = |slot: &AtomicI32| slot.compare_exchange(FREE, fd, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        ParentOnly { slot: DESCRIPTORS.iter().position(takes) }
    }
}

impl Drop for ParentOnly {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            DESCRIPTORS[slot].store(FREE, Ordering::Release);
        }
    }
}

fn watch_forks() {
    static ONCE: Once = Once::new();
    // Without memory for the handler children keep their copies; nothing else changes.
    ONCE.call_once(|| {
        // SAFETY: the handler does only what is allowed between fork and exec: atomics and close(2).
        unsafe { libc::pthread_atfork(None, None, Some(close_in_child)) };
    });
}

extern "C" fn close_in_child() {
    for slot in &DESCRIPTORS {
        let fd = slot.swap(FREE, Ordering::AcqRel);
        if fd != FREE {
            // SAFETY: the descriptor belongs to a link on the stack of the parent's mesh thread, which does not exist in this
            // process, so nobody here uses or closes it.
            unsafe { libc::close(fd) };
        }
    }
}
