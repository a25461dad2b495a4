//! The end of a key, in one transaction: the key, its children, what was wrapped and not opened, the notice, the audit
//! record.

use claviger_domain::{
    id::KeyId,
    key::{
        KeyRecord, RevocationReason,
        transition::{KeyVerb, TransitionError, decide},
    },
    notice::{About, Notice},
    ports::{Applied, Change, StoreError},
    wrapping::WrappingRecord,
};

use super::{Keys, TRIES, key_event};
use crate::{Caller, ServiceError, dependants};

/// That and how a key shall end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndOrder {
    pub(crate) reason: RevocationReason,
    /// Calls in flight are cut at once.
    pub(crate) immediate: bool,
    /// What is known to use the key, in words, for the notice.
    pub(crate) affected: Vec<String>,
}

/// A key that has ended.
pub(crate) struct Ended {
    pub(crate) key: KeyRecord,
    /// The children that died with it.
    pub(crate) children: Vec<KeyRecord>,
    /// Where it stands; `None`: the key had ended so before, and nothing was written.
    pub(crate) applied: Option<Applied>,
}

impl Keys {
    /// Loads, decides, applies; again when someone else was faster.
    pub(crate) async fn end(
        &self,
        id: &KeyId,
        order: &EndOrder,
        caller: &Caller,
    ) -> Result<Ended, ServiceError> {
        for _ in 0..TRIES {
            let key = self.0.store.key(id).await?.ok_or_else(|| ServiceError::not_found("key", id))?;
            let verb = KeyVerb::Revoke { reason: order.reason, immediate: order.immediate };
            let now = self.0.clock.now();
            let ended = match decide(&key, &verb, now) {
                Ok(ended) => ended,
                Err(TransitionError::Already(_)) => {
                    return Ok(Ended { key, children: Vec::new(), applied: None });
                }
                Err(error @ (TransitionError::Illegal { .. } | TransitionError::Patch(_))) => {
                    return Err(ServiceError::conflict("key", error));
                }
            };
            let living = self.0.store.living_children(id, now).await?;
            let children: Vec<KeyRecord> =
                living.iter().filter_map(|child| decide(child, &verb, now).ok()).collect();
            let ids: Vec<&str> = children.iter().map(|child| child.id.as_str()).collect();
            let event = key_event(caller, now, "key.revoke", &key)
                .with("immediate", order.immediate)
                .with("reason", order.reason.as_str());
            let event = if ids.is_empty() { event } else { event.with(dependants::CHILDREN, ids) };
            let changes = self.last_changes(&ended, &children, order).await?;
            match self.0.store.apply(changes, event).await {
                Ok(applied) => return Ok(self.ended(ended, children, applied)),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServiceError::conflict("key", "it is being changed by someone else all the time"))
    }

    async fn last_changes(
        &self,
        ended: &KeyRecord,
        children: &[KeyRecord],
        order: &EndOrder,
    ) -> Result<Vec<Change>, ServiceError> {
        let mut changes = vec![Change::UpdateKey(Box::new(ended.clone()))];
        changes.extend(children.iter().map(|child| Change::UpdateKey(Box::new(child.clone()))));
        if let Some(wrapping) = self.0.store.wrapping_of(&ended.id).await?
            && !wrapping.sealed.is_empty()
        {
            let emptied = WrappingRecord { sealed: Vec::new(), ..wrapping };
            changes.push(Change::UpdateWrapping(Box::new(emptied)));
        }
        let mut affected: Vec<String> = children.iter().map(|c| format!("child key {}", c.id)).collect();
        affected.extend(order.affected.iter().cloned());
        let notice = Notice::Revocation {
            name: ended.name.clone(),
            reason: order.reason,
            immediate: order.immediate,
            affected,
        };
        changes.push(self.0.notices.raise(About::key(ended), notice)?);
        Ok(changes)
    }

    /// This node refuses from here on; immediate revocations have cut what was in flight when this returns.
    fn ended(&self, mut key: KeyRecord, mut children: Vec<KeyRecord>, applied: Applied) -> Ended {
        for one in std::iter::once(&mut key).chain(&mut children) {
            one.version += 1;
            self.0.grants.key_changed(one, applied.seq);
        }
        Ended { key, children, applied: Some(applied) }
    }
}
