//! How a key stands, for whoever holds it.

use claviger_domain::{
    clock::Timestamp,
    id::KeyId,
    key::{KeyRecord, KeyStatus, deprecation::DeprecationStage},
    ports::lifecycle::RotationFilter,
    tenancy::Environment,
};

use super::{Children, ChildrenError};
use crate::grants::{Counter, LiveGrant};

/// All that a holder may know of its own key.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The record.
    pub key: KeyRecord,
    /// What it is now.
    pub status: KeyStatus,
    /// The name of its workspace.
    pub workspace: String,
    /// The class of its workspace.
    pub environment: Environment,
    /// The name of its owner.
    pub owner: String,
    /// Uses in its whole life, those of its children included.
    pub uses: u64,
    /// Calls in flight, those of its children included.
    pub in_flight: u32,
    /// What is left of each limit that holds for it.
    pub left: Vec<Counter>,
    /// That it is on its way out.
    pub notice: Option<Notice>,
}

/// A key is being replaced, or will be refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The key that comes, if there is one already.
    pub successor: Option<KeyId>,
    /// Until when both work.
    pub overlap_until: Option<Timestamp>,
    /// The rung of the ladder that was reached.
    pub stage: Option<DeprecationStage>,
    /// When the next one is.
    pub next_at: Option<Timestamp>,
}

impl Children {
    /// How the key that asks stands.
    ///
    /// # Errors
    /// [`ChildrenError::Service`] when the store does not answer.
    pub async fn standing(&self, holder: &LiveGrant) -> Result<Standing, ChildrenError> {
        let deps = &self.0.deps;
        let key = holder.grant.key.clone();
        let now = deps.clock.now();
        let workspaces = deps.store.workspaces().await?;
        let home = workspaces.into_iter().find(|w| w.id == key.workspace);
        let (workspace, environment) =
            home.map_or((String::new(), Environment::Production), |w| (w.name, w.environment));
        let owners = deps.store.owners().await?;
        // A child is on its way out as its parent is.
        let going = holder.parent.as_ref().map_or(&key, |parent| &parent.grant.key);
        Ok(Standing {
            status: key.status(now),
            workspace,
            environment,
            owner: owners.into_iter().find(|o| o.id == key.owner).map_or_else(String::new, |o| o.name),
            uses: holder.runtime.uses(),
            in_flight: holder.runtime.in_flight(),
            left: holder.counters(now),
            notice: self.notice(going).await?,
            key,
        })
    }

    async fn notice(&self, key: &KeyRecord) -> Result<Option<Notice>, ChildrenError> {
        let filter =
            RotationFilter { key: Some(key.id.clone()), open: true, limit: 2, ..RotationFilter::default() };
        let open = self.0.deps.store.rotations(&filter).await?.into_iter().find(|r| r.old == key.id);
        if open.is_none() && key.deprecation.is_none() {
            return Ok(None);
        }
        Ok(Some(Notice {
            overlap_until: open.as_ref().map(claviger_domain::rotation::RotationRecord::deadline),
            successor: open.map(|r| r.successor),
            stage: key.deprecation.map(|d| d.stage),
            next_at: key.deprecation.map(|d| d.next_at()),
        }))
    }
}
