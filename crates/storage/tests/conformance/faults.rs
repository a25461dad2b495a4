//! What happens when the store cannot be had: an answer that says so, nothing half-written, nothing twice.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use claviger_domain::ports::{Change, LedgerStore, Store, StoreError, UsageQuery};
use claviger_storage::{Database, Options};
use claviger_testkit::FaultProxy;
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};

use crate::{
    ledger::verify,
    place::Place,
    reports::oracle,
    samples::{Committer, Samples, at, event, put},
};

/// The server of the address behind a proxy, and the address through it.
fn through_proxy(address: &str) -> (FaultProxy, String) {
    let host = address.split_once('@').unwrap().1.split('/').next().unwrap();
    let server: SocketAddr = host.parse().unwrap();
    let proxy = FaultProxy::start(server);
    let through = address.replacen(host, &proxy.address().to_string(), 1);
    (proxy, through)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_written_once_however_often_its_connection_breaks() {
    let Some(place) = Place::postgres().await else { return };
    let (proxy, through) = through_proxy(place.address());
    let (s, proxy, done) = (Samples::new(80), Arc::new(proxy), Arc::new(AtomicBool::new(false)));
    let db = Database::open(&through, Options::default()).await.unwrap();
    let mut c = Committer::open(&db, s.node()).await;
    let cutter = thread::spawn({
        let (proxy, done) = (proxy.clone(), done.clone());
        move || {
            // Lengths without a common measure, so that cuts fall everywhere in a transaction.
            for pause in [31, 53, 47, 22, 61, 35, 44, 73].repeat(3) {
                thread::sleep(Duration::from_millis(pause));
                proxy.cut();
            }
            done.store(true, Ordering::SeqCst);
        }
    });
    let (party, mut rows, mut broken) = (s.party(), Vec::new(), 0);
    while !done.load(Ordering::SeqCst) {
        let n = c.length;
        let mut group = c.group(at(n));
        group.rows = (0..3).map(|_| s.row(&party, at(n))).collect();
        rows.extend(group.rows.clone());
        c.head = loop {
            match db.commit_group(&group).await {
                Ok(head) => break head,
                Err(StoreError::Unavailable(_)) => broken += 1,
                Err(other) => panic!("{other:?}"),
            }
        };
        c.length = group.number;
    }
    cutter.join().unwrap();
    assert!(broken > 0);
    let db = place.open().await;
    assert_eq!(verify(&db, &c.chain, 0).await, (c.length, c.head));
    let query = UsageQuery::default();
    assert_eq!(db.usage(&query).await.unwrap(), oracle(&rows, &query));
}

async fn refused_while_locked(db: &Database) {
    let before = db.audit_head().await.unwrap();
    let change = Change::InsertOwner(Samples::new(81).owner("ada"));
    let refused = db.apply(vec![change], event("owner.create")).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert_eq!(db.audit_head().await.unwrap(), before);
    assert!(db.owners().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_locked_server_is_unavailable_and_free_again_afterwards() {
    let Some(place) = Place::postgres().await else { return };
    let db = place.open().await;
    let mut other = PgConnection::connect(place.address()).await.unwrap();
    other.execute("BEGIN; SELECT seq FROM feed_head FOR UPDATE").await.unwrap();
    refused_while_locked(&db).await;
    other.execute("ROLLBACK").await.unwrap();
    put(&db, vec![Change::InsertOwner(Samples::new(82).owner("ada"))]).await;
}

#[tokio::test]
async fn a_locked_file_is_unavailable_and_free_again_afterwards() {
    let place = Place::sqlite();
    let db = place.open().await;
    let mut other = SqliteConnection::connect(place.address()).await.unwrap();
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    refused_while_locked(&db).await;
    other.execute("ROLLBACK").await.unwrap();
    put(&db, vec![Change::InsertOwner(Samples::new(82).owner("ada"))]).await;
}
