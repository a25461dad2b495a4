//! What reviews of permissions need from the store.

use async_trait::async_trait;

use super::StoreError;
use crate::{
    id::{KeyId, ReviewId, WorkspaceId},
    review::ReviewRecord,
};

/// Which reviews to list.
#[derive(Debug, Clone, Default)]
pub struct ReviewFilter {
    /// Only of this key.
    pub key: Option<KeyId>,
    /// Only of this workspace.
    pub workspace: Option<WorkspaceId>,
    /// Only those that wait.
    pub open: bool,
    /// Only before this one, the newest first.
    pub before: Option<ReviewId>,
    /// At most this many.
    pub limit: u32,
}

/// Reviews of permissions.
#[async_trait]
pub trait ReviewStore: Send + Sync + 'static {
    /// Reviews, the newest first.
    async fn reviews(&self, filter: &ReviewFilter) -> Result<Vec<ReviewRecord>, StoreError>;
}
