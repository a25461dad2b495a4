//! What signing secrets and nonces need from the stores.

use async_trait::async_trait;

use super::StoreError;
use crate::{
    clock::Timestamp,
    id::KeyId,
    signature::{
        nonce::{NonceUse, NonceVerdict},
        secret::SigningRecord,
    },
};

/// Signing secrets and public keys.
#[async_trait]
pub trait SigningStore: Send + Sync + 'static {
    /// All of one key, by their beginning; those that are over, too.
    async fn signing_of(&self, key: &KeyId) -> Result<Vec<SigningRecord>, StoreError>;
    /// Secrets without a successor that became the current one before `begun`, the oldest first.
    async fn signing_due(&self, begun: Timestamp, limit: u32) -> Result<Vec<SigningRecord>, StoreError>;
    /// Secrets that are over at `now` and still hold something.
    async fn signing_over(&self, now: Timestamp, limit: u32) -> Result<Vec<SigningRecord>, StoreError>;
}

/// Why nobody can say whether a nonce was used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NonceError {
    /// Whoever remembers does not answer, or cannot be relied on.
    #[error("the nonce store is unavailable: {0}")]
    Unavailable(String),
    /// There is no room for another one.
    #[error("the nonce store is full")]
    Full,
}

/// Remembers nonces.
#[async_trait]
pub trait NonceStore: Send + Sync + 'static {
    /// Remembers a use until [`NonceUse::kept_until_secs`], unless its nonce is remembered already; at once and for
    /// all who ask. `now` is the asker's clock.
    ///
    /// # Errors
    /// [`NonceError`]; nothing is known then, and nothing must be accepted.
    async fn take(&self, used: &NonceUse, now: Timestamp) -> Result<NonceVerdict, NonceError>;
    /// What [`NonceStore::take`] would do, done at once, by whoever need not wait for anything; `None`: nothing was done,
    /// and it is to be asked.
    fn take_at_once(&self, _used: &NonceUse, _now: Timestamp) -> Option<Result<NonceVerdict, NonceError>> {
        None
    }
    /// Begins to remember, when the node starts; what is remembered already stays. `is_first`: nothing can have been
    /// accepted yet, for there is no key, so that this beginning loses nothing.
    ///
    /// # Errors
    /// [`NonceError::Unavailable`]; it begins when it is first asked, then.
    async fn begin(&self, now: Timestamp, is_first: bool) -> Result<(), NonceError>;
    /// Forgets what need not be remembered any more; how many were forgotten, where that is known. To be called every
    /// few seconds.
    ///
    /// # Errors
    /// [`NonceError::Unavailable`].
    async fn forget(&self, now: Timestamp) -> Result<u64, NonceError>;
    /// Which one it is: `memory`, `redis`, `database`.
    fn name(&self) -> &'static str;
}
