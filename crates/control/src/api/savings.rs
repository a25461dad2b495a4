//! What was saved, in money.

use axum::{Json, extract::State};
use claviger_domain::{
    money::usd_text,
    price::PriceUsed,
    savings::{HOW, Saved, Savings, Unpaid},
};
use claviger_service::reports::{Covered, RowsBy};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{extent::ExtentParams, time::Moment};
use crate::{
    extract::{Operator, Query},
    problem::Problem,
    state::ControlState,
};

/// Which savings.
#[derive(Debug, Deserialize, IntoParams)]
pub struct SavingsParams {
    /// What one row stands for; absent: models.
    #[param(inline)]
    by: Option<SavingsBy>,
    /// Only of this key.
    key: Option<String>,
    /// Only of this workspace, by id or name.
    workspace: Option<String>,
    /// From this moment on (RFC 3339, or a UTC day); absent: thirty days before the end.
    since: Option<String>,
    /// Before this moment; absent: up to now.
    until: Option<String>,
}

/// What a row stands for.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum SavingsBy {
    #[default]
    Model,
    Key,
    Workspace,
    Owner,
    Day,
}

/// What was saved, and how each figure was computed. Amounts ending in `_pusd` are pico-dollars (10⁻¹² $) in decimal
/// strings, those in `_usd` the same in dollars without loss. A negative amount was lost.
#[derive(Debug, Serialize, ToSchema)]
pub struct SavingsView {
    /// From here on.
    from: Moment,
    /// Before this.
    until: Moment,
    /// Calls before this are not in the figures. `null`: all are.
    kept_from: Option<Moment>,
    /// Single calls before this are gone, and their days known as sums at the prices of the time when they went: a day
    /// counts if it begins in the time that was asked for. `null`: all figures are of single calls.
    whole_days_until: Option<Moment>,
    /// All calls.
    total: SavedView,
    /// The same by group.
    groups: Vec<SavedGroup>,
    /// Caches (of one key and model) that cost more to write than reading them saved.
    unpaid_cache_writes: UnpaidView,
    /// How each figure is computed.
    how: Vec<&'static str>,
    /// The prices that were used, in dollars per million tokens, each with the day from which it holds.
    prices: Vec<PriceView>,
    /// The version of the price table.
    price_table: String,
}

/// One group.
#[derive(Debug, Serialize, ToSchema)]
pub struct SavedGroup {
    /// A model, key id, workspace id, owner id or UTC day; `none`: calls without a model.
    group: String,
    /// What was saved.
    #[serde(flatten)]
    saved: SavedView,
}

/// What was saved on some calls.
#[derive(Debug, Serialize, ToSchema)]
pub struct SavedView {
    /// Calls that were sent or answered from the response cache.
    requests: u64,
    /// What they cost.
    cost_pusd: String,
    /// In dollars.
    cost_usd: String,
    /// What they would have cost by themselves, with nothing cached.
    would_have_cost_pusd: String,
    /// In dollars.
    would_have_cost_usd: String,
    /// The difference: what was saved in all.
    saved_pusd: String,
    /// In dollars.
    saved_usd: String,
    /// What prompt caching saved: reads less what writes cost extra.
    prompt_cache_saved_pusd: String,
    /// In dollars.
    prompt_cache_saved_usd: String,
    /// What reading from the prompt cache saved.
    cache_reads_saved_pusd: String,
    /// What writing to it cost more than plain input.
    cache_writes_extra_pusd: String,
    /// Items of batches.
    batch_items: u64,
    /// What the discount of batches saved.
    batch_saved_pusd: String,
    /// In dollars.
    batch_saved_usd: String,
    /// Answers from the response cache.
    response_cache_hits: u64,
    /// What they saved.
    response_cache_saved_pusd: String,
    /// In dollars.
    response_cache_saved_usd: String,
    /// Calls whose cost does not follow from their tokens at these prices: several models in one call, charged at the
    /// reservation, or priced by another table. Nothing is claimed for them.
    unexplained_requests: u64,
    /// What they cost; it is in `cost_pusd`.
    unexplained_cost_pusd: String,
}

impl From<&Saved> for SavedView {
    fn from(saved: &Saved) -> Self {
        Self {
            requests: saved.requests,
            cost_pusd: saved.cost.to_string(),
            cost_usd: usd_text(saved.cost),
            would_have_cost_pusd: saved.would_have_cost().to_string(),
            would_have_cost_usd: usd_text(saved.would_have_cost()),
            saved_pusd: saved.total().to_string(),
            saved_usd: usd_text(saved.total()),
            prompt_cache_saved_pusd: saved.prompt_cache().to_string(),
            prompt_cache_saved_usd: usd_text(saved.prompt_cache()),
            cache_reads_saved_pusd: saved.cache_reads.to_string(),
            cache_writes_extra_pusd: saved.cache_writes_extra.to_string(),
            batch_items: saved.batch_items,
            batch_saved_pusd: saved.batch.to_string(),
            batch_saved_usd: usd_text(saved.batch),
            response_cache_hits: saved.recalled,
            response_cache_saved_pusd: saved.response_cache.to_string(),
            response_cache_saved_usd: usd_text(saved.response_cache),
            unexplained_requests: saved.unexplained,
            unexplained_cost_pusd: saved.unexplained_cost.to_string(),
        }
    }
}

