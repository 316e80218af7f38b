//! The meeting: rank 0 waits at a place that all ranks know, the others come, and each learns the session and its neighbours.
//!
//! On one host without a given address the place is an abstract Unix socket named after user and job. It leaves no file
//! behind however the job ends, and there is no directory whose rights must be right: the kernel tells both ends whose
//! process the other is. An address with a secret is a TCP port that rank 0 alone binds, on exactly that address.
//!
//! The session's key is derived from the secret and a nonce, so that who listens to the meeting does not learn it.

mod verdicts;

use super::dial::{Dial, Target, no_descriptors};
use super::door::{Door, is_out_of_descriptors};
use super::environment::{Job, JobKey, Meeting};
use super::graph::neighbours;
use super::host::{HostId, parent_key};
use super::message::{Answer, Introduction, Request, Verdict};
use super::secret::{Key, random};
use super::socket::{Listener, Stream, Watch, own_uid, wait};
use super::wire::{Malformed, read_frame, write_all};
use crate::error::{Error, ErrorKind, Result};
use crate::types::Rank;
use sha2::{Digest, Sha256};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long rank 0 stays to tell late ranks why the meeting failed.
const AFTERMATH: Duration = Duration::from_secs(2);
/// How much longer than its own deadline a rank waits for rank 0 to say who was missing.
const GRACE: Duration = Duration::from_millis(250);

/// What a rank takes home from the meeting.
#[derive(Debug)]
pub(super) struct Met {
    pub session: Key,
    /// For control links and data, on an address that the other ranks can reach.
    pub listener: Listener,
    pub address: SocketAddr,
    pub neighbours: Vec<(Rank, SocketAddr)>,
}

/// Blocks until all ranks have come or the deadline passes.
pub(super) fn meet(job: &Job, host: &HostId, deadline: Instant) -> Result<Met> {
    let key = job.secret.clone().unwrap_or_else(Key::public);
    let place = place(&job.meeting)?;
    let met = if job.rank == 0 {
        Reception::open(job, host, key, &place, deadline).and_then(Reception::run)
    } else {
        attend(job, host, &key, &place, deadline)
    };
    met.map_err(|error| error.on_rank(job.rank))
}

fn place(meeting: &Meeting) -> Result<Target> {
    let key = match meeting {
        Meeting::Address { host, port } => return Ok(Target::Host { host: host.clone(), port: *port }),
        Meeting::Local(JobKey::Named(name)) => name.clone(),
        Meeting::Local(JobKey::Parent) => parent_key()?,
        Meeting::Alone => unreachable!("one rank meets nobody"),
    };
    let digest = Sha256::new().chain_update(own_uid().to_le_bytes()).chain_update(key).finalize();
    Ok(Target::Abstract(format!("unisono-{}", hex(&digest[..16])).into_bytes()))
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A free port of this address, for control links and data.
fn data_listener(address: IpAddr) -> Result<(Listener, SocketAddr)> {
    let failed = |error: io::Error| match is_out_of_descriptors(&error) {
        true => no_descriptors(&error),
        false => Error::new(ErrorKind::Resource, format!("no port of {address} can be had for data: {error}")),
    };
    let listener = Listener::bind_tcp(SocketAddr::new(address, 0)).map_err(failed)?;
    match listener.tcp_address() {
        Some(address) => Ok((listener, address)),
        None => Err(failed(io::ErrorKind::AddrNotAvailable.into())),
    }
}

fn cannot_listen(address: &dyn std::fmt::Display, error: &io::Error) -> Error {
    if is_out_of_descriptors(error) {
        return no_descriptors(error);
    }
    let message = format!("rank 0 can't listen on {address}: {error}");
    match error.kind() {
        io::ErrorKind::AddrInUse => Error::new(ErrorKind::Rendezvous, format!("{address} is in use: {error}")).remedy(
            "give the job another MASTER_PORT (or UNISONO_JOB_ID, on one host), or end the program that holds this one",
        ),
        io::ErrorKind::AddrNotAvailable => Error::new(ErrorKind::Rendezvous, message)
            .remedy("set MASTER_ADDR to an address of the host on which rank 0 runs"),
        io::ErrorKind::PermissionDenied => {
            Error::new(ErrorKind::Rendezvous, message).remedy("choose a MASTER_PORT of 1024 or more")
        }
        _ => Error::new(ErrorKind::Rendezvous, message),
    }
}

fn introduction(job: &Job, host: &HostId, address: SocketAddr) -> Introduction {
    Introduction { rank: job.rank, size: job.size, host: host.clone(), pid: std::process::id(), address }
}

/// The part of every rank but 0.
fn attend(job: &Job, host: &HostId, key: &Key, place: &Target, deadline: Instant) -> Result<Met> {
    let dial = Dial { target: place, rank: 0, key, has_listened: false, deadline };
    let mut stream = dial.connect(&|| None).map_err(|error| error.with_peer(0))?;
    // The address by which this host reaches rank 0 is one by which others of the job reach this host.
    let own_ip = stream.local_address().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip());
    let (listener, address) = data_listener(own_ip)?;
    let broken = |error: io::Error| match error.kind() {
        io::ErrorKind::TimedOut => Error::new(
            ErrorKind::Timeout,
            format!("not all {} ranks had come to rank 0 at {place} in the time given", job.size),
        )
        .remedy("look at what rank 0 says: it knows who is missing"),
        io::ErrorKind::InvalidData => Error::new(ErrorKind::Rendezvous, format!("rank 0 at {place} sent {error}")),
        _ => Error::new(ErrorKind::PeerLost, format!("rank 0 at {place} went away while the ranks met: {error}"))
            .remedy("look at the output of rank 0"),
    };
    let here = |error: io::Error| broken(error).with_peer(0);
    let request = Request::Join(introduction(job, host, address));
    write_all(&stream, &request.encode(), deadline).map_err(here)?;
    let body = read_frame(&mut stream, deadline + GRACE).map_err(here)?;
    let own_neighbours = neighbours(job.rank, job.size);
    match Answer::decode(&body).map_err(|malformed| here(malformed.into()))? {
        Answer::Welcome { nonce, neighbours } if neighbours.iter().map(|(rank, _)| *rank).eq(own_neighbours) => {
            Ok(Met { session: key.of_session(&nonce), listener, address, neighbours })
        }
        Answer::Welcome { .. } => Err(here(Malformed.into())),
        Answer::Refused(verdict) => Err(verdict.into_error()),
    }
}

