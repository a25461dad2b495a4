//! Issuing, showing and changing keys.

pub(crate) mod canonical;
pub(crate) mod end;
pub(crate) mod wish;

use std::{collections::HashMap, sync::Arc};

pub use claviger_domain::limit::LimitsPatch;
use claviger_domain::{
    audit::AuditEvent,
    clock::{Clock, Entropy, Timestamp},
    id::KeyId,
    key::{
        KeyRecord, KeyState, KeyUse, OnDisconnect, RevocationReason,
        patch::check_record,
        transition::{KeyVerb, TransitionError, decide},
        widening,
    },
    operator::verb::Effect,
    ports::{Change, KeyFilter, Store, StoreError},
    proof::Proof,
    signature::secret::SigningRecord,
    tenancy::HandOver,
    token::{Brand, KeyClass, Token},
};
use serde::Deserialize;

use self::{canonical::canonical, end::EndOrder};
use crate::{
    Caller, ServiceError,
    budgets::{self, Budgets, KeyBudget},
    digests,
    ending::Endings,
    grants::Grants,
    policies::Policies,
    signing::{MadeSecret, Signing},
    tenants::Tenants,
    wrapping::{Wrapped, Wrappings},
};

/// How long a key works unless something else is asked for: 90 days, in seconds.
pub const DEFAULT_LIFETIME_SECS: u64 = 90 * 86_400;
/// No key lives longer than 100 years, in seconds.
const MAX_LIFETIME_SECS: u64 = 100 * 366 * 86_400;
/// How often a change is decided anew when someone else changed the key meanwhile.
const TRIES: u32 = 5;
const DEFAULT_PAGE: u32 = 100;
/// A page of 1,000, and one more that tells whether there are more.
const MAX_PAGE: u32 = 1_001;

/// Tells a field that is `null` from one that is missing.
fn given<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(d).map(Some)
}

/// When a new key shall expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expiry {
    /// 90 days after it begins to work.
    #[default]
    Default,
    /// Never.
    Never,
    /// So many seconds after it begins to work.
    AfterSecs(u64),
    /// At this moment.
    At(Timestamp),
}

/// A key to be made. Only the name must be given.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewKey {
    /// Its name: 1 to 128 characters, none of them a control character.
    pub name: String,
    /// Whether the simulator answers it.
    pub test: bool,
    /// Id or name; `None`: the only one, or the first that was made.
    pub workspace: Option<String>,
    /// Id or name; `None`: the only one, or the first that was made.
    pub owner: Option<String>,
    /// Model globs; empty: every model.
    pub models: Vec<String>,
    /// Endpoints; empty: every endpoint.
    pub endpoints: Vec<String>,
    /// Scopes; `None`: reading and writing everywhere.
    pub scopes: Option<Vec<String>>,
    /// Address blocks; empty: anywhere.
    pub allow_ip: Vec<String>,
    /// Rates and concurrency.
    pub limits: LimitsPatch,
    /// Total uses; `None`: as often as the limits admit.
    pub max_uses: Option<u64>,
    /// A weekly window such as `Mon-Fri 08-18 Europe/Berlin`; `None`: always.
    pub hours: Option<String>,
    /// What a client that goes away causes.
    pub on_disconnect: OnDisconnect,
    /// How old an answer out of the response cache may be, `5m`; `None`, `off`: it is given none.
    pub cache: Option<String>,
    /// What must be shown beside it: `token`, `signature`, `mtls`, `dpop`.
    pub require: Vec<String>,
    /// Make a signing secret with it.
    pub sign: bool,
    /// Client certificates that it may be used with: `x5t#S256:…` or `spiffe://…`; empty: it is bound to none.
    pub bind_mtls: Vec<String>,
    /// It does not work before.
    pub not_before: Option<Timestamp>,
    /// When it expires.
    pub expires: Expiry,
    /// Its first budget, if it is to have one.
    #[serde(skip)]
    pub budget: Option<KeyBudget>,
}

