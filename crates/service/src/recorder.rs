//! The ledger's group commit.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use claviger_domain::{
    id::NodeId,
    ledger::{Intent, LedgerRow},
    tenancy::Resource,
};
use tokio_util::sync::CancellationToken;

/// Why no slot could be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecorderFull {
    /// Too many requests are in flight: 529.
    #[error("too many requests are being recorded")]
    Slots,
    /// Too little disk is free: 503.
    #[error("free disk space is too low to record requests")]
    Disk,
    /// The recorder was stopped: 503.
    #[error("the recorder is stopped")]
    Stopped,
}

/// A message could not be made durable in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The store did not take it within 2 s and it could not be spooled; it stays queued.
    #[error("the record could not be made durable in time")]
    Timeout,
    /// The recorder was stopped.
    #[error("the recorder is stopped")]
    Stopped,
}

/// Queue of whatever must be made durable. Cheap to clone.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    chain: NodeId,
}

impl Recorder {
    /// Takes a place for one request, at admission: a settlement must never wait for room.
    ///
    /// # Errors
    /// [`RecorderFull`]: the request must be refused before anything is spent.
    pub fn slot(&self) -> Result<Slot, RecorderFull> {
        Ok(Slot { _inner: Arc::clone(&self.0) })
    }

    /// This incarnation's data chain.
    #[must_use]
    pub fn chain(&self) -> &NodeId {
        &self.0.chain
    }

    /// Whether the store takes group commits.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        true
    }
}

/// One request's place in the queue. Dropped without [`Slot::settle`], its last intent is booked as
/// `Outcome::Unknown` at its reservation.
pub struct Slot {
    _inner: Arc<Inner>,
}

impl Slot {
    /// Writes an intent down. An earlier intent of this slot is released by it: a retry supersedes it.
    pub fn intent(&mut self, intent: Intent) -> Receipt {
        let _ = intent;
        Receipt {}
    }

    /// Books a row and goes on: a billed but lost attempt before its retry, or one item of a batch.
    pub fn book(&mut self, row: LedgerRow, made: Vec<Resource>) -> Receipt {
        let _ = (row, made);
        Receipt {}
    }

    /// Books the row that ends this request, with what it made at the provider; the slot's intents are settled by it.
    pub fn settle(self, row: LedgerRow, made: Vec<Resource>) -> Receipt {
        let _ = (row, made);
        Receipt {}
    }

    /// Ends the slot without a row: its intents were never sent.
    pub fn release(self) {}
}

/// Resolves when the message is durable.
#[must_use = "the last byte must not leave before the receipt resolves"]
pub struct Receipt {}

impl Future for Receipt {
    type Output = Result<(), RecordError>;
    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(()))
    }
}

/// The one writer of this incarnation's data chain.
pub struct Writer {}

impl Writer {
    /// Commits groups until `stop` is cancelled and the queue is empty, then closes the chain.
    pub async fn run(self, stop: CancellationToken) {
        stop.cancelled().await;
    }
}
