//! The provider's bill, held against the ledger.

use axum::{Json, extract::State};
use claviger_domain::{
    clock::{MICROS_PER_DAY, Timestamp},
    ledger::UsageCounts,
    money::usd_text,
    reconcile::{AccountDay, Finding},
};
use claviger_service::reconcile::{AccountBooks, Books, ReconcileWish};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::time::Moment;
use crate::{
    extract::{Operator, Query},
    problem::Problem,
    state::ControlState,
};

/// What is compared.
#[derive(Debug, Deserialize, IntoParams)]
pub struct ReconcileParams {
    /// UTC days, today among them.
    #[param(minimum = 1, maximum = 90, default = 7)]
    days: Option<u32>,
    /// Only the account behind this upstream, by id or name.
    upstream: Option<String>,
}

/// What the provider billed beside what stands in the ledger. Amounts ending in `_pusd` are pico-dollars (10⁻¹² $) in
/// decimal strings, those in `_usd` the same in dollars without loss.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReconciliationView {
    /// From here on.
    from: Moment,
    /// Before this.
    until: Moment,
    /// Single calls are only kept from here on: what was billed for earlier days looks like a leak. `null`: all are.
    kept_from: Option<Moment>,
    /// What was billed for calls that did not come through Claviger.
    leaked_pusd: String,
    /// In dollars.
    leaked_usd: String,
    /// What no finding explains, on days that are closed.
    unexplained_pusd: String,
    /// In dollars.
    unexplained_usd: String,
    /// By account.
    accounts: Vec<AccountBooksView>,
}

/// One account of the provider.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountBooksView {
    /// The upstream.
    upstream: String,
    /// What was billed for calls that did not come through Claviger.
    leaked_pusd: String,
    /// What no finding explains, on days that are closed.
    unexplained_pusd: String,
    /// The account by UTC day: its cost report beside the ledger.
    days: Vec<AccountDayView>,
    /// By UTC day, key, model, tier, speed and geography; leaks first.
    findings: Vec<FindingView>,
}

/// One UTC day of an account.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountDayView {
    /// `YYYY-MM-DD`.
    day: String,
    /// The provider's report follows its traffic by some hours: what is not billed yet is no finding.
    open: bool,
    /// Its cost report, for tokens and searches.
    billed_pusd: String,
    /// Its cost report, for what no usage tells, such as the execution of code: not in the ledger.
    other_pusd: String,
    /// The ledger.
    booked_pusd: String,
    /// Billed for calls that did not come through Claviger.
    leaked_pusd: String,
    /// Billed beyond the ledger for a known reason: `estimated` or `unknown`.
    explained_pusd: String,
    /// Booked and not billed: `short`, `pending`, `estimated`, and reservations of `unknown` calls.
    missing_pusd: String,
    /// Billed on this day and booked on one beside it, less the reverse.
    moved_pusd: String,
    /// `billed - booked - leaked - explained - moved + missing`: zero when all is explained and priced alike.
    rest_pusd: String,
}

/// One kind of call with one of the provider's keys, on one UTC day.
#[derive(Debug, Serialize, ToSchema)]
pub struct FindingView {
    /// `YYYY-MM-DD`.
    day: String,
    /// `leak`, `short`, `unknown`, `estimated`, `pending`, `border` or `equal`.
    verdict: &'static str,
    /// `apikey_…`; `null`: used without a key, as in the provider's own console.
    api_key_id: Option<String>,
    /// Its name at the provider.
    name: String,
    /// Its two ends.
    hint: String,
    /// The names of the sealed credentials that hold it, or `unknown`.
    credential: String,
    /// The model.
    model: String,
    /// `batch` or `standard`.
    tier: &'static str,
    /// `fast` or `standard`.
    speed: &'static str,
    /// `us` or `global`.
    geography: &'static str,
    /// Calls in the ledger.
    requests: u64,
    /// Of those, with an estimated output.
    estimated_requests: u64,
    /// Of those, without a known end: booked at their reservation.
    unknown_requests: u64,
    /// What they cost by the ledger.
    booked_pusd: String,
    /// What the provider billed.
    billed: TokensView,
    /// What stands in the ledger.
    booked: TokensView,
    /// Billed beyond that.
    excess: TokensView,
    /// What the excess costs.
    excess_pusd: String,
    /// In dollars.
    excess_usd: String,
    /// What the provider did not bill costs.
    missing_pusd: String,
    /// The price depends on more than the provider's report tells: both amounts are a guess.
    guess: bool,
}

