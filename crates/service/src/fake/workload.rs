//! The fake store's issuers, rules and used tokens.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use claviger_domain::{
    ports::{
        Change, StoreError,
        workload::{AssertionUse, FetchError, FetchedKeys, KeyFetcher, WorkloadStore},
    },
    workload::{issuer::IssuerRecord, rule::TrustRecord},
};

use super::{FakeStore, conflict};
use crate::lock::lock;

#[derive(Default)]
pub(crate) struct WorkloadState {
    pub(crate) issuers: Vec<IssuerRecord>,
    pub(crate) rules: Vec<TrustRecord>,
    pub(crate) used: Vec<AssertionUse>,
}

impl WorkloadState {
    /// Writes what is of its kind; gives back what is not.
    pub(super) fn write(&mut self, change: Change) -> Result<Option<Change>, StoreError> {
        match change {
            Change::InsertIssuer(new) => {
                if self.issuers.iter().any(|i| i.name == new.name || i.issuer == new.issuer) {
                    return Err(conflict("issuer"));
                }
                self.issuers.push(*new);
            }
            Change::DropIssuer(id, version) => {
                let place = self.issuers.iter().position(|i| i.id == id && i.version == version);
                self.issuers.remove(place.ok_or(conflict("issuer"))?);
            }
            Change::InsertTrust(new) => {
                if self.rules.iter().any(|r| r.name == new.name) {
                    return Err(conflict("rule of trust"));
                }
                self.rules.push(*new);
            }
            Change::UpdateTrust(mut rule) => {
                let place = self.rules.iter_mut().find(|r| r.id == rule.id && r.version == rule.version);
                rule.version += 1;
                *place.ok_or(conflict("rule of trust"))? = *rule;
            }
            Change::DropTrust(id, version) => {
                let place = self.rules.iter().position(|r| r.id == id && r.version == version);
                self.rules.remove(place.ok_or(conflict("rule of trust"))?);
            }
            Change::UseAssertion(used) => {
                self.used.retain(|u| u.until >= used.now);
                if self.used.iter().any(|u| u.mark == used.mark) {
                    return Err(conflict("token"));
                }
                self.used.push(used);
            }
            other => return Ok(Some(other)),
        }
        Ok(None)
    }
}

#[async_trait]
impl WorkloadStore for FakeStore {
    async fn issuers(&self) -> Result<Vec<IssuerRecord>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).workload.issuers.clone())
    }

    async fn trust_rules(&self) -> Result<Vec<TrustRecord>, StoreError> {
        self.up()?;
        Ok(lock(&self.state).workload.rules.clone())
    }
}

/// Issuers' keys, as the test has them; counts how often it is asked.
#[derive(Default)]
pub(crate) struct FakeKeys {
    pub(crate) document: Mutex<Option<FetchedKeys>>,
    pub(crate) asked: AtomicUsize,
    /// Whoever fetches waits while this is held.
    pub(crate) gate: tokio::sync::Mutex<()>,
}

#[async_trait]
impl KeyFetcher for FakeKeys {
    async fn fetch(&self, _url: &str, _private_network: bool) -> Result<FetchedKeys, FetchError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        drop(self.gate.lock().await);
        lock(&self.document).clone().ok_or_else(|| FetchError::Unreachable("nobody".to_owned()))
    }
}
