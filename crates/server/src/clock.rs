//! The only reader of time.

use claviger_domain::clock::{BootInstant, Clock, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// The system's clocks: `CLOCK_REALTIME` and `CLOCK_BOOTTIME`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let t = clock_gettime(ClockId::Realtime);
        Timestamp::from_micros(t.tv_sec.saturating_mul(1_000_000).saturating_add(t.tv_nsec / 1_000))
    }

    fn boot(&self) -> BootInstant {
        let t = clock_gettime(ClockId::Boottime);
        let micros = t.tv_sec.saturating_mul(1_000_000).saturating_add(t.tv_nsec / 1_000);
        BootInstant::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}
