//! Operations on reviews of what keys may do.

use axum::{Json, extract::State};
use claviger_domain::{
    id::ReviewId,
    ports::reviews::ReviewFilter,
    review::{Findings, ReviewRecord, Verdict},
};
use claviger_service::reviews::ReviewInForce;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{keys::key_id, page::Page, time::Moment};
use crate::{
    extract::{Body, Operator, Paging, Path, Query},
    problem::Problem,
    state::ControlState,
};

/// What a key may do and did not use.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FindingsView {
    /// Use counts from here on.
    pub since: Moment,
    /// Models that it used.
    pub used_models: Vec<String>,
    /// Patterns of models that matched none of them; `*` when it may use every model.
    pub unused_models: Vec<String>,
    /// Endpoints that it used neither way.
    pub unused_endpoints: Vec<String>,
    /// Scopes that it did not use.
    pub unused_scopes: Vec<String>,
}

impl From<Findings> for FindingsView {
    fn from(findings: Findings) -> Self {
        Self {
            since: Moment(findings.since),
            used_models: findings.used_models,
            unused_models: findings.unused_models,
            unused_endpoints: findings.unused_endpoints.iter().map(|e| e.as_str().to_owned()).collect(),
            unused_scopes: findings.unused_scopes,
        }
    }
}

/// A review.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReviewView {
    /// Its id; `null`: the key never had one.
    pub id: Option<String>,
    /// The key.
    pub key: String,
    /// Its workspace.
    pub workspace: String,
    /// When it was opened.
    pub opened_at: Option<Moment>,
    /// `open`, `confirmed`, `shrunk`; `none`: the key never had one.
    pub state: String,
    /// When it was decided.
    pub decided_at: Option<Moment>,
    /// What was found: in lists when it was opened, of one key as of now.
    pub findings: FindingsView,
}

impl From<ReviewRecord> for ReviewView {
    fn from(review: ReviewRecord) -> Self {
        Self {
            id: Some(review.id.to_string()),
            key: review.key.to_string(),
            workspace: review.workspace.to_string(),
            opened_at: Some(Moment(review.opened_at)),
            state: review.decision.map_or("open", |decision| decision.verdict.as_str()).to_owned(),
            decided_at: review.decision.map(|decision| Moment(decision.at)),
            findings: review.findings.into(),
        }
    }
}

impl From<ReviewInForce> for ReviewView {
    fn from(shown: ReviewInForce) -> Self {
        let ReviewInForce { key, findings, last } = shown;
        match last {
            Some(review) => Self { findings: findings.into(), ..review.into() },
            None => Self {
                id: None,
                key: key.id.to_string(),
                workspace: key.workspace.to_string(),
                opened_at: None,
                state: "none".to_owned(),
                decided_at: None,
                findings: findings.into(),
            },
        }
    }
}

/// Which reviews.
#[derive(Debug, Deserialize, IntoParams)]
pub struct ListReviews {
    /// Only of this workspace, by id or name.
    workspace: Option<String>,
    /// Only those that wait for a decision.
    open: Option<bool>,
}

/// Body of `POST /admin/v1/keys/{id}/review`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideReview {
    /// `confirm`: the key needs what it has; `shrink`: what it did not use is taken away.
    pub decision: String,
}

/// `GET /admin/v1/reviews`
pub async fn list(
    State(state): State<ControlState>,
    _operator: Operator,
    paging: Paging,
    Query(query): Query<ListReviews>,
) -> Result<Json<Page<ReviewView>>, Problem> {
    let bad = |e: claviger_domain::id::IdError| Problem::invalid("after", e.to_string());
    let workspace = match &query.workspace {
        None => None,
        Some(wanted) => Some(state.services.tenants.workspace(wanted).await?.id),
    };
    let filter = ReviewFilter {
        key: None,
        workspace,
        open: query.open.unwrap_or_default(),
        before: paging.after.as_deref().map(ReviewId::parse).transpose().map_err(bad)?,
        limit: paging.limit + 1,
    };
    let rows = state.services.reviews.list(&filter).await?;
    Ok(Json(Page::of(rows, &paging, |row| row.id.to_string())))
}

/// `GET /admin/v1/keys/{id}/review`
pub async fn show(
    State(state): State<ControlState>,
    _operator: Operator,
    Path(id): Path<String>,
) -> Result<Json<ReviewView>, Problem> {
    Ok(Json(state.services.reviews.show(&key_id(&id)?).await?.into()))
}

/// `POST /admin/v1/keys/{id}/review`
pub async fn decide(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
    Body(body): Body<DecideReview>,
) -> Result<Json<ReviewView>, Problem> {
    let verdict = match body.decision.as_str() {
        "confirm" => Verdict::Confirmed,
        "shrink" => Verdict::Shrunk,
        other => {
            return Err(Problem::invalid("decision", format!("`{other}`: expected confirm or shrink")));
        }
    };
    Ok(Json(state.services.reviews.decide(&key_id(&id)?, verdict, &operator.caller).await?.into()))
}
