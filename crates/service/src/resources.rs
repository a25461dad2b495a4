//! What each workspace made at the provider. Who owns an id never changes, so what was once read is remembered; what
//! was just made is known before the store has it.

use std::sync::Arc;

use claviger_domain::{
    clock::Timestamp,
    id::WorkspaceId,
    ports::LedgerStore,
    tenancy::{Resource, ResourceKind},
};
use quick_cache::sync::Cache;

use crate::ServiceError;

/// Ids remembered.
const REMEMBERED: usize = 4_096;

/// Whose a provider's id is.
#[derive(Clone)]
pub struct Resources(Arc<Inner>);

struct Inner {
    ledger: Arc<dyn LedgerStore>,
    remembered: Cache<String, Arc<Resource>>,
}

impl Resources {
    pub(crate) fn new(ledger: Arc<dyn LedgerStore>) -> Self {
        Self(Arc::new(Inner { ledger, remembered: Cache::new(REMEMBERED) }))
    }

    /// Whose the id is; `None`: nobody's that we know.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn find(&self, id: &str) -> Result<Option<Resource>, ServiceError> {
        if let Some(known) = self.0.remembered.get(id) {
            return Ok(Some(Resource::clone(&known)));
        }
        let found = self.0.ledger.resource(id).await?;
        if let Some(resource) = &found {
            self.remember(resource);
        }
        Ok(found)
    }

    /// A resource was made a moment ago: it is known here before the store answers for it (also while it is spooled).
    pub fn remember(&self, made: &Resource) {
        self.0.remembered.insert(made.id.clone(), Arc::new(made.clone()));
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
