//! What is held back for batches, until their results are billed.

use claviger_domain::{
    budget::{Charge, Holds},
    money::PicoUsd,
    ports::budgets::HeldBatch,
    tenancy::BatchHold,
};

use super::Budgets;
use crate::{ServiceError, lock::lock};

/// What is held back for a batch that is not billed yet.
pub(super) struct Batch {
    pub(super) holds: Holds,
    pub(super) charges: Vec<Charge>,
    /// What was billed of it before this start: the store's totals hold it already.
    pub(super) before: i128,
    /// The most that a reading of its results has come to.
    pub(super) seen: i128,
    /// The most that it can cost.
    pub(super) most: i128,
}

impl Budgets {
    /// Holds back what is left of a batch that somebody else, or an earlier start, has made. Where nodes share budgets, the
    /// store holds it back.
    pub(super) fn hold_for(&self, batch: HeldBatch) {
        let BatchHold { amount, charges } = batch.hold;
        let left = PicoUsd::saturating((i128::from(amount.as_pico()) - batch.spent).max(0));
        let holds = match self.0.blocks {
            Some(_) => Holds::default(),
            None => lock(&self.0.book).hold_again(&charges, left),
        };
        let (before, most) = (batch.spent, amount.as_pico().into());
        let kept = Batch { holds, charges, before, seen: before, most };
        lock(&self.0.batches).insert(batch.batch, kept);
    }

    /// Learns of a batch that another node may have made, before its results are billed.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn know_batch(&self, batch: &str) -> Result<(), ServiceError> {
        if self.0.blocks.is_none() || lock(&self.0.batches).contains_key(batch) {
            return Ok(());
        }
        let held = self.0.deps.store.held_batches().await?;
        if let Some(held) = held.into_iter().find(|held| held.batch == batch) {
            self.hold_for(held);
        }
        Ok(())
    }

    /// The periods of budgets that a batch's results count against.
    #[must_use]
    pub fn charges_of_batch(&self, batch: &str) -> Vec<Charge> {
        lock(&self.0.batches).get(batch).map(|batch| batch.charges.clone()).unwrap_or_default()
    }

    /// A reading of a batch's results broke off after this much.
    pub fn batch_read(&self, batch: &str, cost: i128) {
        if let Some(batch) = lock(&self.0.batches).get_mut(batch) {
            batch.seen = batch.seen.max(cost);
        }
    }

    /// What is still held back for a batch that is not billed to its end, and what it has come to so far.
    #[must_use]
    pub fn batch_left(&self, batch: &str) -> Option<(PicoUsd, i128)> {
        let batches = lock(&self.0.batches);
        let Batch { seen, most, .. } = batches.get(batch)?;
        Some((PicoUsd::saturating((most - seen).max(0)), *seen))
    }

    /// A batch is billed to its end; `cost` is what its results have come to.
    pub fn batch_done(&self, batch: &str, cost: i128) {
        let Some(Batch { holds, before, seen, .. }) = lock(&self.0.batches).remove(batch) else { return };
        let cost = PicoUsd::saturating((cost.max(seen) - before).max(0));
        let settled = lock(&self.0.book).settle(holds, cost);
        self.heard(settled);
    }
}
