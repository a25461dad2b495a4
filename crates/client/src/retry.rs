//! What is asked again, and when.

use std::time::Duration;

use claviger_domain::clock::Timestamp;
use http::{HeaderMap, Method, StatusCode, header::RETRY_AFTER};

/// The longest wait. When the gateway asks for more, its answer is handed on instead.
pub const MAX_WAIT: Duration = Duration::from_secs(60);
const BASE: Duration = Duration::from_secs(1);
const JITTER: f64 = 0.25;
const FOREVER: Duration = Duration::from_secs(24 * 3600);
const SHOULD_RETRY: &str = "x-should-retry";
const SDK_RETRIES: &str = "x-stainless-retry-count";

/// Who repeats a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetryMode {
    /// We do, unless the request shows that an SDK does.
    #[default]
    Auto,
    /// We do, whatever the caller does.
    Always,
    /// The caller.
    Never,
}

/// What is repeated, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Who repeats.
    pub mode: RetryMode,
    /// Repetitions of one request at most.
    pub max: u32,
    /// The longest wait before one; never more than [`MAX_WAIT`].
    pub max_wait: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { mode: RetryMode::Auto, max: 3, max_wait: MAX_WAIT }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
pub enum Ended<'a> {
    /// With an answer.
    Answer(StatusCode, &'a HeaderMap),
    /// Nothing reached the gateway.
    Unsent,
    /// The answer was lost: the request may have been carried out, and paid for.
    Lost,
}

/// What is known after an attempt.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Counts from 0.
    pub attempt: u32,
    /// The request's method.
    pub method: &'a Method,
    /// Whether its body is still there.
    pub repeatable: bool,
    /// How it ended.
    pub ended: Ended<'a>,
    /// The time, for `Retry-After` as a date.
    pub now: Timestamp,
    /// By chance, from 0 to 1.
    pub chance: f64,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The answer, or its lack, goes to the caller.
    HandOn,
    /// The same, with `x-should-retry: false`, so that an SDK does not sleep beyond the cap.
    Forbid,
    /// Again, after this wait.
    After(Duration),
}

impl Retry {
    /// Whether somebody else repeats this request.
    #[must_use]
    pub fn is_left_to_caller(&self, headers: &HeaderMap) -> bool {
        match self.mode {
            RetryMode::Auto => headers.contains_key(SDK_RETRIES),
            RetryMode::Always => false,
            RetryMode::Never => true,
        }
    }

    /// Everything that this looks at is in its arguments.
    #[must_use]
    pub fn decide(&self, seen: &Seen<'_>, left_to_caller: bool) -> Decision {
        let max_wait = self.max_wait.min(MAX_WAIT);
        let asked = match seen.ended {
            Ended::Unsent => Duration::ZERO,
            Ended::Lost if is_without_effect(seen.method) => Duration::ZERO,
            Ended::Answer(status, headers) if is_retryable(status, headers) => retry_after(headers, seen.now),
            Ended::Lost | Ended::Answer(..) => return Decision::HandOn,
        };
        if asked > max_wait {
            return if left_to_caller { Decision::Forbid } else { Decision::HandOn };
        }
        if left_to_caller || !seen.repeatable || seen.attempt >= self.max {
            return Decision::HandOn;
        }
        let backoff = || backoff(seen.attempt, max_wait, seen.chance);
        Decision::After(if asked.is_zero() { backoff() } else { asked })
    }
}

/// Whether sending twice is as good as once.
fn is_without_effect(method: &Method) -> bool {
    method.is_idempotent()
}

/// Whether an answer may be asked for again: `x-should-retry` decides where it is set, else the status does (408, 409,
/// 429 and from 500 on, but for 501, which is not going to change).
#[must_use]
pub fn is_retryable(status: StatusCode, headers: &HeaderMap) -> bool {
    if status.as_u16() < 400 {
        return false;
    }
    match headers.get(SHOULD_RETRY).map(http::HeaderValue::as_bytes) {
        Some(b"true") => true,
        Some(b"false") => false,
        _ => matches!(status.as_u16(), 408 | 409 | 429 | 500 | 502..),
    }
}

/// The wait that an answer asks for; zero when it asks for none.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Duration {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if let Some(wait) = number(text("retry-after-ms"), 0.001) {
        return wait;
    }
    let after = text(RETRY_AFTER.as_str());
    if let Some(wait) = number(after, 1.0) {
        return wait;
    }
    let date = httpdate::parse_http_date(after).ok();
    let date = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
    let date = date.and_then(|since| i64::try_from(since.as_micros()).ok());
    let micros = date.map_or(0, |date| Timestamp::from_micros(date).micros_since(now));
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// A wait in units of so many seconds; what is too long for any cap stays so.
fn number(text: &str, unit_secs: f64) -> Option<Duration> {
    let count: f64 = text.trim().parse().ok()?;
    if count.is_nan() {
        return None;
    }
    let secs = (count * unit_secs).clamp(0.0, FOREVER.as_secs_f64());
    Some(Duration::from_micros((secs * 1e6).round() as u64))
}

/// One second, doubled with each attempt up to the cap, less up to a quarter by chance.
fn backoff(attempt: u32, cap: Duration, chance: f64) -> Duration {
    let doubled = 2_u32.checked_pow(attempt).and_then(|factor| BASE.checked_mul(factor));
    doubled.unwrap_or(cap).min(cap).mul_f64(1.0 - JITTER * chance)
}

/// Forbids the caller's own repetition.
pub(crate) fn forbid(headers: &mut HeaderMap) {
    headers.insert(SHOULD_RETRY, http::HeaderValue::from_static("false"));
}
