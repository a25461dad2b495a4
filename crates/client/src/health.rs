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
    /// The time of the exchange.
    pub took: Duration,
    /// How many seconds this machine's clock is ahead of the gateway's (negative: behind), where the answer says.
    /// More than 300 either way, and signatures are refused with `timestamp_skew`.
    pub clock_ahead_secs: Option<i64>,
}

pub(crate) async fn ask(
    service: BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>,
    base: &str,
    clock: &dyn Clock,
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
    Health { ready, status, took, clock_ahead_secs }
}
