//! What a step writes: the changed rotation and the changed keys, together in one transaction.

use super::{Hold, RotationRecord, RotationState, Step};
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
    // Whatever goes on is held no more.
    let changed = |state| RotationRecord { state, hold: None, ..rotation.clone() };
    let taken = match step {
        Step::Wait(_) => return None,
        Step::Deliver => {
            let rotation = RotationRecord { delivered_at: Some(now), ..changed(RotationState::Delivered) };
            late(rotation, old, now)
        }
        Step::Activate => {
            let delivered_at = rotation.delivered_at.or(Some(now));
            let changed = changed(RotationState::Overlapping);
            let rotation = RotationRecord { delivered_at, activated_at: Some(now), ..changed };
            late(rotation, old, now)
        }
        Step::Hold(why) => {
            let rotation = RotationRecord { hold: Some(Hold { why, since: now }), ..rotation.clone() };
            Taken { rotation, old: None, successor: None }
        }
        Step::Release => Taken { rotation: changed(rotation.state), old: None, successor: None },
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

/// Who adopts a successor when the overlap is over has as long as was agreed from then on. The old key's row is then
/// written unchanged, so that its callers hear of it.
fn late(rotation: RotationRecord, old: &KeyRecord, now: Timestamp) -> Taken {
    if now < rotation.deadline() {
        return Taken { rotation, old: None, successor: None };
    }
    let extended_to = Some(rotation.deadline_from(now, old));
    Taken { rotation: RotationRecord { extended_to, ..rotation }, old: Some(old.clone()), successor: None }
}

/// The rotation once its successor waits in a new wrapping. The overlap begins anew; what has ended stays ended.
/// [`super::check_redeliver`] comes first.
#[must_use]
pub fn redelivered(rotation: &RotationRecord, old: &KeyRecord, now: Timestamp) -> RotationRecord {
    if !rotation.state.is_open() {
        return rotation.clone();
    }
    let extended_to = Some(rotation.deadline_from(now, old).max(rotation.deadline()));
    let state = RotationState::Created;
    RotationRecord { state, delivered_at: None, hold: None, extended_to, ..rotation.clone() }
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
        rotation: RotationRecord { state, ended_at: Some(now), hold: None, ..rotation.clone() },
        old: old.deprecation.is_some().then_some(restored),
        successor,
    }
}

/// `None` when it is dead already.
fn revoked(key: &KeyRecord, now: Timestamp) -> Option<KeyRecord> {
    decide_key(key, &KeyVerb::Revoke { reason: RevocationReason::Rotation, immediate: false }, now).ok()
}
