//! Who still uses the provider's own keys, past us.

use axum::{Json, extract::State};
use claviger_domain::{
    clock::{MICROS_PER_DAY, Timestamp},
    direct_use::{DirectDay, DirectUse},
    ledger::UsageCounts,
};
use claviger_service::direct_use::{AccountUse, DirectUseReport, DirectUseWish};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::time::Moment;
use crate::{
    extract::{Operator, Query},
    problem::Problem,
    state::ControlState,
};

/// Which use.
#[derive(Debug, Deserialize, IntoParams)]
pub struct DirectUseParams {
    /// UTC days, today among them.
    #[param(minimum = 1, maximum = 90, default = 7)]
    days: Option<u32>,
    /// Only of the account behind this upstream, by id or name.
    upstream: Option<String>,
}

/// Who used the provider's own keys, and how much of that passed Claviger by.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DirectUse)]
pub struct DirectUseView {
    /// From here on.
    from: Moment,
    /// Before this.
    until: Moment,
    /// The provider's keys, those first that pass Claviger by the most.
    keys: Vec<DirectKeyView>,
    /// Credentials in use that hold none of their account's keys.
    unmatched_credentials: Vec<String>,
}

/// Tokens, in and out. What goes in counts from, to and past the cache.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct DirectTokens {
    /// Billed by the provider: in.
    input_tokens: u64,
    /// Billed by the provider: out.
    output_tokens: u64,
    /// Of that through Claviger: in.
    through_input_tokens: u64,
    /// Of that through Claviger: out.
    through_output_tokens: u64,
    /// The rest, past Claviger: in.
    direct_input_tokens: u64,
    /// The rest, past Claviger: out.
    direct_output_tokens: u64,
}

impl DirectTokens {
    const fn of(billed: UsageCounts, through: UsageCounts, direct: UsageCounts) -> Self {
        Self {
            input_tokens: billed.all_input_tokens(),
            output_tokens: billed.output_tokens,
            through_input_tokens: through.all_input_tokens(),
            through_output_tokens: through.output_tokens,
            direct_input_tokens: direct.all_input_tokens(),
            direct_output_tokens: direct.output_tokens,
        }
    }
}

/// One UTC day.
#[derive(Debug, Serialize, ToSchema)]
pub struct DirectDayView {
    /// `YYYY-MM-DD`.
    day: String,
    /// What was used.
    #[serde(flatten)]
    tokens: DirectTokens,
}

/// One of the provider's keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct DirectKeyView {
    /// The upstream whose account it belongs to.
    upstream: String,
    /// `apikey_…`; `null`: used without a key, as in the provider's own console.
    api_key_id: Option<String>,
    /// Its name at the provider.
    name: String,
    /// Its two ends.
    hint: String,
    /// Its status at the provider: `active`, `inactive`, `archived`, `expired`; `unknown`: deleted.
    status: String,
    /// The names of the sealed credentials that hold it, or `unknown`.
    credential: String,
    /// Their ids.
    credential_ids: Vec<String>,
    /// What was used, over all days.
    #[serde(flatten)]
    tokens: DirectTokens,
    /// Calls through Claviger whose output was estimated, because they were cut: they may leave a small difference.
    estimated_requests: u64,
    /// The last day on which it was used at all.
    last_seen: Option<String>,
    /// The last day on which it was used past Claviger.
    last_direct: Option<String>,
    /// The days on which it was used.
    days: Vec<DirectDayView>,
}

fn date(day: i64) -> String {
    let midnight = Timestamp::from_micros(day.saturating_mul(MICROS_PER_DAY));
    midnight.to_rfc3339().chars().take_while(|c| *c != 'T').collect()
}

impl DirectKeyView {
    fn of(report: &DirectUseReport, account: &AccountUse, used: &DirectUse) -> Self {
        let key = used.api_key.as_ref();
        let text = |field: Option<&String>| field.cloned().unwrap_or_default();
        let day = |(day, part): (&i64, &DirectDay)| DirectDayView {
            day: date(*day),
            tokens: DirectTokens::of(part.billed, part.through, part.direct()),
        };
        Self {
            upstream: account.upstream_name.clone(),
            api_key_id: key.map(|key| key.id.clone()),
            name: text(key.map(|key| &key.name)),
            hint: text(key.map(|key| &key.hint)),
            status: key.map_or_else(|| "none".to_owned(), |key| key.status.clone()),
            credential: report.sealed_as(used),
            credential_ids: used.credentials.iter().map(ToString::to_string).collect(),
            tokens: DirectTokens::of(used.billed, used.through, used.direct),
            estimated_requests: used.estimated,
            last_seen: used.last_seen.map(date),
            last_direct: used.last_direct.map(date),
            days: used.days.iter().map(day).collect(),
        }
    }
}

/// `GET /admin/v1/credentials/usage`
pub async fn usage(
    State(state): State<ControlState>,
    operator: Operator,
    Query(params): Query<DirectUseParams>,
) -> Result<Json<DirectUseView>, Problem> {
    let wish = DirectUseWish { days: params.days, upstream: params.upstream };
    let report = state.services.direct_uses.ask(&wish, &operator.caller).await?;
    let every = report.accounts.iter().flat_map(|account| account.keys.iter().map(move |key| (account, key)));
    let keys = every.map(|(account, key)| DirectKeyView::of(&report, account, key)).collect();
    let name = |id| report.credential_names.get(id).cloned().unwrap_or_default();
    Ok(Json(DirectUseView {
        from: Moment(report.from),
        until: Moment(report.until),
        keys,
        unmatched_credentials: report.accounts.iter().flat_map(|a| &a.strangers).map(name).collect(),
    }))
}
