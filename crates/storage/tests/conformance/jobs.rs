//! Leases of jobs: one runner acts, none acts after it was replaced, no slot is begun twice.

use std::sync::Arc;

use claviger_domain::{
    clock::Timestamp,
    ports::{
        Change, Store, StoreError,
        jobs::{JobClaim, JobEnd, JobLease, JobRecord, JobStore},
    },
};
use claviger_storage::Database;
use tokio::task::JoinSet;

use crate::{
    place::{Place, on_both},
    samples::{Samples, at, event},
};

on_both!(
    of_many_runners_one_acts,
    a_slot_is_begun_once,
    a_runner_that_was_replaced_can_write_nothing,
    a_failed_slot_is_begun_again_when_it_is_told_to,
    a_slot_moves_only_from_where_it_was_seen,
);

async fn job(db: &Database) -> JobRecord {
    db.jobs().await.unwrap().remove(0)
}

fn claim(seen: JobRecord, slot: Timestamp, now: Timestamp) -> JobClaim {
    let owner = Samples::new(90).node();
    JobClaim { slot, owner, until: now.plus_micros(60_000_000), next_run_at: at(200), now, seen }
}

async fn take(db: &Database, slot: Timestamp, now: Timestamp) -> Option<JobLease> {
    db.claim_job(&claim(job(db).await, slot, now)).await.unwrap()
}

async fn begun(place: &Place) -> Database {
    let db = place.open().await;
    db.add_job("daily", at(100)).await.unwrap();
    db.add_job("daily", at(1)).await.unwrap();
    db
}

fn done() -> JobEnd {
    JobEnd::Done { outcome: "ok".to_owned() }
}

async fn of_many_runners_one_acts(place: Place) {
    let db = Arc::new(begun(&place).await);
    assert_eq!(job(&db).await.next_run_at, at(100));
    let claim = claim(job(&db).await, at(100), at(101));
    let mut runners = JoinSet::new();
    for _ in 0..8 {
        let (db, claim) = (Arc::clone(&db), claim.clone());
        runners.spawn(async move { db.claim_job(&claim).await.unwrap().is_some() });
    }
    assert_eq!(runners.join_all().await.into_iter().filter(|won| *won).count(), 1);
    let held = job(&db).await;
    assert_eq!((held.fencing, held.next_run_at, held.running_slot), (1, at(200), Some(at(100))));
    assert_eq!(held.lease_until, at(161));
}

async fn a_slot_is_begun_once(place: Place) {
    let db = begun(&place).await;
    let lease = take(&db, at(100), at(101)).await.unwrap();
    assert!(db.end_job(&lease, &done(), at(102)).await.unwrap());
    // The clock was set back: the same slot comes again.
    db.move_job(&job(&db).await, at(100)).await.unwrap();
    assert_eq!(take(&db, at(100), at(101)).await, None);
    let after = job(&db).await;
    assert_eq!((after.running_slot, after.next_run_at, after.last_run_at), (None, at(200), Some(at(102))));
    let runs = db.job_runs("daily", 9).await.unwrap();
    assert_eq!((runs.len(), runs[0].outcome.as_str(), runs[0].finished_at), (1, "ok", Some(at(102))));
}

async fn a_runner_that_was_replaced_can_write_nothing(place: Place) {
    let db = begun(&place).await;
    let first = take(&db, at(100), at(101)).await.unwrap();
    assert!(db.renew_job(&first, at(180)).await.unwrap());
    let second = take(&db, at(100), at(181)).await.unwrap();
    assert_eq!((second.fencing, second.attempts), (2, 2));
    assert!(!db.renew_job(&first, at(300)).await.unwrap());
    assert!(!db.end_job(&first, &done(), at(190)).await.unwrap());
    let write = |lease: &JobLease| vec![Change::HoldLease(lease.clone())];
    let late = db.apply(write(&first), event("test")).await;
    assert_eq!(late.unwrap_err(), StoreError::Conflict { what: "job lease" });
    db.apply(write(&second), event("test")).await.unwrap();
    assert!(db.end_job(&second, &done(), at(191)).await.unwrap());
    assert!(db.apply(write(&second), event("test")).await.is_err());
}

async fn a_failed_slot_is_begun_again_when_it_is_told_to(place: Place) {
    let db = begun(&place).await;
    let lease = take(&db, at(100), at(101)).await.unwrap();
    let again = JobEnd::Again { at: at(120), outcome: "the store was away".to_owned() };
    assert!(db.end_job(&lease, &again, at(102)).await.unwrap());
    let waiting = job(&db).await;
    assert_eq!((waiting.running_slot, waiting.lease_until), (Some(at(100)), at(120)));
    assert_eq!((waiting.attempts, waiting.last_outcome.as_str()), (1, "the store was away"));
    assert_eq!(take(&db, at(100), at(120)).await.unwrap().attempts, 2);
}

async fn a_slot_moves_only_from_where_it_was_seen(place: Place) {
    let db = begun(&place).await;
    let seen = job(&db).await;
    db.move_job(&seen, at(50)).await.unwrap();
    db.move_job(&seen, at(60)).await.unwrap();
    assert_eq!(job(&db).await.next_run_at, at(50));
    take(&db, at(50), at(51)).await.unwrap();
    db.move_job(&job(&db).await, at(70)).await.unwrap();
    assert_eq!(job(&db).await.next_run_at, at(200), "not while it runs");
}
