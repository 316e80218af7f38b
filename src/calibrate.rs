//! How fast this host is: a measurement of some 10 milliseconds, once per process and number of processors at work.
//!
//! What it adds to the making of a communicator, on 2 cores of an AMD EPYC (virtual machine, 24 November 2026) that were busy with
//! compilers: 10 ms of time and of processor, median of 60 starts of `unisono plan --on host` (12 ms instead of 2), where the
//! compilers ran at a lower priority. Beside as many processes of equal priority as kept the load at 12, 14 to 24 ms in a job of 2 ranks
//! and 10 to 29 ms in one of 4, medians of 40 pairs of `unisono bench barrier` with and without. A quiet machine was not to be had.
//!
//! Rank 0 measures before its job meets, and all ranks choose by its figures. They are rounded to steps of a fifth, so that a host
//! chooses alike from run to run but near the sizes where the choice flips.

use crate::topology::host::{Measured, Speeds};
use std::collections::BTreeMap;
use std::hint::{black_box, spin_loop};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Who measures copies, at most.
const MOST_THREADS: usize = 16;
/// A measurement that has taken so long is given up for the table.
const MOST: Duration = Duration::from_millis(50);
/// How long each kind of copy is tried.
const SLOT: Duration = Duration::from_micros(400);
/// What both buffers of a copy have together: in a processor's own cache, in the last cache, and on its way from memory. The last is
/// taken out of all caches before each copy; of longer ones the standard library's copy goes past the caches, as ours do not.
const OWN_CACHE_BYTES: usize = 128 << 10;
const LAST_CACHE_BYTES: usize = 3 << 20;
const FLUSHED_BYTES: usize = 1 << 20;

/// The figures of this host, measured with as many processors at work as so many ranks take; of the table where that can't be.
pub fn speeds(ranks: usize) -> Speeds {
    static KNOWN: Known = Known(Mutex::new(BTreeMap::new()));
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let threads = ranks.clamp(1, processors.min(MOST_THREADS));
    KNOWN.get(threads, || measure(threads, processors).map_or(Speeds::ASSUMED, rounded))
}

/// What was measured before, by the threads at work.
struct Known(Mutex<BTreeMap<usize, Speeds>>);

impl Known {
    fn get(&self, threads: usize, measure: impl FnOnce() -> Speeds) -> Speeds {
        // One measurement at a time: two would measure each other.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known.entry(threads).or_insert_with(measure)
    }
}

/// With so many threads at work. None where they can't be started, a clock stands still or copies take too long. What else other work
/// on this host keeps from being measured in time is of the table, and said to be.
fn measure(threads: usize, processors: usize) -> Option<Speeds> {
    let begun = Instant::now();
    // On a host that is busy with other things even threads that do little wait long for each other.
    let in_time = || (begun.elapsed() < MOST).then_some(());
    let own = copy_ns_per_byte(threads, OWN_CACHE_BYTES, |_| {})?;
    in_time()?;
    let last = copy_ns_per_byte(threads, LAST_CACHE_BYTES, |_| {})?.max(own);
    let ratio = Speeds::ASSUMED.memory_ns_per_byte / Speeds::ASSUMED.last_cache_ns_per_byte;
    let memory = match flush::IS_KNOWN {
        true => copy_ns_per_byte(threads, FLUSHED_BYTES, flush::flush)?.max(last),
        false => last * ratio,
    };
    in_time()?;
    let hand_over = if processors > 1 { hand_over_ns() } else { None };
    let switch = switch_ns(2 * processors.min(MOST_THREADS));
    let share = last_cache_share();
    let speeds = Speeds {
        hand_over_ns: hand_over.unwrap_or(Speeds::ASSUMED.hand_over_ns),
        switch_ns: switch.unwrap_or(Speeds::ASSUMED.switch_ns),
        own_cache_ns_per_byte: own,
        last_cache_ns_per_byte: last,
        memory_ns_per_byte: memory,
        last_cache_bytes: share.unwrap_or(Speeds::ASSUMED.last_cache_bytes),
        measured: Measured {
            hand_over: hand_over.is_some(),
            switch: switch.is_some(),
            own_cache: true,
            last_cache: true,
            memory: flush::IS_KNOWN,
            last_cache_bytes: share.is_some(),
        },
    };
    let figures = [speeds.hand_over_ns, speeds.switch_ns, own, last, memory, speeds.last_cache_bytes];
    figures.iter().all(|figure| figure.is_finite() && *figure > 0.0).then_some(speeds)
}

