//! A network for tests, in memory and under a virtual clock, on which all goes wrong that may.
//!
//! Messages take a seeded time each, so those of different links overtake one another and those of one link never do. A
//! push is taken in part, or refused for a while. Links are cut and ranks die at set times; what was on the way is lost.
//! Where it lends, memory is read in place at any time until it is given back or revoked.
//!
//! One thread runs all ranks; who moves time on asks [`Network::next_event`] how far.

use super::{Head, Lent, Loan, Record, Taken};
use crate::clock::VirtualClock;
use crate::error::{Error, ErrorKind, Result};
use crate::types::Rank;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Chance with a seed: SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }
}

/// What the network is like where nothing is broken.
#[derive(Clone, Debug)]
pub struct Weather {
    pub longest_delay: Duration,
    /// Bytes of a link that are pushed and not yet taken, at least 64; and loans that are out.
    pub capacity: usize,
    pub loans: usize,
    /// Bytes that one push takes at most.
    pub largest_push: usize,
    /// One push in so many is refused for a while; 1 is never.
    pub refusal_odds: u64,
    /// Whether ranks read each other's memory, as threads do.
    pub lends: bool,
}

impl Weather {
    pub fn seeded(random: &mut Random) -> Weather {
        Weather {
            longest_delay: Duration::from_nanos(1 << random.below(20)),
            capacity: 64 << random.below(10),
            loans: 1 + random.below(4) as usize,
            largest_push: 1 << random.below(14),
            refusal_odds: 2 + random.below(8),
            lends: random.one_in(3),
        }
    }
}

/// What breaks.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// The connection of these two.
    Link(Rank, Rank),
    /// All connections of this rank, which moves no more.
    Rank(Rank),
}

#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub what: What,
    pub at: Duration,
    /// Both ends of a broken link see an error at once; otherwise they only hear nothing more.
    pub loud: bool,
}

impl Fault {
    fn separates(&self, a: Rank, b: Rank) -> bool {
        match self.what {
            What::Link(c, d) => (a, b) == (c, d) || (a, b) == (d, c),
            What::Rank(dead) => a == dead || b == dead,
        }
    }
}

/// The network among the ranks of one communicator.
pub struct Network {
    clock: Arc<VirtualClock>,
    weather: Weather,
    fault: Option<Fault>,
    state: Mutex<State>,
}

struct State {
    random: Random,
    names: HashMap<Ends, usize>,
    wires: Vec<Wire>,
    events: BinaryHeap<Reverse<Duration>>,
    moves: u64,
}

/// One direction of one channel.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Ends {
    from: Rank,
    to: Rank,
    channel: u16,
}

#[derive(Default)]
struct Wire {
    /// Sent and not yet seen by the receiver.
    packets: VecDeque<Packet>,
    last_arrival: Duration,
    refuses_until: Duration,
    /// Bytes that were pushed and not yet taken.
    inside: usize,
    loans: Vec<Borrowed>,
}

struct Packet {
    head: Head,
    /// None: lost.
    arrives: Option<Duration>,
    body: Body,
}

enum Body {
    Bytes(Vec<u8>),
    Lent { number: usize, address: usize, len: usize },
}

/// A loan, from the lender's side.
#[derive(Default)]
struct Borrowed {
    taken: bool,
    memory: Range<usize>,
    /// When the lender learns that it is back.
    returned: Option<Duration>,
    revoked: bool,
}

impl Network {
    pub fn new(clock: Arc<VirtualClock>, seed: u64, weather: Weather, fault: Option<Fault>) -> Arc<Network> {
        let state = State {
            random: Random(seed),
            names: HashMap::new(),
            wires: Vec::new(),
            events: fault.iter().map(|fault| Reverse(fault.at)).collect(),
            moves: 0,
        };
        Arc::new(Network { clock, weather, fault, state: Mutex::new(state) })
    }

    pub fn lends(&self) -> bool {
        self.weather.lends
    }

    /// How often anybody sent or took something.
    pub fn moves(&self) -> u64 {
        self.lock().moves
    }

    /// When the network changes next by itself, since the clock's beginning; None if it does not.
    pub fn next_event(&self) -> Option<Duration> {
        let now = self.clock.elapsed();
        let mut state = self.lock();
        while state.events.peek().is_some_and(|event| event.0 <= now) {
            state.events.pop();
        }
        state.events.peek().map(|event| event.0)
    }

