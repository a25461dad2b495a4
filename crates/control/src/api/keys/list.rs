//! `GET /admin/v1/keys`

use axum::{
    Json,
    extract::{Query, State},
};
use claviger_domain::ports::KeyFilter;
use serde::Deserialize;

use super::key_id;
use crate::{
    api::{page::Page, view::KeyView},
    extract::Operator,
    problem::Problem,
    state::ControlState,
};

/// Which keys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListKeys {
    /// Only of this workspace, by id or name.
    workspace: Option<String>,
    /// Only of this owner, by id or name.
    owner: Option<String>,
    /// Only after this key.
    after: Option<String>,
    /// At most so many; 1,000 when absent.
    limit: Option<u32>,
}

/// Lists keys by creation.
pub async fn list(
    State(state): State<ControlState>,
    _operator: Operator,
    Query(query): Query<ListKeys>,
) -> Result<Json<Page<KeyView>>, Problem> {
    let tenants = &state.services.tenants;
    let limit = query.limit.unwrap_or(1_000).clamp(1, 1_000);
    let mut filter = KeyFilter { limit, ..KeyFilter::default() };
    if let Some(workspace) = &query.workspace {
        filter.workspace = Some(tenants.workspace(workspace).await?.id);
    }
    if let Some(owner) = &query.owner {
        filter.owner = Some(tenants.owner(owner).await?.id);
    }
    filter.after = query.after.as_deref().map(key_id).transpose()?;
    let now = state.clock.now();
    let keys = state.services.keys.list(&filter).await?;
    let data: Vec<_> = keys.iter().map(|(k, u)| KeyView::of(k, u, now)).collect();
    let next = (data.len() == limit as usize).then(|| data.last().map(|k| k.id.clone())).flatten();
    Ok(Json(Page { data, next }))
}
