//! Connections for a started operation: a thread makes them, so that whoever starts or polls does not wait for peers.

use super::Draft;
use crate::communicator::waiting::Waiting;
use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::links::{Connect, Hope, Links};
use crate::exec::run::Standing;
use crate::types::LinkName;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

/// Whoever has nothing else to do looks this often whether time is up.
const NAP: Duration = Duration::from_millis(1);

/// A call that is prepared but for connections.
pub struct Connecting {
    pub draft: Draft,
    pub waiting: Waiting,
    missing: Vec<LinkName>,
    /// Whose connection the thread waits for.
    waits_for: Arc<AtomicUsize>,
    made: Receiver<Streams>,
    /// Came while this rank rested.
    come: Option<Streams>,
}

type Streams = Result<Vec<TcpStream>>;

impl Connecting {
    /// Begins to connect; until `deadline` at the longest, or until the communicator has failed.
    pub fn begin(
        draft: Draft,
        waiting: Waiting,
        missing: Vec<LinkName>,
        connect: Connect,
        control: Arc<Control>,
        deadline: Instant,
    ) -> Result<Connecting> {
        let (give, made) = channel();
        let first = missing.first().map_or(0, |name| name.peer);
        let waits_for = Arc::new(AtomicUsize::new(first));
        let connecting = Connecting { draft, waiting, missing, waits_for, made, come: None };
        if connecting.missing.is_empty() {
            return Ok(connecting);
        }
        let (names, waits_for) = (connecting.missing.clone(), connecting.waits_for.clone());
        let run = move || {
            let hopeless = |peer| {
                waits_for.store(peer, Ordering::Relaxed);
                control.failure()
            };
            // Nobody is there to take them once the operation has failed.
            let _ = give.send(connect(&names, &Hope { deadline, hopeless: &hopeless }));
        };
        let spawned = std::thread::Builder::new().name("unisono-connect".to_owned()).spawn(run);
        spawned.map_err(|cause| {
            Error::new(ErrorKind::Resource, format!("can't start a thread that connects to peers: {cause}"))
                .remedy("raise the limit of processes (ulimit -u)")
        })?;
        Ok(connecting)
    }

    /// Takes the connections if they have come; true when none is missing.
    pub fn poll(&mut self, links: &mut Links, control: &Control, sequence: u64) -> Result<bool> {
        if self.missing.is_empty() {
            return Ok(true);
        }
        match self.come.take().map_or_else(|| self.made.try_recv(), Ok) {
            Ok(streams) => {
                links.add_streams(&self.missing, streams?)?;
                self.missing.clear();
                Ok(true)
            }
            Err(TryRecvError::Empty) => {
                let standing = || Standing::connecting(self.waits_for.load(Ordering::Relaxed));
                self.waiting.look_around(control, sequence, standing)?;
                Ok(false)
            }
            Err(TryRecvError::Disconnected) => unreachable!("the thread ends after it has told how it went"),
        }
    }

    /// Rests for a moment, or until the connections have come.
    pub fn rest(&mut self) {
        if self.come.is_none() {
            self.come = self.made.recv_timeout(NAP).ok();
        }
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