/// What to change of a key: `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyPatch {
    /// Its name.
    pub name: Option<String>,
    /// Model globs.
    pub models: Option<Vec<String>>,
    /// Endpoints.
    pub endpoints: Option<Vec<String>>,
    /// Scopes.
    pub scopes: Option<Vec<String>>,
    /// Address blocks.
    pub allow_ip: Option<Vec<String>>,
    /// Rates and concurrency.
    pub limits: LimitsPatch,
    /// Total uses; `Some(None)`: no bound.
    #[serde(deserialize_with = "given")]
    pub max_uses: Option<Option<u64>>,
    /// Weekly window; `Some(None)`: always.
    #[serde(deserialize_with = "given")]
    pub hours: Option<Option<String>>,
    /// What a client that goes away causes.
    pub on_disconnect: Option<OnDisconnect>,
    /// How old an answer out of the response cache may be, `5m`; `off`: it is given none.
    pub cache: Option<String>,
    /// What must be shown beside it; empty: nothing.
    pub require: Option<Vec<String>>,
    /// Client certificates that it may be used with.
    pub bind_mtls: Option<Vec<String>>,
    /// `Some(None)`: at once.
    #[serde(deserialize_with = "given")]
    pub not_before: Option<Option<Timestamp>>,
    /// When it expires, counted from now.
    pub expires: Option<Expiry>,
}

impl KeyPatch {
    /// Whether nothing is to be changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What the use cases of keys need.
pub(crate) struct KeyDeps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) brand: Brand,
    pub(crate) tenants: Tenants,
    pub(crate) policies: Policies,
    pub(crate) endings: Endings,
    pub(crate) wrappings: Wrappings,
    pub(crate) signing: Signing,
    pub(crate) grants: Grants,
    pub(crate) budgets: Budgets,
}

/// How a new key leaves.
#[derive(Clone, Copy)]
enum Delivery<'a> {
    Shown,
    Wrapped(&'a Wrapped),
    Kept,
}

impl Delivery<'_> {
    const fn way(self) -> HandOver {
        match self {
            Self::Shown => HandOver::Shown,
            Self::Wrapped(_) => HandOver::Wrapped,
            Self::Kept => HandOver::Kept,
        }
    }
}

/// Keys.
#[derive(Clone)]
pub struct Keys(Arc<KeyDeps>);

impl Keys {
    pub(crate) fn new(deps: KeyDeps) -> Self {
        Self(Arc::new(deps))
    }

    /// Makes a key. The token is returned here and never again.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] names the field; [`ServiceError::NotFound`] for workspace and owner.
    pub async fn create(
        &self,
        new: NewKey,
        caller: &Caller,
    ) -> Result<(KeyRecord, Token, KeyUse), ServiceError> {
        let (key, token, _) = self.create_signing(new, caller).await?;
        Ok((key, token, KeyUse::default()))
    }

    /// Makes a key, and the signing secret that was asked for with it. Both are returned here and never again.
    ///
    /// # Errors
    /// As [`Keys::create`].
    pub async fn create_signing(
        &self,
        new: NewKey,
        caller: &Caller,
    ) -> Result<(KeyRecord, Token, Option<MadeSecret>), ServiceError> {
        let now = self.0.clock.now();
        let (sign, budget) = (new.sign, new.budget);
        let (key, token) = self.new_key(new, now).await?;
        let secret = sign.then(|| self.0.signing.make(&key.id, now, now)).transpose()?;
        self.keep(&key, (Delivery::Shown, secret.as_ref(), budget), caller, now).await?;
        Ok((key, token, secret))
    }

    /// Makes a key that nobody gets: only children of it are given out.
    ///
    /// # Errors
    /// As [`Keys::create`].
    pub(crate) async fn create_kept(&self, new: NewKey, caller: &Caller) -> Result<KeyRecord, ServiceError> {
        let now = self.0.clock.now();
        let budget = new.budget;
        let (key, _) = self.new_key(new, now).await?;
        self.keep(&key, (Delivery::Kept, None, budget), caller, now).await?;
        Ok(key)
    }

