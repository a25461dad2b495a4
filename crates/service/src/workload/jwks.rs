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
        let mut cached = set.lock_owned().await;
        let mut next = cached.next(kid, algorithm, self.secs());
        if next == Next::Fetch {
            // The fetch belongs to all that wait: a caller that goes away does not end it, or strangers could keep keys
            // from being fetched for as long as they like.
            let (this, url, name) = (self.clone(), url.clone(), issuer.name.clone());
            let fetch = async move {
                this.fetch(&mut cached, (&url, private_network), &name).await;
                cached
            };
            let fetched = self.0.deps.tracker.spawn(fetch).await;
            cached = fetched.map_err(|_| AssertionError::NoKeys)?;
            next = cached.believed(self.secs());
        }
        match (next, &cached.keys) {
            (Next::Use, Some(keys)) => Ok(keys.clone()),
            (Next::Use | Next::Fetch | Next::Nothing, _) => Err(AssertionError::NoKeys),
        }
    }

    async fn fetch(&self, cached: &mut Cached, (url, private_network): (&str, bool), issuer: &str) {
        cached.trying(self.secs());
        match self.0.deps.fetcher.fetch(url, private_network).await {
            Ok(document) => match KeyList::read(&document.body) {
                Ok(keys) => cached.fetched(keys, document.max_age_secs, self.secs()),
                Err(error) => tracing::warn!(%issuer, %error, "an issuer's keys are not readable"),
            },
            Err(error) => tracing::warn!(%issuer, %error, "an issuer's keys were not fetched"),
        }
    }

    fn secs(&self) -> u64 {
        self.0.deps.clock.boot().as_micros() / MICROS_PER_SEC.unsigned_abs()
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
