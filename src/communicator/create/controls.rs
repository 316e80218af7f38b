//! The control planes of a process: the mesh's frames go to the communicator that they name.

use crate::bootstrap::{ControlSink, RankSet};
use crate::control::{Control, Line};
use crate::types::Rank;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, Weak};

#[derive(Default)]
pub struct Controls {
    pub by_communicator: Mutex<HashMap<u64, Weak<Control>>>,
    /// Where this rank stood in communicators that it has left, oldest first.
    left: Mutex<VecDeque<(u64, Line)>>,
}

/// Communicators that a rank remembers to have left. Of an older one it says that it never had it.
const LEFT: usize = 1024;

impl Controls {
    fn all(&self) -> Vec<Arc<Control>> {
        self.by_communicator.lock().expect("no panic under this lock").values().filter_map(Weak::upgrade).collect()
    }

    fn get(&self, communicator: u64) -> Option<Arc<Control>> {
        self.by_communicator.lock().expect("no panic under this lock").get(&communicator).and_then(Weak::upgrade)
    }

    /// Whether this was the last one.
    pub fn leave(&self, control: &Control) -> bool {
        let mut left = self.left.lock().expect("no panic under this lock");
        if left.len() == LEFT {
            left.pop_front();
        }
        left.push_back((control.communicator(), control.recorder.last_line()));
        let mut controls = self.by_communicator.lock().expect("no panic under this lock");
        controls.remove(&control.communicator());
        controls.is_empty()
    }
}

impl ControlSink for Controls {
    fn announced(&self, origin: Rank, communicator: u64, word: &[u8]) {
        if let Some(control) = self.get(communicator) {
            control.hear(origin, word);
        }
    }

    fn asked(&self, communicator: u64, sequence: u64) -> Vec<u8> {
        if let Some(control) = self.get(communicator) {
            return control.answer(sequence);
        }
        let left = self.left.lock().expect("no panic under this lock");
        left.iter().find(|(id, _)| *id == communicator).map_or_else(Vec::new, |(_, line)| line.encode())
    }

    fn answered(&self, communicator: u64, round: u64, answer: &[u8], ranks: &RankSet) {
        if let Some(control) = self.get(communicator) {
            control.hear_answer(round, answer, ranks);
        }
    }

    fn lost(&self, rank: Rank, how: &str) {
        self.all().iter().for_each(|control| control.peer_lost(rank, how));
    }

    fn left(&self, rank: Rank) {
        self.all().iter().for_each(|control| control.peer_left(rank));
    }
}
