//! What copies and hand-overs among the ranks of a host cost: a few figures, measured or assumed, and what follows from them.

use super::quantity::{Constant, Origin, Quantity};
use crate::types::{Collective, TransportKind};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// How fast a host is, apart from what runs there. `calibrate` measures it; [`Speeds::ASSUMED`] is a table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speeds {
    /// From a store of one thread until another that waits for it on its own processor has seen it.
    pub hand_over_ns: f64,
    /// Until a thread runs to which another yields its processor.
    pub switch_ns: f64,
    /// Of a copy while as many processors copy as the job has ranks here, up to 16: where both buffers together fit into a processor's own cache, into its share of the
    /// last cache, and into none.
    pub own_cache_ns_per_byte: f64,
    pub last_cache_ns_per_byte: f64,
    pub memory_ns_per_byte: f64,
    /// A processor's share of the last cache.
    pub last_cache_bytes: f64,
    pub measured: Measured,
}

/// Which of the [`Speeds`] are this host's own; the others are of the table. What else runs on a host may keep single ones from
/// being measured in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    pub hand_over: bool,
    pub switch: bool,
    pub own_cache: bool,
    pub last_cache: bool,
    pub memory: bool,
    /// The share of the last cache, which is asked of the system.
    pub last_cache_bytes: bool,
}

impl Measured {
    pub const NONE: Measured = Measured {
        hand_over: false,
        switch: false,
        own_cache: false,
        last_cache: false,
        memory: false,
        last_cache_bytes: false,
    };
}

/// The host of [`Speeds::ASSUMED`] and of what is fitted below.
const TABLE_HOST: &str = "2 cores of an AMD EPYC (virtual machine, AVX-512), 24 November 2026";

/// As much as both buffers of a copy may have together to lie in a processor's own cache, on any processor of these years.
const OWN_CACHE_BYTES: f64 = (512 << 10) as f64;

impl Speeds {
    /// What `calibrate` measured on 2 cores of an AMD EPYC (virtual machine, AVX-512), 24 November 2026.
    pub const ASSUMED: Speeds = Speeds {
        hand_over_ns: 32.0,
        switch_ns: 1000.0,
        own_cache_ns_per_byte: 0.018,
        last_cache_ns_per_byte: 0.021,
        memory_ns_per_byte: 0.11,
        last_cache_bytes: (16 << 20) as f64,
        measured: Measured::NONE,
    };

    /// Of a copy, where what a processor works on has so many bytes: in steps at the sizes of the caches, which are blurred over a
    /// factor of 4.
    pub fn copy_ns_per_byte(&self, working_set_bytes: f64) -> f64 {
        let step = |low: f64, high: f64, from: f64, to: f64| {
            let share = (working_set_bytes.max(1.0) / from).log2() / (to / from).log2();
            low + (high - low) * share.clamp(0.0, 1.0)
        };
        let last = self.last_cache_bytes.max(2.0 * OWN_CACHE_BYTES);
        let (own, last_ns) = (self.own_cache_ns_per_byte, self.last_cache_ns_per_byte);
        step(own, last_ns, OWN_CACHE_BYTES, 2.0 * OWN_CACHE_BYTES)
            + step(0.0, self.memory_ns_per_byte - last_ns, last / 2.0, last * 2.0)
    }

    /// Each figure as a constant, with where it comes from.
    fn constants(&self) -> [Constant; 6] {
        let given = |name: &'static str, unit: &'static str, value: f64, is_own: bool, how: &'static str| {
            let (origin, source): (Origin, Cow<'static, str>) = match is_own {
                true => (Origin::Measured, how.into()),
                false => (Origin::Assumed, format!("as measured on {TABLE_HOST}").into()),
            };
            Constant { name: name.into(), unit: unit.into(), quantity: Quantity { value, origin, source } }
        };
        let (here, told) = ("on this host by rank 0, when it began", "by Linux of this host, which told rank 0");
        let Measured { hand_over, switch, own_cache, last_cache, memory, last_cache_bytes } = self.measured;
        let cache_mib = self.last_cache_bytes / f64::from(1 << 20);
        [
            given("copy in a processor's own cache", "GB/s", 1.0 / self.own_cache_ns_per_byte, own_cache, here),
            given("copy in its share of the last cache", "GB/s", 1.0 / self.last_cache_ns_per_byte, last_cache, here),
            given(
                "copy in memory, a processor for each rank at work",
                "GB/s",
                1.0 / self.memory_ns_per_byte,
                memory,
                here,
            ),
            given("share of the last cache", "MiB", cache_mib, last_cache_bytes, told),
            given("hand-over between processors", "us", self.hand_over_ns / 1e3, hand_over, here),
            given("switch of threads on a processor", "us", self.switch_ns / 1e3, switch, here),
        ]
    }
}

