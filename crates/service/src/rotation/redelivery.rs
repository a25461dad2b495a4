//! Delivering a successor anew: its delivery lapsed, or what was delivered was lost, before anybody used it.

use claviger_domain::{
    clock::Timestamp,
    id::RotationId,
    key::KeyRecord,
    notice::RotationStep,
    ports::{Change, StoreError},
    rotation::{RotationRecord, check_redeliver, redelivered, successor_expiry},
    tenancy::HandOver,
    token::Token,
};

use super::{Rotations, Started, TRIES, canonical, event_of, refused};
use crate::{Caller, ServiceError, digests, wrapping::Wrapped};

impl Rotations {
    /// Wraps a successor that nobody uses yet anew, for so many seconds; a day unless something else is asked for. The
    /// successor keeps its id and gets a new secret, so that whatever was handed over before opens nothing; the overlap
    /// begins anew.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`]; [`ServiceError::Invalid`] for `wrap_ttl_secs`; [`ServiceError::Conflict`] once the
    /// successor was used or is dead; [`ServiceError::Policy`].
    pub async fn redeliver(
        &self,
        id: &RotationId,
        wrap_ttl_secs: Option<u64>,
        caller: &Caller,
    ) -> Result<Started, ServiceError> {
        for _ in 0..TRIES {
            if let Some(started) = self.try_redeliver(id, wrap_ttl_secs, caller).await? {
                return Ok(started);
            }
        }
        Err(ServiceError::conflict("rotation", "it is being changed by someone else all the time"))
    }

    /// `None`: someone else was faster, and what is true now decides.
    async fn try_redeliver(
        &self,
        id: &RotationId,
        wrap_ttl_secs: Option<u64>,
        caller: &Caller,
    ) -> Result<Option<Started>, ServiceError> {
        let deps = &*self.0;
        let before = self.rotation(id).await?;
        let (old, successor) = (self.key(&before.old).await?, self.key(&before.successor).await?);
        let used = self.last_used(&successor.id).await?.is_some();
        let now = deps.clock.now();
        check_redeliver(&before, &successor, used, now).map_err(refused)?;
        // As whoever makes a key; the owner's keys are not counted, for there is not one more.
        drop(deps.policies.check_new(&successor, HandOver::Wrapped, caller).await?);
        let (successor, wrapped) = self.wrapped_anew(&old, successor, wrap_ttl_secs, now).await?;
        let after = redelivered(&before, &old, now);
        let event = event_of(caller, now, "rotation.redeliver", &before)
            .with("deadline", after.deadline().to_rfc3339())
            .with("state", after.state.as_str())
            .with("wrapping", wrapped.record.id.as_str());
        let event = digests::with(event, Some(&canonical(&before)), Some(&canonical(&after)));
        let changes = self.redelivery(&after, &old, &successor, &wrapped).await?;
        match deps.store.apply(changes, event).await {
            Ok(applied) => {
                let changed = KeyRecord { version: successor.version + 1, ..successor.clone() };
                deps.grants.key_changed(&changed, applied.seq);
                deps.grants.key_outdated(&old.id, applied.seq);
            }
            Err(StoreError::Conflict { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let wrapping_expires_at = wrapped.record.expires_at;
        Ok(Some(Started { rotation: after, successor, token: wrapped.token, wrapping_expires_at }))
    }

    /// The same key with another secret and a life that begins now, and that in a new wrapping.
    async fn wrapped_anew(
        &self,
        old: &KeyRecord,
        successor: KeyRecord,
        wrap_ttl_secs: Option<u64>,
        now: Timestamp,
    ) -> Result<(KeyRecord, Wrapped), ServiceError> {
        let deps = &*self.0;
        let token = Token::renew(deps.brand, successor.class, successor.public_id, deps.entropy.as_ref())?;
        let peppers = deps.grants.peppers();
        let (mac, pepper_version) = (peppers.current().mac(&token), peppers.current().version());
        let renewed = successor_expiry(old, now);
        let expires_at = successor.expires_at.map(|at| renewed.map_or(at, |renewed| renewed.max(at)));
        let successor = KeyRecord { mac, pepper_version, expires_at, ..successor };
        // The newest delivery of a key is the one that counts: no two are made at the same moment.
        let newest = deps.store.wrapping_of(&successor.id).await?;
        let at = newest.map_or(now, |newest| now.max(newest.created_at.plus_micros(1)));
        let wrapped = deps.wrappings.wrap(&successor.id, &token, wrap_ttl_secs, at)?;
        Ok((successor, wrapped))
    }

    async fn redelivery(
        &self,
        after: &RotationRecord,
        old: &KeyRecord,
        successor: &KeyRecord,
        wrapped: &Wrapped,
    ) -> Result<Vec<Change>, ServiceError> {
        let mut changes = vec![
            Change::UpdateRotation(Box::new(after.clone())),
            Change::UpdateKey(Box::new(successor.clone())),
        ];
        changes.extend(self.0.wrappings.withdraw(&successor.id).await?);
        changes.push(wrapped.insert());
        if after.state.is_open() {
            // Written unchanged: whoever uses it hears of the new deadline.
            changes.push(Change::UpdateKey(Box::new(old.clone())));
        }
        changes.push(self.notice(after, old, RotationStep::Redelivered)?);
        Ok(changes)
    }
}
