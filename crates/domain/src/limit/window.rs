//! Fixed windows that begin at midnight UTC.
//!
//! A clock that is set back to an earlier day never opens a fresh window: what was used on both days counts on.

use crate::{
    clock::{MICROS_PER_DAY, Timestamp},
    limit::gcra::{Decision, REORDER_US},
};

/// How much was used on one UTC day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DayWindow {
    day: i64,
    used: u64,
    /// Used on the day before, in case the clock goes back there.
    used_before: u64,
}

impl DayWindow {
    /// The window of the day of `now`, in which `used` requests are already counted: what a node knows after a start.
    #[must_use]
    pub const fn starting(now: Timestamp, used: u64) -> Self {
        Self { day: now.utc_day(), used, used_before: 0 }
    }

    /// Requests counted so far on the day of `now`.
    #[must_use]
    pub fn used(self, now: Timestamp) -> u64 {
        self.turned(now).used
    }

    /// Counts `cost` whatever any limit says.
    #[must_use]
    pub fn count(self, now: Timestamp, cost: u64) -> Self {
        let window = self.turned(now);
        Self { used: window.used.saturating_add(cost), ..window }
    }

    /// The window as if `cost` units had not been counted at this moment: for what was admitted here and refused
    /// elsewhere.
    #[must_use]
    pub const fn give_back(self, at: Timestamp, cost: u64) -> Self {
        if at.utc_day() < self.day {
            return Self { used_before: self.used_before.saturating_sub(cost), ..self };
        }
        Self { used: self.used.saturating_sub(cost), ..self }
    }

    /// When the day of `now` is over.
    #[must_use]
    pub fn ends(self, now: Timestamp) -> Timestamp {
        Timestamp::from_micros(self.turned(now).day.saturating_add(1).saturating_mul(MICROS_PER_DAY))
    }

    /// Decides on a request that costs `cost` units, and gives the state to go on with.
    #[must_use]
    pub fn step(self, limit: u64, now: Timestamp, cost: u64) -> (Self, Decision) {
        let window = self.turned(now);
        let left = limit.saturating_sub(window.used);
        let admitted = cost <= left;
        let next = if admitted { window.count(now, cost) } else { window };
        let midnight = window.ends(now);
        let left = if admitted { left - cost } else { left };
        let decision = Decision {
            admitted,
            remaining: left,
            reset: midnight,
            retry_at: (!admitted && cost <= limit).then_some(midnight),
        };
        (next, decision)
    }

    /// The window that counts at `now`.
    fn turned(self, now: Timestamp) -> Self {
        let day = now.utc_day();
        if day > self.day {
            let used_before = if day == self.day.saturating_add(1) { self.used } else { 0 };
            return Self { day, used: 0, used_before };
        }
        let begin = Timestamp::from_micros(self.day.saturating_mul(MICROS_PER_DAY));
        if begin.micros_since(now) <= REORDER_US {
            return self;
        }
        Self { day, used: self.used.saturating_add(self.used_before), used_before: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn day(n: i64, us: i64) -> Timestamp {
        Timestamp::from_micros(n * MICROS_PER_DAY + us)
    }

    #[test]
    fn a_day_quota_is_admitted_to_the_last_and_freed_at_midnight_utc() {
        let mut w = DayWindow::starting(day(5, 0), 3);
        for left in [1, 0] {
            let (next, d) = w.step(5, day(5, 10), 1);
            assert_eq!((d.admitted, d.remaining), (true, left));
            w = next;
        }
        let (next, d) = w.step(5, day(6, -1), 1);
        assert_eq!((d.admitted, d.retry_at), (false, Some(day(6, 0))));
        assert!(next.step(5, day(6, 0), 1).1.admitted);
    }

    #[test]
    fn a_limit_of_zero_is_never_admitted_by_waiting() {
        assert_eq!(DayWindow::default().step(0, day(1, 0), 1).1.retry_at, None);
    }

    #[test]
    fn going_back_over_midnight_opens_no_fresh_window() {
        let mut w = DayWindow::starting(day(5, 0), 4);
        w = w.count(day(6, 0), 1);
        assert_eq!(w.used(day(5, 0)), 5);
        assert_eq!(w.used(day(6, -1)), 1, "readings out of order stay in the newer window");
    }

    proptest! {
        #[test]
        fn uses_never_pass_the_limit_times_the_days_that_began(
            steps in proptest::collection::vec(-3 * MICROS_PER_DAY / 2..2 * MICROS_PER_DAY, 1..60),
            limit in 0_u64..4,
        ) {
            let (mut w, mut now, mut admitted) = (DayWindow::starting(day(100, 0), 0), day(100, 0), 0_u64);
            let mut forward = 0_u64;
            for step in steps {
                let before = now.utc_day();
                now = now.plus_micros(step);
                forward += u64::from(now.utc_day() > before);
                let (next, d) = w.step(limit, now, 1);
                w = next;
                admitted += u64::from(d.admitted);
            }
            prop_assert!(admitted <= (forward + 1) * limit);
        }

        #[test]
        fn a_refused_request_is_admitted_at_midnight_and_not_before(us in 0..MICROS_PER_DAY, limit in 1_u64..5) {
            let w = DayWindow::starting(day(9, 0), limit);
            let at = w.step(limit, day(9, us), 1).1.retry_at.unwrap();
            prop_assert!(!w.step(limit, at.plus_micros(-1), 1).1.admitted);
            prop_assert!(w.step(limit, at, 1).1.admitted);
        }
    }
}
