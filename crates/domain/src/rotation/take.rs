//! What a step writes: the changed rotation and the changed keys, together in one transaction.

use super::{RotationRecord, RotationState, Step};
use crate::{
    clock::Timestamp,
    key::{
        KeyRecord, RevocationReason,
        deprecation::Deprecation,
        transition::{KeyVerb, decide as decide_key},
    },
};

/// The rows that change. Versions are those that were read; the store raises them.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The rotation.
    pub rotation: RotationRecord,
    /// The old key, if it changes.
    pub old: Option<KeyRecord>,
    /// The successor, if it changes.
    pub successor: Option<KeyRecord>,
}

/// Takes a step; `None` for waiting.
#[must_use]
pub fn take(rotation: &RotationRecord, old: &KeyRecord, step: Step, now: Timestamp) -> Option<Taken> {
    let changed = |state| RotationRecord { state, ..rotation.clone() };
    let taken = match step {
        Step::Wait(_) => return None,
        Step::Deliver => {
            let rotation = RotationRecord { delivered_at: Some(now), ..changed(RotationState::Delivered) };
            Taken { rotation, old: None, successor: None }
        }
        Step::Activate => {
            let delivered_at = rotation.delivered_at.or(Some(now));
            let changed = changed(RotationState::Overlapping);
            let rotation = RotationRecord { delivered_at, activated_at: Some(now), ..changed };
            Taken { rotation, old: None, successor: None }
        }
        Step::Retire => {
            let rotation = RotationRecord { retiring_at: Some(now), ..changed(RotationState::Retiring) };
            let deprecation = old.deprecation.or(Some(Deprecation::begin(now)));
            Taken { rotation, old: Some(KeyRecord { deprecation, ..old.clone() }), successor: None }
        }
        Step::Rung(stage) => {
            let deprecation = old.deprecation.map(|d| d.stepped(stage, now));
            let old = KeyRecord { deprecation, ..old.clone() };
            Taken { rotation: changed(RotationState::Retiring), old: Some(old), successor: None }
        }
        Step::Finish => Taken {
            rotation: RotationRecord { ended_at: Some(now), ..changed(RotationState::Finished) },
            old: revoked(old, now),
            successor: None,
        },
        Step::Close => {
            let rotation = RotationRecord { ended_at: Some(now), ..changed(RotationState::Finished) };
            Taken { rotation, old: None, successor: None }
        }
        Step::Abandon => {
            let state = match rotation.state {
                RotationState::Created | RotationState::Delivered => RotationState::Cancelled,
                RotationState::Overlapping
                | RotationState::Retiring
                | RotationState::Finished
                | RotationState::Cancelled
                | RotationState::RolledBack => RotationState::RolledBack,
            };
            ended(rotation, old, None, state, now)
        }
    };
    Some(taken)
}

/// Gives a rotation up: the successor dies, the old key goes on. [`super::check_cancel`] comes first.
#[must_use]
pub fn cancel(rotation: &RotationRecord, old: &KeyRecord, successor: &KeyRecord, now: Timestamp) -> Taken {
    ended(rotation, old, revoked(successor, now), RotationState::Cancelled, now)
}

/// Goes back to the old key: the successor dies, the ladder is forgotten. [`super::check_rollback`] comes first.
#[must_use]
pub fn roll_back(rotation: &RotationRecord, old: &KeyRecord, successor: &KeyRecord, now: Timestamp) -> Taken {
    ended(rotation, old, revoked(successor, now), RotationState::RolledBack, now)
}

fn ended(
    rotation: &RotationRecord,
    old: &KeyRecord,
    successor: Option<KeyRecord>,
    state: RotationState,
    now: Timestamp,
) -> Taken {
    let restored = KeyRecord { deprecation: None, ..old.clone() };
    Taken {
        rotation: RotationRecord { state, ended_at: Some(now), ..rotation.clone() },
        old: old.deprecation.is_some().then_some(restored),
        successor,
    }
}

/// `None` when it is dead already.
fn revoked(key: &KeyRecord, now: Timestamp) -> Option<KeyRecord> {
    decide_key(key, &KeyVerb::Revoke { reason: RevocationReason::Rotation, immediate: false }, now).ok()
}