/// The cost of messages among the ranks of a communicator. All ranks of it have the same.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Constants {
    pub speeds: Speeds,
    /// Between ranks of one host.
    pub inside: TransportKind,
    /// On the host that has most of them.
    pub ranks_per_host: usize,
    pub processors: usize,
}

/// What a message costs between two ranks that are not on one processor, and what a byte costs who sends it and who receives it: so
/// much, and so many passes of a copy's.
///
/// Fitted to `unisono bench all_reduce` of 2 ranks, 8 B to 64 MiB; latency and messages among ranks that outnumber their processors to
/// 4, 8 and 32 ranks there.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Wire {
    latency_ns: f64,
    hand_overs: f64,
    message_ns: f64,
    /// Where ranks take turns, every rank of a processor has had so many turns before a message is through.
    turns: f64,
    crowded_message_ns: f64,
    send_ns_per_byte: f64,
    send_passes: f64,
    receive_ns_per_byte: f64,
    receive_passes: f64,
    /// Passes of copies in a cache, of what is handed over in pieces.
    cached_passes: f64,
}

/// The receiver reads the sender's own memory.
const MEMORY: Wire = Wire {
    latency_ns: 140.0,
    hand_overs: 3.0,
    message_ns: 40.0,
    turns: 3.0,
    crowded_message_ns: 400.0,
    send_ns_per_byte: 0.0,
    send_passes: 0.0,
    receive_ns_per_byte: 0.0,
    receive_passes: 1.5,
    cached_passes: 0.0,
};

/// The sender copies into a ring, the receiver out of it, both in pieces that stay in cache.
const SHM: Wire = Wire { send_passes: 0.9, receive_passes: 0.95, cached_passes: 0.75, ..MEMORY };

/// The kernel copies twice, and whoever waits is woken.
const TCP: Wire = Wire {
    latency_ns: 5_200.0,
    hand_overs: 0.0,
    message_ns: 1_500.0,
    turns: 15.0,
    crowded_message_ns: 3_000.0,
    send_ns_per_byte: 0.135,
    send_passes: 1.25,
    receive_ns_per_byte: 0.135,
    receive_passes: 1.25,
    cached_passes: 0.0,
};

impl Wire {
    fn of(kind: TransportKind) -> &'static Wire {
        match kind {
            TransportKind::Memory => &MEMORY,
            TransportKind::Shm => &SHM,
            TransportKind::Tcp => &TCP,
        }
    }
}

/// What one way of passing messages costs a rank.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Way {
    pub hop_ns: f64,
    /// What each further message costs its sender.
    pub message_ns: f64,
    pub send_ns_per_byte: f64,
    pub receive_ns_per_byte: f64,
    /// Of a copy in its own memory.
    pub copy_ns_per_byte: f64,
}

impl Constants {
    /// For ranks that reach each other by this transport on their host, with so many ranks on a host of `processors`.
    pub fn of(inside: TransportKind, ranks_per_host: usize, processors: usize) -> Constants {
        Constants { speeds: Speeds::ASSUMED, inside, ranks_per_host, processors: processors.max(1) }
    }

    /// On a host of this speed.
    pub fn with_speeds(self, speeds: Speeds) -> Constants {
        Constants { speeds, ..self }
    }

    /// How many ranks take turns on a processor; 1 where each has its own.
    pub fn ranks_per_processor(&self) -> f64 {
        (self.ranks_per_host as f64 / self.processors as f64).max(1.0)
    }

    /// What a processor works on while its ranks have input and output of so many bytes each.
    pub fn working_set_bytes(&self, bytes: f64) -> f64 {
        2.0 * bytes * self.ranks_per_processor()
    }

    /// Between ranks of a host, where a collective has so many bytes.
    pub fn inside(&self, bytes: f64) -> Way {
        self.way(Wire::of(self.inside), bytes)
    }

    /// Between hosts.
    pub fn crossing(&self, bytes: f64) -> Way {
        self.way(&TCP, bytes)
    }

