//! The fake store's signing keys, families and denials.

use async_trait::async_trait;
use claviger_domain::{
    access_token::{
        denial::{Denial, DenialSubject},
        key_life::{TokenKeyRecord, TokenKeyState},
    },
    clock::Timestamp,
    id::{KeyId, TokenFamilyId},
    ports::{Change, FeedKind, StoreError, tokens::TokenStore},
    refresh::{Family, RefreshToken},
    token::PublicId,
};

use super::{FakeStore, conflict};
use crate::lock::lock;

#[derive(Default, Clone)]
pub(crate) struct TokenState {
    pub(crate) keys: Vec<TokenKeyRecord>,
    pub(crate) families: Vec<Family>,
    pub(crate) tokens: Vec<RefreshToken>,
    pub(crate) denials: Vec<Denial>,
}

impl TokenState {
    /// Writes what is of its kind; what the feed says of it, or what is not of its kind.
    pub(super) fn write(
        &mut self,
        change: Change,
    ) -> Result<Result<Option<(FeedKind, String)>, Change>, StoreError> {
        Ok(Ok(match change {
            Change::InsertTokenKey(key) => {
                let kid = key.kid.clone();
                self.keys.push(*key);
                self.one_of_each()?;
                Some((FeedKind::TokenKey, kid))
            }
            Change::UpdateTokenKey(key) => {
                let kid = key.kid.clone();
                let place = self.keys.iter_mut().find(|k| k.kid == kid && k.version == key.version);
                *place.ok_or(conflict("token key"))? = TokenKeyRecord { version: key.version + 1, ..*key };
                self.one_of_each()?;
                Some((FeedKind::TokenKey, kid))
            }
            Change::InsertTokenFamily(family) => {
                self.families.push(*family);
                None
            }
            Change::UpdateTokenFamily(family) => {
                let place =
                    self.families.iter_mut().find(|f| f.id == family.id && f.version == family.version);
                *place.ok_or(conflict("token family"))? = Family { version: family.version + 1, ..*family };
                None
            }
            Change::InsertRefreshToken(token) => {
                if self.tokens.iter().any(|t| t.family == token.family && t.generation == token.generation) {
                    return Err(conflict("refresh token"));
                }
                self.tokens.push(*token);
                None
            }
            Change::DenyTokens(denial) => {
                let id = denial.subject.as_str().to_owned();
                self.denials.retain(|d| d.subject != denial.subject);
                self.denials.push(denial);
                Some((FeedKind::TokenDenial, id))
            }
            other => return Ok(Err(other)),
        }))
    }

    fn one_of_each(&self) -> Result<(), StoreError> {
        let count = |state| self.keys.iter().filter(|k| k.state == state).count();
        if count(TokenKeyState::Active) > 1 || count(TokenKeyState::Next) > 1 {
            return Err(conflict("token key"));
        }
        Ok(())
    }
}

#[async_trait]
impl TokenStore for FakeStore {
    async fn token_keys(&self) -> Result<Vec<TokenKeyRecord>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        Ok(state.tokens.keys.iter().filter(|k| k.state != TokenKeyState::Gone).cloned().collect())
    }
    async fn refresh_token(&self, id: PublicId) -> Result<Option<(RefreshToken, Family)>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let Some(token) = state.tokens.tokens.iter().find(|t| t.public_id == id) else { return Ok(None) };
        let family = state.tokens.families.iter().find(|f| f.id == token.family);
        Ok(family.map(|family| (token.clone(), family.clone())))
    }
    async fn token_family(&self, id: &TokenFamilyId) -> Result<Option<Family>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).tokens.families.iter().find(|f| f.id == *id).cloned())
    }
    async fn token_families(
        &self,
        key: &KeyId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<Family>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let mut live: Vec<Family> =
            state.tokens.families.iter().filter(|f| f.key == *key && f.is_live(now)).cloned().collect();
        live.sort_by_key(|f| std::cmp::Reverse(f.used_at));
        live.truncate(limit as usize);
        Ok(live)
    }
    async fn token_denials(&self, subjects: &[DenialSubject]) -> Result<Vec<Denial>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        Ok(state.tokens.denials.iter().filter(|d| subjects.contains(&d.subject)).cloned().collect())
    }
    async fn live_denials(
        &self,
        now: Timestamp,
        after: Option<&DenialSubject>,
        limit: u32,
    ) -> Result<Vec<Denial>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let mut live: Vec<Denial> = state.tokens.denials.iter().filter(|d| d.until > now).cloned().collect();
        live.retain(|d| after.is_none_or(|a| d.subject.as_str() > a.as_str()));
        live.sort_by(|a, b| a.subject.as_str().cmp(b.subject.as_str()));
        live.truncate(limit as usize);
        Ok(live)
    }
    async fn forget_tokens(&self, now: Timestamp, _limit: u32) -> Result<u64, StoreError> {
        self.up()?;
        let mut state = lock(&self.state);
        let before = state.tokens.families.len() + state.tokens.denials.len();
        state.tokens.families.retain(|f| f.expires_at > now);
        state.tokens.denials.retain(|d| d.until > now);
        Ok((before - state.tokens.families.len() - state.tokens.denials.len()) as u64)
    }
}
