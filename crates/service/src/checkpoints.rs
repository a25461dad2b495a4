//! Signed checkpoints: where the control chain and all open data chains stood, each second in which anything happened
//! or each thousand groups. Closed chains stand in the control chain, so a checkpoint stays small.

use std::{sync::Arc, time::Duration};

use claviger_domain::{
    audit::checkpoint::{CONTROL_CHAIN, Checkpoint, CheckpointHead, CheckpointKey},
    clock::Clock,
    ports::{LedgerStore, Store},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{ServiceError, health::Health};

const INTERVAL: Duration = Duration::from_secs(1);

/// Where checkpoints are kept outside the database, so that a store that was cut or rolled back is found out.
pub trait CheckpointSink: Send + Sync + 'static {
    /// Keeps one checkpoint durably.
    ///
    /// # Errors
    /// Any IO error; it is reported and tried again with the next checkpoint.
    fn keep(&self, checkpoint: &Checkpoint) -> std::io::Result<()>;
}

/// Signs checkpoints.
pub(crate) struct Checkpoints {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) ledger: Arc<dyn LedgerStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) key: CheckpointKey,
    pub(crate) sink: Option<Arc<dyn CheckpointSink>>,
    pub(crate) health: Health,
    /// Told after each thousand groups.
    pub(crate) due: Arc<Notify>,
}

impl Checkpoints {
    /// Signs until `stop`. The last one is signed by whoever stops everything, after the chains are closed.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.due.notified() => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
            self.sign_and_report().await;
        }
    }

    /// Signs one if anything happened; a failure turns `/readyz` yellow and is made good by the next.
    pub(crate) async fn sign_and_report(&self) {
        let signed = self.sign().await;
        if let Err(error) = &signed {
            tracing::warn!(%error, "no checkpoint could be kept");
        }
        self.health.note_checkpoint(signed.is_err());
    }

    /// Signs where all chains stand, if that is not where they stood. `None`: nothing happened.
    pub(crate) async fn sign(&self) -> Result<Option<Checkpoint>, ServiceError> {
        let last = self.ledger.last_checkpoint().await?;
        // Data chains first: an opening is on the control chain before its chain is seen here.
        let chains = self.ledger.chains().await?;
        let control = self.store.audit_head().await?;
        let open = chains.into_iter().filter(|c| c.closed_at.is_none());
        let mut heads: Vec<CheckpointHead> = open
            .map(|c| CheckpointHead { chain: c.chain.to_string(), length: c.length, head: c.head })
            .collect();
        let chain = CONTROL_CHAIN.to_owned();
        heads.push(CheckpointHead { chain, length: control.length, head: control.head });
        heads.sort_by(|a, b| a.chain.cmp(&b.chain));
        if last.as_ref().is_some_and(|last| last.heads == heads) {
            return Ok(None);
        }
        let checkpoint = Checkpoint::sign(&self.key, last.as_ref(), self.clock.now(), heads);
        self.ledger.put_checkpoint(&checkpoint).await?;
        if let Some(sink) = &self.sink {
            sink.keep(&checkpoint)
                .map_err(|e| ServiceError::Unavailable(format!("the checkpoint sink failed: {e}")))?;
        }
        Ok(Some(checkpoint))
    }
}

#[cfg(test)]
mod tests;
