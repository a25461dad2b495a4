//! What the gateway answers by itself to whoever holds a key: how the key stands, and child keys of it. Nothing of
//! this goes upstream.

mod delivery;
mod view;

use std::borrow::Cow;

use bytes::Bytes;
use claviger_claude_wire::answers::Answer;
use claviger_domain::{audit::Actor, grant::Forbidden, id::KeyId, limit::Headrooms, proof::Proof};
use claviger_service::{
    Caller as Asker, ServiceError,
    children::{ChildrenError, NewChild},
    grants::LiveGrant,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use crate::{
    authenticate::Caller,
    authorize::is_encoded,
    body::{BodyError, read_whole},
    headers::{REQUEST_ID, X_REQUEST_ID},
    prove::{ProveError, Proving},
    receive::{Head, Inbound},
    refuse::Refusal,
    reply::ReplyBody,
    worker::Shared,
};

pub use delivery::unwrap;

/// A request about a key says little.
const MAX_BODY: u64 = 64 * 1024;

/// A route of this kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnRoute {
    /// `GET /v1/claviger/me`.
    Me,
    /// `POST /v1/claviger/children`.
    Mint,
    /// `GET /v1/claviger/signing-secret`.
    SigningSecret,
    /// `POST /v1/claviger/children/{id}/heartbeat`.
    Beat(Box<str>),
    /// `DELETE /v1/claviger/children/{id}`.
    End(Box<str>),
    /// `POST /v1/claviger/unwrap`: asks for no key, for what the request holds is the proof.
    Unwrap,
    /// The path is known, the method is not one of it.
    OtherMethod(&'static str),
    /// There is nothing there.
    Nowhere,
}

/// What all of these paths begin with.
pub const PREFIX: &str = "/v1/claviger";

impl OwnRoute {
    /// Reads a path below [`PREFIX`] that can be read in one way only.
    #[must_use]
    pub fn of(method: &Method, path: &str) -> Self {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        let rest = path.strip_prefix(PREFIX).unwrap_or_default();
        let mut parts = rest.split('/').skip(1);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("me"), None, ..) if reads => Self::Me,
            (Some("me"), None, ..) => Self::OtherMethod("GET, HEAD"),
            (Some("unwrap"), None, ..) if method == Method::POST => Self::Unwrap,
            (Some("unwrap"), None, ..) => Self::OtherMethod("POST"),
            (Some("signing-secret"), None, ..) if method == Method::GET => Self::SigningSecret,
            (Some("signing-secret"), None, ..) => Self::OtherMethod("GET"),
            (Some("children"), None, ..) if method == Method::POST => Self::Mint,
            (Some("children"), None, ..) => Self::OtherMethod("POST"),
            (Some("children"), Some(id), None, _) if method == Method::DELETE => Self::End(id.into()),
            (Some("children"), Some(_), None, _) => Self::OtherMethod("DELETE"),
            (Some("children"), Some(id), Some("heartbeat"), None) if method == Method::POST => {
                Self::Beat(id.into())
            }
            (Some("children"), Some(_), Some("heartbeat"), None) => Self::OtherMethod("POST"),
            _ => Self::Nowhere,
        }
    }
}

