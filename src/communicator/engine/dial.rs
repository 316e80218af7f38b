//! Connections that a thread makes, so that whoever starts or polls an operation does not wait for peers.

use crate::control::Control;
use crate::error::{Error, ErrorKind, Result};
use crate::exec::links::{Connect, Hope, Links};
use crate::types::{LinkName, Rank};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

/// Whoever has nothing else to do looks this often whether a connection has come, or time is up.
pub const NAP: Duration = Duration::from_millis(1);

/// Connections on their way.
pub struct Dial {
    missing: Vec<LinkName>,
    /// Whose connection the thread waits for.
    waits_for: Arc<AtomicUsize>,
    made: Receiver<Streams>,
    /// Came while this rank rested.
    come: Option<Streams>,
}

type Streams = Result<Vec<TcpStream>>;

impl Dial {
    /// Begins to connect, if there is anything to connect; until `deadline` at the longest, or until the communicator has failed.
    pub fn begin(missing: Vec<LinkName>, connect: Connect, control: Arc<Control>, deadline: Instant) -> Result<Dial> {
        let (give, made) = channel();
        let first = missing.first().map_or(0, |name| name.peer);
        let waits_for = Arc::new(AtomicUsize::new(first));
        let dial = Dial { missing, waits_for, made, come: None };
        if dial.missing.is_empty() {
            return Ok(dial);
        }
        let (names, waits_for) = (dial.missing.clone(), dial.waits_for.clone());
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
        Ok(dial)
    }

    /// Takes the connections if they have come; true when none is missing.
    pub fn poll(&mut self, links: &mut Links) -> Result<bool> {
        if self.missing.is_empty() {
            return Ok(true);
        }
        match self.come.take().map_or_else(|| self.made.try_recv(), Ok) {
            Ok(streams) => {
                links.add_streams(&self.missing, streams?)?;
                self.missing.clear();
                Ok(true)
            }
            Err(TryRecvError::Empty) => Ok(false),
            Err(TryRecvError::Disconnected) => unreachable!("the thread ends after it has told how it went"),
        }
    }

    pub fn waits_for(&self) -> Rank {
        self.waits_for.load(Ordering::Relaxed)
    }

    /// Rests for a moment, or until the connections have come.
    pub fn rest(&mut self) {
        if self.come.is_none() {
            self.come = self.made.recv_timeout(NAP).ok();
        }
    }
}
