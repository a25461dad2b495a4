//! Whether a failed attempt is worth another one, and when. Pure: the caller sleeps and counts.
//!
//! Only what comes before the answer's first byte is judged here; a broken stream is never repeated. The wait
//! is short or it is the client's: SDKs retry by themselves and know whether anybody still waits.

use std::time::{Duration, UNIX_EPOCH};

use claviger_claude_wire::headers;
use claviger_domain::clock::Timestamp;
use http::{HeaderMap, HeaderName, StatusCode, header::RETRY_AFTER};

use crate::error::UpstreamError;

#[cfg(test)]
mod tests;

/// The upstream's own word on whether to retry; it overrides the status, as it does in the SDKs.
pub const X_SHOULD_RETRY: HeaderName = HeaderName::from_static(headers::X_SHOULD_RETRY);
/// A finer `retry-after`, in milliseconds.
pub const RETRY_AFTER_MS: HeaderName = HeaderName::from_static(headers::RETRY_AFTER_MS);

/// How often, how long and with which waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts after the first (2).
    pub extra_attempts: u32,
    /// No attempt starts later than this after the first did (15 s).
    pub budget: Duration,
    /// The first wait, doubled each time and shortened by up to half at random (1 s).
    pub base: Duration,
    /// The longest wait; a longer one is left to the client (2 s).
    pub max_wait: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            extra_attempts: 2,
            budget: Duration::from_secs(15),
            base: Duration::from_secs(1),
            max_wait: Duration::from_secs(2),
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy)]
pub enum Outcome<'a> {
    /// With an answer's head.
    Answer {
        /// Its status.
        status: StatusCode,
        /// Its headers.
        headers: &'a HeaderMap,
    },
    /// Without one.
    Failure(&'a UpstreamError),
}

/// Where the call stands.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Attempts made, the one being judged included.
    pub attempts: u32,
    /// Time since the first attempt began.
    pub elapsed: Duration,
    /// Wall time, for `retry-after` dates.
    pub now: Timestamp,
    /// Fresh randomness.
    pub jitter: u64,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Try again after the wait.
    Retry {
        /// How long to wait. Another credential need not wait when this one was told to.
        after: Duration,
    },
    /// Pass on what there is.
    GiveUp(GiveUp),
}

/// Why an outcome is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GiveUp {
    /// Another try would end the same way.
    NotRetryable,
    /// The upstream said `x-should-retry: false`.
    Forbidden,
    /// All attempts are used up.
    Attempts,
    /// There is no time left.
    Budget,
    /// The upstream asks for a wait that is the client's to make.
    LongWait,
}

impl RetryPolicy {
    /// Judges an attempt.
    #[must_use]
    pub fn decide(&self, outcome: Outcome<'_>, progress: Progress) -> Decision {
        if let Err(reason) = outcome.worth_retrying() {
            return Decision::GiveUp(reason);
        }
        if progress.attempts > self.extra_attempts {
            return Decision::GiveUp(GiveUp::Attempts);
        }
        let after = outcome.asked_wait(progress.now).unwrap_or_else(|| self.backoff(progress));
        if after > self.max_wait {
            Decision::GiveUp(GiveUp::LongWait)
        } else if progress.elapsed.saturating_add(after) > self.budget {
            Decision::GiveUp(GiveUp::Budget)
        } else {
            Decision::Retry { after }
        }
    }

    /// `base · 2ⁿ`, at most `max_wait`, times a factor between ½ and 1.
    fn backoff(&self, progress: Progress) -> Duration {
        let doublings = progress.attempts.saturating_sub(1).min(16);
        let full = self.base.saturating_mul(1 << doublings).min(self.max_wait);
        // The upper 32 bits scale [0, 1) without floating point.
        let half = full / 2;
        let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        let part = (u128::from(nanos) * u128::from(progress.jitter >> 32)) >> 32;
        half + Duration::from_nanos(u64::try_from(part).unwrap_or(nanos))
    }
}

impl Outcome<'_> {
    fn worth_retrying(&self) -> Result<(), GiveUp> {
        let retryable = match self {
            Self::Failure(error) => error.transient(),
            Self::Answer { status, headers } => match should_retry(headers) {
                Some(true) => status.is_client_error() || status.is_server_error(),
                Some(false) => return Err(GiveUp::Forbidden),
                None => matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504 | 529),
            },
        };
        retryable.then_some(()).ok_or(GiveUp::NotRetryable)
    }

    fn asked_wait(&self, now: Timestamp) -> Option<Duration> {
        match self {
            Self::Answer { headers, .. } => retry_after(headers, now),
            Self::Failure(_) => None,
        }
    }
}

fn should_retry(headers: &HeaderMap) -> Option<bool> {
    match headers.get(X_SHOULD_RETRY)?.as_bytes() {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

/// The wait that an answer asks for: `retry-after-ms`, else `retry-after` in (fractions of) seconds or as a
/// date. What cannot be read counts as absent.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
    let number = |text: &str, unit: f64| {
        let value = text.parse::<f64>().ok()? * unit;
        // Duration refuses what is negative, infinite or not a number.
        Duration::try_from_secs_f64(value).ok()
    };
    if let Some(wait) = text(RETRY_AFTER_MS).and_then(|t| number(t, 0.001)) {
        return Some(wait);
    }
    let text = text(RETRY_AFTER)?;
    number(text, 1.0).or_else(|| {
        let at = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
        let now = Duration::from_micros(u64::try_from(now.as_micros()).unwrap_or(0));
        Some(at.saturating_sub(now))
    })
}