    fn way(&self, wire: &Wire, bytes: f64) -> Way {
        let (speeds, turns) = (&self.speeds, self.ranks_per_processor());
        let (hop_ns, message_ns) = match turns > 1.0 {
            true => (wire.turns * speeds.switch_ns * turns, wire.crowded_message_ns * turns),
            false => (wire.latency_ns + wire.hand_overs * speeds.hand_over_ns, wire.message_ns),
        };
        let pass_ns = speeds.copy_ns_per_byte(self.working_set_bytes(bytes));
        let cached_ns = wire.cached_passes * speeds.own_cache_ns_per_byte;
        Way {
            hop_ns,
            message_ns,
            send_ns_per_byte: wire.send_ns_per_byte + wire.send_passes * pass_ns + cached_ns,
            copy_ns_per_byte: pass_ns,
            receive_ns_per_byte: wire.receive_ns_per_byte + wire.receive_passes * pass_ns + cached_ns,
        }
    }

    /// The rate at which a rank's link passes bytes each way, at best, for lower bounds: what prices never fall below.
    pub fn link_bytes_per_s(&self, collective: Collective, bytes: u64) -> f64 {
        let way = self.inside(bytes as f64);
        let (send_ns, receive_ns) = (way.send_ns_per_byte, way.receive_ns_per_byte);
        let ns_per_byte = match (collective.has_root(), send_ns > 0.0) {
            // One rank may only send, and others may only receive, while the rest do nothing.
            (true, true) => send_ns.min(receive_ns),
            (true, false) => receive_ns,
            // Every rank receives as much as it sends.
            (false, _) => (send_ns + receive_ns) * self.ranks_per_processor(),
        };
        1e9 / ns_per_byte
    }

    /// What the prices of a collective of so many bytes rest on, with where it comes from.
    pub fn with_sources(&self, bytes: u64) -> Vec<Constant> {
        let way = self.inside(bytes as f64);
        let fitted: Cow<'static, str> =
            format!("to unisono bench all_reduce on {TABLE_HOST}, from the figures above").into();
        let follows = |name: &'static str, unit: &'static str, value: f64| Constant {
            name: name.into(),
            unit: unit.into(),
            quantity: Quantity { value, origin: Origin::Fitted, source: fitted.clone() },
        };
        let mut all = Vec::from(self.speeds.constants());
        all.extend([
            follows("hop, rank to rank", "us", way.hop_ns / 1e3),
            follows("each further message of a rank", "us", way.message_ns / 1e3),
            follows("receiving at this size", "GB/s", 1.0 / way.receive_ns_per_byte),
        ]);
        if way.send_ns_per_byte > 0.0 {
            all.push(follows("sending at this size", "GB/s", 1.0 / way.send_ns_per_byte));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_never_takes_less_time_in_a_larger_working_set() {
        let odd = Speeds { last_cache_bytes: 0.0, ..Speeds::ASSUMED };
        for speeds in [Speeds::ASSUMED, odd] {
            let times: Vec<f64> = (0..40).map(|shift| speeds.copy_ns_per_byte((1u64 << shift) as f64)).collect();
            assert!(times.is_sorted(), "{times:?}");
            assert_eq!(times[0], speeds.own_cache_ns_per_byte);
            assert!((times[39] - speeds.memory_ns_per_byte).abs() < 1e-12, "{times:?}");
        }
    }

    #[test]
    fn every_constant_says_whether_it_was_measured() {
        let constants = Constants::of(TransportKind::Shm, 2, 2);
        let table = constants.with_sources(1 << 20);
        assert!(table.iter().all(|one| one.quantity.origin != Origin::Measured), "{table:?}");
        assert!(table[0].quantity.source.contains("AMD EPYC"), "{:?}", table[0]);
        let one = |measured: Measured| {
            let told = constants.with_speeds(Speeds { measured, ..Speeds::ASSUMED }).with_sources(1 << 20);
            let own = told.iter().filter(|one| one.quantity.origin == Origin::Measured);
            own.map(|one| one.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(one(Measured { hand_over: true, ..Measured::NONE }), ["hand-over between processors"]);
        assert_eq!(one(Measured { switch: true, ..Measured::NONE }), ["switch of threads on a processor"]);
        assert_eq!(one(Measured { own_cache: true, ..Measured::NONE }), ["copy in a processor's own cache"]);
        assert_eq!(one(Measured { last_cache: true, ..Measured::NONE }), ["copy in its share of the last cache"]);
        assert_eq!(
            one(Measured { memory: true, ..Measured::NONE }),
            ["copy in memory, a processor for each rank at work"]
        );
        assert_eq!(one(Measured { last_cache_bytes: true, ..Measured::NONE }), ["share of the last cache"]);
    }
}
