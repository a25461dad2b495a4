//! Which step may follow which. Deciding is pure: a record and a verb go in, the changed record comes out.
//!
//! By what the key is at the moment (`already` = [`TransitionError::Already`], `–` = [`TransitionError::Illegal`]):
//!
//! A deprecated key is an active one here: see [`super::deprecation`].
//!
//! | verb    | pending   | active  | suspended | expired | revoked            | purged  |
//! |---------|-----------|---------|-----------|---------|--------------------|---------|
//! | suspend | suspended | suspended | already | –       | –                  | –       |
//! | resume  | already   | already | active or pending | – | –               | –       |
//! | update  | changed   | changed | changed   | –       | –                  | –       |
//! | revoke  | revoked   | revoked | revoked   | revoked | already, or sharper | –      |
//! | purge   | –         | –       | –         | purged  | purged             | already |
//!
//! Nothing leads out of expired, revoked and purged but to the right. Revoking a revoked key never forgets: the first
//! moment stays; the first reason stays, but COMPROMISED replaces every other and is replaced by none; a key that was
//! left to finish its calls may still be cut at once. What changes nothing is `already`.

use crate::{
    clock::Timestamp,
    key::{
        KeyRecord, KeyState, KeyStatus, Revocation, RevocationReason,
        patch::{KeyPatch, PatchError},
    },
    mac::KeyMac,
};

/// What can be done to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyVerb {
    /// Refuse it until it is resumed.
    Suspend,
    /// Let a suspended key work again.
    Resume,
    /// Change what an operator may change.
    Update(Box<KeyPatch>),
    /// Refuse it for ever.
    Revoke {
        /// Why.
        reason: RevocationReason,
        /// Whether calls in flight are cut at once rather than let finish.
        immediate: bool,
    },
    /// Forget its MAC; the tombstone stays.
    Purge,
}

impl KeyVerb {
    /// The verb as in commands and audit actions.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::Resume => "resume",
            Self::Update(_) => "update",
            Self::Revoke { .. } => "revoke",
            Self::Purge => "purge",
        }
    }
}

/// Why a step cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransitionError {
    /// The key already is what was asked for: nothing to write, and no harm in asking.
    #[error("the key is already {}", .0.as_str())]
    Already(KeyStatus),
    /// This never follows that.
    #[error("cannot {verb} a key that is {}", .from.as_str())]
    Illegal {
        /// What was asked.
        verb: &'static str,
        /// What the key is.
        from: KeyStatus,
    },
    /// The update is not a legal one.
    #[error(transparent)]
    Patch(#[from] PatchError),
}

/// Takes the step. The version stays the one that was read; the store raises it.
///
/// # Errors
/// [`TransitionError`] as in the table above.
pub fn decide(record: &KeyRecord, verb: &KeyVerb, now: Timestamp) -> Result<KeyRecord, TransitionError> {
    let from = record.status(now);
    let illegal = Err(TransitionError::Illegal { verb: verb.as_str(), from });
    match (verb, from) {
        (KeyVerb::Suspend, KeyStatus::Pending | KeyStatus::Active | KeyStatus::Deprecated) => {
            Ok(with_state(record, KeyState::Suspended))
        }
        (KeyVerb::Resume, KeyStatus::Suspended) => Ok(with_state(record, KeyState::Active)),
        (KeyVerb::Suspend, KeyStatus::Suspended)
        | (KeyVerb::Resume, KeyStatus::Pending | KeyStatus::Active | KeyStatus::Deprecated)
        | (KeyVerb::Purge, KeyStatus::Purged) => Err(TransitionError::Already(from)),
        (
            KeyVerb::Update(patch),
            KeyStatus::Pending | KeyStatus::Active | KeyStatus::Deprecated | KeyStatus::Suspended,
        ) => Ok(patch.apply_to(record, now)?),
        (
            KeyVerb::Revoke { reason, immediate },
            KeyStatus::Pending
            | KeyStatus::Active
            | KeyStatus::Deprecated
            | KeyStatus::Suspended
            | KeyStatus::Expired
            | KeyStatus::Revoked,
        ) => revoke(record, Revocation { at: now, reason: *reason, immediate: *immediate }),
        (KeyVerb::Purge, KeyStatus::Revoked | KeyStatus::Expired) => {
            Ok(KeyRecord { mac: KeyMac::from_bytes([0; 32]), ..with_state(record, KeyState::Purged) })
        }
        (KeyVerb::Suspend | KeyVerb::Resume, KeyStatus::Expired | KeyStatus::Revoked | KeyStatus::Purged)
        | (KeyVerb::Update(_), KeyStatus::Expired | KeyStatus::Revoked | KeyStatus::Purged)
        | (KeyVerb::Revoke { .. }, KeyStatus::Purged)
        | (
            KeyVerb::Purge,
            KeyStatus::Pending | KeyStatus::Active | KeyStatus::Deprecated | KeyStatus::Suspended,
        ) => illegal,
    }
}

fn with_state(record: &KeyRecord, state: KeyState) -> KeyRecord {
    KeyRecord { state, ..record.clone() }
}

fn revoke(record: &KeyRecord, asked: Revocation) -> Result<KeyRecord, TransitionError> {
    let revocation = match record.revocation {
        None => asked,
        Some(first) => Revocation {
            at: first.at,
            reason: if asked.reason == RevocationReason::Compromised { asked.reason } else { first.reason },
            immediate: first.immediate || asked.immediate,
        },
    };
    if record.revocation == Some(revocation) {
        return Err(TransitionError::Already(KeyStatus::Revoked));
    }
    Ok(KeyRecord { revocation: Some(revocation), ..with_state(record, KeyState::Revoked) })
}

#[cfg(test)]
mod tests;
