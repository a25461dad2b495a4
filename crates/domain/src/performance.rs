//! How fast and how well calls were answered, and what to do about it. Takes rows of the ledger one by one in bounded
//! memory; the advice follows from the figures by [`advice`], rule by rule.

mod advice;
mod render;

use std::collections::BTreeMap;

use serde::Serialize;

pub use self::advice::{Advice, Rule};
use crate::{
    ledger::{LedgerRow, Outcome, RowFlags},
    permission::Endpoint,
};

/// Groups that are told apart; calls of all others are told together, as `others`.
pub const MOST_GROUPS: usize = 200;
const OTHERS: &str = "others";

/// Durations in buckets: each is at most 1/64 wider than its lower end, so that a percentile is at most 1.6 % too high.
#[derive(Debug, Clone, Default)]
pub struct Durations {
    counts: BTreeMap<u16, u64>,
    count: u64,
    sum_us: u128,
    most_us: u64,
}

const STEPS: u32 = 64;
const STEP_BITS: u32 = STEPS.trailing_zeros();

impl Durations {
    /// Takes one, in microseconds.
    pub fn add(&mut self, micros: i64) {
        let micros = u64::try_from(micros).unwrap_or(0);
        *self.counts.entry(bucket(micros)).or_default() += 1;
        self.count += 1;
        self.sum_us += u128::from(micros);
        self.most_us = self.most_us.max(micros);
    }

    /// The mean in microseconds.
    #[must_use]
    pub fn mean_us(&self) -> u64 {
        u64::try_from(self.sum_us / u128::from(self.count.max(1))).unwrap_or(u64::MAX)
    }

    /// The duration that so many per mille did not exceed, in microseconds: the upper end of its bucket,
    /// or the longest of all.
    #[must_use]
    pub fn percentile_us(&self, per_mille: u64) -> u64 {
        let rank = (u128::from(self.count) * u128::from(per_mille)).div_ceil(1_000).max(1);
        let mut seen = 0_u128;
        for (bucket, count) in &self.counts {
            seen += u128::from(*count);
            if seen >= rank {
                return upper(*bucket).min(self.most_us);
            }
        }
        0
    }
}

/// Values below 64 have a bucket each; above, 64 buckets an octave.
fn bucket(micros: u64) -> u16 {
    let octave = (64 - micros.leading_zeros()).saturating_sub(STEP_BITS + 1);
    let step = micros >> octave;
    u16::try_from(u64::from(octave * STEPS) + step).unwrap_or(u16::MAX)
}

fn upper(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    let steps = u64::from(STEPS);
    if bucket < 2 * steps {
        return bucket;
    }
    let octave = bucket / steps - 1;
    let step = bucket - octave * steps;
    u64::try_from((u128::from(step + 1) << octave) - 1).unwrap_or(u64::MAX)
}

/// Calls of one group, in the making.
#[derive(Debug, Clone, Default)]
struct Tally {
    requests: u64,
    errors: u64,
    by_outcome: BTreeMap<&'static str, u64>,
    retried: u64,
    extra_attempts: u64,
    recalled: u64,
    durations: Durations,
    first_bytes: Durations,
    input_tokens: u64,
    cache_read_tokens: u64,
    output_tokens: u64,
    /// Of streams that came to their end: output tokens, and the time they took after the first byte.
    streamed_tokens: u64,
    streamed_us: u128,
}

/// Whether nobody but the client is to blame for how it ended.
fn is_error(row: &LedgerRow) -> bool {
    row.status >= 500 || !matches!(row.outcome, Outcome::Completed | Outcome::ClientGone)
}

impl Tally {
    fn add(&mut self, row: &LedgerRow) {
        self.requests += 1;
        self.errors += u64::from(is_error(row));
        if is_error(row) {
            *self.by_outcome.entry(row.outcome.as_str()).or_default() += 1;
        }
        self.retried += u64::from(row.attempts > 1);
        self.extra_attempts += u64::from(row.attempts.saturating_sub(1));
        self.input_tokens += row.usage.all_input_tokens();
        self.cache_read_tokens += row.usage.cache_read_tokens;
        self.output_tokens += row.usage.output_tokens;
        if row.flags.has(RowFlags::RECALLED) {
            self.recalled += 1;
            return;
        }
        self.durations.add(row.duration_us);
        if row.first_byte_us > 0 {
            self.first_bytes.add(row.first_byte_us);
        }
        let rest = row.duration_us - row.first_byte_us;
        let is_whole = row.outcome == Outcome::Completed && !row.flags.has(RowFlags::ESTIMATED);
        if row.flags.has(RowFlags::STREAM) && is_whole && rest > 0 {
            self.streamed_tokens += row.usage.output_tokens;
            self.streamed_us += rest.cast_unsigned() as u128;
        }
    }
}

/// A report in the making.
#[derive(Debug, Default)]
pub struct PerformanceBook {
    total: Tally,
    groups: BTreeMap<String, Tally>,
}

