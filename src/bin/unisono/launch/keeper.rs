//! A second process between the user and the ranks, so that a killed launcher leaves nothing behind.
//!
//! The kernel can be asked to kill a child when its parent dies, but not a grandchild, and ranks are often wrapped in a
//! script. So the launcher is two processes: the *keeper*, which the user sees and signals, and the *supervisor*, its only
//! child, which starts the ranks. Each adopts the orphans of those below it. Kill the keeper, and the supervisor is told by
//! the kernel and ends everything; kill the supervisor, and the keeper does. Both stay in the user's process group, so that
//! Ctrl-C, Ctrl-Z and reading from the terminal work as without a launcher.

use super::descendants::signal_descendants;
use crate::failure::{BY_SIGNAL, FAILED, Failure};
use crate::os::{self, Fork, Interest, Pid, Reaped, Signals};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// The signals that end a job.
pub const ENDING_SIGNALS: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// How long a killed process may take to vanish; one that hangs in the kernel must not make us hang.
pub const VANISH: Duration = Duration::from_secs(10);

/// What the supervisor has from its keeper.
pub struct Kept {
    pub signals: Signals,
    keeper: Pid,
}

impl Kept {
    pub fn keeper_is_gone(&self) -> bool {
        os::parent_pid() != self.keeper
    }
}

/// Runs `supervise` in a child process and returns the exit status that it gives. Must be called before any thread is started.
pub fn keep(supervise: impl FnOnce(Kept) -> u8) -> Result<u8, Failure> {
    let failed = |error: io::Error| Failure::new(FAILED, format!("cannot start the supervisor of the ranks: {error}"));
    os::adopt_orphans().map_err(failed)?;
    // Taken before the fork: none can be missed between.
    let signals = Signals::take(&ENDING_SIGNALS).map_err(failed)?;
    let keeper = std::process::id() as Pid;
    match os::fork().map_err(failed)? {
        Fork::Child => {
            // Fails if the keeper is gone already; nothing is started then.
            let ready = os::die_with_parent(keeper, libc::SIGTERM).and_then(|()| os::adopt_orphans());
            let status = if ready.is_ok() { supervise(Kept { signals, keeper }) } else { FAILED };
            std::process::exit(i32::from(status));
        }
        Fork::Parent { child } => {
            let status = wait(child, &signals).map_err(failed)?;
            sweep();
            match status.signal() {
                None => Ok(status.code().map_or(FAILED, |code| code as u8)),
                Some(signal) => Err(Failure::new(
                    BY_SIGNAL + signal as u8,
                    format!("the supervisor was ended by {}, and all ranks with it", os::describe_signal(signal)),
                )),
            }
        }
    }
}

/// Passes signals on to the supervisor until it ends.
fn wait(supervisor: Pid, signals: &Signals) -> io::Result<ExitStatus> {
    loop {
        os::poll(&[(signals.fd(), Interest::Read)], None)?;
        while let Some(signal) = signals.next() {
            if signal.number != libc::SIGCHLD && !signal.from_keyboard {
                os::kill(supervisor, signal.number);
            }
        }
        while let Reaped::Child(pid, status) = os::reap() {
            if pid == supervisor {
                return Ok(status);
            }
        }
    }
}

/// Ends what a supervisor that was killed itself could not end.
fn sweep() {
    let deadline = Instant::now() + VANISH;
    loop {
        match os::reap() {
            Reaped::Nobody => return,
            Reaped::Child(..) => {}
            Reaped::Running if Instant::now() >= deadline => return,
            Reaped::Running => {
                signal_descendants(libc::SIGKILL);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}