/// Why a holder does not get what it asks for.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// Not from here, or not now.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// An access token is not the key: it may be narrower, and is over sooner.
    #[error("show the key itself for this: an access token is not enough")]
    KeyRequired,
    /// There is nothing at that path.
    #[error("not found")]
    Nowhere,
    /// Not by that method.
    #[error("method not allowed: use {0}")]
    OtherMethod(&'static str),
    /// The body has a content coding.
    #[error("request bodies with a Content-Encoding are not supported")]
    Encoded,
    /// The body could not be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// It is not what was signed.
    #[error(transparent)]
    Unproven(#[from] ProveError),
    /// A secret goes only to whoever has its predecessor.
    #[error("this request must be signed")]
    Unsigned,
    /// A secret cannot be had.
    #[error(transparent)]
    Signing(ServiceError),
    /// The body is not what this route takes.
    #[error("the request body is not as this route takes it: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The rest.
    #[error(transparent)]
    Children(#[from] ChildrenError),
}

/// Answers one request of a holder.
///
/// # Errors
/// [`OwnError`].
pub async fn serve(
    shared: &Shared,
    (inbound, proving): (Inbound, Proving),
    caller: &Caller,
    route: OwnRoute,
) -> Result<Response<ReplyBody>, OwnError> {
    let Inbound { head, body } = inbound;
    let live = &*caller.live;
    live.check_place(head.client_ip, head.at)?;
    let pace = shared.config().body.pace;
    let body = read_whole(body, MAX_BODY, &shared.budget, pace).await?;
    proving.whole(shared, &body.bytes).await?;
    let children = &shared.services.children;
    children.count(live, head.at)?;
    if caller.token.is_some() && matches!(route, OwnRoute::Mint | OwnRoute::Beat(_) | OwnRoute::End(_)) {
        return Err(OwnError::KeyRequired);
    }
    match route {
        OwnRoute::Me => {
            let mut standing = view::standing(&children.standing(live).await?, head.client_ip, head.at);
            let budgets =
                shared.services.budgets.standings_of_holder(live).await.map_err(ChildrenError::from)?;
            standing["budgets"] = budgets.iter().map(view::budget).collect();
            Ok(answer(&head, StatusCode::OK, &standing))
        }
        OwnRoute::Mint => {
            if is_encoded(&head) {
                return Err(OwnError::Encoded);
            }
            // No body asks for nothing special.
            let new: NewChild = if body.bytes.is_empty() {
                NewChild::default()
            } else {
                serde_json::from_slice(&body.bytes)?
            };
            let (key, token) = children.mint(live, new, &asker(&head, live)).await?;
            Ok(answer(&head, StatusCode::CREATED, &view::minted(&key, &token, head.at)))
        }
        OwnRoute::SigningSecret if !caller.proofs.contains(Proof::Signature) => Err(OwnError::Unsigned),
        OwnRoute::SigningSecret => {
            // A child signs with its parent's.
            let whose = live.parent.as_ref().map_or(&live.grant.key.id, |parent| &parent.grant.key.id);
            let held = shared.services.signing.of_holder(whose).await.map_err(OwnError::Signing)?;
            Ok(answer(&head, StatusCode::OK, &view::signing(&held)))
        }
        OwnRoute::Beat(id) => {
            let key = children.beat(live, &child_id(&id)?, &asker(&head, live)).await?;
            Ok(answer(&head, StatusCode::OK, &view::child(&key, head.at)))
        }
        OwnRoute::End(id) => {
            let key = children.end(live, &child_id(&id)?, &asker(&head, live)).await?;
            Ok(answer(&head, StatusCode::OK, &view::child(&key, head.at)))
        }
        // Answered before anybody is asked for a key.
        OwnRoute::Unwrap => Err(OwnError::Nowhere),
        OwnRoute::OtherMethod(allowed) => Err(OwnError::OtherMethod(allowed)),
        OwnRoute::Nowhere => Err(OwnError::Nowhere),
    }
}

/// What is no id is no child's.
fn child_id(text: &str) -> Result<KeyId, OwnError> {
    KeyId::parse(text).map_err(|_| ChildrenError::NotFound(text.chars().take(64).collect()).into())
}

fn asker(head: &Head, live: &LiveGrant) -> Asker {
    Asker {
        actor: Actor::Key { id: live.grant.key.id.to_string() },
        request_id: head.request_id.to_string(),
        client_ip: head.client_ip.to_string(),
        user_agent: head.user_agent(),
        api_endpoint: head.api_endpoint(),
        ..Asker::system()
    }
}

fn answer(head: &Head, status: StatusCode, body: &serde_json::Value) -> Response<ReplyBody> {
    let body = Bytes::from(body.to_string());
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    if let Ok(id) = HeaderValue::from_str(head.request_id.as_str()) {
        headers.insert(X_REQUEST_ID, head.client_request_id().cloned().unwrap_or_else(|| id.clone()));
        headers.insert(REQUEST_ID, id);
    }
    let mut response = Response::new(ReplyBody::once(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

impl From<OwnError> for Refusal {
    fn from(error: OwnError) -> Self {
        let text = error.to_string();
        match error {
            OwnError::Forbidden(Forbidden::Address(_)) => Self::new(Answer::AddressRefused, "address", text),
            OwnError::Forbidden(Forbidden::Hours) => Self::new(Answer::PermissionDenied, "hours", text),
            OwnError::Forbidden(Forbidden::Endpoint(..)) => {
                Self::new(Answer::PermissionDenied, "endpoint", text)
            }
            OwnError::KeyRequired => Self {
                error_code: Some("key_required"),
                ..Self::new(Answer::PermissionDenied, "key_required", text)
            },
            OwnError::Nowhere => Self::new(Answer::NotFound, "own_nowhere", text),
            OwnError::OtherMethod(allowed) => {
                Self { allow: Some(allowed), ..Self::new(Answer::MethodNotAllowed, "own_method", text) }
            }
            OwnError::Encoded => Self::new(Answer::EncodingUnsupported, "body_encoded", text),
            OwnError::Body(error) => (&error).into(),
            OwnError::Unproven(error) => error.into(),
            OwnError::Unsigned => ProveError::Missing(Proof::Signature).into(),
            OwnError::Signing(error) => children_refusal(error.into(), text.into()),
            OwnError::Malformed(_) => Self::new(Answer::InvalidRequest, "own_malformed", text),
            OwnError::Children(error) => children_refusal(error, text.into()),
        }
    }
}

fn children_refusal(error: ChildrenError, text: Cow<'static, str>) -> Refusal {
    match error {
        ChildrenError::Rule(rule) if rule.field().is_empty() => {
            Refusal::new(Answer::PermissionDenied, "child_refused", text)
        }
        ChildrenError::Rule(_) => Refusal::new(Answer::InvalidRequest, "child_too_wide", text),
        ChildrenError::Full(_) => Refusal::new(Answer::QuotaExhausted, "children_full", text),
        ChildrenError::NotFound(_) => Refusal::new(Answer::NotFound, "child_not_found", text),
        ChildrenError::TooOften(exceeded) => Refusal {
            // Ten a second flow back.
            retry_after_secs: Some(1),
            headrooms: Some(Box::new(Headrooms::of(exceeded.headroom))),
            ..Refusal::new(Answer::RateLimited, "own_too_often", text)
        },
        ChildrenError::Service(ServiceError::Invalid { .. }) => {
            Refusal::new(Answer::InvalidRequest, "own_invalid", text)
        }
        ChildrenError::Service(ServiceError::Unavailable(_)) => {
            Refusal::new(Answer::Unavailable, "own_unavailable", "The store does not answer.")
        }
        ChildrenError::Service(ServiceError::Conflict { .. } | ServiceError::NotFound { .. }) => {
            Refusal::new(Answer::PermissionDenied, "child_refused", text)
        }
        ChildrenError::Service(error) => {
            tracing::error!(%error, "a holder's request failed");
            Refusal::new(Answer::Internal, "own_failed", "Internal error.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(method: &str, path: &str) -> OwnRoute {
        OwnRoute::of(&method.parse().unwrap(), path)
    }

    #[test]
    fn routes_are_told_by_method_and_path() {
        assert_eq!(of("GET", "/v1/claviger/me"), OwnRoute::Me);
        assert_eq!(of("HEAD", "/v1/claviger/me"), OwnRoute::Me);
        assert_eq!(of("POST", "/v1/claviger/unwrap"), OwnRoute::Unwrap);
        assert_eq!(of("GET", "/v1/claviger/unwrap"), OwnRoute::OtherMethod("POST"));
        assert_eq!(of("POST", "/v1/claviger/children"), OwnRoute::Mint);
        assert_eq!(of("GET", "/v1/claviger/signing-secret"), OwnRoute::SigningSecret);
        assert_eq!(of("POST", "/v1/claviger/children/key_a/heartbeat"), OwnRoute::Beat("key_a".into()));
        assert_eq!(of("DELETE", "/v1/claviger/children/key_a"), OwnRoute::End("key_a".into()));
        for (method, path, allowed) in [
            ("POST", "/v1/claviger/me", "GET, HEAD"),
            ("GET", "/v1/claviger/children", "POST"),
            ("GET", "/v1/claviger/children/key_a", "DELETE"),
            ("HEAD", "/v1/claviger/children/key_a/heartbeat", "POST"),
        ] {
            assert_eq!(of(method, path), OwnRoute::OtherMethod(allowed), "{method} {path}");
        }
        for path in ["/v1/claviger", "/v1/claviger/", "/v1/claviger/me/x", "/v1/claviger/children/a/b/c"] {
            assert_eq!(of("GET", path), OwnRoute::Nowhere, "{path}");
        }
    }
}
