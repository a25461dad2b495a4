//! Durable jobs: when each runs next, who runs it, and which slots were run.

use claviger_domain::{
    clock::Timestamp,
    ports::{
        StoreError,
        jobs::{JobClaim, JobEnd, JobLease, JobRecord, JobRun},
    },
};

use crate::{
    apply::expect_one,
    engine::{Db, Row, Tx, Unreadable, args, read, statements},
    failure::Failure,
};

/// Runs that are remembered of each job.
const KEPT_RUNS: u32 = 500;

statements! {
    LIST = "SELECT name AS id, next_run_us, running_us, lease_owner, lease_until_us, fencing, attempts, last_run_us, \
            last_outcome FROM jobs ORDER BY name";
    RUNS = "SELECT job AS id, slot_us, started_us, finished_us, outcome FROM job_runs WHERE job = $1 \
            ORDER BY slot_us DESC LIMIT $2";
    ADD = "INSERT INTO jobs (name, next_run_us, lease_owner, lease_until_us, fencing, attempts, last_outcome) \
           VALUES ($1, $2, '', 0, 0, 0, '') ON CONFLICT (name) DO NOTHING";
    MOVE = "UPDATE jobs SET next_run_us = $4 \
            WHERE name = $1 AND fencing = $2 AND next_run_us = $3 AND running_us IS NULL";
    TAKE = "UPDATE jobs SET fencing = fencing + 1, next_run_us = $4, running_us = $5, lease_owner = $6, \
            lease_until_us = $7, attempts = $8 WHERE name = $1 AND fencing = $2 AND next_run_us = $3";
    BEGIN_RUN = "INSERT INTO job_runs (job, slot_us, started_us, outcome) VALUES ($1, $2, $3, '') \
                 ON CONFLICT (job, slot_us) DO NOTHING";
    /// The slot was run before: nothing is to be done.
    LEAVE = "UPDATE jobs SET running_us = NULL, lease_owner = '', lease_until_us = 0, attempts = 0 WHERE name = $1";
    RENEW = "UPDATE jobs SET lease_until_us = $3 WHERE name = $1 AND fencing = $2 AND running_us IS NOT NULL";
    DONE = "UPDATE jobs SET running_us = NULL, lease_owner = '', lease_until_us = 0, attempts = 0, last_run_us = $3, \
            last_outcome = $4 WHERE name = $1 AND fencing = $2 AND running_us IS NOT NULL";
    AGAIN = "UPDATE jobs SET lease_owner = '', lease_until_us = $3, last_outcome = $4 \
             WHERE name = $1 AND fencing = $2 AND running_us IS NOT NULL";
    END_RUN = "UPDATE job_runs SET finished_us = $3, outcome = $4 WHERE job = $1 AND slot_us = $2";
    FORGET_RUNS = "DELETE FROM job_runs WHERE job = $1 AND slot_us <= \
                   (SELECT slot_us FROM job_runs WHERE job = $1 ORDER BY slot_us DESC LIMIT 1 OFFSET $2)";
    /// Touches the row, so that no other runner can take it before this transaction ends.
    HOLD = "UPDATE jobs SET fencing = fencing WHERE name = $1 AND fencing = $2 AND running_us = $3";
}

pub(crate) async fn list(db: &Db) -> Result<Vec<JobRecord>, StoreError> {
    let rows = db.rows(LIST, args![]).await?;
    rows.iter().map(|row| read("jobs", row, job)).collect()
}

fn job(row: &Row) -> Result<JobRecord, Unreadable> {
    Ok(JobRecord {
        name: row.text("id")?.to_owned(),
        next_run_at: row.time("next_run_us")?,
        running_slot: row.opt_time("running_us")?,
        lease_owner: row.text("lease_owner")?.to_owned(),
        lease_until: row.time("lease_until_us")?,
        fencing: row.int("fencing")?,
        attempts: u32::try_from(row.int("attempts")?).map_err(|_| Unreadable("attempts"))?,
        last_run_at: row.opt_time("last_run_us")?,
        last_outcome: row.text("last_outcome")?.to_owned(),
    })
}

pub(crate) async fn runs(db: &Db, name: &str, limit: u32) -> Result<Vec<JobRun>, StoreError> {
    let rows = db.rows(RUNS, args![name, limit]).await?;
    let run = |row: &Row| {
        Ok(JobRun {
            slot: row.time("slot_us")?,
            started_at: row.time("started_us")?,
            finished_at: row.opt_time("finished_us")?,
            outcome: row.text("outcome")?.to_owned(),
        })
    };
    rows.iter().map(|row| read("job_runs", row, run)).collect()
}

pub(crate) async fn add(db: &Db, name: &str, next_run_at: Timestamp) -> Result<(), StoreError> {
    Ok(db.execute(ADD, args![name, next_run_at]).await?)
}

pub(crate) async fn move_to(db: &Db, seen: &JobRecord, next_run_at: Timestamp) -> Result<(), StoreError> {
    Ok(db.execute(MOVE, args![seen.name.as_str(), seen.fencing, seen.next_run_at, next_run_at]).await?)
}

pub(crate) async fn claim(db: &Db, claim: &JobClaim) -> Result<Option<JobLease>, StoreError> {
    let seen = &claim.seen;
    let name = seen.name.as_str();
    let fresh = seen.running_slot.is_none();
    let attempts = if fresh { 1 } else { seen.attempts.saturating_add(1) };
    let mut tx = db.begin().await?;
    let values = args![
        name,
        seen.fencing,
        seen.next_run_at,
        claim.next_run_at,
        claim.slot,
        claim.owner.as_str(),
        claim.until,
        attempts
    ];
    if tx.execute(TAKE, values).await? == 0 {
        return Ok(None);
    }
    let is_new = !fresh || tx.execute(BEGIN_RUN, args![name, claim.slot, claim.now]).await? == 1;
    if !is_new {
        tx.execute(LEAVE, args![name]).await?;
    }
    tx.commit().await?;
    let lease = JobLease { name: seen.name.clone(), slot: claim.slot, fencing: seen.fencing + 1, attempts };
    Ok(is_new.then_some(lease))
}

pub(crate) async fn renew(db: &Db, lease: &JobLease, until: Timestamp) -> Result<bool, StoreError> {
    let mut tx = db.begin().await?;
    let touched = tx.execute(RENEW, args![lease.name.as_str(), lease.fencing, until]).await?;
    tx.commit().await?;
    Ok(touched == 1)
}

pub(crate) async fn end(db: &Db, lease: &JobLease, end: &JobEnd, now: Timestamp) -> Result<bool, StoreError> {
    let name = lease.name.as_str();
    let mut tx = db.begin().await?;
    let touched = match end {
        JobEnd::Done { outcome } => {
            tx.execute(DONE, args![name, lease.fencing, now, outcome.as_str()]).await?
        }
        JobEnd::Again { at, outcome } => {
            tx.execute(AGAIN, args![name, lease.fencing, *at, outcome.as_str()]).await?
        }
    };
    if touched == 0 {
        return Ok(false);
    }
    if let JobEnd::Done { outcome } = end {
        tx.execute(END_RUN, args![name, lease.slot, now, outcome.as_str()]).await?;
        tx.execute(FORGET_RUNS, args![name, KEPT_RUNS]).await?;
    }
    tx.commit().await?;
    Ok(true)
}

pub(crate) async fn hold(tx: &mut Tx, lease: &JobLease) -> Result<(), Failure> {
    let touched = tx.execute(HOLD, args![lease.name.as_str(), lease.fencing, lease.slot]).await?;
    expect_one(touched, "job lease")
}
