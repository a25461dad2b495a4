//! What a verification asks of a store beside the chains.

use claviger_domain::ports::{DayCheck, LedgerStore};
use claviger_storage::Database;
use claviger_testkit::FreePrices;
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};

use crate::{
    place::{Place, on_both},
    reports::{parties, traffic},
    samples::{Committer, Samples, at, event},
};

on_both!(
    rows_come_back_group_by_group_in_stretches,
    a_row_that_no_record_covers_is_found,
    an_edited_total_is_found_and_a_true_one_is_not,
);

const DAY: i64 = 86_400;

async fn tamper(place: &Place, statement: &str) {
    let statement = sqlx::AssertSqlSafe(statement.to_owned());
    let done = if place.address().starts_with("postgres") {
        PgConnection::connect(place.address())
            .await
            .unwrap()
            .execute(statement)
            .await
            .unwrap()
            .rows_affected()
    } else {
        let mut file = SqliteConnection::connect(place.address()).await.unwrap();
        file.execute(statement).await.unwrap().rows_affected()
    };
    assert!(done > 0);
}

async fn rows_come_back_group_by_group_in_stretches(place: Place) {
    let (db, s) = (place.open().await, Samples::new(95));
    let mut c = Committer::open(&db, s.node()).await;
    let mut written = Vec::new();
    for (n, size) in (1..).zip([3, 0, 1, 70, 0, 2]) {
        let rows: Vec<_> = (0..size).map(|_| s.row(&s.party(), at(n))).collect();
        c.rows(&db, at(n), rows.clone()).await;
        written.push((n, rows));
    }
    for first in 1..=6 {
        for last in first..=7 {
            let expected = written.iter().filter(|(n, rows)| (first..=last).contains(n) && !rows.is_empty());
            let expected = expected.cloned().collect();
            assert_eq!(db.rows_of(&c.chain, first, last).await.unwrap(), expected, "{first} to {last}");
        }
    }
    assert!(db.rows_of(&s.node(), 1, 6).await.unwrap().is_empty());
}

async fn a_row_that_no_record_covers_is_found(place: Place) {
    let (db, s) = (place.open().await, Samples::new(96));
    let mut closed = Committer::open(&db, s.node()).await;
    for n in 0..3 {
        closed.rows(&db, at(n), vec![s.row(&s.party(), at(n)), s.row(&s.party(), at(n))]).await;
    }
    db.close_chain(&closed.chain, event("audit.chain.close")).await.unwrap();
    let empty = Committer::open(&db, s.node()).await;
    let strays =
        async || [db.stray_row(&closed.chain).await.unwrap(), db.stray_row(&empty.chain).await.unwrap()];
    assert_eq!(strays().await, [None, None]);
    let copy = |to: &str| {
        let columns = "at_us, key_id, workspace_id, model, status, outcome, flags, input_tokens, \
                       cache_write_5m_tokens, cache_write_1h_tokens, cache_read_tokens, output_tokens, \
                       web_search_requests, cost_pusd, body";
        format!(
            "INSERT INTO ledger (id, {columns}) SELECT {to}, {columns} FROM ledger \
             WHERE id = (SELECT MIN(id) FROM ledger)"
        )
    };
    tamper(&place, &copy("(SELECT MAX(id) FROM ledger) + 4")).await;
    assert_eq!(strays().await, [Some(10), None]);
    tamper(&place, &copy("2 * 1099511627776 + 1")).await;
    assert_eq!(strays().await, [Some(10), Some(1)]);
}

/// All days, and those whose totals are wrong.
async fn days(db: &Database) -> (usize, Vec<DayCheck>) {
    let (mut count, mut wrong, mut day) = (0, Vec::new(), i64::MIN);
    while let Some(check) = db.check_totals(day).await.unwrap() {
        assert!(check.day > day);
        day = check.day;
        count += 1;
        wrong.extend(check.differs.is_some().then_some(check));
    }
    (count, wrong)
}

async fn an_edited_total_is_found_and_a_true_one_is_not(place: Place) {
    let s = Samples::new(97);
    let parties = parties(&s);
    let db = place.open().await;
    let mut dead = Committer::open(&db, s.node()).await;
    traffic(&db, &mut dead, &s, &parties, 0..2).await;
    // Some of its rows are in no total yet when it dies.
    drop(db);
    let db = place.open().await;
    let mut c = Committer::open(&db, s.node()).await;
    traffic(&db, &mut c, &s, &parties, 2..5).await;
    assert_eq!(days(&db).await, (5, Vec::new()));
    db.retire_rows(at(2 * DAY), &FreePrices, event("ledger.retire")).await.unwrap();
    assert_eq!(days(&db).await, (3, Vec::new()), "what is known only as a total cannot be checked");

    let day = at(3 * DAY).utc_day();
    let of_one = format!("utc_day = {day} AND key_id = '{}'", parties[0].key);
    for (edit, back) in [
        ("cost_rest_pusd = cost_rest_pusd + 1", "cost_rest_pusd = cost_rest_pusd - 1"),
        ("requests = requests - 1", "requests = requests + 1"),
    ] {
        tamper(&place, &format!("UPDATE usage_days SET {edit} WHERE {of_one}")).await;
        let differs = Some(parties[0].key.to_string());
        assert_eq!(days(&db).await, (3, vec![DayCheck { day, differs }]), "{edit}");
        tamper(&place, &format!("UPDATE usage_days SET {back} WHERE {of_one}")).await;
    }
    tamper(&place, &format!("DELETE FROM usage_days WHERE {of_one}")).await;
    assert_eq!(days(&db).await.1.len(), 1);
}
