//! Several nodes on one store: this one's lease, and those that died. Whoever is not heard of for as long as a lease lasts is
//! taken over by another node, which charges its open calls at what they held back and frees the rest of its budgets' blocks.
//! A node that was taken over though it lives can write nothing any more: it stops.

use std::{io::Write, path::Path, sync::Arc, time::Duration};

use claviger_domain::{
    audit::{Actor, AuditEvent},
    clock::Clock,
    id::NodeId,
    ports::{Store, StoreError, nodes::SharedStore},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    ServiceError,
    budgets::Budgets,
    health::Health,
    recorder::{Recorder, unknown_row},
};

/// How long a node need not be heard of.
pub(crate) const LEASE: Duration = Duration::from_secs(10);
const LEASE_US: i64 = 10_000_000;
/// How often it is heard of.
const RENEW: Duration = Duration::from_secs(2);
/// The file in the spool's folder that names the incarnation which has this folder.
const NAME: &str = "incarnation";

/// What keeps this node's lease.
pub(crate) struct Nodes {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) node: NodeId,
    pub(crate) budgets: Budgets,
    pub(crate) recorder: Recorder,
    pub(crate) health: Health,
}

/// Begins the lease of an incarnation. The folder is its own: whoever had it before is dead.
pub(crate) async fn begin(
    store: &dyn SharedStore,
    node: &NodeId,
    folder: Option<&Path>,
) -> Result<(), ServiceError> {
    store.begin_lease(node, LEASE_US).await?;
    let Some(folder) = folder else { return Ok(()) };
    let path = folder.join(NAME);
    let before = std::fs::read_to_string(&path).ok().and_then(|text| NodeId::parse(text.trim()).ok());
    if let Some(before) = before {
        store.lapse(&before).await?;
    }
    let unwritable =
        |e: std::io::Error| ServiceError::Unavailable(format!("the spool cannot be written: {e}"));
    std::fs::create_dir_all(folder).map_err(unwritable)?;
    let new = folder.join(format!("{NAME}.new"));
    let mut file = std::fs::File::create(&new).map_err(unwritable)?;
    writeln!(file, "{node}").and_then(|()| file.sync_all()).map_err(unwritable)?;
    std::fs::rename(&new, &path).map_err(unwritable)
}

/// The event that closes the chain of a node that died.
pub(crate) fn close_dead(clock: &dyn Clock, dead: &NodeId) -> AuditEvent {
    AuditEvent::new(clock.now(), Actor::System, crate::audit::CHAIN_CLOSE, dead.as_str()).with("why", "died")
}

impl Nodes {
    /// Renews the lease and takes over whoever died, until it is stopped. On a store of one node there is nothing to do.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let Some(store) = self.store.shared() else { return };
        // Whoever lapsed while the store was away gets the time to come back.
        let mut heard_since = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RENEW) => {}
            }
            match store.renew_lease(&self.node, LEASE_US).await {
                Ok(()) => {}
                Err(StoreError::Conflict { .. }) => {
                    tracing::error!(node = %self.node, "another node has taken this one over: stopping");
                    return self.health.fence();
                }
                Err(error) => {
                    tracing::warn!(%error, "this node's lease could not be renewed");
                    heard_since = Instant::now();
                    continue;
                }
            }
            if heard_since.elapsed() >= LEASE
                && let Err(error) = self.take_over(store).await
            {
                tracing::warn!(%error, "nodes that died could not be taken over yet");
            }
        }
    }

    async fn take_over(&self, store: &dyn SharedStore) -> Result<(), ServiceError> {
        for dead in store.lapsed(&self.node).await? {
            let event = close_dead(self.clock.as_ref(), &dead);
            let Some(estate) = store.take_over(&self.node, &dead, event).await? else { continue };
            tracing::warn!(node = %dead, calls = estate.intents.len(), "took over a node that died");
            self.budgets.inherit(&estate);
            let Ok(mut slot) = self.recorder.slot() else { continue };
            let now = self.clock.now();
            for intent in &estate.intents {
                // What is not written now is found again by whoever takes this node over.
                if let Err(error) = slot.book(unknown_row(intent, now, "node died"), Vec::new()).await {
                    tracing::warn!(%error, "a call of a node that died waits to be recorded");
                }
            }
            slot.release();
        }
        Ok(())
    }
}
