//! THE list of background loops, and how they end.

use std::{sync::Arc, time::Duration};

use claviger_domain::{
    audit::{Actor, AuditEvent},
    clock::{Clock, MICROS_PER_DAY},
    ports::LedgerStore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    audit::RETIRE, checkpoints::Checkpoints, feed::Feed, health::Health, refusals::Refusals,
    services::FreeDisk,
};

/// How often refusals are looked through.
const REFUSALS: Duration = Duration::from_secs(5);
/// How often free disk space is measured.
const DISK: Duration = Duration::from_secs(1);
/// How often rows are looked through that are old enough to go, and how soon after the start for the first time.
const RETENTION: Duration = Duration::from_secs(24 * 3_600);
const FIRST_RETENTION: Duration = Duration::from_secs(60);

/// The background loops.
pub struct Jobs {
    pub(crate) tracker: TaskTracker,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) feed: Feed,
    pub(crate) checkpoints: Arc<Checkpoints>,
    pub(crate) refusals: Refusals,
    pub(crate) disk: DiskWatch,
    pub(crate) retention: Retention,
}

impl Jobs {
    /// Starts all loops as tasks of the tracker and waits until `stop` is cancelled. Then the last refusals are
    /// written. [`LastWords::speak`] must follow once the recorder's writer has ended.
    pub async fn run(self, stop: CancellationToken) -> LastWords {
        let Self { tracker, clock, feed, checkpoints, refusals, disk, retention } = self;
        // Revocations reach this node through the feed.
        let feed = tracker.spawn(feed.run(stop.clone()));
        // Cut tails are found by checkpoints.
        let signing = tracker.spawn(Arc::clone(&checkpoints).run(stop.clone()));
        // Admission closes before the disk is full.
        let disk = tracker.spawn(disk.run(stop.clone()));
        // Rows older than the retention go; their totals and leaves stay.
        let retention = tracker.spawn(retention.run(stop.clone()));
        // Refusals are recorded once per reason, subject and ten seconds.
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(REFUSALS) => refusals.flush(clock.now(), false).await,
            }
        }
        for job in [feed, signing, disk, retention] {
            if let Err(error) = job.await {
                tracing::error!(%error, "a background loop ended badly");
            }
        }
        refusals.flush(clock.now(), true).await;
        LastWords { checkpoints }
    }
}

/// What is left to do when everything has stopped: one checkpoint over the closed chains.
pub struct LastWords {
    checkpoints: Arc<Checkpoints>,
}

impl LastWords {
    /// Signs the last checkpoint.
    pub async fn speak(self) {
        self.checkpoints.sign_and_report().await;
    }
}

/// Measures free disk space.
pub(crate) struct DiskWatch {
    pub(crate) free_disk: FreeDisk,
    pub(crate) min_free_bytes: u64,
    pub(crate) health: Health,
}

impl DiskWatch {
    pub(crate) fn look(&self) {
        let low = (self.free_disk)().is_some_and(|free| free < self.min_free_bytes);
        self.health.note_disk(low);
    }

    async fn run(self, stop: CancellationToken) {
        loop {
            self.look();
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(DISK) => {}
            }
        }
    }
}

/// Lets old ledger rows go.
pub(crate) struct Retention {
    pub(crate) ledger: Arc<dyn LedgerStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) days: u32,
}

impl Retention {
    async fn run(self, stop: CancellationToken) {
        let mut pause = FIRST_RETENTION;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = RETENTION;
            match self.retire().await {
                Ok(0) => {}
                Ok(rows) => tracing::info!(rows, "ledger rows past their retention went"),
                Err(error) => tracing::warn!(%error, "ledger rows past their retention could not go"),
            }
        }
    }

    pub(crate) async fn retire(&self) -> Result<u64, claviger_domain::ports::StoreError> {
        let now = self.clock.now();
        let before = now.plus_micros(-i64::from(self.days).saturating_mul(MICROS_PER_DAY));
        let event = AuditEvent::new(now, Actor::System, RETIRE, "").with("retention_days", self.days);
        self.ledger.retire_rows(before, event).await
    }
}