    /// The index of this wire, for both of its ends.
    fn wire(&self, ends: Ends) -> usize {
        let mut state = self.lock();
        let State { names, wires, .. } = &mut *state;
        *names.entry(ends).or_insert_with(|| {
            wires.push(Wire::default());
            wires.len() - 1
        })
    }

    /// Whether some rank may still read this memory, which was lent to it.
    pub fn may_read(&self, memory: &[u8]) -> bool {
        let memory = memory.as_ptr_range();
        let overlaps = |lent: &Range<usize>| lent.start < memory.end.addr() && memory.start.addr() < lent.end;
        let state = self.lock();
        let mut loans = state.wires.iter().flat_map(|wire| &wire.loans);
        loans.any(|loan| !loan.taken && !loan.revoked && overlaps(&loan.memory))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic under this lock")
    }

    /// The fault that has broken this link by now.
    fn broken(&self, ends: Ends) -> Option<Fault> {
        self.fault.filter(|fault| fault.separates(ends.from, ends.to) && self.clock.elapsed() >= fault.at)
    }

    /// When something that leaves now gets to the other end; None if the link breaks before.
    fn arrival(&self, state: &mut State, ends: Ends, not_before: Duration) -> Option<Duration> {
        let delay = Duration::from_nanos(1 + state.random.below(self.weather.longest_delay.as_nanos() as u64));
        let arrives = (self.clock.elapsed() + delay).max(not_before);
        let lost = self.fault.is_some_and(|fault| fault.separates(ends.from, ends.to) && fault.at <= arrives);
        state.events.push(Reverse(arrives));
        (!lost).then_some(arrives)
    }
}

#[cold]
fn lost(peer: Rank) -> Error {
    Error::new(ErrorKind::PeerLost, format!("the connection to rank {peer} broke")).with_peer(peer)
}

/// The sending end.
pub struct Sender {
    network: Arc<Network>,
    ends: Ends,
    wire: usize,
}

impl Sender {
    pub fn open(network: &Arc<Network>, from: Rank, to: Rank, channel: u16) -> Sender {
        let ends = Ends { from, to, channel };
        Sender { network: network.clone(), ends, wire: network.wire(ends) }
    }

    /// # Safety
    /// `data` must be readable for `available` bytes.
    pub unsafe fn push(&mut self, head: Head, data: *const u8, available: usize) -> Result<usize> {
        let Sender { network, ends, wire: index } = self;
        if network.broken(*ends).is_some_and(|fault| fault.loud) {
            return Err(lost(ends.to));
        }
        let now = network.clock.elapsed();
        let mut state = network.lock();
        let state = &mut *state;
        let wire = &mut state.wires[*index];
        let room = network.weather.capacity - wire.inside;
        if room == 0 || now < wire.refuses_until {
            return Ok(0);
        }
        if state.random.one_in(network.weather.refusal_odds) {
            wire.refuses_until = now + network.weather.longest_delay;
            state.events.push(Reverse(wire.refuses_until));
            return Ok(0);
        }
        let most = room.min(available).min(network.weather.largest_push);
        let len = 1 + state.random.below(most as u64) as usize;
        // SAFETY: len <= available, which the caller vouches for.
        let bytes = unsafe { std::slice::from_raw_parts(data, len) }.to_vec();
        wire.inside += len;
        send(network, state, (*ends, *index), head, Body::Bytes(bytes));
        Ok(len)
    }

    pub fn lend(&mut self, head: Head, loan: Loan, len: u64) -> Option<u64> {
        let Sender { network, ends, wire: index } = self;
        let Loan::Address(address) = loan else { unreachable!("a network without windows") };
        let mut state = network.lock();
        let state = &mut *state;
        let wire = &mut state.wires[*index];
        if wire.loans.iter().filter(|loan| !loan.taken).count() >= network.weather.loans {
            return None;
        }
        let number = wire.loans.len();
        let address = address.expose_provenance();
        wire.loans.push(Borrowed { memory: address..address + len as usize, ..Borrowed::default() });
        send(network, state, (*ends, *index), head, Body::Lent { number, address, len: len as usize });
        Some(number as u64)
    }

    pub fn is_returned(&mut self, number: u64) -> bool {
        let now = self.network.clock.elapsed();
        self.network.lock().wires[self.wire].loans[number as usize].returned.is_some_and(|at| at <= now)
    }

    pub fn revoke(&mut self) {
        self.network.lock().wires[self.wire].loans.iter_mut().for_each(|loan| loan.revoked = true);
    }
}

