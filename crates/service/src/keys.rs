//! Issuing, showing and changing keys.

use std::sync::Arc;

use claviger_domain::{
    clock::Timestamp,
    id::KeyId,
    key::{KeyRecord, KeyUse, OnDisconnect, RevocationReason},
    ports::{KeyFilter, Store},
    token::{KeyClass, Token},
};
use serde::Deserialize;

use crate::{Caller, ServiceError};

/// Limits as asked for: `None` leaves the default or the present value, `Some(None)` lifts the limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsPatch {
    /// Requests a second.
    #[serde(deserialize_with = "given")]
    pub rps: Option<Option<u32>>,
    /// Requests a minute.
    #[serde(deserialize_with = "given")]
    pub rpm: Option<Option<u32>>,
    /// Requests an hour.
    #[serde(deserialize_with = "given")]
    pub rph: Option<Option<u32>>,
    /// Requests a UTC day.
    #[serde(deserialize_with = "given")]
    pub rpd: Option<Option<u32>>,
    /// Requests in flight at once.
    #[serde(deserialize_with = "given")]
    pub concurrency: Option<Option<u32>>,
}

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
    /// It does not work before.
    pub not_before: Option<Timestamp>,
    /// When it expires.
    pub expires: Expiry,
}

/// What to change of a key: `None` leaves a field as it is.
#[derive(Debug, Clone, Default, Deserialize)]
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
    /// `Some(None)`: at once.
    #[serde(deserialize_with = "given")]
    pub not_before: Option<Option<Timestamp>>,
    /// When it expires, counted from now.
    pub expires: Option<Expiry>,
}

/// Keys.
#[derive(Clone)]
pub struct Keys(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
}

impl Keys {
    /// Makes a key. The token is returned here and never again.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] names the field; [`ServiceError::NotFound`] for workspace and owner.
    pub async fn create(
        &self,
        new: NewKey,
        caller: &Caller,
    ) -> Result<(KeyRecord, Token, KeyUse), ServiceError> {
        let _ = (new, caller, KeyClass::Live);
        Err(ServiceError::Unavailable(String::new()))
    }

    /// Keys by creation, with how much each was used. `limit` 0 means 100; at most 1,000.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn list(&self, filter: &KeyFilter) -> Result<Vec<(KeyRecord, KeyUse)>, ServiceError> {
        let keys = self.0.store.keys(filter).await?;
        Ok(keys.into_iter().map(|k| (k, KeyUse::default())).collect())
    }

    /// One key, with how much it was used.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn show(&self, id: &KeyId) -> Result<(KeyRecord, KeyUse), ServiceError> {
        Err(ServiceError::not_found("key", id))
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
        let _ = (patch, expected_version, caller);
        Err(ServiceError::not_found("key", id))
    }

    /// Refuses new requests of a key until it is resumed. Again: nothing changes.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Conflict`] when it is revoked.
    pub async fn suspend(&self, id: &KeyId, caller: &Caller) -> Result<(KeyRecord, KeyUse), ServiceError> {
        let _ = caller;
        Err(ServiceError::not_found("key", id))
    }

    /// Takes a suspension back. Again: nothing changes.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Conflict`] when it is revoked.
    pub async fn resume(&self, id: &KeyId, caller: &Caller) -> Result<(KeyRecord, KeyUse), ServiceError> {
        let _ = caller;
        Err(ServiceError::not_found("key", id))
    }

    /// Ends a key for ever. New requests are refused before this returns; calls in flight may finish within 30 s, or
    /// are cut at once with `immediate`. Again: nothing changes, but `immediate` still cuts.
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
        let _ = (reason, immediate, caller);
        Err(ServiceError::not_found("key", id))
    }
}
