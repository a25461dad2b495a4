//! The fake store's policies, rotations, deliveries and certificates.

use async_trait::async_trait;
use claviger_domain::{
    clock::Timestamp,
    id::{CertificateId, KeyId, RotationId, WorkspaceId},
    key::{KeyRecord, KeyState},
    policy::PolicyRecord,
    ports::{
        Change, StoreError,
        lifecycle::{
            CertificateFilter, CertificateRecord, LifePlace, LifecycleStore, OwnerCap, RotationFilter,
            UncertifiedKey,
        },
    },
    proof::Proofs,
    rotation::{RotationRecord, Succession},
    token::PublicId,
    wrapping::WrappingRecord,
};

use super::{FakeStore, conflict};
use crate::lock::lock;

#[derive(Default)]
pub(crate) struct LifecycleState {
    pub(crate) policies: Vec<PolicyRecord>,
    pub(crate) rotations: Vec<RotationRecord>,
    pub(crate) wrappings: Vec<WrappingRecord>,
    pub(crate) certificates: Vec<CertificateRecord>,
    /// Revoked keys without a certificate, with the numbers of their revocation in feed and audit log.
    pub(crate) uncertified: Vec<(KeyId, i64, i64)>,
}

macro_rules! put {
    ($list:expr, $row:expr, $what:literal) => {{
        let mut row = $row;
        let place = $list.iter_mut().find(|r| r.id == row.id && r.version == row.version);
        row.version += 1;
        *place.ok_or(conflict($what))? = row;
    }};
}

impl LifecycleState {
    /// The open rotation in which a key is the one that goes.
    pub(super) fn succession(&self, old: &KeyId) -> Option<Succession> {
        let found = self.rotations.iter().find(|r| r.old == *old && r.ended_at.is_none())?;
        Some(Succession { successor: found.successor.clone(), deadline: found.deadline() })
    }

    /// What a workspace's policy demands beside the key.
    pub(super) fn demanded(&self, workspace: &WorkspaceId) -> Proofs {
        self.policy_of(workspace).map_or(Proofs::NONE, |p| p.policy.require)
    }

    /// Whether a workspace's policy forbids the response cache.
    pub(super) fn forbids_cache(&self, workspace: &WorkspaceId) -> bool {
        self.policy_of(workspace).is_some_and(|p| p.policy.forbid_cache)
    }

    fn policy_of(&self, workspace: &WorkspaceId) -> Option<&PolicyRecord> {
        let own = self.policies.iter().find(|p| p.workspace.as_ref() == Some(workspace));
        own.or_else(|| self.policies.iter().find(|p| p.workspace.is_none()))
    }

    /// Revocations that were written and wait for their certificates.
    pub(super) fn expect(&mut self, revoked: Vec<KeyId>, seq: i64, audit_number: i64) {
        for key in revoked {
            let known = self.certificates.iter().any(|c| c.key == key)
                || self.uncertified.iter().any(|(id, ..)| *id == key);
            if !known {
                self.uncertified.push((key, seq, audit_number));
            }
        }
    }

    /// Writes what is of its kind; gives back what is not.
    pub(super) fn write(&mut self, keys: &[KeyRecord], change: Change) -> Result<Option<Change>, StoreError> {
        match change {
            Change::HoldOwnerCap(cap) => hold(keys, &cap)?,
            Change::PutPolicy(mut policy) => {
                let at = self.policies.iter().position(|p| p.workspace == policy.workspace);
                let found = at.map_or(0, |at| self.policies[at].version);
                if found != policy.version {
                    return Err(conflict("policy"));
                }
                policy.version += 1;
                self.policies.retain(|p| p.workspace != policy.workspace);
                self.policies.push(policy);
            }
            Change::DropPolicy(workspace, version) => {
                let is = |p: &PolicyRecord| p.workspace == workspace && p.version == version;
                if !self.policies.iter().any(is) {
                    return Err(conflict("policy"));
                }
                self.policies.retain(|p| !is(p));
            }
            Change::InsertRotation(rotation) => {
                let open = |r: &RotationRecord| r.ended_at.is_none() && r.old == rotation.old;
                if self.rotations.iter().any(open) {
                    return Err(conflict("open rotation of the key"));
                }
                self.rotations.push(*rotation);
            }
            Change::UpdateRotation(rotation) => put!(self.rotations, *rotation, "rotation"),
            Change::InsertWrapping(wrapping) => self.wrappings.push(*wrapping),
            Change::UpdateWrapping(wrapping) => put!(self.wrappings, *wrapping, "wrapping"),
            Change::InsertCertificate(certificate) => {
                if self.certificates.iter().any(|c| c.key == certificate.key) {
                    return Err(conflict("certificate of the key"));
                }
                self.uncertified.retain(|(key, ..)| *key != certificate.key);
                self.certificates.push(*certificate);
            }
            other => return Ok(Some(other)),
        }
        Ok(None)
    }
}

