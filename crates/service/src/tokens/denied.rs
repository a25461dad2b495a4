//! What is denied, in memory. Few tokens are revoked before they expire, so that mostly the table is empty.

use std::{
    collections::HashMap,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use claviger_domain::{
    access_token::{
        AccessClaims,
        denial::{Denial, DenialSubject},
    },
    clock::Timestamp,
    id::KeyId,
    ports::{Store, StoreError},
};

/// Denials read at a time.
const PAGE: u32 = 1_000;
/// Denials held. Tokens live for two hours and a key buys at most ten a second, so that this many are reached only when
/// somebody revokes a million single tokens within that time: from then on single tokens are not revoked any more, but
/// by ending their family or denying their key.
const MOST: usize = 1_000_000;
/// The table is swept when it has grown by so many.
const SWEEP: usize = 4_096;

#[derive(Default)]
pub(super) struct Denied {
    table: RwLock<HashMap<String, Denial>>,
    /// How many there are; read without a lock.
    count: AtomicUsize,
    swept: AtomicUsize,
}

impl Denied {
    /// Whether any of them denies this token.
    pub(super) fn denies(&self, claims: &AccessClaims) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let denies = |subject: &str| table.get(subject).is_some_and(|denial| denial.denies(claims));
        denies(claims.id.as_str())
            || denies(claims.key.as_str())
            || claims.family.as_ref().is_some_and(|family| denies(family.as_str()))
    }

    /// What is signed for this key now must be signed as of this moment or later.
    pub(super) fn floor_of(&self, key: &KeyId) -> Timestamp {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.get(key.as_str()).map_or(Timestamp::from_secs(0), |denial| denial.min_iat)
    }

    /// Whether one more can be held.
    pub(super) fn has_room(&self) -> bool {
        self.count.load(Ordering::Acquire) < MOST
    }

    pub(super) fn put(&self, denials: Vec<Denial>, now: Timestamp) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        for denial in denials {
            table
                .entry(denial.subject.as_str().to_owned())
                .and_modify(|known| {
                    known.min_iat = known.min_iat.max(denial.min_iat);
                    known.until = known.until.max(denial.until);
                })
                .or_insert(denial);
        }
        if table.len() >= self.swept.load(Ordering::Relaxed) + SWEEP {
            table.retain(|_, denial| denial.until > now);
            self.swept.store(table.len(), Ordering::Relaxed);
        }
        self.count.store(table.len(), Ordering::Release);
    }

    /// Reads all that still mean something. Nothing that is known already is forgotten: rows are only ever added.
    pub(super) async fn reload(&self, store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
        let mut after: Option<DenialSubject> = None;
        loop {
            let page = store.live_denials(now, after.as_ref(), PAGE).await?;
            let full = page.len() >= PAGE as usize;
            after = page.last().map(|denial| denial.subject.clone());
            self.put(page, now);
            if !full {
                return Ok(());
            }
        }
    }
}
