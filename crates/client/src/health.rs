//! Whether the gateway takes calls.

use std::time::{Duration, UNIX_EPOCH};

use claviger_domain::clock::Clock;
use http::{Request, Response, StatusCode, header};
use tower::{ServiceExt, util::BoxCloneSyncService};

use crate::{
    body::Body,
    error::{BoxError, ClientError},
};

const LIMIT: Duration = Duration::from_secs(5);

/// What a check found.
#[derive(Debug)]
pub struct Health {
    /// The gateway takes calls.
    pub ready: bool,
    /// Its status, or why there was no answer.
    pub status: Result<StatusCode, BoxError>,
    /// Whether it takes this client's credential: key or token, proof and signature are in order. What it says where it does
    /// not, in its own words; or why there was no answer.
    pub accepted: Result<(), Refused>,
    /// The time of the exchange that tells whether it is ready.
    pub took: Duration,
    /// How many seconds this machine's clock is ahead of the gateway's (negative: behind), where the answer says.
    /// More than 300 either way, and signatures are refused with `timestamp_skew`.
    pub clock_ahead_secs: Option<i64>,
}

/// Why a credential was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The gateway's word.
    #[error("{status}: {message}")]
    Said {
        /// Its status.
        status: StatusCode,
        /// Its own words; empty when there were none.
        message: String,
    },
    /// No answer.
    #[error(transparent)]
    Unanswered(#[from] BoxError),
}

/// Reads the answer of `/v1/claviger/me`.
pub(crate) fn judge(status: StatusCode, text: &[u8]) -> Result<(), Refused> {
    if status == StatusCode::OK {
        return Ok(());
    }
    let envelope: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
    let message = envelope.pointer("/error/message").and_then(serde_json::Value::as_str);
    Err(Refused::Said { status, message: message.unwrap_or_default().to_owned() })
}

pub(crate) async fn ask(
    service: BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>,
    base: &str,
    clock: &dyn Clock,
    accepted: impl Future<Output = Result<(), Refused>>,
) -> Health {
    let (began, sent) = (clock.boot(), clock.now());
    let answer = match Request::get(format!("{base}/readyz")).body(Body::empty()) {
        Err(_) => Err(ClientError::BaseUrl.into()),
        Ok(request) => match tokio::time::timeout(LIMIT, service.oneshot(request)).await {
            Ok(answer) => answer,
            Err(late) => Err(late.into()),
        },
    };
    let took = Duration::from_micros(clock.boot().micros_since(began));
    let clock_ahead_secs = answer.as_ref().ok().and_then(|answer| {
        let date = httpdate::parse_http_date(answer.headers().get(header::DATE)?.to_str().ok()?).ok()?;
        let date = i64::try_from(date.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()?;
        Some(sent.as_secs() - date)
    });
    let status = answer.map(|answer| answer.status());
    let ready = matches!(status, Ok(StatusCode::OK));
    let accepted = match tokio::time::timeout(LIMIT, accepted).await {
        Ok(accepted) => accepted,
        Err(late) => Err(BoxError::from(late).into()),
    };
    Health { ready, status, accepted, took, clock_ahead_secs }
}
