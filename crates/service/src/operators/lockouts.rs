//! Who is locked out. It is kept in the store, so that no restart forgives a guesser, in a table of a fixed size: names
//! share a place by a keyed hash, known and unknown ones alike, so that nothing tells them apart and no flood of names
//! pushes one out.

use std::sync::Arc;

use claviger_domain::{clock::Timestamp, ports::Store};

use crate::{ServiceError, grants::Grants};

/// Places. Two names in one place lock each other out, which strangers cannot aim at: the hash is under the pepper.
const PLACES: u64 = 1 << 14;

pub(super) struct Lockouts {
    store: Arc<dyn Store>,
    grants: Grants,
}

impl Lockouts {
    pub const fn new(store: Arc<dyn Store>, grants: Grants) -> Self {
        Self { store, grants }
    }

    fn place(&self, name: &str) -> u64 {
        self.grants.peppers().current().lockout_place(name, PLACES)
    }

    /// Until when nothing is tried.
    pub async fn locked_until(&self, name: &str, now: Timestamp) -> Result<Option<Timestamp>, ServiceError> {
        Ok(self.store.lockout(self.place(name)).await?.locked_until(now))
    }

    /// Counts a failure; how many there are now.
    pub async fn failed(&self, name: &str, now: Timestamp) -> Result<u32, ServiceError> {
        Ok(self.store.count_failure(self.place(name), now).await?.failures())
    }

    /// A proof that held.
    pub async fn passed(&self, name: &str) -> Result<(), ServiceError> {
        let place = self.place(name);
        // Reading is cheaper than writing, and there is mostly nothing to forget.
        if self.store.lockout(place).await?.failures() > 0 {
            self.store.clear_lockout(place).await?;
        }
        Ok(())
    }
}
