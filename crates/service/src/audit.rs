//! The audit log: reading, exporting and verifying it.

mod export;
mod follow;
mod reader;
mod verdict;

use std::sync::Arc;

use claviger_domain::{
    audit::{AuditEvent, AuditRecord, checkpoint::Checkpoint},
    ports::{LedgerStore, Store},
};

pub use export::{ExportFile, export};
pub use reader::{AuditReader, Line, ReadError, StoreReader};
pub use verdict::{BadRecord, Verdict, verify};

use crate::ServiceError;

/// The action of the control record that opens a data chain; its target is the chain.
pub const CHAIN_OPEN: &str = "audit.chain.open";
/// The action of the control record that closes a data chain and keeps its length and head.
pub const CHAIN_CLOSE: &str = "audit.chain.close";
/// The action of the control record that says which groups' rows retention took.
pub const RETIRE: &str = "ledger.retire";

const DEFAULT_PAGE: u32 = 100;
const MAX_PAGE: u32 = 1_000;

/// The audit log.
#[derive(Clone)]
pub struct Audit {
    store: Arc<dyn Store>,
    ledger: Arc<dyn LedgerStore>,
}

impl Audit {
    pub(crate) const fn new(store: Arc<dyn Store>, ledger: Arc<dyn LedgerStore>) -> Self {
        Self { store, ledger }
    }

    /// Reads everything that a verification needs.
    #[must_use]
    pub fn reader(&self) -> StoreReader {
        StoreReader::new(Arc::clone(&self.store), Arc::clone(&self.ledger))
    }

    /// Writes down something that changed nothing: a refusal, or that somebody read.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn note(&self, event: AuditEvent) -> Result<(), ServiceError> {
        self.store.apply(Vec::new(), event).await?;
        Ok(())
    }

    /// Control records after `number`, in order; a `limit` of 0 means 100; at most 1,000 are given.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn list(&self, after: i64, limit: u32) -> Result<Vec<AuditRecord>, ServiceError> {
        let limit = if limit == 0 { DEFAULT_PAGE } else { limit.min(MAX_PAGE) };
        Ok(self.store.audit_after(after, limit).await?)
    }

    /// The newest signed checkpoint.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn last_checkpoint(&self) -> Result<Option<Checkpoint>, ServiceError> {
        Ok(self.ledger.last_checkpoint().await?)
    }

    /// Verifies everything in the live store, and with `against`, that nothing before that checkpoint was cut off or
    /// changed. Holds no long read: what is written meanwhile is left out.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn verify(&self, against: Option<&Checkpoint>) -> Result<Verdict, ServiceError> {
        Ok(verify(&mut self.reader(), against).await?)
    }

    /// Writes everything that [`verify`] needs, as lines of JSON; the number of lines.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`]; what `write` returned.
    pub async fn export<W>(&self, write: W) -> Result<u64, ServiceError>
    where
        W: FnMut(&[u8]) -> std::io::Result<()> + Send,
    {
        Ok(export(&mut self.reader(), write).await?)
    }
}

#[cfg(test)]
mod tests;
