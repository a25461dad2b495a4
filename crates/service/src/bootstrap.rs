//! The first start: secrets of our own, the first owner and workspace. Each step looks first whether it was done, so
//! that a start after a crash at any step goes on where the last one ended.

use std::sync::Arc;

use claviger_domain::{
    audit::{Actor, AuditEvent, checkpoint::CheckpointKey},
    certificate::CertificateKey,
    clock::{Clock, Entropy},
    id::{OwnerId, WorkspaceId},
    limit::Limits,
    mac::{Pepper, PepperVersion, Peppers},
    ports::{Change, SealContext, SealError, SealedSecret, Sealer, Store, StoreError},
    secret::SecretBytes,
    tenancy::{Environment, OwnerRecord, WorkspaceRecord},
};

use zeroize::Zeroizing;

use crate::ServiceError;

/// The name under which peppers are kept.
pub const PEPPER: &str = "pepper";
/// The name under which the key that signs checkpoints is kept.
pub const AUDIT_SIGNING_KEY: &str = "audit_signing_key";
/// The name under which the key that signs certificates of revocation is kept.
pub const CERTIFICATE_SIGNING_KEY: &str = "certificate_signing_key";
/// The name of the first workspace and of the first owner.
pub const FIRST_NAME: &str = "default";

/// What making things needs.
pub(crate) struct Bootstrap {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sealer: Arc<dyn Sealer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

/// What every start needs.
pub(crate) struct OwnSecrets {
    pub(crate) peppers: Peppers,
    pub(crate) checkpoint_key: CheckpointKey,
    pub(crate) certificate_key: CertificateKey,
}

impl Bootstrap {
    /// Makes what is missing and loads what every start needs.
    pub(crate) async fn run(&self) -> Result<OwnSecrets, ServiceError> {
        let present = self.store.secrets().await?;
        if !present.iter().any(|s| s.name == PEPPER) {
            let mut bytes = Zeroizing::new(vec![0; Pepper::LEN]);
            self.entropy.fill(&mut bytes)?;
            let pepper = SecretBytes::new(std::mem::take(&mut *bytes));
            self.make_secret(PEPPER, &pepper, |event| event).await?;
        }
        if !present.iter().any(|s| s.name == AUDIT_SIGNING_KEY) {
            let seed = CheckpointKey::generate_seed(self.entropy.as_ref())?;
            let key = CheckpointKey::from_seed(seed.expose()).ok_or(SealError::CannotOpen)?;
            let public_key = key.public().to_hex();
            self.make_secret(AUDIT_SIGNING_KEY, &seed, |event| event.with("public_key", public_key)).await?;
        }
        if !present.iter().any(|s| s.name == CERTIFICATE_SIGNING_KEY) {
            let seed = CertificateKey::generate_seed(self.entropy.as_ref())?;
            let key = CertificateKey::from_seed(seed.expose()).ok_or(SealError::CannotOpen)?;
            let public_key = key.public().to_pem();
            let with_key = |event: AuditEvent| event.with("certificate_public_key", public_key);
            self.make_secret(CERTIFICATE_SIGNING_KEY, &seed, with_key).await?;
        }
        self.make_owner().await?;
        self.make_workspace().await?;
        let peppers = load_peppers(self.store.as_ref(), self.sealer.as_ref()).await?;
        let checkpoint_key = self.load_checkpoint_key().await?;
        let certificate_key = load_certificate_key(self.store.as_ref(), self.sealer.as_ref()).await?;
        Ok(OwnSecrets { peppers, checkpoint_key, certificate_key })
    }

    async fn make_secret(
        &self,
        name: &str,
        plain: &SecretBytes,
        details: impl FnOnce(AuditEvent) -> AuditEvent + Send,
    ) -> Result<(), ServiceError> {
        let sealed = seal(self.sealer.as_ref(), name, 1, plain)?;
        let secret = SealedSecret { name: name.to_owned(), version: 1, sealed, created_at: self.clock.now() };
        Ok(keep_secret(self.store.as_ref(), secret, details).await?)
    }

    async fn make_owner(&self) -> Result<(), ServiceError> {
        if !self.store.owners().await?.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let owner = OwnerRecord {
            id: OwnerId::generate(self.entropy.as_ref())?,
            name: FIRST_NAME.to_owned(),
            email: None,
            limits: Limits::NONE,
            created_at: now,
            archived_at: None,
            version: 1,
        };
        let event = AuditEvent::new(now, Actor::System, "owner.create", owner.id.as_str());
        let event = event.with("name", FIRST_NAME);
        self.store.apply(vec![Change::InsertOwner(owner)], event).await?;
        Ok(())
    }

