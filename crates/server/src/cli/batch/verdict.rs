//! What an answer means for the request, and for the run.

use std::time::Duration;

use claviger_domain::clock::{Clock, Entropy};
use http::{HeaderMap, StatusCode, header};

use super::record::error_of;
use crate::{cli::transport::Answer, clock::SystemClock};

/// The first wait before a request is tried again; each further one doubles.
const BASE: Duration = Duration::from_secs(1);
/// No wait of ours is longer.
const CAP: Duration = Duration::from_secs(60);
/// A wait that was asked for and is longer than this is a ceiling.
pub const LONGEST: Duration = Duration::from_secs(600);

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is answered.
    Answered,
    /// It failed, and would again.
    Failed,
    /// It is worth another try, after this wait if one was asked for.
    Again(Option<Duration>),
    /// There is too much at once, or a minute's share is used up: everyone waits.
    Slow(Option<Duration>),
    /// A ceiling is reached, which lifts after this time if anybody knows.
    Ceiling(Option<Duration>),
    /// No request of this run would be taken.
    Closed,
}

/// Judges an answer.
pub fn judge(answer: &Answer) -> Verdict {
    let should_retry = answer.headers.get("x-should-retry").map(http::HeaderValue::as_bytes);
    let wait = wait(&answer.headers);
    let (yes, no) = (should_retry == Some(b"true"), should_retry == Some(b"false"));
    match answer.status {
        status if status.is_success() => Verdict::Answered,
        StatusCode::UNAUTHORIZED => Verdict::Closed,
        StatusCode::TOO_MANY_REQUESTS => {
            let is_billing = error_of(&answer.body).is_some_and(|(kind, _)| kind == "billing_error");
            if no || is_billing || wait.is_some_and(|wait| wait > LONGEST) {
                Verdict::Ceiling(wait)
            } else {
                Verdict::Slow(wait)
            }
        }
        // Something that every request needs is missing, and does not come back by itself.
        StatusCode::SERVICE_UNAVAILABLE if no => Verdict::Closed,
        _ if no => Verdict::Failed,
        StatusCode::NOT_IMPLEMENTED if !yes => Verdict::Failed,
        StatusCode::REQUEST_TIMEOUT | StatusCode::CONFLICT => Verdict::Again(wait),
        status if status.is_server_error() || yes => Verdict::Again(wait),
        _ => Verdict::Failed,
    }
}

/// The wait that an answer asks for: `retry-after-ms`, else `retry-after` in seconds or as a date.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let span = |value: f64| Duration::try_from_secs_f64(value).ok().filter(|wait| !wait.is_zero());
    if let Some(wait) =
        text("retry-after-ms").and_then(|ms| ms.parse().ok()).and_then(|ms: f64| span(ms / 1e3))
    {
        return Some(wait);
    }
    let told = text(header::RETRY_AFTER.as_str())?;
    if let Ok(secs) = told.parse::<f64>() {
        return span(secs);
    }
    let until = jiff::fmt::rfc2822::parse(told).ok()?.timestamp().as_microsecond();
    let left = until.saturating_sub(SystemClock.now().as_micros());
    u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_micros)
}

/// The wait before a try that nobody said a wait for; `failed`: tries so far, from 1. Up to a quarter of it is cut off
/// by chance.
pub fn backoff(failed: u32, chance: &dyn Entropy) -> Duration {
    let doubled = BASE.saturating_mul(1 << failed.saturating_sub(1).min(10)).min(CAP);
    let mut byte = [0];
    // Without chance all wait alike.
    let _ = chance.fill(&mut byte);
    doubled.mul_f64(1.0 - f64::from(byte[0]) / 1024.0)
}

/// What an answer says, in a few words.
pub fn said(answer: &Answer) -> String {
    match error_of(&answer.body) {
        Some((kind, message)) => format!("{kind}: {message}"),
        None => format!("status {}", answer.status.as_u16()),
    }
}

#[cfg(test)]
mod tests {
    use claviger_testkit::SeededEntropy;

    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)], kind: &str) -> Answer {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let body = format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"m"}}}}"#).into_bytes();
        Answer { status: StatusCode::from_u16(status).unwrap(), headers: map, body }
    }

    #[test]
    fn answers_are_judged_as_the_official_clients_do_and_ceilings_apart() {
        let secs = Duration::from_secs;
        let no = ("x-should-retry", "false");
        for (status, headers, kind, verdict) in [
            (200, &[][..], "", Verdict::Answered),
            (400, &[], "invalid_request_error", Verdict::Failed),
            (400, &[("x-should-retry", "true")], "invalid_request_error", Verdict::Again(None)),
            (401, &[no], "authentication_error", Verdict::Closed),
            (403, &[], "permission_error", Verdict::Failed),
            (408, &[], "timeout_error", Verdict::Again(None)),
            (409, &[("retry-after", "2")], "invalid_request_error", Verdict::Again(Some(secs(2)))),
            (413, &[], "request_too_large", Verdict::Failed),
            (429, &[], "rate_limit_error", Verdict::Slow(None)),
            (429, &[("retry-after", "7")], "rate_limit_error", Verdict::Slow(Some(secs(7)))),
            (429, &[("retry-after", "601")], "rate_limit_error", Verdict::Ceiling(Some(secs(601)))),
            (429, &[no, ("retry-after", "7")], "rate_limit_error", Verdict::Ceiling(Some(secs(7)))),
            (429, &[], "billing_error", Verdict::Ceiling(None)),
            (500, &[no], "api_error", Verdict::Failed),
            (
                500,
                &[("retry-after-ms", "250")],
                "api_error",
                Verdict::Again(Some(Duration::from_millis(250))),
            ),
            (501, &[], "not_supported", Verdict::Failed),
            (503, &[("retry-after", "1")], "api_error", Verdict::Again(Some(secs(1)))),
            (503, &[no], "api_error", Verdict::Closed),
            (529, &[("retry-after", "0")], "overloaded_error", Verdict::Again(None)),
            (529, &[("retry-after", "soon")], "overloaded_error", Verdict::Again(None)),
            (
                529,
                &[("retry-after", "Thu, 01 Jan 2015 00:00:30 GMT")],
                "overloaded_error",
                Verdict::Again(None),
            ),
        ] {
            assert_eq!(judge(&answer(status, headers, kind)), verdict, "{status} {headers:?} {kind}");
        }
        let later = [("retry-after", "Wed, 01 Jan 2200 00:00:30 GMT")];
        assert!(matches!(judge(&answer(529, &later, "")), Verdict::Again(Some(wait)) if wait > LONGEST));
    }

    #[test]
    fn waits_double_up_to_a_minute_and_differ() {
        let chance = SeededEntropy::new(1);
        let mut seen = std::collections::BTreeSet::new();
        for (failed, most) in [(1, 1.0), (2, 2.0), (3, 4.0), (7, 60.0), (4_000, 60.0)] {
            for _ in 0..100 {
                let wait = backoff(failed, &chance).as_secs_f64();
                assert!(wait <= most && wait >= most * 0.75, "{failed}: {wait}");
                seen.insert(backoff(1, &chance));
            }
        }
        assert!(seen.len() > 50);
    }
}
