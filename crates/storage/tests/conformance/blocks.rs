//! Blocks of budgets, and nodes that live, lapse and are taken over, where several share a database.

use claviger_domain::{
    budget::{BlockWish, BudgetMode, BudgetRecord, BudgetSubject, Calendar, Charge, Period, blocks::Answer},
    id::{BudgetId, NodeId},
    ledger::{BatchItem, Group, LedgerRow, Outcome},
    money::PicoUsd,
    ports::{Change, LedgerStore, StoreError, budgets::NewBudget, nodes::SharedStore},
    tenancy::{BatchHold, Resource, ResourceKind},
};
use claviger_storage::Database;

use crate::{
    place::Place,
    samples::{Committer, Samples, at, event, put},
};

/// Runs each of the named functions on the engine that several nodes can share.
macro_rules! on_postgres {
    ($($name:ident),+ $(,)?) => {
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(place) = Place::postgres().await {
                    super::$name(place).await;
                }
            })+
            use crate::place::Place;
        }
    };
}

on_postgres!(
    blocks_of_all_nodes_together_never_pass_the_limit,
    a_question_is_answered_once,
    what_calls_cost_moves_from_the_block_to_the_totals,
    what_a_batch_holds_back_leaves_the_block_and_ends_with_its_bill,
    a_node_that_died_is_taken_over_once_and_writes_nothing_more,
    calls_of_a_node_that_lives_are_no_orphans,
    a_node_that_ends_leaves_nothing,
);

const LEASE_US: i64 = 60_000_000;

fn charge() -> Charge {
    Charge { budget: BudgetId::parse("bdg_a").unwrap(), window: at(0) }
}

async fn budget(db: &Database) {
    let record = BudgetRecord {
        id: charge().budget,
        subject: BudgetSubject::All,
        calendar: Calendar::new(Period::Life, "UTC").unwrap(),
        limit: PicoUsd::new(1_000).unwrap(),
        hard: true,
        mode: BudgetMode::Strict,
        created_at: at(0),
        dropped_at: None,
        credit: None,
        version: 1,
    };
    let new = NewBudget { record, charge: charge(), settled: 0 };
    put(db, vec![Change::InsertBudget(Box::new(new))]).await;
}

/// A node: its own handle, its lease and its open chain.
async fn node(place: &Place, s: &Samples) -> (Database, Committer) {
    let (db, id) = (place.open().await, s.node());
    db.begin_lease(&id, LEASE_US).await.unwrap();
    let c = Committer::open(&db, id).await;
    (db, c)
}

async fn ask(db: &Database, node: &NodeId, op: i64, lacks: i128, gives: i128) -> Answer {
    let wish = BlockWish { op, lacks, gives, ..BlockWish::default() };
    db.ask_block(node, &charge(), wish).await.unwrap()
}

async fn block(db: &Database, node: &NodeId) -> i128 {
    db.blocks_of(node).await.unwrap().iter().map(|(_, amount)| *amount).sum()
}

async fn blocks_of_all_nodes_together_never_pass_the_limit(place: Place) {
    let s = Samples::new(90);
    let ((a, ca), (b, cb)) = (node(&place, &s).await, node(&place, &s).await);
    budget(&a).await;
    // A share of half of what is left, for each of two nodes.
    assert_eq!(ask(&a, &ca.chain, 1, 100, 0).await.delta, 250);
    let denied = ask(&b, &cb.chain, 1, 751, 0).await;
    assert_eq!((denied.delta, denied.is_hopeless(751)), (0, true));
    assert_eq!(a.demands(&ca.chain).await.unwrap(), [charge()]);
    assert_eq!(b.demands(&cb.chain).await.unwrap(), []);
    assert_eq!(ask(&a, &ca.chain, 2, 0, 250).await.delta, -250);
    assert_eq!(ask(&b, &cb.chain, 2, 751, 0).await.delta, 751);
    // Many at once.
    let asking: Vec<_> = (0..20)
        .map(|op| {
            let (db, node) = if op % 2 == 0 { (&a, &ca.chain) } else { (&b, &cb.chain) };
            ask(db, node, 100 + op, 90, 0)
        })
        .collect();
    for answer in futures_util::future::join_all(asking).await {
        let ground = answer.ground;
        let others: i128 = ground.others.iter().map(|held| held.amount).sum();
        assert!(ground.own.amount + others <= 1_000, "{ground:?}");
    }
    assert!(block(&a, &ca.chain).await + block(&b, &cb.chain).await <= 1_000);
}

