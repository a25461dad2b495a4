//! What each workspace made at the provider.

use std::sync::Arc;

use claviger_domain::{
    clock::Timestamp,
    id::WorkspaceId,
    ports::LedgerStore,
    tenancy::{Resource, ResourceKind},
};

use crate::ServiceError;

/// Whose a provider's id is.
#[derive(Clone)]
pub struct Resources(Arc<Inner>);

struct Inner {
    ledger: Arc<dyn LedgerStore>,
}

impl Resources {
    /// Whose the id is; `None`: nobody's that we know.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn find(&self, id: &str) -> Result<Option<Resource>, ServiceError> {
        Ok(self.0.ledger.resource(id).await?)
    }

    /// A workspace's resources of a kind, newest first, before the given id.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn list(
        &self,
        workspace: &WorkspaceId,
        kind: ResourceKind,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Resource>, ServiceError> {
        Ok(self.0.ledger.resources(workspace, kind, before, limit).await?)
    }

    /// Batches whose results were not yet billed, oldest first.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn unbilled_batches(&self, limit: u32) -> Result<Vec<Resource>, ServiceError> {
        Ok(self.0.ledger.unbilled_batches(limit).await?)
    }

    /// Marks a batch as billed to its end.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn batch_billed(&self, id: &str, at: Timestamp) -> Result<(), ServiceError> {
        Ok(self.0.ledger.batch_billed(id, at).await?)
    }
}
