//! A clock that costs a few nanoseconds, for records that are always written.

use std::sync::OnceLock;
use std::time::Instant;

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
