//! The end of a key by somebody's order: an operator's, or a job's.

use claviger_domain::{
    id::KeyId,
    key::{
        KeyRecord, Revocation, RevocationReason,
        transition::{KeyVerb, TransitionError, decide},
    },
    ports::{Applied, StoreError},
};

use super::{Keys, TRIES, canonical::canonical, key_event};
use crate::{Caller, ServiceError, digests, revocation};

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
        let deps = &*self.0;
        for _ in 0..TRIES {
            let key = deps.store.key(id).await?.ok_or_else(|| ServiceError::not_found("key", id))?;
            let now = deps.clock.now();
            let revocation = Revocation { at: now, reason: order.reason, immediate: order.immediate };
            let verb = KeyVerb::Revoke { reason: order.reason, immediate: order.immediate };
            let ended = match decide(&key, &verb, now) {
                Ok(ended) => ended,
                Err(TransitionError::Already(_)) => {
                    return Ok(Ended { key, children: Vec::new(), applied: None });
                }
                Err(error @ (TransitionError::Illegal { .. } | TransitionError::Patch(_))) => {
                    return Err(ServiceError::conflict("key", error));
                }
            };
            let after = canonical(&ended);
            let mut ending = deps.endings.of(ended, revocation, &order.affected, now).await?;
            let event = key_event(caller, now, revocation::REVOKE, &key)
                .with("immediate", order.immediate)
                .with("reason", order.reason.as_str());
            let event = digests::with(event, Some(&canonical(&key)), Some(&after));
            let event = ending.noted(event);
            match deps.store.apply(ending.take_changes(), event).await {
                Ok(applied) => {
                    let (key, children) = deps.endings.written(ending, &applied);
                    return Ok(Ended { key, children, applied: Some(applied) });
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServiceError::conflict("key", "it is being changed by someone else all the time"))
    }
}
