//! What durable jobs need from the store: when each is due, and a lease so that one runner acts.

use async_trait::async_trait;

use super::StoreError;
use crate::{clock::Timestamp, id::NodeId};

/// A durable job as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRecord {
    /// Its name.
    pub name: String,
    /// The slot that comes next.
    pub next_run_at: Timestamp,
    /// The slot that is being run, or has been left by a runner that died.
    pub running_slot: Option<Timestamp>,
    /// Who runs it, or empty.
    pub lease_owner: String,
    /// Nobody else takes it before.
    pub lease_until: Timestamp,
    /// Grows with every lease: whoever holds an older one is refused.
    pub fencing: i64,
    /// How often the running slot was begun.
    pub attempts: u32,
    /// When it was last done.
    pub last_run_at: Option<Timestamp>,
    /// How it went: `ok`, the reason of a failure, or empty.
    pub last_outcome: String,
}

/// The right to run one slot of a job, until it lapses or somebody takes over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobLease {
    /// The job.
    pub name: String,
    /// The slot.
    pub slot: Timestamp,
    /// The token that writes are checked against.
    pub fencing: i64,
    /// How often this slot was begun, this time included.
    pub attempts: u32,
}

/// Asks for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobClaim {
    /// The job as it was read: taken only if nobody took it meanwhile.
    pub seen: JobRecord,
    /// The slot to be run: the one that was left, or the newest that is due.
    pub slot: Timestamp,
    /// Who asks.
    pub owner: NodeId,
    /// When the lease lapses.
    pub until: Timestamp,
    /// The slot after it.
    pub next_run_at: Timestamp,
    /// Now.
    pub now: Timestamp,
}

/// One run of a job, past or present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRun {
    /// Its slot.
    pub slot: Timestamp,
    /// When it began for the first time.
    pub started_at: Timestamp,
    /// When it was done.
    pub finished_at: Option<Timestamp>,
    /// `ok`, the reason of a failure, or empty while it runs.
    pub outcome: String,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEnd {
    /// The slot is done with, well or badly.
    Done {
        /// `ok`, or the reason of a failure.
        outcome: String,
    },
    /// It failed and shall be begun again at that moment, by whoever is there.
    Again {
        /// When.
        at: Timestamp,
        /// The reason of the failure.
        outcome: String,
    },
}

/// When jobs run, and who runs them.
#[async_trait]
pub trait JobStore: Send + Sync + 'static {
    /// All jobs.
    async fn jobs(&self) -> Result<Vec<JobRecord>, StoreError>;
    /// A job's newest runs, newest first.
    async fn job_runs(&self, name: &str, limit: u32) -> Result<Vec<JobRun>, StoreError>;
    /// Makes a job known that was not: its first slot.
    async fn add_job(&self, name: &str, next_run_at: Timestamp) -> Result<(), StoreError>;
    /// Moves a job's next slot, if it still is where it was seen and no slot is being run.
    async fn move_job(&self, seen: &JobRecord, next_run_at: Timestamp) -> Result<(), StoreError>;
    /// Takes the lease and moves the next slot, in one transaction. `None`: somebody else was faster, or this slot was
    /// run before; in that case only the next slot moves.
    async fn claim_job(&self, claim: &JobClaim) -> Result<Option<JobLease>, StoreError>;
    /// Keeps a lease for longer; `false` when it is lost.
    async fn renew_job(&self, lease: &JobLease, until: Timestamp) -> Result<bool, StoreError>;
    /// Gives a lease back; `false` when it was lost before: somebody else has taken over.
    async fn end_job(&self, lease: &JobLease, end: &JobEnd, now: Timestamp) -> Result<bool, StoreError>;
}
