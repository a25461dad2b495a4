//! What a workspace demands of its keys (row K4), judged in one place for every way in which a key can be made or
//! changed.

use serde::{Deserialize, Serialize};

use crate::{
    clock::{MICROS_PER_DAY, Timestamp},
    id::WorkspaceId,
    key::{KeyRecord, KeyUse},
    proof::{Proof, Proofs},
    tenancy::{Environment, HandOver},
    token::KeyClass,
};

/// The longest period that can be asked for, in days.
const MAX_DAYS: u32 = 3_660;
/// The most live keys an owner can be allowed.
const MAX_KEYS: u32 = 1_000_000;
/// The most thresholds of notice.
const MAX_NOTICES: usize = 16;

/// The demands. Every number can be set; the defaults are those of the product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Live keys that one owner may have in the workspace. A key and its successor count once; child keys do not
    /// count.
    pub max_keys: u32,
    /// Every key needs a list of addresses.
    pub require_ip: bool,
    /// Making a key needs a second factor, whoever makes it and by whichever door.
    pub require_mfa: bool,
    /// A key that is older is due for rotation, in days.
    pub rotation_days: u32,
    /// A key that was not used for so long, counted over its line of predecessors, is revoked, in days; `None`: never.
    pub revoke_unused_days: Option<u32>,
    /// How many days before its expiry a key's owner is told, the largest first.
    pub notice_days: Vec<u32>,
    /// What must be shown beside every key: a token, a signature …
    #[serde(skip_serializing_if = "is_nothing")]
    pub require: Proofs,
    /// No key may be given answers out of the response cache, and none of theirs is kept there.
    #[serde(skip_serializing_if = "is_off")]
    pub forbid_cache: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            max_keys: 5,
            require_ip: false,
            require_mfa: false,
            rotation_days: 90,
            revoke_unused_days: Some(180),
            notice_days: vec![14, 7, 3, 1],
            require: Proofs::NONE,
            forbid_cache: false,
        }
    }
}

/// A workspace's policy as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRecord {
    /// The workspace; `None`: the default for all that have none of their own.
    pub workspace: Option<WorkspaceId>,
    /// The demands.
    pub policy: Policy,
    /// When it was last set.
    pub updated_at: Timestamp,
    /// Row version, for optimistic locking.
    pub version: i64,
}

/// A policy that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct PolicyError {
    /// The field.
    pub field: &'static str,
    /// What would be right.
    pub why: &'static str,
}

/// A rule that a key breaks or would break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Too many live keys of one owner.
    MaxKeys,
    /// No list of addresses.
    RequireIp,
    /// Made without a second factor.
    RequireMfa,
    /// Does not demand what the policy demands.
    Require,
    /// Handed over in a weaker way than the workspace's environment demands.
    HandOver,
    /// Asks for the response cache where that is forbidden.
    ForbidCache,
    /// Due for rotation.
    RotationDays,
    /// Not used for too long.
    RevokeUnusedDays,
}

impl Rule {
    /// The policy's field.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MaxKeys => "max_keys",
            Self::RequireIp => "require_ip",
            Self::RequireMfa => "require_mfa",
            Self::Require => "require",
            Self::HandOver => "hand_over",
            Self::ForbidCache => "forbid_cache",
            Self::RotationDays => "rotation_days",
            Self::RevokeUnusedDays => "revoke_unused_days",
        }
    }
}

/// Why a key may not be made or changed so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The owner has as many keys as the policy allows.
    #[error(
        "the owner has {has} live keys in this workspace and its policy allows {allowed}: revoke one, or raise the \
         limit with `claviger policy set --max-keys N`"
    )]
    MaxKeys {
        /// How many there are.
        has: u32,
        /// How many there may be.
        allowed: u32,
    },
    /// No list of addresses.
    #[error("the workspace's policy demands a list of addresses: give one with `--allow-ip`")]
    RequireIp,
    /// No second factor.
    #[error(
        "the workspace's policy demands a second factor for making keys: log in with one, or give `--totp`"
    )]
    RequireMfa,
    /// It demands less than the policy.
    #[error("the workspace's policy demands more to be shown beside the key: give `--require {}`", words(.0))]
    Require(Proofs),
    /// It would be shown.
    #[error(
        "keys of a {} workspace are never shown: hand it over wrapped (`--wrapped`), or let programs buy short-lived \
         keys by their identity (`claviger trust`)",
        .0.as_str()
    )]
    HandOver(Environment),
    /// It asks for the response cache.
    #[error("the workspace's policy forbids the response cache: give `--cache off`")]
    ForbidCache,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
