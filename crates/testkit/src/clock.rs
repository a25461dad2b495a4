//! A clock that stands still until it is moved.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use claviger_domain::clock::{BootInstant, Clock, Timestamp};

/// Wall and boot time, moved by hand. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct ManualClock {
    wall: Arc<AtomicI64>,
    boot: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock that shows this wall time, one hour after boot.
    #[must_use]
    pub fn at(wall: Timestamp) -> Self {
        let hour = 3_600_000_000;
        Self { wall: Arc::new(AtomicI64::new(wall.as_micros())), boot: Arc::new(AtomicU64::new(hour)) }
    }

    /// Time passes, on both clocks.
    pub fn advance(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).expect("a duration that fits");
        self.boot.fetch_add(micros, Ordering::SeqCst);
        self.wall.fetch_add(i64::try_from(micros).expect("a duration that fits"), Ordering::SeqCst);
    }

    /// Somebody sets the wall clock, forward or back; the boot clock does not notice.
    pub fn set_wall(&self, wall: Timestamp) {
        self.wall.store(wall.as_micros(), Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    /// 2026-03-02 12:00 UTC, a Monday.
    fn default() -> Self {
        Self::at(Timestamp::from_secs(1_772_452_800))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.wall.load(Ordering::SeqCst))
    }

    fn boot(&self) -> BootInstant {
        BootInstant::from_micros(self.boot.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setting_the_wall_clock_leaves_the_boot_clock() {
        let clock = ManualClock::default();
        let (now, boot) = (clock.now(), clock.boot());
        clock.clone().advance(Duration::from_secs(2));
        assert_eq!(clock.now().micros_since(now), 2_000_000);
        clock.set_wall(now);
        assert_eq!((clock.now(), clock.boot().micros_since(boot)), (now, 2_000_000));
    }
}
