//! In this process: quick, and gone with it.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use claviger_domain::{
    clock::Timestamp,
    ports::signing::{NonceError, NonceStore},
    signature::nonce::{NonceMemory, NonceUse, NonceVerdict},
};

const SHARDS: usize = 16;

/// Remembers in memory. For one node: two would not know of each other.
pub struct MemoryNonces {
    shards: [Mutex<NonceMemory>; SHARDS],
    hasher: RandomState,
}

impl MemoryNonces {
    /// An empty memory for about `most` nonces, from `now` on.
    #[must_use]
    pub fn new(now: Timestamp, most: usize) -> Self {
        let shard = |_| Mutex::new(NonceMemory::new(now, most.div_ceil(SHARDS)));
        Self { shards: std::array::from_fn(shard), hasher: RandomState::new() }
    }

    fn remember(&self, used: &NonceUse) -> Result<NonceVerdict, NonceError> {
        self.shard(used).take(used).ok_or(NonceError::Full)
    }

    fn shard(&self, used: &NonceUse) -> MutexGuard<'_, NonceMemory> {
        let place =
            usize::try_from(self.hasher.hash_one((used.key, used.nonce)) % SHARDS as u64).unwrap_or(0);
        self.shards[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl NonceStore for MemoryNonces {
    async fn take(&self, used: &NonceUse, _: Timestamp) -> Result<NonceVerdict, NonceError> {
        self.remember(used)
    }

    fn take_at_once(&self, used: &NonceUse, _: Timestamp) -> Option<Result<NonceVerdict, NonceError>> {
        Some(self.remember(used))
    }

    /// It began when it was made.
    async fn begin(&self, _: Timestamp, _: bool) -> Result<(), NonceError> {
        Ok(())
    }

    async fn forget(&self, now: Timestamp) -> Result<u64, NonceError> {
        let forget =
            |shard: &Mutex<NonceMemory>| shard.lock().unwrap_or_else(PoisonError::into_inner).forget(now);
        Ok(self.shards.iter().map(forget).sum())
    }

    fn name(&self) -> &'static str {
        "memory"
    }
}
