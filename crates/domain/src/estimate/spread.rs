//! How values were spread, in steps of a ninth of themselves. The oldest ones fade.

use serde::{Deserialize, Serialize};

/// Steps in which a value doubles.
const STEPS: f64 = 6.0;
/// The highest step: values beyond 2²⁰ count as that.
const LAST: usize = 120;
/// Values that are remembered in full; then all counts are halved.
const REMEMBERED: u32 = 400;

/// How values were spread.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<(usize, u32)>", into = "Vec<(usize, u32)>")]
pub struct Spread {
    /// How many values fell into each step; 0: those up to one.
    counts: Vec<u32>,
    total: u32,
}

impl Spread {
    /// One more value.
    pub fn add(&mut self, value: f64) {
        self.put(step(value), 1);
        if self.total >= REMEMBERED {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            let last = self.counts.iter().rposition(|count| *count > 0);
            self.counts.truncate(last.map_or(0, |last| last + 1));
            self.total = self.counts.iter().sum();
        }
    }

    fn put(&mut self, step: usize, count: u32) {
        if self.counts.len() <= step {
            self.counts.resize(step + 1, 0);
        }
        if let Some(place) = self.counts.get_mut(step) {
            *place = place.saturating_add(count);
            self.total = self.total.saturating_add(count);
        }
    }

    /// How many values are remembered.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.total
    }

    /// A value that the next one is not above, in at least this share of cases. `None`: there are too few to tell.
    ///
    /// Of n values whose order is of no matter the next one is at most the r-th smallest in r of n + 1 cases: it takes
    /// nine to tell for 9 in 10.
    #[must_use]
    pub fn below(&self, share: f64) -> Option<f64> {
        let rank = (share * f64::from(self.total + 1)).ceil();
        (rank <= f64::from(self.total)).then(|| self.at(rank)).flatten().map(top)
    }

    /// A value that the next one is below in at most this share of cases; `None` as for [`Spread::below`].
    #[must_use]
    pub fn above(&self, share: f64) -> Option<f64> {
        let rank = (share * f64::from(self.total + 1)).floor();
        (rank >= 1.0).then(|| self.at(rank)).flatten().map(|step| if step == 0 { 0.0 } else { top(step - 1) })
    }

    /// The step of the value with this rank, from 1.
    fn at(&self, rank: f64) -> Option<usize> {
        let mut seen = 0;
        self.counts.iter().position(|count| {
            seen += count;
            f64::from(seen) >= rank
        })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and LAST, or saturated to them"
)]
fn step(value: f64) -> usize {
    let step = (value.max(1.0).log2() * STEPS).ceil();
    (step as usize).min(LAST)
}

/// The largest value of a step.
#[expect(clippy::cast_precision_loss, reason = "steps are few")]
fn top(step: usize) -> f64 {
    (step as f64 / STEPS).exp2()
}

impl From<Vec<(usize, u32)>> for Spread {
    fn from(counts: Vec<(usize, u32)>) -> Self {
        let mut spread = Self::default();
        for (step, count) in counts {
            spread.put(step.min(LAST), count.min(REMEMBERED));
        }
        spread
    }
}

impl From<Spread> for Vec<(usize, u32)> {
    fn from(spread: Spread) -> Self {
        spread.counts.into_iter().enumerate().filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn few_values_tell_nothing() {
        let mut spread = Spread::default();
        for _ in 0..8 {
            spread.add(100.0);
        }
        assert_eq!((spread.below(0.9), spread.above(0.02)), (None, None));
        spread.add(100.0);
        let most = spread.below(0.9).unwrap();
        assert!((100.0..113.0).contains(&most), "{most}");
        for _ in 0..40 {
            spread.add(100.0);
        }
        let least = spread.above(0.02).unwrap();
        assert!((88.0..=100.0).contains(&least), "{least}");
    }

    #[test]
    fn old_values_fade() {
        let mut spread = Spread::default();
        for _ in 0..390 {
            spread.add(1_000.0);
        }
        for _ in 0..3_000 {
            spread.add(10.0);
        }
        assert!(spread.count() < REMEMBERED);
        assert!(spread.below(0.99).unwrap() < 12.0);
    }

    #[test]
    fn it_is_kept_as_the_steps_that_have_any() {
        let mut spread = Spread::default();
        for value in [0.0, 1.0, 8.0, 8.0, 1e12] {
            spread.add(value);
        }
        let text = serde_json::to_string(&spread).unwrap();
        assert_eq!(text, "[[0,2],[18,2],[120,1]]");
        assert_eq!(serde_json::from_str::<Spread>(&text).unwrap(), spread);
    }

    proptest! {
        /// Of a row of values in any order the promised share lies below, but for one in all.
        #[test]
        fn what_is_below_was_below(values in prop::collection::vec(1.0_f64..1e5, 9..300)) {
            let mut spread = Spread::default();
            values.iter().for_each(|value| spread.add(*value));
            let most = spread.below(0.9).unwrap();
            let under = values.iter().filter(|value| **value <= most * 1.000_001).count();
            prop_assert!(under * 10 >= values.len() * 9);
            if let Some(least) = spread.above(0.02) {
                let over = values.iter().filter(|value| **value * 1.000_001 >= least).count();
                prop_assert!(over * 100 >= values.len() * 97);
            }
        }
    }
}
