//! Adding, listing and removing upstreams and their credentials.

use std::sync::Arc;

use claviger_domain::{
    clock::{Clock, Entropy},
    id::{CredentialId, UpstreamId},
    ports::{Change, Sealer, Store},
    secret::SecretBytes,
    token::{Brand, TokenKind, inspect},
    upstream::{CredentialPurpose, CredentialRecord, ServiceState, UpstreamKind, UpstreamRecord},
};
use serde_json::json;

use crate::{
    Caller, ServiceError, digests,
    naming::{check_name, find},
    routes::{Routes, seal_context},
    tenants::Tenants,
};

/// No provider key is longer.
const MAX_SECRET_LEN: usize = 4_096;
const MIN_SECRET_LEN: usize = 8;

/// An upstream to be added.
#[derive(Debug, Clone)]
pub struct NewUpstream {
    /// Its name, unique: 1 to 64 letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// Its protocol.
    pub kind: UpstreamKind,
    /// `https://host[:port][/prefix]`. Plain http beyond loopback is refused by the caller, who knows the flag.
    pub base_url: String,
}

/// A credential to be added.
#[derive(Debug)]
pub struct NewCredential {
    /// The upstream that it opens: its id or name.
    pub upstream: String,
    /// What it is for.
    pub purpose: CredentialPurpose,
    /// Its name; `None`: made up from the upstream's.
    pub name: Option<String>,
    /// The only workspace that it serves, by id or name; `None`: all.
    pub workspace: Option<String>,
    /// The provider key.
    pub secret: SecretBytes,
}

/// What the use cases of upstreams need.
pub(crate) struct UpstreamDeps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sealer: Arc<dyn Sealer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) brand: Brand,
    pub(crate) tenants: Tenants,
    pub(crate) routes: Routes,
}

/// Upstreams and credentials.
#[derive(Clone)]
pub struct Upstreams(Arc<UpstreamDeps>);

impl Upstreams {
    pub(crate) fn new(deps: UpstreamDeps) -> Self {
        Self(Arc::new(deps))
    }

    /// Adds an upstream.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`], [`ServiceError::Conflict`] when the name is taken.
    pub async fn add(&self, new: NewUpstream, caller: &Caller) -> Result<UpstreamRecord, ServiceError> {
        check_name("name", &new.name)?;
        let base_url = checked_url(&new.base_url)?;
        if self.list().await?.iter().any(|u| u.name == new.name) {
            return Err(ServiceError::conflict("upstream name", format!("`{}` is taken", new.name)));
        }
        let now = self.0.clock.now();
        let upstream = UpstreamRecord {
            id: UpstreamId::generate(self.0.entropy.as_ref())?,
            name: new.name,
            kind: new.kind,
            base_url,
            state: ServiceState::Active,
            created_at: now,
            version: 1,
        };
        let event = caller.event(now, "upstream.add", upstream.id.as_str());
        let event = event.with("base_url", &*upstream.base_url).with("name", &*upstream.name);
        let event = digests::with(event, None, Some(&json!(upstream)));
        self.apply(vec![Change::InsertUpstream(upstream.clone())], event).await?;
        Ok(upstream)
    }

