//! What one call holds back: more of it while a stream goes on, and settled or given back at its end.

use claviger_domain::{
    budget::{Charge, Holds, OverBudget},
    money::PicoUsd,
    tenancy::BatchHold,
};
use tokio::time::Instant;

use super::{Budgets, batches::Batch, blocks};
use crate::lock::lock;

/// What one call holds back. Dropped, it is given back: nothing was spent.
#[must_use = "what is held back is given back when this is dropped"]
pub struct Held {
    pub(super) budgets: Budgets,
    pub(super) holds: Option<Holds>,
    pub(super) charges: Vec<Charge>,
    /// Since when it has come to more than this node's block has.
    pub(super) short_since: Option<Instant>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("charges", &self.charges).finish_non_exhaustive()
    }
}

impl Held {
    /// Whether a hard budget is among them: the call's intent must be durable before it is sent.
    #[must_use]
    pub fn binds(&self) -> bool {
        self.holds.as_ref().is_some_and(Holds::bind)
    }

    /// The periods of budgets that the call counts against.
    #[must_use]
    pub fn charges(&self) -> &[Charge] {
        &self.charges
    }

    /// What may be spent before [`Held::stretch`] must be asked, in pico-dollars; `None`: the call cannot cost more than
    /// is held back for it.
    #[must_use]
    pub fn room(&self) -> Option<i128> {
        self.holds.as_ref().and_then(Holds::room)
    }

    /// Holds back as much as the call has come to, and `ahead` for what comes next as far as that is left. Where only this
    /// node's block has not as much, a larger one is asked for, and the call may go on for a moment.
    ///
    /// # Errors
    /// [`OverBudget`]: not as much is left as it has come to; what was held back stays.
    pub fn stretch(&mut self, come_to: PicoUsd, ahead: PicoUsd) -> Result<(), Box<OverBudget>> {
        let Some(holds) = &mut self.holds else { return Ok(()) };
        let stretched = lock(&self.budgets.0.book).stretch(holds, come_to, ahead);
        let Some(blocks) = &self.budgets.0.blocks else { return stretched.map_err(Box::new) };
        match stretched {
            Ok(()) => self.short_since = None,
            Err(over) => {
                blocks.wake();
                let since = *self.short_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= blocks::PATIENCE {
                    return Err(Box::new(over));
                }
            }
        }
        Ok(())
    }

    /// Books what the call has cost, and gives the rest back.
    pub fn settle(mut self, cost: PicoUsd) {
        if let Some(holds) = self.holds.take() {
            let settled = lock(&self.budgets.0.book).settle(holds, cost);
            self.budgets.heard(settled);
        }
    }

    /// What must be kept with a batch that this call has made, and keeps it held back until the batch is billed.
    pub fn keep_for(mut self, batch: &str, amount: PicoUsd) -> BatchHold {
        let charges = std::mem::take(&mut self.charges);
        if let Some(mut holds) = self.holds.take() {
            if self.budgets.0.blocks.is_some() {
                // The commit that makes the batch known moves it out of this node's block.
                lock(&self.budgets.0.book).hand_over(std::mem::take(&mut holds));
            }
            let kept =
                Batch { holds, charges: charges.clone(), before: 0, seen: 0, most: amount.as_pico().into() };
            lock(&self.budgets.0.batches).insert(batch.to_owned(), kept);
        }
        BatchHold { amount, charges }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(holds) = self.holds.take() {
            lock(&self.budgets.0.book).release(holds);
        }
    }
}
