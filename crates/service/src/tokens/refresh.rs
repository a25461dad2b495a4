//! Renewing tokens. Each refresh token works once; what a second showing means is decided by
//! [`claviger_domain::refresh`].

use claviger_domain::{
    access_token::{
        TTL_SECS,
        denial::{Denial, DenialSubject},
    },
    address::counting_block,
    audit::Digest,
    clock::Timestamp,
    mac::KeyMac,
    notice::{About, Incident, Notice},
    ports::{Change, SealContext, StoreError},
    proof::Proof,
    refresh::{Family, RefreshError, RefreshToken, Turn},
    secret::SecretBytes,
    token::side::{SideToken, SideUse},
};
use serde::{Deserialize, Serialize};
use tokio::sync::SemaphorePermit;
use zeroize::Zeroize;

use super::{
    Bought, BuyError, Held, Order, TokenEvent, Tokens,
    buy::{about, bought, effective, issued, wanted},
};
use crate::{Caller, ServiceError, grants::LiveGrant, refusals::RefusalSubject};

/// How often a renewal is decided anew when somebody else renewed meanwhile.
const TRIES: u32 = 5;

/// An answer that may be given once more, before it is sealed.
#[derive(Serialize, Deserialize)]
struct Kept {
    access_token: String,
    refresh_token: String,
    expires_at: i64,
    scope: String,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.access_token.zeroize();
        self.refresh_token.zeroize();
    }
}

/// A refresh token that was shown, as it is asked about.
struct Showing<'a> {
    token: RefreshToken,
    family: Family,
    live: &'a LiveGrant,
    order: &'a Order<'a>,
    place: Digest,
    now: Timestamp,
}

impl Showing<'_> {
    /// Whether whoever asks proved to be whom the family is bound to, and the family is bound as the key demands now.
    fn check_bond(&self) -> Result<(), BuyError> {
        let bound = &self.family.confirmation;
        let demanded = self.live.demanded();
        if !bound.is_met_by(&self.order.confirmation) {
            return Err(BuyError::Bound);
        }
        let lacks_certificate = demanded.contains(Proof::Mtls) && bound.x5t_s256.is_none();
        let lacks_key = demanded.contains(Proof::Dpop) && bound.jkt.is_none();
        if lacks_certificate || lacks_key { Err(BuyError::Outgrown) } else { Ok(()) }
    }
}

impl Tokens {
    /// Whose a refresh token is, which is genuine.
    ///
    /// # Errors
    /// [`BuyError::Unknown`], [`BuyError::Key`], [`BuyError::Service`].
    pub async fn held(&self, text: &[u8], caller: &Caller) -> Result<Held, BuyError> {
        let deps = &self.0.deps;
        let token = SideToken::parse(deps.brand, SideUse::Refresh, text).map_err(|_| BuyError::Unknown)?;
        let _turn = self.turn()?;
        let (found, family) = self.find(&token).await?.ok_or_else(|| self.unknown(caller))?;
        let live = deps.grants.by_id(&family.key).await?;
        let is_spent = family.is_spent(found.generation, deps.clock.now());
        Ok(Held { live, token: token.public_id(), since: family.used_at, is_spent })
    }

