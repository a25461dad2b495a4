//! Retention: rows go, totals and leaves stay.

use claviger_domain::{
    clock::Timestamp,
    id::NodeId,
    ledger::LedgerRow,
    ports::{LedgerStore, RowScan, SavedQuery, Store, UsageBy, UsageQuery, UsedBy},
    price::{PricedCall, Prices, Quote, TokenRates},
    savings::{Savings, SavingsBook},
};
use claviger_storage::Database;
use claviger_testkit::FreePrices;

use crate::{
    ledger::verify,
    place::{Place, on_both},
    reports::{oracle, parties, traffic},
    samples::{Committer, Samples, at, event},
};

on_both!(
    reports_and_chains_stay_whole_when_rows_go,
    nothing_to_retire_writes_nothing,
    what_was_saved_is_known_when_rows_are_gone,
);

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
    let dropped = db.retire_rows(at(3 * DAY + DAY / 2), &FreePrices, event("ledger.retire")).await.unwrap();
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
    assert_eq!(db.retire_rows(at(DAY + 100), &FreePrices, event("ledger.retire")).await.unwrap(), 0);
    assert_eq!(db.audit_head().await.unwrap(), before);
}

/// $4 in, $20 out, $5 and $8 to write, $0.20 to read, a million tokens; searches are free.
struct Table;

impl Prices for Table {
    fn quote(&self, call: &PricedCall<'_>) -> Quote {
        let rates = TokenRates {
            input: 4_000_000,
            cache_write_5m: 5_000_000,
            cache_write_1h: 8_000_000,
            cache_read: 200_000,
            output: 20_000_000,
        };
        Quote { model: call.model.to_owned(), from: None, rates, assumed: false }
    }
    fn web_search(&self) -> i128 {
        0
    }
    fn version(&self) -> String {
        "test".to_owned()
    }
}

/// Of rows that are gone and of those that are there, as a report puts them together.
async fn savings(db: &Database, key: Option<&LedgerRow>) -> Savings {
    let key = key.map(|row| row.party.key.clone());
    let mut book = SavingsBook::default();
    let query = SavedQuery { days: (i64::MIN, i64::MAX), key: key.clone(), workspace: None };
    db.saved_before(&query).await.unwrap().days.iter().for_each(|day| book.add_day(day, &day.model));
    let scan = RowScan {
        from: Timestamp::from_micros(0),
        until: at(1_000 * DAY),
        key,
        workspace: None,
        limit: 5_000,
    };
    let page = db.rows_in(&scan, None).await.unwrap();
    assert_eq!(page.next, None);
    page.rows.iter().for_each(|row| book.add(row, &row.model, &Table));
    book.finish()
}

async fn what_was_saved_is_known_when_rows_are_gone(place: Place) {
    let s = Samples::new(62);
    let parties = parties(&s);
    let db = place.open().await;
    let mut c = Committer::open(&db, s.node()).await;
    // Prices that fit, so that something is saved, beside those of the samples that nothing follows from.
    let mut rows = traffic(&db, &mut c, &s, &parties, 0..3).await;
    for (n, row) in rows.clone().into_iter().enumerate().filter(|(n, _)| n % 2 == 0) {
        let cost = Table.quote(&claviger_domain::savings::call_of(&row)).rates.price(&row.usage);
        let cost = claviger_domain::money::PicoUsd::new(cost).unwrap();
        let plain = LedgerRow { cost, batch: None, flags: Default::default(), intent: None, ..row };
        c.rows(&db, at(3 * DAY + n as i64), vec![plain.clone()]).await;
        rows.push(plain);
    }
    let (whole, of_key) = (savings(&db, None).await, savings(&db, Some(&rows[0])).await);
    assert!(whole.total.cache_reads > 0 && whole.total.unexplained > 0, "{:?}", whole.total);
    assert_ne!(whole.total, of_key.total);
    let asked = SavedQuery { days: (i64::MIN, i64::MAX), key: None, workspace: None };
    let before = db.saved_before(&asked).await.unwrap();
    assert_eq!((before.days.len(), before.runs), (0, 0));
    // In two goes, the second of which takes rows of days that the first took rows of as well.
    for (day, runs) in [(2, 1), (4, 2)] {
        assert!(db.retire_rows(at(day * DAY), &Table, event("ledger.retire")).await.unwrap() > 0);
        let after = db.saved_before(&asked).await.unwrap();
        assert_eq!((after.runs, after.first_day), (runs, at(day * DAY).utc_day()));
        assert!(after.saved_from < at(0).utc_day());
        assert_eq!(savings(&db, None).await, whole, "after {runs}");
        assert_eq!(savings(&db, Some(&rows[0])).await, of_key);
    }
    let days: Vec<i64> = db.saved_before(&asked).await.unwrap().days.iter().map(|day| day.day).collect();
    let first = SavedQuery { days: (days[0], days[0] + 1), ..asked };
    let some = db.saved_before(&first).await.unwrap().days;
    assert!(!some.is_empty() && some.iter().all(|day| day.day == days[0]) && some.len() < days.len());
}
