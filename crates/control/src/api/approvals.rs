//! Operations on requests that wait for a second person.

use axum::{Json, extract::State};
use claviger_domain::{
    clock::Timestamp,
    operator::approval::{Answer, ApprovalRecord},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::{page::Page, time::Moment};
use crate::{
    answer::Shown,
    approved,
    extract::{Operator, Paging, Path, Query},
    problem::Problem,
    state::ControlState,
};

/// A frozen request.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ApprovalView {
    /// Its id.
    pub id: String,
    /// What it does.
    pub verb: String,
    /// Its method.
    pub method: String,
    /// Its path and query.
    pub path: String,
    /// Its body, when that is JSON.
    #[schema(value_type = Option<Object>)]
    pub body: Option<Value>,
    /// SHA-256 over verb, method, path and body, hex.
    pub digest: String,
    /// The workspace that it is about.
    pub workspace: Option<String>,
    /// Who asked.
    pub requester: String,
    /// Their name then.
    pub requester_name: String,
    /// `pending`, `expired`, `approved` (it is being done), `executed`, `failed` or `denied`.
    pub state: String,
    /// When it was asked for.
    pub created_at: Moment,
    /// Nobody can approve it from then on.
    pub expires_at: Moment,
    /// Who decided.
    pub decided_by: Option<String>,
    /// When.
    pub decided_at: Option<Moment>,
    /// The HTTP status of what was done; `null` when the process died before it could say.
    pub status: Option<u16>,
    /// What the operation answered, when that holds no secret; a secret is taken with `POST …/answer`.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Value>,
    /// Whether the answer holds a secret that you, who asked, can take, once.
    pub secret_waits: bool,
}

impl ApprovalView {
    fn of(record: &ApprovalRecord, now: Timestamp) -> Self {
        let frozen = &record.frozen;
        Self {
            id: record.id.to_string(),
            verb: frozen.verb.as_str().to_owned(),
            method: frozen.method.clone(),
            path: frozen.path.clone(),
            body: serde_json::from_slice(&frozen.body).ok(),
            digest: frozen.digest().to_hex(),
            workspace: record.workspace.as_ref().map(ToString::to_string),
            requester: record.requester.to_string(),
            requester_name: record.requester_name.clone(),
            state: record.shown_state(now).to_owned(),
            created_at: Moment(record.created_at),
            expires_at: Moment(record.expires_at),
            decided_by: record.decided_by.as_ref().map(ToString::to_string),
            decided_at: record.decided_at.map(Moment),
            status: record.status,
            answer: None,
            secret_waits: false,
        }
    }
}

/// Which approvals.
#[derive(Debug, Deserialize, IntoParams)]
pub struct ListApprovals {
    /// Decided and expired ones too.
    #[serde(default)]
    all: bool,
}

/// `GET /admin/v1/approvals`
pub async fn list(
    State(state): State<ControlState>,
    operator: Operator,
    paging: Paging,
    Query(query): Query<ListApprovals>,
) -> Result<Json<Page<ApprovalView>>, Problem> {
    let now = state.clock.now();
    let rows = state.services.approvals.list(&operator.identity, !query.all).await?;
    let views: Vec<ApprovalView> = rows.iter().map(|row| ApprovalView::of(row, now)).collect();
    Page::cut(views, &paging, |view: &ApprovalView| view.id.clone()).map(Json)
}

/// `GET /admin/v1/approvals/{id}`
pub async fn show(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<Json<ApprovalView>, Problem> {
    let record = state.services.approvals.show(&id, &operator.identity).await?;
    shown(&state, &record, &operator).await.map(Json)
}

/// `POST /admin/v1/approvals/{id}/answer`
pub async fn answer(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<Shown<ApprovalView>, Problem> {
    let (record, body) = state.services.approvals.take(&id, &operator.identity, &operator.caller).await?;
    let answer = serde_json::from_slice(&body).ok();
    Ok(Shown(ApprovalView { answer, ..ApprovalView::of(&record, state.clock.now()) }))
}

/// `POST /admin/v1/approvals/{id}/approve`
pub async fn approve(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<Json<ApprovalView>, Problem> {
    let approvals = &state.services.approvals;
    let claim = approvals.approve(&id, &operator.identity, &operator.caller).await?;
    let done = approved::carry_out(&state, claim, &operator.caller).await?;
    shown(&state, &done, &operator).await.map(Json)
}

/// With what was answered, unless that holds a secret.
async fn shown(
    state: &ControlState,
    record: &ApprovalRecord,
    operator: &Operator,
) -> Result<ApprovalView, Problem> {
    let answer = state.services.approvals.answer(record).await?;
    let is_theirs = operator.identity.operator_id() == Some(&record.requester);
    Ok(ApprovalView {
        answer: answer.and_then(|body| serde_json::from_slice(&body).ok()),
        secret_waits: is_theirs && record.answer == Answer::Secret,
        ..ApprovalView::of(record, state.clock.now())
    })
}

/// `POST /admin/v1/approvals/{id}/deny`
pub async fn deny(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<Json<ApprovalView>, Problem> {
    let denied = state.services.approvals.deny(&id, &operator.identity, &operator.caller).await?;
    Ok(Json(ApprovalView::of(&denied, state.clock.now())))
}
