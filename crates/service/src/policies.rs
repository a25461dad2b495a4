//! What workspaces demand of their keys: kept, shown, and enforced in one place for every way in which a key can be
//! made or changed.

mod report;

use std::{collections::HashMap, sync::Arc};

use claviger_domain::{
    audit::AuditEvent,
    clock::{Clock, Timestamp},
    id::WorkspaceId,
    key::KeyRecord,
    policy::{Making, Policy, PolicyError, PolicyRecord},
    ports::{Change, Store, lifecycle::OwnerCap},
    proof::Proofs,
    tenancy::HandOver,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{Caller, ServiceError, digests, grants::Grants, tenants::Tenants};

pub use report::{BreachReport, BrokenRule, MOST_SHOWN};

/// What to change of a policy: `None` leaves a demand as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyPatch {
    /// Live keys of one owner.
    pub max_keys: Option<u32>,
    /// Whether every key needs a list of addresses.
    pub require_ip: Option<bool>,
    /// Whether making a key needs a second factor.
    pub require_mfa: Option<bool>,
    /// When a key is due for rotation, in days.
    pub rotation_days: Option<u32>,
    /// When an unused key is revoked, in days; `Some(0)`: never.
    pub revoke_unused_days: Option<u32>,
    /// How many days before its expiry a key's owner is told.
    pub notice_days: Option<Vec<u32>>,
    /// What must be shown beside every key.
    pub require: Option<Proofs>,
    /// Whether the response cache is forbidden.
    pub forbid_cache: Option<bool>,
}

impl PolicyPatch {
    /// The policy with these changes.
    #[must_use]
    pub fn onto(&self, policy: &Policy) -> Policy {
        Policy {
            max_keys: self.max_keys.unwrap_or(policy.max_keys),
            require_ip: self.require_ip.unwrap_or(policy.require_ip),
            require_mfa: self.require_mfa.unwrap_or(policy.require_mfa),
            rotation_days: self.rotation_days.unwrap_or(policy.rotation_days),
            revoke_unused_days: match self.revoke_unused_days {
                None => policy.revoke_unused_days,
                Some(days) => (days > 0).then_some(days),
            },
            notice_days: self.notice_days.clone().unwrap_or_else(|| policy.notice_days.clone()),
            require: self.require.unwrap_or(policy.require),
            forbid_cache: self.forbid_cache.unwrap_or(policy.forbid_cache),
        }
    }
}

/// The policies of all workspaces, as they were read.
#[derive(Debug, Clone, Default)]
pub struct PolicyBook {
    default: Option<PolicyRecord>,
    own: HashMap<WorkspaceId, PolicyRecord>,
    built_in: Policy,
}

impl PolicyBook {
    fn of(records: Vec<PolicyRecord>) -> Self {
        let mut book = Self::default();
        for record in records {
            match record.workspace.clone() {
                Some(workspace) => drop(book.own.insert(workspace, record)),
                None => book.default = Some(record),
            }
        }
        book
    }

    /// The record that is in force for a workspace: its own, else the default; `None`: what is built in.
    #[must_use]
    pub fn record(&self, workspace: Option<&WorkspaceId>) -> Option<&PolicyRecord> {
        workspace.and_then(|id| self.own.get(id)).or(self.default.as_ref())
    }

    /// What holds in a workspace.
    #[must_use]
    pub fn of_workspace(&self, workspace: &WorkspaceId) -> &Policy {
        self.record(Some(workspace)).map_or(&self.built_in, |record| &record.policy)
    }

    /// The workspace's own record, or the default one's.
    fn own(&self, workspace: Option<&WorkspaceId>) -> Option<&PolicyRecord> {
        match workspace {
            Some(id) => self.own.get(id),
            None => self.default.as_ref(),
        }
    }

    fn demands(&self, workspace: Option<&WorkspaceId>) -> Policy {
        self.record(workspace).map_or_else(Policy::default, |record| record.policy.clone())
    }
}

/// Where a policy that is in force comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicySource {
    /// The workspace has its own.
    Workspace,
    /// The default that was set.
    Default,
    /// Nothing was set.
    BuiltIn,
}

impl PolicySource {
    /// As printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Workspace => "workspace",
            Self::Default => "default",
            Self::BuiltIn => "built_in",
        }
    }
}

