//! What no engine may ever store: the store says which rows, and everything else is written.

use claviger_domain::{
    ledger::{Group, LedgerRow},
    ports::{LedgerStore, StoreError, UsageQuery},
};
use sqlx::{Connection, Executor, SqliteConnection};

use crate::{
    ledger::verify,
    place::{Place, on_both},
    reports::oracle,
    samples::{Committer, Samples, at},
};

on_both!(a_refused_row_is_found_without_writing_and_the_rest_is_written, totals_that_are_refused_wait);

/// Rows of the model are refused. PostgreSQL keeps no NUL in a text by itself.
const POISON: &str = "po\0ison";

async fn poison(place: &Place, table: &str) {
    if place.address().starts_with("postgres") {
        return;
    }
    let mut file = SqliteConnection::connect(place.address()).await.unwrap();
    let trigger = format!(
        "CREATE TRIGGER refuse_{table} BEFORE INSERT ON {table} WHEN instr(NEW.model, char(0)) > 0 \
         BEGIN SELECT RAISE(ABORT, 'no'); END"
    );
    file.execute(sqlx::AssertSqlSafe(trigger)).await.unwrap();
}

async fn a_refused_row_is_found_without_writing_and_the_rest_is_written(place: Place) {
    let (db, s) = (place.open().await, Samples::new(90));
    poison(&place, "ledger").await;
    let party = s.party();
    let mut c = Committer::open(&db, s.node()).await;
    c.rows(&db, at(1), vec![s.row(&party, at(1))]).await;
    // The second is a moment at which totals are written, too.
    for secs in [1, 9] {
        let good: Vec<_> = (0..19).map(|_| s.row(&party, at(secs))).collect();
        let mut rows = good.clone();
        rows.insert(7, LedgerRow { model: POISON.to_owned(), ..s.row(&party, at(secs)) });
        let group = Group { rows, ..c.group(at(secs)) };
        for _ in 0..2 {
            let refused = db.commit_group(&group).await;
            assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
        }
        let refused = db.would_take(&group).await;
        assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
        let rest = Group { rows: good.clone(), ..group };
        assert_eq!(db.would_take(&rest).await, Ok(()));
        assert_eq!(verify(&db, &c.chain, 0).await, (c.length, c.head), "asking writes nothing");
        c.commit(&db, &rest).await;
        assert_eq!(db.group_rows(&c.chain, c.length).await.unwrap(), good);
    }
    assert_eq!(verify(&db, &c.chain, 0).await, (3, c.head));
}

async fn totals_that_are_refused_wait(place: Place) {
    // Only SQLite can be made to refuse them alone.
    if place.address().starts_with("postgres") {
        return;
    }
    let (db, s) = (place.open().await, Samples::new(91));
    poison(&place, "usage_days").await;
    let party = s.party();
    let mut c = Committer::open(&db, s.node()).await;
    let mut all = Vec::new();
    for secs in 0..5 {
        let bad = LedgerRow { model: POISON.to_owned(), ..s.row(&party, at(secs)) };
        let rows = vec![bad, s.row(&party, at(secs))];
        all.extend(rows.clone());
        c.rows(&db, at(secs), rows).await;
    }
    assert_eq!(verify(&db, &c.chain, 0).await, (5, c.head));
    let query = UsageQuery::default();
    assert_eq!(db.usage(&query).await.unwrap(), oracle(&all, &query));
}
