//! Failed proofs and how long they lock: five are free, then every further one locks for twice as long.

use crate::clock::{MICROS_PER_SEC, Timestamp};

/// Failures before the first lock.
pub const FREE: u32 = 5;
/// The first lock, in seconds.
pub const FIRST_SECS: i64 = 30;
/// The longest lock, in seconds.
pub const LONGEST_SECS: i64 = 15 * 60;
/// Failures are forgotten so long after the last of them or the end of its lock, in seconds.
pub const FORGET_SECS: i64 = 3_600;

/// Failed proofs of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lockout {
    failures: u32,
    until: Timestamp,
}

impl Lockout {
    /// As it was kept.
    #[must_use]
    pub const fn of(failures: u32, until: Timestamp) -> Self {
        Self { failures, until }
    }

    /// The end of its lock, or the moment of the last failure: what is kept beside the number.
    #[must_use]
    pub const fn until(&self) -> Timestamp {
        self.until
    }

    /// Until when nothing is tried; `None`: one may try.
    #[must_use]
    pub fn locked_until(&self, now: Timestamp) -> Option<Timestamp> {
        // A clock that was set back does not lock longer than a lock may be.
        let longest = now.plus_micros(LONGEST_SECS * MICROS_PER_SEC);
        (self.failures >= FREE && self.until > now).then(|| self.until.min(longest))
    }

    /// After one more failure.
    #[must_use]
    pub fn failed(self, now: Timestamp) -> Self {
        let failures = if self.is_forgotten(now) { 1 } else { self.failures.saturating_add(1) };
        let locks = failures.checked_sub(FREE);
        let secs = locks.map_or(0, |n| (FIRST_SECS << n.min(8)).min(LONGEST_SECS));
        Self { failures, until: now.plus_micros(secs * MICROS_PER_SEC) }
    }

    /// Whether nothing is left to be remembered.
    #[must_use]
    pub fn is_forgotten(&self, now: Timestamp) -> bool {
        self.failures == 0 || now.micros_since(self.until) > FORGET_SECS * MICROS_PER_SEC
    }

    /// How many failures count.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(failures: u32, now: Timestamp) -> Lockout {
        (0..failures).fold(Lockout::default(), |lock, _| lock.failed(now))
    }

    #[test]
    fn five_failures_lock_for_30_seconds_and_each_more_for_twice_as_long_up_to_15_minutes() {
        let now = Timestamp::from_secs(1_000_000);
        let locks: Vec<i64> = (4..=12)
            .map(|n| {
                after(n, now).locked_until(now).map_or(0, |until| until.micros_since(now) / MICROS_PER_SEC)
            })
            .collect();
        assert_eq!(locks, [0, 30, 60, 120, 240, 480, 900, 900, 900]);
    }

    #[test]
    fn a_lock_ends_and_failures_are_forgotten_an_hour_later() {
        let now = Timestamp::from_secs(1_000_000);
        let lock = after(5, now);
        let at = |secs| now.plus_micros(secs * MICROS_PER_SEC);
        assert!(lock.locked_until(at(29)).is_some());
        assert!(lock.locked_until(at(30)).is_none());
        assert_eq!(lock.failed(at(3_000)).failures(), 6);
        assert_eq!(lock.failed(at(30 + 3_601)).failures(), 1);
    }

    #[test]
    fn a_clock_set_back_by_a_year_locks_nobody_for_a_year() {
        let now = Timestamp::from_secs(1_000_000_000);
        let then = now.plus_micros(-365 * 86_400 * MICROS_PER_SEC);
        let until = after(9, now).locked_until(then).unwrap();
        assert!(until.micros_since(then) <= LONGEST_SECS * MICROS_PER_SEC);
    }

    proptest! {
        #[test]
        fn a_lock_is_never_longer_than_the_longest(failures in 0_u32..200) {
            let now = Timestamp::from_secs(5);
            let lock = (0..failures).fold(Lockout::default(), |lock, _| lock.failed(now));
            let left = lock.locked_until(now).map_or(0, |until| until.micros_since(now));
            prop_assert!(left <= LONGEST_SECS * MICROS_PER_SEC);
            prop_assert_eq!(left > 0, failures >= FREE);
        }
    }
}
