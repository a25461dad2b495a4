//! Adding, listing and removing upstreams and their credentials.

use std::sync::Arc;

use claviger_domain::{
    id::{CredentialId, UpstreamId},
    ports::Store,
    secret::SecretBytes,
    upstream::{CredentialRecord, UpstreamKind, UpstreamRecord},
};

use crate::{Caller, ServiceError};

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
    /// Its name; `None`: made up from the upstream's.
    pub name: Option<String>,
    /// The only workspace that it serves, by id or name; `None`: all.
    pub workspace: Option<String>,
    /// The provider key.
    pub secret: SecretBytes,
}

/// Upstreams and credentials.
#[derive(Clone)]
pub struct Upstreams(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
}

impl Upstreams {
    /// Adds an upstream.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`], [`ServiceError::Conflict`] when the name is taken.
    pub async fn add(&self, new: NewUpstream, caller: &Caller) -> Result<UpstreamRecord, ServiceError> {
        let _ = (new, caller);
        Err(ServiceError::Unavailable(String::new()))
    }

    /// All upstreams that were not removed.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn list(&self) -> Result<Vec<UpstreamRecord>, ServiceError> {
        Ok(self.0.store.upstreams().await?)
    }

    /// One upstream by id or name.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn find(&self, id_or_name: &str) -> Result<UpstreamRecord, ServiceError> {
        Err(ServiceError::not_found("upstream", id_or_name))
    }

    /// Takes an upstream and its credentials out for good. Again: nothing changes.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn remove(&self, id: &UpstreamId, caller: &Caller) -> Result<UpstreamRecord, ServiceError> {
        let _ = caller;
        Err(ServiceError::not_found("upstream", id))
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
        let _ = (new, caller);
        Err(ServiceError::Unavailable(String::new()))
    }

    /// All credentials that were not removed.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn credentials(&self) -> Result<Vec<CredentialRecord>, ServiceError> {
        Ok(self.0.store.credentials().await?)
    }

    /// Takes a credential out for good. Again: nothing changes.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn remove_credential(
        &self,
        id: &CredentialId,
        caller: &Caller,
    ) -> Result<CredentialRecord, ServiceError> {
        let _ = caller;
        Err(ServiceError::not_found("credential", id))
    }
}