const fn is_off(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
const fn is_nothing(proofs: &Proofs) -> bool {
    proofs.is_empty()
}

fn words(proofs: &Proofs) -> String {
    proofs.iter().map(Proof::as_str).collect::<Vec<_>>().join(",")
}

impl Violation {
    /// The rule that is broken.
    #[must_use]
    pub const fn rule(&self) -> Rule {
        match self {
            Self::MaxKeys { .. } => Rule::MaxKeys,
            Self::RequireIp => Rule::RequireIp,
            Self::RequireMfa => Rule::RequireMfa,
            Self::Require(_) => Rule::Require,
            Self::HandOver(_) => Rule::HandOver,
            Self::ForbidCache => Rule::ForbidCache,
        }
    }
}

/// A rule that a living key breaks, what that means, and when it has consequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Breach {
    /// The rule.
    pub rule: Rule,
    /// What will happen to the key.
    pub consequence: Consequence,
    /// When; `None`: nothing happens by itself.
    pub at: Option<Timestamp>,
}

/// What a broken rule leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consequence {
    /// It goes on as it is and is named in reports; no change that keeps the breach is accepted.
    Reported,
    /// Its owner is told to rotate it.
    RotationDue,
    /// It is revoked.
    Revoked,
}

impl Consequence {
    /// As printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::RotationDue => "rotation_due",
            Self::Revoked => "revoked",
        }
    }
}

/// How a key is being made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Making {
    /// Whether a fresh second factor was proved for it.
    pub has_second_factor: bool,
    /// How it is handed over.
    pub way: HandOver,
    /// The class of its workspace.
    pub environment: Environment,
}

impl Policy {
    /// Whether the numbers fit together.
    ///
    /// # Errors
    /// [`PolicyError`] names the field.
    pub fn check(&self) -> Result<(), PolicyError> {
        let error = |field, why| Err(PolicyError { field, why });
        if !(1..=MAX_KEYS).contains(&self.max_keys) {
            return error("max_keys", "expected 1 to 1000000");
        }
        if !(1..=MAX_DAYS).contains(&self.rotation_days) {
            return error("rotation_days", "expected 1 to 3660");
        }
        if self.revoke_unused_days.is_some_and(|days| !(1..=MAX_DAYS).contains(&days)) {
            return error("revoke_unused_days", "expected 1 to 3660, or 0 for never");
        }
        if self.notice_days.len() > MAX_NOTICES {
            return error("notice_days", "expected at most 16 thresholds");
        }
        if !self.notice_days.iter().all(|days| (1..=MAX_DAYS).contains(days)) {
            return error("notice_days", "expected days from 1 to 3660");
        }
        if !self.notice_days.is_sorted_by(|a, b| a > b) {
            return error("notice_days", "expected the largest first, each once, such as 14,7,3,1");
        }
        Ok(())
    }

