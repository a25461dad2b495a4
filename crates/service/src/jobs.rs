//! THE list of background loops, and how they end; THE list of durable jobs.

mod daily_check;
mod permission_review;
mod reconciliation;
mod token_keys;
mod weekly_report;

use std::{sync::Arc, time::Duration};

use claviger_domain::{
    audit::{Actor, AuditEvent},
    clock::{Clock, Entropy, MICROS_PER_DAY},
    id::NodeId,
    ports::{LedgerStore, Store},
    price::Prices,
    schedule::{Schedule, ScheduleError},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    daily_check::DailyCheck, permission_review::PermissionReview, reconciliation::Reconciliation,
    token_keys::TokenKeys, weekly_report::WeeklyReport,
};
use crate::{
    audit::RETIRE,
    budgets::Budgets,
    certificates::Certificates,
    checkpoints::Checkpoints,
    credit::Credit,
    deliveries::Deliveries,
    direct_use::DirectUses,
    feed::Feed,
    health::Health,
    keys::Keys,
    nodes::Nodes,
    nonces::Nonces,
    notices::Notices,
    policies::Policies,
    recall::Recall,
    reconcile::Reconciler,
    refusals::Refusals,
    reviews::Reviews,
    rotation::{RotationJob, Rotations},
    scheduler::{Job, Scheduler},
    services::FreeDisk,
    signing::{Signing, SigningRotation},
    tokens::Tokens,
};

/// How often refusals are looked through.
const REFUSALS: Duration = Duration::from_secs(5);
/// How often free disk space is measured.
const DISK: Duration = Duration::from_secs(1);
/// How often rows are looked through that are old enough to go, and how soon after the start for the first time.
const RETENTION: Duration = Duration::from_secs(24 * 3_600);
const FIRST_RETENTION: Duration = Duration::from_secs(60);

/// How often signing secrets are looked through, in seconds.
const SIGNING_SECS: i64 = 600;
/// How often nonces are looked through.
const NONCES: Duration = Duration::from_secs(5);
/// How often rotations are looked through, in seconds.
const ROTATION_SECS: i64 = 2;
/// 09:00 on the first day of each quarter.
const QUARTERLY: &str = "0 9 1 1,4,7,10 *";
/// 06:30 UTC: half an hour after the provider's report of the day before is held for whole.
const RECONCILED: &str = "30 6 * * *";

/// When the durable jobs are due.
#[derive(Debug, Clone)]
pub struct Schedules {
    /// Notices of expiry, broken policies, unused keys. Default: 09:00 every day.
    pub daily_check: Schedule,
    /// The rotation report. Default: 09:00 on Mondays.
    pub weekly_report: Schedule,
    /// The provider's bill held against the ledger: 06:30 UTC every day.
    pub reconciliation: Schedule,
    /// Reviews of what keys may do: 09:00 on the first day of each quarter.
    pub permission_review: Schedule,
    /// Successors of signing secrets: every ten minutes.
    pub signing: Schedule,
    /// Steps of the keys that sign access tokens: every five minutes.
    pub token_keys: Schedule,
    /// Steps of rotations, lapsed deliveries: every two seconds, whenever there is something to do.
    pub rotations: Schedule,
}

impl Schedules {
    /// Cron expressions of five fields, and the zone that they are meant in.
    ///
    /// # Errors
    /// [`ScheduleError`] says what is wrong.
    pub fn new(daily_check: &str, weekly_report: &str, zone: &str) -> Result<Self, ScheduleError> {
        Ok(Self {
            daily_check: Schedule::cron(daily_check, zone)?,
            weekly_report: Schedule::cron(weekly_report, zone)?,
            reconciliation: Schedule::cron(RECONCILED, "UTC")?,
            permission_review: Schedule::cron(QUARTERLY, zone)?,
            signing: Schedule::every(SIGNING_SECS)?,
            token_keys: Schedule::every(token_keys::EVERY_SECS)?,
            rotations: Schedule::every(ROTATION_SECS)?,
        })
    }
}

/// What durable jobs work with.
pub(crate) struct DurableParts {
    pub(crate) schedules: Schedules,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) policies: Policies,
    pub(crate) keys: Keys,
    pub(crate) notices: Notices,
    pub(crate) reviews: Reviews,
    pub(crate) signing: Signing,
    pub(crate) direct_uses: DirectUses,
    pub(crate) reconciler: Reconciler,
    pub(crate) prices: Arc<dyn Prices>,
    pub(crate) tokens: Tokens,
    pub(crate) rotations: Rotations,
}

/// THE list of durable jobs: one runner acts for each slot, after downtime too.
pub(crate) fn durable(parts: DurableParts) -> Vec<Arc<dyn Job>> {
    let DurableParts { schedules, store, entropy, policies, keys, notices, reviews, signing, .. } = parts;
    let (direct_uses, tokens, rotations) = (parts.direct_uses, parts.tokens, parts.rotations);
    let (reconciler, prices) = (parts.reconciler, parts.prices);
    vec![
        // Keys are rotated step by step, each step once; deliveries that have lapsed are emptied.
        Arc::new(RotationJob { schedule: schedules.rotations, rotations }),
        // Owners hear of an expiry in time; what nobody uses is revoked.
        Arc::new(DailyCheck {
            schedule: schedules.daily_check,
            store: Arc::clone(&store),
            policies: policies.clone(),
            keys,
            notices: notices.clone(),
        }),
        // Signing secrets follow one another; what is over is emptied.
        Arc::new(SigningRotation { schedule: schedules.signing, signing }),
        // What the provider billed past us is found the next morning.
        Arc::new(Reconciliation { schedule: schedules.reconciliation, reconciler, prices }),
        // What keys may do and do not use is looked at once a quarter.
        Arc::new(PermissionReview { schedule: schedules.permission_review, reviews }),
        // Keys that sign access tokens are published, used and taken back in time.
        Arc::new(TokenKeys { schedule: schedules.token_keys, tokens }),
        // Somebody sees the whole once a week.
        Arc::new(WeeklyReport {
            schedule: schedules.weekly_report,
            store,
            entropy,
            policies,
            notices,
            direct_uses,
        }),
    ]
}

