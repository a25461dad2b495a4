//! Budgets: one a subject and period, totals that are exact after a crash, and what is held back for batches.

use std::collections::BTreeMap;

use claviger_domain::{
    budget::{BudgetMode, BudgetRecord, BudgetSubject, Calendar, Charge, Period},
    estimate::{Content, Estimator, Terms},
    id::{BudgetId, KeyId},
    ledger::{BatchItem, Group, LedgerRow},
    money::PicoUsd,
    ports::{
        Change, LedgerStore, Store, StoreError,
        budgets::{BudgetStore, HeldBatch, Learned, NewBudget},
    },
    tenancy::{BatchHold, Resource, ResourceKind},
};

use crate::{
    place::{Place, on_both},
    samples::{Committer, Samples, at, event, put},
};

on_both!(
    a_subject_has_one_living_budget_for_each_period,
    totals_of_budgets_are_exact_after_a_crash,
    what_is_held_for_batches_is_known_after_a_crash,
    an_intent_says_which_budgets_it_counts_against_after_a_crash,
    what_was_learned_of_calls_is_kept_by_key_and_model,
);

fn record(id: &str, subject: BudgetSubject) -> BudgetRecord {
    BudgetRecord {
        id: BudgetId::parse(id).unwrap(),
        subject,
        calendar: Calendar::new(Period::Month, "Asia/Shanghai").unwrap(),
        limit: PicoUsd::MAX,
        hard: true,
        mode: BudgetMode::Expected,
        created_at: at(0),
        dropped_at: None,
        credit: None,
        version: 1,
    }
}

fn charge(id: &str, window: i64) -> Charge {
    Charge { budget: BudgetId::parse(id).unwrap(), window: at(window) }
}

fn insert(record: BudgetRecord, settled: i128) -> Change {
    let charge = Charge { budget: record.id.clone(), window: at(0) };
    Change::InsertBudget(Box::new(NewBudget { record, charge, settled }))
}

async fn a_subject_has_one_living_budget_for_each_period(place: Place) {
    let db = place.open().await;
    put(&db, vec![insert(record("bdg_a", BudgetSubject::All), 5)]).await;
    let again = db.apply(vec![insert(record("bdg_b", BudgetSubject::All), 0)], event("test")).await;
    assert_eq!(again.unwrap_err(), StoreError::Conflict { what: "budget" });
    let read = db.budgets().await.unwrap();
    let whole = |r: &BudgetRecord| format!("{r:?}");
    assert_eq!(read.iter().map(whole).collect::<Vec<_>>(), [whole(&record("bdg_a", BudgetSubject::All))]);

    let dropped = BudgetRecord { dropped_at: Some(at(9)), ..record("bdg_a", BudgetSubject::All) };
    put(&db, vec![Change::UpdateBudget(Box::new(dropped.clone()))]).await;
    let stale = db.apply(vec![Change::UpdateBudget(Box::new(dropped))], event("test")).await;
    assert_eq!(stale.unwrap_err(), StoreError::Conflict { what: "budget" });
    put(&db, vec![insert(record("bdg_b", BudgetSubject::All), 0)]).await;
    let living: Vec<String> = db.budgets().await.unwrap().iter().map(|r| r.id.to_string()).collect();
    assert_eq!(living, ["bdg_b"]);
}

async fn totals_of_budgets_are_exact_after_a_crash(place: Place) {
    let s = Samples::new(80);
    let db = place.open().await;
    put(&db, vec![insert(record("bdg_a", BudgetSubject::All), 1_000)]).await;
    let mut expected: BTreeMap<(String, i64), i128> = BTreeMap::from([(("bdg_a".to_owned(), 0), 1_000)]);
    let mut db = db;
    for incarnation in 0..3 {
        let mut c = Committer::open(&db, s.node()).await;
        for secs in 0..7 {
            let rows: Vec<LedgerRow> = (0..s.number(5))
                .map(|_| {
                    let window = i64::try_from(s.number(2)).unwrap();
                    let id = ["bdg_a", "bdg_b"][usize::try_from(s.number(2)).unwrap()];
                    let charges = [charge(id, window), charge("bdg_c", 0)];
                    let charges = charges[..usize::try_from(s.number(3)).unwrap()].to_vec();
                    let row = LedgerRow { charges, ..s.row(&s.party(), at(secs)) };
                    for Charge { budget, window } in &row.charges {
                        let place = (budget.to_string(), window.micros_since(at(0)) / 1_000_000);
                        *expected.entry(place).or_default() += i128::from(row.cost.as_pico());
                    }
                    row
                })
                .collect();
            c.rows(&db, at(incarnation * 100 + secs), rows).await;
        }
        // It dies here, with totals that are not written yet.
        drop(db);
        db = place.open().await;
        let periods: Vec<Charge> = expected.keys().map(|(id, window)| charge(id, *window)).collect();
        let totals = db.budget_totals(&periods).await.unwrap();
        assert_eq!(totals, expected.values().copied().collect::<Vec<_>>());
    }
    assert_eq!(db.budget_totals(&[charge("bdg_z", 0)]).await.unwrap(), [0]);
}

