//! What stands before every operation: who asks, whether they may, whether the request is one that the operation
//! knows.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequestParts, RawPathParams, Request, State},
    http::{Method, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use claviger_domain::ports::idempotency::Reservation;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::{
    authorize::{self, Halt},
    extract, once,
    operation::{Access, Operation},
    problem::Problem,
    state::ControlState,
    trail::Trail,
};

/// Largest body of an operation, in bytes.
pub const MAX_BODY: usize = 1 << 20;
/// How much of a larger one is read, and how long, before it is refused.
const DRAINED: usize = 8 * MAX_BODY;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest that a body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// What is known of an operation when a request for it comes.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    state: ControlState,
    access: Access,
    method: Method,
    path: &'static str,
    query: BTreeSet<String>,
    fields: BTreeSet<String>,
    takes_body: bool,
}

impl Gate {
    /// The gate of one operation.
    #[must_use]
    pub fn new(operation: &Operation, state: ControlState) -> Self {
        Self(Arc::new(Inner {
            state,
            access: operation.access,
            method: operation.method.clone(),
            path: operation.path,
            query: operation.shape.query.clone(),
            fields: operation.shape.fields(),
            takes_body: operation.shape.body.is_some(),
        }))
    }
}

/// A request for an operation, read to its end.
pub struct Asked<'a> {
    /// The operation's method.
    pub method: &'a Method,
    /// The operation's path below `/admin/v1`, with `{names}`.
    pub path: &'static str,
    /// The request's head.
    pub head: &'a Parts,
    /// Its body.
    pub body: &'a Bytes,
    /// What varies in the path, decoded, in its order.
    pub ids: Vec<String>,
    query: &'a BTreeSet<String>,
    fields: &'a BTreeSet<String>,
}

impl Asked<'_> {
    /// Whether the operation knows this query parameter.
    #[must_use]
    pub fn knows_query(&self, name: &str) -> bool {
        self.query.contains(name)
    }

    /// Whether the operation's body may have this field.
    #[must_use]
    pub fn knows_field(&self, name: &str) -> bool {
        self.fields.contains(name)
    }
}

/// Lets a request through to its operation, or answers with a problem.
pub async fn pass(State(Gate(gate)): State<Gate>, request: Request, next: Next) -> Response {
    let mut trail = None;
    let response = match enter(&gate, request, &mut trail).await {
        Ok((request, None)) => next.run(request).await,
        Ok((request, Some(wanted))) => once::run(&gate.state, wanted, request, next).await,
        Err(halt) => halt.into_response(),
    };
    match trail {
        Some(trail) => trail.end(&gate.state, response).await,
        None => response,
    }
}

async fn enter(
    gate: &Inner,
    request: Request,
    trail: &mut Option<Trail>,
) -> Result<(Request, Option<Reservation>), Halt> {
    let (mut head, body) = request.into_parts();
    let operator = match gate.access {
        Access::Operator(verb) => Some((verb, extract::authenticate(&gate.state, &head).await?)),
        Access::Anyone => None,
    };
    let ids = match &operator {
        Some((verb, operator)) => {
            let ids = ids(&mut head).await?;
            *trail = Some(Trail::new(operator.caller.clone(), *verb, &ids));
            ids
        }
        None => Vec::new(),
    };
    check_query(&gate.query, head.uri.query().unwrap_or_default())?;
    let body = read(&head, body).await?;
    if !gate.takes_body && !is_nothing(&body) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid", "this operation takes no body").into());
    }
    let Some((verb, operator)) = operator else {
        return Ok((Request::from_parts(head, Body::from(body)), None));
    };
    let Inner { method, path, query, fields, .. } = gate;
    let asked = Asked { method, path, head: &head, body: &body, ids, query, fields };
    let mut operator = operator;
    let passed = authorize::authorize(&gate.state, &operator, verb, &asked).await?;
    let key = if gate.method == Method::GET { None } else { once::key(&head.headers)? };
    let wanted = key.map(|key| {
        operator.caller.idempotency_key = Some(key.clone());
        once::reservation(key, verb, &operator.caller, &asked, gate.state.clock.now())
    });
    operator.caller.has_second_factor = passed.is_proved;
    head.extensions.insert(operator);
    let body = match passed.narrowed {
        Some(narrowed) => {
            head.uri = narrowed.uri;
            narrowed.body
        }
        None => body,
    };
    Ok((Request::from_parts(head, Body::from(body)), wanted))
}

/// As the handler will read them: no spelling of an id is judged as another one.
async fn ids(head: &mut Parts) -> Result<Vec<String>, Problem> {
    let params = RawPathParams::from_request_parts(head, &()).await;
    let params = params.map_err(|r| Problem::new(StatusCode::BAD_REQUEST, "invalid", r.body_text()))?;
    Ok(params.iter().map(|(_, value)| value.to_owned()).collect())
}

/// A query parameter that the operation does not know is a mistake, not something to be passed over.
fn check_query(known: &BTreeSet<String>, query: &str) -> Result<(), Problem> {
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let name = pair.split('=').next().unwrap_or_default();
        if !known.contains(name) {
            let names = known.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            let expected =
                if names.is_empty() { "none is taken".to_owned() } else { format!("expected {names}") };
            let shown: String = name.chars().take(64).collect();
            return Err(Problem::invalid(&shown, format!("no such query parameter: {expected}")));
        }
    }
    Ok(())
}

fn too_large() -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("a body may have {MAX_BODY} bytes"))
}

/// Reads a body and forgets it, up to a bound.
async fn drain(mut body: Body) {
    let mut seen = 0;
    while let Some(Ok(frame)) = body.frame().await {
        seen += frame.data_ref().map_or(0, Bytes::len);
        if seen > DRAINED {
            return;
        }
    }
}

async fn read(head: &Parts, body: Body) -> Result<Bytes, Problem> {
    let announced =
        head.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MAX_BODY as u64) {
        // Nobody hears an answer who is still sending when the connection is closed.
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, drain(body)).await;
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(all)) => Ok(all.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, "unreadable_body", "the body did not come whole"))
        }
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not come in time")),
    }
}

/// Nothing, or an object with nothing in it, as programs send that always send one.
fn is_nothing(body: &Bytes) -> bool {
    let text = body.trim_ascii();
    text.is_empty()
        || (text.first() == Some(&b'{')
            && text.last() == Some(&b'}')
            && text[1..text.len() - 1].trim_ascii().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_query_parameter_is_named() {
        let known = BTreeSet::from(["limit".to_owned(), "after".to_owned()]);
        assert!(check_query(&known, "limit=3&after=x").is_ok());
        assert!(check_query(&known, "").is_ok());
        let problem = check_query(&known, "limit=3&color=red").unwrap_err();
        assert_eq!((problem.status, problem.field.as_deref()), (400, Some("color")));
    }

    #[test]
    fn only_an_empty_object_counts_as_no_body() {
        for nothing in ["", " ", "{}", "{ }\n"] {
            assert!(is_nothing(&Bytes::from_static(nothing.as_bytes())), "{nothing}");
        }
        for something in ["{", "}", "[]", "{\"a\":1}", "null"] {
            assert!(!is_nothing(&Bytes::from_static(something.as_bytes())), "{something}");
        }
    }
}
