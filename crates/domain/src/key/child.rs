//! Child keys: minted by whoever holds a key, for one process and a short time. A child may do nothing that its parent
//! may not, has no children of its own, and dies with its parent: whatever refuses the parent refuses the child.
//!
//! Narrowness is checked twice. At birth, so that who asks for more is told; and at each use, where the parent's own
//! rules are asked, too, so that a parent that is narrowed later narrows its children.

use crate::{
    address::CidrList,
    clock::{MICROS_PER_SEC, Timestamp},
    key::{KeyPolicy, KeyRecord, KeyStatus},
    limit::{LimitKind, Limits},
    permission::{Endpoint, ModelGlob, Permissions, Scopes},
};

/// Living children of one parent.
pub const MOST_CHILDREN: u32 = 100;
/// How long a child lives unless something else is asked for: 15 minutes.
pub const DEFAULT_TTL_SECS: u64 = 900;
/// The shortest life that can be asked for.
pub const MIN_TTL_SECS: u64 = 10;
/// The longest life that can be asked for: a day.
pub const MAX_TTL_SECS: u64 = 86_400;
/// A heartbeat keeps a child for so long; when heartbeats end, it is dead after that.
pub const LEASE_SECS: u64 = 85;
/// How often to beat: two may be lost.
pub const HEARTBEAT_SECS: u64 = 30;

/// What is asked of a child. What is not said is as the parent has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChildWish {
    /// Its name; `None`: after its parent.
    pub name: Option<String>,
    /// How long it lives; `None`: [`DEFAULT_TTL_SECS`].
    pub ttl_secs: Option<u64>,
    /// Model patterns; empty: the parent's.
    pub models: Vec<ModelGlob>,
    /// Endpoints; empty: the parent's.
    pub endpoints: Vec<Endpoint>,
    /// Scopes; `None`: the parent's.
    pub scopes: Option<Scopes>,
    /// Address blocks; empty: the parent's.
    pub allow_ip: CidrList,
    /// Limits; what is `None` is the parent's.
    pub limits: Limits,
    /// Total uses; `None`: the parent's.
    pub max_uses: Option<u64>,
}

/// Why a child cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChildError {
    /// Children have no children.
    #[error("a child key cannot have children: ask with its parent")]
    Grandchild,
    /// The parent does not work.
    #[error("its parent is {}", .0.as_str())]
    Parent(KeyStatus),
    /// The life is too short or too long.
    #[error("expected from {MIN_TTL_SECS} to {MAX_TTL_SECS} seconds")]
    Ttl,
    /// Not among the parent's models.
    #[error("`{0}` goes beyond what the parent may use")]
    Model(String),
    /// Not among the parent's endpoints.
    #[error("the parent may not use `{}`", .0.as_str())]
    Endpoint(Endpoint),
    /// Beyond the parent's scopes.
    #[error("goes beyond the parent's scopes")]
    Scopes,
    /// Beyond the parent's addresses.
    #[error("goes beyond the addresses that the parent may be used from")]
    Address,
    /// Above the parent's limit.
    #[error("is above the parent's limit of {1}")]
    Limit(&'static str, u64),
    /// Nothing at all would be admitted.
    #[error("a limit is at least 1")]
    Nothing(&'static str),
    /// The child is over.
    #[error("the child key is {}", .0.as_str())]
    Over(KeyStatus),
}

impl ChildError {
    /// The field of the request that is at fault; empty: none is.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Grandchild | Self::Parent(_) | Self::Over(_) => "",
            Self::Ttl => "ttl_secs",
            Self::Model(_) => "models",
            Self::Endpoint(_) => "endpoints",
            Self::Scopes => "scopes",
            Self::Address => "allow_ip",
            Self::Limit(field, _) | Self::Nothing(field) => field,
        }
    }
}

/// Whether a key may have children now.
///
/// # Errors
/// [`ChildError::Grandchild`], [`ChildError::Parent`].
pub fn check_parent(parent: &KeyRecord, now: Timestamp) -> Result<(), ChildError> {
    if parent.parent.is_some() {
        return Err(ChildError::Grandchild);
    }
    match parent.status(now) {
        KeyStatus::Deprecated if parent.is_refused_by_deprecation() => {
            Err(ChildError::Parent(KeyStatus::Deprecated))
        }
        KeyStatus::Active | KeyStatus::Deprecated => Ok(()),
        status @ (KeyStatus::Pending
        | KeyStatus::Suspended
        | KeyStatus::Revoked
        | KeyStatus::Expired
        | KeyStatus::Purged) => Err(ChildError::Parent(status)),
    }
}