    async fn make_workspace(&self) -> Result<(), ServiceError> {
        if !self.store.workspaces().await?.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let workspace = WorkspaceRecord {
            id: WorkspaceId::generate(self.entropy.as_ref())?,
            name: FIRST_NAME.to_owned(),
            environment: Environment::Development,
            limits: Limits::NONE,
            created_at: now,
            archived_at: None,
            version: 1,
        };
        let event = AuditEvent::new(now, Actor::System, "workspace.create", workspace.id.as_str());
        let event = event.with("environment", workspace.environment.as_str()).with("name", FIRST_NAME);
        self.store.apply(vec![Change::InsertWorkspace(workspace)], event).await?;
        Ok(())
    }

    async fn load_checkpoint_key(&self) -> Result<CheckpointKey, ServiceError> {
        let secrets = self.store.secrets().await?;
        let newest = secrets.iter().filter(|s| s.name == AUDIT_SIGNING_KEY).max_by_key(|s| s.version);
        let newest = newest.ok_or_else(|| ServiceError::not_found("secret", AUDIT_SIGNING_KEY))?;
        let seed = open(self.sealer.as_ref(), newest)?;
        CheckpointKey::from_seed(seed.expose()).ok_or(ServiceError::Seal(SealError::CannotOpen))
    }
}

/// Whether nothing was ever made in this store: what follows is a first start.
///
/// # Errors
/// [`ServiceError::Unavailable`].
pub async fn is_first_start(store: &dyn Store) -> Result<bool, ServiceError> {
    Ok(store.workspaces().await?.is_empty())
}

/// Keeps a secret that is sealed already, such as a wrapped data key, and says so in the audit log.
///
/// # Errors
/// [`StoreError`]; nothing was written then.
pub async fn keep_sealed(store: &dyn Store, secret: SealedSecret) -> Result<(), StoreError> {
    keep_secret(store, secret, |event| event).await
}

async fn keep_secret(
    store: &dyn Store,
    secret: SealedSecret,
    details: impl FnOnce(AuditEvent) -> AuditEvent + Send,
) -> Result<(), StoreError> {
    let event = AuditEvent::new(secret.created_at, Actor::System, "secret.create", &secret.name);
    let event = details(event.with("version", secret.version));
    store.apply(vec![Change::PutSecret(secret)], event).await.map(drop)
}

/// Unseals the key that signs certificates of revocation.
///
/// # Errors
/// [`ServiceError::NotFound`] before the first start; [`ServiceError::Seal`].
pub async fn load_certificate_key(
    store: &dyn Store,
    sealer: &dyn Sealer,
) -> Result<CertificateKey, ServiceError> {
    let secrets = store.secrets().await?;
    let newest = secrets.iter().filter(|s| s.name == CERTIFICATE_SIGNING_KEY).max_by_key(|s| s.version);
    let newest = newest.ok_or_else(|| ServiceError::not_found("secret", CERTIFICATE_SIGNING_KEY))?;
    let seed = open(sealer, newest)?;
    CertificateKey::from_seed(seed.expose()).ok_or(ServiceError::Seal(SealError::CannotOpen))
}

/// Unseals all peppers.
pub(crate) async fn load_peppers(store: &dyn Store, sealer: &dyn Sealer) -> Result<Peppers, ServiceError> {
    let mut secrets = store.secrets().await?;
    secrets.retain(|s| s.name == PEPPER);
    secrets.sort_by_key(|s| s.version);
    let mut peppers = secrets.iter().map(|s| pepper(sealer, s)).collect::<Result<Vec<_>, _>>()?;
    let current = peppers.pop().ok_or_else(|| ServiceError::not_found("secret", PEPPER))?;
    Ok(Peppers::new(current, peppers))
}

fn pepper(sealer: &dyn Sealer, secret: &SealedSecret) -> Result<Pepper, ServiceError> {
    let plain = open(sealer, secret)?;
    let bytes = plain.expose().try_into().map_err(|_| ServiceError::Seal(SealError::CannotOpen))?;
    Ok(Pepper::new(PepperVersion(secret.version), bytes))
}

fn seal(sealer: &dyn Sealer, name: &str, version: u32, plain: &SecretBytes) -> Result<Vec<u8>, SealError> {
    let row = format!("{name}/{version}");
    sealer.seal(SealContext { table: "secrets", column: "sealed", row: &row }, plain.expose())
}

fn open(sealer: &dyn Sealer, secret: &SealedSecret) -> Result<SecretBytes, SealError> {
    let row = format!("{}/{}", secret.name, secret.version);
    sealer.open(SealContext { table: "secrets", column: "sealed", row: &row }, &secret.sealed)
}

#[cfg(test)]
mod tests;
