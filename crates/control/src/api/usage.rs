//! `GET /admin/v1/usage`

use axum::{Json, extract::State};
use claviger_domain::{
    budget::{Calendar, Period},
    ports::{UsageBy, UsageQuery},
};
use claviger_service::usage::{Grouping, UsageRow};
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
    #[param(inline)]
    by: Option<By>,
    /// The time zone in which days, weeks and months begin, such as `Europe/Berlin`; absent: UTC.
    tz: Option<String>,
    /// Only of this key.
    key: Option<String>,
    /// Only of this workspace, by id or name.
    workspace: Option<String>,
    /// Only of keys of this owner, by id or name.
    owner: Option<String>,
    /// From this moment on (RFC 3339, or a day in the time zone).
    since: Option<String>,
    /// Before this moment.
    until: Option<String>,
}

/// What a row of usage stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum By {
    Key,
    Model,
    Day,
    Workspace,
    Owner,
    Week,
    Month,
}

/// One row of a usage report.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct UsageView {
    /// The group: a key id, model, workspace id, owner id, day (`2026-11-22`), week (`2026-W47`), month (`2026-11`),
    /// `none`, or `total`.
    group: String,
    /// The group, when rows are keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The group, when rows are models.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// The group, when rows are days.
    #[serde(skip_serializing_if = "Option::is_none")]
    day: Option<String>,
    /// The group, when rows are workspaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace: Option<String>,
    /// The group, when rows are owners.
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    /// The group, when rows are weeks (ISO 8601).
    #[serde(skip_serializing_if = "Option::is_none")]
    week: Option<String>,
    /// The group, when rows are months.
    #[serde(skip_serializing_if = "Option::is_none")]
    month: Option<String>,
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
    /// Requests that were answered out of the response cache; they cost nothing.
    response_cache_hits: u64,
    /// What it cost in pico-dollars, as a decimal string.
    cost_pusd: String,
    /// What it cost in dollars, as a decimal string without loss.
    cost_usd: String,
}

impl UsageView {
    /// The row, with its group also under the name of what was grouped by.
    fn of(row: UsageRow, by: Option<By>) -> Self {
        let group = |wanted| (by == Some(wanted)).then(|| row.group.clone());
        Self {
            key: group(By::Key),
            model: group(By::Model),
            day: group(By::Day),
            workspace: group(By::Workspace),
            owner: group(By::Owner),
            week: group(By::Week),
            month: group(By::Month),
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
            response_cache_hits: row.response_cache_hits,
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
    let calendar = |period| {
        let zone = params.tz.as_deref().unwrap_or("UTC");
        Calendar::new(period, zone).map_err(|error| Problem::invalid("tz", error.to_string()))
    };
    let days = calendar(Period::Day)?;
    let moment = |field, text: &str| days.day(text).map_or_else(|| keys::moment(field, text), Ok);
    let mut query = UsageQuery {
        key: params.key.as_deref().map(keys::key_id).transpose()?,
        from: params.since.as_deref().map(|t| moment("since", t)).transpose()?,
        until: params.until.as_deref().map(|t| moment("until", t)).transpose()?,
        ..UsageQuery::default()
    };
    if let Some(workspace) = &params.workspace {
        query.workspace = Some(state.services.tenants.workspace(workspace).await?.id);
    }
    if let Some(owner) = &params.owner {
        query.owner = Some(state.services.tenants.owner(owner).await?.id);
    }
    let grouping = match params.by {
        None => None,
        Some(By::Key) => Some(Grouping::By(UsageBy::Key)),
        Some(By::Model) => Some(Grouping::By(UsageBy::Model)),
        Some(By::Workspace) => Some(Grouping::By(UsageBy::Workspace)),
        Some(By::Owner) => Some(Grouping::By(UsageBy::Owner)),
        Some(By::Day) => Some(Grouping::Per(days)),
        Some(By::Week) => Some(Grouping::Per(calendar(Period::Week)?)),
        Some(By::Month) => Some(Grouping::Per(calendar(Period::Month)?)),
    };
    let key = query.key.clone();
    let rows = state.services.usage.report(grouping.as_ref(), query).await?;
    if let Some(key) = key.filter(|_| rows.iter().all(|row| row.requests == 0)) {
        // A purged key is known by what it used only.
        state.services.keys.show(&key).await?;
    }
    let rows: Vec<UsageView> = rows.into_iter().map(|row| UsageView::of(row, params.by)).collect();
    Page::cut(rows, &paging, |row| row.group.clone()).map(Json)
}