    /// Makes a key and wraps it for whoever it is for: only what opens it is returned, here and never again. It waits
    /// for so many seconds; a day unless something else is asked for.
    ///
    /// # Errors
    /// As [`Keys::create`]; [`ServiceError::Invalid`] for `wrap_ttl_secs`.
    pub async fn create_wrapped(
        &self,
        new: NewKey,
        wrap_ttl_secs: Option<u64>,
        caller: &Caller,
    ) -> Result<(KeyRecord, Wrapped, Option<MadeSecret>), ServiceError> {
        let now = self.0.clock.now();
        let (sign, budget) = (new.sign, new.budget);
        let (key, token) = self.new_key(new, now).await?;
        let wrapped = self.0.wrappings.wrap(&key.id, &token, wrap_ttl_secs, now)?;
        let secret = sign.then(|| self.0.signing.make(&key.id, now, now)).transpose()?;
        self.keep(&key, (Delivery::Wrapped(&wrapped), secret.as_ref(), budget), caller, now).await?;
        Ok((key, wrapped, secret))
    }

    async fn new_key(&self, new: NewKey, now: Timestamp) -> Result<(KeyRecord, Token), ServiceError> {
        let policy = wish::policy(&new)?;
        if policy.require.contains(Proof::Signature) && !new.sign {
            return Err(ServiceError::invalid(
                "require",
                "a key that must sign needs a secret to sign with: give `sign` (`--sign`)",
            ));
        }
        let expires_at = wish::expiry(new.expires, new.not_before.unwrap_or(now).max(now))?;
        if expires_at.is_some_and(|at| at <= now) {
            return Err(ServiceError::invalid("expires", "lies in the past"));
        }
        let (workspace, owner) = self.0.tenants.home(new.workspace.as_deref(), new.owner.as_deref()).await?;
        let class = if new.test { KeyClass::Test } else { KeyClass::Live };
        let token = Token::generate(self.0.brand, class, self.0.entropy.as_ref())?;
        let peppers = self.0.grants.peppers();
        let public_id = token.public_id();
        let key = KeyRecord {
            id: public_id.key_id().map_err(|e| ServiceError::invalid("id", e))?,
            public_id,
            class,
            name: new.name,
            owner,
            workspace,
            mac: peppers.current().mac(&token),
            pepper_version: peppers.current().version(),
            hint: token.hint(),
            state: KeyState::Active,
            policy,
            created_at: now,
            not_before: new.not_before,
            expires_at,
            revocation: None,
            rotated_from: None,
            lineage: public_id.key_id().map_err(|e| ServiceError::invalid("id", e))?,
            parent: None,
            deprecation: None,
            version: 1,
        };
        check_record(&key).map_err(wish::patch_error)?;
        Ok((key, token))
    }

    /// Writes a new key, in its wrapping if it has one.
    async fn keep(
        &self,
        key: &KeyRecord,
        (delivery, secret, budget): (Delivery<'_>, Option<&MadeSecret>, Option<KeyBudget>),
        caller: &Caller,
        now: Timestamp,
    ) -> Result<(), ServiceError> {
        let cap = self.0.policies.check_new(key, delivery.way(), caller).await?;
        let event = key_event(caller, now, "key.create", key);
        let mut event = digests::with(event, None, Some(&canonical(key)))
            .with("class", key.class.as_str())
            .with("hand_over", delivery.way().as_str())
            .with("name", &*key.name)
            .with("owner", key.owner.as_str())
            .with("policy", wish::as_json(&key.policy))
            .with("workspace", key.workspace.as_str());
        let mut changes = vec![Change::InsertKey(Box::new(key.clone())), cap];
        if let Delivery::Wrapped(wrapped) = delivery {
            changes.push(wrapped.insert());
            event = event.with("wrapping", wrapped.record.id.as_str());
        }
        if let Some(secret) = secret {
            changes.push(Change::InsertSigning(Box::new(secret.record.clone())));
            event = event.with("signing_secret", secret.record.id.as_str());
        }
        if let Some(plan) = budget {
            let (change, record) = self.0.budgets.of_new_key(&key.id, plan, now)?;
            changes.push(change);
            event = event.with("budget", budgets::as_json(&record));
        }
        let applied = self.0.store.apply(changes, event).await?;
        if budget.is_some() {
            // Before anybody has the key.
            self.0.budgets.reload().await?;
        }
        self.0.grants.key_changed(key, applied.seq);
        Ok(())
    }

    /// Keys by creation, with how much each was used. A `limit` of 0 means 100; at most 1,001 are given.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn list(&self, filter: &KeyFilter) -> Result<Vec<(KeyRecord, KeyUse)>, ServiceError> {
        let limit = if filter.limit == 0 { DEFAULT_PAGE } else { filter.limit.min(MAX_PAGE) };
        let keys = self.0.store.keys(&KeyFilter { limit, ..filter.clone() }).await?;
        let ids: Vec<KeyId> = keys.iter().map(|k| k.id.clone()).collect();
        let mut uses: HashMap<KeyId, KeyUse> = self.0.store.key_uses(&ids).await?.into_iter().collect();
        let with_use = |key: KeyRecord| {
            let used = uses.remove(&key.id).unwrap_or_default();
            (key, used)
        };
        Ok(keys.into_iter().map(with_use).collect())
    }

