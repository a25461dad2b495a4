//! Rotating client keys: a successor is made and handed over wrapped, its adoption is watched, and the old key is
//! walked down the ladder of deprecation until it is revoked.

mod redelivery;
mod runner;
mod standing;
mod writing;

use std::sync::Arc;

use claviger_domain::{
    audit::AuditEvent,
    clock::{Clock, Entropy, Timestamp},
    id::{KeyId, RotationId},
    key::{KeyRecord, KeyState},
    notice::RotationStep,
    ports::{Change, LedgerStore, Store, StoreError, lifecycle::RotationFilter},
    rotation::{
        RotationError, RotationRecord, RotationState, Taken, cancel, check_cancel, check_rollback, overlap,
        roll_back, successor_expiry,
    },
    tenancy::HandOver,
    token::{Brand, Token, side::SideToken},
};
use serde_json::{Value, json};

pub(crate) use runner::RotationJob;
pub use standing::{Share, Standing};

use self::writing::Write;
use crate::{
    Caller, ServiceError, certificates::Certificates, digests, ending::Endings, grants::Grants,
    notices::Notices, policies::Policies, signing::Signing, wrapping::Wrappings,
};

/// How often a change is decided anew when someone else changed the rows meanwhile.
const TRIES: u32 = 5;
const MAX_REASON: usize = 200;
const DEFAULT_PAGE: u32 = 100;
/// A page of 1,000, and one more that tells whether there are more.
const MAX_PAGE: u32 = 1_001;

/// A rotation to be begun.
#[derive(Debug, Clone, Default)]
pub struct NewRotation {
    /// How long both keys work, in seconds; `None`: 7 days, or until the old key expires.
    pub overlap_secs: Option<u64>,
    /// Why, in the operator's words.
    pub reason: String,
    /// How long the successor waits for whoever unwraps it, in seconds; `None`: a day.
    pub wrap_ttl_secs: Option<u64>,
}

/// A rotation that has begun.
pub struct Started {
    /// The rotation.
    pub rotation: RotationRecord,
    /// The key that comes.
    pub successor: KeyRecord,
    /// Opens the successor's delivery, once. It is returned here and never again.
    pub token: SideToken,
    /// When the delivery lapses.
    pub wrapping_expires_at: Timestamp,
}

/// What rotations need.
pub(crate) struct RotationDeps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) ledger: Arc<dyn LedgerStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) brand: Brand,
    pub(crate) policies: Policies,
    pub(crate) grants: Grants,
    pub(crate) wrappings: Wrappings,
    pub(crate) signing: Signing,
    pub(crate) notices: Notices,
    pub(crate) endings: Endings,
    pub(crate) certificates: Certificates,
}

/// Rotations of client keys. Cheap to clone.
#[derive(Clone)]
pub struct Rotations(Arc<RotationDeps>);

impl Rotations {
    pub(crate) fn new(deps: RotationDeps) -> Self {
        Self(Arc::new(deps))
    }

    /// Begins a rotation: makes the successor, wraps it, and tells people, in one transaction. The successor counts as
    /// its predecessor's place under the owner's limit.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`]; [`ServiceError::Invalid`] names `overlap_secs`, `wrap_ttl_secs` or `reason`;
    /// [`ServiceError::Conflict`] when the key's state or another open rotation stands in the way;
    /// [`ServiceError::Policy`].
    pub async fn start(
        &self,
        id: &KeyId,
        new: &NewRotation,
        caller: &Caller,
    ) -> Result<Started, ServiceError> {
        check_reason(&new.reason)?;
        for _ in 0..TRIES {
            match self.try_start(id, new, caller).await {
                // The old key was changed meanwhile: what is true now is judged anew.
                Err(ServiceError::Conflict { what: "key", why }) if why == CHANGED => {}
                decided => return decided,
            }
        }
        Err(ServiceError::conflict("key", "it is being changed by someone else all the time"))
    }

