//! Operations on requests that wait for a second person.

use axum::{
    Json, Router,
    body::Body as HttpBody,
    extract::State,
    http::{Request, StatusCode, header},
};
use claviger_domain::{clock::Timestamp, operator::approval::ApprovalRecord};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tower::ServiceExt;
use utoipa::{IntoParams, ToSchema};

use super::{page::Page, time::Moment};
use crate::{
    answer::Shown,
    extract::{OnBehalf, Operator, Paging, Path, Query},
    openapi::PREFIX,
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
    /// `pending`, `expired`, `approved`, `executed`, `failed` or `denied`.
    pub state: String,
    /// When it was asked for.
    pub created_at: Moment,
    /// Nobody can approve it from then on.
    pub expires_at: Moment,
    /// Who decided.
    pub decided_by: Option<String>,
    /// When.
    pub decided_at: Option<Moment>,
    /// The HTTP status of what was done.
    pub status: Option<u16>,
    /// What the operation answered: to whoever approved it, and never again.
    #[schema(value_type = Option<Object>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Value>,
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

/// `POST /admin/v1/approvals/{id}/approve`
pub async fn approve(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<Shown<ApprovalView>, Problem> {
    let approvals = &state.services.approvals;
    let (approved, requester) = approvals.approve(&id, &operator.identity, &operator.caller).await?;
    let decided =
        (approved.id.clone(), approved.decided_by.clone().unwrap_or_else(|| approved.requester.clone()));
    let behalf = OnBehalf { requester, approved: decided, caller: operator.caller.clone() };
    let (status, answer) = execute(&state, &approved, behalf).await;
    let done = approvals.done(&approved, status.as_u16(), &operator.caller).await?;
    Ok(Shown(ApprovalView { answer, ..ApprovalView::of(&done, state.clock.now()) }))
}

/// Sends the frozen request through the router once more, in its requester's name.
async fn execute(
    state: &ControlState,
    approved: &ApprovalRecord,
    behalf: OnBehalf,
) -> (StatusCode, Option<Value>) {
    let frozen = &approved.frozen;
    let mut request = Request::builder()
        .method(frozen.method.as_str())
        .uri(frozen.path.as_str())
        .header(header::CONTENT_TYPE, "application/json");
    if !frozen.if_match.is_empty() {
        request = request.header(header::IF_MATCH, frozen.if_match.as_str());
    }
    let Ok(request) = request.extension(behalf).body(HttpBody::from(frozen.body.clone())) else {
        return (StatusCode::BAD_REQUEST, None);
    };
    let router: Router = Router::new().nest(PREFIX, super::routes(state)).with_state(state.clone());
    let Ok(response) = router.oneshot(request).await;
    let status = response.status();
    let body =
        response.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    (status, serde_json::from_slice(&body).ok())
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