/// Tokens by class.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokensView {
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
}

impl From<UsageCounts> for TokensView {
    fn from(usage: UsageCounts) -> Self {
        Self {
            input_tokens: usage.input_tokens,
            cache_write_5m_tokens: usage.cache_write_5m_tokens,
            cache_write_1h_tokens: usage.cache_write_1h_tokens,
            cache_read_tokens: usage.cache_read_tokens,
            output_tokens: usage.output_tokens,
            web_search_requests: usage.web_search_requests,
        }
    }
}

fn date(day: i64) -> String {
    let midnight = Timestamp::from_micros(day.saturating_mul(MICROS_PER_DAY));
    midnight.to_rfc3339().chars().take_while(|c| *c != 'T').collect()
}

const fn word(is_so: bool, yes: &'static str, no: &'static str) -> &'static str {
    if is_so { yes } else { no }
}

impl AccountDayView {
    fn of((day, sum): (&i64, &AccountDay)) -> Self {
        Self {
            day: date(*day),
            open: sum.is_open,
            billed_pusd: sum.billed_cost.to_string(),
            other_pusd: sum.other_cost.to_string(),
            booked_pusd: sum.booked_cost.to_string(),
            leaked_pusd: sum.leak_cost.to_string(),
            explained_pusd: sum.explained_cost.to_string(),
            missing_pusd: sum.missing_cost.to_string(),
            moved_pusd: sum.moved_cost.to_string(),
            rest_pusd: sum.rest().to_string(),
        }
    }
}

impl FindingView {
    fn of(books: &Books, account: &AccountBooks, finding: &Finding) -> Self {
        let key = finding.api_key.as_ref().and_then(|id| account.keys.get(id));
        let names = finding.credentials.iter().filter_map(|id| books.credential_names.get(id));
        let names: Vec<&str> = names.map(String::as_str).collect();
        let text = |field: Option<&String>| field.cloned().unwrap_or_default();
        Self {
            day: date(finding.day),
            verdict: finding.verdict.as_str(),
            api_key_id: finding.api_key.clone(),
            name: text(key.map(|key| &key.name)),
            hint: text(key.map(|key| &key.hint)),
            credential: if names.is_empty() { "unknown".to_owned() } else { names.join(", ") },
            model: finding.lane.model.clone(),
            tier: word(finding.lane.batch, "batch", "standard"),
            speed: word(finding.lane.fast, "fast", "standard"),
            geography: word(finding.lane.us, "us", "global"),
            requests: finding.booked.requests,
            estimated_requests: finding.booked.estimated,
            unknown_requests: finding.booked.unknown,
            booked_pusd: finding.booked.cost.to_string(),
            billed: finding.billed.into(),
            booked: finding.booked.usage.into(),
            excess: finding.excess.into(),
            excess_pusd: finding.excess_cost.to_string(),
            excess_usd: usd_text(finding.excess_cost),
            missing_pusd: finding.missing_cost.to_string(),
            guess: finding.is_guess,
        }
    }
}

/// `GET /admin/v1/reconciliation`
pub async fn reconciliation(
    State(state): State<ControlState>,
    operator: Operator,
    Query(params): Query<ReconcileParams>,
) -> Result<Json<ReconciliationView>, Problem> {
    let wish = ReconcileWish { days: params.days, upstream: params.upstream };
    let prices = state.process.prices();
    let books = state.services.reconciler.ask(&wish, prices.as_ref(), &operator.caller).await?;
    let account = |account: &AccountBooks| AccountBooksView {
        upstream: account.upstream_name.clone(),
        leaked_pusd: account.result.leaked().to_string(),
        unexplained_pusd: account.result.unexplained().to_string(),
        days: account.result.days.iter().map(AccountDayView::of).collect(),
        findings: account.result.findings.iter().map(|f| FindingView::of(&books, account, f)).collect(),
    };
    let unexplained: i128 = books.accounts.iter().map(|account| account.result.unexplained()).sum();
    Ok(Json(ReconciliationView {
        from: Moment(books.from),
        until: Moment(books.until),
        kept_from: books.kept_from.map(Moment),
        leaked_pusd: books.leaked().to_string(),
        leaked_usd: usd_text(books.leaked()),
        unexplained_pusd: unexplained.to_string(),
        unexplained_usd: usd_text(unexplained),
        accounts: books.accounts.iter().map(account).collect(),
    }))
}
