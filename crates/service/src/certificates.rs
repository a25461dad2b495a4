//! Certificates of revocation. A revocation leaves a note in its own transaction of where it stands; the certificate
//! follows in a second one, made from the key and its audit record, whatever dies between the two. So each revoked key
//! gets exactly one, whoever revoked it.

use std::{sync::Arc, time::Duration};

use claviger_domain::{
    audit::{Actor, AuditEvent, AuditRecord},
    certificate::{AuditPosition, CertificateKey, CertificatePublicKey, Statement},
    clock::{Clock, Entropy},
    id::{CertificateId, KeyId},
    key::{KeyRecord, Revocation, RevocationReason},
    ports::{
        Change, LedgerStore, Store, StoreError,
        lifecycle::{CertificateFilter, CertificateRecord, UncertifiedKey},
    },
};
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{ServiceError, dependants};

/// The action of the transaction that keeps a certificate, in audit records.
pub(crate) const ISSUE: &str = "certificate.issue";
/// How often keys are looked for that wait for their certificate.
const PERIOD: Duration = Duration::from_secs(5);
/// How many certificates one look makes at most before it looks again.
const PAGE: u32 = 100;

/// What certificates are made from.
pub(crate) struct CertificateDeps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) ledger: Arc<dyn LedgerStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) key: CertificateKey,
}

/// Certificates of revocation. Cheap to clone.
#[derive(Clone)]
pub struct Certificates(Arc<Inner>);

struct Inner {
    deps: CertificateDeps,
    /// Told when a key was revoked whose certificate is not made by whoever revoked it.
    due: Notify,
}

impl Certificates {
    pub(crate) fn new(deps: CertificateDeps) -> Self {
        Self(Arc::new(Inner { deps, due: Notify::new() }))
    }

    /// The key that certificates are verified with.
    #[must_use]
    pub fn public_key(&self) -> CertificatePublicKey {
        self.0.deps.key.public()
    }

    /// One certificate.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn show(&self, id: &CertificateId) -> Result<CertificateRecord, ServiceError> {
        let found = self.0.deps.store.certificate(id).await?;
        found.ok_or_else(|| ServiceError::not_found("certificate", id))
    }

    /// A key's certificate; `None`: it was not revoked, or its certificate is being made.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn of_key(&self, key: &KeyId) -> Result<Option<CertificateRecord>, ServiceError> {
        Ok(self.0.deps.store.certificate_of(key).await?)
    }

    /// Certificates, the newest first.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn list(&self, filter: &CertificateFilter) -> Result<Vec<CertificateRecord>, ServiceError> {
        Ok(self.0.deps.store.certificates(filter).await?)
    }

    /// Certifies one revocation, or gives back the certificate that it has.
    pub(crate) async fn issue(&self, revoked: &UncertifiedKey) -> Result<CertificateRecord, ServiceError> {
        let deps = &self.0.deps;
        let statement = self.state(revoked).await?;
        let body = statement.sign(&deps.key);
        let now = deps.clock.now();
        let hash = body["verification_hash"].clone();
        let certificate = CertificateRecord {
            id: statement.id,
            key: revoked.key.id.clone(),
            created_at: now,
            body: body.to_string(),
        };
        let mut event = AuditEvent::new(now, Actor::System, ISSUE, certificate.id.as_str())
            .with("audit_number", revoked.audit_number)
            .with("verification_hash", hash);
        event.key = revoked.key.id.to_string();
        let change = Change::InsertCertificate(Box::new(certificate.clone()));
        match deps.store.apply(vec![change], event).await {
            Ok(_) => Ok(certificate),
            Err(error @ StoreError::Conflict { .. }) => {
                let made = deps.store.certificate_of(&revoked.key.id).await?;
                made.ok_or_else(|| error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn state(&self, revoked: &UncertifiedKey) -> Result<Statement, ServiceError> {
        let UncertifiedKey { key, seq, audit_number } = revoked;
        let deps = &self.0.deps;
        let revocation = key.revocation.ok_or_else(|| ServiceError::conflict("key", "it is not revoked"))?;
        let record = record(deps.store.as_ref(), *audit_number).await?;
        let found = dependants::find(deps.store.as_ref(), deps.ledger.as_ref(), key).await?;
        let mut affected_services = dependants::children_of(&record.event, &key.id);
        affected_services.extend(found.words());
        Ok(Statement {
            id: CertificateId::generate(deps.entropy.as_ref())?,
            key: key.id.clone(),
            revoked_at: revocation.at,
            reason: revocation.reason,
            immediate: revocation.immediate,
            authorized_by: authority(&record.event),
            affected_services,
            last_used_at: found.used.last_used_at,
            compliance_notes: notes(key, revocation),
            audit: AuditPosition { number: record.number, seq: *seq, head: record.head },
        })
    }

    /// Certifies what was revoked without a certificate: by jobs, or before a crash. How many.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`]; what was made stays made.
    pub async fn complete(&self) -> Result<u64, ServiceError> {
        let mut made = 0;
        loop {
            let waiting = self.0.deps.store.uncertified_keys(PAGE).await?;
            for revoked in &waiting {
                self.issue(revoked).await?;
                made += 1;
            }
            if waiting.len() < PAGE as usize {
                return Ok(made);
            }
        }
    }

    /// Some keys were revoked whose certificates nobody waits for.
    pub(crate) fn soon(&self) {
        self.0.due.notify_one();
    }

    /// Completes until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        loop {
            match self.complete().await {
                Ok(0) => {}
                Ok(made) => tracing::info!(made, "certificates of revocation were made"),
                Err(error) => tracing::warn!(%error, "a certificate of revocation could not be made"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.due.notified() => {}
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }
}

async fn record(store: &dyn Store, number: i64) -> Result<AuditRecord, ServiceError> {
    let found = store.audit_after(number - 1, 1).await?.pop().filter(|record| record.number == number);
    found.ok_or_else(|| ServiceError::not_found("audit record", number))
}

/// Who ordered it, in words.
fn authority(event: &AuditEvent) -> String {
    let actor = match &event.actor {
        Actor::Local { uid, .. } => format!("local user {uid}"),
        Actor::System => "claviger".to_owned(),
        Actor::Operator { id, name } => format!("{name} ({id})"),
        Actor::Key { id } => format!("holder of {id}"),
        Actor::Anonymous => "nobody".to_owned(),
    };
    match event.details.get("approved_by").and_then(Value::as_str) {
        Some(approver) => format!("{actor}, approved by {approver}"),
        None => actor,
    }
}

/// The key's state in the words of NIST SP 800-57 Part 1, and what became of its calls.
fn notes(key: &KeyRecord, revocation: Revocation) -> String {
    let state = match revocation.reason {
        RevocationReason::Compromised => "compromised",
        RevocationReason::Expired
        | RevocationReason::Rotation
        | RevocationReason::UserRequest
        | RevocationReason::SecurityPolicy => "deactivated",
    };
    let calls = if revocation.immediate {
        "calls in flight were cut at once"
    } else {
        "calls in flight were given 30 s to finish"
    };
    let parent = key.parent.as_ref().map(|id| format!("; child of {id}")).unwrap_or_default();
    format!(
        "NIST SP 800-57 key state: {state}; new requests refused from the moment of revocation; {calls}{parent}"
    )
}
