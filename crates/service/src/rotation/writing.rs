//! Writing one step of a rotation: rotation, keys, what ends with them, notices and audit record together.

use claviger_domain::{
    audit::AuditEvent,
    clock::Timestamp,
    key::KeyRecord,
    notice::{About, Notice, RotationStep},
    ports::{Change, StoreError},
    rotation::{RotationRecord, RotationState, Taken},
};

use super::{Rotations, StepError, canonical, step_of};
use crate::{ServiceError, dependants, digests, ending::Ending};

/// A step to be written.
pub(super) struct Write<'a> {
    pub(super) before: &'a RotationRecord,
    pub(super) old: &'a KeyRecord,
    pub(super) taken: Taken,
    pub(super) event: AuditEvent,
    /// The lease under which it is taken; `None`: by somebody's order.
    pub(super) hold: Option<Change>,
}

impl Rotations {
    /// Writes one step, or nothing.
    pub(super) async fn write(&self, write: Write<'_>) -> Result<(), StepError> {
        let Write { before, old, taken, mut event, hold } = write;
        let deps = &*self.0;
        let after = &taken.rotation;
        let ends_without = matches!(after.state, RotationState::Cancelled | RotationState::RolledBack);
        // The old key's users hear no more of a successor, so its row is written even when nothing in it changes.
        let old_row = taken.old.clone().or_else(|| ends_without.then(|| old.clone()));
        let mut changes: Vec<Change> = hold.into_iter().collect();
        changes.push(Change::UpdateRotation(Box::new(after.clone())));
        if ends_without && taken.successor.is_none() {
            changes.extend(deps.wrappings.withdraw(&before.successor).await?);
        }
        changes.extend(self.notices(before, old, &taken)?);
        let (mut rows, mut endings) = (Vec::new(), Vec::new());
        for row in old_row.into_iter().chain(taken.successor.clone()) {
            if row.revocation.is_none() {
                changes.push(Change::UpdateKey(Box::new(row.clone())));
                rows.push(row);
                continue;
            }
            let mut ending = self.ending(row, event.at).await?;
            changes.extend(ending.take_changes());
            event = ending.noted(event);
            endings.push(ending);
        }
        let event = digests::with(event, Some(&canonical(before)), Some(&canonical(after)))
            .with("state", after.state.as_str());
        let applied = match deps.store.apply(changes, event).await {
            Ok(applied) => applied,
            Err(StoreError::Conflict { .. }) => return Err(StepError::Overtaken),
            Err(error) => return Err(StepError::Service(error.into())),
        };
        for row in rows {
            deps.grants.key_outdated(&row.id, applied.seq);
        }
        for ending in endings {
            deps.endings.written(ending, &applied);
            deps.certificates.soon();
        }
        Ok(())
    }

    /// What ends with a key that a step revokes.
    async fn ending(&self, key: KeyRecord, now: Timestamp) -> Result<Ending, ServiceError> {
        let deps = &*self.0;
        let revocation = key.revocation.ok_or_else(|| ServiceError::conflict("key", "it is not revoked"))?;
        let found = dependants::find(deps.store.as_ref(), deps.ledger.as_ref(), &key).await?;
        deps.endings.of(key, revocation, &found.words(), now).await
    }

    /// What people are told of a step.
    fn notices(
        &self,
        before: &RotationRecord,
        old: &KeyRecord,
        taken: &Taken,
    ) -> Result<Vec<Change>, ServiceError> {
        let mut notices = Vec::new();
        let after = &taken.rotation;
        if before.state != after.state {
            notices.push(self.notice(after, old, step_of(after.state))?);
        }
        if let Some(hold) = after.hold.filter(|_| before.hold != after.hold) {
            tracing::warn!(rotation = %after.id, why = hold.why.as_str(), "a rotation cannot go on: its old key is kept");
            notices.push(self.notice(after, old, RotationStep::Held)?);
        }
        let deprecation = taken.old.as_ref().and_then(|key| key.deprecation);
        let is_rung = after.state == RotationState::Retiring && deprecation != old.deprecation;
        if let Some(reached) = deprecation.filter(|_| is_rung) {
            let (name, stage) = (old.name.clone(), reached.stage);
            let notice = Notice::Deprecation { name, stage, next_at: Some(reached.next_at()) };
            notices.push(self.0.notices.raise(About::key(old), notice)?);
        }
        Ok(notices)
    }

    pub(super) fn notice(
        &self,
        rotation: &RotationRecord,
        old: &KeyRecord,
        step: RotationStep,
    ) -> Result<Change, ServiceError> {
        let notice = Notice::Rotation {
            rotation: rotation.id.clone(),
            step,
            old_key_id: rotation.old.clone(),
            new_key_id: rotation.successor.clone(),
            reason: rotation.reason.clone(),
            overlap_secs: rotation.overlap_secs,
            // Until its hold is over, nothing ends the old key but its own expiry.
            completion_at: rotation.hold.and(old.expires_at).unwrap_or_else(|| rotation.completion_at()),
            hold: rotation.hold.map(|hold| hold.why),
        };
        self.0.notices.raise(About::key(old), notice)
    }
}
