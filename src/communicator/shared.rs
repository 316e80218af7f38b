//! What a communicator shares with its handles and its progress thread: the engine, and how they take turns with it.

use super::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::fork;
use crate::transport::arena::Bell;
use crate::types::Rank;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

/// How often, and how long each time, the progress thread steps back for callers that wait for the engine.
const COURTESIES: u32 = 20;
const COURTESY: Duration = Duration::from_micros(100);

/// What a communicator shares with its handles and its progress thread.
pub struct Shared {
    pub engine: Mutex<Engine>,
    /// Operations are queued, or the communicator was dropped: wakes the progress thread.
    pub work: Condvar,
    /// Rung to make a sleeping progress thread give the engine back.
    pub bell: Option<Bell>,
    /// Threads that want the engine and do not have it yet.
    pub callers: AtomicUsize,
    /// What a barrier passes on. Operations of one communicator run one after the other, so that one is enough.
    pub token: AtomicU8,
    /// Of the process that made it.
    pub generation: u32,
    pub rank: Rank,
}

impl Shared {
    /// Refuses a forked child, whose copy of the lock may be held for ever. To be asked before [`Shared::lock`].
    pub fn check_process(&self) -> Result<()> {
        if self.generation == fork::generation() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Forked,
            format!(
                "this communicator belongs to a parent process and can't be used in its forked child {}",
                std::process::id()
            ),
        )
        .on_rank(self.rank)
        .remedy("make a communicator of its own in the child"))
    }

    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, Engine> {
        self.try_lock().unwrap_or_else(|| self.lock_in_turn())
    }

    /// Another thread has the engine: it is asked to give it back.
    #[cold]
    fn lock_in_turn(&self) -> MutexGuard<'_, Engine> {
        // A panic under this lock is our own mistake; what the engine holds stays sound, and other handles must still be able
        // to finish or fail.
        self.callers.fetch_add(1, Ordering::Relaxed);
        if let Some(bell) = &self.bell {
            bell.ring();
        }
        let engine = self.engine.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.callers.fetch_sub(1, Ordering::Relaxed);
        engine
    }

    /// The engine, unless another thread has it: that one moves operations on.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, Engine>> {
        match self.engine.try_lock() {
            Ok(engine) => Some(engine),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// As [`Shared::lock`], for the progress thread: callers go first. It holds the engine while it sleeps and asks for it again
    /// at once, so that callers whom the lock's release has to wake first would come too late every time.
    pub fn lock_after_callers(&self) -> MutexGuard<'_, Engine> {
        for _ in 0..COURTESIES {
            if self.callers.load(Ordering::Relaxed) == 0 {
                break;
            }
            std::thread::sleep(COURTESY);
        }
        self.engine.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
