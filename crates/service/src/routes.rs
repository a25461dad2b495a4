//! Where calls can go: upstreams and unsealed credentials as one snapshot, rebuilt when the feed says so.

use std::sync::Arc;

use arc_swap::ArcSwap;
use claviger_domain::{
    id::{CredentialId, UpstreamId, WorkspaceId},
    ports::{SealContext, Sealer, Store, StoreError},
    secret::SecretBytes,
    upstream::{CredentialPurpose, CredentialRecord, ServiceState, UpstreamRecord},
};

/// One credential ready to use, with its upstream.
#[derive(Debug)]
pub struct RouteEntry {
    /// Where it leads.
    pub upstream: UpstreamRecord,
    /// Which credential.
    pub credential: CredentialRecord,
    /// The provider key.
    pub secret: SecretBytes,
}

/// All active credentials of active upstreams, by creation.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// Active upstreams, with or without a credential.
    pub upstreams: Vec<UpstreamRecord>,
    /// Their active credentials.
    pub credentials: Vec<RouteEntry>,
    /// Admin API keys of active upstreams, by creation: they serve no caller.
    pub admins: Vec<RouteEntry>,
    /// Credentials whose secret could not be opened.
    pub broken: Vec<CredentialId>,
}

impl RouteTable {
    /// What serves this workspace: credentials bound to it first, then those bound to none.
    pub fn for_workspace<'a>(&'a self, workspace: &'a WorkspaceId) -> impl Iterator<Item = &'a RouteEntry> {
        let bound =
            self.credentials.iter().filter(move |e| e.credential.workspace.as_ref() == Some(workspace));
        bound.chain(self.credentials.iter().filter(|e| e.credential.workspace.is_none()))
    }

    /// One credential.
    #[must_use]
    pub fn by_credential(&self, id: &CredentialId) -> Option<&RouteEntry> {
        self.credentials.iter().find(|e| e.credential.id == *id)
    }

    /// One upstream.
    #[must_use]
    pub fn upstream(&self, id: &UpstreamId) -> Option<&UpstreamRecord> {
        self.upstreams.iter().find(|u| u.id == *id)
    }

    /// Whether nothing can be called.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.credentials.is_empty()
    }
}

/// The current snapshot.
#[derive(Clone)]
pub struct Routes(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    sealer: Arc<dyn Sealer>,
    table: ArcSwap<RouteTable>,
    /// One rebuild at a time, so that an older reading never replaces a newer one.
    rebuilding: tokio::sync::Mutex<()>,
}

impl Routes {
    pub(crate) fn new(store: Arc<dyn Store>, sealer: Arc<dyn Sealer>) -> Self {
        let table = ArcSwap::from_pointee(RouteTable::default());
        Self(Arc::new(Inner { store, sealer, table, rebuilding: tokio::sync::Mutex::new(()) }))
    }

    /// The table as it is now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<RouteTable> {
        self.0.table.load_full()
    }

    /// Reads all upstreams and credentials anew. A secret that cannot be opened is left out and reported, so that one
    /// broken row does not close the others.
    pub(crate) async fn rebuild(&self) -> Result<(), StoreError> {
        let _turn = self.0.rebuilding.lock().await;
        let mut upstreams = self.0.store.upstreams().await?;
        upstreams.retain(|u| u.state == ServiceState::Active);
        let mut table = RouteTable { upstreams, ..RouteTable::default() };
        for credential in self.0.store.credentials().await? {
            let Some(upstream) = table.upstream(&credential.upstream) else { continue };
            if credential.state != ServiceState::Active {
                continue;
            }
            let upstream = upstream.clone();
            let entries = match credential.purpose {
                CredentialPurpose::Traffic => &mut table.credentials,
                CredentialPurpose::Admin => &mut table.admins,
            };
            match self.0.sealer.open(seal_context(&credential.id), &credential.sealed) {
                Ok(secret) => entries.push(RouteEntry { upstream, credential, secret }),
                Err(error) => {
                    tracing::error!(credential = %credential.id, %error, "a provider key cannot be unsealed");
                    table.broken.push(credential.id);
                }
            }
        }
        self.0.table.store(Arc::new(table));
        Ok(())
    }
}

/// What a provider key is bound to.
pub(crate) fn seal_context(id: &CredentialId) -> SealContext<'_> {
    SealContext { table: "credentials", column: "sealed", row: id.as_str() }
}
