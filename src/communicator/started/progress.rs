//! The thread that moves started operations on for [`Progress::Thread`](crate::Progress::Thread).

use crate::communicator::Shared;
use crate::error::{Error, ErrorKind, Result};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The thread that moves started operations on; it ends when the communicator and all its handles are gone.
pub fn spawn_progress_thread(shared: &Arc<Shared>) -> Result<()> {
    let weak: Weak<Shared> = Arc::downgrade(shared);
    let run = move || {
        // A strong reference is held only for one round, so that the thread does not keep the engine alive.
        while let Some(shared) = weak.upgrade() {
            let mut engine = shared.lock_after_callers();
            if engine.drive() {
                engine.rest();
                drop(engine);
                std::thread::yield_now();
            } else {
                let wait = Duration::from_millis(50);
                drop(shared.work.wait_timeout(engine, wait).unwrap_or_else(std::sync::PoisonError::into_inner));
            }
        }
    };
    let spawned = std::thread::Builder::new().name("unisono-progress".to_owned()).spawn(run);
    spawned.map(drop).map_err(|cause| {
        Error::new(ErrorKind::Resource, format!("can't start a progress thread: {cause}"))
            .remedy("raise the limit of processes (ulimit -u), or use Progress::Caller")
    })
}
