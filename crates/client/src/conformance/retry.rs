use std::time::Duration;

use claviger_domain::clock::Timestamp;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use serde::Deserialize;

use super::{Headers, vectors};
use crate::retry::{Decision, Ended, MAX_WAIT, Retry, Seen};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "about")]
    _about: String,
    settings: Settings,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    max_retries: u32,
    base_ms: u64,
    cap_ms: u64,
    jitter: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    sdk: bool,
    method: String,
    attempt: u32,
    max_retries: Option<u32>,
    replayable: Option<bool>,
    status: Option<u16>,
    #[serde(default)]
    headers: Headers,
    error: Option<String>,
    #[serde(default)]
    now: i64,
    random: f64,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    retry: bool,
    wait_ms: Option<u64>,
    should_retry: Option<String>,
}

impl Expect {
    fn decision(&self) -> Decision {
        match (self.retry, self.wait_ms, self.should_retry.as_deref()) {
            (true, Some(wait), None) => Decision::After(Duration::from_millis(wait)),
            (false, None, None) => Decision::HandOn,
            (false, None, Some("false")) => Decision::Forbid,
            other => panic!("not understood: {other:?}"),
        }
    }
}

#[test]
fn retry_decisions_are_those_of_the_vectors() {
    let file: File = vectors("retry.json");
    let Settings { max_retries, base_ms, cap_ms, jitter } = file.settings;
    assert_eq!((max_retries, cap_ms), (Retry::default().max, MAX_WAIT.as_millis() as u64));
    assert_eq!((base_ms, jitter), (1_000, 0.25), "the waits below are of these");
    for case in &file.cases {
        let headers: HeaderMap = case
            .headers
            .iter()
            .map(|(n, v)| (n.parse::<HeaderName>().unwrap(), v.parse().unwrap()))
            .collect();
        let ended = match (case.status, case.error.as_deref()) {
            (Some(status), None) => Ended::Answer(StatusCode::from_u16(status).unwrap(), &headers),
            (None, Some("connect")) => Ended::Unsent,
            (None, Some("lost")) => Ended::Lost,
            other => panic!("not understood: {other:?}"),
        };
        let method: Method = case.method.parse().unwrap();
        let seen = Seen {
            attempt: case.attempt,
            method: &method,
            repeatable: case.replayable.unwrap_or(true),
            ended,
            now: Timestamp::from_secs(case.now),
            chance: case.random,
        };
        let retry = Retry { max: case.max_retries.unwrap_or(3), ..Retry::default() };
        let mut request = HeaderMap::new();
        if case.sdk {
            request.insert("x-stainless-retry-count", "0".parse().unwrap());
        }
        let decision = retry.decide(&seen, retry.is_left_to_caller(&request));
        assert_eq!(decision, case.expect.decision(), "{}", case.name);
    }
}