/// Of what was measured; what the table says stays as it is.
fn rounded(speeds: Speeds) -> Speeds {
    const STEPS_PER_OCTAVE: f64 = 4.0;
    let round = |value: f64, is_measured: bool| match is_measured {
        true => ((value.log2() * STEPS_PER_OCTAVE).round() / STEPS_PER_OCTAVE).exp2(),
        false => value,
    };
    let Measured { hand_over, switch, own_cache, last_cache, memory, .. } = speeds.measured;
    Speeds {
        hand_over_ns: round(speeds.hand_over_ns, hand_over),
        switch_ns: round(speeds.switch_ns, switch),
        own_cache_ns_per_byte: round(speeds.own_cache_ns_per_byte, own_cache),
        last_cache_ns_per_byte: round(speeds.last_cache_ns_per_byte, last_cache),
        memory_ns_per_byte: round(speeds.memory_ns_per_byte, memory),
        ..speeds
    }
}

/// Runs `body` on so many threads at once; None where one can't be started.
fn on_threads<T: Send>(threads: usize, body: impl Fn(usize) -> T + Sync) -> Option<Vec<T>> {
    let body = &body;
    thread::scope(|scope| {
        // Those that began before one could not are waited for, so they must need no other to end.
        let started: Vec<_> =
            (1..threads).map(|index| thread::Builder::new().spawn_scoped(scope, move || body(index))).collect();
        let complete = started.iter().all(Result::is_ok);
        let own = complete.then(|| body(0));
        let others: Vec<Option<T>> =
            started.into_iter().map(|one| one.ok().and_then(|handle| handle.join().ok())).collect();
        let all: Option<Vec<T>> = [own].into_iter().chain(others).collect();
        all
    })
}

/// The best of some copies on every thread, of the thread in the middle. `before` prepares a buffer for each copy.
fn copy_ns_per_byte(threads: usize, both_bytes: usize, before: impl Fn(&[u8]) + Sync) -> Option<f64> {
    let bytes = both_bytes / 2;
    let times = on_threads(threads, |_| {
        let (source, mut target) = (vec![1u8; bytes], vec![0u8; bytes]);
        target.copy_from_slice(&source);
        let (start, mut best) = (Instant::now(), Duration::MAX);
        let mut rounds = 0;
        while rounds < 2 || start.elapsed() < SLOT {
            before(&source);
            before(&target);
            let copy = Instant::now();
            target.copy_from_slice(black_box(&source));
            black_box(&mut target);
            best = best.min(copy.elapsed());
            rounds += 1;
        }
        best
    });
    let mut times = times?;
    times.sort();
    Some(times[(times.len() - 1) / 2].as_nanos() as f64 / bytes as f64)
}

/// Two threads that pass a word to and fro, each waiting for it on its own processor. None where other work on this host keeps them
/// from that.
fn hand_over_ns() -> Option<f64> {
    const BATCHES: u32 = 10;
    const ROUNDS: u32 = 50;
    let word = AtomicU32::new(0);
    let given_up = Instant::now() + Duration::from_millis(2);
    let wait = |wanted: u32| {
        let mut spins = 0u32;
        while word.load(Ordering::Acquire) != wanted {
            spins += 1;
            match spins.is_multiple_of(1000) {
                // Somebody else is at work on the processor of the other.
                true if Instant::now() > given_up => return false,
                true => thread::yield_now(),
                false => spin_loop(),
            }
        }
        true
    };
    let times = on_threads(2, |index| {
        let mut best = f64::INFINITY;
        for batch in 0..BATCHES {
            let start = Instant::now();
            for round in batch * ROUNDS..(batch + 1) * ROUNDS {
                let turn = 2 * round + index as u32;
                if !wait(turn) {
                    return best;
                }
                word.store(turn + 1, Ordering::Release);
            }
            best = best.min(start.elapsed().as_nanos() as f64 / f64::from(2 * ROUNDS));
        }
        best
    });
    times.map(|times| times[0]).filter(|best| best.is_finite() && *best > 0.0)
}

/// So many threads, more than processors, that take turns by yielding: the best of some rounds. None where other work on this host
/// lets none of them end in time.
fn switch_ns(threads: usize) -> Option<f64> {
    const BATCHES: u32 = 10;
    const ROUNDS: u32 = 4;
    let (word, count) = (AtomicU32::new(0), threads as u32);
    let given_up = Instant::now() + Duration::from_millis(2);
    let wait = |turn: u32| {
        while word.load(Ordering::Acquire) != turn {
            if Instant::now() > given_up {
                return false;
            }
            thread::yield_now();
        }
        true
    };
    let times = on_threads(threads, |index| {
        let mut best = f64::INFINITY;
        for batch in 0..BATCHES {
            let start = Instant::now();
            for round in batch * ROUNDS..(batch + 1) * ROUNDS {
                let turn = round * count + index as u32;
                if !wait(turn) {
                    return best;
                }
                word.store(turn + 1, Ordering::Release);
            }
            // In the first one threads are still being started.
            if batch > 0 {
                best = best.min(start.elapsed().as_nanos() as f64 / f64::from(count * ROUNDS));
            }
        }
        best
    });
    times.map(|times| times[0]).filter(|best| best.is_finite())
}

