//! `POST /v1/claviger/unwrap`: opens a wrapped key, once, for whoever holds its token.

use bytes::Bytes;
use claviger_claude_wire::answers::Answer;
use claviger_domain::audit::Actor;
use claviger_service::{Caller as Asker, ServiceError};
use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::{MAX_BODY, answer};
use crate::{
    authorize::is_encoded,
    body::{BodyError, read_whole},
    receive::{Head, Inbound},
    refuse::Refusal,
    reply::ReplyBody,
    worker::Shared,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unwrap<'a> {
    /// `cvg_wrap_…`
    token: std::borrow::Cow<'a, str>,
}

/// Why a delivery is not opened.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The body has a content coding.
    #[error("request bodies with a Content-Encoding are not supported")]
    Encoded,
    /// The body could not be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The body is not what this route takes. Nothing of it is repeated: it may hold a token.
    #[error("expected a JSON object with `token` and nothing else")]
    Malformed,
    /// The rest.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// Opens a delivery.
///
/// # Errors
/// [`DeliveryError`].
pub async fn unwrap(shared: &Shared, inbound: Inbound) -> Result<Response<ReplyBody>, DeliveryError> {
    let Inbound { head, body } = inbound;
    if is_encoded(&head) {
        return Err(DeliveryError::Encoded);
    }
    let pace = shared.config().body.pace;
    let body = read_whole(body, MAX_BODY, &shared.budget, pace).await?;
    let token = token_of(&body.bytes)?;
    let out = shared.services.wrappings.unwrap(token.as_bytes(), &asker(&head)).await?;
    let key = String::from_utf8_lossy(out.key.expose());
    Ok(answer(&head, StatusCode::OK, &json!({ "id": out.id, "key": key })))
}

fn token_of(body: &Bytes) -> Result<std::borrow::Cow<'_, str>, DeliveryError> {
    serde_json::from_slice::<Unwrap<'_>>(body).map(|u| u.token).map_err(|_| DeliveryError::Malformed)
}

fn asker(head: &Head) -> Asker {
    Asker {
        actor: Actor::Anonymous,
        request_id: head.request_id.to_string(),
        client_ip: head.client_ip.to_string(),
        user_agent: head.user_agent(),
        api_endpoint: head.api_endpoint(),
        ..Asker::system()
    }
}

impl From<DeliveryError> for Refusal {
    fn from(error: DeliveryError) -> Self {
        let text = error.to_string();
        match error {
            DeliveryError::Encoded => Self::new(Answer::EncodingUnsupported, "body_encoded", text),
            DeliveryError::Body(error) => (&error).into(),
            DeliveryError::Malformed => Self::new(Answer::InvalidRequest, "own_malformed", text),
            DeliveryError::Service(error) => refused(&error, text),
        }
    }
}

fn refused(error: &ServiceError, text: String) -> Refusal {
    match error {
        ServiceError::Invalid { .. } => Refusal::new(Answer::InvalidRequest, "unwrap_malformed", text),
        ServiceError::NotFound { .. } => Refusal::new(Answer::NotFound, "unwrap_unknown", text),
        ServiceError::Conflict { .. } => Refusal::new(Answer::Conflict, "unwrap_again", text),
        ServiceError::Gone { .. } => Refusal::new(Answer::Gone, "unwrap_gone", text),
        ServiceError::Unavailable(_) => Refusal::new(Answer::Unavailable, "own_unavailable", text),
        ServiceError::Stale { .. }
        | ServiceError::Policy { .. }
        | ServiceError::Unauthenticated(_)
        | ServiceError::Forbidden(_)
        | ServiceError::SecondFactor { .. }
        | ServiceError::LockedOut { .. }
        | ServiceError::Broken(_)
        | ServiceError::Seal(_)
        | ServiceError::Entropy(_) => {
            tracing::error!(%error, "a delivery could not be opened");
            Refusal::new(Answer::Internal, "own_failed", "Internal error.")
        }
    }
}