    /// All upstreams that were not removed.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn list(&self) -> Result<Vec<UpstreamRecord>, ServiceError> {
        let mut all = self.0.store.upstreams().await?;
        all.retain(|u| u.state != ServiceState::Removed);
        Ok(all)
    }

    /// One upstream by id or name.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn find(&self, id_or_name: &str) -> Result<UpstreamRecord, ServiceError> {
        find("upstream", id_or_name, self.list().await?, |u| (u.id.as_str(), &u.name))
    }

    /// Takes an upstream and its credentials out for good. Again: nothing changes.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn remove(&self, id: &UpstreamId, caller: &Caller) -> Result<UpstreamRecord, ServiceError> {
        let all = self.0.store.upstreams().await?;
        let mut upstream = find("upstream", id.as_str(), all, |u| (u.id.as_str(), ""))?;
        if upstream.state == ServiceState::Removed {
            return Ok(upstream);
        }
        let before = json!(upstream);
        upstream.state = ServiceState::Removed;
        let mut changes = vec![Change::UpdateUpstream(upstream.clone())];
        let of_it = self.credentials().await?.into_iter().filter(|c| c.upstream == *id);
        changes.extend(of_it.map(|c| Change::UpdateCredential(removed(c))));
        let event = caller.event(self.0.clock.now(), "upstream.remove", id.as_str());
        let event = event.with("credentials", changes.len() - 1).with("name", &*upstream.name);
        let event = digests::with(event, Some(&before), Some(&json!(upstream)));
        self.apply(changes, event).await?;
        upstream.version += 1;
        Ok(upstream)
    }

    /// Seals a provider key and adds it as a credential.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] for anything that is one of our own keys or cannot stand in a header.
    pub async fn add_credential(
        &self,
        new: NewCredential,
        caller: &Caller,
    ) -> Result<CredentialRecord, ServiceError> {
        let upstream = self.find(&new.upstream).await?;
        let secret = checked_secret(self.0.brand, &new.secret)?;
        check_purpose(&new, secret)?;
        let workspace = match &new.workspace {
            Some(wanted) => Some(self.0.tenants.workspace(wanted).await?.id),
            None => None,
        };
        let present = self.credentials().await?;
        let usual = match new.purpose {
            CredentialPurpose::Traffic => upstream.name.clone(),
            CredentialPurpose::Admin => format!("{}-admin", upstream.name),
        };
        let name = new.name.unwrap_or_else(|| free_name(&usual, &present));
        check_name("name", &name)?;
        if present.iter().any(|c| c.name == name) {
            return Err(ServiceError::conflict("credential name", format!("`{name}` is taken")));
        }
        let now = self.0.clock.now();
        let id = CredentialId::generate(self.0.entropy.as_ref())?;
        let credential = CredentialRecord {
            sealed: self.0.sealer.seal(seal_context(&id), secret.as_bytes())?,
            id,
            upstream: upstream.id,
            purpose: new.purpose,
            workspace,
            name,
            hint: masked(secret),
            state: ServiceState::Active,
            created_at: now,
            version: 1,
        };
        let bound = credential.workspace.as_ref().map_or("", |w| w.as_str());
        let event = caller.event(now, "credential.add", credential.id.as_str());
        let event = event
            .with("hint", &*credential.hint)
            .with("name", &*credential.name)
            .with("purpose", credential.purpose.as_str())
            .with("upstream", credential.upstream.as_str())
            .with("workspace", bound);
        let event = digests::with(event, None, Some(&json!(credential)));
        self.apply(vec![Change::InsertCredential(credential.clone())], event).await?;
        Ok(credential)
    }

    /// All credentials that were not removed.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn credentials(&self) -> Result<Vec<CredentialRecord>, ServiceError> {
        let mut all = self.0.store.credentials().await?;
        all.retain(|c| c.state != ServiceState::Removed);
        Ok(all)
    }

    /// One credential by id or name.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn find_credential(&self, id_or_name: &str) -> Result<CredentialRecord, ServiceError> {
        find("credential", id_or_name, self.credentials().await?, |c| (c.id.as_str(), &c.name))
    }

    /// Takes a credential out for good. Its sealed key is forgotten. Again: nothing changes.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn remove_credential(
        &self,
        id: &CredentialId,
        caller: &Caller,
    ) -> Result<CredentialRecord, ServiceError> {
        let all = self.0.store.credentials().await?;
        let credential = find("credential", id.as_str(), all, |c| (c.id.as_str(), ""))?;
        if credential.state == ServiceState::Removed {
            return Ok(credential);
        }
        let before = json!(credential);
        let mut credential = removed(credential);
        let event = caller.event(self.0.clock.now(), "credential.remove", id.as_str());
        let event = event.with("hint", &*credential.hint).with("name", &*credential.name);
        let event = digests::with(event, Some(&before), Some(&json!(credential)));
        self.apply(vec![Change::UpdateCredential(credential.clone())], event).await?;
        credential.version += 1;
        Ok(credential)
    }

    /// Writes, and makes the routes follow before the caller is told so. If they cannot, the feed makes them follow.
    async fn apply(
        &self,
        changes: Vec<Change>,
        event: claviger_domain::audit::AuditEvent,
    ) -> Result<(), ServiceError> {
        self.0.store.apply(changes, event).await?;
        if let Err(error) = self.0.routes.rebuild().await {
            tracing::warn!(%error, "routes follow with the next poll of the feed");
        }
        Ok(())
    }
}