fn hold(keys: &[KeyRecord], cap: &OwnerCap) -> Result<(), StoreError> {
    let counts = |k: &&KeyRecord| {
        k.owner == cap.owner
            && k.workspace == cap.workspace
            && k.parent.is_none()
            && matches!(k.state, KeyState::Active | KeyState::Suspended)
            && k.expires_at.is_none_or(|at| at > cap.now)
    };
    let lines: std::collections::HashSet<&KeyId> = keys.iter().filter(counts).map(|k| &k.lineage).collect();
    let has = u32::try_from(lines.len()).unwrap_or(u32::MAX);
    if has > cap.max_keys {
        return Err(StoreError::OverCap { has: has - 1, allowed: cap.max_keys });
    }
    Ok(())
}

#[async_trait]
impl LifecycleStore for FakeStore {
    async fn policies(&self) -> Result<Vec<PolicyRecord>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).lifecycle.policies.clone())
    }

    async fn rotation(&self, id: &RotationId) -> Result<Option<RotationRecord>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).lifecycle.rotations.iter().find(|r| r.id == *id).cloned())
    }

    async fn rotations(&self, filter: &RotationFilter) -> Result<Vec<RotationRecord>, StoreError> {
        self.up()?;
        let wanted = |r: &&RotationRecord| {
            filter.key.as_ref().is_none_or(|k| *k == r.old || *k == r.successor)
                && filter.workspace.as_ref().is_none_or(|w| *w == r.workspace)
                && !(filter.open && r.ended_at.is_some())
        };
        let state = lock(&self.state);
        Ok(state.lifecycle.rotations.iter().filter(wanted).take(filter.limit as usize).cloned().collect())
    }

    async fn wrapping(&self, id: PublicId) -> Result<Option<WrappingRecord>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).lifecycle.wrappings.iter().find(|w| w.public_id == id).cloned())
    }

    async fn lapsed_wrappings(&self, now: Timestamp, limit: u32) -> Result<Vec<WrappingRecord>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let lapsed = |w: &&WrappingRecord| !w.sealed.is_empty() && w.expires_at <= now;
        Ok(state.lifecycle.wrappings.iter().filter(lapsed).take(limit as usize).cloned().collect())
    }

    async fn wrapping_of(&self, key: &KeyId) -> Result<Option<WrappingRecord>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).lifecycle.wrappings.iter().rev().find(|w| w.key == *key).cloned())
    }

    async fn certificate(&self, id: &CertificateId) -> Result<Option<CertificateRecord>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).lifecycle.certificates.iter().find(|c| c.id == *id).cloned())
    }

    async fn certificate_of(&self, key: &KeyId) -> Result<Option<CertificateRecord>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).lifecycle.certificates.iter().find(|c| c.key == *key).cloned())
    }

    async fn certificates(&self, filter: &CertificateFilter) -> Result<Vec<CertificateRecord>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        Ok(state.lifecycle.certificates.iter().rev().take(filter.limit as usize).cloned().collect())
    }

    async fn uncertified_keys(&self, limit: u32) -> Result<Vec<UncertifiedKey>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let waiting = state.lifecycle.uncertified.iter().filter_map(|(id, seq, audit_number)| {
            let key = state.keys.iter().find(|k| k.id == *id)?.clone();
            Some(UncertifiedKey { key, seq: *seq, audit_number: *audit_number })
        });
        Ok(waiting.take(limit as usize).collect())
    }

    async fn unexpired_keys(&self, after: &LifePlace, limit: u32) -> Result<Vec<KeyRecord>, StoreError> {
        self.up()?;
        let lives = |k: &&KeyRecord| k.revocation.is_none() && k.parent.is_none();
        let mut keys: Vec<KeyRecord> = lock(&self.state).keys.iter().filter(lives).cloned().collect();
        keys.retain(|k| match (after, k.expires_at) {
            (LifePlace::Ends(at, id), Some(end)) => (end, k.id.as_str()) > (*at, id.as_str()),
            (LifePlace::Endless(id), None) => k.id.as_str() > id.as_str(),
            (LifePlace::Ends(..), None) | (LifePlace::Endless(_), Some(_)) => false,
        });
        keys.sort_by(|a, b| (a.expires_at, a.id.as_str()).cmp(&(b.expires_at, b.id.as_str())));
        keys.truncate(limit as usize);
        Ok(keys)
    }

    async fn living_children(&self, parent: &KeyId, now: Timestamp) -> Result<Vec<KeyRecord>, StoreError> {
        let children = self.children(parent).await?.into_iter();
        let lives = |k: &KeyRecord| k.revocation.is_none() && k.expires_at.is_none_or(|at| at > now);
        Ok(children.filter(lives).collect())
    }

    async fn children(&self, parent: &KeyId) -> Result<Vec<KeyRecord>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        Ok(state.keys.iter().filter(|k| k.parent.as_ref() == Some(parent)).cloned().collect())
    }

    async fn lineage(&self, lineage: &KeyId) -> Result<Vec<KeyRecord>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).keys.iter().filter(|k| k.lineage == *lineage).cloned().collect())
    }
}
