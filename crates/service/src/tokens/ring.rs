//! The keys that sign and verify access tokens, as they are held in memory, and how they change.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwapOption;
use claviger_domain::{
    access_token::{
        AccessClaims, KeySet, TYP, TokenError, jwks,
        key_life::{JWKS_MAX_AGE_SECS, KeyPlan, KeyStep, TokenKeyRecord, TokenKeyState, due},
    },
    audit::AuditEvent,
    clock::{Entropy, EntropyError, Timestamp},
    jose::{Algorithm, Object, PublicKey, SigningKey},
    ports::{Change, SealContext, SealError, Sealer, Store, StoreError},
};

use super::Tokens;
use crate::{Caller, ServiceError};

/// How often a change of keys is decided anew when somebody else changed them meanwhile.
const TRIES: u32 = 5;

/// The key set as it is published.
#[derive(Debug)]
pub struct Published {
    /// The JWK Set, as JSON.
    pub body: String,
    /// How long it may be kept, in seconds.
    pub max_age_secs: i64,
    /// What is signed with.
    pub algorithm: Algorithm,
}

struct Keys {
    signing: SigningKey,
    set: KeySet,
    published: Arc<Published>,
}

pub(super) struct Ring {
    store: Arc<dyn Store>,
    sealer: Arc<dyn Sealer>,
    keys: ArcSwapOption<Keys>,
    epoch: AtomicU64,
}

impl Ring {
    pub(super) const fn new(store: Arc<dyn Store>, sealer: Arc<dyn Sealer>) -> Self {
        Self { store, sealer, keys: ArcSwapOption::const_empty(), epoch: AtomicU64::new(0) }
    }

    /// Grows with each change of the keys.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Proves a token, and says by which state of the keys.
    pub(super) fn verify(&self, text: &[u8], issuer: &str) -> Result<(AccessClaims, u64), TokenError> {
        let epoch = self.epoch();
        let keys = self.keys.load();
        let keys = keys.as_ref().ok_or(TokenError::KeyUnknown)?;
        keys.set.verify(text, issuer).map(|claims| (claims, epoch))
    }

    pub(super) fn sign(&self, claims: &AccessClaims) -> Result<String, ServiceError> {
        let keys = self.keys.load();
        let none = || ServiceError::Unavailable("there is no key that signs access tokens yet".to_owned());
        Ok(keys.as_ref().ok_or_else(none)?.signing.sign(TYP, &claims.to_json())?)
    }

    pub(super) fn published(&self) -> Arc<Published> {
        let empty = || {
            let body = "{\"keys\":[]}".to_owned();
            Arc::new(Published { body, max_age_secs: 0, algorithm: Algorithm::EdDsa })
        };
        self.keys.load().as_ref().map_or_else(empty, |keys| Arc::clone(&keys.published))
    }

    /// Reads the keys anew. Without an active one, what was held stays.
    pub(super) async fn reload(&self) -> Result<(), ServiceError> {
        let records = self.store.token_keys().await?;
        let Some(active) = records.iter().find(|k| k.state == TokenKeyState::Active) else { return Ok(()) };
        let secret = self.sealer.open(context(&active.kid), &active.sealed)?;
        let signing = SigningKey::from_secret(active.algorithm, secret.expose())
            .filter(|key| key.kid() == active.kid)
            .ok_or(ServiceError::Seal(SealError::CannotOpen))?;
        let mut others = Vec::with_capacity(records.len());
        for record in records.iter().filter(|k| k.kid != active.kid) {
            others.push(public(record)?);
        }
        let published = Published {
            body: jwks(std::iter::once(signing.public()).chain(&others)).to_string(),
            max_age_secs: JWKS_MAX_AGE_SECS,
            algorithm: active.algorithm,
        };
        let set = KeySet::new(signing.public().clone(), others);
        self.keys.store(Some(Arc::new(Keys { signing, set, published: Arc::new(published) })));
        self.epoch.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// A new key, sealed.
    fn make(
        &self,
        algorithm: Algorithm,
        entropy: &dyn Entropy,
        now: Timestamp,
    ) -> Result<TokenKeyRecord, ServiceError> {
        let secret = SigningKey::generate_secret(algorithm, entropy)?;
        let key = SigningKey::from_secret(algorithm, secret.expose()).ok_or(EntropyError)?;
        Ok(TokenKeyRecord {
            kid: key.kid().to_owned(),
            algorithm,
            public_jwk: key.public().to_jwk().to_string(),
            sealed: self.sealer.seal(context(key.kid()), secret.expose())?,
            state: TokenKeyState::Next,
            published_at: now,
            active_at: None,
            retiring_at: None,
            version: 1,
        })
    }

    /// What a step changes, and what is said of it.
    fn change(
        &self,
        step: &KeyStep,
        records: &[TokenKeyRecord],
        (plan, entropy, now): (KeyPlan, &dyn Entropy, Timestamp),
    ) -> Result<Option<(Change, String)>, ServiceError> {
        let of = |kid: &String| records.iter().find(|k| k.kid == *kid).cloned();
        let updated = |key: TokenKeyRecord, verb: &str| {
            let said = format!("{verb} {}", key.kid);
            Some((Change::UpdateTokenKey(Box::new(key)), said))
        };
        Ok(match step {
            KeyStep::MakeActive => {
                let key = self.make(plan.algorithm, entropy, now)?;
                let said = format!("active {}", key.kid);
                let key = TokenKeyRecord { state: TokenKeyState::Active, active_at: Some(now), ..key };
                Some((Change::InsertTokenKey(Box::new(key)), said))
            }
            KeyStep::MakeNext => {
                let key = self.make(plan.algorithm, entropy, now)?;
                let said = format!("next {}", key.kid);
                Some((Change::InsertTokenKey(Box::new(key)), said))
            }
            KeyStep::Drop(kid) => of(kid).and_then(|key| {
                updated(TokenKeyRecord { state: TokenKeyState::Gone, sealed: Vec::new(), ..key }, "gone")
            }),
            KeyStep::Retire(kid) => of(kid).and_then(|key| {
                let (state, retiring_at) = (TokenKeyState::Retiring, Some(now));
                updated(TokenKeyRecord { state, retiring_at, ..key }, "retiring")
            }),
            KeyStep::Activate(kid) => of(kid).and_then(|key| {
                updated(
                    TokenKeyRecord { state: TokenKeyState::Active, active_at: Some(now), ..key },
                    "active",
                )
            }),
        })
    }
}

impl Tokens {
    /// The keys that sign access tokens, and those that are to.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn signing_keys(&self) -> Result<Vec<TokenKeyRecord>, ServiceError> {
        Ok(self.0.deps.store.token_keys().await?)
    }