    /// Whether a key may be made. How many keys its owner has is compared in the store, in the same transaction.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn check_new(&self, key: &KeyRecord, making: Making) -> Result<(), Violation> {
        if self.require_mfa && !making.has_second_factor {
            return Err(Violation::RequireMfa);
        }
        // What the simulator answers opens nothing else, wherever it lies.
        if key.class == KeyClass::Live && !making.environment.allows(making.way) {
            return Err(Violation::HandOver(making.environment));
        }
        self.check_addresses(key)?;
        self.check_cache(key)?;
        self.check_proofs(key)
    }

    /// Whether a key may be changed so. What the key broke before, it may go on breaking only if the change does not
    /// touch it.
    ///
    /// # Errors
    /// The first [`Violation`].
    pub fn check_change(&self, before: &KeyRecord, after: &KeyRecord) -> Result<(), Violation> {
        if before.policy.allow_ip != after.policy.allow_ip {
            self.check_addresses(after)?;
        }
        if before.policy.cache != after.policy.cache {
            self.check_cache(after)?;
        }
        if before.policy.require == after.policy.require { Ok(()) } else { self.check_proofs(after) }
    }

    /// A child demands what its parent does.
    fn check_proofs(&self, key: &KeyRecord) -> Result<(), Violation> {
        let lacks = !self.require.without(key.policy.require).is_empty() && key.parent.is_none();
        if lacks { Err(Violation::Require(self.require)) } else { Ok(()) }
    }

    const fn check_cache(&self, key: &KeyRecord) -> Result<(), Violation> {
        if self.forbid_cache && key.policy.cache.is_some() { Err(Violation::ForbidCache) } else { Ok(()) }
    }

    fn check_addresses(&self, key: &KeyRecord) -> Result<(), Violation> {
        // A child is within its parent's addresses already.
        let missing = self.require_ip && key.policy.allow_ip.is_empty() && key.parent.is_none();
        if missing { Err(Violation::RequireIp) } else { Ok(()) }
    }

    /// Which rules a living key breaks, and what follows. `last_used` is the last use of any key in its line.
    #[must_use]
    pub fn breaches(&self, key: &KeyRecord, last_used: Option<Timestamp>, now: Timestamp) -> Vec<Breach> {
        let mut breaches = Vec::new();
        if key.parent.is_some() {
            return breaches;
        }
        if self.check_addresses(key).is_err() {
            breaches.push(Breach { rule: Rule::RequireIp, consequence: Consequence::Reported, at: None });
        }
        if self.check_proofs(key).is_err() {
            breaches.push(Breach { rule: Rule::Require, consequence: Consequence::Reported, at: None });
        }
        if self.check_cache(key).is_err() {
            breaches.push(Breach { rule: Rule::ForbidCache, consequence: Consequence::Reported, at: None });
        }
        let due = after_days(key.created_at, self.rotation_days);
        if due <= now {
            breaches.push(Breach {
                rule: Rule::RotationDays,
                consequence: Consequence::RotationDue,
                at: Some(due),
            });
        }
        if let Some(at) = self.unused_until(key, last_used).filter(|at| *at <= now) {
            breaches.push(Breach {
                rule: Rule::RevokeUnusedDays,
                consequence: Consequence::Revoked,
                at: Some(at),
            });
        }
        breaches
    }

    /// When a key counts as unused and is revoked; counted from the last use in its line, or from when it began to
    /// work.
    #[must_use]
    pub fn unused_until(&self, key: &KeyRecord, last_used: Option<Timestamp>) -> Option<Timestamp> {
        let begun = key.not_before.unwrap_or(key.created_at).max(key.created_at);
        let since = last_used.map_or(begun, |used| used.max(begun));
        self.revoke_unused_days.map(|days| after_days(since, days))
    }

    /// The threshold of notice that a key has reached: the smallest that is not below what is left. After a downtime
    /// only the nearest one is told.
    #[must_use]
    pub fn notice_due(&self, key: &KeyRecord, now: Timestamp) -> Option<u32> {
        let left = key.expires_at?.micros_since(now);
        if left <= 0 {
            return None;
        }
        self.notice_days.iter().copied().filter(|days| left <= i64::from(*days) * MICROS_PER_DAY).min()
    }

    /// Whether this demands less than `before` anywhere: a second person must agree to that.
    #[must_use]
    pub fn loosens(&self, before: &Self) -> bool {
        let unused = |policy: &Self| policy.revoke_unused_days.unwrap_or(u32::MAX);
        self.max_keys > before.max_keys
            || (before.require_ip && !self.require_ip)
            || (before.require_mfa && !self.require_mfa)
            || (before.forbid_cache && !self.forbid_cache)
            || !before.require.without(self.require).is_empty()
            || self.rotation_days > before.rotation_days
            || unused(self) > unused(before)
            || !before.notice_days.iter().all(|days| self.notice_days.contains(days))
    }
}

/// The last use of any key in a line.
#[must_use]
pub fn last_use_of_line<'a>(uses: impl IntoIterator<Item = &'a KeyUse>) -> Option<Timestamp> {
    uses.into_iter().filter_map(|used| used.last_used_at).max()
}

fn after_days(from: Timestamp, days: u32) -> Timestamp {
    from.plus_micros(i64::from(days).saturating_mul(MICROS_PER_DAY))
}

#[cfg(test)]
mod tests;
