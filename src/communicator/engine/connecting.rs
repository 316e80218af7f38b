//! Connections for a started operation: a thread makes them, so that whoever starts or polls does not wait for peers.

use super::Draft;
use crate::communicator::waiting::Waiting;
use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::links::{Connect, Links};
use crate::exec::run::Standing;
use crate::types::LinkName;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

/// Whoever has nothing else to do looks this often whether time is up.
const NAP: Duration = Duration::from_millis(1);

/// A call that is prepared but for connections.
pub struct Connecting {
    pub draft: Draft,
    pub waiting: Waiting,
    /// Still to come, in the order in which they come.
    missing: Vec<LinkName>,
    made: Receiver<Result<TcpStream>>,
    /// Came while this rank rested.
    come: Option<Result<TcpStream>>,
}

impl Connecting {
    /// Begins to connect, one peer after the other in the order of `missing`; until `deadline` at the longest, or until the
    /// communicator has failed.
    pub fn begin(
        draft: Draft,
        waiting: Waiting,
        missing: Vec<LinkName>,
        connect: Connect,
        control: Arc<Control>,
        deadline: Instant,
    ) -> Result<Connecting> {
        let (give, made) = channel();
        let connecting = Connecting { draft, waiting, missing, made, come: None };
        if connecting.missing.is_empty() {
            return Ok(connecting);
        }
        let names = connecting.missing.clone();
        let run = move || {
            for name in names {
                let stream = connect(name.peer, name.channel, deadline, &|| control.failure());
                let failed = stream.is_err();
                // Nobody is there to take it once the operation has failed.
                if give.send(stream).is_err() || failed {
                    return;
                }
            }
        };
        let spawned = std::thread::Builder::new().name("unisono-connect".to_owned()).spawn(run);
        spawned.map_err(|cause| {
            Error::new(ErrorKind::Resource, format!("can't start a thread that connects to peers: {cause}"))
                .remedy("raise the limit of processes (ulimit -u)")
        })?;
        Ok(connecting)
    }

    /// Takes the connections that have come; true when none is missing.
    pub fn poll(&mut self, links: &mut Links, control: &Control, sequence: u64) -> Result<bool> {
        while let Some(&name) = self.missing.first() {
            let stream = match self.come.take().map_or_else(|| self.made.try_recv(), Ok) {
                Ok(stream) => stream?,
                Err(TryRecvError::Empty) => {
                    let standing = || Standing { waits_for: vec![name.peer], ..Standing::default() };
                    self.waiting.look_around(control, sequence, standing)?;
                    return Ok(false);
                }
                Err(TryRecvError::Disconnected) => unreachable!("the thread ends after the last or an error"),
            };
            links.add_stream(name, stream)?;
            self.missing.remove(0);
        }
        Ok(true)
    }

    /// Rests for a moment, or until a connection has come.
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