async fn what_is_held_for_batches_is_known_after_a_crash(place: Place) {
    let s = Samples::new(81);
    let db = place.open().await;
    let mut c = Committer::open(&db, s.node()).await;
    let hold = BatchHold { amount: PicoUsd::MAX, charges: vec![charge("bdg_a", 3)] };
    let made = |id: &str, held: Option<BatchHold>| Resource {
        held,
        ..s.resource(id, ResourceKind::Batch, &s.party(), at(1))
    };
    let batches = vec![made("msgbatch_1", Some(hold.clone())), made("msgbatch_2", None)];
    let group = Group { resources: batches, ..c.group(at(1)) };
    c.commit(&db, &group).await;
    let mut row = s.row(&s.party(), at(2));
    row.batch = Some(BatchItem { batch: "msgbatch_1".to_owned(), custom_id: "a".to_owned() });
    row.charges = hold.charges.clone();
    row.cost = PicoUsd::new(77).unwrap();
    c.rows(&db, at(2), vec![row]).await;
    drop(db);
    let db = place.open().await;
    let held = vec![HeldBatch { batch: "msgbatch_1".to_owned(), hold, spent: 77 }];
    assert_eq!(db.held_batches().await.unwrap(), held);
    let _other = Committer::open(&db, s.node()).await;
    assert_eq!(db.held_batches().await.unwrap(), held);
    db.batch_billed("msgbatch_1", at(3)).await.unwrap();
    assert!(db.held_batches().await.unwrap().is_empty());
}

async fn what_was_learned_of_calls_is_kept_by_key_and_model(place: Place) {
    let db = place.open().await;
    let terms = Terms { input_pico: 1, output_pico: 5, max_output: 9, worst: PicoUsd::MAX };
    let learned = |key: &str, model: &str, calls: u64, at| {
        let mut known = Estimator::default();
        for call in 0..calls {
            known.learn_input(&Content { units: [call * 100, 0, 0, 0, 0, 7] }, call * 30, 1_000, &terms);
            known.learn_output(1_234, &terms);
        }
        Learned { key: KeyId::parse(key).unwrap(), model: model.to_owned(), known, at }
    };
    let first = learned("key_a", "claude-opus-5-5", 3, at(5));
    let other = learned("key_a", "claude-haiku-5", 0, at(2));
    db.keep_learned(&[other.clone(), first], at(0)).await.unwrap();
    let later = learned("key_a", "claude-opus-5-5", 500, at(7));
    db.keep_learned(std::slice::from_ref(&later), at(2)).await.unwrap();
    drop(db);
    let db = place.open().await;
    assert_eq!(db.learned(9).await.unwrap(), [later.clone(), other]);
    assert_eq!(db.learned(1).await.unwrap(), std::slice::from_ref(&later));
    db.keep_learned(&[], at(3)).await.unwrap();
    assert_eq!(db.learned(9).await.unwrap(), [later]);
}

async fn an_intent_says_which_budgets_it_counts_against_after_a_crash(place: Place) {
    let s = Samples::new(82);
    let db = place.open().await;
    let mut c = Committer::open(&db, s.node()).await;
    let plain = s.intent(&s.party(), at(1));
    let mut charged = s.intent(&s.party(), at(2));
    charged.charges = vec![charge("bdg_a", 0), charge("bdg_b", 5)];
    let intents = vec![plain.clone(), charged.clone()];
    let group = Group { intents, ..c.group(at(1)) };
    c.commit(&db, &group).await;
    drop(db);
    let db = place.open().await;
    assert_eq!(db.orphans(&s.node()).await.unwrap(), [plain, charged]);
}