    fn turn(&self) -> Result<SemaphorePermit<'_>, ServiceError> {
        let busy = |_| ServiceError::Unavailable("too many tokens are being renewed".to_owned());
        self.0.lookups.try_acquire().map_err(busy)
    }

    /// Renews: the shown token is spent, its successor and an access token are given.
    ///
    /// # Errors
    /// [`BuyError`].
    pub async fn refresh(&self, text: &[u8], order: &Order<'_>, caller: &Caller) -> Result<Bought, BuyError> {
        let deps = &self.0.deps;
        let token = SideToken::parse(deps.brand, SideUse::Refresh, text).map_err(|_| BuyError::Unknown)?;
        let _turn = self.turn()?;
        for _ in 0..TRIES {
            let (found, family) = self.find(&token).await?.ok_or_else(|| self.unknown(caller))?;
            let live = deps.grants.by_id(&family.key).await?;
            let (now, place) = (deps.clock.now(), place_of(&family, order, caller));
            if let Some(ip) = order.ip {
                live.check_place(ip, now)?;
            }
            self.count(&live, now)?;
            let showing = Showing { token: found, family, live: &live, order, place, now };
            match self.take_turn(showing, caller).await {
                Err(BuyError::Service(ServiceError::Conflict { .. })) => {}
                other => return other,
            }
        }
        Err(ServiceError::conflict("token family", "it is being renewed by somebody else").into())
    }

    async fn take_turn(&self, showing: Showing<'_>, caller: &Caller) -> Result<Bought, BuyError> {
        let turn = showing.family.show(showing.token.generation, showing.place, showing.now)?;
        // Whoever shows a spent one has it from somewhere else, be it bound to whom it may.
        if !matches!(turn, Turn::Reused(_)) {
            showing.check_bond()?;
        }
        match turn {
            Turn::Rotate(next) => self.rotate(*next, &showing, caller).await,
            Turn::Again(next, sealed) => {
                let event = about(caller, showing.now, "token.replay", &next);
                let context = replay_context(&next);
                let kept = self.open(&context, &sealed)?;
                self.0.deps.store.apply(vec![Change::UpdateTokenFamily(next.clone())], event).await?;
                self.0.counts.add(TokenEvent::Repeated);
                Ok(again(&kept, &next, showing.now))
            }
            Turn::Reused(next) => self.reused(*next, &showing, caller).await,
        }
    }

    async fn rotate(
        &self,
        mut next: Family,
        showing: &Showing<'_>,
        caller: &Caller,
    ) -> Result<Bought, BuyError> {
        let order = showing.order;
        // The key may have been narrowed since.
        let allowed = next.scopes.within(effective(showing.live));
        let scopes = wanted(order.scope, allowed)?;
        let minted = self.mint(&next, scopes, showing.live, order.issuer)?;
        let (refresh, row) = self.next_token(&next)?;
        let event = issued(caller, showing.now, "token.refresh", &next, &minted.claims);
        let kept = Kept {
            access_token: String::from_utf8_lossy(minted.text.expose()).into_owned(),
            refresh_token: String::from_utf8_lossy(refresh.expose()).into_owned(),
            expires_at: minted.claims.expires_at.as_secs(),
            scope: minted.claims.scopes.words().join(" "),
        };
        let sealed = self.seal(&replay_context(&next), &kept)?;
        if let Some(replay) = next.replay.as_mut() {
            replay.sealed = sealed;
        }
        let changes =
            vec![Change::UpdateTokenFamily(Box::new(next)), Change::InsertRefreshToken(Box::new(row))];
        self.0.deps.store.apply(changes, event).await?;
        self.0.counts.add(TokenEvent::Refreshed);
        Ok(bought(minted, &refresh, showing.now))
    }

    /// Somebody has a token that was used: nobody keeps what came of it.
    async fn reused(&self, next: Family, showing: &Showing<'_>, caller: &Caller) -> Result<Bought, BuyError> {
        let deps = &self.0.deps;
        let denial = Denial::now(DenialSubject::family(&next.id), showing.now, TTL_SECS);
        let key = &showing.live.grant.key;
        let what = format!(
            "Refresh token {} of {} ({}) was shown again from {}, {} tokens later; all that came of it was revoked.",
            showing.token.generation,
            key.id,
            next.id,
            if caller.client_ip.is_empty() { "this machine" } else { &caller.client_ip },
            next.generation.saturating_sub(showing.token.generation),
        );
        let incident =
            Notice::Incident { incident: Incident::RefreshReused, what, client_ip: caller.client_ip.clone() };
        let notice = deps.notices.raise(About::key(key), incident)?;
        let mut event = about(caller, showing.now, "token.reuse", &next)
            .with("shown_generation", showing.token.generation)
            .with("severity", "critical");
        event.outcome = "refused".to_owned();
        let changes =
            vec![Change::UpdateTokenFamily(Box::new(next)), Change::DenyTokens(denial.clone()), notice];
        deps.store.apply(changes, event).await?;
        self.0.denied.put(vec![denial], showing.now);
        self.0.counts.add(TokenEvent::Reused);
        Err(BuyError::Reused)
    }

    /// The row of a genuine refresh token. What is not known costs the same work.
    pub(super) async fn find(&self, token: &SideToken) -> Result<Option<(RefreshToken, Family)>, StoreError> {
        let deps = &self.0.deps;
        let peppers = deps.grants.peppers();
        let found = deps.store.refresh_token(token.public_id()).await?;
        let genuine = match &found {
            Some((row, _)) => peppers.verify_side(token, &row.mac, row.pepper_version),
            None => peppers.verify_side(token, &KeyMac::from_bytes([0; 32]), peppers.current().version()),
        };
        Ok(found.filter(|_| genuine))
    }

    fn unknown(&self, caller: &Caller) -> BuyError {
        if let Ok(ip) = caller.client_ip.parse() {
            let block = RefusalSubject::Block(counting_block(ip));
            self.0.deps.refusals.count("refresh_unknown", block, self.0.deps.clock.now());
        }
        BuyError::Unknown
    }

    fn seal(&self, row: &str, kept: &Kept) -> Result<Vec<u8>, ServiceError> {
        let mut plain = serde_json::to_vec(kept)
            .map_err(|_| ServiceError::Unavailable("an answer could not be written".to_owned()))?;
        let sealed = self.0.deps.sealer.seal(context(row), &plain);
        plain.zeroize();
        Ok(sealed?)
    }

    fn open(&self, row: &str, sealed: &[u8]) -> Result<Kept, BuyError> {
        let plain = self.0.deps.sealer.open(context(row), sealed).map_err(ServiceError::from)?;
        serde_json::from_slice(plain.expose()).map_err(|_| BuyError::Refresh(RefreshError::Expired))
    }
}

fn again(kept: &Kept, family: &Family, now: Timestamp) -> Bought {
    Bought {
        access_token: SecretBytes::new(kept.access_token.clone().into_bytes()),
        refresh_token: SecretBytes::new(kept.refresh_token.clone().into_bytes()),
        token_type: family.confirmation.token_type(),
        expires_in: (kept.expires_at - now.as_secs()).max(0),
        scope: kept.scope.clone(),
    }
}

/// Where an answer goes: to whoever has the key that it is bound to, else to the address that asked.
fn place_of(family: &Family, order: &Order<'_>, caller: &Caller) -> Digest {
    let cnf = &family.confirmation;
    if !cnf.is_met_by(&order.confirmation) {
        return Digest::of(b"somewhere else");
    }
    let bond =
        [&cnf.x5t_s256, &cnf.jkt].into_iter().flatten().fold(String::new(), |all, one| all + one + "|");
    Digest::of(if bond.is_empty() { &caller.client_ip } else { &bond }.as_bytes())
}

/// The row that a kept answer belongs to: the family and the token that it holds.
fn replay_context(family: &Family) -> String {
    format!("{}/{}", family.id, family.generation)
}

fn context(row: &str) -> SealContext<'_> {
    SealContext { table: "token_families", column: "replay_sealed", row }
}
