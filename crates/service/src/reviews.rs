//! Reviews of what keys may do: what a key did not use is shown, and an operator confirms it or takes it away.

use std::sync::Arc;

use claviger_domain::{
    clock::{Clock, Entropy, Timestamp},
    id::{KeyId, ReviewId},
    key::{KeyPolicy, KeyRecord, KeyStatus},
    ports::{Change, KeyFilter, LedgerStore, Store, StoreError, UsageBy, UsageQuery, reviews::ReviewFilter},
    review::{self, Decision, Findings, ReviewRecord, Used, Verdict},
};
use serde_json::{Value, json};

use crate::{Caller, ServiceError, digests, grants::Grants, policies::Policies};

/// How often a decision is taken anew when someone else changed the key meanwhile.
const TRIES: u32 = 5;
/// Keys that are read at a time.
const PAGE: u32 = 500;

/// What reviews need.
pub(crate) struct ReviewDeps {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) ledger: Arc<dyn LedgerStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) policies: Policies,
    pub(crate) grants: Grants,
}

/// A key's review as it stands.
#[derive(Debug, Clone)]
pub struct ReviewInForce {
    /// The key.
    pub key: KeyRecord,
    /// What it may do and did not, as of now.
    pub findings: Findings,
    /// The newest review, decided or not; `None`: it never had one.
    pub last: Option<ReviewRecord>,
}

/// Reviews. Cheap to clone.
#[derive(Clone)]
pub struct Reviews(Arc<ReviewDeps>);

impl Reviews {
    pub(crate) fn new(deps: ReviewDeps) -> Self {
        Self(Arc::new(deps))
    }

