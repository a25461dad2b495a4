//! Revocation, in its two orders.
//!
//! Normal: what uses the key is found; the key is refused, its children with it, and everybody concerned is told, in
//! one transaction; calls in flight have 30 s; the certificate follows. Emergency (asked for, or COMPROMISED): the key
//! is refused and its calls are cut before anything else is looked at.

use std::{sync::Arc, time::Duration};

use claviger_domain::{
    id::KeyId,
    key::{KeyRecord, KeyUse, RevocationReason},
    ports::{
        Applied, LedgerStore, Store,
        lifecycle::{CertificateRecord, UncertifiedKey},
    },
};
use serde_json::Value;

use crate::{
    Caller, ServiceError,
    certificates::{self, Certificates},
    dependants,
    grants::{Grants, REVOCATION_GRACE_US},
    keys::{Keys, end::EndOrder},
};

/// The action of the first transaction, which refuses the key, in audit records.
pub(crate) const REVOKE: &str = "key.revoke";
/// What a revocation consists of: the actions of its transactions, in their order. Crash tests go through them.
pub const STEPS: [&str; 2] = [REVOKE, certificates::ISSUE];

/// How much longer than the grace is waited for calls that were cut to be gone.
const CUT_US: u64 = 5_000_000;
/// How often is looked whether calls are gone.
const LOOK: Duration = Duration::from_millis(20);

/// How a key shall be revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RevocationOrder {
    /// Why.
    pub reason: RevocationReason,
    /// Cut calls in flight at once. A compromised key is always revoked so.
    pub immediate: bool,
    /// Answer only when every node refuses the key and its calls have ended or were cut.
    pub wait: bool,
}

/// What a revocation has done.
#[derive(Debug, Clone)]
pub struct Revoked {
    /// The key as it is now.
    pub key: KeyRecord,
    /// How much it was used.
    pub used: KeyUse,
    /// The revocation's number in the change feed; 0: the key was revoked before certificates were made.
    pub seq: i64,
    /// Its certificate; `None`: it could not be made now and follows by itself.
    pub certificate: Option<CertificateRecord>,
    /// Child keys that died with it.
    pub children: Vec<KeyId>,
    /// Its calls in flight, and its children's, when this was answered.
    pub in_flight: u32,
}

/// What revocations need.
pub(crate) struct RevocationDeps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) ledger: Arc<dyn LedgerStore>,
    pub(crate) keys: Keys,
    pub(crate) grants: Grants,
    pub(crate) certificates: Certificates,
}

/// Revocations. Cheap to clone.
#[derive(Clone)]
pub struct Revocations(Arc<RevocationDeps>);

impl Revocations {
    pub(crate) fn new(deps: RevocationDeps) -> Self {
        Self(Arc::new(deps))
    }

    /// Revokes a key. Again: nothing changes, but `immediate` still cuts, COMPROMISED still counts, and the answer is
    /// the same.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`]; [`ServiceError::Conflict`] when it is purged.
    pub async fn revoke(
        &self,
        id: &KeyId,
        order: RevocationOrder,
        caller: &Caller,
    ) -> Result<Revoked, ServiceError> {
        let immediate = order.immediate || order.reason == RevocationReason::Compromised;
        let affected = if immediate { Vec::new() } else { self.affected(id).await? };
        let order = RevocationOrder { immediate, ..order };
        let ended =
            self.0.keys.end(id, &EndOrder { reason: order.reason, immediate, affected }, caller).await?;
        let children: Vec<KeyId> = ended.children.iter().map(|child| child.id.clone()).collect();
        let (seq, certificate) = match &ended.applied {
            Some(applied) => self.certify(&ended.key, applied).await,
            None => self.known(&ended.key.id).await?,
        };
        if order.wait {
            self.settled(&ended.key.id, &children, seq).await;
        }
        let used = self.0.store.key_uses(std::slice::from_ref(&ended.key.id)).await;
        let used = used.ok().and_then(|mut uses| uses.pop()).map(|(_, used)| used).unwrap_or_default();
        let in_flight = self.in_flight(&ended.key.id, &children);
        Ok(Revoked { key: ended.key, used, seq, certificate, children, in_flight })
    }

    async fn affected(&self, id: &KeyId) -> Result<Vec<String>, ServiceError> {
        let key = self.0.store.key(id).await?.ok_or_else(|| ServiceError::not_found("key", id))?;
        Ok(dependants::find(self.0.store.as_ref(), self.0.ledger.as_ref(), &key).await?.words())
    }

    /// The key is revoked whatever happens here: what fails now is completed later.
    async fn certify(&self, key: &KeyRecord, applied: &Applied) -> (i64, Option<CertificateRecord>) {
        // A sharper reason for a key that was revoked before: it has its certificate.
        if let Ok((seq, Some(known))) = self.known(&key.id).await {
            return (seq, Some(known));
        }
        let Applied { seq, audit_number } = *applied;
        let revoked = UncertifiedKey { key: key.clone(), seq, audit_number };
        match self.0.certificates.issue(&revoked).await {
            Ok(certificate) => (seq, Some(certificate)),
            Err(error) => {
                tracing::warn!(%error, key = %key.id, "the certificate of a revocation follows later");
                (seq, None)
            }
        }
    }

    async fn known(&self, id: &KeyId) -> Result<(i64, Option<CertificateRecord>), ServiceError> {
        let known = self.0.certificates.of_key(id).await?;
        Ok((known.as_ref().map_or(0, seq_of), known))
    }

    /// Waits until this node's view has passed the revocation and no call is left, at most the grace and a little.
    async fn settled(&self, id: &KeyId, children: &[KeyId], seq: i64) {
        let most = Duration::from_micros(REVOCATION_GRACE_US.unsigned_abs() + CUT_US);
        let gone = async {
            while self.0.grants.seen() < seq || self.in_flight(id, children) > 0 {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(most, gone).await.is_err() {
            tracing::warn!(key = %id, "calls of a revoked key have outlived their grace");
        }
    }

    fn in_flight(&self, id: &KeyId, children: &[KeyId]) -> u32 {
        std::iter::once(id).chain(children).map(|id| self.0.grants.in_flight(id)).fold(0, u32::saturating_add)
    }
}

fn seq_of(certificate: &CertificateRecord) -> i64 {
    let body: Value = serde_json::from_str(&certificate.body).unwrap_or_default();
    body["audit"]["seq"].as_i64().unwrap_or_default()
}

#[cfg(test)]
mod tests;
