//! What one model costs from one date on, and the arithmetic of a row.

use serde::Deserialize;

use crate::usage::{Speed, TokenCounts};

/// Pico-dollars per token. One dollar per million tokens is 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Input from no cache.
    pub input: i128,
    /// Output.
    pub output: i128,
    /// Written to the five-minute cache.
    pub cache_write_5m: i128,
    /// Written to the one-hour cache.
    pub cache_write_1h: i128,
    /// Read from a cache.
    pub cache_read: i128,
}

/// Dearer rates for large prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Band {
    /// The whole prompt must be larger than this many tokens.
    pub above: u64,
    /// The rates, for all of it.
    pub rates: Rates,
}

/// Where a model stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Offered.
    #[default]
    Active,
    /// Offered, with an end in sight.
    Deprecated,
    /// No longer offered; priced for the record.
    Retired,
}

/// What a model costs from one date on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The model's id.
    pub id: Box<str>,
    /// Microseconds since 1970 from which the row holds; `None` is always.
    pub from_micros: Option<i64>,
    /// Other names of the model.
    pub aliases: Vec<String>,
    /// Most tokens of a prompt.
    pub context_window: u64,
    /// Most tokens of an answer.
    pub max_output: u64,
    /// Whether inference in the US costs a tenth more.
    pub geography: bool,
    /// Where the model stands in its life.
    pub status: Status,
    /// The rates.
    pub rates: Rates,
    /// The rates of fast mode.
    pub fast: Option<Rates>,
    /// The rates of large prompts; fast mode comes first.
    pub band: Option<Band>,
}

impl Row {
    /// The price of some tokens, and whether it had to be assumed.
    pub(super) fn price(&self, counts: &TokenCounts, speed: Speed, us: bool) -> (i128, bool) {
        let (rates, assumed) = self.rates_of(counts.prompt(), speed);
        let pico = rates.price(counts);
        // Exact: every rate is a multiple of 20.
        (if us && self.geography { (pico / 10).saturating_mul(11) } else { pico }, assumed)
    }

    /// The rates of a call with a prompt of so many tokens, and whether they had to be assumed.
    pub(super) fn quote(&self, prompt: u64, speed: Speed, us: bool) -> (Rates, bool) {
        let (rates, assumed) = self.rates_of(prompt, speed);
        let dearer = |rate: i128| (rate / 10).saturating_mul(11);
        (if us && self.geography { rates.map(dearer) } else { rates }, assumed)
    }

    fn rates_of(&self, prompt: u64, speed: Speed) -> (Rates, bool) {
        let standard = match &self.band {
            Some(band) if prompt > band.above => band.rates,
            Some(_) | None => self.rates,
        };
        match (speed, self.fast) {
            (Speed::Standard, _) => (standard, false),
            (Speed::Fast, Some(fast)) => (fast, false),
            (Speed::Other, Some(fast)) => (fast, true),
            // Every known fast row is twice its standard row.
            (Speed::Fast | Speed::Other, None) => (standard.plus(&standard), true),
        }
    }

    /// The most that one reading of a prompt and its answer can cost.
    pub(super) fn worst_case(&self, prompt: u64, max_tokens: Option<u64>) -> i128 {
        self.worst_readings(Readings { prompt, times: 1, any_speed: false }, max_tokens)
    }

    /// The most that several readings, told in one usage, can cost.
    pub(super) fn worst_readings(&self, readings: Readings, max_tokens: Option<u64>) -> i128 {
        let Readings { prompt, times, any_speed } = readings;
        let prompt = prompt.min(self.context_window);
        // A usage is judged by its sum.
        let band = self.band.filter(|band| prompt.saturating_mul(times) > band.above);
        let standard = band.map_or(self.rates, |band| band.rates.dearer(&self.rates));
        let fast = self.fast.or_else(|| any_speed.then(|| standard.plus(&standard)));
        let rates = fast.map_or(standard, |fast| fast.dearer(&standard));
        self.most(rates, prompt, max_tokens).saturating_mul(i128::from(times))
    }

    fn most(&self, rates: Rates, input: u64, max_tokens: Option<u64>) -> i128 {
        let per_input = rates.input.max(rates.cache_write_5m).max(rates.cache_write_1h).max(rates.cache_read);
        let output = max_tokens.unwrap_or(self.max_output);
        let pico = times(per_input, input).saturating_add(times(rates.output, output));
        if self.geography { (pico / 10).saturating_mul(11) } else { pico }
    }
}

/// How often a prompt is read for one answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Readings {
    /// Its most tokens.
    pub prompt: u64,
    /// How often.
    pub times: u64,
    /// A speed is asked for, of which the row may say nothing.
    pub any_speed: bool,
}

impl Rates {
    fn price(&self, counts: &TokenCounts) -> i128 {
        times(self.input, counts.input)
            .saturating_add(times(self.cache_write_5m, counts.cache_write_5m))
            .saturating_add(times(self.cache_write_1h, counts.cache_write_1h))
            .saturating_add(times(self.cache_read, counts.cache_read))
            .saturating_add(times(self.output, counts.output))
    }

    /// The dearer of the two, rate by rate.
    pub(super) fn dearer(&self, other: &Self) -> Self {
        self.each(other, i128::max)
    }

    fn plus(&self, other: &Self) -> Self {
        self.each(other, i128::saturating_add)
    }

    fn map(&self, change: impl Fn(i128) -> i128) -> Self {
        self.each(self, |rate, _| change(rate))
    }

    fn each(&self, other: &Self, join: impl Fn(i128, i128) -> i128) -> Self {
        Self {
            input: join(self.input, other.input),
            output: join(self.output, other.output),
            cache_write_5m: join(self.cache_write_5m, other.cache_write_5m),
            cache_write_1h: join(self.cache_write_1h, other.cache_write_1h),
            cache_read: join(self.cache_read, other.cache_read),
        }
    }
}

fn times(rate: i128, tokens: u64) -> i128 {
    rate.saturating_mul(i128::from(tokens))
}