    async fn try_start(
        &self,
        id: &KeyId,
        new: &NewRotation,
        caller: &Caller,
    ) -> Result<Started, ServiceError> {
        let deps = &*self.0;
        let old = self.key(id).await?;
        let now = deps.clock.now();
        self.check_no_other(&old).await?;
        let overlap_secs = overlap(&old, new.overlap_secs, now).map_err(refused)?;
        let (successor, token) = self.successor(&old, now)?;
        // The owner's keys are not counted: the line of successors has its place already.
        drop(deps.policies.check_new(&successor, HandOver::Wrapped, caller).await?);
        let wrapped = deps.wrappings.wrap(&successor.id, &token, new.wrap_ttl_secs, now)?;
        let rotation = RotationRecord {
            id: RotationId::generate(deps.entropy.as_ref())?,
            old: old.id.clone(),
            successor: successor.id.clone(),
            owner: old.owner.clone(),
            workspace: old.workspace.clone(),
            reason: new.reason.clone(),
            state: RotationState::Created,
            overlap_secs,
            started_at: now,
            delivered_at: None,
            activated_at: None,
            retiring_at: None,
            ended_at: None,
            hold: None,
            extended_to: None,
            version: 1,
        };
        let event = event_of(caller, now, "key.rotate", &rotation)
            .with("deadline", rotation.deadline().to_rfc3339())
            .with("overlap_secs", overlap_secs)
            .with("reason", &*rotation.reason)
            .with("wrapping", wrapped.record.id.as_str());
        let event = digests::with(event, None, Some(&canonical(&rotation)));
        let mut changes = vec![
            // Written unchanged: whoever revokes or suspends it at this moment comes before or after, not in between;
            // and whoever uses it hears of the successor.
            Change::UpdateKey(Box::new(old.clone())),
            Change::InsertKey(Box::new(successor.clone())),
            wrapped.insert(),
            Change::InsertRotation(Box::new(rotation.clone())),
            self.notice(&rotation, &old, RotationStep::Started)?,
        ];
        // Whoever signs goes on with the secret that it has.
        changes.extend(deps.signing.copies(&old.id, &successor.id).await?);
        let applied = deps.store.apply(changes, event).await.map_err(taken_meanwhile)?;
        deps.grants.key_outdated(&old.id, applied.seq);
        deps.grants.key_changed(&successor, applied.seq);
        let wrapping_expires_at = wrapped.record.expires_at;
        Ok(Started { rotation, successor, token: wrapped.token, wrapping_expires_at })
    }

    /// A new key that is all that the old one is, but for its id and its times.
    fn successor(&self, old: &KeyRecord, now: Timestamp) -> Result<(KeyRecord, Token), ServiceError> {
        let deps = &*self.0;
        let token = Token::generate(deps.brand, old.class, deps.entropy.as_ref())?;
        let public_id = token.public_id();
        let peppers = deps.grants.peppers();
        let successor = KeyRecord {
            id: public_id.key_id().map_err(|e| ServiceError::invalid("id", e))?,
            public_id,
            mac: peppers.current().mac(&token),
            pepper_version: peppers.current().version(),
            hint: token.hint(),
            state: KeyState::Active,
            created_at: now,
            not_before: None,
            expires_at: successor_expiry(old, now),
            revocation: None,
            rotated_from: Some(old.id.clone()),
            lineage: old.lineage.clone(),
            parent: None,
            deprecation: None,
            version: 1,
            ..old.clone()
        };
        Ok((successor, token))
    }

    /// A key is in one open rotation at most, whichever of the two it is.
    async fn check_no_other(&self, key: &KeyRecord) -> Result<(), ServiceError> {
        match self.open_of(&key.id).await? {
            Some(open) => {
                Err(ServiceError::conflict("rotation", format!("{} of this key is open already", open.id)))
            }
            None => Ok(()),
        }
    }

    /// The open rotation that a key is in.
    async fn open_of(&self, key: &KeyId) -> Result<Option<RotationRecord>, ServiceError> {
        let filter =
            RotationFilter { key: Some(key.clone()), open: true, limit: 1, ..RotationFilter::default() };
        Ok(self.0.store.rotations(&filter).await?.pop())
    }

    /// Rotations by their start. A `limit` of 0 means 100; at most 1,001 are given.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn list(&self, filter: &RotationFilter) -> Result<Vec<RotationRecord>, ServiceError> {
        let limit = if filter.limit == 0 { DEFAULT_PAGE } else { filter.limit.min(MAX_PAGE) };
        Ok(self.0.store.rotations(&RotationFilter { limit, ..filter.clone() }).await?)
    }

    /// Gives a rotation up before the successor is used, while the old key lives: the successor dies, the old key goes
    /// on.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Conflict`] once the successor was used, or the old key is dead.
    pub async fn cancel(&self, id: &RotationId, caller: &Caller) -> Result<RotationRecord, ServiceError> {
        self.end(id, "rotation.cancel", caller, |rotation, old, successor, now| {
            check_cancel(rotation, old, now)?;
            Ok(cancel(rotation, old, successor, now))
        })
        .await
    }

    /// Goes back to the old key while it lives: the successor dies, the ladder is forgotten. Never to a compromised key.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Conflict`].
    pub async fn roll_back(&self, id: &RotationId, caller: &Caller) -> Result<RotationRecord, ServiceError> {
        self.end(id, "rotation.rollback", caller, |rotation, old, successor, now| {
            check_rollback(rotation, old, now)?;
            Ok(roll_back(rotation, old, successor, now))
        })
        .await
    }

    async fn end(
        &self,
        id: &RotationId,
        action: &'static str,
        caller: &Caller,
        ending: impl Fn(&RotationRecord, &KeyRecord, &KeyRecord, Timestamp) -> Result<Taken, RotationError>,
    ) -> Result<RotationRecord, ServiceError> {
        for _ in 0..TRIES {
            let rotation = self.rotation(id).await?;
            let (old, successor) = (self.key(&rotation.old).await?, self.key(&rotation.successor).await?);
            let now = self.0.clock.now();
            let taken = ending(&rotation, &old, &successor, now).map_err(refused)?;
            let mut ended = taken.rotation.clone();
            let event = event_of(caller, now, action, &rotation);
            match self.write(Write { before: &rotation, old: &old, taken, event, hold: None }).await {
                Ok(()) => {
                    ended.version += 1;
                    return Ok(ended);
                }
                Err(StepError::Overtaken) => {}
                Err(StepError::Service(error)) => return Err(error),
            }
        }
        Err(ServiceError::conflict("rotation", "it is being changed by someone else all the time"))
    }

    async fn key(&self, id: &KeyId) -> Result<KeyRecord, ServiceError> {
        self.0.store.key(id).await?.ok_or_else(|| ServiceError::not_found("key", id))
    }

    async fn rotation(&self, id: &RotationId) -> Result<RotationRecord, ServiceError> {
        self.0.store.rotation(id).await?.ok_or_else(|| ServiceError::not_found("rotation", id))
    }
}

