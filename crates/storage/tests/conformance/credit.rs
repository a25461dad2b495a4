//! Prepaid credit: one account a subject, a book that is only added to, and spending that is booked once however the
//! process ends.

use claviger_domain::{
    budget::{BudgetMode, BudgetRecord, BudgetSubject, Calendar, Charge, Period},
    clock::Timestamp,
    credit::{AccountRecord, Balances, Check, Entry, Order, Particulars, Place as In},
    id::{BudgetId, CreditAccountId, CreditEntryId},
    ledger::{LedgerRow, Outcome},
    money::PicoUsd,
    ports::{
        Change, Store, StoreError,
        budgets::{BudgetStore, NewBudget},
        credit::{CreditStore, NewEntry},
    },
};
use claviger_storage::Database;
use sqlx::{Connection, Executor};

use crate::{
    place::{Place, on_both},
    samples::{Committer, Samples, at, event, put},
};

on_both!(
    a_subject_has_one_account_and_a_budget_of_its_own_beside_others,
    what_was_booked_is_read_back_and_a_reference_is_booked_once,
    an_entry_that_another_one_came_before_is_not_booked,
    what_was_booked_cannot_be_changed_by_anybody,
    spending_is_booked_once_however_often_the_process_dies,
);

fn account() -> AccountRecord {
    AccountRecord {
        id: CreditAccountId::parse("acct_a").unwrap(),
        subject: BudgetSubject::All,
        budget: BudgetId::parse("bdg_a").unwrap(),
        opened_at: at(0),
        balances: Balances::default(),
        entries: 0,
    }
}

fn budget(id: &str, credit: Option<CreditAccountId>) -> Change {
    let record = BudgetRecord {
        id: BudgetId::parse(id).unwrap(),
        subject: BudgetSubject::All,
        calendar: Calendar::new(Period::Life, "UTC").unwrap(),
        limit: PicoUsd::ZERO,
        hard: true,
        mode: BudgetMode::Strict,
        created_at: at(0),
        dropped_at: None,
        credit,
        version: 1,
    };
    let charge = Charge { budget: record.id.clone(), window: Timestamp::from_micros(0) };
    Change::InsertBudget(Box::new(NewBudget { record, charge, settled: 0 }))
}

async fn open(db: &Database) -> AccountRecord {
    let account = account();
    let opened = Change::InsertCreditAccount(Box::new(account.clone()));
    put(db, vec![opened, budget("bdg_a", Some(account.id.clone()))]).await;
    account
}

fn pico(amount: i128) -> PicoUsd {
    PicoUsd::new(amount).unwrap()
}

fn with(id: &str, reference: Option<&str>) -> Particulars {
    Particulars {
        id: CreditEntryId::parse(id).unwrap(),
        at: at(5),
        reference: reference.map(str::to_owned),
        note: "words, “quoted”".to_owned(),
    }
}

fn change((account, entry): (AccountRecord, Entry)) -> Change {
    Change::BookCredit(Box::new(NewEntry { account, entry }))
}

async fn book(db: &Database, order: &Order, with: Particulars) -> AccountRecord {
    let account = db.credit_accounts().await.unwrap().remove(0);
    let booked = account.book(order, i128::MAX, with).unwrap();
    put(db, vec![change(booked.clone())]).await;
    booked.0
}

async fn a_subject_has_one_account_and_a_budget_of_its_own_beside_others(place: Place) {
    let db = place.open().await;
    let account = open(&db).await;
    put(&db, vec![budget("bdg_b", None)]).await;
    let other = AccountRecord {
        id: CreditAccountId::parse("acct_b").unwrap(),
        budget: BudgetId::parse("bdg_c").unwrap(),
        ..account.clone()
    };
    let again = db.apply(vec![Change::InsertCreditAccount(Box::new(other))], event("test")).await;
    assert_eq!(again.unwrap_err(), StoreError::Conflict { what: "credit account" });
    assert_eq!(db.credit_accounts().await.unwrap(), std::slice::from_ref(&account));
    let credits: Vec<_> = db.budgets().await.unwrap().into_iter().map(|b| b.credit).collect();
    assert_eq!(credits, [Some(account.id), None]);
}

