//! Response headers: the API's own, and the noise of the edge before it.

use std::sync::{Mutex, PoisonError};

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, SERVER,
    STRICT_TRANSPORT_SECURITY, VARY, VIA,
};

use crate::error::Hints;
use crate::workspace::Window;

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const ORGANIZATION: HeaderName = HeaderName::from_static("anthropic-organization-id");
const WORKSPACE: HeaderName = HeaderName::from_static("anthropic-workspace-id");
const CF_RAY: HeaderName = HeaderName::from_static("cf-ray");
const RETRY_AFTER: HeaderName = HeaderName::from_static("retry-after");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const ORGANIZATION_ID: HeaderValue = HeaderValue::from_static("5a11ed00-c1a0-4de0-8000-0051b0000001");

/// Limits a minute as the headers state them.
const REQUESTS_LIMIT: u64 = 4_000;
const INPUT_LIMIT: u64 = 2_000_000;
const OUTPUT_LIMIT: u64 = 400_000;

/// What the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Json,
    Jsonl,
    Events,
    Html,
    Text,
}

impl Kind {
    fn value(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Json => "application/json",
            Self::Jsonl => "application/x-jsonl",
            Self::Events => "text/event-stream; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::Text => "text/plain; charset=utf-8",
        })
    }
}

/// Builds the headers of an answer from a prepared set.
#[derive(Debug)]
pub(crate) struct Dresser {
    template: HeaderMap,
    noise: bool,
    /// The minute and its end as text.
    reset: Mutex<(u64, HeaderValue)>,
    requests_limit: u64,
}

impl Dresser {
    pub(crate) fn new(noise: bool, requests_limit: Option<u64>) -> Self {
        let mut template = HeaderMap::with_capacity(40);
        template.insert(ORGANIZATION, ORGANIZATION_ID);
        if noise {
            let fixed = [
                (SERVER, "cloudflare"),
                (HeaderName::from_static("cf-cache-status"), "DYNAMIC"),
                (VIA, "1.1 google"),
                (VARY, "Accept-Encoding"),
                (HeaderName::from_static("x-envoy-upstream-service-time"), "7"),
                (HeaderName::from_static("server-timing"), "x-originResponse;dur=7"),
                (STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains; preload"),
                (HeaderName::from_static("x-robots-tag"), "none"),
                (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
            ];
            for (name, value) in fixed {
                template.insert(name, HeaderValue::from_static(value));
            }
        }
        let reset = Mutex::new((u64::MAX, HeaderValue::from_static("")));
        Self { template, noise, reset, requests_limit: requests_limit.unwrap_or(REQUESTS_LIMIT) }
    }

    /// The headers that every answer has.
    pub(crate) fn base(&self, request_id: &str, kind: Kind, workspace: Option<&HeaderValue>) -> HeaderMap {
        let mut headers = self.template.clone();
        if let Ok(value) = HeaderValue::from_str(request_id) {
            headers.insert(REQUEST_ID, value);
        }
        if self.noise {
            let ray = request_id.get(8..24).and_then(|tail| HeaderValue::from_str(tail).ok());
            headers.insert(CF_RAY, ray.unwrap_or(HeaderValue::from_static("0000000000000000")));
        }
        headers.insert(CONTENT_TYPE, kind.value());
        if kind == Kind::Events {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        if let Some(workspace) = workspace {
            headers.insert(WORKSPACE, workspace.clone());
        }
        headers
    }

    /// `anthropic-ratelimit-*`, on messages only.
    pub(crate) fn limits(&self, headers: &mut HeaderMap, window: Window) {
        let reset = self.reset_at(window.minute);
        let left = |limit: u64, used: u64| limit.saturating_sub(used);
        let tokens = INPUT_LIMIT + OUTPUT_LIMIT;
        let rows = [
            (RATE_NAMES[0], self.requests_limit, left(self.requests_limit, window.requests)),
            (RATE_NAMES[1], tokens, left(tokens, window.input + window.output)),
            (RATE_NAMES[2], INPUT_LIMIT, left(INPUT_LIMIT, window.input)),
            (RATE_NAMES[3], OUTPUT_LIMIT, left(OUTPUT_LIMIT, window.output)),
        ];
        for (names, limit, remaining) in rows {
            headers.insert(HeaderName::from_static(names[0]), HeaderValue::from(limit));
            headers.insert(HeaderName::from_static(names[1]), HeaderValue::from(remaining));
            headers.insert(HeaderName::from_static(names[2]), reset.clone());
        }
    }

    fn reset_at(&self, minute: u64) -> HeaderValue {
        let mut cached = self.reset.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.0 != minute {
            let text = rfc3339(minute.saturating_add(1).saturating_mul(60_000));
            let value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
            *cached = (minute, value);
        }
        cached.1.clone()
    }
}

const RATE_NAMES: [[&str; 3]; 4] = [
    [
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-reset",
    ],
    [
        "anthropic-ratelimit-tokens-limit",
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-tokens-reset",
    ],
    [
        "anthropic-ratelimit-input-tokens-limit",
        "anthropic-ratelimit-input-tokens-remaining",
        "anthropic-ratelimit-input-tokens-reset",
    ],
    [
        "anthropic-ratelimit-output-tokens-limit",
        "anthropic-ratelimit-output-tokens-remaining",
        "anthropic-ratelimit-output-tokens-reset",
    ],
];

/// The headers that tell a client when to come back.
pub(crate) fn retry(headers: &mut HeaderMap, hints: &Hints) {
    if let Some(value) = hints.retry_after.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
        headers.insert(RETRY_AFTER, value);
    }
    if let Some(millis) = hints.retry_after_ms {
        headers.insert(RETRY_AFTER_MS, HeaderValue::from(millis));
    }
    if let Some(should) = hints.should_retry {
        headers.insert(SHOULD_RETRY, HeaderValue::from_static(if should { "true" } else { "false" }));
    }
}

/// RFC 3339 in UTC of milliseconds since the epoch.
pub(crate) fn rfc3339(unix_ms: u64) -> String {
    let millis = i64::try_from(unix_ms).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| String::new(), |time| time.to_string())
}

/// The same of a whole second, without a fraction.
pub(crate) fn rfc3339_secs(unix_ms: u64) -> String {
    rfc3339(unix_ms / 1_000 * 1_000)
}
