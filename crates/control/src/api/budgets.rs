//! Operations on budgets.

use axum::{Json, extract::State};
use claviger_domain::{
    budget::{BudgetMode, BudgetSubject, Period, Standing},
    id::KeyId,
    money::{PicoUsd, usd_text},
};
use claviger_service::budgets::BudgetWish;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{page::Page, time::Moment};
use crate::{
    answer::{One, Versioned},
    extract::{Body, IfMatch, Operator, Paging, Query},
    problem::Problem,
    state::ControlState,
};

/// How a budget stands. Amounts are pico-dollars (10⁻¹² $) in decimal strings.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BudgetView {
    /// Its id.
    pub id: String,
    /// `key`, `owner`, `workspace` or `all`.
    pub subject: String,
    /// The owner's or workspace's id; of a key, the first of its line; empty: all.
    pub subject_id: String,
    /// `day`, `week`, `month` or `life`.
    pub period: String,
    /// The time zone in which its periods begin.
    pub tz: String,
    /// Whether calls beyond it are refused.
    pub hard: bool,
    /// `strict` or `expected`.
    pub mode: String,
    /// The ceiling of one period.
    pub limit_pusd: String,
    /// The same in dollars.
    pub limit_usd: String,
    /// What calls have cost in this period.
    pub settled_pusd: String,
    /// What calls in flight, and batches that are not billed yet, hold back.
    pub reserved_pusd: String,
    /// What is left.
    pub left_pusd: String,
    /// By how much the limit can be passed by the calls that are in flight now; `0` in strict mode.
    pub overshoot_bound_pusd: String,
    /// When this period began.
    pub period_began_at: Moment,
    /// When the next period begins; `null`: never.
    pub resets_at: Option<Moment>,
    /// The account of prepaid credit whose ceiling it is; `null`: it was set by hand.
    #[serde(default)]
    pub credit_account: Option<String>,
    /// Row version, for `If-Match`.
    pub version: i64,
}

impl Versioned for BudgetView {
    fn version(&self) -> i64 {
        self.version
    }
}

impl From<Standing> for BudgetView {
    fn from(standing: Standing) -> Self {
        let Standing { record, window, settled, reserved, left, overshoot_bound } = standing;
        Self {
            id: record.id.to_string(),
            subject: record.subject.kind().to_owned(),
            subject_id: record.subject.id().to_owned(),
            period: record.calendar.period().as_str().to_owned(),
            tz: record.calendar.zone().to_owned(),
            hard: record.hard,
            mode: record.mode.as_str().to_owned(),
            limit_pusd: record.limit.to_string(),
            limit_usd: usd_text(i128::from(record.limit.as_pico())),
            settled_pusd: settled.to_string(),
            reserved_pusd: reserved.to_string(),
            left_pusd: left.to_string(),
            overshoot_bound_pusd: overshoot_bound.to_string(),
            period_began_at: Moment(window.start),
            resets_at: window.end.map(Moment),
            credit_account: record.credit.as_ref().map(ToString::to_string),
            version: record.version,
        }
    }
}

/// Whose budget: exactly one of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(default)]
pub struct WhoseBudget {
    /// A key, by id; its children, and those that it is rotated to, count against it, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// All keys of an owner, by id or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// All keys of a workspace, by id or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// Everything that goes through this installation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// `day`, `week`, `month` or `life`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per: Option<String>,
}

/// Body of `PUT /admin/v1/budgets`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SetBudget {
    /// A key, by id; its children, and those that it is rotated to, count against it, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// All keys of an owner, by id or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// All keys of a workspace, by id or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// Everything that goes through this installation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// `day`, `week`, `month` or `life`.
    pub per: String,
    /// The ceiling in dollars, a plain decimal such as `12.50`.
    pub usd: String,
    /// An IANA time zone in which periods begin; absent: as it is, or UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tz: Option<String>,
    /// Tell, but refuse nobody.
    pub soft: bool,
    /// `strict` (default): the limit is never passed; `expected`: by a printed bound at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

fn invalid(field: &'static str, why: impl Into<String>) -> Problem {
    claviger_service::ServiceError::Invalid { field, why: why.into() }.into()
}

