//! A started call whose plan needs connections that are not there yet.

use super::Draft;
use super::dial::Dial;
use crate::communicator::waiting::Waiting;
use crate::control::Control;
use crate::error::Result;
use crate::exec::links::Links;
use crate::exec::run::Standing;

/// A call that is prepared but for connections.
pub struct Connecting {
    pub draft: Draft,
    pub waiting: Waiting,
    pub dial: Dial,
}

impl Connecting {
    /// Takes the connections if they have come; true when none is missing.
    pub fn poll(&mut self, links: &mut Links, control: &Control, sequence: u64) -> Result<bool> {
        if self.dial.poll(links)? {
            return Ok(true);
        }
        self.waiting.look_around(control, sequence, || Standing::connecting(self.dial.waits_for()))?;
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use crate::bootstrap::Job;
    use crate::{Communicator, ReduceOp, TransportKind};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    fn by_tcp(rank: usize) -> Communicator {
        let variables = [
            ("UNISONO_JOB_ID", format!("unisono-test-connecting-{}", std::process::id())),
            ("UNISONO_RANK", rank.to_string()),
            ("UNISONO_WORLD_SIZE", "2".to_owned()),
        ];
        let lookup = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        let job = Job::from_environment(&lookup).unwrap();
        let builder = Communicator::builder().transport(TransportKind::Tcp).timeout(Duration::from_secs(60));
        builder.of_job(&job).unwrap()
    }

    #[test]
    fn starting_does_not_wait_for_a_peer_to_connect() {
        let (started, has_started) = channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut communicator = by_tcp(0);
                // A start that waited for this rank would wait until its timeout.
                has_started.recv().unwrap();
                let mut data = [1i32; 3];
                communicator.all_reduce_in_place(&mut data, ReduceOp::Sum).unwrap();
                assert_eq!(data, [3; 3]);
            });
            scope.spawn(move || {
                // The higher rank is the one that is dialled.
                let mut communicator = by_tcp(1);
                assert_eq!(communicator.transport(), Some(TransportKind::Tcp));
                let mut handle = communicator.start_all_reduce(vec![2i32; 3], ReduceOp::Sum).unwrap();
                assert!(!handle.poll_once(), "rank 0 has not called yet");
                started.send(()).unwrap();
                assert_eq!(handle.wait().unwrap(), [3; 3]);
            });
        });
    }
}
