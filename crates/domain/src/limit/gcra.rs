//! The generic cell rate algorithm (ITU-T I.371) as a leaky bucket, in whole numbers.
//!
//! The level is kept in request-microseconds: a request of a window of `w` µs adds `w`, and a limit of `n` drains `n`
//! each microsecond. Nothing is ever rounded, and the level does not depend on the limit, so that a limit may change
//! while the bucket is in use.
//!
//! Time that goes back drains nothing. A step back of up to [`REORDER_US`] is taken for two readings of the clock that
//! overtook each other; a longer one for a clock that was set, and the bucket goes on from there with its level.

use crate::clock::{MICROS_PER_SEC, Timestamp};

/// Steps back up to this long are readings out of order, not a clock that was set: one second, in microseconds.
pub const REORDER_US: i64 = MICROS_PER_SEC;

/// The smallest burst, where the limit itself is not smaller.
const MIN_BURST: u32 = 30;

/// A limit over a sliding window: so many requests in so many microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    limit: u32,
    window_us: u64,
}

impl Rate {
    /// Requests a second.
    #[must_use]
    pub const fn per_second(limit: u32) -> Self {
        Self { limit, window_us: 1_000_000 }
    }

    /// Requests a minute.
    #[must_use]
    pub const fn per_minute(limit: u32) -> Self {
        Self { limit, window_us: 60_000_000 }
    }

    /// Requests an hour.
    #[must_use]
    pub const fn per_hour(limit: u32) -> Self {
        Self { limit, window_us: 3_600_000_000 }
    }

    /// Requests in one window.
    #[must_use]
    pub const fn limit(self) -> u64 {
        self.limit as u64
    }

    /// How many requests an idle caller may send at once (row S3): a quarter of the window's amount, at least 30,
    /// never more than the limit itself.
    #[must_use]
    pub const fn burst(self) -> u32 {
        let quarter = self.limit / 4;
        let wanted = if quarter > MIN_BURST { quarter } else { MIN_BURST };
        if wanted < self.limit { wanted } else { self.limit }
    }

    /// The level of a full bucket. At most 2³⁰ × 3.6·10⁹, well inside 64 bits.
    const fn capacity(self) -> u64 {
        self.burst() as u64 * self.window_us
    }

    /// The time in which `level` drains, rounded up to whole microseconds.
    fn drain_us(self, level: u64) -> i64 {
        if self.limit == 0 {
            return 0;
        }
        i64::try_from(level.div_ceil(u64::from(self.limit))).unwrap_or(i64::MAX)
    }
}

/// The state of one bucket. The default is an idle one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gcra {
    /// Request-microseconds not yet drained at `at`.
    level: u64,
    at: Timestamp,
}

/// What a bucket says to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request may pass; if not, nothing was taken.
    pub admitted: bool,
    /// How many requests more would be admitted at this moment.
    pub remaining: u64,
    /// When the limit is wholly free again if nothing else comes.
    pub reset: Timestamp,
    /// When a refused request could be admitted: exact to the microsecond. `None` when admitted, or when no waiting
    /// helps because the cost is above the burst.
    pub retry_at: Option<Timestamp>,
}

impl Gcra {
    /// Decides on a request that costs `cost` units and gives the state to go on with. On a refusal that is the state
    /// as drained until now: it must be kept too, or time would not be counted.
    #[must_use]
    pub fn step(self, rate: Rate, now: Timestamp, cost: u32) -> (Self, Decision) {
        let idle = self.drained(rate, now);
        let wanted = u64::from(cost).saturating_mul(rate.window_us);
        let full = idle.level.saturating_add(wanted);
        let capacity = rate.capacity();
        let admitted = full <= capacity;
        let next = if admitted { Self { level: full, at: idle.at } } else { idle };
        let retry_at = (!admitted && wanted <= capacity)
            .then(|| idle.at.plus_micros(rate.drain_us(full.saturating_sub(capacity))));
        let decision = Decision {
            admitted,
            remaining: (capacity - next.level) / rate.window_us,
            reset: next.at.plus_micros(rate.drain_us(next.level)),
            retry_at,
        };
        (next, decision)
    }

    /// The bucket as if `cost` units had not been taken: for what was admitted here and refused elsewhere.
    #[must_use]
    pub fn give_back(self, rate: Rate, cost: u32) -> Self {
        Self { level: self.level.saturating_sub(u64::from(cost).saturating_mul(rate.window_us)), at: self.at }
    }

    /// The bucket at `now`: drained by the time gone by, and never above the capacity (the limit may have shrunk).
    fn drained(self, rate: Rate, now: Timestamp) -> Self {
        let elapsed = now.micros_since(self.at);
        let at = if (-REORDER_US..0).contains(&elapsed) { self.at } else { now };
        let gone = u64::try_from(elapsed).unwrap_or(0).saturating_mul(u64::from(rate.limit));
        Self { level: self.level.saturating_sub(gone).min(rate.capacity()), at }
    }
}

#[cfg(test)]
mod tests;
