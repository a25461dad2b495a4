//! Signing keys, families and denials, without any of the conflicts that real stores see.

use async_trait::async_trait;
use claviger_domain::{
    access_token::{
        denial::{Denial, DenialSubject},
        key_life::TokenKeyRecord,
    },
    clock::Timestamp,
    id::{KeyId, TokenFamilyId},
    ports::{Change, FeedKind, StoreError, tokens::TokenStore},
    refresh::{Family, RefreshToken},
    token::PublicId,
};

use super::MemoryStore;

#[derive(Default)]
pub struct TokenState {
    keys: Vec<TokenKeyRecord>,
    families: Vec<Family>,
    tokens: Vec<RefreshToken>,
    denials: Vec<Denial>,
}

impl TokenState {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the rest of what can change does not concern a gateway"
    )]
    pub fn write(&mut self, change: Change) -> Option<(FeedKind, String)> {
        match change {
            Change::InsertTokenKey(key) | Change::UpdateTokenKey(key) => {
                let kid = key.kid.clone();
                self.keys.retain(|k| k.kid != kid);
                self.keys.push(*key);
                Some((FeedKind::TokenKey, kid))
            }
            Change::InsertTokenFamily(family) | Change::UpdateTokenFamily(family) => {
                self.families.retain(|f| f.id != family.id);
                self.families.push(*family);
                None
            }
            Change::InsertRefreshToken(token) => {
                self.tokens.push(*token);
                None
            }
            Change::DenyTokens(denial) => {
                let id = denial.subject.as_str().to_owned();
                self.denials.push(denial);
                Some((FeedKind::TokenDenial, id))
            }
            _ => None,
        }
    }
}

#[async_trait]
impl TokenStore for MemoryStore {
    async fn token_keys(&self) -> Result<Vec<TokenKeyRecord>, StoreError> {
        Ok(self.state().tokens.keys.clone())
    }
    async fn refresh_token(&self, id: PublicId) -> Result<Option<(RefreshToken, Family)>, StoreError> {
        let state = self.state();
        let token = state.tokens.tokens.iter().find(|t| t.public_id == id);
        let family = |t: &RefreshToken| state.tokens.families.iter().find(|f| f.id == t.family).cloned();
        Ok(token.and_then(|t| family(t).map(|family| (t.clone(), family))))
    }
    async fn token_family(&self, id: &TokenFamilyId) -> Result<Option<Family>, StoreError> {
        Ok(self.state().tokens.families.iter().find(|f| f.id == *id).cloned())
    }
    async fn token_families(
        &self,
        key: &KeyId,
        now: Timestamp,
        _limit: u32,
    ) -> Result<Vec<Family>, StoreError> {
        let state = self.state();
        Ok(state.tokens.families.iter().filter(|f| f.key == *key && f.is_live(now)).cloned().collect())
    }
    async fn token_denials(&self, subjects: &[DenialSubject]) -> Result<Vec<Denial>, StoreError> {
        let state = self.state();
        Ok(state.tokens.denials.iter().filter(|d| subjects.contains(&d.subject)).cloned().collect())
    }
    async fn live_denials(
        &self,
        _now: Timestamp,
        _after: Option<&DenialSubject>,
        _limit: u32,
    ) -> Result<Vec<Denial>, StoreError> {
        Ok(self.state().tokens.denials.clone())
    }
    async fn forget_tokens(&self, _now: Timestamp, _limit: u32) -> Result<u64, StoreError> {
        Ok(0)
    }
}
