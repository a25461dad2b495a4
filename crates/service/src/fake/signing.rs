//! The fake store's signing secrets.

use async_trait::async_trait;
use claviger_domain::{
    clock::Timestamp,
    id::KeyId,
    ports::{Change, FeedKind, StoreError, signing::SigningStore},
    signature::secret::{SigningKind, SigningRecord},
};

use super::{FakeStore, conflict};
use crate::lock::lock;

/// Writes what is of its kind; gives back what is not.
pub(super) fn write(
    records: &mut Vec<SigningRecord>,
    change: Change,
) -> Result<Result<(FeedKind, String), Change>, StoreError> {
    let key = match change {
        Change::InsertSigning(record) => {
            let open =
                |r: &SigningRecord| (r.key == record.key && r.kind == record.kind) && r.until.is_none();
            if record.until.is_none() && records.iter().any(open) {
                return Err(conflict("signing secret"));
            }
            let key = record.key.to_string();
            records.push(*record);
            key
        }
        Change::UpdateSigning(mut record) => {
            let place = records.iter_mut().find(|r| r.id == record.id && r.version == record.version);
            record.version += 1;
            let key = record.key.to_string();
            *place.ok_or(conflict("signing secret"))? = *record;
            key
        }
        other => return Ok(Err(other)),
    };
    Ok(Ok((FeedKind::Key, key)))
}

#[async_trait]
impl SigningStore for FakeStore {
    async fn signing_of(&self, key: &KeyId) -> Result<Vec<SigningRecord>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).signing.iter().filter(|r| r.key == *key).cloned().collect())
    }

    async fn signing_due(&self, begun: Timestamp, limit: u32) -> Result<Vec<SigningRecord>, StoreError> {
        self.up()?;
        let due =
            |r: &&SigningRecord| r.kind == SigningKind::Hmac && r.until.is_none() && r.valid_from < begun;
        Ok(lock(&self.state).signing.iter().filter(due).take(limit as usize).cloned().collect())
    }

    async fn signing_over(&self, now: Timestamp, limit: u32) -> Result<Vec<SigningRecord>, StoreError> {
        self.up()?;
        let over = |r: &&SigningRecord| r.until.is_some_and(|until| until <= now) && !r.material.is_empty();
        Ok(lock(&self.state).signing.iter().filter(over).take(limit as usize).cloned().collect())
    }
}
