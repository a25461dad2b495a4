//! Wrapped delivery: a key is handed over as a token that opens it once, for a short time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use claviger_domain::{
    address::counting_block,
    audit::{Actor, AuditEvent},
    clock::{Clock, Entropy, MICROS_PER_SEC, Timestamp},
    id::{KeyId, WrappingId},
    key::{KeyRecord, KeyState, KeyStatus},
    mac::KeyMac,
    notice::{About, Incident, Notice},
    ports::{Change, SealContext, Sealer, Store, StoreError},
    secret::SecretBytes,
    token::{
        Brand, PublicId, Token,
        side::{SideToken, SideUse},
    },
    wrapping::{Opened, WrappingError, WrappingRecord, ttl_secs},
};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    Caller, ServiceError, digests,
    grants::Grants,
    lock::lock,
    notices::Notices,
    refusals::{RefusalSubject, Refusals},
    scheduler::Turn,
};

/// Look-ups of wrapping tokens at once.
const LOOKUPS: usize = 64;
/// How often an opening is decided anew when someone else changed the delivery meanwhile.
const TRIES: u32 = 5;
/// Second openings of one delivery are recorded once within this time, in microseconds, with their count.
const INCIDENT_US: i64 = 60 * MICROS_PER_SEC;
/// Deliveries whose second openings are counted.
const INCIDENTS: usize = 1_024;
/// Lapsed deliveries that are emptied at a time.
const SWEPT: u32 = 100;

/// What wrapped deliveries need.
pub(crate) struct WrappingDeps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sealer: Arc<dyn Sealer>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) brand: Brand,
    pub(crate) grants: Grants,
    pub(crate) refusals: Refusals,
    pub(crate) notices: Notices,
}

/// Wrapped deliveries. Cheap to clone.
#[derive(Clone)]
pub struct Wrappings(Arc<Inner>);

struct Inner {
    deps: WrappingDeps,
    lookups: Semaphore,
    incidents: Mutex<HashMap<PublicId, Repeated>>,
}

/// Openings of a delivery after the first.
struct Repeated {
    recorded_at: Timestamp,
    /// How many were not recorded since.
    unrecorded: u64,
}

/// A key that came out of its wrapping.
pub struct Unwrapped {
    /// Whose text it is.
    pub id: KeyId,
    /// The key.
    pub key: SecretBytes,
}

/// A key in its wrapping.
pub struct Wrapped {
    /// Opens it.
    pub token: SideToken,
    /// What is kept.
    pub record: WrappingRecord,
}

impl Wrapped {
    /// The change that keeps it. It goes into the same [`Store::apply`] as the key, after it.
    pub(crate) fn insert(&self) -> Change {
        Change::InsertWrapping(Box::new(self.record.clone()))
    }
}

impl Wrappings {
    pub(crate) fn new(deps: WrappingDeps) -> Self {
        let (lookups, incidents) = (Semaphore::new(LOOKUPS), Mutex::default());
        Self(Arc::new(Inner { deps, lookups, incidents }))
    }

    /// Wraps a key for so many seconds; a day unless something else is asked for.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] for `wrap_ttl_secs`, [`ServiceError::Seal`], [`ServiceError::Entropy`].
    pub(crate) fn wrap(
        &self,
        key: &KeyId,
        token: &Token,
        asked_secs: Option<u64>,
        now: Timestamp,
    ) -> Result<Wrapped, ServiceError> {
        let ttl = ttl_secs(asked_secs).map_err(|e| ServiceError::invalid("wrap_ttl_secs", e))?;
        let deps = &self.0.deps;
        let opener = SideToken::generate(deps.brand, SideUse::Wrapping, deps.entropy.as_ref())?;
        let public_id = opener.public_id();
        let id = id_of(public_id)?;
        let peppers = deps.grants.peppers();
        let record = WrappingRecord {
            sealed: deps.sealer.seal(context(&id), token.expose())?,
            id,
            public_id,
            mac: peppers.current().side_mac(&opener),
            pepper_version: peppers.current().version(),
            key: key.clone(),
            created_at: now,
            expires_at: now.plus_micros(i64::try_from(ttl).unwrap_or(0).saturating_mul(MICROS_PER_SEC)),
            opened: None,
            version: 1,
        };
        Ok(Wrapped { token: opener, record })
    }

