//! `GET /admin/v1/keys`

use axum::{Json, extract::State};
use claviger_domain::ports::KeyFilter;
use serde::Deserialize;
use utoipa::IntoParams;

use super::key_id;
use crate::{
    api::{page::Page, view::KeyView},
    extract::{Operator, Paging, Query},
    problem::Problem,
    state::ControlState,
};

/// Which keys.
#[derive(Debug, Deserialize, IntoParams)]
pub struct ListKeys {
    /// Only of this workspace, by id or name.
    workspace: Option<String>,
    /// Only of this owner, by id or name.
    owner: Option<String>,
}

/// Lists keys by creation.
pub async fn list(
    State(state): State<ControlState>,
    _operator: Operator,
    paging: Paging,
    Query(query): Query<ListKeys>,
) -> Result<Json<Page<KeyView>>, Problem> {
    let tenants = &state.services.tenants;
    // One more than is shown tells whether there are more.
    let mut filter = KeyFilter { limit: paging.limit + 1, ..KeyFilter::default() };
    if let Some(workspace) = &query.workspace {
        filter.workspace = Some(tenants.workspace(workspace).await?.id);
    }
    if let Some(owner) = &query.owner {
        filter.owner = Some(tenants.owner(owner).await?.id);
    }
    let cursor = |e: Problem| Problem { field: Some("after".to_owned()), ..e };
    filter.after = paging.after.as_deref().map(key_id).transpose().map_err(cursor)?;
    let now = state.clock.now();
    let keys = state.services.keys.list(&filter).await?;
    let views = keys.iter().map(|(k, u)| KeyView::of(k, u, now)).collect();
    Ok(Json(Page::of::<KeyView>(views, &paging, |view| view.id.clone())))
}
