//! Lets in who proves to belong to the job, and nobody else.
//!
//! Strangers may be many, silent, or talk nonsense: each costs one socket for at most [`PATIENCE`], none is waited for,
//! and at most [`MAX_PENDING`] are in the hall at once; then the oldest goes. Ranks that were pushed out dial again. Who has proved
//! itself stays, however long a machine that has too much to do keeps it from saying what for: it would not dial again.

use super::message::Request;
use super::secret::{Challenge, Key, Refusal};
use super::socket::{Listener, Stream, Watch, wait};
use crate::error::Result;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long one may take from connecting to its proof.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// How many unproven connections are held at once.
pub(super) const MAX_PENDING: usize = 256;
/// How many are accepted before the others get their turn.
const ACCEPTS_PER_TURN: usize = 64;
/// Rest after the process ran out of descriptors: the listener would be ready again at once.
const REST: Duration = Duration::from_millis(100);

/// Connections that were turned away, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TurnedAway {
    pub strangers: u64,
    pub versions: u64,
    pub secrets: u64,
    pub users: u64,
    pub silent: u64,
}

impl TurnedAway {
    pub fn total(&self) -> u64 {
        self.strangers + self.versions + self.secrets + self.users + self.silent
    }
}

impl fmt::Display for TurnedAway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reasons = [
            (self.secrets, "without the job's secret"),
            (self.users, "of another user"),
            (self.versions, "of another version"),
            (self.strangers, "that were no ranks"),
            (self.silent, "that broke off or stayed silent"),
        ];
        let parts: Vec<String> =
            reasons.iter().filter(|(count, _)| *count > 0).map(|(count, reason)| format!("{count} {reason}")).collect();
        f.write_str(&parts.join(", "))
    }
}

struct Pending {
    stream: Stream,
    challenge: Challenge,
    /// The first frame with its length, so far.
    request: Vec<u8>,
    since: Instant,
}

/// Why someone in the hall is shown out.
enum Out {
    Refused(Refusal),
    /// Closed, broken, or a first frame that can't be read.
    Broken,
}

impl From<io::Error> for Out {
    fn from(_: io::Error) -> Out {
        Out::Broken
    }
}

/// Listeners, and the connections that have not yet proved themselves.
pub(super) struct Door {
    listeners: Vec<Listener>,
    key: Key,
    pending: VecDeque<Pending>,
    turned_away: TurnedAway,
    resting_until: Option<Instant>,
    starved: bool,
}

impl Door {
    pub fn new(listeners: Vec<Listener>, key: Key) -> Door {
        Door {
            listeners,
            key,
            pending: VecDeque::new(),
            turned_away: TurnedAway::default(),
            resting_until: None,
            starved: false,
        }
    }

    pub fn turned_away(&self) -> TurnedAway {
        self.turned_away
    }

    /// Whether someone waits outside for whom this process has no file descriptor, and nobody in the hall could make room.
    pub fn is_starved(&self) -> bool {
        self.starved
    }

    /// Adds what to wait for.
    pub fn watch(&self, watches: &mut Vec<Watch>) {
        if self.resting_until.is_none() {
            watches.extend(self.listeners.iter().map(|listener| Watch::readable(listener.as_fd())));
        }
        watches.extend(self.pending.iter().map(|pending| Watch::readable(pending.stream.as_fd())));
    }

    /// When the door wants its turn though nothing came.
    pub fn wakes_at(&self) -> Option<Instant> {
        let oldest = self.pending.iter().find(|pending| !pending.is_proven()).map(|pending| pending.since + PATIENCE);
        oldest.into_iter().chain(self.resting_until).min()
    }

