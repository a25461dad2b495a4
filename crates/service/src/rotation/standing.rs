//! How a rotation stands: who uses which of the two keys.

use std::collections::{HashMap, HashSet};

use claviger_domain::{
    clock::{MICROS_PER_DAY, Timestamp},
    id::{KeyId, RotationId},
    key::KeyRecord,
    ports::{Clients, UsageBy, UsageQuery},
    rotation::RotationRecord,
};

use super::Rotations;
use crate::ServiceError;

/// Ledger rows that are looked through for who still uses the old key.
const ROWS: u32 = 50_000;

/// Requests of the two keys, each with its children.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Share {
    /// Of the key that goes.
    pub old: u64,
    /// Of the key that comes.
    pub new: u64,
}

impl Share {
    /// Which part is the old key's; `None`: there were no requests.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share is shown, and nothing is decided by it")]
    pub fn of_old(self) -> Option<f64> {
        let both = self.old.saturating_add(self.new);
        (both > 0).then(|| self.old as f64 / both as f64)
    }
}

/// How a rotation stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The rotation.
    pub rotation: RotationRecord,
    /// The key that goes.
    pub old: KeyRecord,
    /// Requests since the rotation began.
    pub since_start: Share,
    /// Requests within the last 24 hours.
    pub last_day: Share,
    /// When the old key or a child of it was last used.
    pub last_use_old: Option<Timestamp>,
    /// Who used the old key, or a child of it, since the rotation began.
    pub remaining: Clients,
}

impl Rotations {
    /// How a rotation stands.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn standing(&self, id: &RotationId) -> Result<Standing, ServiceError> {
        let rotation = self.rotation(id).await?;
        let old = self.key(&rotation.old).await?;
        let (olds, news) = (self.family(&rotation.old).await?, self.family(&rotation.successor).await?);
        let day_ago = self.0.clock.now().plus_micros(-MICROS_PER_DAY);
        let since_start = self.share(&rotation, rotation.started_at, (&olds, &news)).await?;
        let last_day = self.share(&rotation, day_ago, (&olds, &news)).await?;
        let last_use_old = self.last_used(&rotation.old).await?;
        let olds: Vec<KeyId> = olds.into_iter().collect();
        let remaining = self.0.ledger.clients_since(&olds, rotation.started_at, ROWS).await?;
        Ok(Standing { rotation, old, since_start, last_day, last_use_old, remaining })
    }

    async fn family(&self, key: &KeyId) -> Result<HashSet<KeyId>, ServiceError> {
        let children = self.0.store.children(key).await?;
        Ok(children.into_iter().map(|child| child.id).chain([key.clone()]).collect())
    }

    async fn share(
        &self,
        rotation: &RotationRecord,
        from: Timestamp,
        (olds, news): (&HashSet<KeyId>, &HashSet<KeyId>),
    ) -> Result<Share, ServiceError> {
        let query = UsageQuery {
            by: Some(UsageBy::Key),
            workspace: Some(rotation.workspace.clone()),
            from: Some(from),
            ..UsageQuery::default()
        };
        let totals = self.0.ledger.usage(&query).await?;
        let requests: HashMap<String, u64> = totals.into_iter().map(|t| (t.group, t.requests)).collect();
        let sum = |keys: &HashSet<KeyId>| keys.iter().filter_map(|id| requests.get(id.as_str())).sum();
        Ok(Share { old: sum(olds), new: sum(news) })
    }
}
