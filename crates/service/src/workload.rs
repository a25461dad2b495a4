//! Workload identity: issuers and rules as operators keep them, and what programs buy by them.

mod exchange;
mod issuers;
mod jwks;
mod rules;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use claviger_domain::{
    clock::{BootInstant, Clock, Entropy},
    id::IssuerId,
    ports::{Store, workload::KeyFetcher},
    token::Brand,
    workload::{issuer::IssuerRecord, jwks::Cached, rule::TrustRecord},
};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

pub use self::{
    exchange::{Bought, Credential, ExchangeError, Wish},
    issuers::NewIssuer,
    rules::{NewTrust, RuleVerdict, Trial},
};
use crate::{ServiceError, grants::Grants, keys::Keys, refusals::Refusals};

/// How long issuers and rules are gone by before the store is asked again.
const FRESH: Duration = Duration::from_secs(1);
/// Identities that are judged at once; one more waits for nobody.
const AT_ONCE: usize = 64;

/// What the use cases of workloads need.
pub(crate) struct WorkloadDeps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) brand: Brand,
    pub(crate) grants: Grants,
    pub(crate) keys: Keys,
    pub(crate) refusals: Refusals,
    pub(crate) fetcher: Arc<dyn KeyFetcher>,
    pub(crate) tracker: TaskTracker,
}

/// Issuers, rules, and what is bought by them. Cheap to clone.
#[derive(Clone)]
pub struct Workloads(Arc<Inner>);

struct Inner {
    deps: WorkloadDeps,
    known: tokio::sync::Mutex<Option<(BootInstant, Arc<Known>)>>,
    sets: Mutex<HashMap<IssuerId, Arc<tokio::sync::Mutex<Cached>>>>,
    turns: Semaphore,
    told: Mutex<exchange::Told>,
}

/// Issuers and rules as of a moment.
struct Known {
    issuers: Vec<IssuerRecord>,
    rules: Vec<TrustRecord>,
}

impl Workloads {
    pub(crate) fn new(deps: WorkloadDeps) -> Self {
        Self(Arc::new(Inner {
            deps,
            known: tokio::sync::Mutex::default(),
            sets: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
            told: Mutex::default(),
        }))
    }

    /// Issuers and rules, at most a second old: strangers cannot make the store be asked for each of their tokens.
    async fn known(&self) -> Result<Arc<Known>, ServiceError> {
        let Inner { deps, known, .. } = &*self.0;
        let mut held = known.lock().await;
        let now = deps.clock.boot();
        let fresh = u64::try_from(FRESH.as_micros()).unwrap_or(u64::MAX);
        if let Some((at, known)) = held.as_ref()
            && now.micros_since(*at) < fresh
        {
            return Ok(Arc::clone(known));
        }
        let known =
            Arc::new(Known { issuers: deps.store.issuers().await?, rules: deps.store.trust_rules().await? });
        *held = Some((now, Arc::clone(&known)));
        Ok(known)
    }

    /// What was read of issuers and rules is not gone by any more.
    async fn forget(&self) {
        *self.0.known.lock().await = None;
    }
}