    /// Opens a delivery, once. Whoever holds its token may.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] for what is no wrapping token, [`ServiceError::NotFound`] for one that opens nothing,
    /// [`ServiceError::Conflict`] when it was opened before, [`ServiceError::Gone`] when its time is over or its key
    /// is dead.
    pub async fn unwrap(&self, token: &[u8], caller: &Caller) -> Result<Unwrapped, ServiceError> {
        let deps = &self.0.deps;
        let token = SideToken::parse(deps.brand, SideUse::Wrapping, token).map_err(|_| {
            ServiceError::invalid("token", "this is no wrapping token: one begins with `cvg_wrap_`")
        })?;
        let busy = || ServiceError::Unavailable("too many deliveries are being opened".to_owned());
        let _turn = self.0.lookups.try_acquire().map_err(|_| busy())?;
        for _ in 0..TRIES {
            let record = self.find(&token, caller).await?;
            let now = deps.clock.now();
            let opened = match record.open(now, &caller.client_ip) {
                Ok(opened) => opened,
                Err(WrappingError::Opened(first)) => return Err(self.again(&record, first, caller).await?),
                Err(why) => return Err(self.gone("lapsed", why, caller)),
            };
            let key = deps.store.key(&record.key).await?;
            let Some(key) = key.filter(|key| !is_dead(key, now)) else {
                return Err(self.gone("withdrawn", WrappingError::Withdrawn, caller));
            };
            let secret = deps.sealer.open(context(&record.id), &record.sealed)?;
            let event = event_of(caller, now, "key.unwrap", &record);
            let event = digests::with(event, Some(&canonical(&record)), Some(&canonical(&opened)));
            match deps.store.apply(vec![Change::UpdateWrapping(Box::new(opened))], event).await {
                Ok(_) => return Ok(Unwrapped { id: key.id, key: secret }),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServiceError::conflict("delivery", "it is being opened by someone else"))
    }

    /// A delivery, without opening it.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn show(&self, id: &WrappingId) -> Result<(WrappingRecord, WrappingState), ServiceError> {
        let public_id = id.as_str().strip_prefix(WrappingId::PREFIX).and_then(PublicId::parse);
        let found = match public_id {
            Some(public_id) => self.0.deps.store.wrapping(public_id).await?,
            None => None,
        };
        let record = found.ok_or_else(|| ServiceError::not_found("delivery", id))?;
        let state = WrappingState::of(&record, self.0.deps.clock.now());
        Ok((record, state))
    }

    /// The change that takes the key out of a delivery that nobody has opened; `None`: there is none.
    pub(crate) async fn withdraw(&self, key: &KeyId) -> Result<Option<Change>, ServiceError> {
        let found = self.0.deps.store.wrapping_of(key).await?.filter(|w| !w.sealed.is_empty());
        Ok(found.map(emptied))
    }

    /// Whether a delivery has lapsed that still holds its key.
    pub(crate) async fn has_lapsed(&self) -> Result<bool, ServiceError> {
        let deps = &self.0.deps;
        Ok(!deps.store.lapsed_wrappings(deps.clock.now(), 1).await?.is_empty())
    }

