//! Where calls can go: upstreams and unsealed credentials as one snapshot, rebuilt when the feed says so.

use std::sync::Arc;

use arc_swap::ArcSwap;
use claviger_domain::{
    id::{CredentialId, UpstreamId, WorkspaceId},
    secret::SecretBytes,
    upstream::{CredentialRecord, UpstreamRecord},
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
    /// Credentials whose secret could not be opened.
    pub broken: Vec<CredentialId>,
}

impl RouteTable {
    /// What serves this workspace: credentials bound to it first, then those bound to none.
    pub fn for_workspace<'a>(&'a self, workspace: &'a WorkspaceId) -> impl Iterator<Item = &'a RouteEntry> {
        let bound = self.credentials.iter().filter(move |e| e.credential.workspace.as_ref() == Some(workspace));
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
pub struct Routes(Arc<ArcSwap<RouteTable>>);

impl Routes {
    /// The table as it is now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<RouteTable> {
        self.0.load_full()
    }
}
