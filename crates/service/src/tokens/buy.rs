//! Buying tokens with a key.

use claviger_domain::{
    access_token::{AccessClaims, Confirmation, TTL_SECS, parse_scope},
    audit::AuditEvent,
    clock::{MICROS_PER_SEC, Timestamp},
    id::{AccessTokenId, TokenFamilyId},
    permission::Scopes,
    ports::Change,
    refresh::{Beginning, EndReason, Family, MAX_FAMILIES, RefreshToken},
    secret::SecretBytes,
    token::side::{SideToken, SideUse},
};

use super::{Bought, BuyError, Order, TokenEvent, Tokens};
use crate::{Caller, ServiceError, grants::LiveGrant};

/// An access token that was just signed.
pub(super) struct Minted {
    pub(super) text: SecretBytes,
    pub(super) claims: AccessClaims,
}

impl Tokens {
    /// Sells an access token and the first refresh token of a new family to whoever has proved the key.
    ///
    /// # Errors
    /// [`BuyError::Scope`], [`BuyError::TooMany`], [`BuyError::Service`].
    pub async fn buy(
        &self,
        live: &LiveGrant,
        order: &Order<'_>,
        caller: &Caller,
    ) -> Result<Bought, BuyError> {
        let deps = &self.0.deps;
        let scopes = wanted(order.scope, effective(live))?;
        let now = deps.clock.now();
        let key = &live.grant.key;
        let family = Family::begin(
            Beginning {
                id: TokenFamilyId::generate(deps.entropy.as_ref()).map_err(ServiceError::from)?,
                key: key.id.clone(),
                workspace: key.workspace.clone(),
                scopes,
                confirmation: order.confirmation.clone(),
                key_expires_at: end_of(live),
            },
            now,
        );
        let minted = self.mint(&family, scopes, live, order.issuer)?;
        let (refresh, row) = self.next_token(&family)?;
        let mut event = issued(caller, now, "token.issue", &family, &minted.claims);
        let mut changes = vec![
            Change::InsertTokenFamily(Box::new(family.clone())),
            Change::InsertRefreshToken(Box::new(row)),
        ];
        if let Some(oldest) = self.one_too_many(&family, now).await? {
            if order.yields {
                return Err(BuyError::TooMany);
            }
            event = event.with("superseded", oldest.id.as_str());
            changes.push(Change::UpdateTokenFamily(Box::new(oldest.end(EndReason::Superseded, now))));
        }
        deps.store.apply(changes, event).await?;
        self.0.counts.add(TokenEvent::Issued);
        Ok(bought(minted, &refresh, now))
    }

    /// Signs an access token of a family.
    pub(super) fn mint(
        &self,
        family: &Family,
        scopes: Scopes,
        live: &LiveGrant,
        issuer: &str,
    ) -> Result<Minted, BuyError> {
        let deps = &self.0.deps;
        let now = deps.clock.now();
        // What was denied up to this second must not deny what is sold after it.
        let issued_at = Timestamp::from_secs(now.as_secs()).max(self.0.denied.floor_of(&family.key));
        let latest = Timestamp::from_secs(now.as_secs()).plus_micros(TTL_SECS * MICROS_PER_SEC);
        let ends = [Some(family.expires_at), end_of(live)];
        let expires_at = ends.into_iter().flatten().fold(latest, Timestamp::min);
        let claims = AccessClaims {
            issuer: issuer.to_owned(),
            key: family.key.clone(),
            workspace: family.workspace.clone(),
            scopes,
            id: AccessTokenId::generate(deps.entropy.as_ref()).map_err(ServiceError::from)?,
            family: Some(family.id.clone()),
            issued_at,
            not_before: Timestamp::from_secs(now.as_secs()),
            expires_at: Timestamp::from_secs(expires_at.as_secs()),
            confirmation: family.confirmation.clone(),
        };
        let text = SecretBytes::new(self.0.ring.sign(&claims)?.into_bytes());
        Ok(Minted { text, claims })
    }

    /// The token of a family's generation, and what is kept of it.
    pub(super) fn next_token(&self, family: &Family) -> Result<(SideToken, RefreshToken), BuyError> {
        let deps = &self.0.deps;
        let token = SideToken::generate(deps.brand, SideUse::Refresh, deps.entropy.as_ref());
        let token = token.map_err(ServiceError::from)?;
        let peppers = deps.grants.peppers();
        let row = RefreshToken {
            public_id: token.public_id(),
            family: family.id.clone(),
            generation: family.generation,
            mac: peppers.current().side_mac(&token),
            pepper_version: peppers.current().version(),
        };
        Ok((token, row))
    }

    async fn one_too_many(&self, family: &Family, now: Timestamp) -> Result<Option<Family>, ServiceError> {
        let mut living = self.0.deps.store.token_families(&family.key, now, MAX_FAMILIES).await?;
        Ok(if living.len() < MAX_FAMILIES as usize { None } else { living.pop() })
    }
}

/// All that a key, and its parent, may do.
pub(super) fn effective(live: &LiveGrant) -> Scopes {
    let of = |live: &LiveGrant| live.grant.key.policy.permissions.in_force();
    live.parent.as_deref().map_or(of(live), |parent| of(live).within(of(parent)))
}

/// What is asked for, if it is no more than allowed.
pub(super) fn wanted(asked: Option<&str>, allowed: Scopes) -> Result<Scopes, BuyError> {
    let Some(text) = asked.filter(|text| !text.trim().is_empty()) else {
        let none = || BuyError::Scope("the key may do nothing".to_owned());
        return if allowed == Scopes::default() { Err(none()) } else { Ok(allowed) };
    };
    let short: String = text.chars().take(100).filter(|c| !c.is_control()).collect();
    let asked = parse_scope(text).ok_or_else(|| BuyError::Scope(format!("`{short}`")))?;
    if allowed.includes(asked) {
        return Ok(asked);
    }
    Err(BuyError::Scope(format!("the key may `{}`", allowed.words().join(" "))))
}

/// When the key ends; for a child its parent: a child's own end moves with each heartbeat, and is asked for at each
/// request.
pub(super) fn end_of(live: &LiveGrant) -> Option<Timestamp> {
    live.parent.as_deref().unwrap_or(live).grant.key.expires_at
}

pub(super) fn issued(
    caller: &Caller,
    now: Timestamp,
    action: &str,
    family: &Family,
    claims: &AccessClaims,
) -> AuditEvent {
    let event = about(caller, now, action, family)
        .with("jti", claims.id.as_str())
        .with("scope", claims.scopes.words().join(" "))
        .with("expires_at", claims.expires_at.to_rfc3339());
    if claims.confirmation == Confirmation::default() { event } else { event.with("bound", true) }
}

pub(super) fn about(caller: &Caller, now: Timestamp, action: &str, family: &Family) -> AuditEvent {
    let mut event = caller.event(now, action, family.id.as_str()).with("generation", family.generation);
    event.key = family.key.to_string();
    event
}

pub(super) fn bought(minted: Minted, refresh: &SideToken, now: Timestamp) -> Bought {
    Bought {
        token_type: minted.claims.confirmation.token_type(),
        expires_in: (minted.claims.expires_at.as_secs() - now.as_secs()).max(0),
        scope: minted.claims.scopes.words().join(" "),
        access_token: minted.text,
        refresh_token: SecretBytes::new(refresh.expose().to_vec()),
    }
}
