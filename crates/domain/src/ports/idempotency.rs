//! Requests with an `Idempotency-Key`: what was asked, what was made of it, what was answered.
//!
//! A request first reserves its row. The transaction that carries it out ([`super::Store::apply`] with an event that
//! names the key, [`DETAIL`]) marks the row in the same transaction and fails when the row is not its own any more. So
//! whoever takes a row over can be sure that nothing was made, and nothing will be, by the request before.

use async_trait::async_trait;

use super::StoreError;
use crate::{audit::Digest, clock::Timestamp};

/// The name, among an event's details, of the `Idempotency-Key` that its request had.
pub const DETAIL: &str = "idempotency_key";

/// A request that begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// Who asks; each has keys of their own.
    pub principal: String,
    /// The `Idempotency-Key`.
    pub key: String,
    /// What is asked: a digest of method, path, query and body.
    pub request: Digest,
    /// The request's id, as in its audit events. The row is this request's as long as it names it.
    pub request_id: String,
    /// When.
    pub at: Timestamp,
}

/// What is kept of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// Its HTTP status.
    pub status: u16,
    /// Its sealed body; `None`: it held a secret or was too large, and is not kept.
    pub sealed: Option<Vec<u8>>,
}

/// A request that has the key already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What was asked.
    pub request: Digest,
    /// The request's id.
    pub request_id: String,
    /// When it came.
    pub at: Timestamp,
    /// What it made or changed: the target of its first event. `None`: nothing was committed.
    pub made: Option<String>,
    /// What was answered; `None`: it is under way, or died.
    pub answer: Option<KeptAnswer>,
}

/// Requests with an `Idempotency-Key`.
#[async_trait]
pub trait IdempotencyStore: Send + Sync + 'static {
    /// Keeps a row for a request, durably; `Some`: one has the key already, and nothing was written.
    async fn reserve(&self, wanted: &Reservation) -> Result<Option<Known>, StoreError>;
    /// What is known of a request with a key; `None`: none came.
    async fn known_request(&self, principal: &str, key: &str) -> Result<Option<Known>, StoreError>;
    /// Makes the row of a request that made nothing the new one's; false: it made something meanwhile, or is gone.
    async fn take_over(&self, request_id: &str, wanted: &Reservation) -> Result<bool, StoreError>;
    /// Keeps an answer.
    async fn keep_answer(&self, request_id: &str, answer: &KeptAnswer) -> Result<(), StoreError>;
    /// Forgets a request that made nothing; one that did stays.
    async fn release(&self, request_id: &str) -> Result<(), StoreError>;
    /// Forgets what came before `before`, at most `limit` rows; how many there were.
    async fn forget_requests(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;
}
