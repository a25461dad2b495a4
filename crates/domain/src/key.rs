//! A key's record and the life it may lead: `pending → active ⇄ suspended → deprecated → revoked | expired →
//! purged`. A record outlives its key: what was revoked, when and why stays known.

pub mod cache;
pub mod child;
pub mod deprecation;
pub mod hours;
pub mod patch;
pub mod transition;
pub mod widening;

use serde::{Deserialize, Serialize};

use crate::{
    address::CidrList,
    binding::CertificateBindings,
    clock::Timestamp,
    id::{KeyId, OwnerId, WorkspaceId},
    key::{
        cache::CacheTtl,
        deprecation::{Deprecation, DeprecationStage},
        hours::HoursOfWeek,
    },
    limit::Limits,
    mac::{KeyMac, PepperVersion},
    permission::Permissions,
    proof::Proofs,
    token::{KeyClass, PublicId},
};

/// The state that is stored. Whether a key is pending or expired follows from its times and is never written
/// by a clock: see [`KeyRecord::status`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// May be used within its times.
    Active,
    /// Refused until it is resumed.
    Suspended,
    /// Refused for ever.
    Revoked,
    /// Its MAC is gone; the tombstone stays.
    Purged,
}

impl KeyState {
    /// Whether it is not ended for ever.
    #[must_use]
    pub const fn is_living(self) -> bool {
        match self {
            Self::Active | Self::Suspended => true,
            Self::Revoked | Self::Purged => false,
        }
    }

    /// As stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
            Self::Purged => "purged",
        }
    }

    /// The reverse of [`KeyState::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Suspended, Self::Revoked, Self::Purged].into_iter().find(|s| s.as_str() == text)
    }
}

/// What a key is at a given moment, as shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    /// Its not-before time has not come.
    Pending,
    /// Works.
    Active,
    /// Works, but on its way out: see [`KeyRecord::deprecation`].
    Deprecated,
    /// Suspended by an operator.
    Suspended,
    /// Revoked.
    Revoked,
    /// Past its expiry.
    Expired,
    /// Purged.
    Purged,
}

impl KeyStatus {
    /// As printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Deprecated => "deprecated",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Purged => "purged",
        }
    }
}

/// Why a key was revoked (row V1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RevocationReason {
    /// It ran out.
    Expired,
    /// Somebody else has it. Terminal: nothing ever leads back to such a key.
    Compromised,
    /// Replaced by a successor.
    Rotation,
    /// Its owner asked.
    UserRequest,
    /// A policy demanded it.
    SecurityPolicy,
}

impl RevocationReason {
    const ALL: [Self; 5] =
        [Self::Expired, Self::Compromised, Self::Rotation, Self::UserRequest, Self::SecurityPolicy];

    /// As written in flags, JSON and the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "EXPIRED",
            Self::Compromised => "COMPROMISED",
            Self::Rotation => "ROTATION",
            Self::UserRequest => "USER_REQUEST",
            Self::SecurityPolicy => "SECURITY_POLICY",
        }
    }

    /// The reverse of [`RevocationReason::as_str`], in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str().eq_ignore_ascii_case(text))
    }
}

/// That and why a key was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: RevocationReason,
    /// Whether calls in flight were cut at once rather than let finish.
    pub immediate: bool,
}

/// What happens upstream when the client goes away in the middle of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDisconnect {
    /// The call is cancelled: what was produced so far is billed.
    #[default]
    Cancel,
    /// The answer is read to its end, so that usage is exact.
    Drain,
}

impl OnDisconnect {
    /// As stored and printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Drain => "drain",
        }
    }

    /// The reverse of [`OnDisconnect::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Cancel, Self::Drain].into_iter().find(|d| d.as_str() == text)
    }
}

/// What an operator decides about a key. Stored as one JSON document, so that a new rule is a field and not a
/// migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyPolicy {
    /// Models, endpoints, scopes.
    pub permissions: Permissions,
    /// Where it may be used from; empty: anywhere.
    pub allow_ip: CidrList,
    /// Rates, quotas and concurrency.
    pub limits: Limits,
    /// How often it may be used in its whole life; `None`: as often as the limits admit.
    pub max_uses: Option<u64>,
    /// When in the week it may be used; `None`: always.
    pub hours: Option<HoursOfWeek>,
    /// What a client that goes away causes.
    pub on_disconnect: OnDisconnect,
    /// How old an answer out of the response cache may be; `None`: it is given none, and none of its is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheTtl>,
    /// What must be shown beside the key.
    pub require: Proofs,
    /// The client certificates that it may be used with; none: it is bound to none.
    pub bind_mtls: CertificateBindings,
}