async fn a_question_is_answered_once(place: Place) {
    let s = Samples::new(91);
    let (a, c) = node(&place, &s).await;
    budget(&a).await;
    let first = ask(&a, &c.chain, 7, 600, 0).await;
    assert_eq!((first.delta, ask(&a, &c.chain, 7, 600, 0).await), (600, first));
    assert_eq!(block(&a, &c.chain).await, 600);
    let gone = Charge { budget: BudgetId::parse("bdg_b").unwrap(), window: at(0) };
    let asked = a.ask_block(&c.chain, &gone, BlockWish { op: 1, ..BlockWish::default() }).await;
    assert_eq!(asked.unwrap_err(), StoreError::Conflict { what: "budget" });
}

async fn what_calls_cost_moves_from_the_block_to_the_totals(place: Place) {
    let s = Samples::new(92);
    let ((a, mut ca), (b, cb)) = (node(&place, &s).await, node(&place, &s).await);
    budget(&a).await;
    ask(&a, &ca.chain, 1, 300, 0).await;
    let mut row = s.row(&s.party(), at(1));
    row.outcome = Outcome::Completed;
    (row.cost, row.charges) = (PicoUsd::new(120).unwrap(), vec![charge()]);
    ca.rows(&a, at(1), vec![row]).await;
    // Not yet in the totals, but every node counts it.
    assert_eq!(block(&a, &ca.chain).await, 300);
    let ground = b.grounds(&cb.chain, &[charge()]).await.unwrap().remove(0);
    assert_eq!((ground.settled, ground.others[0].amount, ground.limit), (120, 180, 1_000));
    a.fold(&ca.chain, at(2)).await.unwrap();
    assert_eq!(block(&a, &ca.chain).await, 180);
    assert_eq!(b.grounds(&cb.chain, &[charge()]).await.unwrap(), [ground]);
    assert_eq!(ask(&b, &cb.chain, 1, 701, 0).await.delta, 0);
    assert_eq!(ask(&b, &cb.chain, 2, 700, 0).await.delta, 700);
}

async fn what_a_batch_holds_back_leaves_the_block_and_ends_with_its_bill(place: Place) {
    let s = Samples::new(93);
    let ((a, mut ca), (b, mut cb)) = (node(&place, &s).await, node(&place, &s).await);
    budget(&a).await;
    ask(&a, &ca.chain, 1, 400, 0).await;
    let held = BatchHold { amount: PicoUsd::new(400).unwrap(), charges: vec![charge()] };
    let made =
        Resource { held: Some(held), ..s.resource("msgbatch_1", ResourceKind::Batch, &s.party(), at(1)) };
    let group = Group { resources: vec![made], ..ca.group(at(1)) };
    ca.commit(&a, &group).await;
    let left = async || ask(&b, &cb.chain, at(9).as_micros(), 1_001, 0).await.left();
    assert_eq!((block(&a, &ca.chain).await, left().await), (0, 600));
    // Another node bills it.
    let mut row = s.row(&s.party(), at(2));
    row.batch = Some(BatchItem { batch: "msgbatch_1".to_owned(), custom_id: "a".to_owned() });
    row.outcome = Outcome::Completed;
    (row.cost, row.charges) = (PicoUsd::new(150).unwrap(), vec![charge()]);
    cb.rows(&b, at(2), vec![row]).await;
    let ground = a.grounds(&ca.chain, &[charge()]).await.unwrap().remove(0);
    assert_eq!((ground.settled, ground.batches), (150, 250));
    a.batch_billed("msgbatch_1", at(3)).await.unwrap();
    let ground = a.grounds(&ca.chain, &[charge()]).await.unwrap().remove(0);
    assert_eq!((ground.settled, ground.batches, ground.room()), (150, 0, 850));
}

