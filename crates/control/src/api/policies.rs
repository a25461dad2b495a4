//! Operations on what workspaces demand of their keys.

use axum::{Json, extract::State};
use claviger_domain::proof::Proofs;
use claviger_service::policies::{BreachReport, BrokenRule, PolicyInForce, PolicyPatch};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{page::Page, time::Moment};
use crate::{
    answer::{One, Versioned},
    extract::{Body, IfMatch, Operator, Paging, Query},
    problem::Problem,
    state::ControlState,
};

/// What a workspace demands of its keys.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PolicyView {
    /// The workspace; `null`: all that have no policy of their own.
    pub workspace: Option<String>,
    /// Where it comes from: `workspace`, `default`, `built_in`.
    pub source: String,
    /// Live keys that one owner may have in the workspace.
    pub max_keys: u32,
    /// Every key needs a list of addresses.
    pub require_ip: bool,
    /// Making a key needs a second factor.
    pub require_mfa: bool,
    /// When a key is due for rotation, in days.
    pub rotation_days: u32,
    /// When an unused key is revoked, in days; `null`: never.
    pub revoke_unused_days: Option<u32>,
    /// How many days before its expiry a key's owner is told.
    pub notice_days: Vec<u32>,
    /// What must be shown beside every key: `token`, `signature`, `mtls`, `dpop`.
    #[serde(default)]
    pub require: Vec<String>,
    /// No key may be given answers out of the response cache.
    #[serde(default)]
    pub forbid_cache: bool,
    /// When it was last set.
    pub updated_at: Option<Moment>,
    /// Row version, for `If-Match`; 0: it has no row of its own.
    pub version: i64,
    /// Which living keys break it: in the answer to a change.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub breaches: Option<BreachesView>,
}

impl Versioned for PolicyView {
    fn version(&self) -> i64 {
        self.version
    }
}

/// Living keys that break a policy.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BreachesView {
    /// How many living keys were held against it.
    pub examined: u64,
    /// How many breaches there are.
    pub total: u64,
    /// The first hundred.
    pub first: Vec<BreachView>,
}

/// One rule that one key breaks.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BreachView {
    /// The key.
    pub key: String,
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// Its workspace.
    pub workspace: String,
    /// The rule: `max_keys`, `require_ip`, `rotation_days`, `revoke_unused_days` …
    pub rule: String,
    /// What will happen to it: `reported`, `rotation_due`, `revoked`.
    pub consequence: String,
    /// When; `null`: nothing happens by itself.
    pub at: Option<Moment>,
}

impl From<PolicyInForce> for PolicyView {
    fn from(shown: PolicyInForce) -> Self {
        let PolicyInForce { workspace, source, policy, updated_at, version } = shown;
        Self {
            workspace: workspace.map(|id| id.to_string()),
            source: source.as_str().to_owned(),
            max_keys: policy.max_keys,
            require_ip: policy.require_ip,
            require_mfa: policy.require_mfa,
            rotation_days: policy.rotation_days,
            revoke_unused_days: policy.revoke_unused_days,
            notice_days: policy.notice_days,
            require: policy.require.into(),
            forbid_cache: policy.forbid_cache,
            updated_at: updated_at.map(Moment),
            version,
            breaches: None,
        }
    }
}

impl From<BrokenRule> for BreachView {
    fn from(broken: BrokenRule) -> Self {
        Self {
            key: broken.key.to_string(),
            name: broken.name,
            owner: broken.owner.to_string(),
            workspace: broken.workspace.to_string(),
            rule: broken.breach.rule.as_str().to_owned(),
            consequence: broken.breach.consequence.as_str().to_owned(),
            at: broken.breach.at.map(Moment),
        }
    }
}

fn answer((shown, report): (PolicyInForce, BreachReport)) -> One<PolicyView> {
    let first = report.first.into_iter().map(BreachView::from).collect();
    let breaches = BreachesView { examined: report.examined, total: report.total, first };
    One(PolicyView { breaches: Some(breaches), ..shown.into() })
}

