//! `GET /admin/v1/usage`

use axum::{
    Json,
    extract::{Query, State},
};
use claviger_domain::ports::{UsageBy, UsageQuery};
use claviger_service::usage::UsageRow;
use serde::Deserialize;
use serde_json::Value;

use super::{keys, page::Page};
use crate::{extract::Operator, problem::Problem, state::ControlState};

/// Which usage.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UsageParams {
    /// `key`, `model`, `day` or `workspace`.
    by: Option<UsageBy>,
    /// Only of this key.
    key: Option<String>,
    /// Only of this workspace, by id or name.
    workspace: Option<String>,
    /// From this moment on.
    since: Option<String>,
    /// Before this moment.
    until: Option<String>,
}

/// Reports usage.
pub async fn usage(
    State(state): State<ControlState>,
    _operator: Operator,
    Query(params): Query<UsageParams>,
) -> Result<Json<Page<Value>>, Problem> {
    let mut query = UsageQuery { by: params.by, key: None, workspace: None, from: None, until: None };
    query.key = params.key.as_deref().map(keys::key_id).transpose()?;
    if let Some(workspace) = &params.workspace {
        query.workspace = Some(state.services.tenants.workspace(workspace).await?.id);
    }
    query.from = params.since.as_deref().map(|t| keys::moment("since", t)).transpose()?;
    query.until = params.until.as_deref().map(|t| keys::moment("until", t)).transpose()?;
    let rows = state.services.usage.report(&query).await?;
    Ok(Json(Page { data: rows.iter().map(|row| named(row, params.by)).collect(), next: None }))
}

/// The row with its group also under the name of what was grouped by: `"model": "claude-…"`.
fn named(row: &UsageRow, by: Option<UsageBy>) -> Value {
    let mut value = serde_json::to_value(row).unwrap_or_default();
    if let Ok(Value::String(name)) = serde_json::to_value(by) {
        value[name] = Value::String(row.group.clone());
    }
    value
}