    /// How many keys work now.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn working(&self, now: Timestamp) -> Result<u64, ServiceError> {
        Ok(self.0.store.working_keys(now).await?)
    }

    /// One key, with how much it was used.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn show(&self, id: &KeyId) -> Result<(KeyRecord, KeyUse), ServiceError> {
        let key = self.0.store.key(id).await?.ok_or_else(|| ServiceError::not_found("key", id))?;
        self.with_use(key).await
    }

    /// How a change is judged that somebody asks for: as [`widening::effect`] says, or as a mere change when it will be
    /// refused anyway.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn judge_update(&self, id: &KeyId, patch: KeyPatch) -> Result<Effect, ServiceError> {
        let now = self.0.clock.now();
        let Some(before) = self.0.store.key(id).await? else { return Ok(Effect::Change) };
        let after = wish::patch(patch, now).ok().and_then(|patch| patch.apply_to(&before, now).ok());
        Ok(after.map_or(Effect::Change, |after| widening::effect(&before, &after)))
    }

    /// Changes a key. With `expected_version`, only if it still has that version.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Invalid`], [`ServiceError::Conflict`].
    pub async fn update(
        &self,
        id: &KeyId,
        patch: KeyPatch,
        expected_version: Option<i64>,
        caller: &Caller,
    ) -> Result<(KeyRecord, KeyUse), ServiceError> {
        let patch = wish::patch(patch, self.0.clock.now())?;
        self.check_signing(id, &patch).await?;
        let changed = wish::as_json(&patch);
        let verb = KeyVerb::Update(Box::new(patch));
        let step = Step { verb, expected_version, details: vec![("changed", changed)] };
        self.take(id, &step, caller).await
    }

    /// What must sign must be able to.
    async fn check_signing(
        &self,
        id: &KeyId,
        patch: &claviger_domain::key::patch::KeyPatch,
    ) -> Result<(), ServiceError> {
        if !patch.require.is_some_and(|require| require.contains(Proof::Signature)) {
            return Ok(());
        }
        let now = self.0.clock.now();
        let living = |r: &SigningRecord| r.until.is_none_or(|until| now < until);
        if self.0.store.signing_of(id).await?.iter().any(living) {
            return Ok(());
        }
        Err(ServiceError::invalid("require", "the key has nothing to sign with: give `sign` (`--sign`), too"))
    }

    /// Refuses new requests of a key until it is resumed. Again: nothing changes.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Conflict`] when it is revoked.
    pub async fn suspend(&self, id: &KeyId, caller: &Caller) -> Result<(KeyRecord, KeyUse), ServiceError> {
        self.take(id, &Step::plain(KeyVerb::Suspend), caller).await
    }

    /// Takes a suspension back. Again: nothing changes.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Conflict`] when it is revoked.
    pub async fn resume(&self, id: &KeyId, caller: &Caller) -> Result<(KeyRecord, KeyUse), ServiceError> {
        self.take(id, &Step::plain(KeyVerb::Resume), caller).await
    }

    /// Ends a key for ever. New requests are refused before this returns; calls in flight may finish within 30 s, or
    /// are cut at once with `immediate`. Its children end with it. Again: nothing changes, but `immediate` still cuts.
    /// The certificate follows by itself; [`crate::revocation`] waits for it.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn revoke(
        &self,
        id: &KeyId,
        reason: RevocationReason,
        immediate: bool,
        caller: &Caller,
    ) -> Result<(KeyRecord, KeyUse), ServiceError> {
        let order = EndOrder { reason, immediate, affected: Vec::new() };
        let ended = self.end(id, &order, caller).await?;
        self.with_use(ended.key).await
    }

    /// Forgets the MAC of a key that is over, so that nothing here could prove it any more; its record stays. Again:
    /// nothing changes.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Conflict`] while it is neither revoked nor expired.
    pub async fn purge(&self, id: &KeyId, caller: &Caller) -> Result<(KeyRecord, KeyUse), ServiceError> {
        self.take(id, &Step::plain(KeyVerb::Purge), caller).await
    }

    /// Loads, decides, applies; again when someone else was faster.
    async fn take(
        &self,
        id: &KeyId,
        step: &Step,
        caller: &Caller,
    ) -> Result<(KeyRecord, KeyUse), ServiceError> {
        let Step { verb, expected_version, details } = step;
        for _ in 0..TRIES {
            let key = self.0.store.key(id).await?.ok_or_else(|| ServiceError::not_found("key", id))?;
            if expected_version.is_some_and(|version| version != key.version) {
                return Err(ServiceError::Stale { what: "key", version: key.version });
            }
            let now = self.0.clock.now();
            let mut changed = match decide(&key, verb, now) {
                Ok(changed) => changed,
                Err(TransitionError::Already(_)) => return self.with_use(key).await,
                Err(TransitionError::Patch(error)) => return Err(wish::patch_error(error)),
                Err(error @ TransitionError::Illegal { .. }) => {
                    return Err(ServiceError::conflict("key", error));
                }
            };
            self.0.policies.check_change(&key, &changed).await?;
            let event = key_event(caller, now, &format!("key.{}", verb.as_str()), &key);
            let event = digests::with(event, Some(&canonical(&key)), Some(&canonical(&changed)));
            let event = details.iter().fold(event, |event, (name, value)| event.with(name, value.clone()));
            match self.0.store.apply(vec![Change::UpdateKey(Box::new(changed.clone()))], event).await {
                Ok(applied) => {
                    changed.version += 1;
                    self.0.grants.key_changed(&changed, applied.seq);
                    return self.with_use(changed).await;
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServiceError::conflict("key", "it is being changed by someone else all the time"))
    }

    async fn with_use(&self, key: KeyRecord) -> Result<(KeyRecord, KeyUse), ServiceError> {
        let mut uses = self.0.store.key_uses(std::slice::from_ref(&key.id)).await?;
        let used = uses.pop().map(|(_, used)| used).unwrap_or_default();
        Ok((key, used))
    }
}

/// A step in a key's life.
struct Step {
    verb: KeyVerb,
    /// Only if the key still has this version.
    expected_version: Option<i64>,
    /// What the audit record says beside the verb.
    details: Vec<(&'static str, serde_json::Value)>,
}

impl Step {
    const fn plain(verb: KeyVerb) -> Self {
        Self { verb, expected_version: None, details: Vec::new() }
    }
}

/// An event that concerns a key: what every one of them says.
fn key_event(caller: &Caller, now: Timestamp, action: &str, key: &KeyRecord) -> AuditEvent {
    let mut event = caller.event(now, action, key.id.as_str());
    event.key = key.id.to_string();
    event.token_scope = key.policy.permissions.scopes.words().join(" ");
    event
}

#[cfg(test)]
mod tests;
