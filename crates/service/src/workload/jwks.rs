//! An issuer's keys: one fetch at a time for each issuer, and whoever comes meanwhile goes by its result.

use std::{collections::hash_map::Entry, sync::Arc};

use claviger_domain::{
    clock::MICROS_PER_SEC,
    jose::Algorithm,
    workload::{
        assertion::AssertionError,
        issuer::{IssuerRecord, KeySource},
        jwks::{Cached, KeyList, Next},
    },
};

use super::{Known, Workloads};
use crate::lock::lock;

impl Workloads {
    /// The keys by which a token of this issuer is to be judged.
    pub(super) async fn keys_of(
        &self,
        known: &Known,
        issuer: &IssuerRecord,
        (kid, algorithm): (Option<&str>, Algorithm),
    ) -> Result<KeyList, AssertionError> {
        let (url, private_network) = match &issuer.keys {
            KeySource::Inline { jwks } => {
                return KeyList::read(jwks.to_string().as_bytes()).map_err(|_| AssertionError::NoKeys);
            }
            KeySource::Url { url, private_network } => (url, *private_network),
        };
        let set = self.set(known, issuer);
        let mut cached = set.lock().await;
        let deps = &self.0.deps;
        let secs = || deps.clock.boot().as_micros() / MICROS_PER_SEC.unsigned_abs();
        let mut next = cached.next(kid, algorithm, secs());
        if next == Next::Fetch {
            cached.trying(secs());
            match deps.fetcher.fetch(url, private_network).await {
                Ok(document) => match KeyList::read(&document.body) {
                    Ok(keys) => cached.fetched(keys, document.max_age_secs, secs()),
                    Err(error) => {
                        tracing::warn!(issuer = %issuer.name, %error, "an issuer's keys are not readable")
                    }
                },
                Err(error) => {
                    tracing::warn!(issuer = %issuer.name, %error, "an issuer's keys were not fetched")
                }
            }
            next = cached.believed(secs());
        }
        match (next, &cached.keys) {
            (Next::Use, Some(keys)) => Ok(keys.clone()),
            (Next::Use | Next::Fetch | Next::Nothing, _) => Err(AssertionError::NoKeys),
        }
    }

    /// The issuer's place; those of issuers that are gone are given up.
    fn set(&self, known: &Known, issuer: &IssuerRecord) -> Arc<tokio::sync::Mutex<Cached>> {
        let mut sets = lock(&self.0.sets);
        if sets.len() > known.issuers.len() {
            sets.retain(|id, _| known.issuers.iter().any(|i| i.id == *id));
        }
        match sets.entry(issuer.id.clone()) {
            Entry::Occupied(place) => Arc::clone(place.get()),
            Entry::Vacant(place) => Arc::clone(place.insert(Arc::default())),
        }
    }
}