    /// For a signing key that somebody else may have: the next key signs from now on, or a new one, and every older
    /// one is gone. The access tokens of those are refused from now on; refresh tokens and keys buy others. What was done.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`]; [`ServiceError::Conflict`] when the keys do not stop changing meanwhile.
    pub async fn replace_keys(&self, caller: &Caller) -> Result<Vec<String>, ServiceError> {
        let deps = &self.0.deps;
        for _ in 0..TRIES {
            let now = deps.clock.now();
            let records = deps.store.token_keys().await?;
            let fits = |key: &&TokenKeyRecord| {
                key.state == TokenKeyState::Next && key.algorithm == deps.plan.algorithm
            };
            let next = records.iter().find(fits).map(|key| &key.kid);
            let old = records.iter().filter(|key| key.state != TokenKeyState::Gone && Some(&key.kid) != next);
            let mut steps: Vec<KeyStep> = old.map(|key| KeyStep::Drop(key.kid.clone())).collect();
            steps.push(next.map_or(KeyStep::MakeActive, |kid| KeyStep::Activate(kid.clone())));
            let (mut changes, mut said) = (Vec::new(), Vec::new());
            for step in steps {
                let made = self.0.ring.change(&step, &records, (deps.plan, deps.entropy.as_ref(), now))?;
                if let Some((change, what)) = made {
                    changes.push(change);
                    said.push(what);
                }
            }
            let event = caller.event(now, "token_key.rotate", "").with("keys", said.clone());
            match deps.store.apply(changes, event).await {
                Ok(_) => {
                    self.keys_changed().await?;
                    return Ok(said);
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServiceError::conflict("token keys", "they are being changed by somebody else"))
    }

    /// Takes the steps that are due for the signing keys, in one transaction behind `first`; what was done.
    pub(crate) async fn tend_keys(&self, first: &[Change]) -> Result<Vec<String>, ServiceError> {
        let deps = &self.0.deps;
        for _ in 0..TRIES {
            let now = deps.clock.now();
            let records = deps.store.token_keys().await?;
            let mut changes = first.to_vec();
            let mut said = Vec::new();
            for step in due(&records, deps.plan, now) {
                let made = self.0.ring.change(&step, &records, (deps.plan, deps.entropy.as_ref(), now))?;
                if let Some((change, what)) = made {
                    changes.push(change);
                    said.push(what);
                }
            }
            if said.is_empty() {
                return Ok(said);
            }
            let event = event(now, &said);
            match deps.store.apply(changes, event).await {
                Ok(_) => {
                    self.keys_changed().await?;
                    return Ok(said);
                }
                // Another node took the step.
                Err(StoreError::Conflict { .. }) => self.keys_changed().await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServiceError::conflict("token keys", "they are being changed by somebody else"))
    }
}

fn event(now: Timestamp, said: &[String]) -> AuditEvent {
    Caller::system().event(now, "token_key.change", "").with("keys", said.to_vec())
}

fn public(record: &TokenKeyRecord) -> Result<PublicKey, ServiceError> {
    let corrupt = || StoreError::Corrupt {
        table: "token_keys",
        id: record.kid.clone(),
        why: "`public_jwk` cannot be read".to_owned(),
    };
    let jwk = Object::parse(record.public_jwk.as_bytes()).map_err(|_| corrupt())?;
    let key = PublicKey::from_jwk(&jwk).map_err(|_| corrupt())?;
    // The name is the key: a row that was changed in the store names another one.
    if key.thumbprint() == record.kid && key.algorithm() == record.algorithm {
        Ok(key)
    } else {
        Err(corrupt().into())
    }
}

fn context(kid: &str) -> SealContext<'_> {
    SealContext { table: "token_keys", column: "sealed", row: kid }
}
