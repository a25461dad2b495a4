//! Access and refresh tokens: bought with a key, verified at each request together with the key's state and with what
//! was denied, renewed, revoked, looked at.
//!
//! While the view of the change feed is fresh, a token that was verified before is known by its hash, and neither a
//! store is asked nor anything awaited but the key's grant.

mod buy;
mod counts;
mod denied;
mod end;
mod look;
mod refresh;
mod ring;

use std::{net::IpAddr, sync::Arc};

use claviger_domain::{
    access_token::{
        AccessClaims, Confirmation, TokenError, denial::DenialSubject, fingerprint, key_life::KeyPlan,
    },
    clock::{Clock, Entropy, Timestamp},
    grant::{AuthFailure, Forbidden},
    limit::Exceeded,
    ports::{Sealer, Store, StoreError},
    refresh::{MAX_FAMILIES, RefreshError},
    secret::SecretBytes,
    token::{Brand, PublicId},
};
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;

use self::{counts::TokenCounts, denied::Denied, ring::Ring};
pub use self::{counts::TokenEvent, look::Introspection, ring::Published};
use crate::{
    ServiceError,
    grants::{Grants, LiveGrant, VerifyError},
    holder_rates::HolderRates,
    notices::Notices,
    refusals::Refusals,
};

/// Tokens that are known by their hash.
const KNOWN: usize = 10_000;
/// Look-ups of refresh tokens at once.
const LOOKUPS: usize = 64;

/// What tokens need.
pub(crate) struct TokenDeps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sealer: Arc<dyn Sealer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) brand: Brand,
    pub(crate) grants: Grants,
    pub(crate) refusals: Refusals,
    pub(crate) notices: Notices,
    pub(crate) plan: KeyPlan,
}

/// Access and refresh tokens. Cheap to clone.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    deps: TokenDeps,
    ring: Ring,
    denied: Denied,
    known: Cache<[u8; 32], Arc<AccessClaims>>,
    lookups: Semaphore,
    rates: HolderRates,
    counts: TokenCounts,
}

/// Who showed an access token.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The key that bought it.
    pub live: Arc<LiveGrant>,
    /// What it says.
    pub claims: Arc<AccessClaims>,
}

/// Why an access token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// It is no token of ours.
    #[error("not an access token of this gateway: {0}")]
    Invalid(TokenError),
    /// It was one.
    #[error("the access token is expired")]
    Expired,
    /// It, its family or all tokens of its key were revoked.
    #[error("the access token was revoked")]
    Denied,
    /// Its key does not work any more.
    #[error("the access token's key does not work: {0}")]
    Key(AuthFailure),
    /// The store would have to be asked and does not answer.
    #[error("tokens cannot be verified now: the store does not answer")]
    Unavailable,
    /// Too many unknown keys are being looked up.
    #[error("too many unknown keys are being looked up")]
    Busy,
}

impl TokenRefusal {
    /// The label in metrics and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid(_) => "token_invalid",
            Self::Expired => "token_expired",
            Self::Denied => "token_revoked",
            Self::Key(_) => "token_key_dead",
            Self::Unavailable => "verify_unavailable",
            Self::Busy => "verify_busy",
        }
    }
}

/// What somebody gets who buys or renews. The texts are shown once.
pub struct Bought {
    /// The access token.
    pub access_token: SecretBytes,
    /// The refresh token.
    pub refresh_token: SecretBytes,
    /// `Bearer` or `DPoP`.
    pub token_type: &'static str,
    /// How long the access token works, in seconds.
    pub expires_in: i64,
    /// What for.
    pub scope: String,
}

/// Whose a refresh token is.
#[derive(Debug)]
pub struct Held {
    /// The key that began its family.
    pub live: Arc<LiveGrant>,
    /// The token's own public id.
    pub token: PublicId,
    /// Since when there is the token, or any that came after it.
    pub since: Timestamp,
    /// It was spent, and its answer is not to be had again by anybody: showing it can only end the family.
    pub is_spent: bool,
}

/// Why nothing is bought or renewed.
#[derive(Debug, thiserror::Error)]
pub enum BuyError {
    /// A word that is no scope, or more than the key may do.
    #[error(
        "`scope` must be words such as `messages:write` and `models:read`, none of them beyond the key's: {0}"
    )]
    Scope(String),
    /// Not a refresh token that is known.
    #[error("not a refresh token of this gateway")]
    Unknown,
    /// The refresh token is genuine and buys nothing.
    #[error(transparent)]
    Refresh(#[from] RefreshError),
    /// It was spent before: all that came of it has ended.
    #[error("the refresh token was used before: all tokens that came of it were revoked")]
    Reused,
    /// Not from here, or not now.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The key has as many families as it can have, and whoever asks has not proved enough to end one of them.
    #[error(
        "this key has {} refresh tokens that can be used: sign the request to replace one of them",
        MAX_FAMILIES
    )]
    TooMany,
    /// The key asks too often.
    #[error("asked too often")]
    TooOften(Exceeded),
    /// The refresh token is bound to somebody else.
    #[error("the refresh token is bound to another client certificate or key")]
    Bound,
    /// The key demands more of its callers than the refresh token was bought with.
    #[error("the key demands a proof that the refresh token is not bound to: buy others with the key")]
    Outgrown,
    /// The key that it came of does not work.
    #[error("the refresh token's key does not work: {0}")]
    Key(AuthFailure),
    /// The rest.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

impl From<StoreError> for BuyError {
    fn from(error: StoreError) -> Self {
        Self::Service(error.into())
    }
}