/// What the first processor's last cache has for each that shares it, as Linux tells.
fn last_cache_share() -> Option<f64> {
    let read = |name: &str| {
        let text = std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index3/{name}")).ok()?;
        Some(text.trim().to_owned())
    };
    share(&read("size")?, &read("shared_cpu_list")?)
}

fn share(size: &str, processors: &str) -> Option<f64> {
    let kib: f64 = size.strip_suffix('K')?.parse().ok()?;
    let count = |range: &str| match range.split_once('-') {
        Some((first, last)) => Some(last.parse::<usize>().ok()?.checked_sub(first.parse().ok()?)? + 1),
        None => range.parse::<usize>().ok().map(|_| 1),
    };
    let sharing: usize = processors.split(',').map(count).sum::<Option<usize>>()?;
    (kib > 0.0 && sharing > 0).then(|| kib * 1024.0 / sharing as f64)
}

#[cfg(target_arch = "x86_64")]
mod flush {
    use std::arch::x86_64::{_mm_clflush, _mm_mfence};

    pub const IS_KNOWN: bool = true;

    /// Takes a buffer out of all caches.
    pub fn flush(buffer: &[u8]) {
        for line in buffer.chunks(64) {
            // SAFETY: every x86-64 has the instruction, it changes no memory, and the address is that of a byte of ours.
            unsafe { _mm_clflush(line.as_ptr()) };
        }
        // SAFETY: every x86-64 has it.
        unsafe { _mm_mfence() };
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod flush {
    pub const IS_KNOWN: bool = false;

    pub fn flush(_buffer: &[u8]) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_is_short_and_its_figures_are_those_of_some_machine() {
        let start = Instant::now();
        let speeds = std::iter::repeat_with(|| measure(2, 2)).take(100).find_map(|speeds| speeds);
        let speeds = speeds.expect("this host is not that busy all the time");
        let took = start.elapsed();
        assert!(took < Duration::from_secs(10), "{took:?}");
        let Measured { hand_over, switch, own_cache, last_cache, .. } = speeds.measured;
        assert!(own_cache && last_cache, "{speeds:?}");
        assert!(hand_over || speeds.hand_over_ns == Speeds::ASSUMED.hand_over_ns, "{speeds:?}");
        assert!(switch || speeds.switch_ns == Speeds::ASSUMED.switch_ns, "{speeds:?}");
        assert!((0.001..10.0).contains(&speeds.own_cache_ns_per_byte), "{speeds:?}");
        assert!(speeds.own_cache_ns_per_byte <= speeds.last_cache_ns_per_byte, "{speeds:?}");
        assert!(speeds.last_cache_ns_per_byte <= speeds.memory_ns_per_byte, "{speeds:?}");
        assert!(speeds.hand_over_ns < 1e6 && speeds.switch_ns < 1e8, "{speeds:?}");
    }

    #[test]
    fn a_host_of_one_processor_hands_nothing_over_and_says_so() {
        let speeds = std::iter::repeat_with(|| measure(1, 1)).take(100).flatten().next();
        let speeds = speeds.expect("this host is not that busy all the time");
        assert!(!speeds.measured.hand_over && speeds.measured.own_cache, "{speeds:?}");
        assert_eq!(speeds.hand_over_ns, Speeds::ASSUMED.hand_over_ns);
    }

    #[test]
    fn figures_are_those_of_as_many_threads_and_stay() {
        let known = Known(Mutex::default());
        let of = |switch_ns: f64| Speeds { switch_ns, ..Speeds::ASSUMED };
        let asked = [(1, 10.0), (2, 20.0), (1, 30.0), (2, 40.0)];
        let told = asked.map(|(threads, switch_ns)| known.get(threads, || of(switch_ns)).switch_ns);
        assert_eq!(told, [10.0, 20.0, 10.0, 20.0]);
        assert_eq!(speeds(2), speeds(2), "a process measures once");
    }

    #[test]
    fn figures_that_are_nearly_alike_are_rounded_alike() {
        let of = |switch_ns: f64| {
            let measured = Measured { switch: true, ..Measured::NONE };
            rounded(Speeds { switch_ns, measured, ..Speeds::ASSUMED })
        };
        let near = of(1030.0);
        assert_eq!(near, of(1000.0));
        assert_ne!(of(1400.0), of(1000.0));
        assert_eq!(rounded(Speeds::ASSUMED), Speeds::ASSUMED, "the table is as it is");
        assert_eq!(rounded(near), near);
    }

    #[test]
    fn a_cache_is_shared_by_those_that_the_list_names() {
        assert_eq!(share("32768K", "0-1"), Some((16 << 20) as f64));
        assert_eq!(share("32768K", "0-3,8,10-12"), Some((4 << 20) as f64));
        for (size, list) in [("32M", "0"), ("0K", "0"), ("1K", ""), ("1K", "3-1"), ("1K", "a-b")] {
            assert_eq!(share(size, list), None, "{size} {list}");
        }
    }
}