/// Whose policy.
#[derive(Debug, Deserialize, IntoParams)]
pub struct WhosePolicy {
    /// The workspace, by id or name; absent: the default for all that have none of their own.
    workspace: Option<String>,
}

/// Body of `PATCH /admin/v1/policy`: what is absent stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SetPolicy {
    /// The workspace, by id or name; absent: the default for all that have none of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// Live keys that one owner may have in the workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_keys: Option<u32>,
    /// Every key needs a list of addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_ip: Option<bool>,
    /// Making a key needs a second factor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_mfa: Option<bool>,
    /// When a key is due for rotation, in days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation_days: Option<u32>,
    /// When an unused key is revoked, in days; 0: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoke_unused_days: Option<u32>,
    /// How many days before its expiry a key's owner is told, the largest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice_days: Option<Vec<u32>>,
    /// What must be shown beside every key: `token`, `signature`, `mtls`, `dpop`; empty: nothing. It holds for every
    /// key of the workspace at once, made before or after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require: Option<Vec<String>>,
    /// No key may be given answers out of the response cache. It holds for every key of the workspace at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forbid_cache: Option<bool>,
}

impl SetPolicy {
    /// What is to change.
    ///
    /// # Errors
    /// A problem that names the field.
    pub fn patch(&self) -> Result<PolicyPatch, Problem> {
        let require = self.require.as_deref().map(proofs).transpose()?;
        Ok(PolicyPatch {
            max_keys: self.max_keys,
            require_ip: self.require_ip,
            require_mfa: self.require_mfa,
            rotation_days: self.rotation_days,
            revoke_unused_days: self.revoke_unused_days,
            notice_days: self.notice_days.clone(),
            require,
            forbid_cache: self.forbid_cache,
        })
    }
}

fn proofs(words: &[String]) -> Result<Proofs, Problem> {
    let read = Proofs::parse(words.iter().map(String::as_str));
    read.map_err(|e| Problem::invalid("require", e.to_string()))
}

/// `GET /admin/v1/policy`
pub async fn show(
    State(state): State<ControlState>,
    _operator: Operator,
    Query(whose): Query<WhosePolicy>,
) -> Result<One<PolicyView>, Problem> {
    Ok(One(state.services.policies.show(whose.workspace.as_deref()).await?.into()))
}

/// `GET /admin/v1/policies`
pub async fn list(
    State(state): State<ControlState>,
    operator: Operator,
    paging: Paging,
) -> Result<Json<Page<PolicyView>>, Problem> {
    let mut rows = state.services.policies.list().await?;
    // Operators of one workspace see theirs, and the default that holds there too.
    rows.retain(|row| row.workspace.is_none() || operator.identity.sees(row.workspace.as_ref()));
    let cursor = |row: &PolicyInForce| {
        row.workspace.as_ref().map_or_else(|| "default".to_owned(), ToString::to_string)
    };
    Page::cut(rows, &paging, cursor).map(Json)
}

/// `PATCH /admin/v1/policy`
pub async fn set(
    State(state): State<ControlState>,
    operator: Operator,
    IfMatch(version): IfMatch,
    Body(body): Body<SetPolicy>,
) -> Result<One<PolicyView>, Problem> {
    let policies = &state.services.policies;
    let set = policies.set(body.workspace.as_deref(), &body.patch()?, version, &operator.caller).await?;
    Ok(answer(set))
}

/// `DELETE /admin/v1/policy`
pub async fn drop_policy(
    State(state): State<ControlState>,
    operator: Operator,
    IfMatch(version): IfMatch,
    Query(whose): Query<WhosePolicy>,
) -> Result<One<PolicyView>, Problem> {
    let policies = &state.services.policies;
    Ok(answer(policies.drop_policy(whose.workspace.as_deref(), version, &operator.caller).await?))
}
