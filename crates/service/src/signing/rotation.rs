//! Signing secrets follow one another by themselves: a successor is made a week ahead, so that holders have time to
//! fetch it; what is over is emptied.

use async_trait::async_trait;
use claviger_domain::{
    audit::{Actor, AuditEvent},
    clock::{MICROS_PER_DAY, Timestamp},
    id::KeyId,
    notice::{About, Notice},
    ports::{Change, StoreError},
    schedule::Schedule,
    signature::secret::{LEAD_DAYS, PERIOD_DAYS, SigningRecord, Standing, grace_end},
};

use super::Signing;
use crate::{
    ServiceError,
    lock::lock,
    scheduler::{Job, Turn},
};

/// How many are looked at in one turn; the rest follows in the next.
const MOST: u32 = 500;

/// Makes successors, and empties what is over.
pub(crate) struct SigningRotation {
    pub(crate) schedule: Schedule,
    pub(crate) signing: Signing,
}

#[async_trait]
impl Job for SigningRotation {
    fn name(&self) -> &'static str {
        "signing_rotation"
    }

    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    async fn run(&self, turn: &Turn) -> Result<String, ServiceError> {
        let made = self.signing.make_due(&turn.hold(), turn.now).await?;
        let emptied = self.signing.empty_over(&turn.hold(), turn.now).await?;
        Ok(format!("{made} signing secrets made ahead, {emptied} emptied"))
    }
}

impl Signing {
    /// Makes successors for secrets whose month ends within a week; how many.
    async fn make_due(&self, hold: &Change, now: Timestamp) -> Result<u64, ServiceError> {
        let begun = now.plus_micros(-(PERIOD_DAYS - LEAD_DAYS) * MICROS_PER_DAY + 1);
        let mut made = 0;
        for old in self.0.store.signing_due(begun, MOST).await? {
            match self.succeed(&old, hold, now).await {
                Ok(done) => made += u64::from(done),
                // Somebody else replaces it at the moment.
                Err(ServiceError::Conflict { what, .. }) if what != "job lease" => {}
                Err(error) => return Err(error),
            }
        }
        Ok(made)
    }

    async fn succeed(
        &self,
        old: &SigningRecord,
        hold: &Change,
        now: Timestamp,
    ) -> Result<bool, ServiceError> {
        let deps = &self.0;
        let Some(key) = deps.store.key(&old.key).await? else { return Ok(false) };
        if !key.state.is_living() || key.expires_at.is_some_and(|end| end <= now) {
            return Ok(false);
        }
        let records = deps.store.signing_of(&old.key).await?;
        let Some(valid_from) = Standing::of(&records, now).due(now) else { return Ok(false) };
        let made = self.make(&old.key, valid_from, now)?;
        let until = grace_end(valid_from);
        let ends = SigningRecord { until: Some(until), ..old.clone() };
        let notice = Notice::SigningRotation { name: key.name.clone(), valid_from, until };
        let mut event = AuditEvent::new(now, Actor::System, "key.signing.rotate", key.id.as_str())
            .with("secret", made.record.id.as_str())
            .with("valid_from", valid_from.to_rfc3339());
        event.key = key.id.to_string();
        let changes = vec![
            hold.clone(),
            Change::UpdateSigning(Box::new(ends)),
            Change::InsertSigning(Box::new(made.record)),
            deps.notices.raise(About::key(&key), notice)?,
        ];
        let applied = deps.store.apply(changes, event).await?;
        deps.grants.key_outdated(&key.id, applied.seq);
        Ok(true)
    }

    /// Empties secrets that are over; how many.
    async fn empty_over(&self, hold: &Change, now: Timestamp) -> Result<usize, ServiceError> {
        let over = self.0.store.signing_over(now, MOST).await?;
        if over.is_empty() {
            return Ok(0);
        }
        let count = over.len();
        let ids: Vec<&str> = over.iter().map(|r| r.id.as_str()).collect();
        let event = AuditEvent::new(now, Actor::System, "key.signing.end", "").with("secrets", ids);
        let emptied =
            |r: SigningRecord| Change::UpdateSigning(Box::new(SigningRecord { material: Vec::new(), ..r }));
        let changes = std::iter::once(hold.clone()).chain(over.into_iter().map(emptied)).collect();
        match self.0.store.apply(changes, event).await {
            Ok(_) => Ok(count),
            Err(StoreError::Conflict { what }) if what != "job lease" => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells of old secrets that were used shortly before their end; each once. To be called every few seconds.
    pub(crate) async fn tell_late(&self) {
        let late = std::mem::take(&mut *lock(&self.1));
        for (id, until) in late {
            if let Err(error) = self.told_late(&id, until).await {
                tracing::warn!(%error, key = %id, "late use of a signing secret could not be told");
            }
        }
    }

    async fn told_late(&self, id: &KeyId, until: Timestamp) -> Result<(), ServiceError> {
        let deps = &self.0;
        let Some(key) = deps.store.key(id).await? else { return Ok(()) };
        // Once a key and end: what was told is not written again by every node and second.
        if lock(&self.2).insert(id.clone(), until) == Some(until) {
            return Ok(());
        }
        let now = deps.clock.now();
        let notice = Notice::SigningOld { name: key.name.clone(), until };
        let mut event = AuditEvent::new(now, Actor::System, "key.signing.used_late", id.as_str())
            .with("until", until.to_rfc3339());
        event.key = id.to_string();
        deps.store.apply(vec![deps.notices.raise(About::key(&key), notice)?], event).await?;
        Ok(())
    }
}
