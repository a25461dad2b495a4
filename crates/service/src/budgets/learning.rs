//! What was learned of calls, for budgets that hold back what a call will likely cost: by the first key of the line and the
//! model that is asked. It lives in memory, is kept in the store once a minute and at a stop, and read at a start. What is
//! lost when a node dies is a minute of learning.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use claviger_domain::{
    budget::Ask,
    clock::Timestamp,
    estimate::{Content, Estimator, Terms},
    id::KeyId,
    ports::{StoreError, budgets::Learned},
};
use tokio_util::sync::CancellationToken;

use super::Budgets;
use crate::{ServiceError, lock::lock};

/// How often what was learned is kept.
const EVERY: Duration = Duration::from_secs(60);
/// Pairs of key and model that are remembered; beyond them what was not learned from for longest is forgotten.
const MOST: usize = 4_096;
/// The longest name of a model that is learned about, in bytes.
const LONGEST_MODEL: usize = 128;
/// What nothing was learned from for so long is forgotten (180 days, in microseconds).
const FORGOTTEN_US: i64 = 180 * 86_400 * 1_000_000;

/// What was learned.
#[derive(Default)]
pub(super) struct Learning(Mutex<HashMap<(KeyId, Box<str>), Known>>);

struct Known {
    estimator: Estimator,
    at: Timestamp,
    is_kept: bool,
}

impl Learning {
    /// What the store has of earlier starts.
    pub(super) fn begin(&self, learned: Vec<Learned>) {
        let mut all = lock(&self.0);
        for Learned { key, model, known, at } in learned {
            all.insert((key, model.into()), Known { estimator: known, at, is_kept: true });
        }
    }

    fn learn(&self, key: &KeyId, model: &str, at: Timestamp, lesson: impl FnOnce(&mut Estimator)) {
        if model.len() > LONGEST_MODEL {
            return;
        }
        let mut all = lock(&self.0);
        let place = (key.clone(), Box::from(model));
        if all.len() >= MOST && !all.contains_key(&place) {
            let oldest = all.iter().min_by_key(|(_, known)| known.at).map(|(place, _)| place.clone());
            if let Some(oldest) = oldest {
                all.remove(&oldest);
            }
        }
        let fresh = || Known { estimator: Estimator::default(), at, is_kept: false };
        let known = all.entry(place).or_insert_with(fresh);
        lesson(&mut known.estimator);
        (known.at, known.is_kept) = (known.at.max(at), false);
    }

    /// What is not kept yet; from here on it counts as kept.
    fn take_unkept(&self) -> Vec<Learned> {
        let mut all = lock(&self.0);
        let unkept = all.iter_mut().filter(|(_, known)| !known.is_kept);
        unkept
            .map(|((key, model), known)| {
                known.is_kept = true;
                let model = model.to_string();
                Learned { key: key.clone(), model, known: known.estimator.clone(), at: known.at }
            })
            .collect()
    }

    fn give_back(&self, unkept: &[Learned]) {
        let mut all = lock(&self.0);
        for Learned { key, model, .. } in unkept {
            if let Some(known) = all.get_mut(&(key.clone(), Box::from(model.as_str()))) {
                known.is_kept = false;
            }
        }
    }
}

impl Budgets {
    /// What a call of this key to this model will cost, by what was learned of those before it.
    #[must_use]
    pub fn ask(&self, key: &KeyId, model: &str, content: &Content, terms: &Terms) -> Ask {
        let all = lock(&self.0.learning.0);
        match all.get(&(key.clone(), Box::from(model))) {
            Some(known) => known.estimator.ask(content, terms),
            None => Estimator::default().ask(content, terms),
        }
    }

    /// Learns from a call.
    pub fn learn(&self, key: &KeyId, model: &str, lesson: impl FnOnce(&mut Estimator)) {
        self.0.learning.learn(key, model, self.0.deps.clock.now(), lesson);
    }

    /// Keeps what is learned until it is stopped, and then what is left.
    pub(crate) async fn keep_learning(self, stop: CancellationToken) {
        loop {
            let stopped = tokio::select! {
                () = stop.cancelled() => true,
                () = tokio::time::sleep(EVERY) => false,
            };
            if let Err(error) = self.keep_learned().await {
                tracing::warn!(%error, "what was learned of calls could not be kept yet");
            }
            if stopped {
                return;
            }
        }
    }

    /// Keeps what was learned since this was done last.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`]; nothing is forgotten then.
    pub(crate) async fn keep_learned(&self) -> Result<(), ServiceError> {
        let unkept = self.0.learning.take_unkept();
        if unkept.is_empty() {
            return Ok(());
        }
        let before = self.0.deps.clock.now().plus_micros(-FORGOTTEN_US);
        let kept = self.0.deps.store.keep_learned(&unkept, before).await;
        if kept.is_err() {
            self.0.learning.give_back(&unkept);
        }
        Ok(kept?)
    }

    /// Reads what earlier starts have learned.
    pub(super) async fn begin_learning(&self) -> Result<(), StoreError> {
        let most = u32::try_from(MOST).unwrap_or(u32::MAX);
        self.0.learning.begin(self.0.deps.store.learned(most).await?);
        Ok(())
    }
}
