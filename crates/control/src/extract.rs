//! What an operation learns of its request before it begins: who asks, and a body that could be read.

use axum::{
    Json,
    extract::{ConnectInfo, FromRequest, FromRequestParts, Request},
    http::{StatusCode, header, request::Parts},
};
use claviger_domain::{audit::Actor, id::RequestId};
use claviger_service::Caller;
use serde::de::DeserializeOwned;

use crate::{listen::Peer, problem::Problem, state::ControlState};

/// Someone who may administer. On one machine that is the owner of the data folder, by way of the socket in it.
pub struct Operator {
    /// For the audit record.
    pub caller: Caller,
}

impl FromRequestParts<ControlState> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Self, Problem> {
        let peer = parts.extensions.get::<ConnectInfo<Peer>>().map(|c| c.0.clone());
        let Some(Peer::Local { uid, pid }) = peer else {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "local_only",
                "administration is open on the socket in the data folder only; use the `claviger` command there",
            ));
        };
        let id = RequestId::generate(state.entropy.as_ref())
            .map_err(|e| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", e.to_string()))?;
        let agent = parts.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let caller = Caller {
            actor: Actor::Local { uid, pid },
            request_id: id.to_string(),
            client_ip: String::new(),
            user_agent: agent.chars().take(200).collect(),
            api_endpoint: format!("{} {}", parts.method, parts.uri.path()).chars().take(200).collect(),
        };
        Ok(Self { caller })
    }
}

/// A JSON body; what cannot be read is answered as a problem, not as plain text.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<ControlState> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ControlState) -> Result<Self, Problem> {
        let read = Json::<T>::from_request(request, state).await;
        read.map(|Json(body)| Self(body))
            .map_err(|rejection| Problem::new(rejection.status(), "unreadable_body", rejection.body_text()))
    }
}

/// `If-Match: <version>`, with or without quotes; absent: whatever version.
pub struct IfMatch(pub Option<i64>);

impl FromRequestParts<ControlState> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &ControlState) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else { return Ok(Self(None)) };
        let version = value.to_str().ok().and_then(|v| v.trim().trim_matches('"').parse().ok());
        let bad = || Problem::invalid("If-Match", "expected a row's version, such as \"3\"");
        version.map(|v| Self(Some(v))).ok_or_else(bad)
    }
}
