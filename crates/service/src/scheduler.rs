//! Durable jobs: what is due is in the store, whoever takes the lease acts, and what a runner left is taken up by the
//! next one. A job may be begun again after a crash: what it does twice must be the same as once.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use claviger_domain::{
    clock::{Clock, Entropy, MICROS_PER_SEC, Timestamp},
    id::NodeId,
    ports::{
        Change, Store, StoreError,
        jobs::{JobClaim, JobEnd, JobLease, JobRecord},
    },
    schedule::{Due, Schedule, due},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Caller, ServiceError, lock::lock};

/// How often the store is asked what is due.
const LOOK: Duration = Duration::from_secs(1);
/// A runner that is not heard of for so long has died, unless its job says otherwise.
const LEASE: Duration = Duration::from_secs(60);
/// A running job's lease is renewed so many times within it.
const RENEWALS: u32 = 3;
/// How often a slot is begun before it is given up.
const ATTEMPTS: u32 = 5;
/// The pause before the second try; it doubles with each.
const FIRST_PAUSE_MICROS: i64 = 30 * MICROS_PER_SEC;
/// The beginning of a run is put off by at most this, in microseconds.
const MAX_JITTER_MICROS: u32 = 5_000_000;

/// Something that is done again and again.
#[async_trait]
pub trait Job: Send + Sync + 'static {
    /// Its name: in the store, in lists, in commands.
    fn name(&self) -> &'static str;
    /// When it is due.
    fn schedule(&self) -> &Schedule;
    /// A runner that is not heard of for so long has died.
    fn lease(&self) -> Duration {
        LEASE
    }
    /// Whether there is anything to do at all. It is asked before the lease is taken, so that a job which is due every
    /// few seconds writes nothing while there is nothing to do; its slot then stays due.
    async fn is_wanted(&self) -> Result<bool, ServiceError> {
        Ok(true)
    }
    /// Does it for one slot; what was done, in a few words.
    async fn run(&self, turn: &Turn) -> Result<String, ServiceError>;
}

/// One run of a job.
#[derive(Debug, Clone)]
pub struct Turn {
    /// The right to run.
    pub lease: JobLease,
    /// When it began.
    pub now: Timestamp,
}

impl Turn {
    /// The change that lets a transaction fail if another runner has taken over. It goes first into every
    /// [`Store::apply`] of a job.
    #[must_use]
    pub fn hold(&self) -> Change {
        Change::HoldLease(self.lease.clone())
    }
}

/// A job as people see it.
#[derive(Debug, Clone)]
pub struct JobInForce {
    /// When it is due, in words.
    pub schedule: String,
    /// How it stands.
    pub record: JobRecord,
}

/// Runs jobs. Cheap to clone.
#[derive(Clone)]
pub struct Scheduler(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    node: NodeId,
    jobs: Vec<Planned>,
    /// Jobs that this node runs now.
    busy: Mutex<HashSet<&'static str>>,
}

struct Planned {
    job: Arc<dyn Job>,
    jitter_micros: i64,
}

