//! Operations on the response cache of this node.

use axum::{Json, extract::State};
use claviger_service::recall::{CacheState, RecallStats, Share};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    extract::{Body, Operator, Query},
    problem::Problem,
    state::ControlState,
};

/// What is in the response cache.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CacheView {
    /// All of it, and what came of it since the start; `null` when one workspace was asked for.
    pub total: Option<CacheTotals>,
    /// What each workspace has in it; those that have nothing are left out.
    pub workspaces: Vec<CacheShare>,
}

/// All of it, and what came of it since the start.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CacheTotals {
    /// Answers that are kept.
    pub answers: u64,
    /// What they take, in bytes.
    pub bytes: u64,
    /// The most that they and those on their way may take; 0: there is no cache.
    pub most_bytes: u64,
    /// Requests that were answered out of it.
    pub hits: u64,
    /// Requests that it could have answered, and did not.
    pub misses: u64,
    /// Answers that went for want of room.
    pub evictions: u64,
    /// Calls under way on which others may wait.
    pub in_flight: u64,
}

/// What one workspace has in it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CacheShare {
    /// The workspace.
    pub workspace: String,
    /// Answers.
    pub answers: u64,
    /// What they take, in bytes.
    pub bytes: u64,
}

/// Whose answers.
#[derive(Debug, Deserialize, IntoParams)]
pub struct WhoseAnswers {
    /// The workspace, by id or name; absent: all.
    workspace: Option<String>,
}

/// Body of `POST /admin/v1/cache/flush`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FlushCache {
    /// The workspace, by id or name; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
}

/// What was thrown away.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FlushedView {
    /// Answers.
    pub answers: u64,
    /// What they took, in bytes.
    pub bytes: u64,
    /// Of each workspace.
    pub workspaces: Vec<CacheShare>,
}

impl From<RecallStats> for CacheTotals {
    fn from(stats: RecallStats) -> Self {
        let RecallStats { answers, bytes, most_bytes, hits, misses, evictions, flights } = stats;
        Self { answers, bytes, most_bytes, hits, misses, evictions, in_flight: flights }
    }
}

impl From<Share> for CacheShare {
    fn from(share: Share) -> Self {
        Self { workspace: share.workspace.to_string(), answers: share.answers, bytes: share.bytes }
    }
}

/// `GET /admin/v1/cache`
pub async fn show(
    State(state): State<ControlState>,
    _operator: Operator,
    Query(whose): Query<WhoseAnswers>,
) -> Result<Json<CacheView>, Problem> {
    let CacheState { stats, mut shares } = state.services.cache.state();
    let total = match &whose.workspace {
        None => Some(stats.into()),
        Some(wanted) => {
            let id = state.services.tenants.workspace(wanted).await?.id;
            shares.retain(|share| share.workspace == id);
            None
        }
    };
    Ok(Json(CacheView { total, workspaces: shares.into_iter().map(CacheShare::from).collect() }))
}

/// `POST /admin/v1/cache/flush`
pub async fn flush(
    State(state): State<ControlState>,
    operator: Operator,
    Body(body): Body<FlushCache>,
) -> Result<Json<FlushedView>, Problem> {
    let gone = state.services.cache.flush(body.workspace.as_deref(), &operator.caller).await?;
    let workspaces: Vec<CacheShare> = gone.into_iter().map(CacheShare::from).collect();
    let answers = workspaces.iter().map(|share| share.answers).sum();
    let bytes = workspaces.iter().map(|share| share.bytes).sum();
    Ok(Json(FlushedView { answers, bytes, workspaces }))
}