    /// Moves everything that can move without waiting; returns who came in. `watches` are those of [`Door::watch`].
    pub fn serve(&mut self, watches: &[Watch], now: Instant) -> Result<Vec<(Stream, Request)>> {
        let is_due = self.wakes_at().is_some_and(|wakes_at| wakes_at <= now);
        if !is_due && !watches.iter().any(Watch::is_ready) {
            return Ok(Vec::new());
        }
        self.resting_until = self.resting_until.filter(|until| *until > now);
        let mut arrived = Vec::new();
        for mut pending in std::mem::take(&mut self.pending) {
            match pending.advance() {
                Ok(Some(request)) => arrived.push((pending.stream, request)),
                Ok(None) if now >= pending.since + PATIENCE && !pending.is_proven() => self.turned_away.silent += 1,
                Ok(None) => self.pending.push_back(pending),
                Err(Out::Broken) => self.turned_away.silent += 1,
                Err(Out::Refused(Refusal::Stranger)) => self.turned_away.strangers += 1,
                Err(Out::Refused(Refusal::Version { .. })) => self.turned_away.versions += 1,
                Err(Out::Refused(Refusal::Secret)) => self.turned_away.secrets += 1,
            }
        }
        if self.resting_until.is_none() {
            for index in 0..self.listeners.len() {
                self.accept_from(index, now)?;
            }
        }
        Ok(arrived)
    }

    fn accept_from(&mut self, index: usize, now: Instant) -> Result<()> {
        for _ in 0..ACCEPTS_PER_TURN {
            // Asked first, since without a free descriptor the kernel would refuse to accept even nobody.
            if !has_caller(&self.listeners[index]) {
                break;
            }
            match self.listeners[index].accept() {
                Ok(stream) => {
                    self.starved = false;
                    self.admit(stream, now)?;
                }
                Err(error) if is_out_of_descriptors(&error) => {
                    // Who is in the hall makes room within their patience.
                    self.starved = self.pending.is_empty();
                    self.resting_until = Some(now + REST);
                    break;
                }
                // Who was there has gone again.
                Err(_) => break,
            }
        }
        Ok(())
    }

    fn admit(&mut self, stream: Stream, now: Instant) -> Result<()> {
        if !stream.is_of_own_user().unwrap_or(false) {
            self.turned_away.users += 1;
            return Ok(());
        }
        if self.pending.len() >= MAX_PENDING
            && let Some(oldest) = self.pending.iter().position(|pending| !pending.is_proven())
        {
            self.pending.remove(oldest);
            self.turned_away.silent += 1;
        }
        let challenge = Challenge::acceptor(self.key.clone())?;
        self.pending.push_back(Pending { stream, challenge, request: Vec::new(), since: now });
        Ok(())
    }
}

impl Pending {
    fn is_proven(&self) -> bool {
        self.challenge.wanted() == 0
    }

