//! Figures of the calls that were made.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{prices::Prices, usage::Usage};

/// How many latencies percentiles are made of: the newest.
const MOST_SAMPLES: usize = 10_000;

/// Counts the calls of one or several clients. Clones share it.
#[derive(Clone)]
pub struct Stats(Arc<Shared>);

struct Shared {
    prices: Prices,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    requests: u64,
    errors: u64,
    repetitions: u64,
    cache_hits: u64,
    input_tokens: u64,
    output_tokens: u64,
    with_usage: u64,
    cost: u128,
    unpriced: u64,
    sent: u64,
    total: Duration,
    samples: VecDeque<Duration>,
}

/// What was counted up to a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Calls that the program made, those from the cache included.
    pub requests: u64,
    /// Answers from status 400 on, and calls without an answer or with a broken one.
    pub errors: u64,
    /// Repetitions that were sent beside.
    pub repetitions: u64,
    /// Answers from the client's own cache.
    pub cache_hits: u64,
    /// Tokens in, cache writes and reads included.
    pub input_tokens: u64,
    /// Tokens out.
    pub output_tokens: u64,
    /// The mean over calls with usage; 0 without any.
    pub tokens_per_request: f64,
    /// Of all calls that were sent, from the call to the answer's last byte; `None` as long as none was.
    pub latency: Option<Latency>,
    /// Pico-dollars (10⁻¹²), by the client's price table.
    pub estimated_cost_pico_usd: u128,
    /// Calls with usage of a model without a price.
    pub unpriced_requests: u64,
}

/// The mean of all, and percentiles by nearest rank of the newest 10 000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// The mean.
    pub mean: Duration,
    /// The median.
    pub p50: Duration,
    /// 95 of 100 took no longer.
    pub p95: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
}

impl Stats {
    /// With a price table.
    #[must_use]
    pub fn new(prices: Prices) -> Self {
        Self(Arc::new(Shared { prices, counts: Mutex::default() }))
    }

    /// The figures.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let counts = self.counts();
        let tokens = counts.input_tokens + counts.output_tokens;
        Snapshot {
            requests: counts.requests,
            errors: counts.errors,
            repetitions: counts.repetitions,
            cache_hits: counts.cache_hits,
            input_tokens: counts.input_tokens,
            output_tokens: counts.output_tokens,
            tokens_per_request: tokens as f64 / counts.with_usage.max(1) as f64,
            latency: counts.latency(),
            estimated_cost_pico_usd: counts.cost,
            unpriced_requests: counts.unpriced,
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn hit(&self) {
        let mut counts = self.counts();
        counts.requests += 1;
        counts.cache_hits += 1;
    }

    pub(crate) fn repeated(&self) {
        self.counts().repetitions += 1;
    }

    /// A call that was sent is over.
    pub(crate) fn finished(&self, took: Duration, failed: bool, usage: Option<&Usage>) {
        let cost = usage.map(|usage| self.0.prices.cost(usage));
        let mut counts = self.counts();
        counts.requests += 1;
        counts.errors += u64::from(failed);
        counts.sent += 1;
        counts.total += took;
        if counts.samples.len() == MOST_SAMPLES {
            counts.samples.pop_front();
        }
        counts.samples.push_back(took);
        if let Some(usage) = usage {
            counts.with_usage += 1;
            counts.input_tokens += usage.prompt();
            counts.output_tokens += usage.output;
        }
        match cost {
            Some(Some(cost)) => counts.cost += cost,
            Some(None) => counts.unpriced += 1,
            None => {}
        }
    }
}

impl Default for Stats {
    /// With the built-in prices.
    fn default() -> Self {
        Self::new(Prices::builtin())
    }
}

impl fmt::Debug for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

impl Counts {
    fn latency(&self) -> Option<Latency> {
        let mut sorted: Vec<Duration> = self.samples.iter().copied().collect();
        sorted.sort_unstable();
        let rank =
            |percent: usize| sorted.get((percent * sorted.len()).div_ceil(100).checked_sub(1)?).copied();
        let nanos = self.total.as_nanos().checked_div(u128::from(self.sent))?;
        let mean = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        Some(Latency { mean, p50: rank(50)?, p95: rank(95)?, p99: rank(99)? })
    }
}
