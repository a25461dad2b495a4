//! `Idempotency-Key`: a request that changes something is carried out once, however often it is sent within a day.

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use claviger_domain::{
    audit::Actor,
    clock::Timestamp,
    operator::{approval::action_digest, verb::Verb},
    ports::idempotency::Reservation,
};
use claviger_service::{
    Caller,
    idempotency::{Begun, Running},
};
use http_body_util::BodyExt;

use crate::{gate::Asked, problem::Problem, state::ControlState};

/// The header's name.
pub const HEADER: &str = "Idempotency-Key";
const LONGEST: usize = 255;
static REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Stands in an answer's extensions when it holds a secret: it is never kept.
#[derive(Clone, Copy)]
pub struct HoldsSecret;

/// The request's key.
///
/// # Errors
/// A problem with status 400 when it is none.
pub fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let legal =
        |text: &&str| (1..=LONGEST).contains(&text.len()) && text.bytes().all(|b| (0x20..0x7f).contains(&b));
    let text = value.to_str().ok().map(str::trim).filter(legal);
    let bad = || Problem::invalid(HEADER, format!("expected 1 to {LONGEST} printable ASCII characters"));
    text.map(|text| Some(text.to_owned())).ok_or_else(bad)
}

/// The row of a request with a key.
#[must_use]
pub fn reservation(
    key: String,
    verb: Verb,
    caller: &Caller,
    asked: &Asked<'_>,
    at: Timestamp,
) -> Reservation {
    let principal = match (&caller.approved, &caller.actor) {
        // What was approved is done once, whichever process does it.
        (Some((approval, _)), _) => approval.to_string(),
        // The process differs from one command to the next.
        (None, Actor::Local { uid, .. }) => format!("local:{uid}"),
        (None, Actor::Operator { id, .. } | Actor::Key { id }) => id.clone(),
        (None, Actor::System) => "system".to_owned(),
        (None, Actor::Anonymous) => "anonymous".to_owned(),
    };
    let place = asked.head.uri.path_and_query().map_or("", |p| p.as_str());
    let request = action_digest(verb, asked.method.as_str(), place, asked.body);
    Reservation { principal, key, request, request_id: caller.request_id.clone(), at }
}

/// Carries a request out, or answers as the one before it was answered.
pub async fn run(state: &ControlState, wanted: Reservation, request: Request, next: Next) -> Response {
    match state.services.idempotency.begin(wanted).await {
        Ok(Begun::Run(running)) => keep(running, next.run(request).await).await,
        Ok(Begun::Answered { status, body }) => replay(status, body),
        Ok(Begun::Done { made }) => done(made).into_response(),
        Ok(Begun::UnderWay) => under_way(),
        Ok(Begun::OtherRequest) => other_request().into_response(),
        Err(error) => Problem::from(error).into_response(),
    }
}

/// Keeps what was answered. What cannot be kept costs the repetition its answer, not this one.
async fn keep(running: Running, response: Response) -> Response {
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let kept = if head.status.is_success() {
        let body = head.extensions.get::<HoldsSecret>().is_none().then_some(&bytes[..]);
        running.done(head.status.as_u16(), body).await
    } else {
        running.failed().await
    };
    if let Err(error) = kept {
        tracing::warn!(%error, "the answer to a request with an Idempotency-Key was not kept");
    }
    Response::from_parts(head, Body::from(bytes))
}

fn replay(status: u16, body: Vec<u8>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    let mut response = (status, kind, Bytes::from(body)).into_response();
    response.headers_mut().insert(REPLAYED.clone(), HeaderValue::from_static("true"));
    response
}

fn done(made: Option<String>) -> Problem {
    let why = "this request was carried out; its answer is not kept, as it held a secret or was lost";
    Problem { made, ..Problem::new(StatusCode::CONFLICT, "already_done", why) }
}

fn under_way() -> Response {
    let why = "a request with this Idempotency-Key is under way";
    let mut response = Problem::new(StatusCode::CONFLICT, "in_progress", why).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn other_request() -> Problem {
    let why = "this Idempotency-Key was used for another request within the last day";
    let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", why);
    Problem { field: Some(HEADER.to_owned()), ..problem }
}
