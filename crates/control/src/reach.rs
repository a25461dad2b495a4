//! Operators of one workspace: whatever names another workspace, or something in it, is answered as if it were not
//! there, and what names none is narrowed to theirs. One place for all operations; what cannot be narrowed here is
//! refused, unless its handler narrows itself ([`narrows_itself`]).

use std::collections::BTreeSet;

use axum::{
    body::Bytes,
    http::{StatusCode, Uri},
};
use claviger_domain::{
    id::WorkspaceId,
    operator::verb::{Area, Verb},
};
use serde_json::Value;

use crate::{extract::Operator, gate::Asked, problem::Problem, state::ControlState};

/// What takes the place of a request's address and body.
pub struct Narrowed {
    /// The address.
    pub uri: Uri,
    /// The body.
    pub body: Bytes,
}

const WORKSPACE: &str = "workspace";
/// What ids of things begin with that belong to a workspace.
const THINGS: [&str; 7] = ["ws_", "key_", "rot_", "wrp_", "crt_", "rev_", "apr_"];

/// Verbs of the area [`Area::Workspace`] whose handlers see to it themselves that operators of one workspace get nothing
/// of another's: what they list or make belongs to no workspace or is cut by them.
#[must_use]
pub const fn narrows_itself(verb: Verb) -> bool {
    matches!(
        verb,
        Verb::PolicyList
            | Verb::WorkspaceList
            | Verb::OwnerList
            | Verb::OwnerCreate
            | Verb::KeyInspect
            | Verb::WrappingShow
    )
}

/// The workspace that a request is about, by the ids in its path or its `workspace`; `None`: it is about none, or about all.
///
/// # Errors
/// A problem with status 503.
pub async fn about(state: &ControlState, asked: &Asked<'_>) -> Result<Option<WorkspaceId>, Problem> {
    let mut named = asked.ids.clone();
    let query = pairs(asked.head.uri.query().unwrap_or_default());
    named.extend(query.into_iter().filter(|(name, _)| name == WORKSPACE).map(|(_, value)| value));
    let body: Option<Value> = serde_json::from_slice(asked.body).ok();
    named.extend(body.and_then(|b| b.get(WORKSPACE).and_then(Value::as_str).map(str::to_owned)));
    for id in named {
        if let Some(found) = workspace_of(state, &id).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// An id's workspace; workspaces may also be called by their names.
async fn workspace_of(state: &ControlState, id: &str) -> Result<Option<WorkspaceId>, Problem> {
    if let Some(found) = state.services.operators.workspace_of(id).await? {
        return Ok(Some(found));
    }
    let named = state.services.tenants.workspace(id).await;
    Ok(named.ok().map(|w| w.id))
}

fn names_a_thing(text: &str) -> bool {
    let is_id = |prefix: &&str| {
        let rest = text.strip_prefix(*prefix);
        rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric()))
    };
    THINGS.iter().any(is_id)
}

/// Whatever a body names, however deep.
fn collect(value: &Value, named: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            named.extend(fields.get(WORKSPACE).and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| collect(value, named));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, named)),
        Value::String(text) if names_a_thing(text) => drop(named.insert(text.clone())),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn hidden(id: &str) -> Problem {
    let shown: String = id.chars().take(80).collect();
    Problem::new(StatusCode::NOT_FOUND, "not_found", format!("nothing is called `{shown}`"))
}

/// Narrows a request to the operator's workspace; `None`: it may go on as it came.
///
/// # Errors
/// A problem with status 404 when it names something of another workspace or unknown.
pub async fn narrow(
    state: &ControlState,
    operator: &Operator,
    verb: Verb,
    asked: &Asked<'_>,
) -> Result<Option<Narrowed>, Problem> {
    let Some(own) = operator.workspace() else { return Ok(None) };
    if verb.area() != Area::Workspace {
        return Ok(None);
    }
    let mut is_theirs = narrows_itself(verb);
    for id in &asked.ids {
        must_be(state, own, id).await?;
        is_theirs = true;
    }
    let query = asked.head.uri.query().unwrap_or_default();
    for (name, value) in pairs(query) {
        if name == WORKSPACE || names_a_thing(&value) {
            must_be(state, own, &value).await?;
        }
    }
    let mut body: Option<Value> = serde_json::from_slice(asked.body).ok().filter(Value::is_object);
    if !narrows_itself(verb) {
        let mut named = BTreeSet::new();
        body.iter().for_each(|body| collect(body, &mut named));
        for id in &named {
            must_be(state, own, id).await?;
        }
    }
    let mut uri = asked.head.uri.clone();
    if asked.knows_query(WORKSPACE) {
        is_theirs = true;
        uri = with_workspace(&uri, own)?;
    }
    if asked.knows_field(WORKSPACE) {
        is_theirs = true;
        if let Some(fields) = body.as_mut().and_then(Value::as_object_mut) {
            fields.insert(WORKSPACE.to_owned(), own.as_str().into());
        }
    }
    if !is_theirs {
        let why = "this operation cannot be narrowed to one workspace: it is for operators of all of them";
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", why));
    }
    let body = match body {
        Some(fields) if asked.knows_field(WORKSPACE) => Bytes::from(fields.to_string()),
        Some(_) | None => asked.body.clone(),
    };
    Ok(Some(Narrowed { uri, body }))
}

async fn must_be(state: &ControlState, own: &WorkspaceId, id: &str) -> Result<(), Problem> {
    let found = workspace_of(state, id).await?;
    if found.as_ref() == Some(own) { Ok(()) } else { Err(hidden(id)) }
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let uri = format!("/?{query}").parse::<Uri>();
    let read =
        uri.ok().and_then(|uri| axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri).ok());
    read.map(|q| q.0).unwrap_or_default()
}

fn with_workspace(uri: &Uri, own: &WorkspaceId) -> Result<Uri, Problem> {
    let other = |pair: &&str| !pair.is_empty() && pair.split('=').next() != Some(WORKSPACE);
    let mut query: Vec<&str> = uri.query().unwrap_or_default().split('&').filter(other).collect();
    let added = format!("{WORKSPACE}={own}");
    query.push(&added);
    let text = format!("{}?{}", uri.path(), query.join("&"));
    text.parse().map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "invalid", "the address cannot be read"))
}
