//! Ending tokens before their time: by whoever holds them (RFC 7009), or by an operator for a key.

use claviger_domain::{
    access_token::{
        TTL_SECS,
        denial::{Denial, DenialSubject},
    },
    id::{KeyId, TokenFamilyId},
    jose::looks_like_jws,
    key::KeyRecord,
    ports::{Change, StoreError},
    refresh::{EndReason, Family, MAX_FAMILIES},
    token::side::{SideToken, SideUse},
};

use super::{TokenEvent, Tokens, buy::about};
use crate::{Caller, ServiceError};

/// How often an end is decided anew when the family was renewed meanwhile.
const TRIES: u32 = 8;

impl Tokens {
    /// Revokes what is shown: an access token by itself, a refresh token with all that came of its family. Whoever holds
    /// a token may revoke it. What is no token of ours, or is over, is as good as revoked.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn revoke(&self, text: &[u8], issuer: &str, caller: &Caller) -> Result<(), ServiceError> {
        let deps = &self.0.deps;
        if looks_like_jws(text) {
            return self.revoke_access(text, issuer, caller).await;
        }
        let Ok(token) = SideToken::parse(deps.brand, SideUse::Refresh, text) else { return Ok(()) };
        let busy = || ServiceError::Unavailable("too many tokens are being looked up".to_owned());
        let _turn = self.0.lookups.try_acquire().map_err(|_| busy())?;
        match self.find(&token).await? {
            Some((_, family)) => self.end_family(family, EndReason::Revoked, caller).await.map(drop),
            None => Ok(()),
        }
    }

    async fn revoke_access(&self, text: &[u8], issuer: &str, caller: &Caller) -> Result<(), ServiceError> {
        let deps = &self.0.deps;
        let now = deps.clock.now();
        let Ok(claims) = self.proven(text, issuer) else { return Ok(()) };
        if claims.check_time(now).is_err() || self.0.denied.denies(&claims) {
            return Ok(());
        }
        if !self.0.denied.has_room() {
            return Err(ServiceError::Unavailable("too many single tokens were revoked".to_owned()));
        }
        let denial = Denial::now(DenialSubject::token(&claims.id), now.max(claims.issued_at), TTL_SECS);
        let mut event = caller.event(now, "token.revoke", claims.id.as_str());
        event.key = claims.key.to_string();
        deps.store.apply(vec![Change::DenyTokens(denial.clone())], event).await?;
        self.0.denied.put(vec![denial], now);
        self.0.counts.add(TokenEvent::Revoked);
        Ok(())
    }

    /// Ends a family and what it bought; whether it lived.
    pub(super) async fn end_family(
        &self,
        mut family: Family,
        reason: EndReason,
        caller: &Caller,
    ) -> Result<bool, ServiceError> {
        let deps = &self.0.deps;
        for _ in 0..TRIES {
            if family.ended.is_some() {
                return Ok(false);
            }
            let now = deps.clock.now();
            let denial = Denial::now(DenialSubject::family(&family.id), now, TTL_SECS);
            let event = about(caller, now, "token_family.end", &family).with("reason", reason.as_str());
            let changes = vec![
                Change::UpdateTokenFamily(Box::new(family.end(reason, now))),
                Change::DenyTokens(denial.clone()),
            ];
            match deps.store.apply(changes, event).await {
                Ok(_) => {
                    self.0.denied.put(vec![denial], now);
                    self.0.counts.add(TokenEvent::Revoked);
                    return Ok(true);
                }
                Err(StoreError::Conflict { .. }) => match deps.store.token_family(&family.id).await? {
                    Some(newer) => family = newer,
                    None => return Ok(false),
                },
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServiceError::conflict("token family", "it is being renewed all the time"))
    }

    /// Living families of a key, the one that was used last first.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Unavailable`].
    pub async fn families(&self, key: &KeyId) -> Result<(KeyRecord, Vec<Family>), ServiceError> {
        let deps = &self.0.deps;
        let record = deps.store.key(key).await?.ok_or_else(|| ServiceError::not_found("key", key))?;
        let families = deps.store.token_families(key, deps.clock.now(), MAX_FAMILIES).await?;
        Ok((record, families))
    }

    /// Ends one family of a key.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Conflict`] when it has ended before, [`ServiceError::Unavailable`].
    pub async fn end(
        &self,
        key: &KeyId,
        family: &TokenFamilyId,
        caller: &Caller,
    ) -> Result<(), ServiceError> {
        let found = self.0.deps.store.token_family(family).await?.filter(|f| f.key == *key);
        let found = found.ok_or_else(|| ServiceError::not_found("token family", family))?;
        if self.end_family(found, EndReason::Operator, caller).await? {
            return Ok(());
        }
        Err(ServiceError::conflict("token family", "it has ended before"))
    }

    /// Ends all families of a key and denies every access token that it bought so far; how many families.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Unavailable`].
    pub async fn end_all(&self, key: &KeyId, caller: &Caller) -> Result<usize, ServiceError> {
        let deps = &self.0.deps;
        let (_, families) = self.families(key).await?;
        let now = deps.clock.now();
        // The denial first: whatever is renewed beside it is refused with it.
        let denial = Denial::now(DenialSubject::key(key), now, TTL_SECS);
        let mut event = caller.event(now, "token.deny", key.as_str()).with("families", families.len());
        event.key = key.to_string();
        deps.store.apply(vec![Change::DenyTokens(denial.clone())], event).await?;
        self.0.denied.put(vec![denial], now);
        let mut ended = 0;
        for family in families {
            ended += usize::from(self.end_family(family, EndReason::Operator, caller).await?);
        }
        Ok(ended)
    }

    /// Forgets what has been over for long; how many rows.
    pub(crate) async fn forget(&self) -> Result<u64, ServiceError> {
        let deps = &self.0.deps;
        Ok(deps.store.forget_tokens(deps.clock.now(), 1_000).await?)
    }
}
