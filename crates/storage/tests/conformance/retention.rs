//! Retention: rows go, totals and leaves stay.

use claviger_domain::{
    id::NodeId,
    ledger::LedgerRow,
    ports::{LedgerStore, Store, UsageBy, UsageQuery, UsedBy},
};
use claviger_storage::Database;

use crate::{
    ledger::verify,
    place::{Place, on_both},
    reports::{oracle, parties, traffic},
    samples::{Committer, Samples, at, event},
};

on_both!(reports_and_chains_stay_whole_when_rows_go, nothing_to_retire_writes_nothing,);

const DAY: i64 = 86_400;

async fn reports_and_chains_stay_whole_when_rows_go(place: Place) {
    let s = Samples::new(60);
    let parties = parties(&s);
    let db = place.open().await;
    let mut dead = Committer::open(&db, s.node()).await;
    let mut rows = traffic(&db, &mut dead, &s, &parties, 0..2).await;
    drop(db);
    let db = place.open().await;
    let mut c = Committer::open(&db, s.node()).await;
    rows.extend(traffic(&db, &mut c, &s, &parties, 2..5).await);

    // Noon of the fourth day: full days only, so the first three go.
    let dropped = db.retire_rows(at(3 * DAY + DAY / 2), event("ledger.retire")).await.unwrap();
    let details = db.audit_after(0, 100).await.unwrap().pop().unwrap().event.details;
    let retired = |chain: &NodeId| details["retired"][chain.as_str()].as_i64();
    assert_eq!(details["rows"].as_u64(), Some(dropped));
    assert_eq!((retired(&dead.chain), retired(&c.chain)), (Some(96), Some(48)));
    assert_eq!(rows_of_groups(&db, &c.chain, 1..49).await, 0);
    assert!(rows_of_groups(&db, &c.chain, 49..97).await > 0);
    assert_eq!(verify(&db, &dead.chain, 96).await, (dead.length, dead.head));
    assert_eq!(verify(&db, &c.chain, 48).await, (c.length, c.head));
    reports_equal_the_oracle(&db, &rows).await;
    let key = &parties[0].key;
    let uses = db.key_uses(std::slice::from_ref(key)).await.unwrap()[0].1.uses;
    let used = db.used_since(UsedBy::Key(key), at(0)).await.unwrap();
    assert_eq!(uses, used.work_today + used.look_today);
}

async fn rows_of_groups(db: &Database, chain: &NodeId, groups: std::ops::Range<i64>) -> usize {
    let mut rows = 0;
    for number in groups {
        rows += db.group_rows(chain, number).await.unwrap().len();
    }
    rows
}

async fn reports_equal_the_oracle(db: &Database, rows: &[LedgerRow]) {
    for by in [None, Some(UsageBy::Key), Some(UsageBy::Day), Some(UsageBy::Model)] {
        let spans = [(None, None), (Some(at(DAY)), Some(at(3 * DAY))), (Some(at(4 * DAY + 9_999)), None)];
        for (from, until) in spans {
            let query = UsageQuery { by, from, until, ..UsageQuery::default() };
            assert_eq!(db.usage(&query).await.unwrap(), oracle(rows, &query), "{query:?}");
        }
    }
}

async fn nothing_to_retire_writes_nothing(place: Place) {
    let s = Samples::new(61);
    let db = place.open().await;
    let mut c = Committer::open(&db, s.node()).await;
    c.rows(&db, at(DAY), vec![s.row(&s.party(), at(DAY))]).await;
    let before = db.audit_head().await.unwrap();
    assert_eq!(db.retire_rows(at(DAY + 100), event("ledger.retire")).await.unwrap(), 0);
    assert_eq!(db.audit_head().await.unwrap(), before);
}