fn period(text: &str) -> Result<Period, Problem> {
    Period::parse(text).ok_or_else(|| invalid("per", "expected day, week, month or life"))
}

/// The one subject that is named.
pub(super) async fn subject(state: &ControlState, whose: &WhoseBudget) -> Result<BudgetSubject, Problem> {
    let tenants = &state.services.tenants;
    match (&whose.key, &whose.owner, &whose.workspace, whose.all) {
        (Some(key), None, None, None | Some(false)) => {
            let id = KeyId::parse(key).map_err(|error| invalid("key", error.to_string()))?;
            Ok(BudgetSubject::Key(state.services.keys.show(&id).await?.0.lineage))
        }
        (None, Some(owner), None, None | Some(false)) => {
            Ok(BudgetSubject::Owner(tenants.owner(owner).await?.id))
        }
        (None, None, Some(workspace), None | Some(false)) => {
            Ok(BudgetSubject::Workspace(tenants.workspace(workspace).await?.id))
        }
        (None, None, None, Some(true)) => Ok(BudgetSubject::All),
        _ => Err(invalid("key", "name exactly one of key, owner, workspace and all")),
    }
}

/// `GET /admin/v1/budgets`
pub async fn list(
    State(state): State<ControlState>,
    _operator: Operator,
    Query(whose): Query<WhoseBudget>,
    paging: Paging,
) -> Result<Json<Page<BudgetView>>, Problem> {
    let named = [&whose.key, &whose.owner, &whose.workspace].iter().any(|given| given.is_some());
    let wanted = match named || whose.all == Some(true) {
        true => Some(subject(&state, &whose).await?),
        false => None,
    };
    let per = whose.per.as_deref().map(period).transpose()?;
    let mut rows = state.services.budgets.standings_of_all(wanted.as_ref()).await?;
    rows.retain(|standing| per.is_none_or(|per| standing.record.calendar.period() == per));
    Page::cut(rows, &paging, |standing| standing.record.id.to_string()).map(Json)
}

/// `PUT /admin/v1/budgets`
pub async fn set(
    State(state): State<ControlState>,
    operator: Operator,
    IfMatch(version): IfMatch,
    Body(body): Body<SetBudget>,
) -> Result<One<BudgetView>, Problem> {
    let wish = wish(&state, body).await?;
    Ok(One(state.services.budgets.set(wish, version, &operator.caller).await?.into()))
}

/// What the body asks for.
pub(crate) async fn wish(state: &ControlState, body: SetBudget) -> Result<BudgetWish, Problem> {
    let SetBudget { key, owner, workspace, all, per, usd, tz, soft, mode } = body;
    let whose = WhoseBudget { key, owner, workspace, all, per: None };
    let mode = match mode.as_deref() {
        None => BudgetMode::Strict,
        Some(text) => {
            BudgetMode::parse(text).ok_or_else(|| invalid("mode", "expected strict or expected"))?
        }
    };
    Ok(BudgetWish {
        subject: subject(state, &whose).await?,
        period: period(&per)?,
        zone: tz,
        limit: PicoUsd::from_usd(&usd).map_err(|error| invalid("usd", error.to_string()))?,
        hard: !soft,
        mode,
    })
}

/// A budget that binds nobody any more.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DroppedBudget {
    /// Its id.
    pub id: String,
    /// When it was dropped.
    pub dropped_at: Option<Moment>,
}

/// `DELETE /admin/v1/budgets`
pub async fn drop_budget(
    State(state): State<ControlState>,
    operator: Operator,
    IfMatch(version): IfMatch,
    Query(whose): Query<WhoseBudget>,
) -> Result<Json<DroppedBudget>, Problem> {
    let per = whose.per.as_deref().ok_or_else(|| invalid("per", "name the period of the budget"))?;
    let (subject, period) = (subject(&state, &whose).await?, period(per)?);
    let dropped = state.services.budgets.remove(&subject, period, version, &operator.caller).await?;
    Ok(Json(DroppedBudget { id: dropped.id.to_string(), dropped_at: dropped.dropped_at.map(Moment) }))
}
