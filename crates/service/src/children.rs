//! What the holder of a key may do by itself, without an operator: mint child keys, keep them alive, end them, and see
//! how its own key stands.

mod standing;

use std::sync::Arc;

use claviger_domain::{
    address::{CidrError, CidrList},
    audit::AuditEvent,
    clock::{Clock, Entropy, Timestamp},
    id::KeyId,
    key::{
        KeyPolicy, KeyRecord, KeyState, RevocationReason,
        child::{self, ChildError, ChildWish, MOST_CHILDREN},
        patch::{MAX_NAME_LEN, check_record},
        transition::{KeyVerb, TransitionError, decide},
    },
    limit::{Exceeded, Limits},
    permission::{Endpoint, ModelGlob, PermissionError, Scopes},
    ports::{Change, Store, StoreError, children::ChildCap},
    token::{Brand, Token},
};
use serde::Deserialize;
pub use standing::{Notice, Standing};

use crate::{
    Caller, ServiceError, digests,
    grants::{Grants, LiveGrant},
    holder_rates::HolderRates,
    keys::canonical::canonical,
};

/// Entries in a list of models, endpoints, scopes or addresses.
const MAX_ENTRIES: usize = 256;
/// How often a change is decided anew when someone else changed the key meanwhile.
const TRIES: u32 = 5;

/// A child as it is asked for. What is missing is as the parent has it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewChild {
    /// Its name.
    pub name: Option<String>,
    /// How long it lives, in seconds: 10 to 86,400.
    pub ttl_secs: Option<u64>,
    /// Model globs.
    pub models: Vec<String>,
    /// Endpoints.
    pub endpoints: Vec<String>,
    /// Scopes.
    pub scopes: Vec<String>,
    /// Address blocks.
    pub allow_ip: Vec<String>,
    /// Rates and concurrency.
    pub limits: Limits,
    /// Total uses.
    pub max_uses: Option<u64>,
}

/// Why a holder does not get what it asks for.
#[derive(Debug, thiserror::Error)]
pub enum ChildrenError {
    /// Not by the rules of child keys.
    #[error("{}", said(.0))]
    Rule(#[from] ChildError),
    /// The parent has as many living children as it may have.
    #[error(
        "this key has {0} living child keys, the most it may have: wait until one expires, or revoke one"
    )]
    Full(u32),
    /// It is none of this key's children.
    #[error("no child key `{0}`")]
    NotFound(String),
    /// It asks too often.
    #[error("asked too often")]
    TooOften(Exceeded),
    /// The rest.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// With the field that is at fault.
fn said(error: &ChildError) -> String {
    match error.field() {
        "" => error.to_string(),
        field => format!("{field}: {error}"),
    }
}

impl From<StoreError> for ChildrenError {
    fn from(error: StoreError) -> Self {
        if let StoreError::OverCap { allowed, .. } = error {
            return Self::Full(allowed);
        }
        Self::Service(error.into())
    }
}

/// What the use cases of holders need.
pub(crate) struct ChildDeps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) brand: Brand,
    pub(crate) grants: Grants,
}

/// Children, and what else holders do by themselves.
#[derive(Clone)]
pub struct Children(Arc<Inner>);

struct Inner {
    deps: ChildDeps,
    rates: HolderRates,
}

impl Children {
    pub(crate) fn new(deps: ChildDeps) -> Self {
        Self(Arc::new(Inner { deps, rates: HolderRates::default() }))
    }

    /// Counts one request of a holder about its own key. These do not count against the key's limits, so that a busy
    /// key can still keep its children alive; they have a bound of their own.
    ///
    /// # Errors
    /// [`ChildrenError::TooOften`].
    pub fn count(&self, holder: &LiveGrant, now: Timestamp) -> Result<(), ChildrenError> {
        self.0.rates.count(holder.grant.key.public_id, now).map_err(ChildrenError::TooOften)
    }