/// The background loops.
pub struct Jobs {
    pub(crate) tracker: TaskTracker,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) feed: Feed,
    pub(crate) nodes: Nodes,
    pub(crate) checkpoints: Arc<Checkpoints>,
    pub(crate) refusals: Refusals,
    pub(crate) nonces: Nonces,
    pub(crate) recall: Recall,
    pub(crate) signing: Signing,
    pub(crate) certificates: Certificates,
    pub(crate) scheduler: Scheduler,
    pub(crate) deliveries: Deliveries,
    pub(crate) budgets: Budgets,
    pub(crate) credit: Credit,
    pub(crate) notices: Notices,
    pub(crate) disk: DiskWatch,
    pub(crate) retention: Retention,
}

impl Jobs {
    /// Starts all loops as tasks of the tracker and waits until `stop` is cancelled. Then the last refusals are
    /// written. [`LastWords::speak`] must follow once the recorder's writer has ended.
    pub async fn run(self, stop: CancellationToken) -> LastWords {
        let Self {
            tracker,
            clock,
            feed,
            nodes,
            checkpoints,
            refusals,
            nonces,
            recall,
            signing: secrets,
            certificates,
            scheduler,
            deliveries,
            budgets,
            credit,
            notices,
            disk,
            retention,
        } = self;
        // Revocations reach this node through the feed.
        let feed = tracker.spawn(feed.run(stop.clone()));
        // Other nodes know that this one lives; what dies is taken over.
        let (store, node) = (Arc::clone(&nodes.store), nodes.node.clone());
        let living = tracker.spawn(nodes.run(stop.clone()));
        // Other nodes get what this one does not use of budgets, and the other way round.
        let lending = tracker.spawn(budgets.clone().keep_blocks(stop.clone()));
        // Cut tails are found by checkpoints.
        let signing = tracker.spawn(Arc::clone(&checkpoints).run(stop.clone()));
        // Admission closes before the disk is full.
        let disk = tracker.spawn(disk.run(stop.clone()));
        // Whoever revoked a key, and whatever died after it: the certificate follows.
        let certifying = tracker.spawn(certificates.run(stop.clone()));
        // What is due is run by whoever takes the lease.
        let scheduler = tracker.spawn(scheduler.run(tracker.clone(), stop.clone()));
        // Notices go out, each channel by itself.
        let deliveries = tracker.spawn(deliveries.run(tracker.clone(), stop.clone()));
        // Shares of budgets that were reached are told.
        let telling = tracker.spawn(budgets.clone().tell(notices, stop.clone()));
        // What calls will likely cost is known at the next start, too.
        let learning = tracker.spawn(budgets.keep_learning(stop.clone()));
        // What calls have settled comes into the book of prepaid credit.
        let spending = tracker.spawn(credit.run(stop.clone()));
        // Rows older than the retention go; their totals and leaves stay.
        let retention = tracker.spawn(retention.run(stop.clone()));
        // Nonces are forgotten once nothing can be sent again with them.
        let forgetting = tracker.spawn(forget(nonces, secrets, stop.clone()));
        // Refusals are recorded once per reason, subject and ten seconds.
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(REFUSALS) => {
                    refusals.flush(clock.now(), false).await;
                    // Nobody's words stay in memory for longer than they may be given to anybody.
                    recall.sweep();
                }
            }
        }
        let loops = [
            feed, living, lending, signing, disk, certifying, scheduler, deliveries, telling, learning,
            spending, retention, forgetting,
        ];
        for job in loops {
            if let Err(error) = job.await {
                tracing::error!(%error, "a background loop ended badly");
            }
        }
        refusals.flush(clock.now(), true).await;
        LastWords { checkpoints, store, node }
    }
}

async fn forget(nonces: Nonces, secrets: Signing, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(NONCES) => {
                nonces.forget().await;
                secrets.tell_late().await;
            }
        }
    }
}

/// What is left to do when everything has stopped: one checkpoint over the closed chains.
pub struct LastWords {
    checkpoints: Arc<Checkpoints>,
    store: Arc<dyn Store>,
    node: NodeId,
}

impl LastWords {
    /// Signs the last checkpoint.
    pub async fn speak(self) {
        self.checkpoints.sign_and_report().await;
        // Its chain is closed by now; otherwise its calls are to be found by whoever takes it over.
        if let Some(store) = self.store.shared()
            && let Err(error) = store.end_lease(&self.node).await
        {
            tracing::warn!(%error, "this node's lease could not be ended; it lapses");
        }
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
    pub(crate) prices: Arc<dyn Prices>,
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
        self.ledger.retire_rows(before, self.prices.as_ref(), event).await
    }
}