/// Caches that did not pay back.
#[derive(Debug, Serialize, ToSchema)]
pub struct UnpaidView {
    /// How many.
    count: u64,
    /// The first of them, the worst first.
    first: Vec<UnpaidCache>,
}

/// What one key wrote to the cache of one model, and did not read often enough.
#[derive(Debug, Serialize, ToSchema)]
pub struct UnpaidCache {
    /// The key.
    key: String,
    /// The model.
    model: String,
    /// Tokens written for five minutes.
    cache_write_5m_tokens: u64,
    /// Tokens written for one hour.
    cache_write_1h_tokens: u64,
    /// Tokens read.
    cache_read_tokens: u64,
    /// What was lost.
    lost_pusd: String,
    /// In dollars.
    lost_usd: String,
}

impl From<Unpaid> for UnpaidCache {
    fn from(unpaid: Unpaid) -> Self {
        Self {
            key: unpaid.key,
            model: unpaid.model,
            cache_write_5m_tokens: unpaid.write_5m_tokens,
            cache_write_1h_tokens: unpaid.write_1h_tokens,
            cache_read_tokens: unpaid.read_tokens,
            lost_pusd: unpaid.lost.to_string(),
            lost_usd: usd_text(unpaid.lost),
        }
    }
}

/// Prices of one model, in dollars per million tokens.
#[derive(Debug, Serialize, ToSchema)]
pub struct PriceView {
    /// The model whose row of the price table it is.
    model: String,
    /// When the row came into force; `null`: it always was.
    from: Option<String>,
    /// In fast mode.
    fast: bool,
    /// With the surcharge for inference in the US.
    us: bool,
    /// Input from no cache.
    input_usd: String,
    /// Written to the five-minute cache.
    cache_write_5m_usd: String,
    /// Written to the one-hour cache.
    cache_write_1h_usd: String,
    /// Read from a cache.
    cache_read_usd: String,
    /// Output.
    output_usd: String,
}

impl From<PriceUsed> for PriceView {
    fn from(price: PriceUsed) -> Self {
        Self {
            model: price.model,
            from: price.from,
            fast: price.fast,
            us: price.us,
            input_usd: price.input_usd,
            cache_write_5m_usd: price.cache_write_5m_usd,
            cache_write_1h_usd: price.cache_write_1h_usd,
            cache_read_usd: price.cache_read_usd,
            output_usd: price.output_usd,
        }
    }
}

fn view(covered: Covered, savings: Savings, price_table: String) -> SavingsView {
    let group = |(group, saved): &(String, Saved)| SavedGroup {
        group: if group.is_empty() { "none".to_owned() } else { group.clone() },
        saved: saved.into(),
    };
    SavingsView {
        from: Moment(covered.from),
        until: Moment(covered.until),
        kept_from: covered.kept_from.map(Moment),
        whole_days_until: covered.whole_days_until.map(Moment),
        total: (&savings.total).into(),
        groups: savings.groups.iter().map(group).collect(),
        unpaid_cache_writes: UnpaidView {
            count: savings.unpaid_count,
            first: savings.unpaid.into_iter().map(Into::into).collect(),
        },
        how: HOW.to_vec(),
        prices: savings.prices.into_iter().map(Into::into).collect(),
        price_table,
    }
}

/// `GET /admin/v1/savings`
pub async fn savings(
    State(state): State<ControlState>,
    _operator: Operator,
    Query(params): Query<SavingsParams>,
) -> Result<Json<SavingsView>, Problem> {
    let by = match params.by.unwrap_or_default() {
        SavingsBy::Model => RowsBy::Model,
        SavingsBy::Key => RowsBy::Key,
        SavingsBy::Workspace => RowsBy::Workspace,
        SavingsBy::Owner => RowsBy::Owner,
        SavingsBy::Day => RowsBy::Day,
    };
    let wanted = ExtentParams {
        key: params.key,
        workspace: params.workspace,
        since: params.since,
        until: params.until,
    };
    let extent = wanted.extent(&state).await?;
    let prices = state.process.prices();
    let (covered, savings) = state.services.reports.savings(&extent, by, prices.as_ref()).await?;
    Ok(Json(view(covered, savings, prices.version())))
}