impl From<VerifyError> for BuyError {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Auth(failure) => Self::Key(failure),
            VerifyError::Unavailable | VerifyError::Busy => {
                Self::Service(ServiceError::Unavailable(error.to_string()))
            }
        }
    }
}

/// What is asked for at the counter.
#[derive(Debug, Clone, Default)]
pub struct Order<'a> {
    /// `scope` as it came; `None`: all that the key may do.
    pub scope: Option<&'a str>,
    /// What of the sender was proved, to be bound to.
    pub confirmation: Confirmation,
    /// Our own origin: issuer and audience.
    pub issuer: &'a str,
    /// The client's address; `None`: this machine.
    pub ip: Option<IpAddr>,
    /// Not all that the key demands was proved: no other family gives way to the new one.
    pub yields: bool,
}

impl Tokens {
    pub(crate) fn new(deps: TokenDeps) -> Self {
        let ring = Ring::new(Arc::clone(&deps.store), Arc::clone(&deps.sealer));
        Self(Arc::new(Inner {
            deps,
            ring,
            denied: Denied::default(),
            known: Cache::new(KNOWN),
            lookups: Semaphore::new(LOOKUPS),
            rates: HolderRates::default(),
            counts: TokenCounts::default(),
        }))
    }

    /// Who shows this token. Nobody is asked for a token that was verified before while the view is fresh.
    ///
    /// # Errors
    /// [`TokenRefusal`].
    pub async fn verify(&self, text: &[u8], issuer: &str) -> Result<Shown, TokenRefusal> {
        let claims = self.proven(text, issuer).map_err(TokenRefusal::Invalid)?;
        match claims.check_time(self.0.deps.clock.now()) {
            Ok(()) => {}
            Err(TokenError::Expired) => return Err(TokenRefusal::Expired),
            Err(other) => return Err(TokenRefusal::Invalid(other)),
        }
        if self.is_denied(&claims).await? {
            return Err(TokenRefusal::Denied);
        }
        let live = self.0.deps.grants.by_id(&claims.key).await.map_err(|error| match error {
            // A token ends with its key at the latest: this is what it says of itself.
            VerifyError::Auth(AuthFailure::Expired) => TokenRefusal::Expired,
            VerifyError::Auth(failure) => TokenRefusal::Key(failure),
            VerifyError::Unavailable => TokenRefusal::Unavailable,
            VerifyError::Busy => TokenRefusal::Busy,
        })?;
        if live.grant.key.workspace != claims.workspace {
            return Err(TokenRefusal::Invalid(TokenError::Elsewhere("cvg_ws")));
        }
        Ok(Shown { live, claims })
    }

    /// Counts one request of a holder at the counter, apart from its key's limits.
    ///
    /// # Errors
    /// [`BuyError::TooOften`].
    pub fn count(&self, holder: &LiveGrant, now: Timestamp) -> Result<(), BuyError> {
        self.0.rates.count(holder.grant.key.public_id, now).map_err(BuyError::TooOften)
    }

    /// What became of tokens on this node since its start.
    #[must_use]
    pub fn counts(&self) -> [(TokenEvent, u64); TokenEvent::ALL.len()] {
        self.0.counts.read()
    }

    /// The public keys, as they are published.
    #[must_use]
    pub fn published(&self) -> Arc<Published> {
        self.0.ring.published()
    }

    fn proven(&self, text: &[u8], issuer: &str) -> Result<Arc<AccessClaims>, TokenError> {
        if text.len() > claviger_domain::jose::MAX_BYTES {
            return Err(TokenError::Jose(claviger_domain::jose::JoseError::TooLarge));
        }
        let hash = fingerprint(text);
        if let Some(known) = self.0.known.get(&hash) {
            // The origin may have been set anew since.
            return if known.issuer == issuer { Ok(known) } else { Err(TokenError::Elsewhere("iss")) };
        }
        let (claims, epoch) = self.0.ring.verify(text, issuer)?;
        let claims = Arc::new(claims);
        self.0.known.insert(hash, Arc::clone(&claims));
        if self.0.ring.epoch() != epoch {
            // The keys changed meanwhile: this may have been proven by one that is gone.
            self.0.known.remove(&hash);
        }
        Ok(claims)
    }

    async fn is_denied(&self, claims: &AccessClaims) -> Result<bool, TokenRefusal> {
        if self.0.deps.grants.is_fresh() {
            return Ok(self.0.denied.denies(claims));
        }
        let subjects = DenialSubject::of(claims);
        let found = self.0.deps.store.token_denials(&subjects).await.map_err(|error| {
            tracing::warn!(%error, "what is denied cannot be looked up");
            TokenRefusal::Unavailable
        })?;
        Ok(found.iter().any(|denial| denial.denies(claims)))
    }
}

// === what keeps the tables true: the feed ===

impl Tokens {
    /// Reads keys and denials anew.
    pub(crate) async fn reload(&self) -> Result<(), ServiceError> {
        self.keys_changed().await?;
        let (store, now) = (&self.0.deps.store, self.0.deps.clock.now());
        self.0.denied.reload(store.as_ref(), now).await?;
        Ok(())
    }

    /// Signing keys changed.
    pub(crate) async fn keys_changed(&self) -> Result<(), ServiceError> {
        self.0.ring.reload().await?;
        self.0.known.clear();
        Ok(())
    }

    /// Something was denied elsewhere.
    pub(crate) async fn denied_elsewhere(&self, subjects: &[DenialSubject]) -> Result<(), StoreError> {
        let found = self.0.deps.store.token_denials(subjects).await?;
        self.0.denied.put(found, self.0.deps.clock.now());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