/// Why a step was not written.
enum StepError {
    /// Something else changed the rows first: what is true now decides anew.
    Overtaken,
    Service(ServiceError),
}

impl From<ServiceError> for StepError {
    fn from(error: ServiceError) -> Self {
        Self::Service(error)
    }
}

const CHANGED: &str = "changed or taken by someone else meanwhile";

fn taken_meanwhile(error: StoreError) -> ServiceError {
    match error {
        StoreError::Conflict { what: "key" } => ServiceError::conflict("key", CHANGED),
        StoreError::Conflict { what } => {
            ServiceError::conflict("rotation", format!("{what}: someone else was faster"))
        }
        StoreError::OverCap { .. }
        | StoreError::Unavailable(_)
        | StoreError::Refused { .. }
        | StoreError::Corrupt { .. }
        | StoreError::NewerSchema { .. } => error.into(),
    }
}

fn refused(error: RotationError) -> ServiceError {
    match error {
        RotationError::OverlapPastExpiry(_) | RotationError::Overlap => {
            ServiceError::invalid("overlap_secs", error)
        }
        RotationError::Dead(_)
        | RotationError::Compromised
        | RotationError::Suspended
        | RotationError::OldDead(_)
        | RotationError::SuccessorDead(_)
        | RotationError::InUse
        | RotationError::Deprecated
        | RotationError::Child => ServiceError::conflict("key", error),
        RotationError::TooLate { .. } => ServiceError::conflict("rotation", error),
    }
}

fn check_reason(reason: &str) -> Result<(), ServiceError> {
    if reason.chars().count() > MAX_REASON || reason.chars().any(char::is_control) {
        let why = format!("expected at most {MAX_REASON} characters, none of them a control character");
        return Err(ServiceError::invalid("reason", why));
    }
    Ok(())
}

const fn step_of(state: RotationState) -> RotationStep {
    match state {
        RotationState::Created => RotationStep::Started,
        RotationState::Delivered => RotationStep::Delivered,
        RotationState::Overlapping => RotationStep::Activated,
        RotationState::Retiring => RotationStep::Retiring,
        RotationState::Finished => RotationStep::Completed,
        RotationState::Cancelled => RotationStep::Cancelled,
        RotationState::RolledBack => RotationStep::RolledBack,
    }
}

fn event_of(caller: &Caller, now: Timestamp, action: &str, rotation: &RotationRecord) -> AuditEvent {
    let mut event = caller.event(now, action, rotation.id.as_str());
    event.key = rotation.old.to_string();
    event.with("successor", rotation.successor.as_str())
}

/// What a digest is made of.
fn canonical(rotation: &RotationRecord) -> Value {
    let micros = |at: Option<Timestamp>| at.map(Timestamp::as_micros);
    json!({
        "activated_at": micros(rotation.activated_at),
        "delivered_at": micros(rotation.delivered_at),
        "ended_at": micros(rotation.ended_at),
        "extended_to": micros(rotation.extended_to),
        "hold": rotation.hold.map(|hold| hold.why.as_str()),
        "hold_since": micros(rotation.hold.map(|hold| hold.since)),
        "id": rotation.id.as_str(),
        "old": rotation.old.as_str(),
        "overlap_secs": rotation.overlap_secs,
        "owner": rotation.owner.as_str(),
        "reason": rotation.reason,
        "retiring_at": micros(rotation.retiring_at),
        "started_at": rotation.started_at.as_micros(),
        "state": rotation.state.as_str(),
        "successor": rotation.successor.as_str(),
        "workspace": rotation.workspace.as_str(),
    })
}

#[cfg(test)]
mod tests;