/// What a child may do: what was asked for, within what the parent may do.
///
/// # Errors
/// [`ChildError`] names what goes beyond the parent.
pub fn policy(parent: &KeyPolicy, wish: &ChildWish) -> Result<KeyPolicy, ChildError> {
    Ok(KeyPolicy {
        permissions: permissions(&parent.permissions, wish)?,
        allow_ip: addresses(&parent.allow_ip, &wish.allow_ip)?,
        limits: limits(&parent.limits, wish.limits)?,
        max_uses: within("max_uses", parent.max_uses, wish.max_uses)?,
        hours: parent.hours.clone(),
        on_disconnect: parent.on_disconnect,
        cache: parent.cache,
        require: parent.require,
        bind_mtls: parent.bind_mtls.clone(),
    })
}

fn permissions(parent: &Permissions, wish: &ChildWish) -> Result<Permissions, ChildError> {
    let covered = |glob: &ModelGlob| parent.models.is_empty() || parent.models.iter().any(|p| p.covers(glob));
    if let Some(glob) = wish.models.iter().find(|glob| !covered(glob)) {
        return Err(ChildError::Model(glob.as_str().to_owned()));
    }
    let known = |e: &Endpoint| parent.endpoints.is_empty() || parent.endpoints.contains(e);
    if let Some(endpoint) = wish.endpoints.iter().find(|e| !known(e)) {
        return Err(ChildError::Endpoint(*endpoint));
    }
    let scopes = wish.scopes.unwrap_or(parent.scopes);
    if !parent.scopes.includes(scopes) {
        return Err(ChildError::Scopes);
    }
    let or_parents = |wish: &[ModelGlob], parent: &[ModelGlob]| {
        if wish.is_empty() { parent.to_vec() } else { wish.to_vec() }
    };
    Ok(Permissions {
        models: or_parents(&wish.models, &parent.models),
        endpoints: if wish.endpoints.is_empty() { parent.endpoints.clone() } else { wish.endpoints.clone() },
        scopes,
    })
}

fn addresses(parent: &CidrList, wish: &CidrList) -> Result<CidrList, ChildError> {
    if wish.is_empty() {
        return Ok(parent.clone());
    }
    if parent.is_empty() || parent.covers(wish) { Ok(wish.clone()) } else { Err(ChildError::Address) }
}

fn limits(parent: &Limits, wish: Limits) -> Result<Limits, ChildError> {
    for kind in LimitKind::ALL.iter().copied() {
        within(kind.field(), parent.get(kind), wish.get(kind))?;
    }
    Ok(wish.map(|kind, wish| wish.or(parent.get(kind))))
}

/// The wish, if it is not above the parent's limit; the parent's limit where nothing was wished for.
fn within(field: &'static str, parent: Option<u64>, wish: Option<u64>) -> Result<Option<u64>, ChildError> {
    match (wish, parent) {
        (Some(wish), _) if wish < 1 => Err(ChildError::Nothing(field)),
        (Some(wish), Some(parent)) if wish > parent => Err(ChildError::Limit(field, parent)),
        (Some(wish), _) => Ok(Some(wish)),
        (None, parent) => Ok(parent),
    }
}

/// When a child ends that is made now: never after its parent.
///
/// # Errors
/// [`ChildError::Ttl`].
pub fn expiry(parent: &KeyRecord, ttl_secs: Option<u64>, now: Timestamp) -> Result<Timestamp, ChildError> {
    let ttl = ttl_secs.unwrap_or(DEFAULT_TTL_SECS);
    if !(MIN_TTL_SECS..=MAX_TTL_SECS).contains(&ttl) {
        return Err(ChildError::Ttl);
    }
    Ok(ended_by_parent(parent, now, ttl))
}

/// The child after a heartbeat: it lives for another lease, never after its parent, and not shorter than before.
///
/// # Errors
/// [`ChildError::Over`]: what is over does not come back.
pub fn extended(child: &KeyRecord, parent: &KeyRecord, now: Timestamp) -> Result<KeyRecord, ChildError> {
    check_parent(parent, now)?;
    match child.status(now) {
        KeyStatus::Active => {}
        status @ (KeyStatus::Pending
        | KeyStatus::Deprecated
        | KeyStatus::Suspended
        | KeyStatus::Revoked
        | KeyStatus::Expired
        | KeyStatus::Purged) => return Err(ChildError::Over(status)),
    }
    let lease = ended_by_parent(parent, now, LEASE_SECS);
    let expires_at = child.expires_at.map(|present| present.max(lease));
    Ok(KeyRecord { expires_at, ..child.clone() })
}

fn ended_by_parent(parent: &KeyRecord, now: Timestamp, secs: u64) -> Timestamp {
    let secs = i64::try_from(secs).unwrap_or(i64::MAX);
    let end = now.plus_micros(secs.saturating_mul(MICROS_PER_SEC));
    parent.expires_at.map_or(end, |last| end.min(last))
}

#[cfg(test)]
mod tests;