/// What was measured on some calls. Times are milliseconds, rates are shares from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// A model, key id or credential id; `total`, `none` or `others`.
    pub group: String,
    /// Calls to a model that were sent, or answered from the response cache.
    pub requests: u64,
    /// Calls a minute.
    pub rpm: f64,
    /// Calls that failed, and not because the client went away.
    pub errors: u64,
    /// Their share.
    pub error_rate: f64,
    /// How they ended.
    pub errors_by_outcome: BTreeMap<&'static str, u64>,
    /// Calls that took more than one try.
    pub retried: u64,
    /// Tries beyond the first.
    pub extra_attempts: u64,
    /// From arrival to the end; answers from the response cache are not in it.
    pub latency: Times,
    /// From arrival to the first byte.
    pub first_byte: Times,
    /// Output tokens a second of streams, after the first byte; absent: there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
    /// Tokens that went in, from, to and past the prompt cache.
    pub input_tokens: u64,
    /// Tokens that came out.
    pub output_tokens: u64,
    /// The share of what went in that was read from the prompt cache.
    pub prompt_cache_hit_rate: f64,
    /// Answers from the response cache.
    pub response_cache_hits: u64,
    /// Their share of all calls.
    pub response_cache_hit_rate: f64,
}

/// Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Times {
    /// The mean, exact.
    pub mean_ms: f64,
    /// Half of all took no longer, at most 1.6 % too high, as the others.
    pub p50_ms: f64,
    /// 95 of 100.
    pub p95_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
}

/// Mean time of one stage of a request within this process, since its start.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageTime {
    /// `authenticate`, `authorize`, `admit`, `route`, `forward` (the provider's time) or `relay`.
    pub stage: String,
    /// Requests that went through it.
    pub count: u64,
    /// Their mean, in milliseconds.
    pub mean_ms: f64,
}

/// The report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PerformanceReport {
    /// From here on (RFC 3339),
    pub from: String,
    /// and before this.
    pub until: String,
    /// Single calls are only kept from here on: earlier ones are not in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_from: Option<String>,
    /// What the groups are: `model`, `key` or `credential`.
    pub by: &'static str,
    /// All calls.
    pub total: Figures,
    /// By group, the busiest first.
    pub groups: Vec<Figures>,
    /// Time in each stage, of this process since its start.
    pub stages: Vec<StageTime>,
    /// What to do.
    pub advice: Vec<Advice>,
}

/// What a report is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// From here on (RFC 3339).
    pub from: String,
    /// Before this.
    pub until: String,
    /// Single calls are only kept from here on.
    pub kept_from: Option<String>,
    /// What the groups are.
    pub by: &'static str,
    /// Minutes between both.
    pub minutes: u64,
}

impl PerformanceBook {
    /// Counts a row for a group, if it is a call to a model.
    pub fn add(&mut self, row: &LedgerRow, group: &str) {
        let is_call = row.endpoint == Endpoint::Messages && row.batch.is_none();
        if !is_call || row.outcome == Outcome::Refused || row.flags.has(RowFlags::SIMULATED) {
            return;
        }
        self.total.add(row);
        let is_known = self.groups.contains_key(group);
        let name = if is_known || self.groups.len() < MOST_GROUPS { group } else { OTHERS };
        if let Some(tally) = self.groups.get_mut(name) {
            return tally.add(row);
        }
        self.groups.entry(name.to_owned()).or_default().add(row);
    }

    /// The report.
    #[must_use]
    pub fn finish(self, heading: Heading, stages: Vec<StageTime>) -> PerformanceReport {
        let total = Figures::of("total", &self.total, heading.minutes);
        let mut groups: Vec<Figures> =
            self.groups.iter().map(|(name, tally)| Figures::of(name, tally, heading.minutes)).collect();
        groups.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.group.cmp(&b.group)));
        let advice = advice::advise(&total, &groups, &stages);
        PerformanceReport {
            from: heading.from,
            until: heading.until,
            kept_from: heading.kept_from,
            by: heading.by,
            total,
            groups,
            stages,
            advice,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn share(part: u64, whole: u64) -> f64 {
    round(part as f64 / whole.max(1) as f64)
}

/// To four places: what follows is noise.
fn round(number: f64) -> f64 {
    (number * 10_000.0).round() / 10_000.0
}

impl Times {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn of(durations: &Durations) -> Self {
        let ms = |micros: u64| round(micros as f64 / 1_000.0);
        Self {
            mean_ms: ms(durations.mean_us()),
            p50_ms: ms(durations.percentile_us(500)),
            p95_ms: ms(durations.percentile_us(950)),
            p99_ms: ms(durations.percentile_us(990)),
        }
    }
}

impl Figures {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn of(group: &str, tally: &Tally, minutes: u64) -> Self {
        let seconds = tally.streamed_us as f64 / 1_000_000.0;
        Self {
            group: if group.is_empty() { "none".to_owned() } else { group.to_owned() },
            requests: tally.requests,
            rpm: share(tally.requests, minutes),
            errors: tally.errors,
            error_rate: share(tally.errors, tally.requests),
            errors_by_outcome: tally.by_outcome.clone(),
            retried: tally.retried,
            extra_attempts: tally.extra_attempts,
            latency: Times::of(&tally.durations),
            first_byte: Times::of(&tally.first_bytes),
            tokens_per_second: (tally.streamed_us > 0).then(|| round(tally.streamed_tokens as f64 / seconds)),
            input_tokens: tally.input_tokens,
            output_tokens: tally.output_tokens,
            prompt_cache_hit_rate: share(tally.cache_read_tokens, tally.input_tokens),
            response_cache_hits: tally.recalled,
            response_cache_hit_rate: share(tally.recalled, tally.requests),
        }
    }
}

#[cfg(test)]
mod tests;