/// A policy as it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyInForce {
    /// For which workspace; `None`: for all that have none of their own.
    pub workspace: Option<WorkspaceId>,
    /// Where it comes from.
    pub source: PolicySource,
    /// The demands.
    pub policy: Policy,
    /// When it was last set; `None`: it never was.
    pub updated_at: Option<Timestamp>,
    /// The row's version; 0: there is none of its own.
    pub version: i64,
}

/// Policies. Cheap to clone.
#[derive(Clone)]
pub struct Policies {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    tenants: Tenants,
    grants: Grants,
}

impl Policies {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        tenants: Tenants,
        grants: Grants,
    ) -> Self {
        Self { store, clock, tenants, grants }
    }

    /// All policies at once, for whoever goes through many keys.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn book(&self) -> Result<PolicyBook, ServiceError> {
        Ok(PolicyBook::of(self.store.policies().await?))
    }

    /// What holds in a workspace: its own policy, else the default one, else what is built in.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn in_force(&self, workspace: &WorkspaceId) -> Result<Policy, ServiceError> {
        Ok(self.book().await?.demands(Some(workspace)))
    }

    /// What holds in a workspace (by id or name), and where it comes from; `None`: the default.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn show(&self, workspace: Option<&str>) -> Result<PolicyInForce, ServiceError> {
        let workspace = self.workspace(workspace).await?;
        Ok(shown(&self.book().await?, workspace))
    }

    /// Policies that were set: the default first, then those of workspaces.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn list(&self) -> Result<Vec<PolicyInForce>, ServiceError> {
        let records = self.store.policies().await?;
        let set = |r: &PolicyRecord| r.workspace.clone();
        let of: Vec<Option<WorkspaceId>> = records.iter().map(set).collect();
        let book = PolicyBook::of(records);
        Ok(of.into_iter().map(|workspace| shown(&book, workspace)).collect())
    }

    /// Sets a policy, and says which living keys break it now.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] names the demand; [`ServiceError::Stale`]; [`ServiceError::Conflict`] when somebody
    /// else set it meanwhile.
    pub async fn set(
        &self,
        workspace: Option<&str>,
        patch: &PolicyPatch,
        expected_version: Option<i64>,
        caller: &Caller,
    ) -> Result<(PolicyInForce, BreachReport), ServiceError> {
        let workspace = self.workspace(workspace).await?;
        let book = self.book().await?;
        let before = book.demands(workspace.as_ref());
        let version = expect(&book, workspace.as_ref(), expected_version)?;
        let policy = patch.onto(&before);
        policy.check().map_err(refused)?;
        let now = self.clock.now();
        let record = PolicyRecord { workspace: workspace.clone(), policy, updated_at: now, version };
        let event = event(caller, now, "policy.set", workspace.as_ref())
            .with("loosens", record.policy.loosens(&before))
            .with("policy", as_json(&record.policy));
        let event = digests::with(event, Some(&as_json(&before)), Some(&as_json(&record.policy)));
        let applied = self.store.apply(vec![Change::PutPolicy(record)], event).await?;
        self.took_effect(workspace.as_ref(), applied.seq);
        let book = self.book().await?;
        let report = report::make(self.store.as_ref(), &book, workspace.as_ref(), now).await?;
        Ok((shown(&book, workspace), report))
    }

    /// Drops a policy: the workspace has the default one then, all others what is built in.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] when none was set; [`ServiceError::Stale`].
    pub async fn drop_policy(
        &self,
        workspace: Option<&str>,
        expected_version: Option<i64>,
        caller: &Caller,
    ) -> Result<(PolicyInForce, BreachReport), ServiceError> {
        let workspace = self.workspace(workspace).await?;
        let book = self.book().await?;
        let version = expect(&book, workspace.as_ref(), expected_version)?;
        if version == 0 {
            return Err(ServiceError::not_found("policy", name(workspace.as_ref())));
        }
        let now = self.clock.now();
        let event = event(caller, now, "policy.drop", workspace.as_ref());
        let event = digests::with(event, Some(&as_json(&book.demands(workspace.as_ref()))), None);
        let applied = self.store.apply(vec![Change::DropPolicy(workspace.clone(), version)], event).await?;
        self.took_effect(workspace.as_ref(), applied.seq);
        let book = self.book().await?;
        let report = report::make(self.store.as_ref(), &book, workspace.as_ref(), now).await?;
        Ok((shown(&book, workspace), report))
    }

    /// Whether setting this would demand less anywhere than what is in force: that takes a second person.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn would_loosen(
        &self,
        workspace: Option<&str>,
        patch: &PolicyPatch,
    ) -> Result<bool, ServiceError> {
        let workspace = self.workspace(workspace).await?;
        let before = self.book().await?.demands(workspace.as_ref());
        Ok(patch.onto(&before).loosens(&before))
    }

    /// What it demands of requests holds on this node before the answer is there, on others as soon as they learn of it.
    fn took_effect(&self, workspace: Option<&WorkspaceId>, seq: i64) {
        match workspace {
            Some(workspace) => self.grants.workspace_changed(workspace, seq),
            None => self.grants.policy_changed(seq),
        }
    }

    async fn workspace(&self, id_or_name: Option<&str>) -> Result<Option<WorkspaceId>, ServiceError> {
        match id_or_name {
            None => Ok(None),
            Some(wanted) => Ok(Some(self.tenants.workspace(wanted).await?.id)),
        }
    }
}

