//! What an operator may change in a key that lives: every field may be left as it is, set, or (where a key can do
//! without it) cleared.

use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    address::CidrList,
    binding::CertificateBindings,
    clock::Timestamp,
    key::{KeyRecord, OnDisconnect, cache::CacheTtl, hours::HoursOfWeek},
    limit::LimitsPatch,
    permission::{Endpoint, ModelGlob, Scopes},
    proof::Proofs,
};

/// The longest name a key may have, in bytes.
pub const MAX_NAME_LEN: usize = 200;

/// A change of a key's record. In JSON a missing field leaves the value, `null` clears it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyPatch {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Model patterns; empty: every model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<ModelGlob>>,
    /// Endpoints; empty: every endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Vec<Endpoint>>,
    /// Reading and writing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Scopes>,
    /// Where it may be used from; empty: anywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_ip: Option<CidrList>,
    /// Rates, quotas and concurrency.
    #[serde(skip_serializing_if = "LimitsPatch::is_empty")]
    pub limits: LimitsPatch,
    /// Uses in its whole life; cleared: no such limit.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub max_uses: Option<Option<u64>>,
    /// When in the week it may be used; cleared: always.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub hours: Option<Option<HoursOfWeek>>,
    /// It does not work before; cleared: from now on.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub not_before: Option<Option<Timestamp>>,
    /// It does not work from then on; cleared: never expires.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub expires_at: Option<Option<Timestamp>>,
    /// What a client that goes away causes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_disconnect: Option<OnDisconnect>,
    /// How old an answer out of the response cache may be; cleared: it is given none.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub cache: Option<Option<CacheTtl>>,
    /// What must be shown beside the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require: Option<Proofs>,
    /// Client certificates that it may be used with; empty: it is bound to none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_mtls: Option<CertificateBindings>,
}

/// Tells `null` (clear) from a missing field (leave).
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(d).map(Some)
}

/// Why a change cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The name is empty, too long, or holds control characters.
    #[error("a key's name has 1 to {MAX_NAME_LEN} bytes and no control characters")]
    Name,
    /// The new expiry is not in the future: to end a key, revoke it.
    #[error("the new expiry is not in the future; to end a key now, revoke it")]
    ExpiryPast,
    /// The key would expire before it begins.
    #[error("the key would expire before it begins")]
    ExpiresBeforeStart,
    /// Nothing in it.
    #[error("nothing to change was given")]
    Empty,
}

impl KeyPatch {
    /// The record with the changes made.
    ///
    /// # Errors
    /// [`PatchError`] says which rule the changed record would break.
    pub fn apply_to(&self, record: &KeyRecord, now: Timestamp) -> Result<KeyRecord, PatchError> {
        if *self == Self::default() {
            return Err(PatchError::Empty);
        }
        let Self {
            name,
            models,
            endpoints,
            scopes,
            allow_ip,
            limits,
            max_uses,
            hours,
            not_before,
            expires_at,
            on_disconnect,
            cache,
            require,
            bind_mtls,
        } = self.clone();
        let mut key = record.clone();
        put(&mut key.name, name);
        put(&mut key.not_before, not_before);
        put(&mut key.expires_at, expires_at);
        let policy = &mut key.policy;
        put(&mut policy.permissions.models, models);
        put(&mut policy.permissions.endpoints, endpoints);
        put(&mut policy.permissions.scopes, scopes);
        put(&mut policy.allow_ip, allow_ip);
        policy.limits = policy.limits.patched(&limits);
        put(&mut policy.max_uses, max_uses);
        put(&mut policy.hours, hours);
        put(&mut policy.on_disconnect, on_disconnect);
        put(&mut policy.cache, cache);
        put(&mut policy.require, require);
        put(&mut policy.bind_mtls, bind_mtls);
        if expires_at.flatten().is_some_and(|at| at <= now) {
            return Err(PatchError::ExpiryPast);
        }
        check_record(&key)?;
        Ok(key)
    }
}

fn put<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// What holds for every record that is written, new or changed.
///
/// # Errors
/// [`PatchError::Name`], [`PatchError::ExpiresBeforeStart`].
pub fn check_record(key: &KeyRecord) -> Result<(), PatchError> {
    check_name(&key.name)?;
    match (key.not_before, key.expires_at) {
        (Some(start), Some(end)) if end <= start => Err(PatchError::ExpiresBeforeStart),
        (Some(_), Some(_)) | (None, _) | (_, None) => Ok(()),
    }
}

/// Whether a key may be called so.
///
/// # Errors
/// [`PatchError::Name`].
pub fn check_name(name: &str) -> Result<(), PatchError> {
    let fits = (1..=MAX_NAME_LEN).contains(&name.len()) && !name.chars().any(char::is_control);
    if fits && !name.trim().is_empty() { Ok(()) } else { Err(PatchError::Name) }
}
