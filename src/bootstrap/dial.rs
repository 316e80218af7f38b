//! Connects to a rank that may not listen yet, and passes the challenge.

use super::door::{PATIENCE, is_out_of_descriptors};
use super::secret::{Challenge, Key};
use super::socket::Stream;
use super::wire::{read_exact, write_all};
use crate::error::{Error, ErrorKind, Result};
use crate::types::Rank;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

/// First and longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(250));
/// After so many refusals of its proof in a row a dialer takes them for an answer.
const MAX_PROOFS_REFUSED: u32 = 8;

/// Where to connect to.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// A name or an IP address, looked up at every attempt: names of a job's hosts may appear late.
    Host {
        host: String,
        port: u16,
    },
    Tcp(SocketAddr),
    /// An abstract Unix socket.
    Abstract(Vec<u8>),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Host { host, port } => write!(f, "{host}:{port}"),
            Target::Tcp(address) => write!(f, "{address}"),
            Target::Abstract(name) => write!(f, "the abstract socket {}", String::from_utf8_lossy(name)),
        }
    }
}

impl Target {
    fn connect(&self, timeout: Duration) -> io::Result<Stream> {
        match self {
            Target::Tcp(address) => Stream::connect_tcp(address, timeout),
            Target::Abstract(name) => Stream::connect_abstract(name),
            Target::Host { host, port } => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                for address in (host.as_str(), *port).to_socket_addrs()? {
                    match Stream::connect_tcp(&address, timeout) {
                        Ok(stream) => return Ok(stream),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }
}

/// Why one attempt failed.
enum Attempt {
    /// Nothing listens there.
    Refused,
    /// It can't be reached, or did not let this rank through.
    Failed(String),
    /// It broke off after this rank had shown its proof.
    ProofRefused,
    /// Trying again would change nothing.
    Final(Error),
}

/// How to reach a rank.
pub(super) struct Dial<'a> {
    pub target: &'a Target,
    pub rank: Rank,
    pub key: &'a Key,
    /// Whether the rank is known to have listened before: then a refused connection means that its process has ended.
    pub has_listened: bool,
    pub deadline: Instant,
}

impl Dial<'_> {
    /// Connects and passes the challenge, again and again until it works. `hopeless` is asked before every attempt whether the
    /// other end is known to be gone.
    pub fn connect(&self, hopeless: &dyn Fn() -> Option<Error>) -> Result<Stream> {
        let mut pause = PAUSES.0;
        let mut proofs_refused = 0;
        loop {
            if let Some(error) = hopeless() {
                return Err(error);
            }
            let failure = match attempt(self.target, self.key, self.deadline) {
                Ok(stream) => return Ok(stream),
                Err(Attempt::Final(error)) => return Err(error),
                Err(Attempt::Refused) if self.has_listened => return Err(hopeless().unwrap_or_else(|| self.gone())),
                Err(Attempt::ProofRefused) => {
                    proofs_refused += 1;
                    if proofs_refused == MAX_PROOFS_REFUSED {
                        return Err(self.not_trusted());
                    }
                    "it broke off the challenge".to_owned()
                }
                Err(Attempt::Refused) => "nothing listens there".to_owned(),
                Err(Attempt::Failed(reason)) => {
                    proofs_refused = 0;
                    reason
                }
            };
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.too_late(&failure));
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    fn gone(&self) -> Error {
        let Dial { rank, target, .. } = self;
        Error::new(ErrorKind::PeerLost, format!("rank {rank} is lost: nothing listens at {target} any more"))
            .remedy(format!("look at the output of rank {rank}"))
    }

    fn not_trusted(&self) -> Error {
        let Dial { rank, target, .. } = self;
        Error::new(
            ErrorKind::Rendezvous,
            format!("rank {rank} at {target} turned this rank away {MAX_PROOFS_REFUSED} times after seeing its proof"),
        )
        .remedy("give all ranks of the job the same UNISONO_SECRET, and no other program this address")
    }

    fn too_late(&self, failure: &str) -> Error {
        let Dial { rank, target, .. } = self;
        Error::new(
            ErrorKind::Timeout,
            format!("rank {rank} could not be reached at {target} in the time given; at last: {failure}"),
        )
        .remedy(format!("look whether rank {rank} was started and can be reached there, or give a longer timeout"))
    }
}

fn attempt(target: &Target, key: &Key, deadline: Instant) -> std::result::Result<Stream, Attempt> {
    let now = Instant::now();
    // One attempt is made even when the time is up; a zero timeout is not allowed.
    let patience = PATIENCE.min(deadline.saturating_duration_since(now)).max(Duration::from_millis(1));
    let mut stream = target.connect(patience).map_err(|error| match error.kind() {
        _ if is_out_of_descriptors(&error) => Attempt::Final(no_descriptors(&error)),
        io::ErrorKind::ConnectionRefused => Attempt::Refused,
        _ => Attempt::Failed(error.to_string()),
    })?;
    match stream.is_of_own_user() {
        Ok(true) => {}
        Ok(false) => return Err(Attempt::Failed("a process of another user listens there".to_owned())),
        Err(error) => return Err(Attempt::Failed(error.to_string())),
    }
    challenge(&mut stream, key, now + patience)?;
    Ok(stream)
}

fn challenge(stream: &mut Stream, key: &Key, deadline: Instant) -> std::result::Result<(), Attempt> {
    let mut challenge = Challenge::dialer(key.clone()).map_err(Attempt::Final)?;
    let mut buffer = [0; 64];
    while challenge.wanted() > 0 {
        let output = challenge.take_output();
        let input = &mut buffer[..challenge.wanted()];
        write_all(stream, &output, deadline).and_then(|()| read_exact(stream, input, deadline)).map_err(
            |error| match (error.kind(), challenge.has_proved()) {
                (io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset, true) => Attempt::ProofRefused,
                (io::ErrorKind::TimedOut, _) => Attempt::Failed("what listens there does not answer".to_owned()),
                _ => Attempt::Failed(error.to_string()),
            },
        )?;
        challenge.feed(input).map_err(|refusal| Attempt::Failed(refusal.to_string()))?;
    }
    Ok(())
}

/// The one sentence for a process without file descriptors.
pub(super) fn no_descriptors(error: &io::Error) -> Error {
    Error::new(ErrorKind::Resource, format!("no file descriptor is left for a connection: {error}"))
        .remedy("raise the limit of open files (`ulimit -n`)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn nobody_at_home_means_late_or_gone() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for (target, has_listened, kind) in [
            (Target::Tcp(address), true, ErrorKind::PeerLost),
            (Target::Abstract(b"unisono-test-nobody".to_vec()), true, ErrorKind::PeerLost),
            (Target::Tcp(address), false, ErrorKind::Timeout),
            (Target::Host { host: "host.invalid".to_owned(), port: 1 }, false, ErrorKind::Timeout),
        ] {
            let limit = Duration::from_secs(if has_listened { 60 } else { 0 });
            let key = Key::from_secret("notes");
            let dial = Dial { target: &target, rank: 3, key: &key, has_listened, deadline: Instant::now() + limit };
            let error = dial.connect(&|| None).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.message().contains("rank 3") && error.message().contains(&target.to_string()), "{error}");
        }
    }

    #[test]
    fn who_is_known_to_be_gone_is_not_dialled() {
        let target = Target::Abstract(b"unisono-test-nobody".to_vec());
        let (key, deadline) = (Key::from_secret("notes"), Instant::now() + Duration::from_secs(60));
        let dial = Dial { target: &target, rank: 3, key: &key, has_listened: false, deadline };
        let error = dial.connect(&|| Some(Error::new(ErrorKind::PeerLost, "it left"))).unwrap_err();
        assert_eq!(error.message(), "it left");
    }
}
