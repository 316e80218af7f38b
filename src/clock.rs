//! Time: the clock that deadlines are measured on, and a cheap one for records that are always written.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// What waiting code takes for the time: the system's, or in tests one that moves only when told to.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    #[default]
    Real,
    #[cfg(test)]
    Virtual(std::sync::Arc<VirtualClock>),
}

impl Clock {
    pub fn now(&self) -> Instant {
        match self {
            Clock::Real => Instant::now(),
            #[cfg(test)]
            Clock::Virtual(clock) => clock.now(),
        }
    }

    /// Blocks for this long; a virtual clock moves on instead.
    pub fn sleep(&self, duration: Duration) {
        match self {
            Clock::Real => std::thread::sleep(duration),
            #[cfg(test)]
            Clock::Virtual(clock) => clock.advance(duration),
        }
    }
}

/// A time of its own, shared by all that run under it.
#[cfg(test)]
#[derive(Debug)]
pub struct VirtualClock {
    origin: Instant,
    elapsed_ns: std::sync::atomic::AtomicU64,
}

#[cfg(test)]
impl VirtualClock {
    pub fn new() -> VirtualClock {
        VirtualClock { origin: Instant::now(), elapsed_ns: 0.into() }
    }

    /// Since this clock was made.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.elapsed_ns.load(std::sync::atomic::Ordering::Relaxed))
    }

    pub fn now(&self) -> Instant {
        self.origin + self.elapsed()
    }

    pub fn advance(&self, duration: Duration) {
        self.elapsed_ns.fetch_add(duration.as_nanos() as u64, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Ticks since some moment, of a length that [`nanoseconds`] knows. Never 0 in practice.
#[inline]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reading the time stamp counter has no preconditions.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        static START: OnceLock<Instant> = OnceLock::new();
        1 + START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

/// How long that many ticks are. The first call takes a few milliseconds to compare the counter with the system's clock.
pub fn nanoseconds(ticks: u64) -> u64 {
    static PER_TICK: OnceLock<f64> = OnceLock::new();
    let per_tick = PER_TICK.get_or_init(|| {
        let (start, first) = (Instant::now(), self::ticks());
        while start.elapsed().as_millis() < 5 {
            std::hint::spin_loop();
        }
        let passed = start.elapsed().as_nanos() as f64;
        passed / (self::ticks() - first).max(1) as f64
    });
    (ticks as f64 * per_tick) as u64
}
