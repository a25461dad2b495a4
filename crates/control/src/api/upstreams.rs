//! Operations on upstreams.

use axum::{Json, extract::State};
use claviger_domain::upstream::UpstreamKind;
use claviger_service::upstreams::NewUpstream;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{page::Page, view::UpstreamView};
use crate::{
    answer::{Made, One},
    extract::{Body, Operator, Paging, Path},
    problem::Problem,
    state::ControlState,
};

/// Body of `POST /admin/v1/upstreams`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddUpstream {
    /// Its name: letters, digits, spaces, `-`, `_`, `.`, `@` or `/`.
    #[schema(min_length = 1, max_length = 64, example = "anthropic")]
    pub name: String,
    /// Its protocol.
    #[schema(example = "anthropic", pattern = "^anthropic$")]
    pub kind: String,
    /// Where it is.
    #[schema(example = "https://api.anthropic.com")]
    pub base_url: String,
}

/// `POST /admin/v1/upstreams`
pub async fn add(
    State(state): State<ControlState>,
    operator: Operator,
    Body(body): Body<AddUpstream>,
) -> Result<Made<UpstreamView>, Problem> {
    let kind = UpstreamKind::parse(&body.kind)
        .ok_or_else(|| Problem::invalid("kind", format!("`{}`: expected anthropic", body.kind)))?;
    state.process.check_upstream(&body.base_url).map_err(|why| Problem::invalid("base_url", why))?;
    let new = NewUpstream { name: body.name, kind, base_url: body.base_url };
    let made = state.services.upstreams.add(new, &operator.caller).await?;
    Ok(Made(made.into()))
}

/// `GET /admin/v1/upstreams`
pub async fn list(
    State(state): State<ControlState>,
    _operator: Operator,
    paging: Paging,
) -> Result<Json<Page<UpstreamView>>, Problem> {
    let rows = state.services.upstreams.list().await?;
    Page::cut(rows, &paging, |row| row.id.to_string()).map(Json)
}

/// `DELETE /admin/v1/upstreams/{id}`
pub async fn remove(
    State(state): State<ControlState>,
    operator: Operator,
    Path(id): Path<String>,
) -> Result<One<UpstreamView>, Problem> {
    let upstreams = &state.services.upstreams;
    let found = upstreams.find(&id).await?;
    Ok(One(upstreams.remove(&found.id, &operator.caller).await?.into()))
}

/// `POST /admin/v1/upstreams/{id}/probe`
pub async fn probe(
    State(state): State<ControlState>,
    _operator: Operator,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let found = state.services.upstreams.find(&id).await?;
    Ok(Json(state.process.probe(&found).await))
}
