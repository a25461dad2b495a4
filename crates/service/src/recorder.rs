//! The ledger's group commit: what must be durable is gathered while the last group is being committed, and committed
//! together. Nobody waits for others: an idle writer commits the first message that somebody waits for alone.
//!
//! A request takes its [`Slot`] at admission, so that a settlement never waits for room. Each message answers with a
//! [`Receipt`] that resolves once it is durable: in the store, or after 2 s in the spool. If neither takes it, the
//! receipt fails, the message stays queued, and its slot stays taken until it is durable.

mod aside;
mod gather;
mod queue;
mod recover;
mod sift;
mod spool;
mod tempo;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use claviger_domain::{
    id::{IntentId, NodeId},
    ledger::{Intent, LedgerRow},
    tenancy::Resource,
};
use tokio::sync::Notify;

pub(crate) use aside::Aside;
use gather::Gathered;
pub(crate) use gather::unknown_row;
use queue::Queue;
pub use queue::Receipt;
pub(crate) use recover::{close_dead_chains, drain_leftovers, settle_orphans, settle_salvaged};
pub use writer::Writer;
pub(crate) use writer::{Target, WriterParts};

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
    /// The store refuses a value of it for good. It is set aside durably, but it is not in the ledger: the answer must
    /// not end as if it were.
    #[error("the store refuses the record")]
    Refused,
    /// The recorder was stopped.
    #[error("the recorder is stopped")]
    Stopped,
}

/// What the recorder did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecorderStats {
    /// Slots taken now.
    pub slots: usize,
    /// Groups committed.
    pub groups: u64,
    /// Ledger rows committed.
    pub rows: u64,
    /// Time spent in commits, in microseconds.
    pub commit_us: u64,
    /// Bytes in the spool now.
    pub spooled_bytes: u64,
    /// Ledger rows that the store refused for good and that are set aside.
    pub rows_set_aside: u64,
}

/// Queue of whatever must be made durable. Cheap to clone.
#[derive(Clone)]
pub struct Recorder(Arc<Shared>);

/// What recorder, slots and writer share.
pub(crate) struct Shared {
    chain: NodeId,
    queue: Arc<Queue>,
    most_slots: usize,
    slots: AtomicUsize,
    disk_low: Arc<AtomicBool>,
    healthy: AtomicBool,
    groups: AtomicU64,
    rows: AtomicU64,
    commit_us: AtomicU64,
    spooled_bytes: AtomicU64,
    aside: Arc<Aside>,
    /// Told after each thousand groups: a checkpoint is due.
    checkpoint_due: Arc<Notify>,
}

impl Recorder {
    pub(crate) fn new(
        chain: NodeId,
        most_slots: usize,
        disk_low: Arc<AtomicBool>,
        checkpoint_due: Arc<Notify>,
        aside: Arc<Aside>,
    ) -> Self {
        Self(Arc::new(Shared {
            chain,
            queue: Queue::new(),
            most_slots,
            slots: AtomicUsize::new(0),
            disk_low,
            healthy: AtomicBool::new(true),
            groups: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            commit_us: AtomicU64::new(0),
            spooled_bytes: AtomicU64::new(0),
            aside,
            checkpoint_due,
        }))
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.0)
    }

    /// Takes a place for one request, at admission: a settlement must never wait for room.
    ///
    /// # Errors
    /// [`RecorderFull`]: the request must be refused before anything is spent.
    pub fn slot(&self) -> Result<Slot, RecorderFull> {
        if self.0.disk_low.load(Ordering::Relaxed) {
            return Err(RecorderFull::Disk);
        }
        if self.0.queue.is_closed() {
            return Err(RecorderFull::Stopped);
        }
        let most = self.0.most_slots;
        let taken =
            self.0.slots.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| (n < most).then_some(n + 1));
        match taken {
            Ok(_) => Ok(Slot { shared: Arc::clone(&self.0), intent: None, is_open: true }),
            Err(_) => Err(RecorderFull::Slots),
        }
    }

    /// This incarnation's data chain.
    #[must_use]
    pub fn chain(&self) -> &NodeId {
        &self.0.chain
    }

    /// Whether the store takes group commits.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.0.healthy.load(Ordering::Relaxed)
    }

    /// How many bytes wait in the spool for the store.
    #[must_use]
    pub fn spooled_bytes(&self) -> u64 {
        self.0.spooled_bytes.load(Ordering::Relaxed)
    }

    /// Records that the store refused for good, of earlier starts as well: somebody should look at them.
    #[must_use]
    pub fn set_aside(&self) -> u64 {
        self.0.aside.waiting()
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> RecorderStats {
        RecorderStats {
            slots: self.0.slots.load(Ordering::Relaxed),
            groups: self.0.groups.load(Ordering::Relaxed),
            rows: self.0.rows.load(Ordering::Relaxed),
            commit_us: self.0.commit_us.load(Ordering::Relaxed),
            spooled_bytes: self.spooled_bytes(),
            rows_set_aside: self.0.aside.rows(),
        }
    }
}

/// One request's place in the queue. Dropped without [`Slot::settle`] or [`Slot::release`], its open intent is booked
/// as `Outcome::Unknown` at its reservation.
pub struct Slot {
    shared: Arc<Shared>,
    /// The intent that is neither settled nor released.
    intent: Option<IntentId>,
    is_open: bool,
}

impl Slot {
    /// Writes an intent down. An open intent of this slot is released by it: a retry supersedes it. (An attempt that
    /// was billed and lost is settled first, by [`Slot::book`].)
    pub fn intent(&mut self, intent: Intent) -> Receipt {
        let superseded = self.intent.replace(intent.id.clone());
        self.shared.queue.push(false, |g| {
            g.released.extend(superseded);
            g.intents.push(intent);
        })
    }

    /// Books a row and goes on: a billed but lost attempt before its retry, or one item of a batch.
    pub fn book(&mut self, row: LedgerRow, made: Vec<Resource>) -> Receipt {
        if row.intent == self.intent {
            self.intent = None;
        }
        self.shared.queue.push(false, |g| {
            g.rows.push(row);
            g.resources.extend(made);
        })
    }

    /// Writes down what was made at the provider, without a row.
    pub fn made(&mut self, made: Vec<Resource>) -> Receipt {
        self.shared.queue.push(false, |g| g.resources.extend(made))
    }

    /// Books the row that ends this request, with what it made at the provider. An open intent that the row does not
    /// name is released.
    pub fn settle(mut self, row: LedgerRow, made: Vec<Resource>) -> Receipt {
        self.is_open = false;
        let open = self.intent.take().filter(|open| row.intent.as_ref() != Some(open));
        self.shared.queue.push(true, |g| {
            g.released.extend(open);
            g.rows.push(row);
            g.resources.extend(made);
            g.freed += 1;
        })
    }

    /// Ends the slot without a row: nothing was sent for its intent, if it has one.
    pub fn release(mut self) {
        self.is_open = false;
        match self.intent.take() {
            None => self.shared.free(1),
            Some(id) => self.end(|g| g.released.push(id)),
        }
    }

    fn end(&self, message: impl FnOnce(&mut Gathered)) {
        let receipt = self.shared.queue.push(false, |g| {
            message(g);
            g.freed += 1;
        });
        drop(receipt);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        match self.intent.take() {
            None => self.shared.free(1),
            Some(id) => self.end(|g| g.abandoned.push(id)),
        }
    }
}

impl Shared {
    fn free(&self, slots: usize) {
        self.slots.fetch_sub(slots, Ordering::AcqRel);
    }
}