    /// Mints a child of the key that asks. Its token is returned here and never again.
    ///
    /// # Errors
    /// [`ChildrenError`].
    pub async fn mint(
        &self,
        holder: &LiveGrant,
        new: NewChild,
        caller: &Caller,
    ) -> Result<(KeyRecord, Token), ChildrenError> {
        let deps = &self.0.deps;
        let wish = wish(new)?;
        // As the store has it: what is held here may be a second old.
        let parent = self.key(&holder.grant.key.id).await?;
        let now = deps.clock.now();
        child::check_parent(&parent, now)?;
        let policy = child::policy(&parent.policy, &wish)?;
        let expires_at = child::expiry(&parent, wish.ttl_secs, now)?;
        let birth = Birth { name: wish.name, policy, expires_at, now };
        let (key, token) = born(&parent, birth, deps.brand, deps.entropy.as_ref(), &deps.grants)?;
        let event = event(caller, now, "child.create", &key);
        let event = digests::with(event, None, Some(&canonical(&key)))
            .with("expires_at", expires_at.to_rfc3339())
            .with("name", &*key.name)
            .with("parent", parent.id.as_str())
            .with("policy", serde_json::to_value(&key.policy).unwrap_or_default());
        let cap = ChildCap { parent: parent.id, most: MOST_CHILDREN, now };
        let changes = vec![Change::InsertKey(Box::new(key.clone())), Change::HoldChildCap(cap)];
        let applied = deps.store.apply(changes, event).await?;
        deps.grants.key_changed(&key, applied.seq);
        Ok((key, token))
    }

    /// Keeps a child alive for another lease.
    ///
    /// # Errors
    /// [`ChildrenError::NotFound`] for anything that is not a child of the key that asks, [`ChildrenError::Rule`] when it
    /// is over.
    pub async fn beat(
        &self,
        holder: &LiveGrant,
        id: &KeyId,
        caller: &Caller,
    ) -> Result<KeyRecord, ChildrenError> {
        self.change(holder, id, ChildVerb::Extend, caller).await
    }

    /// Ends a child at once, calls in flight included: its process is gone. Again: nothing changes.
    ///
    /// # Errors
    /// [`ChildrenError::NotFound`] for anything that is not a child of the key that asks.
    pub async fn end(
        &self,
        holder: &LiveGrant,
        id: &KeyId,
        caller: &Caller,
    ) -> Result<KeyRecord, ChildrenError> {
        self.change(holder, id, ChildVerb::Revoke, caller).await
    }