    /// Reviews, the newest first.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn list(&self, filter: &ReviewFilter) -> Result<Vec<ReviewRecord>, ServiceError> {
        Ok(self.0.store.reviews(filter).await?)
    }

    /// What a key may do and did not use.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn show(&self, id: &KeyId) -> Result<ReviewInForce, ServiceError> {
        let key = self.key(id).await?;
        let (findings, _) = self.look(&key, self.0.clock.now()).await?;
        let last = self.last(id).await?;
        Ok(ReviewInForce { key, findings, last })
    }

    /// Confirms what a key may do, or takes away what it did not use. A review that waits is closed by that; without
    /// one, the decision is kept as one.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`]; [`ServiceError::Conflict`] when the key does not live, or there is nothing to take
    /// away.
    pub async fn decide(
        &self,
        id: &KeyId,
        verdict: Verdict,
        caller: &Caller,
    ) -> Result<ReviewInForce, ServiceError> {
        for _ in 0..TRIES {
            let key = self.key(id).await?;
            let now = self.0.clock.now();
            check_alive(&key, now)?;
            let (findings, used) = self.look(&key, now).await?;
            let open = self.last(id).await?.filter(|review| review.decision.is_none());
            let is_new = open.is_none();
            let opened = match open {
                Some(open) => open,
                None => self.opened(&key, findings, now)?,
            };
            let mut review = ReviewRecord { decision: Some(Decision { verdict, at: now }), ..opened };
            let after = match verdict {
                Verdict::Confirmed => key.clone(),
                Verdict::Shrunk => shrunk(&key, &used)?,
            };
            self.0.policies.check_change(&key, &after).await?;
            let event = caller
                .event(now, "review.decide", review.id.as_str())
                .with("verdict", verdict.as_str())
                .with("unused", as_json(&review.findings));
            let mut event = digests::with(event, Some(&permissions(&key)), Some(&permissions(&after)));
            event.key = key.id.to_string();
            let boxed = Box::new(review.clone());
            let mut changes =
                vec![if is_new { Change::InsertReview(boxed) } else { Change::UpdateReview(boxed) }];
            if verdict == Verdict::Shrunk {
                changes.push(Change::UpdateKey(Box::new(after.clone())));
            }
            match self.0.store.apply(changes, event).await {
                Ok(applied) => {
                    review.version += i64::from(!is_new);
                    let after = if verdict == Verdict::Shrunk {
                        let after = KeyRecord { version: after.version + 1, ..after };
                        self.0.grants.key_changed(&after, applied.seq);
                        after
                    } else {
                        after
                    };
                    let findings = review.findings.clone();
                    return Ok(ReviewInForce { key: after, findings, last: Some(review) });
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServiceError::conflict("key", "it is being changed by someone else all the time"))
    }

    /// Opens a review for each living key that is due for one. How many; what was opened before stays.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`]; what was opened so far stays open.
    pub(crate) async fn open_due(&self, hold: &Change, now: Timestamp) -> Result<u64, ServiceError> {
        let (mut opened, mut after) = (0, None);
        loop {
            let filter = KeyFilter { after: after.clone(), limit: PAGE, ..KeyFilter::default() };
            let page = self.0.store.keys(&filter).await?;
            let Some(last) = page.last() else { return Ok(opened) };
            after = Some(last.id.clone());
            for key in page.iter().filter(|key| check_alive(key, now).is_ok()) {
                opened += u64::from(self.open(key, hold, now).await?);
            }
            if page.len() < PAGE as usize {
                return Ok(opened);
            }
        }
    }

    async fn open(&self, key: &KeyRecord, hold: &Change, now: Timestamp) -> Result<bool, ServiceError> {
        if !review::is_due(key, None, now) || !review::is_due(key, self.last(&key.id).await?.as_ref(), now) {
            return Ok(false);
        }
        let (findings, _) = self.look(key, now).await?;
        let review = self.opened(key, findings, now)?;
        let mut event = Caller::system().event(now, "review.open", review.id.as_str());
        event.key = key.id.to_string();
        let event = event.with("unused", as_json(&review.findings));
        let changes = vec![hold.clone(), Change::InsertReview(Box::new(review))];
        self.0.store.apply(changes, event).await?;
        Ok(true)
    }

    fn opened(
        &self,
        key: &KeyRecord,
        findings: Findings,
        now: Timestamp,
    ) -> Result<ReviewRecord, ServiceError> {
        Ok(ReviewRecord {
            id: ReviewId::generate(self.0.entropy.as_ref())?,
            key: key.id.clone(),
            workspace: key.workspace.clone(),
            opened_at: now,
            findings,
            decision: None,
            version: 1,
        })
    }

    async fn look(&self, key: &KeyRecord, now: Timestamp) -> Result<(Findings, Used), ServiceError> {
        let since = review::since(now);
        let query = UsageQuery {
            by: Some(UsageBy::Model),
            key: Some(key.id.clone()),
            from: Some(since),
            ..UsageQuery::default()
        };
        let mut used = Used::default();
        for total in self.0.ledger.usage(&query).await? {
            used.accesses = used.accesses.and(total.accesses);
            if !total.group.is_empty() {
                used.models.push(total.group);
            }
        }
        Ok((review::find(&key.policy.permissions, &used, since), used))
    }

    async fn key(&self, id: &KeyId) -> Result<KeyRecord, ServiceError> {
        self.0.store.key(id).await?.ok_or_else(|| ServiceError::not_found("key", id))
    }

    async fn last(&self, id: &KeyId) -> Result<Option<ReviewRecord>, ServiceError> {
        let filter = ReviewFilter { key: Some(id.clone()), limit: 1, ..ReviewFilter::default() };
        Ok(self.0.store.reviews(&filter).await?.pop())
    }
}

fn check_alive(key: &KeyRecord, now: Timestamp) -> Result<(), ServiceError> {
    match key.status(now) {
        KeyStatus::Pending | KeyStatus::Active | KeyStatus::Deprecated | KeyStatus::Suspended => Ok(()),
        dead @ (KeyStatus::Revoked | KeyStatus::Expired | KeyStatus::Purged) => {
            Err(ServiceError::conflict("key", format!("it is {}", dead.as_str())))
        }
    }
}

fn shrunk(key: &KeyRecord, used: &Used) -> Result<KeyRecord, ServiceError> {
    let permissions =
        review::shrink(&key.policy.permissions, used).map_err(|e| ServiceError::conflict("key", e))?;
    let policy = KeyPolicy { permissions, ..key.policy.clone() };
    Ok(KeyRecord { policy, ..key.clone() })
}

fn permissions(key: &KeyRecord) -> Value {
    json!({ "permissions": as_json(&key.policy.permissions) })
}

fn as_json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests;
