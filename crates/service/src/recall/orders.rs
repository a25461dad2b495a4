//! What operators do with the response cache: look into it, and flush it.

use std::sync::Arc;

use claviger_domain::{clock::Clock, id::WorkspaceId, ports::Store};

use super::{Recall, RecallStats, Share};
use crate::{Caller, ServiceError, tenants::Tenants};

/// Orders to the cache of this node. Cheap to clone.
#[derive(Clone)]
pub struct CacheOrders {
    recall: Recall,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    tenants: Tenants,
}

/// How the cache stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheState {
    /// In all.
    pub stats: RecallStats,
    /// By workspace.
    pub shares: Vec<Share>,
}

impl CacheOrders {
    pub(crate) const fn new(
        recall: Recall,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        tenants: Tenants,
    ) -> Self {
        Self { recall, store, clock, tenants }
    }

    /// How the cache stands now.
    #[must_use]
    pub fn state(&self) -> CacheState {
        self.recall.sweep();
        CacheState { stats: self.recall.stats(), shares: self.recall.shares() }
    }

    /// Throws away what is kept, of one workspace (by id or name) or of all, and says what that was. It is done even
    /// if it cannot be written down: who flushes wants words gone.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] when there is no such workspace: nothing is flushed then.
    /// [`ServiceError::Unavailable`] when the store cannot be asked.
    pub async fn flush(&self, workspace: Option<&str>, caller: &Caller) -> Result<Vec<Share>, ServiceError> {
        let workspace = match workspace {
            None => None,
            Some(wanted) => Some(self.tenants.workspace(wanted).await?.id),
        };
        let gone = self.recall.flush(workspace.as_ref());
        let target = workspace.as_ref().map_or("all", WorkspaceId::as_str);
        let answers: u64 = gone.iter().map(|share| share.answers).sum();
        let event = caller.event(self.clock.now(), "cache.flush", target).with("answers", answers);
        self.store.apply(Vec::new(), event).await?;
        Ok(gone)
    }
}
