//! The grant: all that the hot path needs to know of a key, and the checks that a request must pass.

use std::net::IpAddr;

use crate::{
    clock::Timestamp,
    key::{KeyRecord, KeyStatus},
    limit::Limits,
    permission::{Access, Endpoint},
    proof::Proofs,
    rotation::Succession,
    signature::Signers,
};

/// A key's record as the data plane holds it, with what of its surroundings decides.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The record.
    pub key: KeyRecord,
    /// The workspace was archived: nothing in it works.
    pub workspace_archived: bool,
    /// The limits of all keys of its owner together.
    pub owner_limits: Limits,
    /// The limits of all keys of its workspace together.
    pub workspace_limits: Limits,
    /// The open rotation in which the key is the one that goes.
    pub succession: Option<Succession>,
    /// What the workspace's policy demands to be shown beside the key.
    pub demanded: Proofs,
    /// The workspace's policy keeps its keys from the response cache.
    pub forbids_cache: bool,
    /// What the key's signatures are verified with.
    pub signers: Signers,
    /// The feed number up to which this grant is known to be true. An older grant never replaces a newer one.
    pub as_of: i64,
}

/// Why a caller who presented something like a key is not one. Strangers see one answer for all of them; metrics
/// and the audit log see the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum AuthFailure {
    /// No key at all.
    #[error("no key")]
    Missing,
    /// Both headers, with different values.
    #[error("two different keys")]
    Conflicting,
    /// Not a well-formed token of ours.
    #[error("malformed key")]
    Malformed,
    /// Well-formed, but there is no such key.
    #[error("unknown key")]
    Unknown,
    /// The id is known; the secret is wrong.
    #[error("wrong secret")]
    WrongSecret,
    /// Its time has not come.
    #[error("key is not valid yet")]
    Pending,
    /// Suspended.
    #[error("key is suspended")]
    Suspended,
    /// Revoked or purged.
    #[error("key is revoked")]
    Revoked,
    /// Past its expiry.
    #[error("key is expired")]
    Expired,
    /// So far down the ladder that it is refused.
    #[error("key is deprecated and refused")]
    Deprecated,
    /// Its workspace was archived.
    #[error("workspace is archived")]
    WorkspaceArchived,
}

impl AuthFailure {
    /// The label in metrics and audit records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Conflicting => "conflicting",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::WrongSecret => "wrong_secret",
            Self::Pending => "pending",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Deprecated => "deprecated",
            Self::WorkspaceArchived => "workspace_archived",
        }
    }
}

/// Why a known caller may not do this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Not from this address, as seen by us.
    #[error("this key may not be used from {0}")]
    Address(IpAddr),
    /// Not at this hour of the week.
    #[error("this key may not be used at this time")]
    Hours,
    /// Not this endpoint, or not in this way.
    #[error("this key may not use `{}` ({})", .0.as_str(), if matches!(.1, Access::Read) { "read" } else { "write" })]
    Endpoint(Endpoint, Access),
}

impl Grant {
    /// Whether the key works at all at `now`.
    ///
    /// # Errors
    /// The [`AuthFailure`] that says why not.
    pub fn check_state(&self, now: Timestamp) -> Result<(), AuthFailure> {
        match self.key.status(now) {
            KeyStatus::Active | KeyStatus::Deprecated if self.workspace_archived => {
                Err(AuthFailure::WorkspaceArchived)
            }
            KeyStatus::Deprecated if self.key.is_refused_by_deprecation() => Err(AuthFailure::Deprecated),
            KeyStatus::Active | KeyStatus::Deprecated => Ok(()),
            KeyStatus::Pending => Err(AuthFailure::Pending),
            KeyStatus::Suspended => Err(AuthFailure::Suspended),
            KeyStatus::Revoked | KeyStatus::Purged => Err(AuthFailure::Revoked),
            KeyStatus::Expired => Err(AuthFailure::Expired),
        }
    }

    /// Whether the key may be used from this address, now, for this.
    ///
    /// # Errors
    /// The first [`Forbidden`] in the order address, hours, endpoint.
    pub fn check_use(
        &self,
        ip: IpAddr,
        now: Timestamp,
        endpoint: Endpoint,
        access: Access,
    ) -> Result<(), Forbidden> {
        self.check_place(ip, now)?;
        if !self.key.policy.permissions.allows(endpoint, access) {
            return Err(Forbidden::Endpoint(endpoint, access));
        }
        Ok(())
    }