    /// Loads, decides, applies; again when someone else was faster.
    async fn change(
        &self,
        holder: &LiveGrant,
        id: &KeyId,
        verb: ChildVerb,
        caller: &Caller,
    ) -> Result<KeyRecord, ChildrenError> {
        let deps = &self.0.deps;
        let parent = self.key(&holder.grant.key.id).await?;
        for _ in 0..TRIES {
            let found = deps.store.key(id).await?;
            // Others' keys look like none.
            let child = found.filter(|key| key.parent.as_ref() == Some(&parent.id));
            let child = child.ok_or_else(|| ChildrenError::NotFound(id.to_string()))?;
            let now = deps.clock.now();
            let Some(mut changed) = verb.decide(&child, &parent, now)? else { return Ok(child) };
            let event = event(caller, now, verb.action(), &changed).with("parent", parent.id.as_str());
            let event = digests::with(event, Some(&canonical(&child)), Some(&canonical(&changed)));
            let event = match changed.expires_at {
                Some(at) => event.with("expires_at", at.to_rfc3339()),
                None => event,
            };
            match deps.store.apply(vec![Change::UpdateKey(Box::new(changed.clone()))], event).await {
                Ok(applied) => {
                    changed.version += 1;
                    deps.grants.key_changed(&changed, applied.seq);
                    return Ok(changed);
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServiceError::conflict("key", "it is being changed by someone else all the time").into())
    }

    async fn key(&self, id: &KeyId) -> Result<KeyRecord, ChildrenError> {
        let found = self.0.deps.store.key(id).await?;
        Ok(found.ok_or_else(|| ServiceError::not_found("key", id))?)
    }
}

/// What a child is to be.
pub(crate) struct Birth {
    /// Its name; `None`: after its parent.
    pub(crate) name: Option<String>,
    /// What it may do: judged before.
    pub(crate) policy: KeyPolicy,
    /// When it ends.
    pub(crate) expires_at: Timestamp,
    /// When it begins.
    pub(crate) now: Timestamp,
}

/// A new child of a key, not written yet.
pub(crate) fn born(
    parent: &KeyRecord,
    birth: Birth,
    brand: Brand,
    entropy: &dyn Entropy,
    grants: &Grants,
) -> Result<(KeyRecord, Token), ServiceError> {
    let token = Token::generate(brand, parent.class, entropy)?;
    let peppers = grants.peppers();
    let public_id = token.public_id();
    let id = public_id.key_id().map_err(|e| ServiceError::invalid("id", e))?;
    let key = KeyRecord {
        id: id.clone(),
        public_id,
        class: parent.class,
        name: birth.name.unwrap_or_else(|| name_after(&parent.name)),
        owner: parent.owner.clone(),
        workspace: parent.workspace.clone(),
        mac: peppers.current().mac(&token),
        pepper_version: peppers.current().version(),
        hint: token.hint(),
        state: KeyState::Active,
        policy: birth.policy,
        created_at: birth.now,
        not_before: None,
        expires_at: Some(birth.expires_at),
        revocation: None,
        rotated_from: None,
        lineage: id,
        parent: Some(parent.id.clone()),
        deprecation: None,
        version: 1,
    };
    check_record(&key).map_err(|e| ServiceError::invalid("name", e))?;
    Ok((key, token))
}

/// What a holder does to a child.
#[derive(Debug, Clone, Copy)]
enum ChildVerb {
    Extend,
    Revoke,
}

impl ChildVerb {
    const fn action(self) -> &'static str {
        match self {
            Self::Extend => "child.extend",
            Self::Revoke => "child.revoke",
        }
    }

    /// The changed child; `None`: there is nothing to change.
    fn decide(
        self,
        child: &KeyRecord,
        parent: &KeyRecord,
        now: Timestamp,
    ) -> Result<Option<KeyRecord>, ChildError> {
        match self {
            Self::Extend => {
                let changed = child::extended(child, parent, now)?;
                Ok((changed.expires_at != child.expires_at).then_some(changed))
            }
            Self::Revoke => {
                let verb = KeyVerb::Revoke { reason: RevocationReason::UserRequest, immediate: true };
                match decide(child, &verb, now) {
                    Ok(changed) => Ok(Some(changed)),
                    Err(
                        TransitionError::Already(_)
                        | TransitionError::Illegal { .. }
                        | TransitionError::Patch(_),
                    ) => Ok(None),
                }
            }
        }
    }
}

fn event(caller: &Caller, now: Timestamp, action: &str, child: &KeyRecord) -> AuditEvent {
    let mut event = caller.event(now, action, child.id.as_str());
    event.key = child.id.to_string();
    event.token_scope = child.policy.permissions.scopes.words().join(" ");
    event
}

fn name_after(parent: &str) -> String {
    let mut name = format!("child of {parent}");
    let end = (0..=MAX_NAME_LEN.min(name.len())).rev().find(|i| name.is_char_boundary(*i)).unwrap_or(0);
    name.truncate(end);
    name
}

/// Reads what was asked for, field by field, so that each complaint names its field.
fn wish(new: NewChild) -> Result<ChildWish, ServiceError> {
    let lists = [
        ("models", &new.models),
        ("endpoints", &new.endpoints),
        ("scopes", &new.scopes),
        ("allow_ip", &new.allow_ip),
    ];
    if let Some((field, _)) = lists.into_iter().find(|(_, list)| list.len() > MAX_ENTRIES) {
        return Err(ServiceError::invalid(field, "at most 256 entries"));
    }
    let invalid = |field| move |e: PermissionError| ServiceError::invalid(field, e);
    let models = new.models.iter().map(|m| ModelGlob::parse(m.trim())).collect::<Result<_, _>>();
    let endpoint =
        |word: &String| Endpoint::parse(word.trim()).ok_or_else(|| PermissionError::Endpoint(word.clone()));
    let endpoints = new.endpoints.iter().map(endpoint).collect::<Result<_, _>>();
    let scopes = if new.scopes.is_empty() { Ok(None) } else { Scopes::parse(&new.scopes).map(Some) };
    Ok(ChildWish {
        name: new.name,
        ttl_secs: new.ttl_secs,
        models: models.map_err(invalid("models"))?,
        endpoints: endpoints.map_err(invalid("endpoints"))?,
        scopes: scopes.map_err(invalid("scopes"))?,
        allow_ip: CidrList::parse(&new.allow_ip)
            .map_err(|e: CidrError| ServiceError::invalid("allow_ip", e))?,
        limits: new.limits,
        max_uses: new.max_uses,
    })
}

#[cfg(test)]
mod tests;