fn removed(mut credential: CredentialRecord) -> CredentialRecord {
    credential.state = ServiceState::Removed;
    credential.sealed = Vec::new();
    credential
}

/// The upstream's name, or with the first number that makes it unique.
fn free_name(upstream: &str, present: &[CredentialRecord]) -> String {
    let is_free = |name: &String| !present.iter().any(|c| c.name == *name);
    let numbered = (2..).map(|n| format!("{upstream}-{n}"));
    std::iter::once(upstream.to_owned()).chain(numbered).find(is_free).unwrap_or_default()
}

/// What is said to a base URL before anybody connects to it. Without trailing slashes.
fn checked_url(url: &str) -> Result<String, ServiceError> {
    let why = "expected https://host[:port][/prefix] without user, query or fragment";
    let refuse = || ServiceError::invalid("base_url", why);
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).ok_or_else(refuse)?;
    let host = rest.split('/').next().unwrap_or_default();
    let legal = |c: char| c.is_ascii_graphic() && !"@?#\\\"<>".contains(c);
    if host.is_empty() || host.starts_with(':') || url.len() > 2_048 || !url.chars().all(legal) {
        return Err(refuse());
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// A provider key as it can stand in a header. White space around it comes from files and pastes.
fn checked_secret(brand: Brand, secret: &SecretBytes) -> Result<&str, ServiceError> {
    let refuse = |why: &str| ServiceError::invalid("key", why);
    let text =
        std::str::from_utf8(secret.expose()).map_err(|_| refuse("the provider key is not text"))?.trim();
    let own = |brand| matches!(inspect(brand, text).kind, TokenKind::LiveKey | TokenKind::TestKey);
    if text.starts_with("cvg_") || own(brand) {
        return Err(refuse("this is one of Claviger's own keys; the provider's key is needed here"));
    }
    if !(MIN_SECRET_LEN..=MAX_SECRET_LEN).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_graphic())
    {
        return Err(refuse("expected a provider key: 8 to 4,096 visible ASCII characters, no spaces"));
    }
    Ok(text)
}

/// An Admin key opens no model, and a key for models opens no account: what is mixed up here would fail with every call.
fn check_purpose(new: &NewCredential, secret: &str) -> Result<(), ServiceError> {
    let is_admin_key = TokenKind::ProviderAdminKey == inspect(Brand::DEFAULT, secret).kind;
    match new.purpose {
        CredentialPurpose::Traffic if is_admin_key => {
            let why = "this is an Admin API key, which cannot call models: seal it with `--admin`";
            Err(ServiceError::invalid("key", why))
        }
        CredentialPurpose::Admin if !is_admin_key => {
            let why = "expected an Admin API key: it begins with `sk-ant-admin`";
            Err(ServiceError::invalid("key", why))
        }
        CredentialPurpose::Admin if new.workspace.is_some() => {
            let why = "an Admin API key serves no workspace: it tells of the whole account";
            Err(ServiceError::invalid("workspace", why))
        }
        CredentialPurpose::Traffic | CredentialPurpose::Admin => Ok(()),
    }
}

/// The first and last few characters; fewer of short keys, so that at most a quarter is shown.
fn masked(secret: &str) -> String {
    let (head, tail) = match secret.len() {
        48.. => (8, 4),
        24..48 => (4, 2),
        0..24 => (2, 0),
    };
    let end = secret.len().saturating_sub(tail);
    format!("{}…{}", secret.get(..head).unwrap_or_default(), secret.get(end..).unwrap_or_default())
}

#[cfg(test)]
mod tests;
