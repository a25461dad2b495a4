//! The fake store's families.

use async_trait::async_trait;
use claviger_domain::{
    clock::Timestamp,
    id::KeyId,
    key::{KeyRecord, KeyState},
    limit::UsedBefore,
    ports::{
        Change, StoreError,
        children::{ChildCap, ChildStore},
    },
};

use super::{FakeStore, conflict};
use crate::lock::lock;

/// Judges what a family allows; gives back what is somebody else's to write.
pub(crate) fn write(keys: &[KeyRecord], change: Change) -> Result<Option<Change>, StoreError> {
    let Change::HoldChildCap(ChildCap { parent, most, now }) = change else { return Ok(Some(change)) };
    if !keys.iter().any(|k| k.id == parent && k.state == KeyState::Active) {
        return Err(conflict("parent"));
    }
    let lives = |k: &&KeyRecord| {
        k.parent.as_ref() == Some(&parent)
            && k.state == KeyState::Active
            && k.expires_at.is_some_and(|at| at > now)
    };
    let living = u32::try_from(keys.iter().filter(lives).count()).unwrap_or(u32::MAX);
    if living > most { Err(StoreError::OverCap { has: living - 1, allowed: most }) } else { Ok(None) }
}

#[async_trait]
impl ChildStore for FakeStore {
    async fn used_by_children(&self, parent: &KeyId, _since: Timestamp) -> Result<UsedBefore, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let of_children = state.keys.iter().filter(|k| k.parent.as_ref() == Some(parent));
        let mut sum = UsedBefore::default();
        for (work, look, uses) in of_children.filter_map(|k| state.used.get(&k.id)) {
            sum.work_today += work;
            sum.look_today += look;
            sum.uses += uses;
        }
        Ok(sum)
    }

    async fn children_last_used(&self, parent: &KeyId) -> Result<Option<Timestamp>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let of_children = state.keys.iter().filter(|k| k.parent.as_ref() == Some(parent));
        Ok(of_children.filter_map(|k| state.last_used.get(&k.id).copied()).max())
    }
}
