use std::io;

use http::HeaderValue;
use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

fn progress(attempts: u32, elapsed_ms: u64) -> Progress {
    Progress { attempts, elapsed: Duration::from_millis(elapsed_ms), now: NOW, jitter: u64::MAX }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_str(v).expect("value")))
        .collect()
}

fn judge(status: u16, pairs: &[(&'static str, &str)], progress: Progress) -> Decision {
    let headers = headers(pairs);
    let status = StatusCode::from_u16(status).expect("status");
    RetryPolicy::default().decide(Outcome::Answer { status, headers: &headers }, progress)
}

fn refused() -> UpstreamError {
    let address = "127.0.0.1:1".parse().expect("address");
    UpstreamError::Connect { address, source: io::ErrorKind::ConnectionRefused.into() }
}

#[test]
fn only_what_may_pass_is_tried_again() {
    for status in [408, 429, 500, 502, 503, 504, 529] {
        assert!(matches!(judge(status, &[], progress(1, 0)), Decision::Retry { .. }), "{status}");
    }
    for status in [200, 206, 304, 400, 401, 402, 403, 404, 409, 413, 422, 501, 505] {
        assert_eq!(judge(status, &[], progress(1, 0)), Decision::GiveUp(GiveUp::NotRetryable), "{status}");
    }
}

#[test]
fn the_upstreams_own_word_overrides_the_status() {
    let no = [("x-should-retry", "false")];
    assert_eq!(judge(529, &no, progress(1, 0)), Decision::GiveUp(GiveUp::Forbidden));
    let yes = [("x-should-retry", "true")];
    assert!(matches!(judge(409, &yes, progress(1, 0)), Decision::Retry { .. }));
    assert_eq!(judge(200, &yes, progress(1, 0)), Decision::GiveUp(GiveUp::NotRetryable));
}

#[test]
fn two_extra_attempts_are_made_and_no_third() {
    assert!(matches!(judge(529, &[], progress(2, 900)), Decision::Retry { .. }));
    assert_eq!(judge(529, &[], progress(3, 2_900)), Decision::GiveUp(GiveUp::Attempts));
}

#[test]
fn no_attempt_starts_after_the_budget() {
    assert!(matches!(judge(529, &[], progress(1, 14_000)), Decision::Retry { .. }));
    assert_eq!(judge(529, &[], progress(1, 14_001)), Decision::GiveUp(GiveUp::Budget));
}

#[test]
fn a_long_wait_is_left_to_the_client() {
    let exactly = judge(429, &[("retry-after", "2")], progress(1, 0));
    assert_eq!(exactly, Decision::Retry { after: Duration::from_secs(2) });
    assert_eq!(judge(429, &[("retry-after", "2.001")], progress(1, 0)), Decision::GiveUp(GiveUp::LongWait));
    assert_eq!(judge(429, &[("retry-after", "3600")], progress(1, 0)), Decision::GiveUp(GiveUp::LongWait));
}

#[test]
fn retry_after_is_read_in_all_its_forms() {
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(1_795_000_090));
    let past = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(1_794_000_000));
    for (pairs, expected) in [
        (vec![("retry-after", "7")], Some(7_000)),
        (vec![("retry-after", " 0.25 ")], Some(250)),
        (vec![("retry-after", "0")], Some(0)),
        (vec![("retry-after-ms", "150"), ("retry-after", "7")], Some(150)),
        (vec![("retry-after-ms", "soon"), ("retry-after", "7")], Some(7_000)),
        (vec![("retry-after", date.as_str())], Some(90_000)),
        (vec![("retry-after", past.as_str())], Some(0)),
        (vec![("retry-after", "-1")], None),
        (vec![("retry-after", "NaN")], None),
        (vec![("retry-after", "inf")], None),
        (vec![("retry-after", "soon")], None),
        (vec![], None),
    ] {
        let read = retry_after(&headers(&pairs), NOW).map(|d| d.as_millis());
        assert_eq!(read, expected, "{pairs:?}");
    }
}

#[test]
fn failures_on_the_way_are_tried_again_and_ours_are_not() {
    let policy = RetryPolicy::default();
    let decide = |error: &UpstreamError| policy.decide(Outcome::Failure(error), progress(1, 0));
    assert!(matches!(decide(&refused()), Decision::Retry { .. }));
    for ours in [
        UpstreamError::PoolFull { open: 1, waiting: 1 },
        UpstreamError::HeadTimeout(Duration::from_secs(600)),
        UpstreamError::Redirected(StatusCode::FOUND),
        UpstreamError::NotPublic { host: "h".into(), address: "10.0.0.1".parse().expect("ip") },
    ] {
        assert_eq!(decide(&ours), Decision::GiveUp(GiveUp::NotRetryable), "{ours}");
    }
}

proptest! {
    #[test]
    fn waits_double_with_jitter_and_stay_within_the_longest(jitter: u64, attempts in 1_u32..=2) {
        let decision = RetryPolicy::default().decide(
            Outcome::Failure(&refused()),
            Progress { jitter, ..progress(attempts, 0) },
        );
        let full = Duration::from_secs(1 << (attempts - 1));
        let Decision::Retry { after } = decision else { panic!("{decision:?}") };
        prop_assert!(after >= full / 2 && after <= full, "{after:?} of {full:?}");
    }

    #[test]
    fn no_decision_ever_leads_past_attempts_budget_or_longest_wait(
        status in 100_u16..1000, attempts: u32, elapsed_ms in 0_u64..100_000, jitter: u64, asked in ".{0,24}",
    ) {
        let headers: HeaderMap = HeaderValue::from_str(&asked).map(|v| (RETRY_AFTER, v)).into_iter().collect();
        let status = StatusCode::from_u16(status).expect("status");
        let progress = Progress { jitter, ..progress(attempts, elapsed_ms) };
        let policy = RetryPolicy::default();
        if let Decision::Retry { after } = policy.decide(Outcome::Answer { status, headers: &headers }, progress) {
            prop_assert!(attempts <= policy.extra_attempts);
            prop_assert!(after <= policy.max_wait && progress.elapsed + after <= policy.budget);
        }
    }
}
