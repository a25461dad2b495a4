//! The moments at which requests of an open loop are due.

use std::time::{Duration, Instant};

/// A Poisson process: the same rate and seed give the same gaps.
pub struct Arrivals {
    mean_gap_secs: f64,
    state: u64,
    next: Instant,
}

impl Arrivals {
    pub fn new(per_second: f64, seed: u64, start: Instant) -> Self {
        Self { mean_gap_secs: 1.0 / per_second, state: seed, next: start }
    }

    pub fn next(&self) -> Instant {
        self.next
    }

    /// Goes on to the next one.
    pub fn take(&mut self) -> Instant {
        let due = self.next;
        self.next = due + self.gap();
        due
    }

    fn gap(&mut self) -> Duration {
        // SplitMix64; the upper 53 bits make a number in (0, 1].
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^= word >> 31;
        let unit = ((word >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        Duration::from_secs_f64(-unit.ln() * self.mean_gap_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_rate_is_kept_and_the_same_seed_repeats() {
        let start = crate::process::now();
        let mut arrivals = Arrivals::new(100.0, 7, start);
        let mut again = Arrivals::new(100.0, 7, start);
        let count = 100_000;
        for _ in 0..count {
            assert_eq!(arrivals.take(), again.take());
        }
        let rate = f64::from(count) / (arrivals.next() - start).as_secs_f64();
        assert!((rate - 100.0).abs() < 2.0, "{rate}");
    }
}
