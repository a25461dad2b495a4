//! Access and refresh tokens.

use async_trait::async_trait;
use claviger_domain::{
    access_token::{
        denial::{Denial, DenialSubject},
        key_life::TokenKeyRecord,
    },
    clock::Timestamp,
    id::{KeyId, TokenFamilyId},
    ports::{StoreError, tokens::TokenStore},
    refresh::{Family, RefreshToken},
    token::PublicId,
};

use crate::{Database, tokens};

#[async_trait]
impl TokenStore for Database {
    async fn token_keys(&self) -> Result<Vec<TokenKeyRecord>, StoreError> {
        tokens::keys(&self.db).await
    }
    async fn refresh_token(&self, id: PublicId) -> Result<Option<(RefreshToken, Family)>, StoreError> {
        tokens::token(&self.db, id).await
    }
    async fn token_family(&self, id: &TokenFamilyId) -> Result<Option<Family>, StoreError> {
        tokens::family(&self.db, id).await
    }
    async fn token_families(
        &self,
        key: &KeyId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Family>, StoreError> {
        tokens::live_of_key(&self.db, key, now, limit).await
    }
    async fn token_denials(&self, subjects: &[DenialSubject]) -> Result<Vec<Denial>, StoreError> {
        tokens::denials(&self.db, subjects).await
    }
    async fn live_denials(
        &self,
        now: Timestamp,
        after: Option<&DenialSubject>,
        limit: u32,
    ) -> Result<Vec<Denial>, StoreError> {
        tokens::live_denials(&self.db, now, after, limit).await
    }
    async fn forget_tokens(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        tokens::forget(&self.db, now, limit).await
    }
}
