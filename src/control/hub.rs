//! The control planes of all ranks of a communicator of threads: each reads the others' lines where they are.

use super::Control;
use crate::types::Rank;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock, Weak};

pub struct Hub {
    ranks: RwLock<Vec<Weak<Control>>>,
    left: Vec<AtomicBool>,
}

impl Hub {
    pub fn new(size: usize) -> Arc<Hub> {
        let ranks = RwLock::new((0..size).map(|_| Weak::new()).collect());
        Arc::new(Hub { ranks, left: (0..size).map(|_| AtomicBool::new(false)).collect() })
    }

    pub fn enter(&self, rank: Rank, control: &Arc<Control>) {
        self.ranks.write().expect("no panic under this lock")[rank] = Arc::downgrade(control);
    }

    pub fn leave(&self, rank: Rank) {
        self.left[rank].store(true, Ordering::Release);
    }

    pub fn has_left(&self, rank: Rank) -> bool {
        self.left[rank].load(Ordering::Acquire)
    }

    /// None before the rank has its control plane, and after it is gone.
    pub fn rank(&self, rank: Rank) -> Option<Arc<Control>> {
        self.ranks.read().expect("no panic under this lock")[rank].upgrade()
    }
}