async fn a_node_that_died_is_taken_over_once_and_writes_nothing_more(place: Place) {
    let s = Samples::new(94);
    let ((a, mut ca), (b, mut cb), (c, cc)) =
        (node(&place, &s).await, node(&place, &s).await, node(&place, &s).await);
    budget(&a).await;
    ask(&a, &ca.chain, 1, 500, 0).await;
    let mut intent = s.intent(&s.party(), at(1));
    (intent.reservation, intent.charges) = (PicoUsd::new(80).unwrap(), vec![charge()]);
    let mut row = s.row(&s.party(), at(1));
    row.outcome = Outcome::Completed;
    (row.cost, row.charges) = (PicoUsd::new(100).unwrap(), vec![charge()]);
    let group = Group { intents: vec![intent.clone()], rows: vec![row.clone()], ..ca.group(at(1)) };
    ca.commit(&a, &group).await;

    assert_eq!(b.take_over(&cb.chain, &ca.chain, event("audit.chain.close")).await.unwrap(), None);
    assert_eq!(b.lapsed(&cb.chain).await.unwrap(), []);
    b.lapse(&ca.chain).await.unwrap();
    assert_eq!(b.lapsed(&cb.chain).await.unwrap(), std::slice::from_ref(&ca.chain));
    let estate = b.take_over(&cb.chain, &ca.chain, event("audit.chain.close")).await.unwrap().unwrap();
    assert_eq!((estate.intents, estate.blocks), (vec![intent.clone()], vec![(charge(), 400)]));
    assert!(b.is_taken(&intent.id).await.unwrap());
    // Whoever else comes is too late while the heir lives.
    assert_eq!(c.take_over(&cc.chain, &ca.chain, event("audit.chain.close")).await.unwrap(), None);
    assert_eq!(c.orphans(&cc.chain).await.unwrap(), []);

    let lost = StoreError::Conflict { what: "node lease" };
    assert_eq!(a.renew_lease(&ca.chain, LEASE_US).await.unwrap_err(), lost);
    let asked = a.ask_block(&ca.chain, &charge(), BlockWish { op: 2, ..BlockWish::default() }).await;
    assert_eq!(asked.unwrap_err(), lost);
    let group = Group { rows: vec![row], ..ca.group(at(2)) };
    assert!(matches!(a.commit_group(&group).await, Err(StoreError::Conflict { .. })));

    // The heir charges the call that was open, once.
    let mut charged = s.row(&s.party(), at(3));
    (charged.intent, charged.outcome) = (Some(intent.id), Outcome::Unknown);
    (charged.cost, charged.charges) = (intent.reservation, vec![charge()]);
    cb.rows(&b, at(3), vec![charged]).await;
    b.fold(&cb.chain, at(4)).await.unwrap();
    let ground = c.grounds(&cc.chain, &[charge()]).await.unwrap().remove(0);
    assert_eq!((ground.settled, block(&b, &cb.chain).await, block(&b, &ca.chain).await), (180, 320, 0));
    assert_eq!(ground.others.iter().map(|held| held.amount).sum::<i128>(), 320);
    b.lapse(&cb.chain).await.unwrap();
    let estate = c.take_over(&cc.chain, &cb.chain, event("audit.chain.close")).await.unwrap().unwrap();
    assert_eq!((estate.intents.len(), estate.blocks), (0, vec![(charge(), 320)]));
    assert_eq!(c.orphans(&cc.chain).await.unwrap(), []);
}

async fn calls_of_a_node_that_lives_are_no_orphans(place: Place) {
    let s = Samples::new(95);
    let (a, mut ca) = node(&place, &s).await;
    let intent = s.intent(&s.party(), at(1));
    let group = Group {
        intents: vec![intent.clone()],
        rows: vec![LedgerRow { outcome: Outcome::Completed, ..s.row(&s.party(), at(1)) }],
        ..ca.group(at(1))
    };
    ca.commit(&a, &group).await;
    // Another node starts beside it.
    let (b, cb) = node(&place, &s).await;
    assert_eq!(b.orphans(&cb.chain).await.unwrap(), []);
    let mut end = s.row(&s.party(), at(4));
    (end.intent, end.outcome) = (Some(intent.id), Outcome::Completed);
    // With the totals of the rows before, which the other one has left alone.
    ca.rows(&a, at(4), vec![end]).await;
    a.close_chain(&ca.chain, event("audit.chain.close")).await.unwrap();
    assert_eq!(b.usage(&claviger_domain::ports::UsageQuery::default()).await.unwrap()[0].requests, 2);
}

async fn a_node_that_ends_leaves_nothing(place: Place) {
    let s = Samples::new(96);
    let ((a, ca), (b, cb)) = (node(&place, &s).await, node(&place, &s).await);
    budget(&a).await;
    ask(&a, &ca.chain, 1, 500, 0).await;
    a.close_chain(&ca.chain, event("audit.chain.close")).await.unwrap();
    a.end_lease(&ca.chain).await.unwrap();
    assert_eq!(block(&b, &ca.chain).await, 0);
    assert_eq!(b.lapsed(&cb.chain).await.unwrap(), []);
    assert_eq!(ask(&b, &cb.chain, 1, 1_000, 0).await.delta, 1_000);
}