async fn what_was_booked_is_read_back_and_a_reference_is_booked_once(place: Place) {
    let db = place.open().await;
    let opened = open(&db).await;
    let most = i128::from(PicoUsd::MAX.as_pico());
    let (paid, first) = opened.book(&Order::TopUp(pico(most)), 0, with("ent_1", Some("wire:7"))).unwrap();
    let (held, second) = paid.book(&Order::Hold(pico(30)), most, with("ent_2", None)).unwrap();
    let (released, third) = {
        let hold = claviger_domain::credit::OpenHold { id: second.id.clone(), left: 30 };
        held.book(&Order::Release(hold, Some(pico(12))), 0, with("ent_3", None)).unwrap()
    };
    for booked in [(paid, first.clone()), (held, second.clone()), (released.clone(), third.clone())] {
        put(&db, vec![change(booked)]).await;
    }
    drop(db);
    let db = place.open().await;
    assert_eq!(db.credit_accounts().await.unwrap(), std::slice::from_ref(&released));
    let all = [first.clone(), second.clone(), third.clone()];
    assert_eq!(db.credit_entries(&released.id, 0, 9).await.unwrap(), all);
    assert_eq!(db.credit_entries(&released.id, 1, 1).await.unwrap(), std::slice::from_ref(&second));
    assert_eq!(db.credit_entry(&third.id).await.unwrap(), Some(third));
    assert_eq!(db.credit_reference("wire:7").await.unwrap(), Some(first));
    assert_eq!(db.credit_reference("wire:8").await.unwrap(), None);
    assert_eq!(db.credit_taken(&second.id).await.unwrap(), 12);

    let twice = released.book(&Order::AdjustUp(pico(1)), 0, with("ent_4", Some("wire:7"))).unwrap();
    let refused = db.apply(vec![change(twice)], event("test")).await;
    assert_eq!(refused.unwrap_err(), StoreError::Conflict { what: "credit entry" });
    assert_eq!(db.credit_accounts().await.unwrap(), [released], "nothing of it was written");
}

async fn an_entry_that_another_one_came_before_is_not_booked(place: Place) {
    let db = place.open().await;
    let seen = open(&db).await;
    book(&db, &Order::TopUp(pico(10)), with("ent_1", None)).await;
    let late = seen.book(&Order::TopUp(pico(10)), 0, with("ent_2", None)).unwrap();
    let refused = db.apply(vec![change(late)], event("test")).await;
    assert_eq!(refused.unwrap_err(), StoreError::Conflict { what: "credit account" });
    assert_eq!(db.credit_accounts().await.unwrap()[0].balances.of(In::Available), 10);
}

async fn what_was_booked_cannot_be_changed_by_anybody(place: Place) {
    let db = place.open().await;
    open(&db).await;
    book(&db, &Order::TopUp(pico(10)), with("ent_1", None)).await;
    let before = db.credit_entries(&account().id, 0, 9).await.unwrap();
    for statement in ["UPDATE credit_entries SET amount_pusd = 11", "DELETE FROM credit_entries"] {
        let refused = if place.address().starts_with("postgres") {
            let mut c = sqlx::PgConnection::connect(place.address()).await.unwrap();
            c.execute(statement).await.map(drop)
        } else {
            let mut c = sqlx::SqliteConnection::connect(place.address()).await.unwrap();
            c.execute(statement).await.map(drop)
        };
        assert!(refused.unwrap_err().to_string().contains("only ever added"), "{statement}");
    }
    assert_eq!(db.credit_entries(&account().id, 0, 9).await.unwrap(), before);
}

/// A call that cost something.
fn row(s: &Samples, charge: &Charge, secs: i64) -> LedgerRow {
    let cost = pico(1_000 + i128::from(s.number(9)));
    let row = s.row(&s.party(), at(secs));
    LedgerRow { charges: vec![charge.clone()], cost, outcome: Outcome::Completed, ..row }
}

async fn spending_is_booked_once_however_often_the_process_dies(place: Place) {
    let s = Samples::new(90);
    let mut db = place.open().await;
    let account = open(&db).await;
    let charge = Charge { budget: account.budget.clone(), window: Timestamp::from_micros(0) };
    let mut spent = 0;
    for incarnation in 0..4_i64 {
        let mut c = Committer::open(&db, s.node()).await;
        for secs in 0..3 {
            let row = row(&s, &charge, incarnation * 9 + secs);
            spent += i128::from(row.cost.as_pico());
            c.rows(&db, at(incarnation * 9 + secs), vec![row]).await;
            // What is booked twice at once, from the same state, is booked by one of them.
            let total = db.budget_totals(std::slice::from_ref(&charge)).await.unwrap()[0];
            let known = db.credit_accounts().await.unwrap().remove(0);
            let entry =
                |n: u8| known.spend(total, with(&format!("ent_{incarnation}x{secs}x{n}"), None)).unwrap();
            put(&db, vec![change(entry(1))]).await;
            assert!(db.apply(vec![change(entry(2))], event("test")).await.is_err());
        }
        // One more, which nobody books before it dies.
        let row = row(&s, &charge, incarnation * 9 + 4);
        spent += i128::from(row.cost.as_pico());
        c.rows(&db, at(incarnation * 9 + 4), vec![row]).await;
        drop(db);
        db = place.open().await;
    }
    let total = db.budget_totals(&[charge]).await.unwrap()[0];
    assert_eq!(total, spent);
    let known = db.credit_accounts().await.unwrap().remove(0);
    put(&db, vec![change(known.spend(total, with("ent_last", None)).unwrap())]).await;
    let known = db.credit_accounts().await.unwrap().remove(0);
    assert_eq!(known.balances.of(In::Usage), spent);
    assert!(known.spend(total, with("ent_none", None)).is_none());
    let mut check = Check::default();
    for entry in db.credit_entries(&known.id, 0, 99).await.unwrap() {
        check.add(&entry);
    }
    assert_eq!(check.end(&known), []);
}
