//! Signing secrets of keys: made, shown once, replaced in time, handed to their holders.

mod rotation;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use claviger_domain::{
    audit::AuditEvent,
    clock::{Clock, Entropy, Timestamp},
    id::{KeyId, SigningId},
    key::{KeyRecord, KeyState},
    ports::{Change, SealContext, Sealer, Store, StoreError},
    secret::SecretBytes,
    signature::{
        Signer, Signers,
        secret::{SigningKind, SigningRecord, Standing, grace_end},
    },
    token::{
        Brand, PublicId,
        side::{SideToken, SideUse},
    },
};

use crate::{Caller, ServiceError, grants::Grants, lock::lock, notices::Notices};

pub(crate) use rotation::SigningRotation;

/// How often a change is decided anew when someone else changed the secrets meanwhile.
const TRIES: u32 = 5;
/// Keys whose late use of an old secret waits to be told.
const MOST_LATE: usize = 1_024;
const TABLE: &str = "signing_secrets";

/// What signing secrets need.
pub(crate) struct SigningDeps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sealer: Arc<dyn Sealer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) brand: Brand,
    pub(crate) grants: Grants,
    pub(crate) notices: Notices,
}

/// Signing secrets. Cheap to clone.
#[derive(Clone)]
pub struct Signing(Arc<SigningDeps>, Late, Late);

/// By key, when the secret ends that was used late: those to be told of, and those that were.
type Late = Arc<Mutex<HashMap<KeyId, Timestamp>>>;

/// A new secret: its text is shown once.
pub struct MadeSecret {
    /// `cvg_sign_…`
    pub text: SideToken,
    /// What is kept.
    pub record: SigningRecord,
}

/// A secret as its holder may see it.
pub struct HeldSecret {
    /// Its text.
    pub text: SecretBytes,
    /// What is kept of it.
    pub record: SigningRecord,
}

/// What a holder is given.
pub struct HolderSecrets {
    /// The one to be used.
    pub current: Option<HeldSecret>,
    /// The one that follows.
    pub next: Option<HeldSecret>,
}

impl Signing {
    pub(crate) fn new(deps: SigningDeps) -> Self {
        Self(Arc::new(deps), Arc::default(), Arc::default())
    }

    /// A new secret for a key, to be kept with [`Change::InsertSigning`].
    pub(crate) fn make(
        &self,
        key: &KeyId,
        valid_from: Timestamp,
        now: Timestamp,
    ) -> Result<MadeSecret, ServiceError> {
        let deps = &self.0;
        // It says whose it is, so that whoever signs with it need not be told.
        let text = match key.as_str().strip_prefix("key_").and_then(PublicId::parse) {
            Some(id) => SideToken::generate_for(deps.brand, SideUse::Signing, id, deps.entropy.as_ref())?,
            None => SideToken::generate(deps.brand, SideUse::Signing, deps.entropy.as_ref())?,
        };
        let id = SigningId::generate(deps.entropy.as_ref())?;
        let record = SigningRecord {
            material: deps.sealer.seal(context(&id), text.expose())?,
            id,
            key: key.clone(),
            kind: SigningKind::Hmac,
            hint: text.hint(),
            created_at: now,
            valid_from,
            until: None,
            version: 1,
        };
        Ok(MadeSecret { text, record })
    }

