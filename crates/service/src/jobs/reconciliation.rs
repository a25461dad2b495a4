//! The provider's bill held against the ledger once a day, if there is an account to ask.

use std::sync::Arc;

use async_trait::async_trait;
use claviger_domain::{money::usd_text, price::Prices, schedule::Schedule};

use crate::{
    ServiceError,
    reconcile::Reconciler,
    scheduler::{Job, Turn},
};

/// Reconciles, and tells what does not agree.
pub(crate) struct Reconciliation {
    pub(crate) schedule: Schedule,
    pub(crate) reconciler: Reconciler,
    pub(crate) prices: Arc<dyn Prices>,
}

#[async_trait]
impl Job for Reconciliation {
    fn name(&self) -> &'static str {
        "reconciliation"
    }

    fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    async fn run(&self, turn: &Turn) -> Result<String, ServiceError> {
        if !self.reconciler.can_ask() {
            return Ok("no Admin key is sealed".to_owned());
        }
        let leaked = self.reconciler.look(turn, self.prices.as_ref()).await?;
        Ok(format!("${} leaked", usd_text(leaked)))
    }
}
