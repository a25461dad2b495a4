//! The only reader of time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use claviger_domain::clock::{BootInstant, Clock, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// The system's clocks: `CLOCK_REALTIME` and `CLOCK_BOOTTIME`.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    /// Asked of the C library, where tests of the real binary can move it (`faketime`); the boot clock stays real.
    #[expect(clippy::disallowed_methods, reason = "this is where time is read")]
    fn now(&self) -> Timestamp {
        let micros = |d: Duration| i64::try_from(d.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => micros(since),
            Err(before) => -micros(before.duration()),
        })
    }

    fn boot(&self) -> BootInstant {
        let t = clock_gettime(ClockId::Boottime);
        let micros = t.tv_sec.saturating_mul(1_000_000).saturating_add(t.tv_nsec / 1_000);
        BootInstant::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}