    /// Gives a key a new secret, to be used from now on. One that it had is accepted for another 24 hours, or, with
    /// `at_once`, no longer.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`]; [`ServiceError::Conflict`] for a dead key, and for a child, which signs with its
    /// parent's.
    pub async fn rotate(
        &self,
        id: &KeyId,
        at_once: bool,
        caller: &Caller,
    ) -> Result<(KeyRecord, MadeSecret), ServiceError> {
        for _ in 0..TRIES {
            let key = self.key(id).await?;
            let records = self.0.store.signing_of(id).await?;
            let now = self.0.clock.now();
            let made = self.make(id, now, now)?;
            let end = if at_once { now } else { grace_end(now) };
            let mut changes = ended(&records, SigningKind::Hmac, (now, end));
            changes.push(Change::InsertSigning(Box::new(made.record.clone())));
            let event = event(caller, now, "key.signing.rotate", &key)
                .with("secret", made.record.id.as_str())
                .with("at_once", at_once);
            match self.0.store.apply(changes, event).await {
                Ok(applied) => {
                    self.0.grants.key_outdated(id, applied.seq);
                    return Ok((key, made));
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServiceError::conflict("signing secret", "it is being changed by someone else all the time"))
    }

    /// Takes over the public half of a holder's key pair: 64 hex digits, or a PEM file's text. One that the key had is
    /// accepted for another 24 hours.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] for what is no public key; else as [`Signing::rotate`].
    pub async fn put_public_key(
        &self,
        id: &KeyId,
        text: &str,
        caller: &Caller,
    ) -> Result<SigningRecord, ServiceError> {
        let public = claviger_domain::signature::public_key(text).ok_or_else(|| {
            ServiceError::invalid(
                "signing_public_key",
                "expected an Ed25519 public key: 64 hex digits, or PEM",
            )
        })?;
        for _ in 0..TRIES {
            let key = self.key(id).await?;
            let records = self.0.store.signing_of(id).await?;
            let now = self.0.clock.now();
            let record = SigningRecord {
                id: SigningId::generate(self.0.entropy.as_ref())?,
                key: id.clone(),
                kind: SigningKind::Ed25519,
                material: public.to_vec(),
                hint: text_hint(&public),
                created_at: now,
                valid_from: now,
                until: None,
                version: 1,
            };
            let mut changes = ended(&records, SigningKind::Ed25519, (now, grace_end(now)));
            changes.push(Change::InsertSigning(Box::new(record.clone())));
            let event = event(caller, now, "key.signing.public_key", &key)
                .with("secret", record.id.as_str())
                .with("public_key", &*record.hint);
            match self.0.store.apply(changes, event).await {
                Ok(applied) => {
                    self.0.grants.key_outdated(id, applied.seq);
                    return Ok(record);
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServiceError::conflict("signing secret", "it is being changed by someone else all the time"))
    }

    /// A secret that is refused from `until` was used shortly before that. Told by a notice, soon and once.
    pub fn note_late(&self, key: &KeyId, until: Timestamp) {
        let mut late = lock(&self.1);
        if late.len() < MOST_LATE {
            late.insert(key.clone(), until);
        }
    }

    /// A key's secrets and public keys, without what they hold; those that are over, too.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn show(&self, id: &KeyId) -> Result<Vec<SigningRecord>, ServiceError> {
        self.0.store.key(id).await?.ok_or_else(|| ServiceError::not_found("key", id))?;
        let records = self.0.store.signing_of(id).await?;
        Ok(records.into_iter().map(|r| SigningRecord { material: Vec::new(), ..r }).collect())
    }

    /// What the holder of a key may know: the secret that is to be used, and the one that follows. Whoever asks must
    /// have signed with one of them.
    ///
    /// # Errors
    /// [`ServiceError::Seal`].
    pub async fn of_holder(&self, id: &KeyId) -> Result<HolderSecrets, ServiceError> {
        let records = self.0.store.signing_of(id).await?;
        let standing = Standing::of(&records, self.0.clock.now());
        let open = |record: Option<&SigningRecord>| {
            record
                .map(|record| {
                    let text = self.0.sealer.open(context(&record.id), &record.material)?;
                    Ok::<_, ServiceError>(HeldSecret { text, record: record.clone() })
                })
                .transpose()
        };
        Ok(HolderSecrets { current: open(standing.current)?, next: open(standing.next)? })
    }

    /// The secrets of a key, sealed anew for its successor: its holder signs on as before.
    ///
    /// # Errors
    /// [`ServiceError::Seal`].
    pub(crate) async fn copies(&self, from: &KeyId, to: &KeyId) -> Result<Vec<Change>, ServiceError> {
        let now = self.0.clock.now();
        let records = self.0.store.signing_of(from).await?;
        let living =
            records.into_iter().filter(|r| !r.material.is_empty() && r.until.is_none_or(|end| now < end));
        living.map(|record| self.copy(record, to)).collect()
    }

    fn copy(&self, record: SigningRecord, to: &KeyId) -> Result<Change, ServiceError> {
        let id = SigningId::generate(self.0.entropy.as_ref())?;
        let material = match record.kind {
            SigningKind::Ed25519 => record.material.clone(),
            SigningKind::Hmac => {
                let text = self.0.sealer.open(context(&record.id), &record.material)?;
                self.0.sealer.seal(context(&id), text.expose())?
            }
        };
        Ok(Change::InsertSigning(Box::new(SigningRecord {
            id,
            key: to.clone(),
            material,
            version: 1,
            ..record
        })))
    }

    async fn key(&self, id: &KeyId) -> Result<KeyRecord, ServiceError> {
        let key = self.0.store.key(id).await?.ok_or_else(|| ServiceError::not_found("key", id))?;
        if !matches!(key.state, KeyState::Active | KeyState::Suspended) {
            return Err(ServiceError::conflict("key", "it is revoked"));
        }
        if key.parent.is_some() {
            return Err(ServiceError::conflict("key", "a child key signs with its parent's secret"));
        }
        Ok(key)
    }
}

/// The changes by which a key's open secrets of one kind end: those that were begun at `end`, those that were made
/// ahead at once.
fn ended(records: &[SigningRecord], kind: SigningKind, (now, end): (Timestamp, Timestamp)) -> Vec<Change> {
    let living = |r: &&SigningRecord| r.kind == kind && r.until.is_none_or(|until| now < until);
    let end_of = |r: &SigningRecord| {
        if r.valid_from > now { now } else { r.until.map_or(end, |until| until.min(end)) }
    };
    let changed = |r: &SigningRecord| {
        Change::UpdateSigning(Box::new(SigningRecord { until: Some(end_of(r)), ..r.clone() }))
    };
    records.iter().filter(living).map(changed).collect()
}

fn context(id: &SigningId) -> SealContext<'_> {
    SealContext { table: TABLE, column: "material", row: id.as_str() }
}

fn text_hint(public: &[u8; 32]) -> String {
    public.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn event(caller: &Caller, now: Timestamp, action: &str, key: &KeyRecord) -> AuditEvent {
    let mut event = caller.event(now, action, key.id.as_str());
    event.key = key.id.to_string();
    event
}

/// Unseals what a key's signatures are verified with. What cannot be opened verifies nothing.
pub(crate) fn unsealed(sealer: &dyn Sealer, records: Vec<SigningRecord>) -> Signers {
    let open = |record: SigningRecord| {
        let signer = match record.kind {
            SigningKind::Ed25519 => Signer::new(&record, &record.material),
            SigningKind::Hmac => match sealer.open(context(&record.id), &record.material) {
                Ok(text) => Signer::new(&record, text.expose()),
                Err(error) => {
                    tracing::error!(secret = %record.id, %error, "a signing secret cannot be opened");
                    None
                }
            },
        };
        signer.filter(|_| !record.material.is_empty())
    };
    Signers::new(records.into_iter().filter(|r| !r.material.is_empty()).filter_map(open).collect())
}

#[cfg(test)]
mod tests;