impl Scheduler {
    /// Leases are taken in the name of this incarnation of the node.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
        node: NodeId,
        jobs: Vec<Arc<dyn Job>>,
    ) -> Self {
        let planned = |job| {
            let mut bytes = [0; 4];
            // Without randomness all begin on time, at once.
            let chance = entropy.fill(&mut bytes).map_or(0, |()| u32::from_le_bytes(bytes));
            let job: Arc<dyn Job> = job;
            let jitter_micros =
                i64::from(chance % MAX_JITTER_MICROS).min(job.schedule().most_jitter_micros());
            Planned { job, jitter_micros }
        };
        let jobs = jobs.into_iter().map(planned).collect();
        Self(Arc::new(Inner { store, clock, node, jobs, busy: Mutex::default() }))
    }

    /// Looks every second, and runs what is due as tasks of the tracker.
    pub(crate) async fn run(self, tracker: TaskTracker, stop: CancellationToken) {
        loop {
            match self.claim_due().await {
                Ok(claimed) => {
                    for (job, lease) in claimed {
                        let (this, stop) = (self.clone(), stop.clone());
                        tracker.spawn(async move { this.carry_out(&*job, lease, &stop).await });
                    }
                }
                Err(error) => tracing::debug!(%error, "what is due cannot be seen"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Looks once, and runs what is due to its end.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn tick(&self) -> Result<(), ServiceError> {
        for (job, lease) in self.claim_due().await? {
            self.carry_out(&*job, lease, &CancellationToken::new()).await;
        }
        Ok(())
    }

    /// All jobs.
    ///
    /// # Errors
    /// [`ServiceError::Unavailable`].
    pub async fn list(&self) -> Result<Vec<JobInForce>, ServiceError> {
        self.plan().await?;
        let records = self.0.store.jobs().await?;
        let in_force = |record: JobRecord| {
            let planned = self.0.jobs.iter().find(|p| p.job.name() == record.name)?;
            Some(JobInForce { schedule: planned.job.schedule().to_string(), record })
        };
        Ok(records.into_iter().filter_map(in_force).collect())
    }

    /// Runs a job now, beside its schedule; what was done.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::Conflict`] when it runs already, and whatever the job fails with.
    pub async fn run_now(&self, name: &str, caller: &Caller) -> Result<String, ServiceError> {
        let unknown = || ServiceError::not_found("job", name);
        let planned = self.0.jobs.iter().find(|p| p.job.name() == name).ok_or_else(unknown)?;
        self.plan().await?;
        let seen = self.0.store.jobs().await?.into_iter().find(|j| j.name == name).ok_or_else(unknown)?;
        let runs = || ServiceError::conflict("job", "it is being run; look again with `claviger job list`");
        let now = self.0.clock.now();
        if seen.running_slot.is_some() && seen.lease_until > now {
            return Err(runs());
        }
        let slot = seen.running_slot.unwrap_or(now);
        let next = seen.next_run_at;
        let lease = self.claim(seen, planned.job.lease(), slot, next).await?.ok_or_else(runs)?;
        let event = caller.event(now, "job.run", name);
        self.0.store.apply(vec![Change::HoldLease(lease.clone())], event).await?;
        let answer = planned.job.run(&Turn { lease: lease.clone(), now }).await;
        let outcome = answer.as_ref().map_or_else(ToString::to_string, |_| "ok".to_owned());
        self.0.store.end_job(&lease, &JobEnd::Done { outcome }, self.0.clock.now()).await?;
        answer
    }

    async fn plan(&self) -> Result<(), StoreError> {
        let known = self.0.store.jobs().await?;
        for planned in &self.0.jobs {
            let name = planned.job.name();
            if !known.iter().any(|j| j.name == name)
                && let Some(next) = planned.job.schedule().next_after(self.0.clock.now())
            {
                self.0.store.add_job(name, next).await?;
            }
        }
        Ok(())
    }

    async fn claim_due(&self) -> Result<Vec<(Arc<dyn Job>, JobLease)>, StoreError> {
        let mut records = self.0.store.jobs().await?;
        if records.len() < self.0.jobs.len() {
            self.plan().await?;
            records = self.0.store.jobs().await?;
        }
        let mut claimed = Vec::new();
        for record in records {
            let Some(planned) = self.0.jobs.iter().find(|p| p.job.name() == record.name) else { continue };
            if lock(&self.0.busy).contains(planned.job.name()) {
                continue;
            }
            match due(planned.job.schedule(), &record, self.0.clock.now(), planned.jitter_micros) {
                Due::No => {}
                Due::Move(next) => self.0.store.move_job(&record, next).await?,
                Due::Run { slot, next } => {
                    // What a dead runner left is brought to its end.
                    if record.running_slot.is_none() && !self.is_wanted(planned.job.as_ref()).await {
                        continue;
                    }
                    let lease = self.claim(record, planned.job.lease(), slot, next).await?;
                    claimed.extend(lease.map(|lease| (Arc::clone(&planned.job), lease)));
                }
            }
        }
        Ok(claimed)
    }

    async fn is_wanted(&self, job: &dyn Job) -> bool {
        job.is_wanted().await.unwrap_or_else(|error| {
            tracing::warn!(job = job.name(), %error, "whether a job has anything to do cannot be seen");
            false
        })
    }

    async fn claim(
        &self,
        seen: JobRecord,
        lease: Duration,
        slot: Timestamp,
        next_run_at: Timestamp,
    ) -> Result<Option<JobLease>, StoreError> {
        let now = self.0.clock.now();
        let (owner, until) = (self.0.node.clone(), lapse(now, lease));
        self.0.store.claim_job(&JobClaim { seen, slot, owner, until, next_run_at, now }).await
    }

    async fn carry_out(&self, job: &dyn Job, lease: JobLease, stop: &CancellationToken) {
        lock(&self.0.busy).insert(job.name());
        let turn = Turn { lease, now: self.0.clock.now() };
        let end = tokio::select! {
            answer = job.run(&turn) => Some(self.end_of(job.name(), &turn.lease, answer)),
            () = self.keep(&turn.lease, job.lease()) => None,
            () = stop.cancelled() => {
                Some(JobEnd::Again { at: self.0.clock.now(), outcome: "stopped".to_owned() })
            }
        };
        match end {
            Some(end) => match self.0.store.end_job(&turn.lease, &end, self.0.clock.now()).await {
                Ok(true) => {}
                Ok(false) => tracing::warn!(job = job.name(), "another runner has taken over"),
                Err(error) => tracing::warn!(job = job.name(), %error, "a lease lapses by itself"),
            },
            None => tracing::warn!(job = job.name(), "the lease was lost: another runner goes on"),
        }
        lock(&self.0.busy).remove(job.name());
    }

    fn end_of(&self, name: &'static str, lease: &JobLease, answer: Result<String, ServiceError>) -> JobEnd {
        match answer {
            Ok(done) => {
                tracing::info!(job = name, done, "a job was done");
                JobEnd::Done { outcome: "ok".to_owned() }
            }
            Err(error) if lease.attempts < ATTEMPTS => {
                tracing::warn!(job = name, %error, attempt = lease.attempts, "a job failed; it is tried again");
                let pause = FIRST_PAUSE_MICROS << (lease.attempts.saturating_sub(1));
                JobEnd::Again { at: self.0.clock.now().plus_micros(pause), outcome: error.to_string() }
            }
            Err(error) => {
                tracing::error!(job = name, %error, "a job failed for the last time; its next slot stands");
                JobEnd::Done { outcome: error.to_string() }
            }
        }
    }

    /// Returns when the lease is lost.
    async fn keep(&self, lease: &JobLease, length: Duration) {
        loop {
            tokio::time::sleep(length / RENEWALS).await;
            let until = lapse(self.0.clock.now(), length);
            match self.0.store.renew_job(lease, until).await {
                Ok(true) => {}
                Ok(false) => return,
                // Writes of the job are refused by the lease itself; nothing is gained by giving up now.
                Err(error) => tracing::debug!(%error, "a lease could not be renewed"),
            }
        }
    }
}

fn lapse(now: Timestamp, lease: Duration) -> Timestamp {
    now.plus_micros(i64::try_from(lease.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