struct Guest {
    introduction: Introduction,
    stream: Stream,
}

/// The part of rank 0.
struct Reception<'a> {
    job: &'a Job,
    own: Introduction,
    key: Key,
    place: String,
    door: Door,
    listener: Listener,
    /// By rank; none at 0.
    guests: Vec<Option<Guest>>,
    /// By rank: who has been here.
    came: Vec<bool>,
    /// Those for whom there was no seat; they hear why.
    unseated: Vec<Stream>,
    deadline: Instant,
}

impl<'a> Reception<'a> {
    fn open(job: &'a Job, host: &HostId, key: Key, place: &Target, deadline: Instant) -> Result<Reception<'a>> {
        let (meeting_point, data_ip, place) = match place {
            Target::Abstract(name) => {
                let point = Listener::bind_abstract(name).map_err(|error| cannot_listen(place, &error))?;
                (point, IpAddr::V4(Ipv4Addr::LOCALHOST), place.to_string())
            }
            Target::Host { host, port } => {
                let address = own_address(job, host, *port)?;
                let point = Listener::bind_tcp(address).map_err(|error| cannot_listen(&address, &error))?;
                (point, address.ip(), address.to_string())
            }
            Target::Tcp(_) => unreachable!("ranks meet at a name"),
        };
        let (listener, address) = data_listener(data_ip)?;
        Ok(Reception {
            own: introduction(job, host, address),
            door: Door::new(vec![meeting_point], key.clone()),
            guests: (0..job.size).map(|_| None).collect(),
            came: (0..job.size).map(|rank| rank == 0).collect(),
            unseated: Vec::new(),
            job,
            key,
            place,
            listener,
            deadline,
        })
    }

    fn run(mut self) -> Result<Met> {
        while self.missing() > 0 {
            let (gone, arrived) = self.turn(self.deadline)?;
            let mut verdict = gone.map(|rank| self.verdict_on_leaver(rank));
            for guest in arrived {
                let flaw = self.seat(guest);
                verdict = verdict.or(flaw);
            }
            if verdict.is_none() && self.missing() > 0 && self.door.is_starved() {
                verdict = Some(self.verdict_on_starvation());
            }
            if verdict.is_none() && self.missing() > 0 && Instant::now() >= self.deadline {
                verdict = Some(self.verdict_on_time());
            }
            if let Some(verdict) = verdict {
                return Err(self.give_up(verdict));
            }
        }
        self.welcome_all()
    }

    fn missing(&self) -> usize {
        self.came.iter().filter(|came| !**came).count()
    }

    /// Waits for something to happen; returns a rank that went away again, and who came.
    fn turn(&mut self, until: Instant) -> Result<(Option<Rank>, Vec<Guest>)> {
        let mut watches: Vec<Watch> =
            self.guests.iter().flatten().map(|guest| Watch::readable(guest.stream.as_fd())).collect();
        let guests = watches.len();
        self.door.watch(&mut watches);
        let until = self.door.wakes_at().map_or(until, |wakes_at| wakes_at.min(until));
        wait(&mut watches, Some(until)).map_err(|error| {
            Error::new(ErrorKind::Resource, format!("rank 0 can't wait for the other ranks: {error}"))
        })?;
        let spoke: Vec<bool> = watches[..guests].iter().map(Watch::is_ready).collect();
        let gone = self.guests.iter_mut().flatten().zip(spoke).filter(|(_, spoke)| *spoke).find_map(|(guest, _)| {
            let broke_off = match guest.stream.read(&mut [0]) {
                Err(error) => error.kind() != io::ErrorKind::WouldBlock,
                // Guests have nothing to say before they are answered.
                Ok(_) => true,
            };
            broke_off.then_some(guest.introduction.rank)
        });
        let arrived =
            self.door.serve(&watches[guests..], Instant::now())?.into_iter().filter_map(|(stream, request)| {
                match request {
                    Request::Join(introduction) => Some(Guest { introduction, stream }),
                    // These belong to other doors.
                    Request::Link { .. } | Request::Stream { .. } | Request::Handle { .. } => None,
                }
            });
        Ok((gone, arrived.collect()))
    }

    /// Gives a rank its seat; returns why the meeting can't succeed, if it has none.
    fn seat(&mut self, newcomer: Guest) -> Option<Verdict> {
        let introduction = &newcomer.introduction;
        let rank = introduction.rank;
        let seated = match self.guests.get(rank) {
            Some(guest) if rank > 0 => guest.as_ref().map(|guest| &guest.introduction),
            _ => Some(&self.own),
        };
        let verdict = if introduction.size != self.job.size {
            self.verdict_on_sizes(introduction)
        } else if rank >= self.job.size {
            self.verdict_on_rank(introduction)
        } else if let Some(seated) = seated {
            self.verdict_on_twins(seated, introduction)
        } else {
            self.came[rank] = true;
            self.guests[rank] = Some(newcomer);
            return None;
        };
        self.unseated.push(newcomer.stream);
        Some(verdict)
    }

    fn welcome_all(self) -> Result<Met> {
        // Closed first, so that a rank that hurries into the job's next meeting does not come to this one.
        drop(self.door);
        let nonce = random()?;
        let address_of = |rank: Rank| match &self.guests[rank] {
            Some(guest) => guest.introduction.address,
            None => self.own.address,
        };
        let neighbours_of =
            |rank| neighbours(rank, self.job.size).into_iter().map(|other| (other, address_of(other))).collect();
        for guest in self.guests.iter().flatten() {
            let neighbours = neighbours_of(guest.introduction.rank);
            answer(&guest.stream, &Answer::Welcome { nonce, neighbours });
        }
        let session = self.key.of_session(&nonce);
        Ok(Met { session, address: self.own.address, neighbours: neighbours_of(0), listener: self.listener })
    }

    /// Tells everyone who came, and for a moment those who still come.
    fn give_up(mut self, verdict: Verdict) -> Error {
        let refusal = Answer::Refused(verdict.clone());
        let until = Instant::now() + AFTERMATH;
        // When the time is up, it is up for the others too.
        let is_over = verdict.kind == ErrorKind::Timeout;
        loop {
            let guests = self.guests.iter_mut().filter_map(Option::take).map(|guest| guest.stream);
            for stream in guests.chain(self.unseated.drain(..)) {
                answer(&stream, &refusal);
            }
            if is_over || self.missing() == 0 || Instant::now() >= until {
                break;
            }
            let Ok((_, arrived)) = self.turn(until) else { break };
            for Guest { introduction, stream } in arrived {
                if let Some(came) = self.came.get_mut(introduction.rank) {
                    *came = true;
                }
                self.unseated.push(stream);
            }
        }
        verdict.into_error()
    }
}

/// Answers fit into the buffer of a socket that nothing was sent on, so a stopped rank holds nobody up; what does not arrive is
/// noticed by its neighbours.
fn answer(stream: &Stream, answer: &Answer) {
    let _ = write_all(stream, &answer.encode(), Instant::now() + GRACE);
}

/// The address of rank 0's own host that the name stands for. Debian's `127.0.1.1` for a host's own name is passed over: no
/// other host reaches it.
fn own_address(job: &Job, host: &str, port: u16) -> Result<SocketAddr> {
    let failed = |reason: String| {
        Error::new(ErrorKind::Rendezvous, format!("MASTER_ADDR={host} {reason}"))
            .remedy("set MASTER_ADDR to an IP address of rank 0's host")
    };
    let addresses: Vec<SocketAddr> =
        (host, port).to_socket_addrs().map_err(|error| failed(format!("names no address: {error}")))?.collect();
    let has_other_hosts = job.local_size.is_some_and(|count| count < job.size);
    match addresses.iter().find(|address| !address.ip().is_loopback()).or(addresses.first()) {
        Some(address) if has_other_hosts && address.ip().is_loopback() => {
            Err(failed(format!("is {} on this host, which ranks on other hosts can't reach", address.ip())))
        }
        Some(address) => Ok(*address),
        None => Err(failed("names no address".to_owned())),
    }
}