    /// Reads as far as bytes have come, never past the first frame.
    fn advance(&mut self) -> std::result::Result<Option<Request>, Out> {
        let mut buffer = [0; Request::MAX_BYTES];
        loop {
            let wanted = match self.challenge.wanted() {
                0 => self.request_wanted()?,
                wanted => wanted,
            };
            if wanted == 0 {
                return Request::decode(&self.request[4..]).map(Some).map_err(|_| Out::Broken);
            }
            let bytes = match self.stream.read(&mut buffer[..wanted]) {
                Ok(0) => return Err(Out::Broken),
                Ok(count) => &buffer[..count],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            if self.is_proven() {
                self.request.extend_from_slice(bytes);
                continue;
            }
            self.challenge.feed(bytes).map_err(Out::Refused)?;
            let answer = self.challenge.take_output();
            // A fresh socket takes so few bytes at once, or its other end is up to no good.
            if !answer.is_empty() && self.stream.send(&answer)? < answer.len() {
                return Err(Out::Broken);
            }
        }
    }

    /// Bytes that the first frame still lacks.
    fn request_wanted(&self) -> std::result::Result<usize, Out> {
        let Some((length, body)) = self.request.split_first_chunk::<4>() else { return Ok(4 - self.request.len()) };
        let length = u32::from_le_bytes(*length) as usize;
        if length > Request::MAX_BYTES { Err(Out::Broken) } else { Ok(length - body.len()) }
    }
}

fn has_caller(listener: &Listener) -> bool {
    let mut watch = [Watch::readable(listener.as_fd())];
    // A wait that fails looks like nobody; the next turn asks again.
    let _ = wait(&mut watch, Some(Instant::now()));
    watch[0].is_ready()
}

/// Whether the process or the host has no file descriptor left.
pub(super) fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, SocketAddr};

    /// A door, and as many callers as wanted who said nothing yet.
    fn door_with_callers(count: usize) -> (Door, Vec<Stream>, Instant) {
        let listener = Listener::bind_tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.tcp_address().unwrap();
        let mut door = Door::new(vec![listener], Key::from_secret("notes"));
        let (mut callers, now) = (Vec::new(), Instant::now());
        for _ in 0..count {
            callers.push(Stream::connect_tcp(&address, Duration::from_secs(60)).unwrap());
            assert!(serve_when_ready(&mut door, now).is_empty());
        }
        (door, callers, now)
    }

    fn serve_when_ready(door: &mut Door, now: Instant) -> Vec<(Stream, Request)> {
        let mut watches = Vec::new();
        door.watch(&mut watches);
        wait(&mut watches, Some(Instant::now() + Duration::from_secs(60))).unwrap();
        door.serve(&watches, now).unwrap()
    }

    fn was_shown_out(caller: &mut Stream) -> bool {
        let soon = Instant::now() + Duration::from_secs(60);
        match crate::bootstrap::wire::read_exact(caller, &mut [0], soon) {
            Err(error) => error.kind() == io::ErrorKind::UnexpectedEof,
            Ok(()) => false,
        }
    }

    #[test]
    fn the_silent_are_shown_out_when_patience_ends() {
        let (mut door, mut callers, now) = door_with_callers(2);
        assert_eq!(door.wakes_at(), Some(now + PATIENCE));
        door.serve(&[], now + PATIENCE - Duration::from_nanos(1)).unwrap();
        assert_eq!((door.pending.len(), door.turned_away().total()), (2, 0));
        door.serve(&[], now + PATIENCE).unwrap();
        assert_eq!((door.pending.len(), door.turned_away().silent), (0, 2));
        assert!(callers.iter_mut().all(was_shown_out));
        assert_eq!(door.wakes_at(), None);
    }

    #[test]
    fn who_has_proved_itself_stays() {
        let (mut door, mut callers, now) = door_with_callers(MAX_PENDING);
        let mut dialer = Challenge::dialer(Key::from_secret("notes")).unwrap();
        while dialer.wanted() > 0 {
            callers[0].send(&dialer.take_output()).unwrap();
            assert!(serve_when_ready(&mut door, now).is_empty());
            let mut said = vec![0; dialer.wanted()];
            callers[0].read_exact(&mut said).unwrap();
            dialer.feed(&said).unwrap();
        }
        door.serve(&[], now + 10 * PATIENCE).unwrap();
        assert_eq!((door.pending.len(), door.wakes_at()), (1, None));
        callers[0].send(&Request::Link { rank: 3 }.encode()).unwrap();
        let arrived = serve_when_ready(&mut door, now + 10 * PATIENCE);
        assert!(matches!(arrived[..], [(_, Request::Link { rank: 3 })]));
    }

    #[test]
    fn a_full_hall_loses_the_oldest() {
        let (door, mut callers, _) = door_with_callers(MAX_PENDING + 2);
        assert_eq!((door.pending.len(), door.turned_away().silent), (MAX_PENDING, 2));
        assert!(callers[..2].iter_mut().all(was_shown_out));
        let error = callers[2].read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "the third is still there");
    }

    #[test]
    fn every_reason_is_counted_and_told() {
        let (mut door, callers, now) = door_with_callers(2);
        callers[0].send(b"GET /").unwrap();
        serve_when_ready(&mut door, now);
        drop(callers);
        serve_when_ready(&mut door, now);
        assert_eq!(door.turned_away().to_string(), "1 that were no ranks, 1 that broke off or stayed silent");
    }
}
