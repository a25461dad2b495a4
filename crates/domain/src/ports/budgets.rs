//! What budgets need from the store.

use async_trait::async_trait;

use super::StoreError;
use crate::{
    budget::{BudgetRecord, BudgetSubject, Charge},
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

/// Budgets. Totals are exact up to the last group commit.
#[async_trait]
pub trait BudgetStore: Send + Sync + 'static {
    /// All budgets that were not dropped.
    async fn budgets(&self) -> Result<Vec<BudgetRecord>, StoreError>;
    /// What each of these periods has cost, in pico-dollars, in the same order.
    async fn budget_totals(&self, periods: &[Charge]) -> Result<Vec<i128>, StoreError>;
    /// The keys whose calls count against a subject; of a key, its children, too.
    async fn keys_of(&self, subject: &BudgetSubject) -> Result<Vec<KeyId>, StoreError>;
    /// Batches that hold money back.
    async fn held_batches(&self) -> Result<Vec<HeldBatch>, StoreError>;
}
