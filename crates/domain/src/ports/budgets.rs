//! What budgets need from the store.

use async_trait::async_trait;

use super::{StoreError, nodes::SharedStore};
use crate::{
    budget::{BudgetRecord, BudgetSubject, Charge},
    clock::Timestamp,
    estimate::Estimator,
    id::KeyId,
    tenancy::BatchHold,
};

/// A new budget, with what its period has cost before it was made.
#[derive(Debug, Clone)]
pub struct NewBudget {
    /// The budget.
    pub record: BudgetRecord,
    /// The period that it is made in.
    pub charge: Charge,
    /// What that period has cost so far, in pico-dollars.
    pub settled: i128,
}

/// A batch whose results are not billed to the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldBatch {
    /// The provider's id.
    pub batch: String,
    /// What is held back for it.
    pub hold: BatchHold,
    /// What of it is billed already, in pico-dollars.
    pub spent: i128,
}

/// What was learned of the calls of one key to one model.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    /// The first key of the line.
    pub key: KeyId,
    /// The model, as it was asked for; at most 128 bytes.
    pub model: String,
    /// What was learned.
    pub known: Estimator,
    /// When it was learned from last.
    pub at: Timestamp,
}

/// Budgets. Totals are exact up to the last group commit.
#[async_trait]
pub trait BudgetStore: Send + Sync + 'static {
    /// What several nodes need of it, if they can share it.
    fn shared(&self) -> Option<&dyn SharedStore> {
        None
    }
    /// All budgets that were not dropped.
    async fn budgets(&self) -> Result<Vec<BudgetRecord>, StoreError>;
    /// What each of these periods has cost, in pico-dollars, in the same order.
    async fn budget_totals(&self, periods: &[Charge]) -> Result<Vec<i128>, StoreError>;
    /// The keys whose calls count against a subject; of a key, its children, too.
    async fn keys_of(&self, subject: &BudgetSubject) -> Result<Vec<KeyId>, StoreError>;
    /// Batches that hold money back.
    async fn held_batches(&self) -> Result<Vec<HeldBatch>, StoreError>;
    /// What was learned of calls, what was learned from last first; at most `limit`. What cannot be read is left out.
    async fn learned(&self, limit: u32) -> Result<Vec<Learned>, StoreError>;
    /// Keeps what was learned in place of what was kept of the same keys and models, and forgets what nothing was
    /// learned from since `before`.
    async fn keep_learned(&self, learned: &[Learned], before: Timestamp) -> Result<(), StoreError>;
}