// === enforcement: THE place where a key that is made or changed meets its workspace's policy ===

impl Policies {
    /// Judges a key that is about to be made by an operator. What is given back goes into the same [`Store::apply`],
    /// after the key's insertion: there the owner's keys are counted.
    ///
    /// # Errors
    /// [`ServiceError::Policy`] names the rule.
    pub(crate) async fn check_new(
        &self,
        key: &KeyRecord,
        way: HandOver,
        caller: &Caller,
    ) -> Result<Change, ServiceError> {
        let policy = self.in_force(&key.workspace).await?;
        let environment = self.tenants.workspace(key.workspace.as_str()).await?.environment;
        let has_second_factor = caller.has_second_factor;
        policy.check_new(key, Making { has_second_factor, way, environment })?;
        Ok(cap(key, &policy, key.created_at))
    }

    /// Judges a change of a key. What is given back goes into the same [`Store::apply`]: a key that was not counted
    /// before may be living again.
    ///
    /// # Errors
    /// [`ServiceError::Policy`] names the rule.
    pub(crate) async fn check_change(
        &self,
        before: &KeyRecord,
        after: &KeyRecord,
    ) -> Result<(), ServiceError> {
        Ok(self.in_force(&after.workspace).await?.check_change(before, after)?)
    }
}

fn cap(key: &KeyRecord, policy: &Policy, now: Timestamp) -> Change {
    Change::HoldOwnerCap(OwnerCap {
        owner: key.owner.clone(),
        workspace: key.workspace.clone(),
        max_keys: policy.max_keys,
        now,
    })
}

fn shown(book: &PolicyBook, workspace: Option<WorkspaceId>) -> PolicyInForce {
    let record = book.record(workspace.as_ref());
    let source = match record {
        None => PolicySource::BuiltIn,
        Some(PolicyRecord { workspace: None, .. }) => PolicySource::Default,
        Some(PolicyRecord { workspace: Some(_), .. }) => PolicySource::Workspace,
    };
    PolicyInForce {
        source,
        policy: book.demands(workspace.as_ref()),
        updated_at: record.map(|r| r.updated_at),
        version: book.own(workspace.as_ref()).map_or(0, |r| r.version),
        workspace,
    }
}

/// The version to write over: 0 when there is none of its own yet.
fn expect(
    book: &PolicyBook,
    workspace: Option<&WorkspaceId>,
    expected: Option<i64>,
) -> Result<i64, ServiceError> {
    let version = book.own(workspace).map_or(0, |record| record.version);
    match expected {
        Some(expected) if expected != version => Err(ServiceError::Stale { what: "policy", version }),
        Some(_) | None => Ok(version),
    }
}

fn refused(error: PolicyError) -> ServiceError {
    ServiceError::invalid(error.field, error.why)
}

fn event(caller: &Caller, now: Timestamp, action: &str, workspace: Option<&WorkspaceId>) -> AuditEvent {
    caller.event(now, action, name(workspace))
}

fn name(workspace: Option<&WorkspaceId>) -> &str {
    workspace.map_or("default", WorkspaceId::as_str)
}

fn as_json(policy: &Policy) -> Value {
    serde_json::to_value(policy).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests;