impl Default for KeyPolicy {
    fn default() -> Self {
        Self {
            permissions: Permissions::default(),
            allow_ip: CidrList::default(),
            limits: Limits::USUAL,
            max_uses: None,
            hours: None,
            on_disconnect: OnDisconnect::default(),
            cache: None,
            require: Proofs::default(),
            bind_mtls: CertificateBindings::default(),
        }
    }
}

/// All that is known of a key (row K2), but for the key itself, which nobody keeps.
#[derive(Debug, Clone)]
pub struct KeyRecord {
    /// `key_` + public id.
    pub id: KeyId,
    /// The public part of the token.
    pub public_id: PublicId,
    /// Live or test.
    pub class: KeyClass,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub owner: OwnerId,
    /// Where it belongs.
    pub workspace: WorkspaceId,
    /// The stored MAC; all zeros once purged.
    pub mac: KeyMac,
    /// The pepper of the MAC.
    pub pepper_version: PepperVersion,
    /// What may be shown of the key.
    pub hint: String,
    /// The stored state.
    pub state: KeyState,
    /// What it may do.
    pub policy: KeyPolicy,
    /// When it was made.
    pub created_at: Timestamp,
    /// It does not work before.
    pub not_before: Option<Timestamp>,
    /// It does not work from then on; `None`: never expires.
    pub expires_at: Option<Timestamp>,
    /// Set once revoked.
    pub revocation: Option<Revocation>,
    /// The key that this one succeeded.
    pub rotated_from: Option<KeyId>,
    /// The first key of the line of successors that this one stands in: its own id for a key that succeeded none.
    pub lineage: KeyId,
    /// The key that minted this one for a process; it dies with it.
    pub parent: Option<KeyId>,
    /// Set once the key walks down the ladder.
    pub deprecation: Option<Deprecation>,
    /// Row version, for optimistic locking.
    pub version: i64,
}

impl KeyRecord {
    /// What the key is at `now`. Revocation weighs more than expiry, expiry more than suspension.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> KeyStatus {
        match self.state {
            KeyState::Purged => KeyStatus::Purged,
            KeyState::Revoked => KeyStatus::Revoked,
            KeyState::Active | KeyState::Suspended if self.expires_at.is_some_and(|t| t <= now) => {
                KeyStatus::Expired
            }
            KeyState::Suspended => KeyStatus::Suspended,
            KeyState::Active if self.not_before.is_some_and(|t| now < t) => KeyStatus::Pending,
            KeyState::Active if self.deprecation.is_some() => KeyStatus::Deprecated,
            KeyState::Active => KeyStatus::Active,
        }
    }

    /// The limits that hold now: half of those that were set, once the ladder has lowered them.
    #[must_use]
    pub fn limits_in_force(&self) -> Limits {
        let limits = self.policy.limits;
        if self.deprecation.is_some_and(|d| d.stage.lowers_limits()) { limits.halved() } else { limits }
    }

    /// Whether the ladder has come to where the key is refused.
    #[must_use]
    pub fn is_refused_by_deprecation(&self) -> bool {
        self.deprecation.is_some_and(|d| d.stage == DeprecationStage::Refused)
    }
}

/// How much a key was used; kept apart from its record because it changes with every request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct KeyUse {
    /// Requests sent upstream in its whole life.
    pub uses: u64,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
    /// From which address.
    pub last_used_ip: Option<String>,
    /// By which program.
    pub last_user_agent: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_the_store_read_back() {
        for state in [KeyState::Active, KeyState::Suspended, KeyState::Revoked, KeyState::Purged] {
            assert_eq!(KeyState::parse(state.as_str()), Some(state));
        }
        for reason in RevocationReason::ALL {
            assert_eq!(RevocationReason::parse(&reason.as_str().to_lowercase()), Some(reason));
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
        for way in [OnDisconnect::Cancel, OnDisconnect::Drain] {
            assert_eq!(OnDisconnect::parse(way.as_str()), Some(way));
        }
        assert_eq!((KeyState::parse("expired"), RevocationReason::parse("BORED")), (None, None));
    }

    #[test]
    fn a_policy_without_fields_is_the_default_and_reads_back() {
        let policy: KeyPolicy = serde_json::from_str("{}").unwrap();
        assert_eq!(policy, KeyPolicy::default());
        assert_eq!((policy.limits.rpm, policy.limits.rpd), (Some(60), Some(10_000)));
        let full = KeyPolicy { hours: Some(HoursOfWeek::parse("Mon 08-18 UTC").unwrap()), ..policy };
        let json = serde_json::to_string(&full).unwrap();
        assert_eq!(serde_json::from_str::<KeyPolicy>(&json).unwrap(), full);
    }
}