    /// Empties deliveries that have lapsed, under the lease of this turn if there is one; how many.
    pub(crate) async fn sweep(&self, turn: Option<&Turn>) -> Result<usize, ServiceError> {
        let deps = &self.0.deps;
        let now = deps.clock.now();
        let lapsed = deps.store.lapsed_wrappings(now, SWEPT).await?;
        if lapsed.is_empty() {
            return Ok(0);
        }
        let ids: Vec<&str> = lapsed.iter().map(|w| w.id.as_str()).collect();
        let event = AuditEvent::new(now, Actor::System, "wrapping.lapse", "").with("wrappings", json!(ids));
        let count = lapsed.len();
        let changes = turn.map(Turn::hold).into_iter().chain(lapsed.into_iter().map(emptied)).collect();
        match deps.store.apply(changes, event).await {
            Ok(_) => Ok(count),
            // One of them was emptied by someone else: the next look finds the others.
            Err(StoreError::Conflict { .. }) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    async fn find(&self, token: &SideToken, caller: &Caller) -> Result<WrappingRecord, ServiceError> {
        let deps = &self.0.deps;
        let peppers = deps.grants.peppers();
        let found = deps.store.wrapping(token.public_id()).await?;
        let genuine = match &found {
            Some(record) => peppers.verify_side(token, &record.mac, record.pepper_version),
            // The same work, so that strangers do not learn which ids exist.
            None => {
                let nothing = KeyMac::from_bytes([0; 32]);
                peppers.verify_side(token, &nothing, peppers.current().version())
            }
        };
        found.filter(|_| genuine).ok_or_else(|| {
            self.count("unwrap_unknown", caller);
            ServiceError::not_found(
                "delivery",
                format!("{}{}", WrappingId::PREFIX, token.public_id().as_str()),
            )
        })
    }

    fn gone(&self, reason: &'static str, why: WrappingError, caller: &Caller) -> ServiceError {
        self.count(if reason == "lapsed" { "unwrap_lapsed" } else { "unwrap_withdrawn" }, caller);
        ServiceError::Gone { what: "delivery", why: why.to_string() }
    }

    fn count(&self, reason: &'static str, caller: &Caller) {
        if let Ok(ip) = caller.client_ip.parse() {
            let block = RefusalSubject::Block(counting_block(ip));
            self.0.deps.refusals.count(reason, block, self.0.deps.clock.now());
        }
    }

    /// A second opening: refused, recorded, and told to people; once a minute for each delivery, with the number of
    /// those that were not.
    async fn again(
        &self,
        record: &WrappingRecord,
        first: Opened,
        caller: &Caller,
    ) -> Result<ServiceError, ServiceError> {
        let deps = &self.0.deps;
        let now = deps.clock.now();
        let refused = ServiceError::conflict("delivery", WrappingError::Opened(first.clone()));
        let Some(before) = self.is_due(record.public_id, now) else { return Ok(refused) };
        let about = match deps.store.key(&record.key).await? {
            Some(key) => About::key(&key),
            None => About { key: Some(record.key.clone()), ..About::everyone() },
        };
        let what = format!(
            "The wrapped key {} was opened at {} from {}, and somebody asked for it again from {}.",
            record.key,
            first.at.to_rfc3339(),
            place(&first.client_ip),
            place(&caller.client_ip),
        );
        let client_ip = caller.client_ip.clone();
        let notice = deps
            .notices
            .raise(about, Notice::Incident { incident: Incident::SecondUnwrap, what, client_ip })?;
        let mut event = event_of(caller, now, "key.unwrap", record)
            .with("first_opened_at", first.at.to_rfc3339())
            .with("first_opened_ip", first.client_ip)
            .with("unrecorded_before", before);
        event.outcome = "opened_before".to_owned();
        deps.store.apply(vec![notice], event).await?;
        Ok(refused)
    }

    /// Whether a second opening is to be recorded now, and how many were not before it.
    fn is_due(&self, id: PublicId, now: Timestamp) -> Option<u64> {
        let mut incidents = lock(&self.0.incidents);
        if let Some(known) = incidents.get_mut(&id) {
            let age = now.micros_since(known.recorded_at);
            if (0..INCIDENT_US).contains(&age) {
                known.unrecorded += 1;
                return None;
            }
        }
        if incidents.len() >= INCIDENTS {
            incidents.clear();
        }
        let before = incidents.insert(id, Repeated { recorded_at: now, unrecorded: 0 });
        Some(before.map_or(0, |b| b.unrecorded))
    }
}

/// How a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrappingState {
    /// It can be opened.
    Waiting,
    /// It was opened.
    Opened,
    /// Its time is over.
    Lapsed,
    /// Its key went before anybody opened it.
    Withdrawn,
}

impl WrappingState {
    fn of(record: &WrappingRecord, now: Timestamp) -> Self {
        match record.open(now, "") {
            Ok(_) => Self::Waiting,
            Err(WrappingError::Opened(_)) => Self::Opened,
            Err(WrappingError::Lapsed(_)) => Self::Lapsed,
            Err(WrappingError::Withdrawn | WrappingError::Ttl) => Self::Withdrawn,
        }
    }

    /// As printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Opened => "opened",
            Self::Lapsed => "lapsed",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// The id under which a token's delivery is kept.
fn id_of(public_id: PublicId) -> Result<WrappingId, ServiceError> {
    let id = format!("{}{}", WrappingId::PREFIX, public_id.as_str());
    WrappingId::parse(&id).map_err(|e| ServiceError::invalid("token", e))
}

fn context(id: &WrappingId) -> SealContext<'_> {
    SealContext { table: "wrappings", column: "sealed", row: id.as_str() }
}

fn emptied(record: WrappingRecord) -> Change {
    Change::UpdateWrapping(Box::new(WrappingRecord { sealed: Vec::new(), ..record }))
}

fn is_dead(key: &KeyRecord, now: Timestamp) -> bool {
    matches!(key.state, KeyState::Revoked | KeyState::Purged) || key.status(now) == KeyStatus::Expired
}

fn place(ip: &str) -> &str {
    if ip.is_empty() { "this machine" } else { ip }
}

fn event_of(caller: &Caller, now: Timestamp, action: &str, record: &WrappingRecord) -> AuditEvent {
    let mut event = caller.event(now, action, record.id.as_str());
    event.key = record.key.to_string();
    event
}

/// What a digest is made of: no secret, and whether one is held.
fn canonical(record: &WrappingRecord) -> Value {
    json!({
        "created_at": record.created_at.as_micros(),
        "expires_at": record.expires_at.as_micros(),
        "holds": !record.sealed.is_empty(),
        "id": record.id.as_str(),
        "key": record.key.as_str(),
        "opened_at": record.opened.as_ref().map(|o| o.at.as_micros()),
        "opened_ip": record.opened.as_ref().map(|o| o.client_ip.as_str()),
    })
}

#[cfg(test)]
mod tests;
