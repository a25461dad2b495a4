//! Who asks: a peer at one of the doors, and the operator whose token they bring.

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use claviger_domain::{
    address::counting_block,
    audit::Actor,
    id::{ApprovalId, OperatorId, RequestId, WorkspaceId},
    token::without_keys,
};
use claviger_service::{Caller, ServiceError, operators::Identity, refusals::RefusalSubject};

use crate::{
    describe::{Part, Shape},
    listen::Peer,
    openapi::PREFIX,
    problem::Problem,
    state::ControlState,
};

pub use crate::input::{Body, IfMatch, Paging, Path, Query};

/// The header in which a code of the second factor comes.
pub const TOTP_HEADER: &str = "X-Claviger-TOTP";

/// Someone who may use the operation that was asked for.
#[derive(Debug, Clone)]
pub struct Operator {
    /// For the audit record.
    pub caller: Caller,
    /// Who they are and what they may do.
    pub identity: Identity,
}

impl Operator {
    /// The only workspace that they see; lists are cut to it.
    #[must_use]
    pub fn workspace(&self) -> Option<&WorkspaceId> {
        self.identity.workspace()
    }
}

/// Stands in the extensions of a request that a second person has approved: it is done in the requester's name.
/// Nothing that comes over a wire has extensions.
#[derive(Debug, Clone)]
pub struct OnBehalf {
    /// Who asked.
    pub requester: Identity,
    /// What was approved, and by whom.
    pub approved: (ApprovalId, OperatorId),
    /// The approver's request.
    pub caller: Caller,
}

/// Someone at a door that secrets may pass, whoever they are.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// For the audit record.
    pub caller: Caller,
}

/// Method and path, at most 200 characters: what records say. What was typed in a wrong place may be a key.
fn endpoint_of(head: &Parts) -> String {
    let endpoint = format!("{} {PREFIX}{}", head.method, head.uri.path());
    without_keys(&endpoint).chars().take(200).collect()
}

/// What is known of a request before anything is proved.
fn visitor(state: &ControlState, head: &Parts) -> Result<Visitor, Problem> {
    let (actor, client_ip) = match head.extensions.get::<ConnectInfo<Peer>>().map(|c| &c.0) {
        Some(Peer::Local { uid, pid }) => (Actor::Local { uid: *uid, pid: *pid }, String::new()),
        Some(Peer::Encrypted(address)) => (Actor::Anonymous, address.ip().to_canonical().to_string()),
        Some(Peer::Remote(address)) if address.ip().to_canonical().is_loopback() => {
            (Actor::Anonymous, address.ip().to_canonical().to_string())
        }
        Some(Peer::Remote(_)) => {
            let why = "administration is open on the socket, on loopback, and beyond it with TLS only";
            return Err(Problem::new(StatusCode::FORBIDDEN, "tls_required", why));
        }
        Some(Peer::Stranger) | None => {
            let why = "the socket is open to the user that runs claviger only";
            return Err(Problem::new(StatusCode::FORBIDDEN, "stranger", why));
        }
    };
    let id = RequestId::generate(state.entropy.as_ref()).map_err(ServiceError::from)?;
    let agent = head.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let caller = Caller {
        actor,
        request_id: id.to_string(),
        client_ip,
        user_agent: agent.chars().take(200).collect(),
        api_endpoint: endpoint_of(head),
        ..Caller::system()
    };
    Ok(Visitor { caller })
}

/// Who asks. Called before the body is read.
///
/// # Errors
/// A problem with status 401 or 403.
pub async fn authenticate(state: &ControlState, head: &Parts) -> Result<Operator, Problem> {
    if let Some(behalf) = head.extensions.get::<OnBehalf>() {
        return Ok(on_behalf(behalf));
    }
    let Visitor { mut caller } = visitor(state, head)?;
    let operators = &state.services.operators;
    let Some(token) = bearer(&head.headers) else {
        if matches!(caller.actor, Actor::Local { .. }) && !operators.is_enrolled().await? {
            return Ok(Operator { caller, identity: Identity::local() });
        }
        let why = "log in with `claviger login` and send the session as a bearer token in `Authorization`";
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "login_required", why));
    };
    match operators.authenticate(token).await {
        Ok(identity) => {
            caller.scope = identity.scope();
            caller.actor = identity.actor().unwrap_or(caller.actor);
            Ok(Operator { caller, identity })
        }
        Err(error) => {
            if matches!(error, ServiceError::Unauthenticated(_)) {
                let block = caller.client_ip.parse().ok().map(counting_block);
                let subject = RefusalSubject::Operator(None, block);
                state.services.refusals.count("operator_token", subject, state.clock.now());
            }
            Err(error.into())
        }
    }
}

fn on_behalf(behalf: &OnBehalf) -> Operator {
    let OnBehalf { requester, approved, caller } = behalf.clone();
    let actor = requester.actor().unwrap_or(Actor::System);
    let scope = requester.scope();
    let caller = Caller { actor, scope, approved: Some(approved), idempotency_key: None, ..caller };
    Operator { caller, identity: requester }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token.trim_ascii())
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

impl FromRequestParts<ControlState> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ControlState) -> Result<Self, Problem> {
        visitor(state, parts)
    }
}

impl Part for Visitor {
    fn describe(shape: &mut Shape) {
        shape.problems.extend([401, 403, 429]);
    }
}
