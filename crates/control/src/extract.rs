//! Who asks, and whether they may.

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{StatusCode, header, request::Parts},
};
use claviger_domain::{audit::Actor, id::RequestId, operator::verb::Verb};
use claviger_service::Caller;

use crate::{
    describe::{Part, Shape},
    gate::Asked,
    listen::Peer,
    problem::Problem,
    state::ControlState,
};

pub use crate::input::{Body, IfMatch, Paging, Path, Query};

/// Someone who may use the operation that was asked for.
#[derive(Debug, Clone)]
pub struct Operator {
    /// For the audit record.
    pub caller: Caller,
}

/// Who asks. Called before the body is read.
///
/// # Errors
/// A problem with status 401 or 403.
pub async fn authenticate(state: &ControlState, head: &Parts) -> Result<Operator, Problem> {
    let peer = head.extensions.get::<ConnectInfo<Peer>>().map(|c| c.0.clone());
    let Some(Peer::Local { uid, pid }) = peer else {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "local_only",
            "administration is open on the socket in the data folder only; use the `claviger` command there",
        ));
    };
    let id = RequestId::generate(state.entropy.as_ref())
        .map_err(|e| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", e.to_string()))?;
    let agent = head.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let caller = Caller {
        actor: Actor::Local { uid, pid },
        request_id: id.to_string(),
        client_ip: String::new(),
        user_agent: agent.chars().take(200).collect(),
        api_endpoint: format!("{} {}", head.method, head.uri.path()).chars().take(200).collect(),
        ..Caller::system()
    };
    Ok(Operator { caller })
}

/// Whether they may do this, with this body.
///
/// # Errors
/// A problem with status 401 or 403.
pub async fn authorize(
    _state: &ControlState,
    operator: Operator,
    _verb: Verb,
    _asked: &Asked<'_>,
) -> Result<Operator, Problem> {
    Ok(operator)
}

impl FromRequestParts<ControlState> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &ControlState) -> Result<Self, Problem> {
        // The operation's gate put them there.
        let missing =
            || Problem::new(StatusCode::FORBIDDEN, "forbidden", "this operation is for operators only");
        parts.extensions.get::<Self>().cloned().ok_or_else(missing)
    }
}

impl Part for Operator {
    fn describe(_shape: &mut Shape) {}
}
