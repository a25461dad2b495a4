//! One look at an upstream with a credential: can it be reached, does it take the key, what does it offer.
//!
//! `GET /v1/models` costs nothing and needs a valid key, so it proves the key without spending money.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use claviger_domain::clock::Timestamp;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::{
    body::UpstreamBody,
    client::UpstreamClient,
    credential::{CredentialForm, ProviderKey},
    error::UpstreamError,
    retry::retry_after,
    target::Target,
    transport::{Timeline, Transport},
};

/// The version that every upstream understands.
const ANTHROPIC_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");
/// The largest list of models that is read.
const MAX_LIST: usize = 4 << 20;

/// What a probe concludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It answers, and takes the key if one was shown.
    Ok,
    /// It answers, but not to this key (401).
    KeyRefused,
    /// It knows the key and refuses it this (403).
    Forbidden,
    /// It asks for patience (429).
    Limited,
    /// It answers with an error of its own (5xx).
    Failing,
    /// It answers something that the Claude API would not.
    Unexpected,
    /// There was no answer; `error` says at what it failed.
    Unreachable,
}

/// What a probe saw. Times are microseconds; absent: that part was not needed or not reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProbeReport {
    /// The upstream's URL.
    pub base_url: String,
    /// The conclusion.
    pub verdict: Verdict,
    /// The addresses that its name has.
    pub addresses: Vec<IpAddr>,
    /// Looking the name up.
    pub resolve_us: Option<u64>,
    /// The TCP connection.
    pub tcp_us: Option<u64>,
    /// The proxy's tunnel.
    pub proxy_us: Option<u64>,
    /// The TLS handshake.
    pub tls_us: Option<u64>,
    /// From sending the request to the answer's head.
    pub first_byte_us: Option<u64>,
    /// The TLS version, such as `TLSv1_3`.
    pub tls_version: Option<String>,
    /// The HTTP version, such as `HTTP/1.1`.
    pub http_version: Option<String>,
    /// The answer's status.
    pub status: Option<u16>,
    /// The answer's `request-id`, for the provider's support.
    pub request_id: Option<String>,
    /// The wait that the answer asked for.
    pub retry_after_ms: Option<u64>,
    /// How many models the key may use.
    pub model_count: Option<usize>,
    /// What failed, with its causes.
    pub error: Option<String>,
    /// The failure's fixed word.
    pub error_kind: Option<&'static str>,
}

/// What is to be probed, and how.
#[derive(Debug, Clone, Copy)]
pub struct Probe<'a> {
    /// The upstream.
    pub target: &'a Target,
    /// The key to show; without one a 401 counts as reachable.
    pub key: Option<&'a ProviderKey>,
    /// The longest wait for the head, and again for the body.
    pub timeout: Duration,
    /// Wall time, to read a `retry-after` date by.
    pub now: Timestamp,
}

/// Opens a connection of its own and asks for the list of models. It never fails: what went wrong is reported.
pub async fn probe(transport: &Arc<Transport>, probe: Probe<'_>) -> ProbeReport {
    let mut timeline = Timeline::default();
    let asked = ask(transport, &probe, &mut timeline).await;
    let micros = |time: Option<Duration>| time.map(|t| u64::try_from(t.as_micros()).unwrap_or(u64::MAX));
    let mut report = ProbeReport {
        base_url: probe.target.base_url(),
        verdict: Verdict::Unreachable,
        resolve_us: micros(timeline.resolve),
        tcp_us: micros(timeline.tcp),
        proxy_us: micros(timeline.proxy),
        tls_us: micros(timeline.tls),
        first_byte_us: micros(timeline.first_byte),
        addresses: timeline.addresses,
        tls_version: timeline.tls_version,
        http_version: None,
        status: None,
        request_id: None,
        retry_after_ms: None,
        model_count: None,
        error: None,
        error_kind: None,
    };
    match asked {
        Ok(answer) => report.note(answer, &probe),
        Err(error) => {
            report.error = Some(error.chain());
            report.error_kind = Some(error.label());
        }
    }
    report
}

struct Answer {
    status: StatusCode,
    version: http::Version,
    headers: HeaderMap,
    models: Option<usize>,
}

async fn ask(
    transport: &Arc<Transport>,
    probe: &Probe<'_>,
    timeline: &mut Timeline,
) -> Result<Answer, UpstreamError> {
    let client = UpstreamClient::<Empty<Bytes>>::new(Arc::clone(transport), TaskTracker::new());
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = http::Uri::from_static("/v1/models?limit=1000");
    let headers = request.headers_mut();
    headers.insert("anthropic-version", ANTHROPIC_VERSION);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(
        header::USER_AGENT,
        HeaderValue::from_static(concat!("claviger/", env!("CARGO_PKG_VERSION"))),
    );
    if let Some(key) = probe.key {
        key.apply(headers, CredentialForm::ApiKey);
    }
    let response = client.send_noting(probe.target, request, probe.timeout, timeline).await?;
    let (head, body) = response.into_parts();
    let models = if head.status.is_success() { count_models(body, probe.timeout).await } else { None };
    Ok(Answer { status: head.status, version: head.version, headers: head.headers, models })
}

/// The length of the list; `None` when it is too long, too late or no list of models.
async fn count_models(body: UpstreamBody<Empty<Bytes>>, limit: Duration) -> Option<usize> {
    #[derive(Deserialize)]
    struct Model {
        #[serde(rename = "id")]
        _id: String,
    }
    #[derive(Deserialize)]
    struct Models {
        data: Vec<Model>,
    }
    let whole = timeout(limit, Limited::new(body, MAX_LIST).collect()).await.ok()?.ok()?;
    serde_json::from_slice::<Models>(&whole.to_bytes()).ok().map(|list| list.data.len())
}

impl ProbeReport {
    fn note(&mut self, answer: Answer, probe: &Probe<'_>) {
        self.verdict = match answer.status.as_u16() {
            200 if answer.models.is_some() => Verdict::Ok,
            401 if probe.key.is_none() => Verdict::Ok,
            401 => Verdict::KeyRefused,
            403 => Verdict::Forbidden,
            429 => Verdict::Limited,
            500..=599 => Verdict::Failing,
            _ => Verdict::Unexpected,
        };
        let wait = retry_after(&answer.headers, probe.now);
        let request_id = answer.headers.get("request-id").and_then(|v| v.to_str().ok());
        self.status = Some(answer.status.as_u16());
        self.http_version = Some(format!("{:?}", answer.version));
        self.request_id = request_id.map(ToOwned::to_owned);
        self.retry_after_ms = wait.map(|w| u64::try_from(w.as_millis()).unwrap_or(u64::MAX));
        self.model_count = answer.models;
    }
}
