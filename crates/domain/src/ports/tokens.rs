//! What access and refresh tokens need from the store.

use async_trait::async_trait;

use super::StoreError;
use crate::{
    access_token::{
        denial::{Denial, DenialSubject},
        key_life::TokenKeyRecord,
    },
    clock::Timestamp,
    id::{KeyId, TokenFamilyId},
    refresh::{Family, RefreshToken},
    token::PublicId,
};

/// Signing keys, families of refresh tokens, denials.
#[async_trait]
pub trait TokenStore: Send + Sync + 'static {
    /// All signing keys that are not gone.
    async fn token_keys(&self) -> Result<Vec<TokenKeyRecord>, StoreError>;
    /// One refresh token, spent or not, and its family.
    async fn refresh_token(&self, id: PublicId) -> Result<Option<(RefreshToken, Family)>, StoreError>;
    /// One family.
    async fn token_family(&self, id: &TokenFamilyId) -> Result<Option<Family>, StoreError>;
    /// Families of a key that are neither ended nor over at `now`, the one that was used last first.
    async fn token_families(
        &self,
        key: &KeyId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Family>, StoreError>;
    /// What is denied of these.
    async fn token_denials(&self, subjects: &[DenialSubject]) -> Result<Vec<Denial>, StoreError>;
    /// Denials that still mean something at `now`, by subject, after one.
    async fn live_denials(
        &self,
        now: Timestamp,
        after: Option<&DenialSubject>,
        limit: u32,
    ) -> Result<Vec<Denial>, StoreError>;
    /// Forgets families whose time is over, with their tokens, and denials that mean nothing any more; at most so many
    /// families. How many rows went.
    async fn forget_tokens(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError>;
}