    /// Whether the key may be used from this address, now, for anything at all.
    ///
    /// # Errors
    /// [`Forbidden::Address`], [`Forbidden::Hours`].
    pub fn check_place(&self, ip: IpAddr, now: Timestamp) -> Result<(), Forbidden> {
        let policy = &self.key.policy;
        if !policy.allow_ip.is_empty() && !policy.allow_ip.contains(ip) {
            return Err(Forbidden::Address(ip));
        }
        if policy.hours.as_ref().is_some_and(|h| !h.contains(now)) {
            return Err(Forbidden::Hours);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        address::CidrList,
        id::{KeyId, OwnerId, WorkspaceId},
        key::{KeyPolicy, KeyState, hours::HoursOfWeek},
        mac::{KeyMac, PepperVersion},
        permission::Scopes,
        token::{KeyClass, PublicId},
    };

    /// A Monday, 12:00 UTC.
    const NOW: Timestamp = Timestamp::from_secs(1_772_452_800);
    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn grant() -> Grant {
        let key = KeyRecord {
            id: KeyId::parse("key_0123456789").unwrap(),
            public_id: PublicId::parse("0123456789").unwrap(),
            class: KeyClass::Live,
            name: "build".into(),
            owner: OwnerId::parse("own_a").unwrap(),
            workspace: WorkspaceId::parse("ws_a").unwrap(),
            mac: KeyMac::from_bytes([7; 32]),
            pepper_version: PepperVersion(1),
            hint: String::new(),
            state: KeyState::Active,
            policy: KeyPolicy::default(),
            created_at: NOW,
            not_before: Some(NOW),
            expires_at: Some(NOW.plus_micros(10)),
            revocation: None,
            rotated_from: None,
            lineage: KeyId::parse("key_0123456789").unwrap(),
            parent: None,
            deprecation: None,
            version: 1,
        };
        let (demanded, signers) = (Proofs::NONE, Signers::default());
        let (owner_limits, workspace_limits) = (Limits::NONE, Limits::NONE);
        let (workspace_archived, succession, forbids_cache) = (false, None, false);
        Grant {
            key,
            workspace_archived,
            owner_limits,
            workspace_limits,
            succession,
            demanded,
            forbids_cache,
            signers,
            as_of: 1,
        }
    }

    #[test]
    fn a_key_works_from_its_first_microsecond_to_the_one_before_its_expiry() {
        let check = |us| grant().check_state(NOW.plus_micros(us));
        assert_eq!(check(-1), Err(AuthFailure::Pending));
        assert_eq!((check(0), check(9)), (Ok(()), Ok(())));
        assert_eq!(check(10), Err(AuthFailure::Expired));
    }

    #[test]
    fn every_state_that_does_not_work_is_refused_with_its_reason() {
        let check = |change: fn(&mut Grant)| {
            let mut grant = grant();
            change(&mut grant);
            grant.check_state(NOW)
        };
        assert_eq!(check(|g| g.key.state = KeyState::Suspended), Err(AuthFailure::Suspended));
        assert_eq!(check(|g| g.key.state = KeyState::Revoked), Err(AuthFailure::Revoked));
        assert_eq!(check(|g| g.key.state = KeyState::Purged), Err(AuthFailure::Revoked));
        assert_eq!(check(|g| g.workspace_archived = true), Err(AuthFailure::WorkspaceArchived));
    }

    #[test]
    fn address_hours_and_endpoint_are_each_enough_to_refuse() {
        let check = |change: fn(&mut KeyPolicy)| {
            let mut grant = grant();
            change(&mut grant.key.policy);
            grant.check_use(HOME, NOW, Endpoint::Files, Access::Write)
        };
        assert_eq!(check(|_| ()), Ok(()));
        assert_eq!(check(|p| p.allow_ip = CidrList::parse(&["127.0.0.0/8"]).unwrap()), Ok(()));
        assert_eq!(
            check(|p| p.allow_ip = CidrList::parse(&["10.0.0.0/8"]).unwrap()),
            Err(Forbidden::Address(HOME))
        );
        assert_eq!(check(|p| p.hours = Some(HoursOfWeek::parse("Mon 12-13 UTC").unwrap())), Ok(()));
        assert_eq!(
            check(|p| p.hours = Some(HoursOfWeek::parse("Tue 12-13 UTC").unwrap())),
            Err(Forbidden::Hours)
        );
        let denied = Forbidden::Endpoint(Endpoint::Files, Access::Write);
        assert_eq!(check(|p| p.permissions.endpoints = vec![Endpoint::Messages]), Err(denied));
        assert_eq!(check(|p| p.permissions.scopes = Scopes::parse(&["read"]).unwrap()), Err(denied));
        insta::assert_snapshot!(denied, @"this key may not use `files` (write)");
    }
}
