//! Counts requests of one series, for faults that hold for the first few only.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Series remembered; the one that began first is forgotten above it.
const CAPACITY: usize = 4096;

/// Counters by token.
#[derive(Debug, Default)]
pub(crate) struct Series(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    by_token: HashMap<u64, u32>,
    order: VecDeque<u64>,
}

impl Series {
    /// Counts one more; answers its number within the series, from 1.
    pub(crate) fn count(&self, token: u64) -> u32 {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !counts.by_token.contains_key(&token) {
            counts.order.push_back(token);
            if counts.order.len() > CAPACITY
                && let Some(oldest) = counts.order.pop_front()
            {
                counts.by_token.remove(&oldest);
            }
        }
        let nth = counts.by_token.entry(token).or_insert(0);
        *nth = nth.saturating_add(1);
        *nth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_series_counts_for_itself() {
        let series = Series::default();
        assert_eq!((series.count(1), series.count(1), series.count(2)), (1, 2, 1));
    }
}