fn send(network: &Network, state: &mut State, (ends, wire): (Ends, usize), head: Head, body: Body) {
    let not_before = state.wires[wire].last_arrival;
    let arrives = network.arrival(state, ends, not_before);
    let wire = &mut state.wires[wire];
    wire.last_arrival = arrives.unwrap_or(wire.last_arrival);
    wire.packets.push_back(Packet { head, arrives, body });
    state.moves += 1;
}

/// The receiving end.
pub struct Receiver {
    network: Arc<Network>,
    ends: Ends,
    wire: usize,
    /// Of the message that is being received.
    head: Head,
    /// What has come of it and was not taken, from `start`.
    buffer: Vec<u8>,
    start: usize,
    /// Bytes of it that have not come.
    missing: u64,
    lent: Option<Reading>,
}

#[derive(Clone, Copy)]
struct Reading {
    number: usize,
    address: usize,
    len: usize,
    held: bool,
}

impl Receiver {
    pub fn open(network: &Arc<Network>, from: Rank, to: Rank, channel: u16) -> Receiver {
        let ends = Ends { from, to, channel };
        Receiver {
            network: network.clone(),
            ends,
            wire: network.wire(ends),
            head: Head { fingerprint: 0, message_bytes: 0 },
            buffer: Vec::new(),
            start: 0,
            missing: 0,
            lent: None,
        }
    }

    /// Shows whole 8-byte words of the message, or its end, so that elements are never cut.
    pub fn peek(&mut self) -> Result<Option<Record>> {
        self.receive();
        if let Some(lent) = self.lent {
            let data = std::ptr::with_exposed_provenance(lent.address);
            return Ok(Some(Record { head: self.head, data, len: lent.len, lent: Lent::Address }));
        }
        let here = self.buffer.len() - self.start;
        let len = if self.missing == 0 { here } else { here & !7 };
        if len > 0 {
            let data = self.buffer[self.start..].as_ptr();
            return Ok(Some(Record { head: self.head, data, len, lent: Lent::Not }));
        }
        match self.network.broken(self.ends) {
            Some(fault) if fault.loud => Err(lost(self.ends.from)),
            _ => Ok(None),
        }
    }

    /// Takes the packets in that have come, as far as the message that is being received goes.
    fn receive(&mut self) {
        let now = self.network.clock.elapsed();
        let mut state = self.network.lock();
        let packets = &mut state.wires[self.wire].packets;
        while packets.front().and_then(|packet| packet.arrives).is_some_and(|arrives| arrives <= now) {
            if self.missing == 0 {
                if self.start < self.buffer.len() || self.lent.is_some() {
                    return;
                }
                (self.head, self.missing) = (packets[0].head, packets[0].head.message_bytes);
                self.buffer.clear();
                self.start = 0;
            }
            match packets.pop_front().expect("there is one").body {
                Body::Bytes(bytes) => {
                    self.missing -= bytes.len() as u64;
                    self.buffer.extend(bytes);
                }
                Body::Lent { number, address, len } => {
                    self.missing = 0;
                    self.lent = Some(Reading { number, address, len, held: false });
                }
            }
        }
    }

    pub fn hold(&mut self) -> bool {
        let lent = self.lent.as_mut().expect("peek showed a loan");
        lent.held = !self.network.lock().wires[self.wire].loans[lent.number].revoked;
        lent.held
    }

    pub fn release(&mut self) {
        if let Some(lent) = &mut self.lent {
            lent.held = false;
        }
    }

    pub fn take(&mut self, bytes: usize, record_len: usize) -> Taken {
        let Receiver { network, ends, wire, lent, .. } = self;
        let mut state = network.lock();
        let state = &mut *state;
        state.moves += 1;
        match lent {
            Some(loan) => {
                assert!(loan.held, "rank {} read what rank {} had lent without holding it", ends.to, ends.from);
                loan.held = false;
                loan.address += bytes;
                loan.len -= bytes;
                if loan.len == 0 {
                    let back = Ends { from: ends.to, to: ends.from, ..*ends };
                    let returned = network.arrival(state, back, Duration::ZERO);
                    let borrowed = &mut state.wires[*wire].loans[loan.number];
                    (borrowed.taken, borrowed.returned) = (true, returned);
                    *lent = None;
                }
            }
            None => {
                self.start += bytes;
                state.wires[*wire].inside -= bytes;
            }
        }
        if bytes == record_len { Taken::All } else { Taken::Part }
    }
}
