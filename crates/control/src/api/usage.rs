//! `GET /admin/v1/usage`

use axum::{Json, extract::State};
use claviger_domain::ports::{UsageBy, UsageQuery};
use claviger_service::usage::UsageRow;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{keys, page::Page};
use crate::{
    extract::{Operator, Paging, Query},
    problem::Problem,
    state::ControlState,
};

/// Which usage.
#[derive(Debug, Deserialize, IntoParams)]
pub struct UsageParams {
    /// What one row stands for; absent: everything.
    #[param(inline, value_type = Option<By>)]
    by: Option<UsageBy>,
    /// Only of this key.
    key: Option<String>,
    /// Only of this workspace, by id or name.
    workspace: Option<String>,
    /// From this moment on (RFC 3339, or a day).
    since: Option<String>,
    /// Before this moment.
    until: Option<String>,
}

/// What a row of usage stands for, as in the document.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "the document's face of the domain's `UsageBy`")]
enum By {
    Key,
    Model,
    Day,
    Workspace,
}

/// One row of a usage report.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct UsageView {
    /// The group: a key id, model, `YYYY-MM-DD`, workspace id, `none`, or `total`.
    group: String,
    /// The group, when rows are keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The group, when rows are models.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// The group, when rows are UTC days.
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<String>,
    /// The group, when rows are workspaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace: Option<String>,
    /// Requests that were sent.
    requests: u64,
    /// Requests that ended in an error or were cut.
    errors: u64,
    /// Uncached input tokens.
    input_tokens: u64,
    /// Tokens written to the 5-minute cache.
    cache_write_5m_tokens: u64,
    /// Tokens written to the 1-hour cache.
    cache_write_1h_tokens: u64,
    /// Tokens read from the cache.
    cache_read_tokens: u64,
    /// Output tokens.
    output_tokens: u64,
    /// Web searches.
    web_search_requests: u64,
    /// Requests whose output was estimated.
    estimated: u64,
    /// What it cost in pico-dollars, as a decimal string.
    cost_pusd: String,
    /// What it cost in dollars, as a decimal string without loss.
    cost_usd: String,
}

impl UsageView {
    /// The row, with its group also under the name of what was grouped by.
    fn of(row: UsageRow, by: Option<UsageBy>) -> Self {
        let group = |wanted| (by == Some(wanted)).then(|| row.group.clone());
        Self {
            key: group(UsageBy::Key),
            model: group(UsageBy::Model),
            day: group(UsageBy::Day),
            workspace: group(UsageBy::Workspace),
            group: row.group,
            requests: row.requests,
            errors: row.errors,
            input_tokens: row.input_tokens,
            cache_write_5m_tokens: row.cache_write_5m_tokens,
            cache_write_1h_tokens: row.cache_write_1h_tokens,
            cache_read_tokens: row.cache_read_tokens,
            output_tokens: row.output_tokens,
            web_search_requests: row.web_search_requests,
            estimated: row.estimated,
            cost_pusd: row.cost_pusd,
            cost_usd: row.cost_usd,
        }
    }
}

/// Reports usage.
pub async fn usage(
    State(state): State<ControlState>,
    _operator: Operator,
    paging: Paging,
    Query(params): Query<UsageParams>,
) -> Result<Json<Page<UsageView>>, Problem> {
    let mut query = UsageQuery { by: params.by, key: None, workspace: None, from: None, until: None };
    query.key = params.key.as_deref().map(keys::key_id).transpose()?;
    if let Some(workspace) = &params.workspace {
        query.workspace = Some(state.services.tenants.workspace(workspace).await?.id);
    }
    query.from = params.since.as_deref().map(|t| keys::moment("since", t)).transpose()?;
    query.until = params.until.as_deref().map(|t| keys::moment("until", t)).transpose()?;
    let rows = state.services.usage.report(&query).await?;
    let rows: Vec<UsageView> = rows.into_iter().map(|row| UsageView::of(row, params.by)).collect();
    Page::cut(rows, &paging, |row| row.group.clone()).map(Json)
}
