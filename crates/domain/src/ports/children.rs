//! What child keys need from the store.

use async_trait::async_trait;

use super::StoreError;
use crate::{clock::Timestamp, id::KeyId, limit::UsedBefore};

/// The rest of a transaction is written only if the parent still is there to be used, and has no more living children
/// than this, those of the same transaction included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildCap {
    /// Whose children are counted.
    pub parent: KeyId,
    /// How many there may be.
    pub most: u32,
    /// Children that expired before are not counted.
    pub now: Timestamp,
}

/// What children did that counts for their parent.
#[async_trait]
pub trait ChildStore: Send + Sync + 'static {
    /// What all children of this key have used: requests since `since`, which is the begin of a UTC day, and uses in
    /// their whole lives.
    async fn used_by_children(&self, parent: &KeyId, since: Timestamp) -> Result<UsedBefore, StoreError>;
    /// When a child of this key was last used, but for what was used within the last seconds.
    async fn children_last_used(&self, parent: &KeyId) -> Result<Option<Timestamp>, StoreError>;
}
