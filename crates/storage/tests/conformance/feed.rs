//! The change feed: no gap, no miss, whoever writes at the same time.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use claviger_domain::{
    audit::chain::ChainVerifier,
    ports::{Change, FeedKind, Store},
};
use claviger_storage::Database;
use tokio::task::JoinSet;

use crate::{
    place::{Place, on_both},
    samples::{Samples, event},
};

const WRITERS: u64 = 16;
const EACH: u64 = 20;

on_both!(
    the_feed_is_gapless_and_a_poller_misses_nothing,
    all_rows_of_one_mutation_share_a_number,
    pages_end_where_they_are_told_and_go_on_there,
    the_stores_clock_goes_forward,
);

/// Follows the feed while others write, by `>` on the last number it saw.
async fn poll(db: Arc<Database>, done: Arc<AtomicBool>) -> Vec<(i64, String)> {
    let (mut at, mut seen) = (0, Vec::new());
    loop {
        let last_look = done.load(Ordering::SeqCst);
        let page = db.feed_after(at, 7).await.unwrap();
        for entry in page.entries {
            assert!(entry.seq > at && entry.seq <= page.head, "{} after {at}", entry.seq);
            seen.push((entry.seq, entry.id));
        }
        let reached = seen.last().map_or(at, |(seq, _)| *seq);
        if last_look && reached == at && page.head == at {
            return seen;
        }
        at = reached;
    }
}

async fn the_feed_is_gapless_and_a_poller_misses_nothing(place: Place) {
    let db = Arc::new(place.open().await);
    let done = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    let pollers: Vec<_> = (0..2).map(|_| tasks.spawn(poll(db.clone(), done.clone())).id()).collect();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let db = db.clone();
        writers.spawn(async move {
            let s = Samples::new(1000 + writer);
            for n in 0..EACH {
                let owner = s.owner(&format!("{writer}-{n}"));
                db.apply(vec![Change::InsertOwner(owner)], event("owner.create")).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    done.store(true, Ordering::SeqCst);
    let total = i64::try_from(WRITERS * EACH).unwrap();
    let mut followed = 0;
    while let Some(seen) = tasks.join_next().await {
        let seen = seen.unwrap();
        assert_eq!(seen.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), (1..=total).collect::<Vec<_>>());
        followed += 1;
    }
    assert_eq!(followed, pollers.len());
    let mut verifier = ChainVerifier::new();
    for record in db.audit_after(0, 1_000).await.unwrap() {
        verifier.control(&record).unwrap();
    }
    assert_eq!(verifier.length(), total);
}

async fn all_rows_of_one_mutation_share_a_number(place: Place) {
    let (db, s) = (place.open().await, Samples::new(8));
    let (owner, workspace) = (s.owner("a"), s.workspace("x"));
    let changes = vec![
        Change::InsertOwner(owner.clone()),
        Change::InsertWorkspace(workspace.clone()),
        Change::UpdateOwner(owner.clone()),
    ];
    let applied = db.apply(changes, event("setup")).await.unwrap();
    let page = db.feed_after(0, 10).await.unwrap();
    let entries: Vec<_> = page.entries.iter().map(|e| (e.seq, e.kind, e.id.as_str())).collect();
    assert_eq!(applied.seq, 1);
    assert_eq!(
        entries,
        [(1, FeedKind::Owner, owner.id.as_str()), (1, FeedKind::Workspace, workspace.id.as_str())]
    );
}

async fn pages_end_where_they_are_told_and_go_on_there(place: Place) {
    let (db, s) = (place.open().await, Samples::new(9));
    for n in 0..5 {
        db.apply(vec![Change::InsertOwner(s.owner(&n.to_string()))], event("owner.create")).await.unwrap();
    }
    let page = db.feed_after(1, 2).await.unwrap();
    assert_eq!((page.head, page.entries.iter().map(|e| e.seq).collect::<Vec<_>>()), (5, vec![2, 3]));
    assert!(db.feed_after(5, 2).await.unwrap().entries.is_empty());
}

async fn the_stores_clock_goes_forward(place: Place) {
    let db = place.open().await;
    let first = db.store_time().await.unwrap();
    let second = db.feed_after(0, 1).await.unwrap().store_time;
    assert!(first.as_secs() > 1_700_000_000 && second >= first);
}
