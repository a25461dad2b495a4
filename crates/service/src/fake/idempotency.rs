//! The fake store's requests with an `Idempotency-Key`.

use async_trait::async_trait;
use claviger_domain::{
    audit::AuditEvent,
    clock::Timestamp,
    ports::{
        StoreError,
        idempotency::{DETAIL, IdempotencyStore, KeptAnswer, Known, Reservation},
    },
};

use super::{FakeStore, conflict};
use crate::lock::lock;

/// Rows by principal and key.
#[derive(Default)]
pub(crate) struct Requests(Vec<(String, String, Known)>);

impl Requests {
    /// Marks what a request made, as a store does in the transaction of it.
    pub(super) fn mark(&mut self, event: &AuditEvent) -> Result<(), StoreError> {
        if !event.details.contains_key(DETAIL) {
            return Ok(());
        }
        let row = self.0.iter_mut().find(|(_, _, k)| k.request_id == event.request_id);
        let (_, _, known) = row.ok_or(conflict("idempotency key"))?;
        known.made.get_or_insert_with(|| event.target.clone());
        Ok(())
    }

    fn row(&mut self, request_id: &str) -> Option<&mut Known> {
        self.0.iter_mut().map(|(_, _, k)| k).find(|k| k.request_id == request_id)
    }
}

#[async_trait]
impl IdempotencyStore for FakeStore {
    async fn reserve(&self, wanted: &Reservation) -> Result<Option<Known>, StoreError> {
        self.up()?;
        let requests = &mut lock(&self.state).requests.0;
        let is_it = |(p, k, _): &&(String, String, Known)| *p == wanted.principal && *k == wanted.key;
        if let Some((_, _, known)) = requests.iter().find(is_it) {
            return Ok(Some(known.clone()));
        }
        let known = Known {
            request: wanted.request,
            request_id: wanted.request_id.clone(),
            at: wanted.at,
            made: None,
            answer: None,
        };
        requests.push((wanted.principal.clone(), wanted.key.clone(), known));
        Ok(None)
    }

    async fn known_request(&self, principal: &str, key: &str) -> Result<Option<Known>, StoreError> {
        self.up()?;
        let state = lock(&self.state);
        let found = state.requests.0.iter().find(|(p, k, _)| p == principal && k == key);
        Ok(found.map(|(_, _, known)| known.clone()))
    }

    async fn take_over(&self, request_id: &str, wanted: &Reservation) -> Result<bool, StoreError> {
        self.up()?;
        let mut state = lock(&self.state);
        let row = state.requests.row(request_id).filter(|k| k.made.is_none() && k.answer.is_none());
        let Some(known) = row else { return Ok(false) };
        known.request = wanted.request;
        known.request_id.clone_from(&wanted.request_id);
        known.at = wanted.at;
        Ok(true)
    }

    async fn keep_answer(&self, request_id: &str, answer: &KeptAnswer) -> Result<(), StoreError> {
        self.up()?;
        if let Some(known) = lock(&self.state).requests.row(request_id) {
            known.answer = Some(answer.clone());
        }
        Ok(())
    }

    async fn release(&self, request_id: &str) -> Result<(), StoreError> {
        self.up()?;
        let requests = &mut lock(&self.state).requests.0;
        requests.retain(|(_, _, k)| k.request_id != request_id || k.made.is_some());
        Ok(())
    }

    async fn forget_requests(&self, before: Timestamp, _limit: u32) -> Result<u64, StoreError> {
        self.up()?;
        let requests = &mut lock(&self.state).requests.0;
        let had = requests.len();
        requests.retain(|(_, _, k)| k.at >= before);
        Ok((had - requests.len()) as u64)
    }
}
